"""Anyone's images, from one `.npz` file.

======================  =================================================================================
`images`                (N, H, W) or (N, H, W, C); uint8, or float in [0, 1]
`labels`                (N,) whole numbers or strings
`split`                 optional (N,) strings: train, val or validation, test, probe
`groups`                optional (N,) whole numbers or strings; else `patient`, else `source` is read
`class_names`           optional (classes,) strings, in the order of the labels
`licence, provenance`   optional strings
======================  =================================================================================

Without `split`, the file is divided by whole groups. A split that is given is kept: `test` is never touched,
and what is missing is taken from `train` by whole groups - a class-balanced probe, and a tenth of the groups
as validation. A group of the probe is in no other part, so some of its images may be left over; they are not
used. Where a group holds several classes, it counts as its most frequent one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from akp_core.datasets.archive import Archive
from akp_core.datasets.dataset import PARTS, Dataset, Split
from akp_core.datasets.splitting import FRACTIONS, carve_probe, group_labels, split_groups
from akp_core.errors import AkpError, expected, whole_number

PROBE = 256
CHUNK_IMAGES = 256
SPELLINGS = {
    "train": "train",
    "val": "validation",
    "validation": "validation",
    "test": "test",
    "probe": "probe",
}
MOST_CHANNELS = 16


def load(
    *, path: str | Path | None = None, side: int | None = None, seed: int = 0, probe: int | None = None
) -> Dataset:
    """Load images, labels, and where given split and groups, from a `.npz` file.

    Parameters
    ----------
    path : str or Path
        The file; its keys are listed above. Nothing in it is unpickled.
    side : int, optional
        Resize to this many pixels along a side, 8 to 512, bilinearly with antialiasing; by default as given.
    seed : int
        Seed of whatever must be split, >= 0.
    probe : int, optional
        Number of probe images, 2 or more, when the file marks none; by default 256, or as many of them as a
        quarter of the images and half of the groups of each class allow.

    Returns
    -------
    Dataset
        With groups numbered in the order of their sorted names.

    Raises
    ------
    AkpError
        If the file cannot be read or does not hold what the table above says.
    """
    seed = whole_number("seed", seed, 0, 2**63 - 1)
    probe = None if probe is None else whole_number("probe", probe, 2, 10**9)
    side = None if side is None else whole_number("side", side, 8, 512)
    if not isinstance(path, str | Path) or not str(path):
        raise expected("path, the .npz file to load", repr(path), 'for example load("arrays", path="my.npz")')
    archive = Archive.open(path)
    n, channels = archive.check_images(MOST_CHANNELS)
    labels, class_names = archive.labels(n)
    groups, grouped = archive.groups(n)
    given = archive.split(n, SPELLINGS)
    generator = torch.Generator().manual_seed(seed)
    _check_groups(archive.name, given, labels, groups, class_names)
    if given is None:
        part = _divide(labels, groups, probe, generator)
    else:
        if probe is not None and "probe" in given:
            raise AkpError(f"{archive.name} marks its own probe images: leave out probe={probe}")
        part = _complete(given, labels, groups, probe, generator)
    _check_classes(part, labels, class_names)
    images = _pixels(archive.images(), channels, side)
    return Dataset(
        name="arrays",
        **{name: Split(images[rows], labels[rows], groups[rows]) for name, rows in part.items()},
        class_names=class_names,
        licence=archive.text("licence"),
        provenance=archive.text("provenance"),
        notice="Images given by the user; if they are medical: not for clinical use."
        + ("" if grouped else " No groups are given, so images of one patient may be in several parts."),
        options={"path": str(path), "side": side, "seed": seed, "probe": probe},
    )


def _divide(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], probe: int | None, generator: torch.Generator
) -> dict[str, Int64[Tensor, " _"]]:
    chosen, reserved = _carve(labels, groups, probe, generator)
    rest = (~reserved).nonzero()[:, 0]
    return _by_group(rest, labels, groups, FRACTIONS, generator) | {"probe": chosen.nonzero()[:, 0]}


def _complete(
    given: dict[str, Int64[Tensor, " _"]],
    labels: Int64[Tensor, " n"],
    groups: Int64[Tensor, " n"],
    probe: int | None,
    generator: torch.Generator,
) -> dict[str, Int64[Tensor, " _"]]:
    part = dict(given)
    if "probe" not in part:
        train = part["train"]
        chosen, reserved = _carve(labels[train], groups[train], probe, generator)
        part["probe"], part["train"] = train[chosen], train[~reserved]
    if "validation" not in part:
        part |= _by_group(part["train"], labels, groups, {"train": 0.9, "validation": 0.1}, generator)
    return {name: part[name] for name in PARTS}


def _carve(
    labels: Int64[Tensor, " n"], groups: Int64[Tensor, " n"], probe: int | None, generator: torch.Generator
) -> tuple[Bool[Tensor, " n"], Bool[Tensor, " n"]]:
    wanted = max(2, min(PROBE, len(labels) // 4)) if probe is None else probe
    return carve_probe(labels, groups, wanted, generator, exact=probe is not None)


def _by_group(
    rows: Int64[Tensor, " m"],
    labels: Int64[Tensor, " n"],
    groups: Int64[Tensor, " n"],
    fractions: Mapping[str, float],
    generator: torch.Generator,
) -> dict[str, Int64[Tensor, " _"]]:
    names, majority = group_labels(labels[rows], groups[rows])
    parts = split_groups(majority, fractions, generator)
    return {name: rows[torch.isin(groups[rows], names[index])] for name, index in parts.items()}


def _check_groups(
    file: str,
    given: dict[str, Int64[Tensor, " _"]] | None,
    labels: Int64[Tensor, " n"],
    groups: Int64[Tensor, " n"],
    class_names: tuple[str, ...],
) -> None:
    """Refuse what cannot be split, while the names of the classes are at hand."""
    # The probe takes at most half of the groups of a class, rounded down; every other part needs one.
    rows, needed, where = torch.arange(len(labels)), 5, f"{file}, to split it"
    if given is not None:
        for name in ("train", "test"):
            if name not in given:
                do = "or leave out the key split"
                raise expected(f"{name!r} in the split of {file}", ", ".join(sorted(given)), do)
        rows, needed = given["train"], 1 + ("probe" not in given) + ("validation" not in given)
        where = f"the train part of {file}"
    majority = group_labels(labels[rows], groups[rows])[1]
    count = torch.bincount(majority, minlength=len(class_names)).tolist()
    for label, found in zip(class_names, count, strict=True):
        if found < needed:
            what = f"at least {needed} groups that are mostly {label!r} in {where}"
            raise expected(what, found, "add images of it")


def _check_classes(
    part: dict[str, Int64[Tensor, " _"]], labels: Int64[Tensor, " n"], class_names: tuple[str, ...]
) -> None:
    for name, rows in part.items():
        count = torch.bincount(labels[rows], minlength=len(class_names)).tolist()
        for label, images in zip(class_names, count, strict=True):
            if not images:
                raise expected(
                    f"images of each class in {name}", f"none of {label!r}", "add images or groups of it"
                )


def _pixels(images: np.ndarray, channels: int, side: int | None) -> Float[Tensor, "n c h w"]:
    height, width = (side, side) if side else images.shape[1:3]
    if side and images.shape[1] != images.shape[2]:
        raise expected(
            "square images to resize with side", f"{images.shape[1]} x {images.shape[2]}", "crop them first"
        )
    pixels = torch.empty(len(images), channels, height, width)
    # In chunks, so that the pictures are held once as float32 whatever their original size.
    for start in range(0, len(images), CHUNK_IMAGES):
        chunk = images[start : start + CHUNK_IMAGES]
        block = torch.from_numpy(chunk.astype(np.float32)).view(len(chunk), *images.shape[1:3], channels)
        block = block.movedim(-1, 1) / (255.0 if images.dtype == np.uint8 else 1.0)
        if block.shape[-2:] != (height, width):
            block = F.interpolate(
                block, size=(height, width), mode="bilinear", antialias=True, align_corners=False
            )
        pixels[start : start + CHUNK_IMAGES] = block.clamp(0.0, 1.0)
    return pixels
