"""A study as a tree of training segments.

The unstressed training is the trunk. It is cut at fixed places (epochs 1, 2, 4, ... and every eighth of
training), whatever the study asks, and every stress forks from it at its onset: from a cut if the onset
falls on one, else from the end of a short stub grown from the cut before. So what came before an onset is
trained once, and a new onset, stress or member adds only its own branch. The key of a segment is the hash
of all that determines its bits, its parent's key included.

A segment holds one member, so that results depend neither on how many members a study has nor on which of
them are trained together. Segments of one phase may be trained as one block (`akp_core.shard`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from akp_core.family import ENGINE
from akp_core.networks import Architecture
from akp_core.probes import grid
from akp_core.recipe import Recipe
from akp_core.store import digest
from akp_core.stress import Phase, phases, step_of, unstressed
from akp_core.study import CONTROL, Study

CUTS = 8


@dataclass(frozen=True)
class Setting:
    """What all segments of a study share."""

    data: str
    shape: tuple[int, int, int]
    classes: int
    network: Architecture
    recipe: Recipe
    taps: tuple[str, ...]
    device: str
    engine: str

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Every field as plain data."""
        names = ("data", "shape", "classes", "taps", "device", "engine")
        plain = {name: getattr(self, name) for name in names}
        return plain | {"network": self.network.spec, "recipe": asdict(self.recipe)}


@dataclass(frozen=True)
class Segment:
    """A member trained through one phase.

    Attributes
    ----------
    setting : Setting
    parent : str or None
        Key of the segment it goes on from.
    seed : int
        The member's.
    phase : Phase
    probe_steps : tuple of int
        Steps of this phase after which the members are looked at.
    """

    setting: Setting
    parent: str | None
    seed: int
    phase: Phase
    probe_steps: tuple[int, ...]

    @property
    def spec(self) -> dict[str, Any]:
        """All that determines the bits, as plain data."""
        own = {"parent": self.parent, "seeds": [self.seed], "probe_steps": self.probe_steps}
        versions = {"engine": ENGINE, "torch": torch.__version__}
        return own | versions | {"setting": self.setting.spec, "phase": self.phase.as_dict()}

    @cached_property
    def key(self) -> str:
        """Hash of the specification."""
        return digest(self.spec)

    @property
    def steps(self) -> int:
        """Training steps in it."""
        return self.phase.stop - self.phase.start


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


def cuts(recipe: Recipe, per_epoch: int) -> tuple[int, ...]:
    """Steps at which the trunk can be forked: epochs 0, 1, 2, 4, ... and every eighth of training."""
    steps = recipe.epochs * per_epoch
    eighths = {step_of(k / CUTS, steps) for k in range(CUTS + 1)}
    return tuple(sorted(eighths | {epoch * per_epoch for epoch in grid(recipe.epochs)}))


def grow(
    study: Study, device: torch.device, engine: str = "loop", members: Iterable[int] | None = None
) -> Tree:
    """Lay out the tree of a study on a kind of device and engine; nothing is trained.

    Parameters
    ----------
    study : Study
    device : torch.device
    engine : str
        A name of `akp_core.engines.ENGINES`.
    members : iterable of int or None
        Only these members' part of the tree, which depends on no other member; None means all.

    Notes
    -----
    Cost: proportional to the number of families times members.
    """
    tree = Tree()
    per_epoch = study.recipe.steps_per_epoch(len(study.data.train))
    places = cuts(study.recipe, per_epoch)
    seen = {epoch * per_epoch for epoch in grid(study.recipe.epochs)}
    seen |= {step_of(k / study.looks, study.steps) for k in range(study.looks + 1) if study.looks}
    data = study.data
    images = data.fingerprint, data.shape, data.classes
    setting = Setting(*images, study.network, study.recipe, study.taps or (), device.type, engine)

    def add(parent: str | None, seed: int, phase: Phase, *, look: bool = True) -> str:
        looks = {s for s in seen if phase.start < s <= phase.stop or s == phase.start == 0}
        probes = tuple(sorted(looks | ({phase.stop} if look else set())))
        segment = Segment(setting, parent, seed, phase, probes)
        tree.segments.setdefault(segment.key, segment)
        return segment.key

    def calm(start: int, stop: int) -> Phase:
        return unstressed(study.network, study.recipe.loss, start, stop)

    trunk_phases = [calm(start, stop) for start, stop in pairwise(places)]
    stressed = [
        (family, phases(family.stress, study.network, study.recipe.loss, study.steps))
        for family in study.families
        if family.stress is not None
    ]
    for member in range(study.members) if members is None else members:
        seed = study.member_seed(member)
        trunk: dict[int, str | None] = {0: None}
        for phase in trunk_phases:
            trunk[phase.stop] = add(trunk[phase.start], seed, phase, look=False)
        tree.leaves[CONTROL, member] = str(trunk[study.steps])
        for family, branch in stressed:
            onset = branch[0].start
            cut = max(s for s in places if s <= onset)
            key = trunk[cut] if cut == onset else add(trunk[cut], seed, calm(cut, onset))
            for phase in branch:
                key = add(key, seed, phase)
            tree.leaves[family.name, member] = str(key)
    return tree
