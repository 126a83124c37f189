r"""Statement 7: CKA is a cosine in a Euclidean space, and what follows from that.

Centring and U-centring are orthogonal projections of symmetric matrices. So both kinds of CKA are cosines
between projected Gram matrices, :math:`d = \sqrt{2 - 2\,\mathrm{CKA}}` is the Frobenius distance of the unit
matrices F, a family's centroid is the mean of its F, and :math:`V = \frac{M}{M-1}(1 - \|\bar F\|^2)`. The
distance itself is `akp_core.similarity.chordal_distance`, the centroid `akp_core.dispersion.Centroid`; here
is what the proofs need besides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray

from akp_core.errors import expected
from akp_core.similarity import chordal_distance, pairwise
from akp_core.similarity.arrays import read
from akp_core.similarity.gram import Estimator, check_estimator, u_centre_, unit_gram

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]

DISTANCES: Mapping[str, Curve] = {
    "chord, √(2 − 2 CKA)": lambda s: np.sqrt(np.maximum(2 - 2 * s, 0)),
    "√(1 − CKA)": lambda s: np.sqrt(np.maximum(1 - s, 0)),
    "angle, arccos CKA": lambda s: np.arccos(np.clip(s, -1, 1)),
    "1 − CKA": lambda s: 1 - s,
}
"""What is called a distance of two representations, as a function of their similarity.

:meta hide-value:
"""


def blend(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "n q"],
    share: float,
    *,
    estimator: Estimator = "unbiased",
) -> Float64[np.ndarray, "n r"]:
    r"""A representation on the chord from x to y: :math:`F \propto (1 - t) F_x + t F_y`.

    Parameters
    ----------
    x, y : (n, p) and (n, q) real arrays
    share : float
        t in [0, 1].
    estimator : {"unbiased", "biased"}
        Which F.

    Returns
    -------
    (n, p + q) float64
        The features of both side by side, weighted.

    Raises
    ------
    AkpError
        As `akp_core.similarity.cka`; for a share outside [0, 1].
    """
    check_estimator(estimator)
    if isinstance(share, bool) or not isinstance(share, int | float | np.floating) or not 0 <= share <= 1:
        raise expected("a share in [0, 1]", repr(share))
    parts = []
    for values, name, weight in ((x, "x", 1 - share), (y, "y", share)):
        features = read(values, name)
        unit_gram(features, estimator)
        gram = features.centred @ features.centred.T
        if estimator == "unbiased":
            u_centre_(gram)
        parts.append(features.centred.numpy() * np.sqrt(weight / float(torch.linalg.matrix_norm(gram))))
    if len(parts[0]) != len(parts[1]):
        raise expected(f"as many examples in y as in x ({len(parts[0])})", str(len(parts[1])))
    return np.hstack(parts)


def with_private_parts(
    x: Float[np.ndarray, "n p"], amounts: Float[np.ndarray, " n"]
) -> Float64[np.ndarray, "n r"]:
    r"""Give every example a feature of its own: :math:`[x, \operatorname{diag}\sqrt{a}]`.

    Adds a to the diagonal of the Gram matrix, which unbiased CKA does not see and biased CKA does.

    Parameters
    ----------
    x : (n, p) real array
    amounts : (n,) real array
        Squared length of each example's own feature, 0 or more.

    Returns
    -------
    (n, p + n) float64

    Raises
    ------
    AkpError
        For amounts that are negative or not one an example.
    """
    given = np.asarray(amounts, dtype=np.float64)
    if given.shape != (len(x),) or not (given >= 0).all() or not np.isfinite(given).all():
        raise expected(f"one amount of 0 or more for each of {len(x)} examples", f"shape {given.shape}")
    return np.hstack([np.asarray(x, dtype=np.float64), np.diag(np.sqrt(given))])


def detours(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "n q"],
    shares: Float[np.ndarray, " t"],
    *,
    estimator: Estimator = "unbiased",
) -> Mapping[str, Float64[np.ndarray, " t"]]:
    r"""How much longer the way from x to y over a blend is.

    .. math:: \delta(x, z_t) + \delta(z_t, y) - \delta(x, y)

    Parameters
    ----------
    x, y : (n, p) and (n, q) real arrays
    shares : (t,) float array
        Of y in each blend.
    estimator : {"unbiased", "biased"}

    Returns
    -------
    mapping of str to (t,) float64
        For each of `DISTANCES`; below 0 the triangle inequality is broken.
    """
    ends = [pairwise([x, blend(x, y, float(t), estimator=estimator), y], estimator=estimator) for t in shares]
    s = np.stack(ends)
    return {name: f(s[:, 0, 1]) + f(s[:, 1, 2]) - f(s[:, 0, 2]) for name, f in DISTANCES.items()}


def least_eigenvalue(distances: Float[np.ndarray, "M M"]) -> float:
    r"""Least eigenvalue of :math:`-\frac12 H D^{(2)} H` over the largest: if below 0, D is not Euclidean.

    Parameters
    ----------
    distances : (M, M) real array
        Symmetric, with a zero diagonal.

    Returns
    -------
    float
        0 up to round-off for a Euclidean distance; at most 0 for M points, as one eigenvalue is 0.

    Raises
    ------
    AkpError
        For a matrix that is not square and finite, or all zero.

    References
    ----------
    Gower 1966.
    """
    d = np.asarray(distances, dtype=np.float64)
    if d.ndim != 2 or len(set(d.shape)) != 1 or not np.isfinite(d).all() or not d.any():
        raise expected("a square matrix of finite distances", f"shape {d.shape}")
    h = np.eye(len(d)) - 1 / len(d)
    values = np.linalg.eigvalsh(-h @ (d**2) @ h / 2)
    return float(values[0] / np.abs(values).max())


def crossroads(length: int = 8) -> Float64[np.ndarray, "4 n 2"]:
    r"""Four representations whose angles no Euclidean space holds: three at right angles, and a midpoint.

    Parameters
    ----------
    length : int
        Examples, at least 4.

    Returns
    -------
    (4, n, 2) float64
        The biased CKA of the first three is 0; the last lies half-way between the first two.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 4:
        raise expected("at least 4 examples", repr(length))
    contrasts = np.linalg.qr(np.column_stack([np.ones(length), np.eye(length)[:, :3]]))[0][:, 1:]
    alone = [np.column_stack([contrasts[:, k], np.zeros(length)]) for k in range(3)]
    return np.stack([*alone, contrasts[:, :2]])


def as_distances(
    representations: list[NDArray[np.float64]], name: str, *, estimator: Estimator = "unbiased"
) -> Float64[np.ndarray, "M M"]:
    """One of `DISTANCES` between all pairs of representations."""
    if name not in DISTANCES:
        raise expected(f"a distance among {', '.join(DISTANCES)}", repr(name))
    s = pairwise(representations, estimator=estimator)
    if name == next(iter(DISTANCES)):
        return chordal_distance(s)
    return DISTANCES[name](s) * ~np.eye(len(s), dtype=bool)
