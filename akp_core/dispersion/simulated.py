"""Many simulated studies at once: the contributions of two families, and the Anna Karenina test on each.

The statistic is `akp_core.dispersion.contributions.contrast`. Means and variances under every permutation are
matrix products with its indicator, those of either family with its own: taken as what the other leaves of the
whole, they would be lost to round-off where one family is much the wider.
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from numbers import Real

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray

from akp_core.dispersion.dimension import effective_dimension
from akp_core.dispersion.geometry import Array, squared_distances, squared_to_centroid
from akp_core.errors import expected

_MOST_DIMENSIONS = 1000
_WIDEST = 1e4
_BATCH_ENTRIES = 4_000_000
_TIE = 1e-9
"""Statistics this close, relatively, count as equal; sums in another order differ by less."""


def real_number(name: str, value: object, low: float, high: float, what: str) -> float:
    """Return a number above `low` and below `high`; NumPy's are numbers, truth values are not."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low < float(value) < high:
        raise expected(f"{name} as a {what}", repr(value))
    return float(value)


def cloud_of(
    dimension: float | None, pilot: Float[Array, "P P"] | None
) -> tuple[float, NDArray[np.float64] | None]:
    """The effective dimension to simulate and, from a pilot, the lengths to draw from."""
    if (dimension is None) == (pilot is None):
        raise expected(
            "either dimension or pilot",
            "both" if pilot is not None else "neither",
            "give the effective dimension of the models, or the distances of a pilot family",
        )
    if pilot is not None:
        squared, usable = squared_distances(pilot)
        found = min(effective_dimension(pilot), float(_MOST_DIMENSIONS))
        return found, np.sqrt(squared_to_centroid(squared[np.ix_(usable, usable)]))
    below = float(np.nextafter(1.0, 0.0))
    given = real_number("dimension", dimension, below, np.inf, "number of at least 1")
    return min(given, float(_MOST_DIMENSIONS)), None


def distinct_permutations(members: int, *, paired: bool) -> int:
    """In how many ways two families of so many members can be permuted."""
    return 2**members if paired else comb(2 * members, members)


def simulated_families(
    members: int,
    ratio: float,
    correlation: float,
    lengths: NDArray[np.float64] | None,
    dimension: int,
    simulations: int,
    rng: np.random.Generator,
) -> tuple[Float64[np.ndarray, "S n"], Float64[np.ndarray, "S n"]]:
    """Pseudo-values of happy and unhappy families, from their points; twins at the same place."""
    found: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
    batch, wider = max(1, _BATCH_ENTRIES // (members * dimension)), min(max(ratio, 1 / _WIDEST), _WIDEST)
    for start in range(0, simulations, batch):
        shape = (min(batch, simulations - start), members)

        def cloud(shape: tuple[int, int] = shape) -> NDArray[np.float64]:
            points = rng.standard_normal((*shape, dimension))
            if lengths is not None:
                points *= (rng.choice(lengths, shape) / np.linalg.norm(points, axis=2))[..., None]
            return points

        happy, fresh = cloud(), cloud()
        unhappy = correlation * happy + np.sqrt(1 - correlation**2) * fresh if correlation else fresh
        for kept, points, width in ((found[0], happy, 1.0), (found[1], unhappy, wider)):
            points -= points.mean(axis=1, keepdims=True)
            squares = width**2 * np.einsum("snd,snd->sn", points, points)
            common = squares.sum(axis=1, keepdims=True) / ((members - 1) * (members - 2))
            kept.append(members / (members - 2) * squares - common)
    return np.concatenate(found[0]), np.concatenate(found[1])


def _over_error(
    u: NDArray[np.float64], h: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num((u - h) * (u + h) / (2 * np.sqrt(np.maximum(variance, 0))))


def contrasts(
    unhappy: Float64[np.ndarray, "S n"],
    happy: Float64[np.ndarray, "S n"],
    moved: Float64[np.ndarray, "P M"],
    *,
    paired: bool,
) -> Float64[np.ndarray, "S P"]:
    """The statistic for many studies and permutations.

    A row of `moved` says for each of the 2 n models, the unhappy first, whether it counts as unhappy; if
    paired, for each of the n pairs whether its twins are swapped.
    """
    n = happy.shape[1]
    if paired:
        swapped, kept = moved.T, 1 - moved.T
        pairs = [(x @ kept + y @ swapped) / n for x, y in ((unhappy, happy), (happy, unhappy))]
        squares = [
            (np.square(x) @ kept + np.square(y) @ swapped) / n
            for x, y in ((unhappy, happy), (happy, unhappy))
        ]
        (u, h), (uu, hh) = pairs, squares
        both = (unhappy * happy).mean(axis=1, keepdims=True)
        return _over_error(u, h, (h**2 * uu + u**2 * hh - 2 * u * h * both) / (n - 1))
    pooled = np.concatenate([unhappy, happy], axis=1)
    square = np.square(pooled)
    u, h = pooled @ moved.T / n, pooled @ (1 - moved.T) / n
    uu, hh = square @ moved.T / n, square @ (1 - moved.T) / n
    return _over_error(u, h, (h**2 * (uu - u**2) + u**2 * (hh - h**2)) / (n - 1))


def simulated_p_values(
    happy: Float64[np.ndarray, "S n"],
    unhappy: Float64[np.ndarray, "S n"],
    permutations: int,
    rng: np.random.Generator,
    *,
    paired: bool = False,
) -> Float64[np.ndarray, " S"]:
    """Two-sided p values of the Anna Karenina test for many pairs of families of equal size.

    One set of permutations serves all of them; where there are no more than `permutations`, all are used,
    and then the p values are those of `anna_karenina_test`.
    """
    n = happy.shape[1]
    scale = (happy.mean(axis=1, keepdims=True) + unhappy.mean(axis=1, keepdims=True)) / 2
    happy, unhappy = happy / scale, unhappy / scale
    exact = distinct_permutations(n, paired=paired) <= permutations
    if paired:
        observed_move = np.zeros((1, n))
        moved = (
            np.array(list(product((0.0, 1.0), repeat=n)))
            if exact
            else rng.integers(0, 2, (permutations, n)).astype(np.float64)
        )
    else:
        observed_move = (np.arange(2 * n) < n).astype(np.float64)[None]
        if exact:
            chosen = np.array(list(combinations(range(2 * n), n)))
        else:
            chosen = rng.permuted(np.tile(np.arange(2 * n), (permutations, 1)), axis=1)[:, :n]
        moved = np.zeros((len(chosen), 2 * n))
        np.put_along_axis(moved, chosen, 1.0, axis=1)
    p = np.empty(len(happy))
    batch, extra = max(1, _BATCH_ENTRIES // len(moved)), 0 if exact else 1
    for start in range(0, len(happy), batch):
        some = unhappy[start : start + batch], happy[start : start + batch]
        observed = contrasts(*some, observed_move, paired=paired)
        null = contrasts(*some, moved, paired=paired)
        slack = _TIE * np.abs(observed)
        tails = np.stack([(null <= observed + slack).sum(axis=1), (null >= observed - slack).sum(axis=1)])
        p[start : start + batch] = np.minimum(1, 2 * (tails.min(axis=0) + extra) / (len(moved) + extra))
    return p
