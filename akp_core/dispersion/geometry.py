r"""Distances to a centroid that is never formed, from pairwise distances alone.

For points with Euclidean distances :math:`d_{ij}` inside a family of n,

.. math:: \|x_i - \bar x\|^2 = \tfrac1n \sum_j d_{ij}^2 - \tfrac1{2n^2} \sum_{jk} d_{jk}^2 ,

exact and without an ordination. The mean of n points lies closer to them than the centre of the
population they were drawn from, so the squared distances are multiplied by :math:`n/(n-1)`, which makes
families of unequal size comparable: their mean is then the unbiased total variance
:math:`V = \frac{1}{n(n-1)} \sum_{i<j} d_{ij}^2`.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from numpy.typing import NDArray
from scipy import special
from torch import Tensor

from akp_core.errors import AkpError, expected

Array: TypeAlias = np.ndarray | Tensor

_ROUND_OFF = 1e-6
"""A squared distance to the centroid may fall this far below zero, relative to the family's mean."""

_SMALLEST, _LARGEST = 1e-140, 1e140
"""The largest distance lies between these, so that sums of squares neither vanish nor overflow."""


def as_numpy(x: Array) -> NDArray[Any]:
    """A NumPy view or copy of an array, wherever it lives."""
    if not isinstance(x, Tensor):
        return np.asarray(x)
    here = x.detach().cpu()
    return (here.double() if here.is_floating_point() else here).numpy()


def represented(distances: Float64[np.ndarray, "M M"]) -> Bool[np.ndarray, " M"]:
    """Which models have a representation: a distance to some other that is not NaN."""
    return np.isnan(distances).sum(axis=1) < len(distances) - 1


def check_resampling(permutations: int, rng: np.random.Generator) -> int:
    """Return a whole number of permutations from 1; refuse others, and anything but an explicit generator."""
    if isinstance(permutations, bool) or not isinstance(permutations, Integral) or permutations < 1:
        raise expected("permutations as a whole number from 1", repr(permutations))
    if not isinstance(rng, np.random.Generator):
        raise expected(
            "rng as a numpy.random.Generator", type(rng).__name__, "use numpy.random.default_rng(seed)"
        )
    return int(permutations)


def smallest_p(counts: Int64[np.ndarray, "b k"], permutations: int) -> float:
    """The least p of a statistic that does not see the families' names, by permutation inside blocks.

    Given are the models of each family in each block. Families that have as many models as each other in
    every block can exchange names without a change; that share of all assignments reaches any value.
    """
    same = np.unique(counts, axis=1, return_counts=True)[1]
    assignments = special.gammaln(counts.sum(axis=1) + 1).sum() - special.gammaln(counts + 1).sum()
    least = float(np.exp(special.gammaln(same + 1).sum() - assignments))
    return min(1.0, max(1 / (1 + permutations), least))


def _flawless(d: Float64[np.ndarray, "M M"]) -> bool:
    """Whether there is nothing to tell: exactly symmetric, finite. A quick look before the careful one."""
    if len(d) < 2 or not np.array_equal(d, d.T) or d.diagonal().any():
        return False  # NaN differs from itself
    most = d.max()
    return bool(d.min() >= 0 and (most == 0 or _SMALLEST <= most <= _LARGEST))


def squared_distances(
    distances: Float[Array, "M M"],
) -> tuple[Float64[np.ndarray, "M M"], Bool[np.ndarray, " M"]]:
    """Check a distance matrix; return its square and which members have a representation.

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Symmetric, not negative, zero on the diagonal. A member whose distances to all others are NaN has
        no representation (it collapsed or diverged).

    Raises
    ------
    AkpError
        If the matrix is not such a matrix, naming the first entry at fault; if its largest entry is so
        small or so large that squares leave the range of float64.
    """
    given = as_numpy(distances)
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.dtype.kind not in "fiu":
        raise expected("a square matrix of distances between models", f"{given.dtype} of shape {given.shape}")
    d = given.astype(np.float64)
    if _flawless(d):
        return np.square(d), np.ones(len(d), dtype=bool)
    off = ~np.eye(len(d), dtype=bool)
    usable = ~np.all(np.isnan(d) | ~off, axis=1)
    inner = np.ix_(usable, usable)
    bad = np.argwhere(off & usable[:, None] & usable[None, :] & ~np.isfinite(d))
    if len(bad):
        i, j = (int(k) for k in bad[0])
        raise expected(
            "finite distances, or NaN to every other model for one without a representation",
            f"{d[i, j]} between models {i} and {j}",
        )
    scale = float(np.max(np.abs(d[inner]), initial=0.0))
    if scale > _LARGEST or 0 < scale < _SMALLEST:
        raise expected(
            f"distances of which the largest is 0 or from {_SMALLEST:g} to {_LARGEST:g}",
            f"{scale:g}",
            "give them in another unit",
        )
    for fault, where in (
        ("distances of 0 or more", d < 0),
        ("distance 0 of a model to itself", ~off & (np.abs(d) > 1e-9 * scale)),
        ("a symmetric matrix of distances", np.abs(d - d.T) > 1e-9 * scale),
    ):
        wrong = np.argwhere(where & usable[:, None] & usable[None, :])
        if len(wrong):
            i, j = (int(k) for k in wrong[0])
            raise expected(
                fault, f"{d[i, j]:g} at ({i}, {j})", "give distances between models, not similarities"
            )
    return np.where(off, np.square(d), 0.0), usable


def family_codes(families: Shaped[Array, " M"], members: int) -> tuple[list[object], Int64[np.ndarray, " M"]]:
    """Number the families 0, 1, ...; return their labels in that order and the number of each member."""
    labels = as_numpy(families)
    if labels.shape != (members,):
        raise expected(f"one family label for each of the {members} models", f"shape {labels.shape}")
    none = [i for i, label in enumerate(labels.tolist()) if label is None or label != label]
    if none:
        raise expected(
            "a family label for every model",
            f"{labels[none[0]]} for model {none[0]}",
            "leave it out, or mark it with a row of NaN distances and a label",
        )
    try:
        names, codes = np.unique(labels, return_inverse=True)
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.tolist()}))
        raise expected("family labels of one kind", kinds, "use strings or numbers throughout") from None
    return list(names.tolist()), codes.astype(np.int64)


def about_centroid(squared: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, " n"]:
    """The right-hand side of the identity above, for any dissimilarity; only Euclidean ones promise >= 0."""
    return squared.mean(axis=1) - squared.mean() / 2


def squared_to_centroid(squared: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, " n"]:
    """Squared distance of each member of one family to the family's mean (formula above).

    Raises
    ------
    AkpError
        If one is negative beyond round-off: the distance is not Euclidean.
    """
    to_centroid = about_centroid(squared)
    worst = float(to_centroid.min(initial=0.0))
    if worst < -_ROUND_OFF * squared.mean():
        raise AkpError(
            f"expected Euclidean distances, got a squared distance to the centroid of {worst:.3g}; "
            "use the chordal distance sqrt(2 - 2 s) of similarities s "
            "(similarity.chordal_distance), not 1 - s"
        )
    return np.maximum(to_centroid, 0)


def distance_to_centroid(
    distances: Float[Array, "M M"], families: Shaped[Array, " M"]
) -> Float64[np.ndarray, " M"]:
    r"""Distance of every model to the centroid of its own family: what it adds to the dispersion.

    .. math:: \delta_i = \sqrt{\tfrac{n}{n-1}}\, \|x_i - \bar x\|

    with n the members of the family; the factor undoes the pull of the model on its own centroid.

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Euclidean distances between models, such as `akp_core.similarity.chordal_distance`. A row and
        column of NaN marks a model without a representation.
    families : (M,) array
        A label for each model: numbers, strings or booleans.

    Returns
    -------
    (M,) float64 NumPy array
        0 or more, in the unit of the distances. The root mean square over a family is its dispersion.
        NaN for a model without a representation.

    Raises
    ------
    AkpError
        If the matrix is not one of distances or not Euclidean; for a family with fewer than 2 usable
        members.

    Notes
    -----
    Invariances: translation and rotation of each family. Cost: :math:`M^2` operations.

    References
    ----------
    Anderson 2006 (PERMDISP); Gower 1966 (the identity).
    """
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(squared))
    result = np.full(len(squared), np.nan)
    for code, name in enumerate(names):
        members = np.flatnonzero((codes == code) & usable)
        n = len(members)
        if n < 2:
            raise expected(
                f"at least 2 models with a representation in family {name!r}", str(n), "add members"
            )
        result[members] = np.sqrt(squared_to_centroid(squared[np.ix_(members, members)]) * n / (n - 1))
    return result
