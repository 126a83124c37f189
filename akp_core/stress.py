"""A stress as data: what is hot-swapped, to what, where, from when until when.

A stress is compiled to *phases*: stretches of training inside which every function stays the same. A
swap therefore happens between two steps and never inside one. A stress that lasts to the end of
training is a *press*, one that is undone before is a *pulse* (words of disturbance ecology).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from akp_core import palette
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.networks import Network

KINDS = ("none", "activation", "loss")
OPTIMIZER_POLICIES = ("keep", "reset")


@dataclass(frozen=True)
class Stress:
    """A perturbation of training.

    Attributes
    ----------
    kind : {"none", "activation", "loss"}
        What is swapped; ``none`` passes through the whole machinery of a swap and changes nothing.
    to : str or None
        The activation or loss that is swapped in.
    slots : tuple of str or None
        Where an activation is swapped; None means every slot.
    onset : float
        When it sets in, as a share of training in [0, 1]; rounded to a step.
    end : float
        When it is undone, in [onset, 1]; 1 means never (a press). ``end == onset`` has no effect.
    optimizer : {"keep", "reset"}
        What happens to momentum and second moments at the onset and at the end.

    Raises
    ------
    AkpError
        For an unknown kind, target or policy, or times outside their range.
    """

    kind: str = "none"
    to: str | None = None
    slots: tuple[str, ...] | None = None
    onset: float = 0.0
    end: float = 1.0
    optimizer: str = "keep"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown_name("kind of stress", self.kind, KINDS)
        if self.optimizer not in OPTIMIZER_POLICIES:
            raise unknown_name("optimizer policy", self.optimizer, OPTIMIZER_POLICIES)
        if self.kind == "none" and self.to is not None:
            raise expected(
                "no target for a stress of kind 'none'", repr(self.to), "name a kind: activation or loss"
            )
        if self.kind != "none" and self.to is None:
            raise expected(
                f"the {self.kind} to swap to", "none", f"give to=..., such as {_EXAMPLES[self.kind]!r}"
            )
        if self.kind == "activation":
            palette.activation(str(self.to))
        if self.kind == "loss":
            palette.loss(str(self.to))
        if self.slots is not None and self.kind != "activation":
            raise AkpError(f"slots are for an activation swap, got kind {self.kind!r}; leave slots out")
        if isinstance(self.slots, str):
            raise expected("slots to be a list of slot names", repr(self.slots))
        if self.slots is not None:
            object.__setattr__(self, "slots", tuple(self.slots))
        for name, value in (("onset", self.onset), ("end", self.end)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise expected(f"{name} as a share of training from 0 to 1", repr(value))
        if self.end < self.onset:
            raise expected(f"end at or after the onset {self.onset}", repr(self.end), "use end=1 for a press")

    @property
    def name(self) -> str:
        """What is swapped, without when: ``tanh``, ``loss: hinge``, ``no-op``."""
        what = {"none": "no-op", "activation": f"{self.to}", "loss": f"loss: {self.to}"}[self.kind]
        where = (
            f" in {', '.join(s.removesuffix('.slot') for s in self.slots)}" if self.slots is not None else ""
        )
        undone = f" until {percent(self.end)}" if self.end < 1 else ""
        reset = ", optimiser reset" if self.optimizer == "reset" else ""
        return what + where + undone + reset

    def at(self, onset: float) -> Stress:
        """The same stress with another onset; a pulse keeps its length (cut off at the end of training)."""
        end = 1.0 if self.end == 1 else min(1.0, round(onset + self.end - self.onset, 9))
        return replace(self, onset=onset, end=end)


def swaps(activations: Sequence[str] = (), losses: Sequence[str] = ()) -> tuple[Stress, ...]:
    """One stress for each named activation, in every slot, and one for each named loss."""
    return (*(Stress("activation", name) for name in activations), *(Stress("loss", name) for name in losses))


_EXAMPLES = {"activation": "tanh", "loss": "hinge"}


@dataclass(frozen=True)
class Phase:
    """A stretch of training with constant functions, steps ``start`` (included) to ``stop`` (excluded).

    Attributes
    ----------
    start, stop : int
        Steps counted from the beginning of training.
    activations : tuple of (slot, name) pairs
        What each slot of the network holds.
    loss : str
    reset_optimizer : bool
        Whether the optimiser forgets its state on entering.
    """

    start: int
    stop: int
    activations: tuple[tuple[str, str], ...]
    loss: str
    reset_optimizer: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Every field as plain data, with the identity of each function beside its name."""
        functions = sorted({palette.activation(name) for _, name in self.activations}, key=lambda a: a.name)
        return asdict(self) | {
            "functions": {a.name: a.identity for a in functions}
            | {self.loss: palette.loss(self.loss).identity}
        }


def percent(share: float) -> str:
    """A share as a percentage in as few digits as tell it from its neighbours: ``25%``, ``12.5%``."""
    return f"{100 * share:.6g}%"


def step_of(share: float, steps: int) -> int:
    """The step at which a share of training has passed: ``floor(share * steps + 1/2)``."""
    return math.floor(share * steps + 0.5)


def unstressed(network: Network, loss: str, start: int, stop: int) -> Phase:
    """The phase in which everything is as it was built."""
    return Phase(start, stop, tuple((slot, network.activation) for slot in network.slots), loss)


def phases(stress: Stress, network: Network, loss: str, steps: int) -> tuple[Phase, ...]:
    """Compile a stress to the phases from its onset to the end of training.

    Parameters
    ----------
    stress : Stress
    network : Network
        Names the slots and what they hold before the stress.
    loss : str
        The loss before the stress.
    steps : int
        Length of the whole training.

    Returns
    -------
    tuple of Phase
        One for a press, two for a pulse that ends before training does. Empty phases are left out, so a
        pulse of no length compiles to the unstressed phase alone.

    Raises
    ------
    AkpError
        For a slot the network does not have, or slots that name nothing.
    """
    places = network.slots if stress.slots is None else stress.slots
    for slot in places:
        if slot not in network.slots:
            raise unknown_name("slot", slot, network.slots)
    if stress.kind == "activation" and not places:
        raise AkpError(
            f"the stress {stress.name!r} names no slot, so it would have no effect; valid: {network.slots}"
        )
    onset, end = step_of(stress.onset, steps), step_of(stress.end, steps)
    calm = unstressed(network, loss, end, steps)
    held = {
        slot: stress.to if stress.kind == "activation" and slot in places else a
        for slot, a in calm.activations
    }
    struck = Phase(
        onset,
        end,
        tuple((slot, str(a)) for slot, a in held.items()),
        str(stress.to) if stress.kind == "loss" else loss,
        stress.optimizer == "reset",
    )
    after = replace(calm, reset_optimizer=stress.optimizer == "reset" and end > onset)
    return tuple(phase for phase in (struck, after) if phase.stop > phase.start)
