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
    a centred copy of the representations and 33 MB a thread, whatever n. Of rbf: M fingerprints of n(n-1)/2
    float64 numbers. Of a callable: M(M - 1)/2 calls, twice that if it is not symmetric.
    """
    check_estimator(estimator)
    rbf = kernel_of(kernel, fraction, sigma)
    members, names = listed(representations)
    is_cka = isinstance(measure, str) and measure == "cka"
    if not is_cka and (estimator != "unbiased" or rbf is not None):
        raise AkpError("estimator, kernel, fraction and sigma belong to measure='cka'")
    if not isinstance(measure, str):
        return like(_pair_by_pair(members, measure_called(measure)), members[0])
    if measure not in MEASURES:
        raise unknown_name("measure", measure, MEASURES)
    if measure == "cka":
        if rbf is None:
            return like(cosines(members, names, (estimator,))[0], members[0])
        first = read(members[0], names[0])
        rows = []
        for x, name in zip(members, names, strict=True):
            features = read(x, name)
            same_examples(first, features)
            rows.append(pack(unit_gram(features, estimator, rbf), estimator))
        return like(similarity_of_fingerprints(torch.stack(rows)), members[0])
    matrix = MEASURES[measure].matrix
    if matrix is None:
        return like(_pair_by_pair(members, MEASURES[measure].function), members[0])
    return matrix(members)


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


def measure_called(measure: str | Callable[[A, A], float]) -> Callable[[A, A], float]:
    """A measure by its name, or a function whose every value is checked to be a similarity."""
    if isinstance(measure, str):
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        return MEASURES[measure].function
    if not callable(measure):
        raise expected("measure as a name or a function of two representations", type(measure).__name__)

    def checked(x: A, y: A) -> float:
        value = float(measure(x, y))
        if not -1 - 1e-9 <= value <= 1 + 1e-9:
            raise expected("similarities from -1 to 1 of the measure", f"{value:g}")
        return value

    return checked


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
        If the matrix is not square or symmetric, a value lies outside [-1, 1], or one on the diagonal is
        neither 1 nor NaN.

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
    skew = (values - values.T).abs()
    if bool((skew > 1e-9).any()) or bool((torch.isnan(values) != torch.isnan(values.T)).any()):
        raise expected(
            "a symmetric matrix of similarities", "one that is not", "average it with its transpose"
        )
    self_similar = values.diagonal()
    if bool(((self_similar - 1).abs() > 1e-6).any()):
        raise expected("similarities with 1 on the diagonal", f"{float(self_similar.nan_to_num(1).min()):g}")
    squared = 2 - 2 * values
    squared[squared < _RESOLUTION] = 0
    return like(squared.sqrt().fill_diagonal_(0), similarity)
