"""Handwritten digits, 8 x 8, ten classes: small, real, from scikit-learn, for tests and first runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from akp_core.datasets.dataset import Dataset, Split
from akp_core.datasets.splitting import FRACTIONS, carve_probe, split_groups
from akp_core.errors import whole_number

PROBE = 256


def load(*, side: int = 16, seed: int = 0) -> Dataset:
    """Load the 1,797 digits, split at random with the same share of each class in every part.

    Parameters
    ----------
    side : int
        Pixels along a side, 8 to 32; more than the original 8 are interpolated bilinearly.
    seed : int
        Seed of the split, >= 0.

    Returns
    -------
    Dataset
        One grey channel, classes "0" to "9". The probe has 256 images, 25 or 26 of each class. Who wrote a
        digit is not recorded, so each image is a group of its own.

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

    side, seed = whole_number("side", side, 8, 32), whole_number("seed", seed, 0, 2**63 - 1)
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float()[:, None] / 16.0
    if side != 8:
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False).clamp(
            0.0, 1.0
        )
    labels, rows = torch.from_numpy(bunch.target).long(), torch.arange(len(images))
    generator = torch.Generator().manual_seed(seed)
    probe, reserved = carve_probe(labels, rows, PROBE, generator)
    rest = rows[~reserved]
    parts = {name: rest[index] for name, index in split_groups(labels[rest], FRACTIONS, generator).items()}
    splits = {
        name: Split(images[index], labels[index], index)
        for name, index in {**parts, "probe": rows[probe]}.items()
    }
    return Dataset(
        name="digits",
        **splits,
        class_names=tuple(str(digit) for digit in range(10)),
        licence="CC BY 4.0 (UCI Machine Learning Repository, doi 10.24432/C50P49)",
        provenance="Optical Recognition of Handwritten Digits (test part), E. Alpaydin, C. Kaynak, 1998, "
        "as shipped by scikit-learn",
        notice="The writer of a digit is not recorded, so one writer may be in several parts.",
        options={"side": side, "seed": seed},
    )
