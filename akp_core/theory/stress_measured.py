r"""The laws of `ornstein_uhlenbeck` beside families drawn from them: tables that the book shows.

Every interval is over members. `regions` gives drawn families to the book's own test of dispersion, so that
its verdict stands beside the one that the constants fix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.dispersion import anna_karenina_test
from akp_core.errors import expected, whole_number
from akp_core.theory.ornstein_uhlenbeck import Regime, Scenario, number
from akp_core.theory.stress_mechanisms import CONTROL
from akp_core.theory.stress_verdicts import verdict

QUANTITIES = ("displacement", "squared dispersion", "log ratio", "correlation of twins")


def measure(
    control: Float64[np.ndarray, "M T d"], changed: Float64[np.ndarray, "M T d"], level: float = 0.05
) -> dict[str, Float64[np.ndarray, "3 T"]]:
    r"""What twins show at each time: estimate, low and high end, from members alone.

    Parameters
    ----------
    control, changed : (M, T, d) float64 arrays
        Twins share their number along the first axis; M at least 3.
    level : float
        The intervals have confidence 1 - level.

    Returns
    -------
    dict of str to (3, T) float64 array
        ``displacement``: mean first coordinate of the difference of twins, t interval. ``squared
        dispersion`` of the stressed family, a coordinate: chi^2 interval. ``log ratio`` of the
        dispersions: interval of Morgan and Pitman, for twins that are correlated. ``correlation of
        twins``: Fisher's interval. All exact or nearly so for this model's isotropic normal laws; not for
        trained networks.

    Raises
    ------
    AkpError
        For arrays that are not of one shape, or fewer than 3 members.
    """
    if control.shape != changed.shape or control.ndim != 3 or len(control) < 3:
        raise expected("two arrays of at least 3 members x times x dims", f"{control.shape}, {changed.shape}")
    members, _, dims = control.shape
    free = dims * (members - 1)
    tail = number("level", level, 0.0, 1.0) / 2
    one, two = control - control.mean(axis=0), changed - changed.mean(axis=0)
    own, other, both = ((a * b).sum(axis=(0, 2)) / free for a, b in ((one, one), (two, two), (one, two)))
    gap = (changed - control)[:, :, 0]
    moved = gap.mean(axis=0)
    # A difference of twins at the fork is exactly 0, and so is its interval.
    reach = stats.t.ppf(1 - tail, members - 1) * gap.std(axis=0, ddof=1) / np.sqrt(members)
    r = np.clip(both / np.sqrt(own * other), -1.0, 1.0)
    k = 1 + 2 * (1 - r**2) * stats.t.ppf(1 - tail, free - 1) ** 2 / (free - 1)
    log_ratio = 0.5 * np.log(other / own)
    half = 0.5 * np.log(k + np.sqrt(k**2 - 1))
    angle = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    width = stats.norm.ppf(1 - tail) / np.sqrt(max(free - 2, 1))
    found = {
        "displacement": (moved, moved - reach, moved + reach),
        "squared dispersion": (
            other,
            other * free / stats.chi2.ppf(1 - tail, free),
            other * free / stats.chi2.ppf(tail, free),
        ),
        "log ratio": (log_ratio, log_ratio - half, log_ratio + half),
        "correlation of twins": (r, np.tanh(angle - width), np.tanh(angle + width)),
    }
    return {name: np.stack(values) for name, values in found.items()}


def proved(scenario: Scenario, times: Float64[np.ndarray, " T"]) -> dict[str, Float64[np.ndarray, " T"]]:
    """What `measure` should show, by the closed forms."""
    law = scenario.law(times)
    values = (law.stressed - law.control, law.stressed_variance, law.effect, law.correlation)
    return dict(zip(QUANTITIES, values, strict=True))


def beside(
    scenario: Scenario,
    times: Float64[np.ndarray, " T"],
    *,
    members: int,
    dims: int,
    families: int,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One pair of families beside the closed forms, and how often intervals of many hold them.

    Parameters
    ----------
    scenario : Scenario
    times : (T,) array
        Above 0: at the fork twins are equal.
    members, dims : int
        Of each family.
    families : int
        Pairs drawn for the coverage, at least 20.
    rng : numpy.random.Generator

    Returns
    -------
    shown, coverage : DataFrame
        ``quantity, time, proved, measured, low, high`` of the first pair; and ``quantity, time, covered,
        low, high, mean, margin`` over all: the share of 95 % intervals that hold the truth with its
        binomial interval, and the mean estimate with the half-width of its own.

    Raises
    ------
    AkpError
        As `Scenario.draw`; for fewer than 20 families.
    """
    families = whole_number("families", families, 20)
    truth = proved(scenario, times)
    drawn = [measure(*scenario.draw(times, members, dims, rng)) for _ in range(families)]
    first, over = [], []
    for name in QUANTITIES:
        values = np.stack([one[name] for one in drawn])
        held = ((values[:, 1] <= truth[name]) & (truth[name] <= values[:, 2])).sum(axis=0)
        for k, time in enumerate(times):
            first.append((name, time, truth[name][k], *values[0, :, k]))
            share = stats.binomtest(int(held[k]), families).proportion_ci()
            margin = stats.norm.ppf(0.975) * values[:, 0, k].std(ddof=1) / families**0.5
            over.append((name, time, held[k] / families, *share, values[:, 0, k].mean(), margin))
    return (
        pd.DataFrame(first, columns=["quantity", "time", "proved", "measured", "low", "high"]),
        pd.DataFrame(over, columns=["quantity", "time", "covered", "low", "high", "mean", "margin"]),
    )


def discrepancy(shown: pd.DataFrame, coverage: pd.DataFrame) -> float:
    """How surprising the means over families are if the closed forms hold: Bonferroni's p over all of them.

    The correlation of twins is left out, as its estimate is not right on average for few members.

    Parameters
    ----------
    shown, coverage : DataFrame
        From `beside`.

    Returns
    -------
    float
        In [0, 1].
    """
    judged = shown["quantity"] != "correlation of twins"
    error = (coverage["margin"] / stats.norm.ppf(0.975))[judged]
    z = (coverage["mean"] - shown["proved"])[judged].abs() / error
    return min(1.0, 2 * int(judged.sum()) * float(stats.norm.sf(z.max())))


def regions(
    returns: Sequence[float],
    noises: Sequence[float],
    *,
    members: int,
    dims: int,
    time: float,
    permutations: int = 499,
    level: float = 0.05,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """The book's test of dispersion on drawn families, over a plane of stresses, beside what is proved.

    Parameters
    ----------
    returns, noises : sequence of float
        theta and sigma^2 of the stressed family over those of the control, above 0.
    members, dims : int
        Of each family.
    time : float
        Since the fork, when the families are looked at.
    permutations, level
        Of `anna_karenina_test`, with twins exchanged.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``return, noise, due`` (the verdict proved), ``proved`` (log ratio at that time), ``effect, low,
        high, found`` (the verdict of the test).

    Raises
    ------
    AkpError
        As `Scenario.draw` and `anna_karenina_test`.
    """
    rows = []
    pairs = np.tile(np.arange(members), 2)
    unhappy = np.repeat([False, True], members)
    at = np.array([number("time", time, 1e-9)])
    for back in returns:
        for noise in noises:
            regime = Regime(back * CONTROL.theta, 0.0, noise**0.5 * CONTROL.sigma)
            scenario = Scenario(CONTROL, regime)
            points = np.concatenate(scenario.draw(at, members, dims, rng))[:, 0]
            test = anna_karenina_test(
                cdist(points, points), unhappy, paired=pairs, permutations=permutations, level=level, rng=rng
            )
            due = float(scenario.law(at).effect[0])
            rows.append(
                (
                    back,
                    noise,
                    verdict(CONTROL, regime).verdict,
                    due,
                    test.effect,
                    *test.interval,
                    test.verdict,
                )
            )
    return pd.DataFrame(rows, columns=["return", "noise", "due", "proved", "effect", "low", "high", "found"])
