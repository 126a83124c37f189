"""Anyone's images, from one `.npz` file.

======================  =================================================================================
`images`                (N, H, W) or (N, H, W, C); uint8, or float in [0, 1]
`labels`                (N,) whole numbers or strings
`split`                 optional (N,) strings: train, val or validation, test, probe
`groups`                optional (N,) whole numbers or strings; else `patient`, else `source` is read
`class_names`           optional (classes,) strings, in the order of the labels
`licence, provenance`   optional strings
======================  =================================================================================

A split that is given is kept; what is missing is made by whole groups (`akp_core.datasets.catalogue`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from akp_core.datasets.archive import Archive
from akp_core.datasets.catalogue import SPELLINGS, Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About, located
from akp_core.datasets.pixels import as_pixels, checked_side
from akp_core.errors import expected

MOST_CHANNELS = 16


def load(
    *,
    path: str | Path | None = None,
    side: int | None = None,
    seed: int = 0,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    root: str | Path | None = None,
) -> Dataset:
    """Load images, labels, and where given split and groups, from a `.npz` file.

    Parameters
    ----------
    path : str or Path
        The file; its keys are listed above. Nothing in it is unpickled.
    side : int, optional
        Resize to this many pixels along a side, 8 to 512, bilinearly with antialiasing; by default as given.
    seed : int
        Seed of whatever must be split or drawn, >= 0.
    probe, limit : int, optional
        As for `akp_core.datasets.catalogue.Draw`.
    classes : sequence of str, optional
        As for `akp_core.datasets.catalogue.Catalogue.of_classes`.
    root : str or Path, optional
        Where a relative path is looked for when it is not in the working directory.

    Returns
    -------
    Dataset
        With groups numbered in the order of their sorted names.

    Raises
    ------
    AkpError
        If the file cannot be read or does not hold what the table above says.
    """
    side, draw = checked_side(side), Draw(probe, limit, seed)
    if not isinstance(path, str | Path) or not str(path):
        raise expected("path, the .npz file to load", repr(path), 'for example load("arrays", path="my.npz")')
    archive = Archive.open(located(path, root))
    n, channels = archive.check_images(MOST_CHANNELS)
    labels, class_names = archive.labels(n)
    groups, grouped = archive.groups(n)
    known = Catalogue(archive.name, labels, groups, class_names, archive.parts(n, SPELLINGS))
    known = known.of_classes(classes)
    splits = known.assemble(lambda rows: as_pixels(archive.images(), rows, channels, side), draw)
    return Dataset(
        name="arrays",
        **splits,
        class_names=known.class_names,
        licence=archive.text("licence"),
        provenance=archive.text("provenance"),
        notice="Images given by the user; if they are medical: not for clinical use."
        + ("" if grouped else " No groups are given, so images of one patient may be in several parts."),
        options={
            "path": str(path),
            "side": side,
            "seed": seed,
            "probe": probe,
            "limit": limit,
            "classes": None if classes is None else list(classes),
        },
    )


ABOUT = About(
    holds="your images",
    needs="path of an .npz with images and labels",
    licence="yours",
    here=lambda _: "yours",
)
