"""MedMNIST: small medical images of many kinds, one set each, in the files of the package ``medmnist``.

A set is named after a colon: ``medmnist:bloodmnist``. So one word says which images, wherever a data set is
named: on a command line, in a list of data sets, in the title of a chart.

The package knows the checksums, classes and licences; it is asked for these and nothing else. The files lie
at ``medmnist/bloodmnist.npz`` (28 x 28) or ``medmnist/bloodmnist_64.npz`` (64, 128 or 224) under the root.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from akp_core.datasets.catalogue import Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About, Source, downloaded
from akp_core.datasets.pixels import as_pixels, checked_side
from akp_core.errors import AkpError, expected, unknown_name

FOLDER = "medmnist"
SIZES = (28, 64, 128, 224)
KEYS = {"train": "train", "validation": "val", "test": "test"}
ONE_LABEL = ("multi-class", "binary-class", "ordinal-regression")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError)


def load(
    *,
    subset: str = "",
    root: str | Path | None = None,
    side: int = 28,
    seed: int = 0,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Load one set of MedMNIST with its official parts.

    Parameters
    ----------
    subset : str
        A two-dimensional set with one label an image, such as ``bloodmnist``.
    root : str or Path
        The folder that holds ``medmnist/``.
    side : int
        Pixels along a side, 8 to 224; the file read is the smallest published one that is no smaller.
    seed : int
        Of the probe and the limit, >= 0.
    probe, limit : int, optional
        As for `akp_core.datasets.catalogue.Draw`; the probe comes from the official training part.
    classes : sequence of str, optional
        As for `akp_core.datasets.catalogue.Catalogue.of_classes`.

    Returns
    -------
    Dataset
        One or three channels. Patients are not given, so each image is a group of its own.

    Raises
    ------
    AkpError
        If the package or a file is missing, a checksum does not match, the set is three-dimensional or has
        several labels an image, or an option is out of range.

    Notes
    -----
    Cost: the images of one part at a time, as bytes; those asked for become float32.

    References
    ----------
    J. Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image
    classification, Scientific Data 10 (2023) 41.
    """
    wide, draw = checked_side(side, SIZES[-1]), Draw(probe, limit, seed)
    info, size = about_set(subset), published(side)
    source = source_of(subset, size)
    file = source.whole(source.home(root) / file_name(subset, size), info[f"MD5{_suffix(size)}"])
    labels = {part: _labels(file, part, info) for part in KEYS}
    parts = np.repeat(list(KEYS), [len(one) for one in labels.values()])
    names = tuple(info["label"][key] for key in sorted(info["label"], key=int))
    known = Catalogue(source.name, torch.cat(list(labels.values())), torch.arange(len(parts)), names, parts)
    known = known.of_classes(classes)
    starts = dict(zip(KEYS, np.cumsum([0, *map(len, labels.values())]).tolist(), strict=False))

    def read(rows: Int64[Tensor, " m"]) -> Float[Tensor, "m c h w"]:
        # A part of the result is always from one part of the file: the probe is carved from train.
        part = [name for name in KEYS if starts[name] <= int(rows[0])][-1]
        pictures = _member(file, f"{KEYS[part]}_images")
        return as_pixels(pictures, rows - starts[part], info["n_channels"], wide)

    return Dataset(
        name=source.name,
        **known.assemble(read, draw),
        class_names=known.class_names,
        licence=info["license"],
        provenance=f"{info['python_class']} of MedMNIST v2, J. Yang et al., Scientific Data 10:41, 2023; "
        "official parts; MD5 checksum verified",
        notice="Not for clinical use. Patients are not given, so one may be in train and in the probe.",
        options={
            "side": side,
            "seed": seed,
            "probe": probe,
            "limit": limit,
            "classes": None if classes is None else list(classes),
        },
    )


def usable() -> dict[str, Mapping[str, Any]]:
    """The sets that can be loaded, by name, as the package describes them.

    Raises
    ------
    AkpError
        If the package is not installed.
    """
    try:
        # Where one of its own requirements is missing, the package prints so and still has its table.
        with contextlib.redirect_stdout(io.StringIO()):
            table = importlib.import_module("medmnist").INFO
    except ImportError:
        raise AkpError(
            "medmnist needs the package of that name for its checksums; pip install medmnist"
        ) from None
    return {
        name: info
        for name, info in table.items()
        if not info["python_class"].endswith("3D") and info["task"] in ONE_LABEL
    }


def about_set(subset: str) -> Mapping[str, Any]:
    """What the package says of a set: checksums, task, classes, channels, licence.

    Raises
    ------
    AkpError
        If no set is named, or none that can be loaded.
    """
    sets = usable()
    if not subset:
        raise expected("a set of MedMNIST after a colon", "'medmnist'", "such as medmnist:bloodmnist")
    if subset not in sets:
        raise unknown_name("two-dimensional one-label set of MedMNIST", subset, sets)
    return sets[subset]


def source_of(subset: str, size: int) -> Source:
    """Where a set is found."""
    url = about_set(subset)[f"url{_suffix(size)}"]
    options = f" --side {size}" if size != SIZES[0] else ""
    return Source(f"medmnist:{subset}", FOLDER, url, "some MB to some GB", options)


def published(side: int) -> int:
    """The size of the published images that are read for a side: the smallest that is no smaller."""
    return next(size for size in SIZES if size >= side)


def file_name(subset: str, size: int) -> str:
    """The publisher's name for the file of a set and size."""
    return f"{subset}{_suffix(size)}.npz"


def _suffix(size: int) -> str:
    return "" if size == SIZES[0] else f"_{size}"


def _member(file: Path, key: str) -> np.ndarray:
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            return np.asarray(archive[key])
    except _BROKEN as cause:
        got = f"{type(cause).__name__}: {cause}"
        raise expected(f"{key} in {file}", got, "delete it and fetch it again") from None


def _labels(file: Path, part: str, info: Mapping[str, Any]) -> Int64[Tensor, " n"]:
    labels, count = _member(file, f"{KEYS[part]}_labels"), info["n_samples"][KEYS[part]]
    if labels.shape != (count, 1):
        raise expected(f"labels of shape ({count}, 1) in {part} of {file}", labels.shape)
    return torch.from_numpy(labels[:, 0].astype(np.int64))


def _here(root: Path) -> str:
    found = sorted(path.stem for path in (root / FOLDER).glob("*.npz"))
    return ", ".join(found) or "not here"


def _fetch(root: Path, subset: str, side: int | None) -> None:
    from torchvision.datasets.utils import download_url

    size = published(checked_side(side, SIZES[-1]) or SIZES[0])
    info, source = about_set(subset), source_of(subset, size)
    where, md5 = file_name(subset, size), info[f"MD5{_suffix(size)}"]
    downloaded(source, root, lambda: download_url(source.url, source.home(root), where, md5))


ABOUT = About(
    holds="11 sets of medical images, 28 to 224 pixels, 2 to 11 classes: medmnist:bloodmnist, ...",
    needs="some MB to some GB under the root, package medmnist: akp data fetch medmnist:bloodmnist",
    licence="CC BY 4.0 or CC BY-NC 4.0, set by set",
    here=_here,
    fetch=_fetch,
)
