"""All pairs of a population: the similarity matrix, and the Euclidean distance it implies."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Float64, Real

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import A, as_float64, like, read, same_examples
from akp_core.similarity.fingerprints import pack, similarity_of_fingerprints
from akp_core.similarity.gram import Estimator, Kernel, check_choices, unit_gram

MEASURES = ("cka",)
_RESOLUTION = 1e-14
"""Squared chords below this are round-off of a float64 inner product of unit vectors."""


def pairwise(
    representations: Sequence[A] | Real[A, "M n p"],
    *,
    measure: str = "cka",
    estimator: Estimator = "unbiased",
    kernel: Kernel = "linear",
) -> Float64[A, "M M"]:
    r"""The similarity of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.
    measure : {"cka"}
    estimator, kernel
        As for `cka`.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [-1, 1]; entry (i, j) is
        ``cka(representations[i], representations[j])``.

    Raises
    ------
    AkpError
        As `cka`, naming the index of the representation at fault; for an unknown measure or no
        representation at all.

    Notes
    -----
    Invariances: those of `cka`, for each representation by itself.

    Cost: :math:`2n^2\sum p_i + M^2n^2` operations; M fingerprints of n(n-1)/2 float64 numbers are held.
    Where they do not fit, store `fingerprint` rows in float32 and use `similarity_of_fingerprints`.
    """
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    check_choices(estimator, kernel)
    if isinstance(representations, Sequence) or getattr(representations, "ndim", 0) == 3:
        members = list(representations)
    else:
        raise expected(
            "a sequence of (examples, features) arrays or one (models, examples, features) array",
            f"{type(representations).__name__} of shape {tuple(getattr(representations, 'shape', ()))}",
        )
    if not members:
        raise expected("at least one representation", "none")
    first = read(members[0], "representation 0")
    packed = pack(unit_gram(first, estimator), estimator)
    rows = packed.new_empty(len(members), packed.numel())
    rows[0] = packed
    for index, member in enumerate(members[1:], start=1):
        features = read(member, f"representation {index}")
        same_examples(first, features)
        rows[index] = pack(unit_gram(features, estimator), estimator)
    return like(similarity_of_fingerprints(rows), members[0])


def chordal_distance(similarity: Float[A, "M M"]) -> Float64[A, "M M"]:
    r"""The Euclidean distance between fingerprints, :math:`d_{ij} = \sqrt{2 - 2 s_{ij}}`.

    Parameters
    ----------
    similarity : (M, M) array, NumPy or torch
        Cosines such as `pairwise` gives, in [-1, 1]; NaN for a model without a representation.

    Returns
    -------
    (M, M) float64 array of the kind that came
        In [0, 2]; 0: the same geometry; :math:`\sqrt2`: nothing in common. Exactly 0 on the diagonal.
        Distances below 1e-7 are round-off of the cosine and read 0. NaN stays NaN off the diagonal.

    Raises
    ------
    AkpError
        If the matrix is not square, or a value lies outside [-1, 1].

    Notes
    -----
    Because it is the distance of vectors, distances to a centroid follow from it exactly
    (`akp_core.dispersion`); :math:`1 - s` is not Euclidean and has no such centroid. Cost: :math:`M^2`.
    """
    values, _ = as_float64(similarity, "similarity")
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise expected("a square matrix of similarities", f"shape {tuple(values.shape)}")
    outside = values[values.abs() > 1 + 1e-9]
    if outside.numel():
        raise AkpError(
            f"expected similarities from -1 to 1, got {float(outside[0]):g}; "
            "give cosines such as pairwise returns, not distances"
        )
    squared = 2 - 2 * values
    squared[squared < _RESOLUTION] = 0
    return like(squared.sqrt().fill_diagonal_(0), similarity)
