"""Anyone's images, from a folder: one sub-folder a class, or train, val and test with one a class in each.

::

    tiles/normal/p01_0001.png          tiles/train/normal/...        tiles/normal/p01/0001.png
    tiles/tumour/p07_0113.png          tiles/val/normal/...          tiles/tumour/p07/0113.png
                                       tiles/test/normal/...

Read are png, jpg, tif and bmp, of 8 bits, or of 16 in grey. A **group** is what images are not independent
within, such as a patient: the sub-folder of a class that an image lies in (on the right), or what the option
`groups` finds in its name. A group of one name in two classes is one group.

Images are made square by cutting the longer sides at both ends alike, where a side is asked for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from akp_core.datasets.catalogue import SPELLINGS, Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About, located
from akp_core.datasets.pictures import SUFFIXES, common, read
from akp_core.datasets.pixels import checked_side
from akp_core.datasets.splitting import check_leak
from akp_core.errors import expected, unknown_name

FOLDERS = {**SPELLINGS, "valid": "validation"}


def load(
    *,
    path: str | Path | None = None,
    side: int | None = None,
    seed: int = 0,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    groups: str | None = None,
    root: str | Path | None = None,
) -> Dataset:
    r"""Load images from a folder with one sub-folder a class.

    Parameters
    ----------
    path : str or Path
        The folder, laid out as above.
    side : int, optional
        Cut to a square and resize to this many pixels along a side, 8 to 512, bilinearly with antialiasing;
        by default as they are, which must then be of one size.
    seed : int
        Of whatever must be split or drawn, >= 0.
    probe, limit : int, optional
        As for `akp_core.datasets.catalogue.Draw`.
    classes : sequence of str, optional
        As for `akp_core.datasets.catalogue.Catalogue.of_classes`.
    groups : str, optional
        A regular expression with one group in parentheses that is found in the path of every image within its
        class, such as ``"(p\d+)_"``. By default the sub-folder of the class, if images lie in sub-folders.
    root : str or Path, optional
        Where a relative path is looked for when it is not in the working directory.

    Returns
    -------
    Dataset
        One channel if every image that is used is grey, else three. Classes, groups and files are in sorted
        order, so that the same folder gives the same data set everywhere.

    Raises
    ------
    AkpError
        If the folder is laid out otherwise, a file cannot be read, a group is in two parts, or an option is
        out of range.

    Notes
    -----
    Cost: a look at every name; only the images that are used are opened, one at a time.
    """
    side, draw = checked_side(side), Draw(probe, limit, seed)
    if not isinstance(path, str | Path) or not str(path):
        raise expected("path, the folder to load", repr(path), 'for example load("folder", path="tiles")')
    folder = located(path, root)
    files, labels, names, parts = _listed(folder)
    found, grouped = _groups(files, groups)
    if parts is not None and grouped:
        check_leak(folder.name, "groups", found, parts, "keep each in one part")
    group = torch.from_numpy(np.unique(found, return_inverse=True)[1].astype(np.int64))
    known = Catalogue(folder.name, labels, group, names, parts).of_classes(classes)
    paths = [file for _, file in files]
    used = torch.cat([known.rows[index] for index in known.divide(draw).values()])
    size, channels = common([paths[row] for row in used.tolist()], side)
    return Dataset(
        name="folder",
        **known.assemble(
            lambda rows: read([paths[row] for row in rows.tolist()], size, channels, side), draw
        ),
        class_names=known.class_names,
        licence=f"given by the user's folder {folder.name}",
        provenance=f"given by the user's folder {folder.name}",
        notice="Images given by the user; if they are medical: not for clinical use."
        + ("" if grouped else " No groups are given, so images of one patient may be in several parts."),
        options={
            "path": str(path),
            "side": side,
            "seed": seed,
            "probe": probe,
            "limit": limit,
            "classes": None if classes is None else list(classes),
            "groups": groups,
        },
    )


def _listed(
    folder: Path,
) -> tuple[list[tuple[Path, Path]], Int64[Tensor, " n"], tuple[str, ...], np.ndarray | None]:
    """Every image as (folder of its class, file), its label, the names of the classes, and its part."""
    if not folder.is_dir():
        what = "a file" if folder.exists() else "no folder"
        raise expected("a folder of images", f"{what} at {folder}", "check path")
    below = _folders(folder)
    if not below:
        raise expected(
            f"sub-folders in {folder}, one a class", "none", "put the images of each class into one"
        )
    split = {one: FOLDERS[one.name.lower()] for one in below if one.name.lower() in FOLDERS}
    if split and len(split) < len(below):
        other = next(one.name for one in below if one not in split)
        raise unknown_name(f"part in {folder}, beside {next(iter(split)).name},", other, FOLDERS)
    homes = [(part, one) for top, part in split.items() for one in _folders(top)]
    homes = homes or [("", one) for one in below if not split]
    names = sorted({one.name for _, one in homes})
    if len(names) < 2:
        raise expected(f"sub-folders of at least two classes in {folder}", ", ".join(names) or "none")
    files, labels, parts = [], [], []
    for part, home in homes:
        images = _images(home)
        files += [(home, file) for file in images]
        labels += [names.index(home.name)] * len(images)
        parts += [part] * len(images)
    return files, torch.tensor(labels), tuple(names), np.array(parts) if split else None


def _folders(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def _images(home: Path) -> list[Path]:
    every = sorted(one for one in home.rglob("*") if one.is_file() and not one.name.startswith("."))
    images = [one for one in every if one.suffix.lower() in SUFFIXES]
    if not images:
        kinds = Counter(one.suffix or "no suffix" for one in every).most_common(3)
        got = ", ".join(f"{count} of {kind}" for kind, count in kinds) or "no file"
        raise expected(f"images in {home} ({', '.join(SUFFIXES)})", got, "convert them, or remove the folder")
    return images


def _groups(files: list[tuple[Path, Path]], pattern: str | None) -> tuple[np.ndarray, bool]:
    """Name of the group of each image, and whether there are any; if not, each image is its own."""
    inside = [file.relative_to(home) for home, file in files]
    if pattern is None:
        deep = [len(one.parts) > 1 for one in inside]
        if any(deep) and not all(deep):
            odd = files[deep.index(False)][1]
            do = "put it into a sub-folder, or name a pattern as groups"
            raise expected("every image in a sub-folder of its class, as others are", odd, do)
        return (
            (np.array([one.parts[0] for one in inside]), True)
            if any(deep)
            else (np.arange(len(files)), False)
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError) as cause:
        raise expected("groups as a regular expression", f"{pattern!r} ({cause})") from None
    if compiled.groups != 1:
        do = r'such as "(p\d+)_"'
        raise expected("one pair of parentheses in groups", f"{compiled.groups} in {pattern!r}", do)
    found = []
    for one in inside:
        match = compiled.search(one.as_posix())
        if match is None or not match[1]:
            raise expected(
                f"groups={pattern!r} to find a group in every file name", f"none in {one.as_posix()}"
            )
        found.append(match[1])
    return np.array(found), True


ABOUT = About(
    holds="your images",
    needs="path of a folder with one sub-folder a class",
    licence="yours",
    here=lambda _: "yours",
)
