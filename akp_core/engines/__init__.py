"""Engines: ways to train a block of members at once, behind one interface and one numerics contract.

``loop`` trains members one after the other: the fastest on a CPU, where it is the default, and the
reference for the others. ``vectorised`` puts a member axis on one computation with `torch.func`.
``graphed`` captures a step of all members as one CUDA graph; it is the default on a GPU.

The contract: a member trained in a block equals the member trained alone. It holds bit for bit within an
engine, whoever else is in the block (shown on a CPU; no GPU has been at hand), and within rounding
(`TOLERANCE`) between engines. Rounding grows where a preactivation is within rounding of a kink (ReLU's slope
may flip there) and where Adam divides a gradient that is all rounding by its own size; neither favours one
engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from akp_core.engines.graphed import Graphed
from akp_core.engines.member import Loop, Member
from akp_core.engines.objective import reproducible
from akp_core.engines.resident import Resident, order, resident
from akp_core.engines.vectorised import Vectorised
from akp_core.errors import unknown_name
from akp_core.networks import Architecture
from akp_core.recipe import Recipe
from akp_core.stress import Phase

__all__ = ["ENGINES", "TOLERANCE", "Block", "Member", "block", "default", "order", "reproducible", "resident"]

TOLERANCE = 1e-4
"""Largest difference of a weight between two engines after a few steps, over the largest weight."""


class Block(Protocol):
    """Members in mid-training.

    ``restore`` and ``dump`` exchange tensors by name with the member axis first: weights (``model/...``),
    buffers (``buffer/...``), optimiser state (``optimizer/...``) and ``diverged`` (int64, the step at which
    a member's loss ceased to be finite, or -1).
    """

    @property
    def diverged(self) -> list[int]:
        """Step at which each member's loss ceased to be finite, or -1."""

    def enter(self, phase: Phase, *, reset: bool) -> None:
        """Swap in the functions of a phase; forget the optimiser's state where asked."""

    def advance(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Train from one step to another; mean loss and accuracy of each member over these batches."""

    def lose(self, member: int, step: int) -> None:
        """Count a member as diverged from a step on, because what was seen of it is not finite."""

    def models(self) -> Iterator[nn.Module]:
        """Each member's network, in turn; valid until the next one is asked for."""

    def dump(self) -> dict[str, Tensor]:
        """All members' tensors, copied to the CPU."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `dump` gave."""


ENGINES: dict[str, Callable[[Architecture, Recipe, Resident, Sequence[int]], Block]] = {
    "loop": Loop,
    "vectorised": Vectorised,
    "graphed": Graphed,
}
"""Every engine by name.

:meta hide-value:
"""


def default(device: torch.device) -> str:
    """The engine of a kind of device unless another is asked for."""
    return "graphed" if device.type == "cuda" else "loop"


def block(
    engine: str, network: Architecture, recipe: Recipe, data: Resident, seeds: Sequence[int], phase: Phase
) -> Block:
    """Set up a block of new members for a phase; an unknown engine raises `AkpError` with the valid ones.

    A graph replays the same numbers, so members that draw fresh ones in a step (disturbed images or weights,
    dropout) are trained by ``loop`` where ``graphed`` was asked for.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    draws = network.draws or phase.acting_on("images") or phase.acting_on("weights")
    made = Loop if engine == "graphed" and draws else ENGINES[engine]
    return made(network, recipe, data, seeds)
