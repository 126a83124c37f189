"""Fields of cell nuclei: rendered pixels, measured morphology.

**What is measured.** The Wisconsin Diagnostic Breast Cancer table: 569 fine-needle aspirates of the breast.
On each, the outlines of its nuclei were traced and ten quantities taken of every nucleus; the table keeps,
per patient, their *mean*, their *standard error* and their *worst* value (the mean of the three largest), and
the diagnosis. No picture belongs to the table.

**What is rendered.** Pictures of nuclei that one could have met in that patient: every nucleus draws its own
quantities from the patient's distribution. The pixels are synthetic; the morphology, and whatever tells
malignant from benign, is the measured one. Nothing in a picture depends on the diagnosis except through the
30 measurements.

How a measurement becomes a shape is written in `akp_core.datasets.morphology`, how a shape becomes a picture
in `akp_core.datasets.rendering`.

References
----------
W. N. Street, W. H. Wolberg, O. L. Mangasarian, Nuclear feature extraction for breast tumor diagnosis,
Proc. SPIE 1905 (1993) 861-870. Table: UCI Machine Learning Repository, doi 10.24432/C5DW2B.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from akp_core.datasets.dataset import Dataset, Split
from akp_core.datasets.files import About
from akp_core.datasets.morphology import draw_scene
from akp_core.datasets.rendering import render
from akp_core.datasets.splitting import FRACTIONS, carve_probe, split_groups
from akp_core.errors import whole_number

if TYPE_CHECKING:
    import pandas as pd

CLASS_NAMES = ("benign", "malignant")
PROBE_PATIENTS, PROBE_FIELDS = 64, 4
SENSOR_NOISE = 0.02


@lru_cache(maxsize=1)
def _table() -> pd.DataFrame:
    # Importing scikit-learn takes seconds: not for the worker processes, which only read a saved data set.
    import pandas as pd
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    table = pd.DataFrame(bunch.data, columns=[str(name) for name in bunch.feature_names])
    # scikit-learn codes malignant as 0.
    table.insert(0, "label", np.where(bunch.target == 0, 1, 0).astype(np.int64))
    return table


def _parts(seed: int) -> dict[str, Tensor]:
    """Row numbers of the patients of each part; from the seed alone."""
    labels = torch.from_numpy(_table()["label"].to_numpy(copy=True))
    rows = torch.arange(len(labels))
    generator = torch.Generator().manual_seed(seed)
    probe, reserved = carve_probe(labels, rows, PROBE_PATIENTS, generator)
    rest = rows[~reserved]
    parts = {name: rest[index] for name, index in split_groups(labels[rest], FRACTIONS, generator).items()}
    return parts | {"probe": rows[probe]}


def patients(seed: int = 0) -> pd.DataFrame:
    """The measurements behind the pictures, one row a patient, with the split the pictures have.

    Parameters
    ----------
    seed : int
        Seed of the split, >= 0; the same as that of `load`.

    Returns
    -------
    pandas.DataFrame
        569 rows: `group` (the id in `Split.groups`), `split` ("train", "validation", "test", "probe"),
        `diagnosis` ("benign", "malignant"), `label` (1 = malignant), and the 30 measurements under
        scikit-learn's names.

    Raises
    ------
    AkpError
        If the seed is no whole number >= 0.
    """
    table = _table().copy()
    split = np.empty(len(table), dtype=object)
    for name, rows in _parts(whole_number("seed", seed, 0, 2**63 - 1)).items():
        split[rows.numpy()] = name
    table.insert(0, "group", np.arange(len(table)))
    table.insert(1, "split", split.astype(str))
    table.insert(2, "diagnosis", np.asarray(CLASS_NAMES)[table["label"]])
    return table


def load(*, side: int = 24, fields: int = 10, seed: int = 0) -> Dataset:
    """Render the fields of all 569 patients, split by patient.

    Parameters
    ----------
    side : int
        Pixels along a side, 16 to 96. The field of view is the same, only sampled more finely.
    fields : int
        Fields of view a patient, 1 to 1000. The probe has at most `PROBE_FIELDS` of them.
    seed : int
        Seed of the split and of all that is drawn, >= 0.

    Returns
    -------
    Dataset
        One grey channel, label 1 = malignant; train, validation and test hold 0.62, 0.11 and 0.27 of the 505
        patients that the class-balanced probe of 64 leaves. Images are ordered by patient, then field.

    Raises
    ------
    AkpError
        If an option is out of range.

    Notes
    -----
    The split depends on the seed only. Field j of a patient is the same scene at every `side`, and the same
    bits for every number of fields > j.

    Cost: O(569 fields side^2), about 0.2 ms a field at 32 x 32, 0.7 ms at 64 x 64, on one core. Memory: the
    images, and a few tens of MB.
    """
    side, fields = whole_number("side", side, 16, 96), whole_number("fields", fields, 1, 1000)
    seed = whole_number("seed", seed, 0, 2**63 - 1)
    parts = _parts(seed)
    labels = torch.from_numpy(_table()["label"].to_numpy(copy=True))
    count = {name: min(fields, PROBE_FIELDS) if name == "probe" else fields for name in parts}
    images = {name: torch.empty(len(rows), count[name], side, side) for name, rows in parts.items()}
    for field in range(fields):
        pictures = _field(seed, field, side)
        for name, rows in parts.items():
            if field < count[name]:
                images[name][:, field] = pictures[rows]
    splits = {
        name: Split(
            images=images[name].view(-1, 1, side, side),
            labels=labels[rows].repeat_interleave(count[name]),
            groups=rows.repeat_interleave(count[name]),
        )
        for name, rows in parts.items()
    }
    return Dataset(
        name="nuclei",
        **splits,
        class_names=CLASS_NAMES,
        licence="measurements: CC BY 4.0 (UCI Machine Learning Repository, doi 10.24432/C5DW2B); "
        "pictures: rendered by this package",
        provenance="Breast Cancer Wisconsin (Diagnostic), W. Wolberg, O. Mangasarian, N. Street, 1993, "
        "as shipped by scikit-learn; the pixels are rendered, the morphology is measured",
        notice="Rendered pictures of measured nuclei, for studying networks; not for clinical use.",
        options={"side": side, "fields": fields, "seed": seed},
    )


def _field(seed: int, field: int, side: int, *, chunk: int | None = None) -> Tensor:
    """Field number `field` of every patient, (569, side, side)."""
    scene = draw_scene(_table(), np.random.default_rng([seed, field, 0]))
    # The pixels have a stream of their own, so that the scene does not depend on their number.
    noise = np.random.default_rng([seed, field, 1]).standard_normal(
        (len(scene), side, side), dtype=np.float32
    )
    return render(scene, torch.from_numpy(noise).mul_(SENSOR_NOISE), chunk=chunk)


ABOUT = About(
    holds="fields of 569 patients, rendered from measured nuclei, 16 to 96 pixels, benign or malignant",
    needs="nothing",
    licence="CC BY 4.0 (measurements)",
    here=lambda _: "always",
)
