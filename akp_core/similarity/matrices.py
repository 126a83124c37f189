"""All pairs of a population: the similarity matrix, and the Euclidean distance it implies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import A, as_float64, like, read, same_examples
from akp_core.similarity.cosines import cosines
from akp_core.similarity.fingerprints import pack, similarity_of_fingerprints
from akp_core.similarity.gram import Estimator, check_estimator, unit_gram
from akp_core.similarity.kernels import Kernel, kernel_of
from akp_core.similarity.measures import MEASURES

_RESOLUTION = 1e-14
"""Squared chords below this are round-off of a float64 inner product of unit vectors."""


def pairwise(
    representations: Sequence[A] | Real[A, "M n p"],
    *,
    measure: str | Callable[[A, A], float] = "cka",
    estimator: Estimator = "unbiased",
    kernel: Kernel = "linear",
    fraction: float = 1.0,
    sigma: float | None = None,
) -> Float64[A, "M M"]:
    r"""The similarity of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.
    measure : str or callable
        A name in `MEASURES`, or a function of two representations, such as
        ``partial(mutual_neighbours, k=5)``; one that is not symmetric is averaged over both directions.
    estimator, kernel, fraction, sigma
        As for `cka`, and only for it.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [-1, 1]; entry (i, j) is
        ``cka(representations[i], representations[j])``, or the like of another measure.

    Raises
    ------
    AkpError
        As the measure does, naming the index of the representation at fault; for an unknown measure or no
        representation at all.

    Notes
    -----
    Invariances: those of the measure, for each representation by itself.

    Cost of linear CKA: the cheaper of :math:`n^2\sum p_i + M^2n^2/2` and :math:`n(\sum p_i)^2` operations;
    a centred copy of the representations and 40 MB a thread, whatever n. Of rbf: M fingerprints of n(n-1)/2
    float64 numbers. Of a callable: M(M - 1)/2 calls, twice that if it is not symmetric.
    """
    check_estimator(estimator)
    rbf = kernel_of(kernel, fraction, sigma)
    members, names = listed(representations)
    if measure != "cka" and (estimator != "unbiased" or rbf is not None):
        raise AkpError("estimator, kernel, fraction and sigma belong to measure='cka'")
    if callable(measure):
        return like(_pair_by_pair(members, measure), members[0])
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    if measure == "cka":
        if rbf is None:
            return like(cosines(members, names, (estimator,))[0], members[0])
        features = [read(x, name) for x, name in zip(members, names, strict=True)]
        for one in features:
            same_examples(features[0], one)
        rows = torch.stack([pack(unit_gram(one, estimator, rbf), estimator) for one in features])
        return like(similarity_of_fingerprints(rows), members[0])
    matrix = MEASURES[measure].matrix
    assert matrix is not None
    return like(matrix(members), members[0])


def both_estimators(
    representations: Sequence[A] | Real[A, "M n p"],
) -> tuple[Float64[A, "M M"], Float64[A, "M M"]]:
    """Biased and unbiased linear CKA of every pair, from one pass: the price of one of them.

    Parameters
    ----------
    representations
        As for `pairwise`.

    Returns
    -------
    biased, unbiased : (M, M) float64 arrays of the kind that came

    Raises
    ------
    AkpError
        As `pairwise`.
    """
    members, names = listed(representations)
    biased, unbiased = cosines(members, names, ("biased", "unbiased"))
    return like(biased, members[0]), like(unbiased, members[0])


def listed(representations: Sequence[A] | Real[A, "M n p"]) -> tuple[list[A], list[str]]:
    """The members of a population, and what to call each in a message."""
    if isinstance(representations, Sequence) or getattr(representations, "ndim", 0) == 3:
        members = list(representations)
    else:
        raise expected(
            "a sequence of (examples, features) arrays or one (models, examples, features) array",
            f"{type(representations).__name__} of shape {tuple(getattr(representations, 'shape', ()))}",
        )
    if not members:
        raise expected("at least one representation", "none")
    return members, [f"representation {index}" for index in range(len(members))]


def _pair_by_pair(members: Sequence[A], measure: Callable[[A, A], float]) -> Float64[Tensor, "M M"]:
    similarity = torch.eye(len(members), dtype=torch.float64)
    for i, x in enumerate(members):
        for j, y in enumerate(members[:i]):
            similarity[i, j] = similarity[j, i] = (measure(x, y) + measure(y, x)) / 2
    return similarity


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
