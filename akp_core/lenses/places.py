"""Where single networks are: from the happy centroid, and along their family's way."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64

from akp_core.study import CONTROL


def from_centroid(
    squared: Float64[np.ndarray, "M M"], where: dict[str, Int64[np.ndarray, " m"]], family: str | None
) -> Float64[np.ndarray, " M"]:
    r"""Distance of every network to the centroid of other members of a family.

    .. math:: \lVert x_i - \bar y_{-i} \rVert^2 = \frac1n \sum_j d_{ij}^2 - \frac{1}{2n^2} \sum_{jk} d_{jk}^2

    Parameters
    ----------
    squared : (M, M) float64
        Squared distances; NaN, the diagonal too, for a network without representation.
    where : dict of str to (m,) int
        Rows of each family, members in one order.
    family : str or None
        Whose centroid; None: that of the network's own family.

    Returns
    -------
    (M,) float64
        From 0; NaN for a network without representation, or without other members that have one.
    """
    out = np.full(len(squared), np.nan)
    for name, rows in where.items():
        target = where[name if family is None else family]
        for k, row in enumerate(rows):
            others = np.delete(target, k)
            others = others[~np.isnan(squared[others, others])]
            inner, to = squared[np.ix_(others, others)], squared[row, others]
            if len(others) and not np.isnan(to).any():
                out[row] = np.sqrt(max(float(to.mean() - inner.mean() / 2), 0.0))
    return out


def own_way_angle(
    squared: Float64[np.ndarray, "M M"], where: dict[str, Int64[np.ndarray, " m"]]
) -> Float64[np.ndarray, " M"]:
    """Angle between a network's displacement from its twin and the mean one of the rest of its family.

    Parameters
    ----------
    squared, where
        As for `from_centroid`, the control among the families.

    Returns
    -------
    (M,) float64
        Degrees, in [0, 180]; NaN for the control, and where the network, its twin or all others are lost or
        did not move.
    """
    out, control = np.full(len(squared), np.nan), where[CONTROL]
    for name, rows in where.items():
        if name == CONTROL:
            continue
        there, back = squared[np.ix_(rows, control)], squared[np.ix_(control, rows)]
        both = squared[np.ix_(rows, rows)], squared[np.ix_(control, control)]
        # (a - b).(c - d) of points is (ad + bc - ac - bd) / 2 of squared distances
        products = (there + back - both[0] - both[1]) / 2
        known = ~np.isnan(np.diag(products))
        for k in np.flatnonzero(known):
            others = np.flatnonzero(known & (np.arange(len(rows)) != k))
            if not len(others):
                continue
            along = products[k, others].mean()
            size = np.sqrt(products[k, k] * products[np.ix_(others, others)].mean())
            if size > 0:
                out[rows[k]] = np.degrees(np.arccos(np.clip(along / size, -1.0, 1.0)))
    return out
