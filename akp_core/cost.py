"""What a run will take, said before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from akp_core.family import Trainer
from akp_core.probes import standardise
from akp_core.store import Store
from akp_core.stress import unstressed
from akp_core.threads import one_thread
from akp_core.tree import Study, Tree


@dataclass(frozen=True)
class Cost:
    """What a run will take, before it starts.

    Attributes
    ----------
    segments, stored : int
        Segments of the study, and how many of them are in the store already.
    steps : int
        Training steps still to do.
    seconds : float
        Estimated time, from a few timed steps of one member divided over the workers.
    bytes : int
        Estimated size of what will be written.
    workers : int
        Processes that train at once.
    forked : float
        Steps of the whole study over the steps of training each family from scratch.
    """

    segments: int
    stored: int
    steps: int
    seconds: float
    bytes: int
    workers: int
    forked: float

    def __str__(self) -> str:
        have = f"{self.segments} segments, {self.stored} in the store"
        if self.steps == 0:
            return f"{have}; nothing to train"
        return (
            f"{have}; {self.steps:,} steps to train, about {_clock(self.seconds)} with {self.workers} "
            f"process{'es' if self.workers > 1 else ''}, {self.bytes / 1e6:.0f} MB "
            f"(forking: {self.forked:.2f} of training each family from scratch)"
        )


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def estimate(study: Study, tree: Tree, shelf: Store, device: torch.device, workers: int) -> Cost:
    """Price a tree: what is missing from the store, at the pace of a few timed steps of one member."""
    missing = [segment for key, segment in tree.segments.items() if key not in shelf]
    steps = sum(segment.steps for segment in missing)
    whole = sum(segment.steps for segment in tree.segments.values())
    step_seconds, member_bytes = _sample(study, device) if missing else (0.0, 0)
    n = len(study.data.probe)
    look_bytes = len(study.taps or ()) * n * (n - 1) * 2
    looks = sum(len(segment.probe_steps) for segment in missing)
    return Cost(
        segments=len(tree.segments),
        stored=len(tree.segments) - len(missing),
        steps=steps,
        seconds=steps * step_seconds / workers,
        bytes=len(missing) * member_bytes + looks * look_bytes,
        workers=workers,
        forked=whole / (study.steps * study.members * len(study.families)),
    )


def _sample(study: Study, device: torch.device) -> tuple[float, int]:
    """Time a few steps of one member; returns seconds a step and the bytes of its state."""
    with one_thread(flush_denormals=True):
        trainer = Trainer(study.network, study.recipe, study.data, study.member_seed(0), device)
        trainer.enter(unstressed(study.network, study.recipe.loss, 0, study.steps))
        count = min(8, study.steps)
        few = study.data.train.images[: count * study.recipe.batch]
        images = standardise(study.data, few).to(device)
        labels = study.data.train.labels[: len(few)].to(device)
        trainer.images = len(few)
        trainer.advance(images, labels, 0, 1)
        begin = time.perf_counter()
        trainer.advance(images, labels, 0, count)
        seconds = (time.perf_counter() - begin) / count
        size = sum(t.numel() * t.element_size() for t in trainer.dump().values())
    return seconds, size
