"""What a run will take, said before it starts."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from akp_core import engines
from akp_core.amounts import clock, quantity, size
from akp_core.engines.resident import Resident
from akp_core.memory import keep_freed_memory
from akp_core.probes import Eyes, look
from akp_core.schedule import TOGETHER
from akp_core.store import Store
from akp_core.stress import unstressed
from akp_core.study import Study
from akp_core.threads import one_thread
from akp_core.tree import Tree

WORTH_PROCESSES = 15.0  # seconds of training below which starting processes costs more than it saves
SAMPLE = 8  # steps timed, and members at most; a whole block may be more than the memory of a GPU holds


@dataclass(frozen=True)
class Cost:
    """What a run will take, before it starts.

    Attributes
    ----------
    segments, stored : int
        Segments of the study, and how many of them are in the store already.
    steps : int
        Training steps still to do, over all members.
    process_seconds : float
        Estimated work of one process, from a few timed steps and one look; NaN where the device is not in
        this machine.
    bytes : int
        Estimated size of what will be written.
    workers : int or None
        Processes that train at once; None where the executor does not say.
    forked : float
        Steps of the whole study over the steps of training each family from scratch.
    """

    segments: int
    stored: int
    steps: int
    process_seconds: float
    bytes: int
    workers: int | None
    forked: float

    @property
    def seconds(self) -> float:
        """Estimated time, with the work divided evenly over the workers; NaN where either is not known."""
        return self.process_seconds / self.workers if self.workers else math.nan

    def __str__(self) -> str:
        have = f"{quantity(self.segments, 'segment')}, {self.stored:,} in the store"
        if self.steps == 0:
            return f"{have}; nothing to train"
        return (
            f"{have}; {self.steps:,} steps to train, {self._time()}, {size(self.bytes)} "
            f"(forking: {self.forked:.2f} of training each family from scratch)"
        )

    def _time(self) -> str:
        if math.isnan(self.process_seconds):
            return "time not known, as the device is not in this machine"
        if self.workers is None:
            return f"about {clock(self.process_seconds)} of one worker"
        return f"about {clock(self.seconds)} with {quantity(self.workers, 'worker')}"


def estimate(
    study: Study,
    tree: Tree,
    shelf: Store,
    device: torch.device,
    engine: str,
    workers: int | None,
    *,
    own: bool,
) -> Cost:
    """Price a tree: what is missing from the store, at the pace of a few timed steps of one block.

    ``own`` says that the workers are processes that we start, which pays only for longer work.
    """
    missing = [segment for key, segment in tree.segments.items() if key not in shelf]
    step_seconds, look_seconds, member_bytes = _sample(study, device, engine) if missing else (0.0, 0.0, 0)
    n = len(study.data.probe)
    look_bytes = len(study.taps or ()) * n * (n - 1) * 2 + 2 * sum(
        len(part) for part in (study.data.test, study.data.test, study.data.validation)
    )
    looks = sum(len(segment.probe_steps) for segment in missing)
    steps = sum(segment.steps for segment in missing)
    process_seconds = steps * step_seconds + looks * look_seconds
    if own and process_seconds < WORTH_PROCESSES:
        workers = 1
    members = len({member for _, member in tree.leaves})
    scratch = study.steps * members * len(study.families)
    return Cost(
        segments=len(tree.segments),
        stored=len(tree.segments) - len(missing),
        steps=steps,
        process_seconds=process_seconds,
        bytes=len(missing) * member_bytes + looks * look_bytes,
        workers=workers,
        forked=sum(segment.steps for segment in tree.segments.values()) / scratch if scratch else math.nan,
    )


def _sample(study: Study, device: torch.device, engine: str) -> tuple[float, float, int]:
    """Time a few steps and a look; returns seconds a member's step and look, and the bytes of its state."""
    away = device.type == "cuda" and not torch.cuda.is_available()
    here, how = (torch.device("cpu"), "loop") if away else (device, engine)
    keep_freed_memory()
    with one_thread(flush_denormals=True), engines.reproducible():
        count = min(SAMPLE, study.steps)
        data = Resident.of(study.data, here, first=count * study.recipe.batch)
        calm = unstressed(study.network, study.recipe.loss, 0, study.steps)
        seeds = [study.member_seed(m) for m in range(min(study.members, TOGETHER[how], SAMPLE))]
        block = engines.block(how, study.network, study.recipe, data, seeds, calm)
        block.enter(calm, reset=False)
        block.advance(0, 1)
        begin = time.perf_counter()
        block.advance(0, count)
        step = (time.perf_counter() - begin) / count / len(seeds)
        state = sum(t.numel() * t.element_size() for t in block.dump().values()) // len(seeds)
        eyes = Eyes.of(study.data, study.taps or (), here)
        begin = time.perf_counter()
        look(next(block.models()).eval(), eyes)
        one_look = time.perf_counter() - begin
    return (math.nan if away else step), (math.nan if away else one_look), state
