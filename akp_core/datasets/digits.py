"""Handwritten digits, 8 x 8, ten classes: small, real, from scikit-learn, for tests and first runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from akp_core.datasets.catalogue import Catalogue, Draw
from akp_core.datasets.dataset import Dataset
from akp_core.datasets.files import About
from akp_core.errors import whole_number

NAMES = tuple(str(digit) for digit in range(10))


def load(
    *,
    side: int = 16,
    seed: int = 0,
    probe: int | None = None,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """Load the 1,797 digits, split at random with the same share of each class in every part.

    Parameters
    ----------
    side : int
        Pixels along a side, 8 to 32; more than the original 8 are interpolated bilinearly.
    seed : int
        Seed of the split, >= 0.
    probe, limit : int, optional
        As for `akp_core.datasets.catalogue.Draw`.
    classes : sequence of str, optional
        As for `akp_core.datasets.catalogue.Catalogue.of_classes`: ``["3", "8"]``.

    Returns
    -------
    Dataset
        One grey channel, classes "0" to "9". Of all ten, the probe has 256 images, 25 or 26 of each class.
        Who wrote a digit is not recorded, so each image is a group of its own.

    Raises
    ------
    AkpError
        If an option is out of range.

    References
    ----------
    E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
    doi 10.24432/C50P49.
    """
    # Importing scikit-learn takes seconds: not for the worker processes, which only read a saved data set.
    from sklearn.datasets import load_digits

    side, draw = whole_number("side", side, 8, 32), Draw(probe, limit, seed)
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float()[:, None] / 16.0
    if side != 8:
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False).clamp(
            0.0, 1.0
        )
    labels = torch.from_numpy(bunch.target).long()
    known = Catalogue("digits", labels, torch.arange(len(labels)), NAMES).of_classes(classes)
    return Dataset(
        name="digits",
        **known.assemble(lambda rows: images[rows], draw),
        class_names=known.class_names,
        licence="CC BY 4.0 (UCI Machine Learning Repository, doi 10.24432/C50P49)",
        provenance="Optical Recognition of Handwritten Digits (test part), E. Alpaydin, C. Kaynak, 1998, "
        "as shipped by scikit-learn",
        notice="The writer of a digit is not recorded, so one writer may be in several parts.",
        options={
            "side": side,
            "seed": seed,
            "probe": probe,
            "limit": limit,
            "classes": None if classes is None else list(classes),
        },
    )


ABOUT = About(
    holds="1,797 handwritten digits, 8 x 8, 10 classes",
    needs="nothing",
    licence="CC BY 4.0",
    here=lambda _: "always",
)
