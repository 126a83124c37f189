"""How alike two representations of the same examples are: arrays in, arrays out.

``cka`` compares two representations, ``pairwise`` all of a population. ``fingerprint`` turns one
representation into a unit vector whose inner products *are* CKA, so that what a training run stores is
small and later comparisons are one matrix product. ``chordal_distance`` makes the similarities a
Euclidean distance, which is what `akp_core.dispersion` works on. ``shuffled_null`` and
``prediction_disagreement`` are the two yardsticks that belong beside every similarity.
"""

from __future__ import annotations

from akp_core.similarity.alignment import cka, shuffled_null
from akp_core.similarity.fingerprints import fingerprint, representation_fault, similarity_of_fingerprints
from akp_core.similarity.matrices import chordal_distance, pairwise
from akp_core.similarity.predictions import disagreement_bound, prediction_disagreement

__all__ = [
    "chordal_distance",
    "cka",
    "disagreement_bound",
    "fingerprint",
    "pairwise",
    "prediction_disagreement",
    "representation_fault",
    "shuffled_null",
    "similarity_of_fingerprints",
]
