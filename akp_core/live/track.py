"""One family of the live lab in mid-training: its members move by single steps, each in its own time.

The arithmetic is that of `akp_core.family`: the same engine, seeds, batches and phases, one member a block.
So what a class has watched equals, bit for bit, what `akp_core.population.run` trains from the same study.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor, nn

from akp_core import engines, similarity
from akp_core.errors import AkpError
from akp_core.networks.tap import evaluating, tapped
from akp_core.probes import Eyes, look
from akp_core.stress import Phase, Stress
from akp_core.study import Study

CPU = torch.device("cpu")
SUSPECT = 1e6  # an output beyond it is examined as `akp_core.family` does, on every evaluated image
Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Course:
    """What a family goes through, the same for all its members.

    Attributes
    ----------
    phases : tuple of Phase
        Without a gap, to the end of training.
    fork : int
        The step at which the stress sets in; 0 for the unstressed family.
    start : int
        The step at which the members' tensors were kept. What lies between it and a later fork is the
        unstressed training done once more.
    exact : collection of int
        Steps at which `akp_core.population` looks at this family.
    """

    phases: tuple[Phase, ...]
    fork: int = 0
    start: int = 0
    exact: Collection[int] = ()


class Cell:
    """One member: its block, its place in time, and what was seen of it.

    Attributes
    ----------
    step : int
        Steps done.
    losses : dict of int to float
        The loss in force of every step, NaN after divergence.
    glances : dict of int to (Tensor, float)
        Fingerprints (taps, k) float32 of the probe images, NaN for a network that has no representation, and
        the share of these images answered wrongly, in [0, 1]. An answer that is not finite is wrong.
    kept : (int, dict of str to Tensor)
        Step and tensors when it was last looked at.
    """

    def __init__(self, study: Study, eyes: Eyes, seed: int, course: Course, tensors: Tensors | None) -> None:
        self.eyes, self.course, self.step = eyes, course, course.start
        self.losses: dict[int, float] = {}
        self.glances: dict[int, tuple[Float32[Tensor, "t k"], float]] = {}
        data, first = engines.resident(study.data, CPU), course.phases[0]
        self.block = engines.block("loop", study.network, study.recipe, data, [seed], first)
        if tensors is not None:
            self.block.restore(tensors)
        self.block.enter(first, reset=first.reset_optimizer)
        self._next = 1  # of the course's phases, the one after the one in force
        self.kept: tuple[int, Tensors] = self.step, self.block.dump()

    def _enter(self) -> None:
        """Swap in the functions of the next phase, if this is the step at which it begins."""
        phases = self.course.phases
        if self._next < len(phases) and phases[self._next].start == self.step:
            self.block.enter(phases[self._next], reset=phases[self._next].reset_optimizer)
            self._next += 1

    def advance(self) -> None:
        """Train by one step."""
        self._enter()
        self.losses[self.step] = self.block.advance(self.step, self.step + 1)[0][0]
        self.step += 1
        if self.step == self.course.fork:
            self._enter()  # the swap itself is seen, before any step with it

    def look(self) -> None:
        """Look at the network as it is now."""
        model = next(self.block.models())
        logits, seen = _one_pass(model, self.eyes)
        largest = max(float(x.abs().max()) for x in (logits, *seen))
        alive = self.block.diverged[0] < 0
        examined = alive and self.step in self.course.exact and not largest < SUSPECT
        # family.train ends a member here if anything it sees is not finite
        if examined and not bool(look(model.eval(), self.eyes)["finite"]):
            self.block.lose(0, self.step)
        good = logits.isfinite().all(dim=1)
        wrong = ~good | (logits.argmax(dim=1) != self.eyes.labels["probe"])
        prints = torch.stack([_fingerprint(x) for x in seen])
        lost = self.block.diverged[0] >= 0 or not bool(good.all())
        if lost or bool(prints.isnan().any()):
            prints = torch.full_like(prints, torch.nan)
        error = 1.0 if self.block.diverged[0] >= 0 else float(wrong.double().mean())
        self.glances[self.step] = prints, error
        self.kept = self.step, self.block.dump()


class Track:
    """A family from its fork on.

    Parameters
    ----------
    name : str
    stress : Stress or None
        None for the family that nothing disturbs.
    study : Study
    eyes : Eyes
        Of `akp_core.probes`: the images that are looked at.
    course : Course
    tensors : list of dict of str to Tensor, or None
        Each member at ``course.start``; None for new networks.
    """

    def __init__(
        self,
        name: str,
        stress: Stress | None,
        study: Study,
        eyes: Eyes,
        course: Course,
        tensors: list[Tensors] | None = None,
    ) -> None:
        self.name, self.stress, self.course = name, stress, course
        seeds = [study.member_seed(i) for i in range(study.members)]
        given: Sequence[Tensors | None] = tensors or [None] * len(seeds)
        self.cells = [Cell(study, eyes, s, course, t) for s, t in zip(seeds, given, strict=True)]

    @property
    def fork(self) -> int:
        """The step at which its stress sets in."""
        return self.course.fork

    def seen_at(self, step: int) -> bool:
        """Whether every member has been looked at after so many steps."""
        return all(step in cell.glances for cell in self.cells)

    def prints(self, step: int, tap: int) -> Float32[Tensor, "m k"]:
        """The members' fingerprints at a step and a tap (by its number)."""
        return torch.stack([cell.glances[step][0][tap] for cell in self.cells])

    def errors(self, step: int) -> Float64[np.ndarray, " m"]:
        """Each member's share of wrong answers at a step."""
        return np.array([cell.glances[step][1] for cell in self.cells])

    def lost(self, step: int) -> Bool[np.ndarray, " m"]:
        """Whether each member has no representation at a step: it diverged, or is constant at a tap."""
        return self.prints(step, 0).isnan().any(dim=1).numpy()

    def loss(self, start: int, stop: int) -> Float64[np.ndarray, " m"]:
        """Each member's mean loss in force over the steps from one to another; empty for no step."""
        steps = [s for s in range(start, stop) if s in self.cells[0].losses]
        return np.array([np.mean([cell.losses[s] for s in steps]) for cell in self.cells if steps])

    def kept_at(self, step: int) -> list[Tensors] | None:
        """Every member's tensors at a step, if that is where they were all looked at last."""
        return [c.kept[1] for c in self.cells] if all(c.kept[0] == step for c in self.cells) else None

    def remember(self, other: Track, before: int) -> None:
        """Take over what was seen of the same members before a step."""
        for mine, theirs in zip(self.cells, other.cells, strict=True):
            mine.losses = {s: v for s, v in theirs.losses.items() if s < before}
            mine.glances = {s: v for s, v in theirs.glances.items() if s < before}


def _one_pass(model: nn.Module, eyes: Eyes) -> tuple[Tensor, list[Tensor]]:
    """Logits of the probe images, and their representation at each tap, one row an image."""
    logits, pieces = [], []
    with evaluating(model), torch.no_grad(), tapped(model, eyes.taps) as seen:
        for part in torch.split(eyes.images["probe"], 256):
            logits.append(model(part))
            pieces.append([seen[tap].flatten(1) for tap in eyes.taps])
    return torch.cat(logits), [torch.cat(column) for column in zip(*pieces, strict=True)]


def _fingerprint(x: Float32[Tensor, "n p"]) -> Float32[Tensor, " k"]:
    if bool(x.isfinite().all()):
        try:
            return similarity.fingerprint(x).float()
        except AkpError:
            if similarity.representation_fault(x) is None:
                raise
    return torch.full((len(x) * (len(x) - 1) // 2,), torch.nan)
