r"""Recovery from a pulse, and where the model of stress ends, drawn and beside what is proved: tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.errors import expected
from akp_core.theory.ornstein_uhlenbeck import Scenario
from akp_core.theory.relaxation import relaxation
from akp_core.theory.stress_limits import descend, descent, two_valleys
from akp_core.theory.stress_measured import measure
from akp_core.theory.stress_mechanisms import CONTROL, stressed

QUANTITIES = ("displacement", "squared dispersion", "share beyond the barrier")


def recovered(
    *, strength: float, length: float, members: int, dims: int, draws: int = 499, rng: np.random.Generator
) -> pd.DataFrame:
    """How fast drawn families recover from a pulse, beside theta and 2 theta.

    Parameters
    ----------
    strength : float
        Of the pulses, above 1: one shifts the centre, one adds noise, one weakens the return.
    length : float
        Of each pulse.
    members, dims : int
        Of each family.
    draws : int
        Of the bootstrap over members.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``pulse, quantity, proved, measured, low, high``: rates, per unit of time.

    Raises
    ------
    AkpError
        As `stressed`, `Scenario.draw` and `relaxation`.
    """
    since = np.linspace(0, 3, 13)
    rows = []
    for mechanism, moved in (("shift", True), ("more noise", False), ("weaker return", False)):
        scenario = Scenario(CONTROL, stressed(mechanism, strength), end=length)
        families = scenario.draw(length + since, members, dims, rng)
        if moved:
            # A displacement is a mean over members, so twins are subtracted one by one.
            values = (families[1] - families[0])[:, :, 0]
        else:
            own, other = (((f - f.mean(axis=0)) ** 2).sum(axis=2) for f in families)
            values = other - own
        found = relaxation(since, values, settled=0.0, draws=draws, rng=rng).rate
        name = "displacement" if moved else "excess of the squared dispersion"
        rows.append((mechanism, name, (1 if moved else 2) * CONTROL.theta, *found))
    return pd.DataFrame(rows, columns=["pulse", "quantity", "proved", "measured", "low", "high"])


def unsettled(
    scenario: Scenario, times: Float64[np.ndarray, " T"], *, members: int, dims: int, rng: np.random.Generator
) -> pd.DataFrame:
    """The log ratio of dispersions over time for one pair of families, with the verdict of its interval.

    Parameters
    ----------
    scenario : Scenario
        Such as one whose families have not settled when they fork.
    times : (T,) array
        Above 0.
    members, dims : int
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``time, proved, measured, low, high, verdict``.

    Raises
    ------
    AkpError
        As `Scenario.draw` and `measure`.
    """
    found = measure(*scenario.draw(times, members, dims, rng))["log ratio"]
    table = pd.DataFrame(found.T, columns=["measured", "low", "high"])
    table.insert(0, "time", times)
    table.insert(1, "proved", scenario.law(times).effect)
    sides = [table["low"] > 0, table["high"] < 0]
    return table.assign(verdict=np.select(sides, ["AKP", "anti-AKP"], "none"))


def aftermath(
    pushes: Sequence[float], *, length: float, noise: float, members: int, rng: np.random.Generator
) -> pd.DataFrame:
    r"""What is left of a pulse a time 10 after its end: in two valleys, and in one as steep (theta = 2).

    Parameters
    ----------
    pushes : sequence of float
        Forces.
    length : float
        Of the pulse.
    noise : float
        sigma, above 0.
    members : int
        At least 2.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``push, landscape, quantity, value, low, high``: displacement of the family, its squared dispersion
        over the one before the pulse, share of members beyond the barrier. In one valley the values are
        the closed forms; in two they are drawn, with 95 % intervals over members.

    Raises
    ------
    AkpError
        As `two_valleys`; for no noise.
    """
    if not noise > 0:
        raise expected("noise above 0", repr(noise))
    before, gone = noise**2 / 4, 10.0
    rows: list[tuple[float, str, str, float, float, float]] = []
    z = stats.norm.ppf(0.975)
    for push in pushes:
        # One valley: m' = -2 m + f, and the spread does not change at all.
        left = push / 2 * -np.expm1(-2 * length) * np.exp(-2 * gone)
        for name, value in zip(QUANTITIES, (left, 1.0, 0.0), strict=True):
            rows.append((push, "one valley", name, value, value, value))
        x = two_valleys(push, length, np.array([length + gone]), members, rng, noise=noise)[:, 0]
        squares = (x - x.mean()) ** 2 / before
        half = z * x.std(ddof=1) / members**0.5, z * squares.std(ddof=1) / members**0.5
        share = stats.binomtest(int((x > 0).sum()), members)
        ends = share.proportion_ci()
        mean, wide = x.mean() + 1, squares.sum() / (members - 1)
        rows.append((push, "two valleys", QUANTITIES[0], mean, mean - half[0], mean + half[0]))
        rows.append((push, "two valleys", QUANTITIES[1], wide, max(wide - half[1], 0.0), wide + half[1]))
        rows.append((push, "two valleys", QUANTITIES[2], share.statistic, *ends))
    return pd.DataFrame(rows, columns=["push", "landscape", "quantity", "value", "low", "high"])


def strides(
    rates: Sequence[float],
    *,
    curvature: float,
    noise: float,
    members: int,
    steps: int,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Long-run variance of gradient descent on a parabola: drawn, exact, and by small steps.

    Parameters
    ----------
    rates : sequence of float
        Learning rates.
    curvature, noise : float
        Of the parabola and of its gradients.
    members : int
        At least 2.
    steps : int
        After which the variance is taken.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``rate, stride`` (rate times curvature), ``kind, small steps, exact, measured, low, high``; exact is
        infinite where it diverges, and what is measured there grows with the steps.

    Raises
    ------
    AkpError
        As `descent` and `descend`.
    """
    rows = []
    for rate in rates:
        due = descent(rate, curvature, noise)
        last = descend(rate, curvature, noise, steps, members, rng)[:, -1]
        # The mean is known to be 0.
        found, total = float(np.mean(last**2)), float(np.sum(last**2))
        ends = [total / stats.chi2.ppf(q, members) for q in (0.975, 0.025)]
        rows.append((rate, rate * curvature, due.kind, due.approximation, due.variance, found, *ends))
    names = ["rate", "stride", "kind", "small steps", "exact", "measured", "low", "high"]
    return pd.DataFrame(rows, columns=names)
