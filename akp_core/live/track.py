"""One family of the live lab in mid-training: it moves by single steps and is looked at network by network.

The arithmetic is that of `akp_core.family`: the same engine, seeds, batches and phases. So what a class has
watched equals, bit for bit, what `akp_core.population.run` trains from the same study.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor, nn

from akp_core import engines, similarity
from akp_core.networks import representations
from akp_core.networks.tap import evaluating
from akp_core.probes import Eyes, look
from akp_core.stress import Phase, Stress
from akp_core.study import Study

CPU = torch.device("cpu")
SUSPECT = 1e6  # an output beyond it is examined as `akp_core.family` does, on every evaluated image


@dataclass(frozen=True, eq=False)
class Glance:
    """What was seen of a family at one step.

    Attributes
    ----------
    prints : (taps, members, k) float32
        Fingerprints of the probe images; NaN for a network that has no representation there.
    error : (members,) float64
        Share of the probe images answered wrongly, in [0, 1]. An answer that is not finite is wrong.
    """

    prints: Float32[Tensor, "t m k"]
    error: Float64[np.ndarray, " m"]

    @property
    def lost(self) -> Bool[np.ndarray, " m"]:
        """Whether each network has no representation (it diverged, or is constant at a tap)."""
        return self.prints.isnan().any(dim=2).any(dim=0).numpy()


@dataclass(eq=False)
class Track:
    """A family from its fork on.

    Attributes
    ----------
    name : str
    stress : Stress or None
        None for the family that nothing disturbs.
    study : Study
    eyes : Eyes
        Of `akp_core.probes`: the images that are looked at.
    phases : tuple of Phase
        Without a gap, the first beginning at `start`.
    fork : int
        The step at which the stress set in; what lies between `start` and it is the control's training
        done once more.
    start : int
        The step at which the tensors it began with were kept.
    tensors : dict of str to Tensor or None
        The members at `start`; None for new networks.
    exact : collection of int
        Steps at which `akp_core.population` looks at this family.
    """

    name: str
    stress: Stress | None
    study: Study
    eyes: Eyes
    phases: tuple[Phase, ...]
    fork: int = 0
    start: int = 0
    tensors: dict[str, Tensor] | None = None
    exact: Collection[int] = ()
    step: int = field(init=False)
    losses: dict[int, Float64[np.ndarray, " m"]] = field(default_factory=dict)
    glances: dict[int, Glance] = field(default_factory=dict)
    _half: list[tuple[Tensor, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.step = self.start
        self._next = 1  # of phases, the one after the one in force
        seeds = [self.study.member_seed(i) for i in range(self.study.members)]
        data, first = engines.resident(self.study.data, CPU), self.phases[0]
        self.block = engines.block("loop", self.study.network, self.study.recipe, data, seeds, first)
        if self.tensors is not None:
            self.block.restore(self.tensors)
        self.block.enter(first, reset=first.reset_optimizer)

    @property
    def at(self) -> Phase:
        """The phase in force."""
        return self.phases[self._next - 1]

    def enter(self) -> None:
        """Swap in the functions of the next phase, if this is the step at which it begins."""
        while self._next < len(self.phases) and self.phases[self._next].start == self.step:
            phase = self.phases[self._next]
            self.block.enter(phase, reset=phase.reset_optimizer)
            self._next += 1

    def advance(self) -> None:
        """Train every member by one step, and keep the loss in force of each."""
        self.enter()
        self.losses[self.step] = np.array([loss for loss, _ in self.block.advance(self.step, self.step + 1)])
        self.step += 1
        if self.step == self.fork:
            self.enter()  # the swap itself is seen, before any step with it

    def look(self) -> bool:
        """Look at one more member at the present step; whether all have been looked at now."""
        member = len(self._half)
        model = next(m for i, m in enumerate(self.block.models()) if i == member)
        self._half.append(self._seen(model, member))
        if len(self._half) < self.study.members:
            return False
        prints, errors = zip(*self._half, strict=True)
        self.glances[self.step] = Glance(torch.stack(prints, dim=1), np.array(errors))
        self._half = []
        return True

    def _seen(self, model: nn.Module, member: int) -> tuple[Tensor, float]:
        taps: Sequence[str] = self.eyes.taps
        images, labels = self.eyes.images["probe"], self.eyes.labels["probe"]
        with evaluating(model), torch.no_grad():
            logits = torch.cat([model(part) for part in torch.split(images, 256)])
            seen = representations(model, images, taps)
            largest = max(float(x.abs().max()) for x in (logits, *seen.values()))
            if self.step in self.exact and not largest < SUSPECT and self.block.diverged[member] < 0:
                self._examine(model, member)
        good = logits.isfinite().all(dim=1)
        wrong = (~good) | (logits.argmax(dim=1) != labels)
        prints = [_fingerprint(x) for x in seen.values()]
        lost = self.block.diverged[member] >= 0 or not bool(good.all())
        if lost or any(bool(p.isnan().any()) for p in prints):
            prints = [torch.full_like(p, torch.nan) for p in prints]
        return torch.stack(prints), 1.0 if lost else float(wrong.double().mean())

    def _examine(self, model: nn.Module, member: int) -> None:
        """Count a member as diverged where `akp_core.family` would: its training ends there."""
        if not bool(look(model, self.eyes)["finite"]):
            self.block.lose(member, self.step)


def _fingerprint(x: Tensor) -> Float32[Tensor, " k"]:
    n = x.shape[0]
    if similarity.representation_fault(x) is not None:
        return torch.full((n * (n - 1) // 2,), torch.nan)
    return similarity.fingerprint(x).float().cpu()
