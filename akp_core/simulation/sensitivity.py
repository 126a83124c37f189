"""What the Anna Karenina test can see: its power against members, and the least ratio that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd

from akp_core.dispersion import Power, power
from akp_core.errors import expected

_WIDEST = 16.0


def power_curves(
    ratios: Sequence[float],
    dimensions: Sequence[float],
    members: Sequence[int],
    *,
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
    level, simulations, permutations
        As there.
    seed : int
        Of everything.

    Returns
    -------
    DataFrame
        One row for each point: ``ratio``, ``dimension``, ``members``, ``power``, and the 95 % interval of the
        simulation, ``low`` to ``high``. Every point has random numbers of its own.

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
            level=level,
            simulations=simulations,
            permutations=permutations,
            rng=np.random.default_rng(child),
        )
        rows.append((ratio, dimension, count, found.power, *found.interval))
    return pd.DataFrame(rows, columns=["ratio", "dimension", "members", "power", "low", "high"])


def falls(curves: pd.DataFrame, simulations: int) -> pd.DataFrame:
    """Where a power curve falls from one number of members to the next, and whether that is more than chance.

    Parameters
    ----------
    curves : DataFrame
        From `power_curves`.
    simulations : int
        Behind each point.

    Returns
    -------
    DataFrame
        One row for each fall: ``ratio``, ``dimension``, ``members`` at its foot, ``fall`` of the power, and
        ``deviations``, the fall in standard errors of a difference of two shares. Empty if nothing falls.
    """
    found = []
    for (ratio, dimension), curve in curves.groupby(["ratio", "dimension"]):
        ordered = curve.sort_values("members")
        members, shares = ordered["members"].to_numpy(), ordered["power"].to_numpy(dtype=np.float64)
        for k in np.flatnonzero(np.diff(shares) < 0):
            fall, common = shares[k] - shares[k + 1], shares[k : k + 2].mean()
            error = np.sqrt(2 * common * (1 - common) / simulations)
            found.append((ratio, dimension, int(members[k + 1]), fall, fall / error))
    return pd.DataFrame(found, columns=["ratio", "dimension", "members", "fall", "deviations"])


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
