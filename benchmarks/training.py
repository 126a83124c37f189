"""The plain eager loop that the engine is held against, and a block of the engine to hold against it.

The loop is what anyone writes first: every network one after the other, torch's defaults throughout. Of the
engine, `Ours` takes the very block that `akp_core.family.train` takes, so that neither building nor
capturing nor looking at the networks counts in either.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from akp_core import engines
from akp_core.datasets import Dataset, Split
from akp_core.memory import keep_freed_memory
from akp_core.networks import Architecture
from akp_core.probes import standardise
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from akp_core.stress import unstressed
from akp_core.threads import one_thread
from benchmarks.machine import CPU, synchronise, tf32

CLASSES = 10
LONG = 1000  # epochs, more than any benchmark trains


def noise(shape: tuple[int, int, int], images: int) -> Dataset:
    """Random images with random labels: as many for training, and two for everything else."""
    draw, groups = generator(0, "noise"), iter(range(10**9))

    def part(count: int) -> Split:
        pictures = torch.rand(count, *shape, generator=draw)
        labels = torch.randint(0, CLASSES, (count,), generator=draw)
        return Split(pictures, labels, torch.tensor([next(groups) for _ in range(count)]))

    names = tuple(f"class {k}" for k in range(CLASSES))
    parts = {"train": part(images), "validation": part(2), "test": part(2), "probe": part(4)}
    return Dataset("noise", **parts, class_names=names, licence="", provenance="", notice="", options={})


class Eager:
    """Several networks and their optimisers, as plain as can be: default layout, torch's Adam, float32."""

    def __init__(
        self, network: Architecture, data: Dataset, members: int, batch: int, device: torch.device = CPU
    ) -> None:
        # `standardise` lays channels last, which is the engine's doing and not a plain loop's
        self.images = standardise(data, data.train.images).contiguous().to(device)
        self.labels = data.train.labels.to(device)
        self.batch, self.device = batch, device
        self.models: list[nn.Module] = []
        for seed in range(members):
            model = network.build(data.shape, data.classes, generator(seed, "weights"))
            self.models.append(model.to(device).train())
        self.optimizers = [torch.optim.Adam(model.parameters()) for model in self.models]

    def train(self, steps: int) -> None:
        """So many steps of every network, one network after the other."""
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            for step in range(steps):
                start = step * self.batch % (len(self.images) - self.batch + 1)
                x, y = self.images[start : start + self.batch], self.labels[start : start + self.batch]
                optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        synchronise(self.device)


class Ours:
    """A block of members in one of the engines, trained from outside step by step.

    Parameters
    ----------
    network, recipe, data, seeds
        As for `akp_core.family.train`; the recipe's epochs do not matter.
    device : torch.device
    engine : str
        A name of `akp_core.engines.ENGINES`.
    rounded : bool
        Allow TF32, and kernels that may give other bits the next time. No study is trained so; it shows what
        the engine's promise costs.
    """

    def __init__(
        self,
        network: Architecture,
        recipe: Recipe,
        data: Dataset,
        seeds: Sequence[int],
        device: torch.device = CPU,
        engine: str = "loop",
        *,
        rounded: bool = False,
    ) -> None:
        self.rounded, self.done = rounded, 0
        keep_freed_memory()
        phase = unstressed(network, recipe.loss, 0, LONG * recipe.steps_per_epoch(len(data.train)))
        with one_thread(flush_denormals=True), self._kernels():
            resident = engines.resident(data, device)
            long = replace(recipe, epochs=LONG)
            self.block = engines.block(engine, network, long, resident, seeds, phase)
            self.block.enter(phase, reset=False)

    def _kernels(self) -> AbstractContextManager[None]:
        return tf32(True) if self.rounded else engines.reproducible()

    def train(self, steps: int) -> None:
        """So many further steps of every member; returns when they are done."""
        with one_thread(flush_denormals=True), self._kernels():
            self.block.advance(self.done, self.done + steps)
        self.done += steps
