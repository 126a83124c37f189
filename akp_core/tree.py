"""A study as a tree of training segments.

The unstressed training is the trunk. It is cut at fixed epochs (0, 1, 2, 4, ... and the last), whatever
the study asks, and every stress forks from it at its onset: from a cut if the onset falls on one, else
from the end of a short stub grown from the cut before. So what came before an onset is trained once, and
a new onset, stress or member adds only its own branch. The key of a segment is the hash of all that
determines its bits, its parent's key included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from akp_core.datasets import Dataset
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.family import ENGINE
from akp_core.networks import Network
from akp_core.probes import grid
from akp_core.recipe import Recipe
from akp_core.seeds import derive
from akp_core.store import digest
from akp_core.stress import Phase, Stress, percent, phases, step_of, unstressed

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
    network : Network
    recipe : Recipe
    taps : tuple of str or None
        Where representations are fingerprinted; None means every tap of the network.
    seed : int

    Raises
    ------
    AkpError
        For values out of range, unknown taps or slots, or a stress given twice.
    """

    data: Dataset
    stresses: tuple[Stress, ...] = ()
    onsets: tuple[float, ...] = (0.25,)
    members: int = 10
    network: Network = field(default_factory=Network)
    recipe: Recipe = field(default_factory=Recipe)
    taps: tuple[str, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.data, Dataset):
            raise expected("data from akp_core.datasets.load", type(self.data).__name__)
        for name, kind in (("network", Network), ("recipe", Recipe)):
            if not isinstance(getattr(self, name), kind):
                raise expected(f"{name} to be a {kind.__name__}", repr(getattr(self, name)))
        whole_number("members", self.members, 1)
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


@dataclass(frozen=True)
class Setting:
    """What all segments of a study share."""

    data: str
    network: Network
    recipe: Recipe
    taps: tuple[str, ...]
    device: str


@dataclass(frozen=True)
class Segment:
    """A block of members trained through one phase.

    Attributes
    ----------
    setting : Setting
    parent : str or None
        Key of the segment it goes on from.
    seeds : tuple of int
        One a member.
    phase : Phase
    probe_steps : tuple of int
        Steps of this phase after which the members are looked at.
    """

    setting: Setting
    parent: str | None
    seeds: tuple[int, ...]
    phase: Phase
    probe_steps: tuple[int, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """All that determines the bits, as plain data."""
        return asdict(self) | {"phase": self.phase.as_dict(), "engine": ENGINE, "torch": torch.__version__}

    @cached_property
    def key(self) -> str:
        """Hash of the specification."""
        return digest(self.spec)

    @property
    def steps(self) -> int:
        """Training steps in it, over all its members."""
        return (self.phase.stop - self.phase.start) * len(self.seeds)


@dataclass
class Tree:
    """The segments of a study, parents before children, and the leaf of each family's each member."""

    segments: dict[str, Segment] = field(default_factory=dict)
    leaves: dict[tuple[str, int], str] = field(default_factory=dict)

    def path(self, key: str) -> Iterator[Segment]:
        """The segments from the root to one of them."""
        segment = self.segments[key]
        if segment.parent is not None:
            yield from self.path(segment.parent)
        yield segment


def grow(study: Study, device: torch.device) -> Tree:
    """Lay out the tree of a study on a kind of device; nothing is trained.

    Cost: proportional to the number of families times members.
    """
    tree = Tree()
    per_epoch = study.recipe.steps_per_epoch(len(study.data.train))
    cuts = [epoch * per_epoch for epoch in grid(study.recipe.epochs)]
    setting = Setting(study.data.fingerprint, study.network, study.recipe, study.taps or (), device.type)

    def add(parent: str | None, seed: int, phase: Phase) -> str:
        looks = [s for s in cuts if phase.start < s < phase.stop or s == phase.start == 0]
        segment = Segment(setting, parent, (seed,), phase, (*looks, phase.stop))
        tree.segments.setdefault(segment.key, segment)
        return segment.key

    def calm(start: int, stop: int) -> Phase:
        return unstressed(study.network, study.recipe.loss, start, stop)

    for member in range(study.members):
        seed = study.member_seed(member)
        trunk: dict[int, str | None] = {0: None}
        for start, stop in pairwise(cuts):
            trunk[stop] = add(trunk[start], seed, calm(start, stop))
        for family in study.families:
            if family.stress is None:
                tree.leaves[family.name, member] = str(trunk[study.steps])
                continue
            onset = step_of(family.stress.onset, study.steps)
            cut = max(s for s in cuts if s <= onset)
            key = trunk[cut] if cut == onset else add(trunk[cut], seed, calm(cut, onset))
            for phase in phases(family.stress, study.network, study.recipe.loss, study.steps):
                key = add(key, seed, phase)
            tree.leaves[family.name, member] = str(key)
    return tree
