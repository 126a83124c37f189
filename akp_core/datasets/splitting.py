"""Dividing groups - patients, slides, source images - among the parts of a data set.

A group is never divided: images of one patient are not independent, so a patient seen in training must not be
tested on. `carve_probe` takes the probe first, with as many images of each class; `split_groups` divides the
rest so that every part has the same share of each class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from akp_core.errors import AkpError, expected

FRACTIONS: Mapping[str, float] = {"train": 0.62, "validation": 0.11, "test": 0.27}
"""How the groups that are left after the probe are divided by default."""


def group_labels(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"]
) -> tuple[Int64[Tensor, " g"], Int64[Tensor, " g"]]:
    """Each group and its most frequent label (the smallest label if two are equally frequent).

    Parameters
    ----------
    labels : int64, shape (n,)
        Label of each image, >= 0.
    groups : int64, shape (n,)
        Group of each image.

    Returns
    -------
    names, majority : int64, shape (g,)
        The distinct groups in ascending order, and the label that stands for each.
    """
    names, inverse = torch.unique(groups, return_inverse=True)
    classes = int(labels.max()) + 1 if len(labels) else 0
    counts = torch.bincount(inverse * classes + labels, minlength=len(names) * classes)
    return names, counts.view(len(names), classes).argmax(dim=1)


def split_groups(
    labels: Int64[Tensor, " g"], fractions: Mapping[str, float], generator: torch.Generator
) -> dict[str, Int64[Tensor, " _"]]:
    """Divide groups at random among named parts, stratified by class.

    Within each class the numbers are the fractions of its groups, rounded by largest remainder, at least 1.

    Parameters
    ----------
    labels : int64, shape (g,)
        Label of each group.
    fractions : mapping of str to float
        Share of each part, > 0; they are scaled to sum to 1.
    generator : torch.Generator
        Source of the random order, on the CPU.

    Returns
    -------
    dict of str to int64, shape (m,)
        Indices into `labels` of each part, ascending. Every index is in exactly one part.

    Raises
    ------
    AkpError
        If a class has fewer groups than there are parts.

    Notes
    -----
    Cost: O(g log g).
    """
    weight = torch.tensor(list(fractions.values()), dtype=torch.float64)
    weight = weight / weight.sum()
    taken: dict[str, list[Tensor]] = {name: [] for name in fractions}
    for label in torch.unique(labels).tolist():
        members = (labels == label).nonzero()[:, 0]
        if len(members) < len(fractions):
            raise expected(
                f"at least {len(fractions)} groups of class {label} to divide among {', '.join(fractions)}",
                len(members),
                "add images or drop the class",
            )
        order = members[torch.randperm(len(members), generator=generator)]
        for name, part in zip(fractions, order.split(_shares(len(members), weight)), strict=True):
            taken[name].append(part)
    return {name: torch.cat(parts).sort().values for name, parts in taken.items()}


def carve_probe(
    labels: Int64[Tensor, " n"],
    groups: Int64[Tensor, " n"],
    count: int,
    generator: torch.Generator,
    *,
    exact: bool = True,
) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    """Choose `count` images, equally many of each class, from whole groups set aside for them.

    Groups are taken in random order, at most half of the groups of a class, until they hold enough images of
    it. Where `count` is no multiple of the number of classes, the first classes have one image more.

    Parameters
    ----------
    labels : int64, shape (n,)
        Label of each image, 0 to classes - 1, each present.
    groups : int64, shape (n,)
        Group of each image.
    count : int
        Number of images wanted.
    generator : torch.Generator
        Source of the random order, on the CPU.
    exact : bool
        Whether fewer images than `count` are an error; if not, the largest balanced probe is taken.

    Returns
    -------
    chosen, reserved : bool, shape (n,)
        The images of the probe, and the images of every group that it touches (they belong to no other part).

    Raises
    ------
    AkpError
        If a class cannot give its share, when `exact`; or can give nothing at all.
    """
    classes = int(labels.max()) + 1
    names, majority = group_labels(labels, groups)
    group = torch.searchsorted(names, groups)
    orders = []
    for label in range(classes):
        members = (majority == label).nonzero()[:, 0]
        order = members[torch.randperm(len(members), generator=generator)][: len(members) // 2]
        sizes = torch.bincount(group[labels == label], minlength=len(names))[order]
        orders.append((order, sizes.cumsum(0)))
    most = min(int(sizes[-1]) if len(sizes) else 0 for _, sizes in orders)
    if not most:
        raise expected("at least two groups of each class, for a probe", "fewer of one", "add images of it")
    if exact and count > most * classes:
        raise expected(
            f"{-(-count // classes)} images of each class within half of its groups, for a probe of {count}",
            most,
            f"ask for probe={most * classes} at the most",
        )
    count = min(count, most * classes)
    chosen, reserved = torch.zeros_like(labels, dtype=torch.bool), torch.zeros_like(labels, dtype=torch.bool)
    for label, (order, sizes) in enumerate(orders):
        quota = count // classes + (label < count % classes)
        used = order[: int((sizes < quota).sum()) + 1] if quota else order[:0]
        inside = torch.isin(group, used)
        chosen[(inside & (labels == label)).nonzero()[:quota, 0]] = True
        reserved |= inside
    return chosen, reserved


def check_leak(
    where: str,
    kind: str,
    groups: Shaped[np.ndarray, " n"],
    parts: Shaped[np.ndarray, " n"],
    do: str,
) -> None:
    """Refuse a split in which a group is in two parts.

    Parameters
    ----------
    where, kind : str
        The source, and what a group of it is.
    groups, parts : array of shape (n,)
        Name of the group and of the part of each image.
    do : str
        What a reader may do about it.

    Raises
    ------
    AkpError
        Naming the first groups that are in two parts.
    """
    names, group = np.unique(groups, return_inverse=True)
    part = np.unique(parts, return_inverse=True)[1]
    seen = np.zeros((len(names), part.max() + 1), dtype=bool)
    seen[group, part] = True
    shared = [str(name) for name in names[seen.sum(axis=1) > 1].tolist()]
    if shared:
        shown = ", ".join(shared[:3]) + (", ..." if len(shared) > 3 else "")
        raise AkpError(
            f"{len(shared)} {kind} of {where} are in more than one part of its split ({shown}): {do}"
        )


def _shares(n: int, weight: Tensor) -> list[int]:
    floor = (n * weight).floor().long().clamp(min=1)
    while floor.sum() > n:
        floor[floor.argmax()] -= 1
    remainder = n * weight - floor
    for index in remainder.argsort(descending=True, stable=True)[: n - int(floor.sum())].tolist():
        floor[index] += 1
    return floor.tolist()
