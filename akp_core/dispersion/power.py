r"""How many members does a verdict need?

Two families are simulated, the unhappy one ``ratio`` times as wide, and the Anna Karenina test decides; the
share of right verdicts is its power. How far V varies between families of n depends on how many directions
models vary in: for a Gaussian cloud :math:`\operatorname{Var} \log V \approx 2 / (d (n-1))` with the
effective dimension :math:`d = (\operatorname{tr} C)^2 / \operatorname{tr} C^2`. Give that dimension, or a
pilot family to take it from.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from scipy import stats

from akp_core.dispersion.geometry import Array, check_resampling, squared_distances, squared_to_centroid
from akp_core.dispersion.inference import LEAST_MEMBERS, check_level
from akp_core.errors import expected, whole_number

_MOST_DIMENSIONS = 1000
_BATCH_ENTRIES = 4_000_000
_TIE = 1e-10
"""Statistics this close, relatively, count as equal; sums in another order differ by less."""


@dataclass(frozen=True)
class Power:
    """How often the Anna Karenina test finds a difference of dispersion.

    Attributes
    ----------
    power : float
        Share of simulated pairs of families with the right verdict, in [0, 1]: "AKP" for a ratio above 1,
        "anti-AKP" below 1; any verdict for a ratio of exactly 1, which is then the size of the test.
    interval : (float, float)
        95 % Clopper-Pearson interval of the power: the error of the simulation.
    ratio : float
        Root mean square distance to the own centroid, unhappy over happy.
    members : int
        Models in each family.
    dimension : float
        Effective dimension of the simulated clouds.
    level : float
        Of the test.
    simulations : int
        How many pairs of families were drawn.
    """

    power: float
    interval: tuple[float, float]
    ratio: float
    members: int
    dimension: float
    level: float
    simulations: int


def squared_trace(squared: Float64[np.ndarray, "n n"]) -> float:
    r"""Estimate :math:`(\operatorname{tr} C)^2` without bias, as a mean over pairs of disjoint pairs."""
    n = len(squared)
    rows = squared.sum(axis=1)
    disjoint = rows.sum() ** 2 - 4 * (rows @ rows) + 2 * np.square(squared).sum()
    return float(disjoint) / (4 * n * (n - 1) * (n - 2) * (n - 3))


def trace_of_square(squared: Float64[np.ndarray, "n n"]) -> float:
    r"""Estimate :math:`\operatorname{tr} C^2` without bias, as a quarter of the distance variance."""
    n = len(squared)
    rows = squared.sum(axis=1) / (n - 2)
    centred = squared - rows[:, None] - rows[None, :] + squared.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    return float(np.square(centred).sum()) / (4 * n * (n - 3))


def effective_dimension(distances: Float[Array, "M M"]) -> float:
    r"""Estimate in how many directions the models of one family vary.

    .. math:: d = \frac{(\operatorname{tr} C)^2}{\operatorname{tr} C^2}, \qquad
       \widehat{\operatorname{tr} C^2} = \frac{\langle U(D), U(D) \rangle}{4 n (n-3)}

    with C the covariance of the models, D their squared distances and U the U-centring; the numerator is
    averaged over pairs of disjoint pairs. Both are unbiased for any distribution.

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Distances between the models of one family; NaN rows mark models without a representation.

    Returns
    -------
    float
        1 for models along a line, d for a round cloud in d dimensions; at least 1. Infinite where all
        distances are equal: then no two models share a direction.

    Raises
    ------
    AkpError
        If the matrix is not one of distances, fewer than 4 models are usable, or all are identical.

    Notes
    -----
    Without the correction n models never show more than n - 1 directions: ten models of a round cloud in
    100 dimensions have a plug-in value of 8.2 on average; this estimate has a median of 103 (quartiles 87
    and 120, 1000 simulations).

    Invariances: scale, translation and rotation. Cost: :math:`M^2`.

    References
    ----------
    Chen and Qin 2010 (the U-statistics); Székely and Rizzo 2014 (U-centring); Bretherton et al. 1999
    (effective degrees of freedom).
    """
    squared, usable = squared_distances(distances)
    inside = squared[np.ix_(usable, usable)]
    if len(inside) < LEAST_MEMBERS:
        raise expected(f"at least {LEAST_MEMBERS} usable models", str(len(inside)), "add members")
    if not inside.any():
        raise expected("models that differ", f"{len(inside)} identical ones")
    inside = inside / inside.mean()
    square = trace_of_square(inside)
    return max(1.0, squared_trace(inside) / square) if square > 1e-18 else np.inf


def _contributions(
    members: int,
    width: float,
    lengths: NDArray[np.float64] | None,
    dimension: int,
    simulations: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "S n"]:
    """Pseudo-values (`contributions.pseudo_values`) of many simulated families, from their points."""
    found = []
    batch = max(1, _BATCH_ENTRIES // (members * dimension))
    for start in range(0, simulations, batch):
        shape = (min(batch, simulations - start), members)
        points = rng.standard_normal((*shape, dimension))
        if lengths is not None:
            points *= (rng.choice(lengths, shape) / np.linalg.norm(points, axis=2))[..., None]
        points -= points.mean(axis=1, keepdims=True)
        found.append(np.einsum("snd,snd->sn", points, points))
    to_centroid = width**2 * np.concatenate(found)
    common = to_centroid.sum(axis=1, keepdims=True) / ((members - 1) * (members - 2))
    return members / (members - 2) * to_centroid - common


def _contrasts(
    pooled: Float64[np.ndarray, "S M"], unhappy: Float64[np.ndarray, "M P"]
) -> Float64[np.ndarray, "S P"]:
    """The statistic of the test (`contributions.contrast`) for many families and assignments at once.

    Means and variances under every assignment are matrix products with its indicator.
    """
    n = len(unhappy) // 2
    square = np.square(pooled)
    u, uu = pooled @ unhappy / n, square @ unhappy / n
    h, hh = pooled.sum(axis=1, keepdims=True) / n - u, square.sum(axis=1, keepdims=True) / n - uu
    variance = (h**2 * (uu - u**2) + u**2 * (hh - h**2)) / (n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nan_to_num((u - h) * (u + h) / (2 * np.sqrt(np.maximum(variance, 0))))


def simulated_p_values(
    happy: Float64[np.ndarray, "S n"],
    unhappy: Float64[np.ndarray, "S n"],
    permutations: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, " S"]:
    """Two-sided p values of the unpaired Anna Karenina test for many pairs of families of equal size.

    One set of permutations serves all of them; where there are no more than `permutations`, all are used,
    and then the p values are those of `anna_karenina_test`.
    """
    n = happy.shape[1]
    pooled = np.concatenate([unhappy, happy], axis=1)
    pooled = pooled / pooled.mean(axis=1, keepdims=True)
    exact = comb(2 * n, n) <= permutations
    if exact:
        chosen = np.array(list(combinations(range(2 * n), n)))
    else:
        chosen = rng.permuted(np.tile(np.arange(2 * n), (permutations, 1)), axis=1)[:, :n]
    assigned = np.zeros((len(chosen), 2 * n))
    np.put_along_axis(assigned, chosen, 1.0, axis=1)
    own = np.repeat([1.0, 0.0], n)[:, None]
    p = np.empty(len(pooled))
    batch = max(1, _BATCH_ENTRIES // len(assigned))
    for start in range(0, len(pooled), batch):
        some = pooled[start : start + batch]
        observed, null = _contrasts(some, own), _contrasts(some, assigned.T)
        slack = _TIE * np.abs(observed)
        tails = np.stack([(null <= observed + slack).sum(axis=1), (null >= observed - slack).sum(axis=1)])
        extra = 0 if exact else 1
        p[start : start + batch] = np.minimum(1, 2 * (tails.min(axis=0) + extra) / (len(assigned) + extra))
    return p


def _cloud(
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
    if isinstance(dimension, bool) or not isinstance(dimension, int | float) or not 1 <= dimension < np.inf:
        raise expected("dimension as a number of at least 1", repr(dimension))
    return min(float(dimension), float(_MOST_DIMENSIONS)), None


def power(
    ratio: float,
    members: int,
    *,
    dimension: float | None = None,
    pilot: Float[Array, "P P"] | None = None,
    level: float = 0.05,
    simulations: int = 1000,
    permutations: int = 999,
    rng: np.random.Generator,
) -> Power:
    r"""Estimate how often the Anna Karenina test finds a given ratio of dispersions.

    Parameters
    ----------
    ratio : float
        Root mean square distance to the own centroid, unhappy over happy, more than 0; 1 gives the size.
    members : int
        Models in each family, at least 4.
    dimension : float, optional
        Effective dimension of the models: Gaussian clouds are drawn in that many dimensions (rounded; at
        most 1000).
    pilot : (P, P) array, optional
        Distances between the models of a pilot family, at least 4. Models are drawn with a length from
        the pilot's own distances to its centroid and a random direction in as many dimensions as its
        `effective_dimension`, so heavy tails of the pilot lower the power as they should.
    level : float
        Of the test, in (0, 1).
    simulations, permutations : int
        Pairs of families drawn, and permutations in the test of each.
    rng : numpy.random.Generator
        Draws everything.

    Returns
    -------
    Power
        Share of right verdicts, in [0, 1], with the interval of the simulation.

    Raises
    ------
    AkpError
        If not exactly one of dimension and pilot is given, or an argument is out of range.

    Notes
    -----
    Both clouds have the same shape, the test is the unpaired one, and a pilot's uncertainty is not in
    the interval: halve its dimension to see how much that matters.

    Cost: per simulation 2 n d draws and a product of 2 n by the number of permutations.

    References
    ----------
    Clopper and Pearson 1934.
    """
    check_resampling(permutations, rng)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < np.inf:
        raise expected("ratio as a number above 0", repr(ratio))
    members = whole_number("members", members, LEAST_MEMBERS)
    simulations = whole_number("simulations", simulations, 1)
    check_level(level)
    d, lengths = _cloud(dimension, pilot)
    size = max(1, round(d))
    h = _contributions(members, 1.0, lengths, size, simulations, rng)
    u = _contributions(members, float(ratio), lengths, size, simulations, rng)
    right: NDArray[np.bool_] = simulated_p_values(h, u, permutations, rng) < level
    if ratio != 1:
        right &= (u.mean(axis=1) > h.mean(axis=1)) == (ratio > 1)
    exact = stats.binomtest(int(right.sum()), simulations).proportion_ci(0.95, method="exact")
    return Power(
        power=float(right.mean()),
        interval=(float(exact.low), float(exact.high)),
        ratio=float(ratio),
        members=members,
        dimension=d,
        level=float(level),
        simulations=simulations,
    )


def members_needed(
    ratio: float,
    *,
    power: float = 0.8,
    dimension: float | None = None,
    pilot: Float[Array, "P P"] | None = None,
    level: float = 0.05,
    most: int = 1000,
    simulations: int = 1000,
    permutations: int = 999,
    rng: np.random.Generator,
) -> Power:
    r"""Find the least number of models per family that gives the Anna Karenina test a wanted power.

    .. math:: n_0 = 1 + \frac{(z_{1 - \alpha/2} + z_{power})^2}{d \log^2 \text{ratio}}

    is the first guess, for Gaussian clouds; simulation brackets the answer around it and bisects.

    Parameters
    ----------
    ratio : float
        Root mean square distance to the own centroid, unhappy over happy; not 1.
    power : float
        Wanted share of right verdicts, in (0, 1).
    dimension, pilot, level, simulations, permutations
        As in the function `power`.
    most : int
        The largest number to consider.
    rng : numpy.random.Generator
        One seed is drawn from it; every number of members is judged with that same seed.

    Returns
    -------
    Power
        At the least number of members whose simulated power reaches the wanted one; its interval says
        how sure that is.

    Raises
    ------
    AkpError
        If even `most` members are not enough, or an argument is out of range.

    Notes
    -----
    Cost: about :math:`2 \log_2` of the guess's error calls of `power`.
    """
    check_resampling(permutations, rng)
    wanted = power
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or not 0 < wanted < 1:
        raise expected("power as a number between 0 and 1", repr(wanted))
    check_level(level)
    most = whole_number("most", most, LEAST_MEMBERS)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < np.inf or ratio == 1:
        raise expected("ratio as a number above 0 other than 1", repr(ratio))
    d, _ = _cloud(dimension, pilot)
    seed = int(rng.integers(2**63))
    judged: dict[int, Power] = {}

    def enough(n: int) -> bool:
        if n not in judged:
            judged[n] = _power(
                ratio,
                n,
                dimension=dimension,
                pilot=pilot,
                level=level,
                simulations=simulations,
                permutations=permutations,
                rng=np.random.default_rng(seed),
            )
        return judged[n].power >= wanted

    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(wanted)
    guess = 1 + (z / np.log(ratio)) ** 2 / d
    low = high = int(min(max(LEAST_MEMBERS, np.ceil(guess)), most))
    step = 1
    while not enough(high):
        if high == most:
            raise expected(
                f"a power of {wanted:g} with at most {most} members",
                f"{judged[high].power:.3g}",
                "raise most, or look for a larger ratio",
            )
        low, high, step = high, min(high + step, most), 2 * step
    step = 1
    while low > LEAST_MEMBERS and enough(low):
        low, high, step = max(LEAST_MEMBERS, low - step), low, 2 * step
    if enough(low):
        return judged[low]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return judged[high]


_power = power
