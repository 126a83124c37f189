"""What the Anna Karenina test can see: its power against members, and the least ratio that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil, floor

import numpy as np
import pandas as pd
from scipy import stats

from akp_core.dispersion import Power, power
from akp_core.errors import expected, whole_number

_WIDEST = 16.0


def power_curves(
    ratios: Sequence[float],
    dimensions: Sequence[float],
    members: Sequence[int],
    *,
    paired: bool = False,
    correlation: float = 0.5,
    level: float = 0.05,
    simulations: int = 1000,
    permutations: int = 399,
    seed: int = 0,
) -> pd.DataFrame:
    """Power for every ratio of spread, effective dimension and number of members.

    Parameters
    ----------
    ratios, dimensions, members
        As in `akp_core.dispersion.power`, each once and in rising order.
    paired, correlation, level, simulations, permutations
        As there.
    seed : int
        Of everything.

    Returns
    -------
    DataFrame
        One row for each point: ``paired``, ``ratio``, ``dimension``, ``members``, ``power``, and the 95 %
        interval of the simulation, ``low`` to ``high``. Every point has random numbers of its own.

    Raises
    ------
    AkpError
        As `power`; if a list is empty or not in rising order.
    """
    for name, values in (("ratios", ratios), ("dimensions", dimensions), ("members", members)):
        if not values or any(b <= a for a, b in pairwise(values)):
            raise expected(f"{name} in rising order", str(list(values)))
    points = list(product(ratios, dimensions, members))
    rows = []
    for (ratio, dimension, count), child in zip(
        points, np.random.SeedSequence(seed).spawn(len(points)), strict=True
    ):
        found = power(
            ratio,
            count,
            dimension=dimension,
            paired=paired,
            correlation=correlation,
            level=level,
            simulations=simulations,
            permutations=permutations,
            rng=np.random.default_rng(child),
        )
        rows.append((paired, ratio, dimension, count, found.power, *found.interval))
    return pd.DataFrame(rows, columns=["paired", "ratio", "dimension", "members", "power", "low", "high"])


def falls(curves: pd.DataFrame, simulations: int) -> pd.DataFrame:
    """Where a power curve falls from one number of members to the next, and whether that is more than chance.

    Parameters
    ----------
    curves : DataFrame
        From `power_curves`, or several of them together.
    simulations : int
        Behind each point.

    Returns
    -------
    DataFrame
        One row for each fall: ``paired``, ``ratio``, ``dimension``, ``members`` at its foot, ``fall`` of the
        power, and ``deviations``, the fall in standard errors of a difference of two shares. Empty if nothing
        falls.
    """
    found = []
    for (paired, ratio, dimension), curve in curves.groupby(["paired", "ratio", "dimension"]):
        ordered = curve.sort_values("members")
        members, shares = ordered["members"].to_numpy(), ordered["power"].to_numpy(dtype=np.float64)
        for k in np.flatnonzero(np.diff(shares) < 0):
            fall, common = shares[k] - shares[k + 1], shares[k : k + 2].mean()
            error = np.sqrt(2 * common * (1 - common) / simulations)
            found.append((paired, ratio, dimension, int(members[k + 1]), fall, fall / error))
    return pd.DataFrame(found, columns=["paired", "ratio", "dimension", "members", "fall", "deviations"])


def size_of_few(
    members: Sequence[int],
    *,
    dimension: float = 20,
    level: float = 0.05,
    simulations: int = 2000,
    permutations: int = 1999,
    seed: int = 0,
) -> pd.DataFrame:
    r"""How often the Anna Karenina test finds a difference among few models where there is none, and why.

    Parameters
    ----------
    members : sequence of int
        Models in each family, or pairs of twins; each at least 4.
    dimension, level, simulations, permutations
        As in `akp_core.dispersion.power`, for Gaussian clouds.
    seed : int
        Of everything.

    Returns
    -------
    DataFrame
        For every number of members, unpaired and paired (column ``paired``): ``attainable``, the largest
        share of studies that p below the level can hold, as p moves in steps; ``expected``, what is left of
        it for a Gaussian cloud because the jackknife overrates the variance of V; the measured ``size`` and
        its 95 % interval, ``low`` to ``high``.

    Raises
    ------
    AkpError
        As `power`; if there are no members.

    Notes
    -----
    If p is two-sided in steps of s, attainable is the largest multiple of s below the level. The jackknife's
    variance of V is :math:`(n-1)/(n-2)` times the true one, so that a contrast of many independent
    directions, normal to a good approximation, is rejected in :math:`2 \Phi(-z \sqrt{(n-1)/(n-2)})` instead
    of :math:`2 \Phi(-z)`.

    References
    ----------
    Efron and Stein 1981.
    """
    if not members:
        raise expected("at least one number of members", "none")
    rows = []
    for n, paired in product(members, (False, True)):
        found = power(
            1.0,
            n,
            dimension=dimension,
            paired=paired,
            level=level,
            simulations=simulations,
            permutations=permutations,
            rng=np.random.default_rng([seed, n, paired]),
        )
        steps = ceil(level / found.smallest_p * (1 - 1e-12)) - 1
        attainable = steps * found.smallest_p
        z = stats.norm.isf(attainable / 2) * np.sqrt((n - 1) / (n - 2))
        rows.append((n, paired, attainable, 2 * stats.norm.sf(z), found.power, *found.interval))
    return pd.DataFrame(rows, columns=["members", "paired", "attainable", "expected", "size", "low", "high"])


def size_of_drawn(distinct: int, same: int, *, permutations: int, level: float) -> float:
    r"""The size that a permutation test can have which draws its permutations rather than listing them.

    .. math:: \frac{s}{G} \sum_{k=1}^{G/s} P\Bigl(\operatorname{Bin}\bigl(R, \tfrac{ks}{G}\bigr) \le
              \alpha (R + 1) - 1\Bigr)

    Parameters
    ----------
    distinct : int
        How many permutations G there are.
    same : int
        How many of them, s, leave the statistic as it is for any data: 2 for twins, as all may be swapped.
    permutations : int
        How many, R, are drawn, each of all G.
    level : float
        A p value, :math:`(1 + \text{as large}) / (1 + R)`, of at most this is a rejection.

    Returns
    -------
    float
        In [0, 1], without ties and without an effect; at most about the level.

    Raises
    ------
    AkpError
        For numbers below 1, or a level that is no probability.

    References
    ----------
    Phipson and Smyth 2010 (the p value of drawn permutations).
    """
    distinct, same = whole_number("distinct", distinct, 1), whole_number("same", same, 1)
    permutations = whole_number("permutations", permutations, 1)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    p = np.minimum(np.arange(1, ceil(distinct / same) + 1) * same / distinct, 1)
    most = floor(level * (permutations + 1) * (1 + 1e-12)) - 1
    return float(stats.binom.cdf(most, permutations, p).mean())


def smallest_ratio(
    members: int,
    *,
    dimension: float,
    power: float = 0.8,
    level: float = 0.05,
    simulations: int = 1000,
    permutations: int = 399,
    rng: np.random.Generator,
) -> Power:
    """Find the least ratio of spreads that so many members find with a wanted power.

    Parameters
    ----------
    members : int
        Models in each family.
    dimension : float
        Effective dimension of the models (`akp_core.dispersion.effective_dimension`).
    power : float
        Wanted share of right verdicts, in (0, 1).
    level, simulations, permutations
        As in `akp_core.dispersion.power`.
    rng : numpy.random.Generator
        One seed is drawn from it; every ratio is judged with that same seed.

    Returns
    -------
    Power
        At the least ratio above 1, to 1 %, whose simulated power reaches the wanted one.

    Raises
    ------
    AkpError
        If a ratio of 16 is not enough, or an argument is out of range.
    """
    if isinstance(power, bool) or not isinstance(power, int | float) or not 0 < power < 1:
        raise expected("power as a number between 0 and 1", repr(power))
    if not isinstance(rng, np.random.Generator):
        raise expected("rng as a numpy.random.Generator", type(rng).__name__)
    seed = int(rng.integers(2**63))

    def at(ratio: float) -> Power:
        return _power(
            ratio,
            members,
            dimension=dimension,
            level=level,
            simulations=simulations,
            permutations=permutations,
            rng=np.random.default_rng(seed),
        )

    low, high, found = 1.0, 2.0, at(2.0)
    while found.power < power:
        if high >= _WIDEST:
            raise expected(
                f"a power of {power:g} at a ratio of at most {_WIDEST:g}",
                f"{found.power:.3g} with {members} members in {dimension:g} dimensions",
                "ask for less power or more members",
            )
        low, high = high, 2 * high
        found = at(high)
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        judged = at(middle)
        if judged.power >= power:
            high, found = middle, judged
        else:
            low = middle
    return found


_power = power
