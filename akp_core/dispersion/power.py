r"""How many members does a verdict need?

Two families are simulated, the unhappy one ``ratio`` times as wide, and the Anna Karenina test decides; the
share of right verdicts is its power. How far V varies between families of n depends on how many directions
models vary in: for a Gaussian cloud :math:`\operatorname{Var} \log V \approx 2 / (d (n-1))` with the
effective dimension :math:`d = (\operatorname{tr} C)^2 / \operatorname{tr} C^2`. Give that dimension, or a
pilot family to take it from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from jaxtyping import Float
from scipy import stats

from akp_core.dispersion.dimension import effective_dimension
from akp_core.dispersion.geometry import Array, check_resampling
from akp_core.dispersion.inference import LEAST_MEMBERS
from akp_core.dispersion.simulated import (
    cloud_of,
    distinct_permutations,
    real_number,
    simulated_families,
    simulated_p_values,
)
from akp_core.errors import expected, whole_number

__all__ = ["Power", "effective_dimension", "members_needed", "power"]

_CLOSEST = 0.99
"""Twins more alike leave differences that round-off hides."""


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
    smallest_p : float
        The least p that so many members and permutations can give. At or above the level the power is 0,
        whatever the ratio: add members.
    paired : bool
        Whether every unhappy model has a happy twin.
    correlation : float
        Of the displacements of twins from their centroids; 0 if not paired.
    """

    power: float
    interval: tuple[float, float]
    ratio: float
    members: int
    dimension: float
    level: float
    simulations: int
    smallest_p: float
    paired: bool
    correlation: float


def _alike(paired: object, correlation: object) -> float:
    """The correlation of twins, 0 without any."""
    if not isinstance(paired, bool):
        raise expected("paired as True or False", repr(paired))
    above = float(np.nextafter(_CLOSEST, 1.0))
    given = real_number(
        "correlation", correlation, -np.finfo(float).tiny, above, f"number from 0 to {_CLOSEST}"
    )
    return given if paired else 0.0


def power(
    ratio: float,
    members: int,
    *,
    dimension: float | None = None,
    pilot: Float[Array, "P P"] | None = None,
    paired: bool = False,
    correlation: float = 0.5,
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
        Beyond 1e4 either way is simulated as 1e4.
    members : int
        Models in each family, at least 4.
    dimension : float, optional
        Effective dimension of the models: Gaussian clouds are drawn in that many dimensions (rounded; at
        most 1000).
    pilot : (P, P) array, optional
        Distances between the models of a pilot family, at least 4. Models are drawn with a length from
        the pilot's own distances to its centroid and a random direction in as many dimensions as its
        `effective_dimension`, so heavy tails of the pilot lower the power as they should.
    paired : bool
        Whether every unhappy model is compared with the happy twin it forked from; ``members`` is then the
        number of pairs.
    correlation : float
        In [0, 0.99]: cosine between the displacements of twins from their centroids, on average; used only
        if paired. The default says that twins share a quarter of the variation of contributions.
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
        If not exactly one of dimension and pilot is given; too few permutations for any p below the
        level; an argument is out of range.

    Notes
    -----
    Both clouds have the same shape, and a pilot's uncertainty is not in the interval: halve its dimension
    to see how much that matters. Of 5 pairs there are 32 permutations, so that p is never below 2 / 32: the
    power at a level of 0.05 is then 0, without simulation.

    Cost: per simulation 2 n d draws and a product of 2 n by the number of permutations.

    References
    ----------
    Clopper and Pearson 1934.
    """
    permutations = whole_number("permutations", permutations, 1)
    check_resampling(permutations, rng)
    ratio = real_number("ratio", ratio, 0, np.inf, "number above 0")
    members = whole_number("members", members, LEAST_MEMBERS)
    simulations = whole_number("simulations", simulations, 1)
    level = real_number("level", level, 0, 1, "probability between 0 and 1")
    alike = _alike(paired, correlation)
    d, lengths = cloud_of(dimension, pilot)
    distinct = distinct_permutations(members, paired=paired)
    smallest_p = min(1.0, 2 / distinct if distinct <= permutations else 2 / (permutations + 1))
    if distinct > permutations and smallest_p >= level:
        raise expected(
            f"at least {ceil(2 / level)} permutations for a p below {level:g}",
            str(permutations),
            "or a higher level",
        )
    drawn, low, high = 0.0, 0.0, 0.0
    if smallest_p < level:
        h, u = simulated_families(members, ratio, alike, lengths, max(1, round(d)), simulations, rng)
        right = simulated_p_values(h, u, permutations, rng, paired=paired) < level
        if ratio != 1:
            right &= (u.mean(axis=1) > h.mean(axis=1)) == (ratio > 1)
        exact = stats.binomtest(int(right.sum()), simulations).proportion_ci(0.95, method="exact")
        drawn, low, high = float(right.mean()), float(exact.low), float(exact.high)
    return Power(
        power=drawn,
        interval=(low, high),
        ratio=ratio,
        members=members,
        dimension=d,
        level=level,
        simulations=simulations,
        smallest_p=smallest_p,
        paired=paired,
        correlation=alike,
    )


def members_needed(
    ratio: float,
    *,
    power: float = 0.8,
    dimension: float | None = None,
    pilot: Float[Array, "P P"] | None = None,
    paired: bool = False,
    correlation: float = 0.5,
    level: float = 0.05,
    most: int = 1000,
    simulations: int = 1000,
    permutations: int = 999,
    rng: np.random.Generator,
) -> Power:
    r"""Find the least number of models per family that gives the Anna Karenina test a wanted power.

    .. math:: n_0 = 1 + \frac{(z_{1 - \alpha/2} + z_{power})^2}{d \log^2 \text{ratio}}

    is the first guess, for Gaussian clouds (if paired, the fraction is multiplied by
    :math:`1 - \text{correlation}^2`); simulation brackets the answer around it and bisects.

    Parameters
    ----------
    ratio : float
        Root mean square distance to the own centroid, unhappy over happy; not 1.
    power : float
        Wanted share of right verdicts, in (0, 1).
    dimension, pilot, paired, correlation, level, simulations, permutations
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
    check_resampling(whole_number("permutations", permutations, 1), rng)
    wanted = real_number("power", power, 0, 1, "number between 0 and 1")
    level = real_number("level", level, 0, 1, "probability between 0 and 1")
    most = whole_number("most", most, LEAST_MEMBERS)
    if real_number("ratio", ratio, 0, np.inf, "number above 0 other than 1") == 1:
        raise expected("ratio as a number above 0 other than 1", repr(ratio))
    alike = _alike(paired, correlation)
    d, _ = cloud_of(dimension, pilot)
    seed = int(rng.integers(2**63))
    judged: dict[int, Power] = {}

    def enough(n: int) -> bool:
        if n not in judged:
            judged[n] = _power(
                ratio,
                n,
                dimension=dimension,
                pilot=pilot,
                paired=paired,
                correlation=correlation,
                level=level,
                simulations=simulations,
                permutations=permutations,
                rng=np.random.default_rng(seed),
            )
        return judged[n].power >= wanted

    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(wanted)
    guess = 1 + (1 - alike**2) * (z / np.log(ratio)) ** 2 / d
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
