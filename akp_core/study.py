"""A study as frozen data: which families of networks are to be compared, and what they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from akp_core.datasets import Dataset
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.networks import Architecture, Network, Own
from akp_core.recipe import Recipe
from akp_core.seeds import derive
from akp_core.stress import Stress, percent, step_of

CONTROL = "control"


@dataclass(frozen=True, eq=False)
class Study:
    """Families of networks that differ in their stress and its onset, and in nothing else.

    Attributes
    ----------
    data : Dataset
        From `akp_core.datasets.load`.
    stresses : tuple of Stress
        Each is set in at every one of `onsets`. The unstressed control family is always there.
    onsets : tuple of float
        Shares of training in [0, 1).
    members : int
        Networks in each family. Member ``i`` has the same seed in every family: the same first weights
        and the same batches, so each stressed network has an unstressed twin.
    network : Network or Own
    recipe : Recipe
    taps : tuple of str or None
        Where representations are fingerprinted; None means every tap of the network.
    looks : int
        After each 1/looks of training every network is looked at, besides the epochs 0, 1, 2, 4, ... and
        the ends of phases; so the networks of all families are seen at common times. 0: at no more.
    seed : int

    Raises
    ------
    AkpError
        For values out of range, unknown taps or slots, a stress given twice, or images that do not fit the
        network.
    """

    data: Dataset
    stresses: tuple[Stress, ...] = ()
    onsets: tuple[float, ...] = (0.25,)
    members: int = 10
    network: Architecture = field(default_factory=Network)
    recipe: Recipe = field(default_factory=Recipe)
    taps: tuple[str, ...] | None = None
    looks: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.data, Dataset):
            raise expected("data from akp_core.datasets.load", type(self.data).__name__)
        if not isinstance(self.network, Network | Own):
            raise expected("network to be a Network, or Own(...) for a module of yours", repr(self.network))
        if not isinstance(self.recipe, Recipe):
            raise expected("recipe to be a Recipe", repr(self.recipe))
        self.network.check(self.data.shape, self.data.classes)
        whole_number("members", self.members, 1)
        whole_number("looks", self.looks, 0)
        whole_number("seed", self.seed, 0)
        lists = {"stresses": "Stress objects", "onsets": "shares of training", "taps": "tap names"}
        for name, what in lists.items():
            given = getattr(self, name)
            allowed = isinstance(given, Sequence) or (name == "taps" and given is None)
            if isinstance(given, str) or not allowed:
                raise expected(f"{name} to be a list of {what}", repr(given))
        object.__setattr__(self, "stresses", tuple(self.stresses))
        object.__setattr__(self, "onsets", tuple(self.onsets))
        object.__setattr__(self, "taps", tuple(self.network.taps if self.taps is None else self.taps))
        if not self.taps or len(set(self.taps)) < len(self.taps):
            raise expected("taps to name at least one place, each once", repr(self.taps))
        for tap in self.taps:
            if tap not in self.network.taps:
                raise unknown_name("tap", tap, self.network.taps)
        for stress in self.stresses:
            if not isinstance(stress, Stress):
                raise expected("stresses to be a list of Stress objects", f"{stress!r} in it")
        for onset in self.onsets:
            if isinstance(onset, bool) or not isinstance(onset, int | float) or not 0 <= onset < 1:
                raise expected("each onset as a share of training, at least 0 and below 1", repr(onset))
            if step_of(onset, self.steps) == self.steps:
                raise AkpError(
                    f"onset {onset} rounds to the end of training ({self.steps} steps); choose an earlier one"
                )
        _each_once([step_of(onset, self.steps) for onset in self.onsets], [percent(o) for o in self.onsets])
        _each_once([family.name for family in self.families], [family.name for family in self.families])

    @property
    def steps(self) -> int:
        """Length of one whole training."""
        return self.recipe.epochs * self.recipe.steps_per_epoch(len(self.data.train))

    @property
    def families(self) -> tuple[Family, ...]:
        """The control, then every stress at every onset."""
        stressed = (Family(stress.at(onset)) for stress in self.stresses for onset in self.onsets)
        return (Family(None), *stressed)

    def member_seed(self, member: int) -> int:
        """The seed of a member, the same in all families and however many members there are."""
        return derive(self.seed, "member", member)


def _each_once(things: Sequence[object], names: Sequence[str]) -> None:
    for k, thing in enumerate(things):
        if thing in things[:k]:
            first = names[things.index(thing)]
            also = "" if names[k] == first else f" (as {first!r} too, which rounds to the same step)"
            raise AkpError(f"{names[k]!r} is asked for twice{also}; give each stress and each onset once")


@dataclass(frozen=True)
class Family:
    """Members that share architecture, recipe and stress, and differ only in their seeds."""

    stress: Stress | None

    @property
    def name(self) -> str:
        """``control``, or the stress and its onset: ``tanh @ 25%``."""
        return CONTROL if self.stress is None else f"{self.stress.name} @ {percent(self.stress.onset)}"
