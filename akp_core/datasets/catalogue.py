"""What is known of every image before any is opened - class, group, part - and the four parts made of it.

Without a split, whole groups are divided. A split that is given is kept: `test` is never touched, and what
is missing is taken from `train` by whole groups - a class-balanced probe, and a tenth of the groups as
validation. A group of the probe is in no other part, so some of its images may be left over; they are not
used. Where a group holds several classes, it counts as its most frequent one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from akp_core.datasets.dataset import PARTS, Split
from akp_core.datasets.splitting import FRACTIONS, carve_probe, group_labels, split_groups
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.seeds import derive

PROBE = 256
SPELLINGS: Mapping[str, str] = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "probe": "probe",
}
"""How a part may be written, and its name here."""
Rows = dict[str, Int64[Tensor, " _"]]


@dataclass(frozen=True)
class Draw:
    """How many images to take, and the seed that decides which.

    Parameters
    ----------
    probe : int, optional
        Number of probe images, 2 or more, when the split marks none; by default 256, or as many of them as a
        quarter of the images and half of the groups of each class allow.
    limit : int, optional
        At most so many images of each class in train, in validation and in test, drawn at random; those of a
        smaller limit are among those of a larger one. The probe has its own number.
    seed : int
        >= 0.

    Raises
    ------
    AkpError
        If an option is out of range.
    """

    probe: int | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        whole_number("seed", self.seed, 0, 2**63 - 1)
        if self.probe is not None:
            whole_number("probe", self.probe, 2, 10**9)
        if self.limit is not None:
            whole_number("limit", self.limit, 1, 10**9)


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Class, group and part of each image of a source.

    Parameters
    ----------
    name : str
        The source, for messages.
    labels : int64, shape (n,)
        Class of each image, 0 to classes - 1.
    groups : int64, shape (n,)
        What each image comes from.
    class_names : tuple of str
        Name of each class.
    parts : array of str, shape (n,), or None
        The part of each image, a key of `PARTS`, where the source gives a split.
    rows : int64, shape (n,)
        Where each image is in the source; by default 0 to n - 1.
    """

    name: str
    labels: Int64[Tensor, " n"]
    groups: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    parts: Shaped[np.ndarray, " n"] | None = None
    rows: Int64[Tensor, " n"] = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.class_names
        ):
            span = f"{int(self.labels.min())} to {int(self.labels.max())}"
            raise expected(
                f"labels of {self.name} from 0 to {len(self.class_names) - 1}, one class name each", span
            )
        if not len(self.rows):
            object.__setattr__(self, "rows", torch.arange(len(self.labels)))

    def of_classes(self, classes: Sequence[str] | None) -> Catalogue:
        """The images of some classes, relabelled in the order they are asked for.

        Parameters
        ----------
        classes : sequence of str, or None
            At least two. Each is the name of a class, or names joined by ``+`` to make one class of them:
            ``["cat", "dog"]``, ``["normal", "benign+malignant"]``. None means all classes as they are.

        Raises
        ------
        AkpError
            If a name is unknown or comes twice, or there are fewer than two.
        """
        if classes is None:
            return self
        if isinstance(classes, str) or not isinstance(classes, Sequence) or len(classes) < 2:
            raise expected("classes as a list of at least two", repr(classes), 'such as ["cat", "dog"]')
        place = torch.full((len(self.class_names),), -1)
        for new, asked in enumerate(classes):
            for one in [asked] if asked in self.class_names else str(asked).split("+"):
                if one not in self.class_names:
                    raise unknown_name(f"class of {self.name}", one, self.class_names)
                old = self.class_names.index(one)
                if place[old] >= 0:
                    raise expected("each class once in classes", f"{one!r} twice")
                place[old] = new
        labels = place[self.labels]
        kept = labels >= 0
        return replace(
            self,
            labels=labels[kept],
            groups=self.groups[kept],
            class_names=tuple(classes),
            parts=None if self.parts is None else self.parts[kept.numpy()],
            rows=self.rows[kept],
        )

    def divide(self, draw: Draw) -> Rows:
        """Give every part its images.

        Parameters
        ----------
        draw : Draw
            How many to take, and the seed.

        Returns
        -------
        dict of str to int64, shape (m,)
            For each name of `PARTS`, places in this catalogue, ascending.

        Raises
        ------
        AkpError
            If a part would be without one of the classes, or the source marks its own probe and a number of
            probe images is asked for.
        """
        probe = draw.probe
        generator = torch.Generator().manual_seed(draw.seed)
        given = self._given()
        self._check_groups(given)
        if given is None:
            part = self._split(probe, generator)
        elif probe is not None and "probe" in given:
            raise AkpError(f"{self.name} marks its own probe images: leave out probe={probe}")
        else:
            part = self._complete(given, probe, generator)
        self._check_classes(part)
        return part if draw.limit is None else self._limited(part, draw.limit, draw.seed)

    def assemble(
        self, read: Callable[[Int64[Tensor, " m"]], Float[Tensor, "m c h w"]], draw: Draw
    ) -> dict[str, Split]:
        """Divide the images and open those that are used: ``read`` takes ascending rows of the source."""
        return {
            name: Split(read(self.rows[index]), self.labels[index], self.groups[index])
            for name, index in self.divide(draw).items()
        }

    def _given(self) -> Rows | None:
        if self.parts is None:
            return None
        return {
            str(name): torch.from_numpy((self.parts == name).nonzero()[0]) for name in np.unique(self.parts)
        }

    def _split(self, probe: int | None, generator: torch.Generator) -> Rows:
        chosen, reserved = _carve(self.labels, self.groups, probe, generator)
        rest = (~reserved).nonzero()[:, 0]
        return self._by_group(rest, FRACTIONS, generator) | {"probe": chosen.nonzero()[:, 0]}

    def _complete(self, given: Rows, probe: int | None, generator: torch.Generator) -> Rows:
        part = dict(given)
        if "probe" not in part:
            train = part["train"]
            chosen, reserved = _carve(self.labels[train], self.groups[train], probe, generator)
            part["probe"], part["train"] = train[chosen], train[~reserved]
        if "validation" not in part:
            part |= self._by_group(part["train"], {"train": 0.9, "validation": 0.1}, generator)
        return {name: part[name] for name in PARTS}

    def _by_group(
        self, rows: Int64[Tensor, " m"], fractions: Mapping[str, float], generator: torch.Generator
    ) -> Rows:
        names, majority = group_labels(self.labels[rows], self.groups[rows])
        parts = split_groups(majority, fractions, generator)
        return {name: rows[torch.isin(self.groups[rows], names[index])] for name, index in parts.items()}

    def _limited(self, part: Rows, limit: int, seed: int) -> Rows:
        generator = torch.Generator().manual_seed(derive(seed, "limit"))
        out = dict(part)
        for name in ("train", "validation", "test"):
            rows, kept = part[name], []
            for label in range(len(self.class_names)):
                members = rows[self.labels[rows] == label]
                kept.append(members[torch.randperm(len(members), generator=generator)[:limit]])
            out[name] = torch.cat(kept).sort().values
        return out

    def _check_groups(self, given: Rows | None) -> None:
        """Refuse what cannot be split, while the names of the classes are at hand."""
        # The probe takes at most half of the groups of a class, rounded down; every other part needs one.
        rows, needed, where = torch.arange(len(self.labels)), 5, f"{self.name}, to split it"
        if given is not None:
            for name in ("train", "test"):
                if name not in given:
                    do = "or leave out the split"
                    raise expected(f"{name!r} in the split of {self.name}", ", ".join(sorted(given)), do)
            rows, needed = given["train"], 1 + ("probe" not in given) + ("validation" not in given)
            where = f"the train part of {self.name}"
        majority = group_labels(self.labels[rows], self.groups[rows])[1]
        count = torch.bincount(majority, minlength=len(self.class_names)).tolist()
        for label, found in zip(self.class_names, count, strict=True):
            if found < needed:
                what = f"at least {needed} groups that are mostly {label!r} in {where}"
                raise expected(what, found, "add images of it")

    def _check_classes(self, part: Rows) -> None:
        for name, rows in part.items():
            count = torch.bincount(self.labels[rows], minlength=len(self.class_names)).tolist()
            for label, images in zip(self.class_names, count, strict=True):
                if not images:
                    raise expected(
                        f"images of each class in {name}", f"none of {label!r}", "add images or groups of it"
                    )


def _carve(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], probe: int | None, generator: torch.Generator
) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    wanted = max(2, min(PROBE, len(labels) // 4)) if probe is None else probe
    return carve_probe(labels, groups, wanted, generator, exact=probe is not None)
