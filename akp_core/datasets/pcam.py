"""PatchCamelyon: 327,680 patches of lymph node sections, 96 x 96, with or without tumour at the centre.

The files are those of torchvision: ``pcam/camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5``. Rows are
read from the disk one chunk at a time, and only those that are asked for.

**Checksums.** Published are those of the packed files (``.h5.gz``). Where a packed file lies beside its
unpacked one, its MD5 is compared with torchvision's, and the CRC-32 that it carries with that of the unpacked
file. Without it, the numbers, shapes and values of the unpacked file are checked, and the provenance says so.

**Slides.** If the three ``..._meta.csv`` of the publisher lie beside, the slide of a patch is its group, and
probe and training patches come from different slides.
"""

from __future__ import annotations

import importlib
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from akp_core.datasets.catalogue import Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About, Source, counted, downloaded
from akp_core.datasets.pixels import as_pixels, checked_side
from akp_core.datasets.splitting import check_leak
from akp_core.errors import AkpError, expected

SOURCE = Source(
    name="pcam", folder="pcam", url="https://github.com/basveeling/pcam", size="8 GB, and 9 GB more unpacked"
)
LICENCE = "CC0 (as Camelyon16)"
PARTS = {"train": "train", "validation": "valid", "test": "test"}
IMAGES = {"train": 262_144, "validation": 32_768, "test": 32_768}
WIDE, MOST_SIDE = 96, 96
CHUNK_BYTES = 2**24


def load(
    *,
    root: str | Path | None = None,
    side: int = 32,
    seed: int = 0,
    probe: int | None = None,
    limit: int = 1000,
) -> Dataset:
    """Load some patches of every official part of PatchCamelyon.

    Parameters
    ----------
    root : str or Path
        The folder that holds ``pcam/``.
    side : int
        Pixels along a side, 8 to 96. The field of view is the same, only sampled less finely.
    seed : int
        Of the probe and the limit, >= 0.
    probe : int, optional
        Number of probe images, taken from the official training part; by default 256.
    limit : int
        At most so many images of each class in train, in validation and in test; 131072 is all of them.

    Returns
    -------
    Dataset
        Three channels; label 1 = tumour in the central 32 x 32 pixels.

    Raises
    ------
    AkpError
        If a file is missing, damaged or not the official one, the package h5py is missing, or an option is
        out of range.

    Notes
    -----
    Cost: the rows asked for, and all labels. Where packed files lie beside, all bytes of both are read for
    the checksums: about 17 GB.

    References
    ----------
    B. S. Veeling, J. Linmans, J. Winkens, T. Cohen, M. Welling, Rotation Equivariant CNNs for Digital
    Pathology, arXiv 1806.03962, 2018. B. Ehteshami Bejnordi et al., Diagnostic Assessment of Deep Learning
    Algorithms for Detection of Lymph Node Metastases in Women With Breast Cancer, JAMA 318 (2017) 2199-2210.
    """
    wide, draw = checked_side(side, MOST_SIDE), Draw(probe, limit, seed)
    home = SOURCE.home(root)
    for part in PARTS:
        for kind in "xy":
            SOURCE.present(_file(home, part, kind))
    h5 = _h5py()
    packed = [_verify(home, part, kind) for part in PARTS for kind in "xy"]
    labels = {part: _labels(h5, home, part) for part in PARTS}
    parts = np.repeat(list(PARTS), [len(one) for one in labels.values()])
    groups, slides = _groups(home, labels, parts)
    known = Catalogue("pcam", torch.cat(list(labels.values())), groups, ("normal", "tumour"), parts)
    starts = dict(zip(PARTS, np.cumsum([0, *map(len, labels.values())]).tolist(), strict=False))

    def read(rows: Int64[Tensor, " m"]) -> Float[Tensor, "m c h w"]:
        # A part of the result is always from one file: the probe is carved from train.
        part = [name for name in PARTS if starts[name] <= int(rows[0])][-1]
        with _opened(h5, _file(home, part, "x")) as file:
            return as_pixels(file["x"], rows - starts[part], 3, wide)

    checked = "MD5 checksums verified" if all(packed) else "numbers and shapes verified, checksums not"
    return Dataset(
        name="pcam",
        **known.assemble(read, draw),
        class_names=known.class_names,
        licence=LICENCE,
        provenance="PatchCamelyon, B. S. Veeling et al., arXiv 1806.03962, 2018, from Camelyon16, "
        f"B. Ehteshami Bejnordi et al., JAMA 318:2199, 2017; official parts; {checked}",
        notice="Not for clinical use."
        + ("" if slides else " Slides are not given, so the probe may share slides with train."),
        options={"side": side, "seed": seed, "probe": probe, "limit": limit},
    )


def _file(home: Path, part: str, kind: str) -> Path:
    end = "meta.csv" if kind == "meta" else f"{kind}.h5"
    return home / f"camelyonpatch_level_2_split_{PARTS[part]}_{end}"


def _h5py() -> Any:
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise AkpError("pcam needs the package h5py to read its files; pip install h5py") from None


def _verify(home: Path, part: str, kind: str) -> bool:
    """Hold an unpacked file to its packed one; return whether there is one."""
    from torchvision.datasets import PCAM

    file = _file(home, part, kind)
    packed = file.with_name(file.name + ".gz")
    if not packed.is_file():
        return False
    md5 = PCAM._FILES["val" if part == "validation" else part]["images" if kind == "x" else "targets"][2]
    SOURCE.whole(packed, md5)
    crc = 0
    with file.open("rb") as opened:
        while block := opened.read(CHUNK_BYTES):
            crc = zlib.crc32(block, crc)
    with packed.open("rb") as opened:
        opened.seek(-8, 2)  # RFC 1952: the last eight bytes are CRC-32 and length of what was packed
        stated = int.from_bytes(opened.read(4), "little")
    if crc != stated:
        raise expected(f"{file} as it is in {packed.name}", "other bytes", f"gunzip -kf {packed}")
    return True


def _opened(h5: Any, file: Path) -> Any:
    try:
        return h5.File(file, "r")
    except OSError as cause:
        raise expected(f"{file} as a whole HDF5 file", str(cause), "delete it and fetch it again") from None


def _labels(h5: Any, home: Path, part: str) -> Int64[Tensor, " n"]:
    """Labels of a part, after a look at the shapes of both of its files."""
    with _opened(h5, _file(home, part, "x")) as pictures, _opened(h5, _file(home, part, "y")) as marks:
        for file, key, shape in (
            (pictures, "x", (IMAGES[part], WIDE, WIDE, 3)),
            (marks, "y", (IMAGES[part], 1, 1, 1)),
        ):
            got = file[key].shape if key in file else f"no {key}"
            if got != shape or file[key].dtype != np.uint8:
                do = "fetch the official file, or bring a subset of it as arrays"
                raise expected(f"{shape} bytes in {Path(file.filename).name}", got, do)
        labels = marks["y"][:].reshape(-1)
    if not np.isin(labels, (0, 1)).all():
        raise expected(f"labels 0 and 1 in {_file(home, part, 'y')}", np.unique(labels).tolist())
    return torch.from_numpy(labels.astype(np.int64))


def _groups(
    home: Path, labels: dict[str, Int64[Tensor, " _"]], parts: np.ndarray
) -> tuple[Int64[Tensor, " n"], bool]:
    """The slide of each patch, and whether it is known; if not, each patch is a group of its own."""
    import pandas as pd

    files = {part: _file(home, part, "meta") for part in PARTS}
    absent = [file.name for file in files.values() if not file.is_file()]
    if absent:
        if len(absent) < len(files):
            raise expected(
                f"the meta files of all three parts in {home}, or none",
                f"no {absent[0]}",
                "add or remove them",
            )
        return torch.arange(len(parts)), False
    slides = []
    for part, file in files.items():
        try:
            column = pd.read_csv(file, usecols=["wsi"])["wsi"].astype(str)
        except (ValueError, OSError) as cause:
            raise expected(f"a table with the column wsi in {file}", " ".join(str(cause).split())) from None
        if len(column) != len(labels[part]):
            raise expected(f"{len(labels[part])} rows in {file}, one for each patch", len(column))
        slides.append(column.to_numpy(dtype=str))
    names = np.concatenate(slides)
    check_leak("pcam", "slides", names, parts, "remove the three meta files, or repair them")
    return torch.from_numpy(np.unique(names, return_inverse=True)[1].astype(np.int64)), True


def _here(root: Path) -> str:
    home = root / SOURCE.folder
    return counted(home, [_file(home, part, kind).name for part in PARTS for kind in "xy"])


def _fetch(root: Path, subset: str, side: int | None) -> None:  # noqa: ARG001
    from torchvision.datasets import PCAM

    _h5py()
    for part in ("train", "val", "test"):
        downloaded(SOURCE, root, partial(PCAM, root, split=part, download=True))


ABOUT = About(
    holds="327,680 patches of lymph nodes, 96 x 96, normal or tumour",
    needs=f"{SOURCE.size}, under the root; packages h5py and (to fetch) gdown: akp data fetch pcam",
    licence=LICENCE,
    here=_here,
    fetch=_fetch,
)
