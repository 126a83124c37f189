"""Does what a stress does depend on when it struck? One test, of values that belong to the same networks.

Every network met the stress at every onset, in families of its own, so values are paired by network. Where
the onset means nothing, a network's values may be exchanged among its onsets: that is the null, and it is
exact. What is compared must have had equal time; `akp_core.adaptation.critical` sees to that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations as orders
from itertools import product
from math import factorial

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

from akp_core.adaptation.exchanges import reached_share
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.geometry import check_resampling
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected


@dataclass(frozen=True)
class Dependence:
    """Whether a value depends on what varies within networks, such as the onset.

    Attributes
    ----------
    slope, low, high : float
        Mean change of the value per unit of what varies, and its interval over networks (Student's t).
    p_value : float
        That the means differ at all, by exchanging values within networks.
    p_trend : float
        Two-sided, that they rise or fall in a line.
    smallest_p : float
        The least p that so many networks and places can give.
    networks : int
        How many had a value everywhere. All else is NaN where there are fewer than four, or only one place.
    places : int
        How many values of what varies.
    """

    slope: float
    low: float
    high: float
    p_value: float
    p_trend: float
    smallest_p: float
    networks: int
    places: int

    @property
    def testable(self) -> bool:
        """Whether there was enough to test."""
        return not np.isnan(self.p_value)


def dependence(
    values: Float[np.ndarray, "m k"],
    at: Float[np.ndarray, " k"],
    *,
    permutations: int = 9999,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Dependence:
    r"""Test whether values of the same networks depend on where they were taken.

    .. math:: F = \sum_k (\bar x_k - \bar x)^2, \qquad
              \hat\beta = \frac1m \sum_i \frac{\sum_k (a_k - \bar a) x_{ik}}{\sum_k (a_k - \bar a)^2}

    Parameters
    ----------
    values : (m, k) float array
        Of network i at place k. Networks with NaN somewhere are left out.
    at : (k,) float array
        The places, such as onsets as shares of training, each once.
    permutations : int
        All distinct ones are used where there are no more than this.
    level : float
        The interval holds with confidence ``1 - level``.
    rng : numpy.random.Generator

    Returns
    -------
    Dependence

    Raises
    ------
    AkpError
        If shapes do not fit, a place is given twice or is not finite, or a value is infinite.

    Notes
    -----
    Values of one network stay together, so that what networks differ in cancels. The means are compared,
    not ranks, and every place has all networks, so unequal spread at the places does little harm.

    Invariances: adding a number to all values of a network, and (p values) scale. Cost: m x k a permutation.

    References
    ----------
    Pitman 1938 (permutation within blocks).
    """
    permutations, level = check_resampling(permutations, rng), check_level(level)
    x, a = np.asarray(values, dtype=np.float64), np.asarray(at, dtype=np.float64)
    if x.ndim != 2 or a.shape != x.shape[1:]:
        raise expected("one column of values for each place", f"shapes {x.shape} and {a.shape}")
    if not np.isfinite(a).all() or len(np.unique(a)) < len(a) or np.isinf(x).any():
        raise expected("finite values at places that differ", f"places {a.tolist()}")
    x = x[~np.isnan(x).any(axis=1)]
    m, k = len(x), len(a)
    if m < LEAST_MEMBERS or k < 2:
        return Dependence(np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, m, k)
    weights = lever(a)
    slopes = x @ weights
    error = float(slopes.std(ddof=1) / np.sqrt(m))
    half = float(stats.t.ppf(1 - level / 2, m - 1)) * error
    x = x - x.mean(axis=1, keepdims=True)
    whole = m * np.log(factorial(k)) <= np.log(permutations)
    means = _exchanged_means(x, permutations, rng, whole=whole)
    seen = x.mean(axis=0)
    scale = max(float(np.abs(x).max()), np.finfo(float).tiny)
    p_value, p_trend = (
        reached_share(np.asarray(over), reached, scale * size, whole=whole)
        for over, reached, size in (
            (np.square(means).sum(axis=1), float(np.square(seen).sum()), float(np.abs(x).max())),
            (np.abs(means @ weights), abs(float(seen @ weights)), float(np.abs(weights).sum())),
        )
    )
    slope = float(slopes.mean())
    # renaming the places of all networks alike leaves F as it is
    least = factorial(k) / float(factorial(k)) ** m
    least = least if whole else max(least, 1 / (1 + permutations))
    return Dependence(slope, slope - half, slope + half, p_value, p_trend, least, m, k)


def lever(at: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """What each place counts in the slope of a straight line."""
    return np.asarray((at - at.mean()) / np.square(at - at.mean()).sum())


def _exchanged_means(
    x: Float64[np.ndarray, "m k"], permutations: int, rng: np.random.Generator, *, whole: bool
) -> Float64[np.ndarray, "p k"]:
    m, k = x.shape
    if whole:
        ways = np.array(list(orders(range(k))))
        rows = np.array(list(product(range(len(ways)), repeat=m)))
        return np.asarray(x[np.arange(m)[None, :, None], ways[rows]].mean(axis=1))
    total = np.zeros((permutations, k))
    for row in x:
        total += rng.permuted(np.broadcast_to(row, (permutations, k)), axis=1)
    return total / m
