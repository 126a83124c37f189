"""CIFAR-10: 60,000 photographs of 32 x 32 pixels in ten classes, read through torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from akp_core.datasets.catalogue import Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About, Source, counted, downloaded
from akp_core.datasets.pixels import as_pixels, checked_side

SOURCE = Source(
    name="cifar10",
    folder="cifar-10-batches-py",
    url="https://www.cs.toronto.edu/~kriz/cifar.html (CIFAR-10 python version, unpacked)",
    size="170 MB",
)
LICENCE = "no formal licence; its author asks to be cited"


def load(
    *,
    root: str | Path | None = None,
    side: int = 32,
    seed: int = 0,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Load CIFAR-10 with its official test part.

    Parameters
    ----------
    root : str or Path
        The folder that holds ``cifar-10-batches-py/``.
    side : int
        Pixels along a side, 8 to 512.
    seed : int
        Of the probe, the validation part and the limit, >= 0.
    probe, limit : int, optional
        As for `akp_core.datasets.catalogue.Draw`.
    classes : sequence of str, optional
        As for `akp_core.datasets.catalogue.Catalogue.of_classes`: ``["cat", "dog"]``.

    Returns
    -------
    Dataset
        Three channels. Probe and validation (a tenth) come from the official training part. What a photograph
        was cut from is not recorded, so each is a group of its own.

    Raises
    ------
    AkpError
        If a file is missing or its MD5 checksum is another one than torchvision knows, or an option is out
        of range.

    Notes
    -----
    The files are pickles. None is opened before its checksum is found right.

    Cost: all 60,000 images are read as bytes (180 MB); those asked for become float32.

    References
    ----------
    A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, University of Toronto, 2009.
    """
    # Importing torchvision takes seconds: not for the worker processes, which only read a saved data set.
    from torchvision.datasets import CIFAR10

    pixels_wide, draw = checked_side(side), Draw(probe, limit, seed)
    home = SOURCE.home(root)
    for name, md5 in (
        *CIFAR10.train_list,
        *CIFAR10.test_list,
        (CIFAR10.meta["filename"], CIFAR10.meta["md5"]),
    ):
        SOURCE.whole(home / name, md5)
    train, test = (CIFAR10(home.parent, train=part) for part in (True, False))
    pictures = np.concatenate([train.data, test.data])
    labels = torch.tensor([*train.targets, *test.targets])
    parts = np.repeat(["train", "test"], [len(train.data), len(test.data)])
    known = Catalogue("cifar10", labels, torch.arange(len(labels)), tuple(train.classes), parts)
    known = known.of_classes(classes)
    return Dataset(
        name="cifar10",
        **known.assemble(lambda rows: as_pixels(pictures, rows, 3, pixels_wide), draw),
        class_names=known.class_names,
        licence=LICENCE,
        provenance="CIFAR-10, A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, "
        "University of Toronto, 2009; MD5 checksums verified",
        notice="What a photograph was cut from is not recorded, so near-duplicates may be in several parts.",
        options={
            "side": side,
            "seed": seed,
            "probe": probe,
            "limit": limit,
            "classes": None if classes is None else list(classes),
        },
    )


def _here(root: Path) -> str:
    from torchvision.datasets import CIFAR10

    files = [name for name, _ in (*CIFAR10.train_list, *CIFAR10.test_list)]
    return counted(root / SOURCE.folder, [*files, CIFAR10.meta["filename"]])


def _fetch(root: Path, subset: str, side: int | None) -> None:  # noqa: ARG001
    from torchvision.datasets import CIFAR10

    downloaded(SOURCE, root, lambda: CIFAR10(root, download=True))


ABOUT = About(
    holds="60,000 photographs, 32 x 32, 10 classes",
    needs=f"{SOURCE.size} under the root: akp data fetch cifar10",
    licence=LICENCE,
    here=_here,
    fetch=_fetch,
)
