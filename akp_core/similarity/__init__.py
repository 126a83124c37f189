"""How alike two representations of the same examples are: arrays in, arrays out.

``cka`` compares two representations, ``pairwise`` all of a population, by any of the `MEASURES`.
``fingerprint`` turns one representation into a unit vector whose inner products *are* CKA, so that what a
training run stores is small and later comparisons are one matrix product. ``chordal_distance`` makes the
similarities a distance, which is what `akp_core.dispersion` works on. ``shuffled_null``, ``calibrated`` and
``prediction_disagreement`` are the yardsticks that belong beside every similarity.
"""

from __future__ import annotations

from akp_core.similarity.alignment import cka
from akp_core.similarity.calibration import (
    Calibrated,
    CalibratedMatrix,
    calibrated,
    calibrated_pairwise,
    shuffled_null,
)
from akp_core.similarity.canonical import pwcca, svcca
from akp_core.similarity.convolution import as_features
from akp_core.similarity.dissimilarity import rsa
from akp_core.similarity.fingerprints import fingerprint, representation_fault, similarity_of_fingerprints
from akp_core.similarity.matrices import both_estimators, chordal_distance, pairwise
from akp_core.similarity.measures import MEASURES, Measure, register_measure
from akp_core.similarity.minibatch import MinibatchCKA, centred_gram
from akp_core.similarity.neighbours import mutual_neighbours
from akp_core.similarity.predictions import disagreement_bound, prediction_disagreement
from akp_core.similarity.procrustes import procrustes
from akp_core.similarity.streaming import StreamedCKA
from akp_core.similarity.subset import restrict
from akp_core.similarity.subspaces import CanonicalWarning

__all__ = [
    "MEASURES",
    "Calibrated",
    "CalibratedMatrix",
    "CanonicalWarning",
    "Measure",
    "MinibatchCKA",
    "StreamedCKA",
    "as_features",
    "both_estimators",
    "calibrated",
    "calibrated_pairwise",
    "centred_gram",
    "chordal_distance",
    "cka",
    "disagreement_bound",
    "fingerprint",
    "mutual_neighbours",
    "pairwise",
    "prediction_disagreement",
    "procrustes",
    "pwcca",
    "register_measure",
    "representation_fault",
    "restrict",
    "rsa",
    "shuffled_null",
    "similarity_of_fingerprints",
    "svcca",
]
