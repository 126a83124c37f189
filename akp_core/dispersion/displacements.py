r"""Displacements of unhappy models from the happy centroid, as inner products, and what they share.

All follows from squared distances (Gower 1966). On a sphere the part along the happy centroid is taken out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from akp_core.dispersion.dimension import squared_trace, trace_of_square
from akp_core.errors import expected

NOT_A_SPHERE = 1e-4
STILL = 1e-12
"""Squared lengths below this share of the mean squared distance are round-off."""

_MOST_DIMENSIONS = 1e9
_LEAST_DIMENSIONS = 1.0


class Products(NamedTuple):
    """Inner products of displacements v, of happy models h about their centroid, and between the two.

    `pull` is how strongly the error of the happy centroid enters every v: 1 if it is subtracted whole.
    """

    vv: NDArray[np.float64]
    hh: NDArray[np.float64]
    vh: NDArray[np.float64]
    pull: float


class Parts(NamedTuple):
    """S, V_u and V_h: from everyone (entry 0), then with each member left out."""

    shared: NDArray[np.float64]
    own: NDArray[np.float64]
    happy: NDArray[np.float64]


def products_of(q: NDArray[np.float64], n: int, *, paired: bool, sphere: bool) -> Products:
    """From squared distances, the n happy models first; on a sphere, of what is tangent at their centroid.

    All are in units of the mean squared distance, so that no product of two leaves the range of float64.
    """
    to_centre = q[:, :n].mean(axis=1) - q[:n, :n].mean() / 2
    gram = (to_centre[:, None] + to_centre[None, :] - q) / 2
    bend = np.ones(len(q))
    if sphere:
        if np.linalg.eigvalsh(1 - q / 2)[0] < -NOT_A_SPHERE * len(q):
            raise expected(
                "chordal distances sqrt(2 - 2 s), which lie on a unit sphere",
                f"distances up to {np.sqrt(q.max()):.3g} that do not",
                "give sphere=False for distances of another kind",
            )
        spread = q[:n, :n].mean() / 2
        square, unbiased = 1 - spread, 1 - spread * n / (n - 1)
        if unbiased < NOT_A_SPHERE:
            raise expected(
                "happy models with something in common",
                f"a mean similarity of {unbiased:.3g}",
                "they have no centre on the sphere: give sphere=False",
            )
        fall = spread - q[:, :n].mean(axis=1) / 2
        gram = gram - np.outer(fall, fall) / square
        bend = (square + fall) / np.sqrt(
            square * unbiased
        )  # times the error of the centroid: what they share
    scale = float(q.mean()) or 1.0
    gram = gram / scale
    hh, uu, uh = gram[:n, :n], gram[n:, n:], gram[n:, :n]
    if not paired:
        return Products(uu, hh, uh, float(bend[n:].mean()))
    return Products(uu - uh - uh.T + hh, hh, uh - hh, float((bend[n:] - bend[:n]).mean()))


def _moments(
    gram: NDArray[np.float64], *, leave_out: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squared length, and mean inner product of different members, of all and with each left out."""
    k, diagonal = len(gram), np.diag(gram)
    size = np.append(k, np.full(k, k - 1))
    trace = diagonal.sum() - np.append(0, diagonal)
    total = gram.sum() - np.append(0, 2 * gram.sum(axis=1) - diagonal)
    keep = slice(None) if leave_out else slice(1)
    return (trace / size)[keep], ((total - trace) / (size * (size - 1)))[keep]


def parts(of: Products, *, paired: bool) -> list[Parts]:
    """Estimates with each pair left out; or with each unhappy, and with each happy model left out."""
    found = []
    for axis in (None,) if paired else (1, 0):
        v_square, v_product = _moments(of.vv, leave_out=axis != 0)
        h_square, h_product = _moments(of.hh, leave_out=axis != 1)
        # Means of <v, h>, of different pairs if paired: about the happy centroid every row of vh sums to 0.
        k, self_products = len(of.vh), np.diag(of.vh)
        if axis is None:
            off = -self_products.sum() - np.append(0, of.vh.sum(axis=0) - 2 * self_products)
            cross = off / np.append(k * (k - 1), np.full(k, (k - 1) * (k - 2)))
        else:
            cross = -np.append(0, of.vh.mean(axis=axis)) / (of.vh.shape[1 - axis] - 1)
        shared = v_product + of.pull**2 * h_product - 2 * of.pull * cross
        own, happy = (np.broadcast_to(x, shared.shape) for x in (v_square - v_product, h_square - h_product))
        found.append(Parts(shared, own, happy))
    return found


def index_of(shared: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """V_u / (S + V_u), infinite where that sum is estimated at 0 or less."""
    total = shared + own
    return np.divide(np.maximum(own, 0), total, out=np.full(total.shape, np.inf), where=total > 0)


def half_width(values: list[NDArray[np.float64]], level: float) -> float:
    """Half a jackknife interval from values with each member of each family left out (Welch)."""
    if not all(np.isfinite(x).all() for x in values):
        return np.inf
    shares = np.array([(len(x) - 1) ** 2 / len(x) * x.var(ddof=1) for x in values])
    if shares.sum() == 0:
        return 0.0
    freedom = shares.sum() ** 2 / (shares**2 / [len(x) - 1 for x in values]).sum()
    return float(stats.t.ppf(1 - level / 2, freedom) * np.sqrt(shares.sum()))


def reach_of(left: list[Parts], level: float) -> tuple[float, tuple[float, float]]:
    """Root mean square displacement over that of happy models, by the jackknife of its logarithm."""
    moved, v_h = float(left[0].shared[0] + left[0].own[0]), float(left[0].happy[0])
    if v_h <= STILL * moved:
        return np.inf, (np.inf, np.inf)
    logs = []
    for part in left:
        ratio = (part.shared + part.own)[1:] / np.where(part.happy[1:] > 0, part.happy[1:], np.nan)
        logs.append(np.log(np.where(ratio > 0, ratio, np.nan)) / 2)
    half = half_width(logs, level)
    reach = float(np.sqrt(moved / v_h))
    return reach, (reach * float(np.exp(-half)), reach * float(np.exp(min(half, 700.0))))


def dimension_of(of: Products, *, paired: bool) -> float:
    """Effective dimension of the mean displacement if nothing is shared: (tr E)^2 / tr E^2.

    E = C_u / n_u + pull^2 C_h / n_h (Chen and Qin 2010); the error of the happy centroid is left out if
    paired. Where the displacements are all equal it is that of the happy models.
    """

    def moments(gram: NDArray[np.float64]) -> tuple[float, float, float]:
        k, diagonal = len(gram), np.diag(gram)
        squared = diagonal[:, None] + diagonal[None, :] - 2 * gram
        trace = squared.sum() / (2 * k * (k - 1))
        return trace / k, squared_trace(squared) / k**2, trace_of_square(squared) / k**2

    v, h = moments(of.vv), moments(of.hh)
    if paired:
        top, bottom = (v if v[2] > STILL * of.vv.mean() ** 2 else h)[1:]
    else:
        n_u, n_h = of.vh.shape
        centred = of.vh - of.vh.mean(axis=0)
        common = np.square(centred).sum() / ((n_u - 1) * (n_h - 1) * n_u * n_h)
        top = v[1] + of.pull**4 * h[1] + 2 * of.pull**2 * v[0] * h[0]
        bottom = v[2] + of.pull**4 * h[2] + 2 * of.pull**2 * common
    if bottom <= 0:
        return _LEAST_DIMENSIONS if top <= 0 else _MOST_DIMENSIONS
    return float(min(max(top / bottom, _LEAST_DIMENSIONS), _MOST_DIMENSIONS))
