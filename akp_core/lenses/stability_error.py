r"""Test error against R_f: does it follow, and with the published exponent, error ~ 0.2 sqrt(R_f)?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, expected, whole_number
from akp_core.trend import spearman

PUBLISHED_EXPONENT, PUBLISHED_PREFACTOR = 0.5, 0.2
"""Petrini et al. 2021, arXiv:2105.02468, abstract: CIFAR-10, 15 architectures."""
REPRODUCED, OTHER, REFUTED, UNDECIDED = (
    "reproduced",
    "tracks, with another exponent",
    "not reproduced",
    "undecided",
)
LEAST = 4


@dataclass(frozen=True)
class ErrorLaw:
    r"""A line through the groups in logarithms, error = prefactor R^exponent.

    Attributes
    ----------
    exponent, low, high : float
        Least squares slope, and a bootstrap interval over groups and their networks.
    prefactor : float
    correlation, p_value : float
        Spearman's over groups, and its two-sided p by permuting groups.
    decades : float
        Range of the groups' R_f, in powers of ten. The paper's spans several.
    error_decades : float
        The same of the errors.
    groups, networks, lost : int
        Groups that enter, their networks, and networks that do not.
    absent : tuple of str
        Groups in which every network is lost.
    verdict : str
        ``reproduced``: the interval holds 1/2 and leaves out 0. ``tracks, with another exponent``: it lies
        above 0 and leaves out 1/2. ``not reproduced``: it leaves out 1/2 and does not lie above 0.
        ``undecided``: it holds both.
    """

    exponent: float
    low: float
    high: float
    prefactor: float
    correlation: float
    p_value: float
    decades: float
    error_decades: float
    groups: int
    networks: int
    lost: int
    absent: tuple[str, ...]
    verdict: str


def error_law(
    table: pd.DataFrame,
    *,
    group: str = "family",
    smallest: float,
    level: float = 0.05,
    draws: int = 1999,
    rng: np.random.Generator,
) -> ErrorLaw:
    r"""Fit the exponent of test error in R_f over groups of networks, architectures or families.

    .. math:: \log \bar e_g = \log a + b\, \overline{\log R}_g + \text{rest}

    with :math:`\bar e_g` the mean test error and :math:`\overline{\log R}_g` the mean log R_f of the
    networks of group g.

    Parameters
    ----------
    table : DataFrame
        One row a network: the column of the group, ``R`` (NaN where lost) and ``test_error``.
    group : str
        The replicate of the slope.
    smallest : float
        Errors below it count as it: half an image, as an error of zero has no logarithm.
    level : float
        The interval has confidence 1 - level.
    draws : int
        Of groups, and of networks within each; at least 99.
    rng : numpy.random.Generator

    Returns
    -------
    ErrorLaw

    Raises
    ------
    AkpError
        For fewer than 4 groups with a network that is not lost, groups that all have one R_f, or a
        missing column.

    Notes
    -----
    Groups are drawn first and networks within them next, so the interval covers both. R_f of a group is
    itself measured; what is uncertain in it draws the slope towards 0, which means of groups lessen.

    References
    ----------
    Petrini et al. 2021, arXiv:2105.02468 (test error ~ 0.2 sqrt(R_f)).
    """
    missing = {group, "R", "test_error"} - set(table.columns)
    if missing:
        raise expected(f"a table with the columns {group}, R and test_error", f"none of {sorted(missing)}")
    whole_number("draws", draws, 99)
    if not 0 < smallest < 1:
        raise expected("smallest as a share above 0 and below 1", repr(smallest), "half an image: 0.5 / n")
    if not 0 < level < 1:
        raise expected("level between 0 and 1", repr(level))
    good = table[np.isfinite(table["R"]) & (table["R"] > 0)]
    parts = [part for _, part in good.groupby(group, sort=False)]
    if len(parts) < LEAST:
        raise expected(f"at least {LEAST} groups with a network that is not lost", str(len(parts)))
    logs = [np.log(part["R"].to_numpy(float)) for part in parts]
    errors = [part["test_error"].to_numpy(float) for part in parts]
    x = np.array([one.mean() for one in logs])
    y = np.log(np.maximum([one.mean() for one in errors], smallest))
    if np.ptp(x) < 1e-9:
        raise expected("groups with different R_f", "one value in all of them")
    slope, height = _line(x[None], y[None])
    drawn = _bootstrap(logs, errors, smallest, draws, rng)
    low, high = (float(end) for end in expanded_ends(drawn, len(parts), level))
    null = stats.permutation_test(
        (x,),
        lambda a, axis: spearman(a, y, axis),
        permutation_type="pairings",
        n_resamples=draws,
        vectorized=True,
        rng=rng,
    )
    return ErrorLaw(
        exponent=float(slope[0]),
        low=low,
        high=high,
        prefactor=float(np.exp(height[0])),
        correlation=float(null.statistic),
        p_value=float(null.pvalue),
        decades=float(np.ptp(x) / np.log(10)),
        error_decades=float(np.ptp(y) / np.log(10)),
        groups=len(parts),
        networks=len(good),
        lost=len(table) - len(good),
        absent=tuple(sorted(set(table[group].astype(str)) - set(good[group].astype(str)))),
        verdict=_verdict(low, high),
    )


def error_laws(
    views: Mapping[str, tuple[pd.DataFrame, str]],
    *,
    smallest: float,
    level: float = 0.05,
    draws: int = 1999,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """`error_law` of several sets of groups, one row each; too few groups are said and undecided.

    Parameters
    ----------
    views : mapping of str to (DataFrame, str)
        A name for readers; the table, and its column of groups, as for `error_law`.
    smallest, level, draws, rng
        As for `error_law`.

    Returns
    -------
    DataFrame
        ``view``, the fields of `ErrorLaw`, and ``why``, empty or why nothing could be fitted.
    """
    rows = []
    for view, (table, group) in views.items():
        try:
            law = error_law(table, group=group, smallest=smallest, level=level, draws=draws, rng=rng)
        except AkpError as problem:
            rows.append({"view": view, "verdict": UNDECIDED, "why": str(problem)})
        else:
            rows.append({"view": view} | asdict(law) | {"why": ""})
    fields = ["view", *ErrorLaw.__annotations__, "why"]
    return pd.DataFrame(rows).reindex(columns=fields)


def sentence(row: pd.Series) -> str:
    """Say one row of `error_laws` in words, in Markdown."""
    if row["why"]:
        return f"**Across {row['view']}: {row['verdict']}** ({row['why']})."
    text = (
        f"**Across {row['view']}: {row['verdict']}.** The exponent is {row['exponent']:z.2f} "
        f"({row['low']:.2f} to {row['high']:.2f}), where 1/2 is published, over {row['decades']:.1f} decades "
        f"of R and {row['error_decades']:.1f} of the error."
    )
    left = f" {row['lost']:.0f} networks are lost and enter no line." if row["lost"] else ""
    return text + left + (f" Absent: {', '.join(row['absent'])}." if row["absent"] else "")


def card(row: pd.Series) -> dict[str, Any]:
    """What a verdict card of the book says of one row of `error_laws`, but claim and statement."""
    tone = {REPRODUCED: "yes", REFUTED: "no"}.get(row["verdict"], "open")
    if row["why"]:
        return {"verdict": row["verdict"], "tone": tone, "effect": row["why"]}
    return {
        "verdict": row["verdict"],
        "tone": tone,
        "effect": f"exponent of R in the test error; rank correlation {row['correlation']:.2f}",
        **{name: float(row[key]) for name, key in (("value", "exponent"), ("low", "low"), ("high", "high"))},
        "p_value": float(row["p_value"]),
        "members": f"{row['groups']:.0f} groups of {row['networks']:.0f} networks",
        "null": "R exchanged among groups (p of the rank correlation)",
    }


def _verdict(low: float, high: float) -> str:
    above, holds = low > 0, low <= PUBLISHED_EXPONENT <= high
    if holds:
        return REPRODUCED if above and high - low < 1 else UNDECIDED
    return OTHER if above else REFUTED


def _line(
    x: Float64[np.ndarray, "b g"], y: Float64[np.ndarray, "b g"]
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """Slope and height of the least squares line of each row; NaN where all x are one."""
    centred = x - x.mean(axis=1, keepdims=True)
    under = (centred**2).sum(axis=1)
    level = under > 1e-12
    slope = np.full(len(x), np.nan)
    slope[level] = (centred * y).sum(axis=1)[level] / under[level]
    return slope, y.mean(axis=1) - slope * x.mean(axis=1)


def _bootstrap(
    logs: list[np.ndarray], errors: list[np.ndarray], smallest: float, draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, " b"]:
    """Slopes of resampled groups of resampled networks; a group drawn twice draws its networks twice."""
    g = len(logs)
    picked = rng.integers(g, size=(draws, g))
    x, y = np.empty((draws, g)), np.empty((draws, g))
    for k, (log, error) in enumerate(zip(logs, errors, strict=True)):
        here = picked == k
        m = len(log)
        counts = rng.multinomial(m, np.full(m, 1 / m), size=int(here.sum())) / m
        x[here], y[here] = counts @ log, np.log(np.maximum(counts @ error, smallest))
    return _line(x, y)[0]
