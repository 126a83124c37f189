"""Squared distances between twins and strangers, pair by pair, out of the distances between networks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy import stats

from akp_core.dispersion.geometry import Array, as_numpy, represented, squared_distances
from akp_core.errors import expected

_TIE = 1e-12
NEAR, OUTSIDE = (0, 1), (2, 4)
"""Which of `parts` are divided for nearness and for outsideness."""


def apart(distances: Float[Array, "M M"]) -> Float64[np.ndarray, " n"]:
    """Distance of every stressed network to its own twin, in units of the mean distance of two happy ones.

    Parameters
    ----------
    distances : (M, M) float array
        As for `place`.

    Returns
    -------
    (n,) float64
        0 for a network that is its twin, 1 for one as far from it as happy networks are from one another
        (root mean square); NaN where a pair is not whole, and throughout where fewer than 2 pairs are.
    """
    out = np.full(twins_of(distances), np.nan)
    kept, squared = complete(as_numpy(distances).astype(np.float64)), squared_pairs(distances)
    if kept.sum() > 1:
        own, _, _, happy_pair, _ = parts(squared)
        out[kept] = np.sqrt(own / happy_pair.mean()) if happy_pair.mean() > 0 else np.nan
    return out


def mean_with_interval(values: Float[np.ndarray, " n"], level: float) -> tuple[float, float, float]:
    """Mean of the values that are not NaN, and its interval (Student's t); NaN for fewer than 2."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return np.nan, np.nan, np.nan
    mean = float(known.mean())
    half = float(stats.t.ppf(1 - level / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return mean, mean - half, mean + half


def twins_of(distances: Float[Array, "M M"]) -> int:
    """How many pairs of twins a matrix of distances has; one of another shape is refused."""
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or distances.shape[0] % 2:
        what = "distances between n unstressed networks and their n twins"
        raise expected(what, f"shape {tuple(distances.shape)}")
    return int(distances.shape[0]) // 2


def squared_pairs(distances: Float[Array, "M M"]) -> Float64[np.ndarray, "K K"]:
    """Squared distances of the complete pairs."""
    d = as_numpy(distances).astype(np.float64)
    pick = np.flatnonzero(np.tile(complete(d), 2))
    return np.asarray(squared_distances(d[np.ix_(pick, pick)])[0])


def complete(distances: Float64[np.ndarray, "M M"]) -> Bool[np.ndarray, " n"]:
    """Which pairs of twins both have a representation."""
    n, has = len(distances) // 2, represented(distances)
    return has[:n] & has[n:]


def parts(squared: Float64[np.ndarray, "M M"]) -> tuple[Float64[np.ndarray, " n"], ...]:
    """Squares of a, o, b, of the distance to another unstressed network, and of r, pair by pair."""
    n = len(squared) // 2
    happy, across = squared[:n, :n], squared[n:, :n]
    own = np.diagonal(across)
    others = (across.sum(axis=1) - own) / (n - 1)
    rows = happy.sum(axis=1)
    happy_pair = rows / (n - 1)
    spread = (happy.sum() - 2 * rows) / (2 * (n - 1) ** 2)  # of the others about their own centre
    return own, others, others - spread, happy_pair, happy_pair - spread


def jackknifed(squared: Float64[np.ndarray, "M M"], above: int, below: int) -> tuple[float, float]:
    """Root of a ratio of two sums over pairs, and its jackknife error: every distance is taken anew."""
    n = len(squared) // 2

    def ratio(keep: Bool[np.ndarray, " n"]) -> float:
        pick = np.flatnonzero(np.tile(keep, 2))
        each = parts(squared[np.ix_(pick, pick)])
        down = float(each[below].sum())
        return float(np.sqrt(max(float(each[above].sum()), 0.0) / down)) if down > 0 else 1.0

    everyone = ratio(np.ones(n, dtype=bool))
    without = np.array([ratio(np.arange(n) != i) for i in range(n)])
    error = float(np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()))
    return everyone, error if error > _TIE * everyone else 0.0
