"""A stress as data: what is hot-swapped or disturbed, how much, where, from when until when.

A stress is compiled to *phases*: stretches of training inside which every function and every dose stays
the same. A swap therefore happens between two steps and never inside one. A stress that lasts to the end of
training is a *press*, one that is undone before is a *pulse* (words of disturbance ecology).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from akp_core import palette
from akp_core.disturbances import DISTURBANCES, TARGETS, Disturbance, disturbance
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.networks import Architecture
from akp_core.palette import Activation, Mixture, PerExample

SWAPS = ("activation", "loss")
OPTIMIZER_POLICIES = ("keep", "reset")


@dataclass(frozen=True)
class Stress:
    """A perturbation of training.

    Attributes
    ----------
    kind : str
        ``activation`` or ``loss``: a swap; the name of a registered disturbance; or ``none``, which passes
        through the whole machinery and changes nothing.
    to : str or None
        The activation or loss that is swapped in; None for all else.
    dose : float or None
        Of a swap, the share of the new function in [0, 1], all of it unless given: at dose d the network
        computes (1 - d) old + d new. Of a disturbance, a number in its range, with no default
        (`akp_core.disturbances`).
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
        For an unknown kind, target or policy, or a dose or times outside their range.
    """

    kind: str = "none"
    to: str | None = None
    dose: float | None = None
    slots: tuple[str, ...] | None = None
    onset: float = 0.0
    end: float = 1.0
    optimizer: str = "keep"

    def __post_init__(self) -> None:
        kinds = ("none", *SWAPS, *DISTURBANCES)
        if self.kind not in kinds:
            raise unknown_name("kind of stress", self.kind, kinds)
        if self.optimizer not in OPTIMIZER_POLICIES:
            raise unknown_name("optimizer policy", self.optimizer, OPTIMIZER_POLICIES)
        self._check_target()
        object.__setattr__(self, "dose", self._checked_dose())
        if self.slots is not None and self.kind != "activation":
            raise AkpError(f"slots are for an activation swap, got kind {self.kind!r}; leave slots out")
        if isinstance(self.slots, str):
            raise expected("slots to be a list of slot names", repr(self.slots))
        if self.slots is not None:
            object.__setattr__(self, "slots", tuple(self.slots))
        _share("onset", self.onset, "training")
        _share("end", self.end, "training")
        if self.end < self.onset:
            raise expected(f"end at or after the onset {self.onset}", repr(self.end), "use end=1 for a press")

    def _check_target(self) -> None:
        if self.kind not in SWAPS:
            if self.to is not None:
                raise expected(
                    f"no target for a stress of kind {self.kind!r}",
                    repr(self.to),
                    "name a kind: activation or loss; a strength is given as dose=...",
                )
            return
        if self.to is None:
            raise expected(
                f"the {self.kind} to swap to", "none", f"give to=..., such as {_EXAMPLES[self.kind]!r}"
            )
        known = palette.activation if self.kind == "activation" else palette.loss
        known(self.to)

    def _checked_dose(self) -> float | None:
        if self.kind == "none":
            if self.dose is not None:
                raise expected("no dose for a stress of kind 'none'", repr(self.dose))
            return None
        if self.kind in SWAPS:
            return 1.0 if self.dose is None else _share("dose", self.dose, f"the new {self.kind}")
        entry = disturbance(self.kind)
        if self.dose is None:
            raise expected(f"a dose of {entry.name} {entry.range}", "none", "give dose=...")
        return entry.checked(self.dose)

    @property
    def name(self) -> str:
        """What is done, without when: ``tanh``, ``loss: hinge, dose 0.5``, ``label noise 0.2``, ``no-op``."""
        dose = "" if self.dose is None else f"{self.dose:.12g}"
        if self.kind in SWAPS:
            what = f"{self.to}" if self.kind == "activation" else f"loss: {self.to}"
            dose = "" if self.dose == 1 else f", dose {dose}"
        elif self.kind == "none":
            what = "no-op"
        else:
            what = self.kind.replace("_", " ")
            dose = f" x {dose}" if disturbance(self.kind).target == "rate" else f" {dose}"
        where = (
            f" in {', '.join(s.removesuffix('.slot') for s in self.slots)}" if self.slots is not None else ""
        )
        undone = f" for {percent(round(self.end - self.onset, 9))}" if self.end < 1 else ""
        reset = ", optimiser reset" if self.optimizer == "reset" else ""
        return what + where + dose + undone + reset

    def at(self, onset: float) -> Stress:
        """The same stress with another onset; a pulse keeps its length (cut off at the end of training)."""
        end = 1.0 if self.end == 1 else min(1.0, round(onset + self.end - self.onset, 9))
        return replace(self, onset=onset, end=end)


def swaps(
    activations: Sequence[str] = (), losses: Sequence[str] = (), *, optimizer: str = "keep"
) -> tuple[Stress, ...]:
    """One stress for each named activation, in every slot, and one for each named loss."""
    named = (("activation", activations), ("loss", losses))
    return tuple(Stress(kind, name, optimizer=optimizer) for kind, names in named for name in names)


def pulses(stresses: Sequence[Stress], length: float) -> tuple[Stress, ...]:
    """The same stresses, each undone after a share of training; ``at`` keeps the length.

    Raises
    ------
    AkpError
        If the length is no share of training in (0, 1).
    """
    if not 0 < _share("length", length, "training") < 1:
        raise expected("the length of a pulse between 0 and 1", repr(length), "a press is a stress as it is")
    return tuple(replace(stress, end=min(1.0, round(stress.onset + length, 9))) for stress in stresses)


_EXAMPLES = {"activation": "tanh", "loss": "hinge"}


def _share(name: str, value: object, whole: str) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    if not (fits and 0 <= value <= 1):  # type: ignore[operator]
        raise expected(f"{name} as a share of {whole} from 0 to 1", repr(value))
    return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Phase:
    """A stretch of training with constant functions, steps ``start`` (included) to ``stop`` (excluded).

    Attributes
    ----------
    start, stop : int
        Steps counted from the beginning of training.
    activations : tuple of (slot, mixture) pairs
        What each slot of the network holds; a mixture names activations and their weights.
    loss : mixture
    disturbances : tuple of (name, dose) pairs
        What is disturbed besides, in the order in which it acts.
    reset_optimizer : bool
        Whether the optimiser forgets its state on entering.
    """

    start: int
    stop: int
    activations: tuple[tuple[str, Mixture], ...]
    loss: Mixture
    disturbances: tuple[tuple[str, float], ...] = ()
    reset_optimizer: bool = False

    def held(self) -> dict[str, Activation]:
        """The activation of each slot; an unknown name raises `AkpError`."""
        return {slot: palette.mixed_activation(mixture) for slot, mixture in self.activations}

    def loss_function(self) -> PerExample:
        """The loss, ``(logits (b, classes), labels (b,)) -> (b,)``; an unknown name raises `AkpError`."""
        return palette.mixed_loss(self.loss)

    def acting_on(self, target: str) -> tuple[tuple[Disturbance, float], ...]:
        """The disturbances of one target (`akp_core.disturbances.TARGETS`) with their doses, in order."""
        if target not in TARGETS:
            raise unknown_name("target of a disturbance", target, TARGETS)
        acting = ((disturbance(name), dose) for name, dose in self.disturbances)
        return tuple((entry, dose) for entry, dose in acting if entry.target == target)

    def as_dict(self) -> dict[str, Any]:
        """Every field as plain data, with the identity of each function beside its name."""
        names = {name for _, mixture in self.activations for name, _ in mixture}
        functions = {f"activation {name}": palette.activation(name).identity for name in names}
        functions |= {f"loss {name}": palette.loss(name).identity for name, _ in self.loss}
        functions |= {f"disturbance {name}": disturbance(name).identity for name, _ in self.disturbances}
        return asdict(self) | {"functions": functions}


def percent(share: float) -> str:
    """A share as a percentage in as few digits as tell it from its neighbours: ``25%``, ``12.5%``."""
    return f"{100 * share:.6g}%"


def step_of(share: float, steps: int) -> int:
    """The step at which a share of training has passed: ``floor(share * steps + 1/2)``."""
    return math.floor(share * steps + 0.5)


def unstressed(network: Architecture, loss: str, start: int, stop: int) -> Phase:
    """The phase in which everything is as it was built."""
    return Phase(start, stop, tuple((slot, ((name, 1.0),)) for slot, name in network.held), ((loss, 1.0),))


def _mixed(mixture: Mixture, stress: Stress) -> Mixture:
    """``(1 - dose) mixture + dose to``; a name of weight 0 is left out."""
    dose = 1.0 if stress.dose is None else stress.dose
    weights = {name: weight * (1 - dose) for name, weight in mixture}
    weights[str(stress.to)] = weights.get(str(stress.to), 0.0) + dose
    return tuple((name, weight) for name, weight in weights.items() if weight > 0)


def phases(stress: Stress, network: Architecture, loss: str, steps: int) -> tuple[Phase, ...]:
    """Compile a stress to the phases from its onset to the end of training.

    Parameters
    ----------
    stress : Stress
    network : Architecture
        Names the slots and what they hold before the stress.
    loss : str
        The loss before the stress.
    steps : int
        Length of the whole training.

    Returns
    -------
    tuple of Phase
        One for a press, two for a pulse that ends before training does. Empty phases are left out, so a
        pulse of no length compiles to the unstressed phase alone. A swap of dose 0 and a disturbance of
        neutral dose compile to the unstressed functions.

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
    struck = replace(calm, start=onset, stop=end, reset_optimizer=stress.optimizer == "reset")
    if stress.kind == "activation":
        held = ((slot, _mixed(m, stress) if slot in places else m) for slot, m in calm.activations)
        struck = replace(struck, activations=tuple(held))
    elif stress.kind == "loss":
        struck = replace(struck, loss=_mixed(calm.loss, stress))
    elif stress.dose is not None and stress.dose != disturbance(stress.kind).neutral:
        struck = replace(struck, disturbances=((stress.kind, stress.dose),))
    after = replace(calm, reset_optimizer=stress.optimizer == "reset" and end > onset)
    return tuple(phase for phase in (struck, after) if phase.stop > phase.start)
