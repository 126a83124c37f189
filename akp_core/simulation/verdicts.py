"""What many simulated judgements say: the size of each test, and the coverage of each interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from akp_core.errors import expected
from akp_core.simulation.laws import SETTINGS


def judged_shares(
    counts: pd.DataFrame, target: float, words: tuple[str, str, str], together: float
) -> pd.DataFrame:
    """Shares, exact intervals that hold together (Bonferroni), and on which side of the target they lie."""
    confidence = 1 - (1 - together) / max(len(counts), 1)
    ends = [
        stats.binomtest(int(k), int(n)).proportion_ci(confidence, method="exact")
        for k, n in zip(counts["count"], counts["simulations"], strict=True)
    ]
    low, high = np.array([end.low for end in ends]), np.array([end.high for end in ends])
    below, inside, above = words
    verdict = np.where(high < target, below, np.where(low > target, above, inside))
    share = counts["count"] / counts["simulations"]
    return counts.assign(share=share, low=low, high=high, verdict=verdict)


def sizes(trials: pd.DataFrame, *, level: float = 0.05, together: float = 0.95) -> pd.DataFrame:
    """How often each test rejected, and whether that is as often as it says.

    Parameters
    ----------
    trials : DataFrame
        From `simulate`.
    level : float
        A p value of at most this is a rejection.
    together : float
        Confidence with which all intervals of the table hold at once (Bonferroni).

    Returns
    -------
    DataFrame
        One row for each setting, measure and test: ``simulations``, ``count`` of rejections, ``share``, its
        exact binomial interval ``low`` to ``high``, and ``verdict``: where there is no effect *honest* if the
        interval holds the level, *cautious* if it lies below and *too eager* if above; where there is one,
        *an effect is there*.

    Raises
    ------
    AkpError
        If `level` or `together` is no probability between 0 and 1.

    References
    ----------
    Clopper and Pearson 1934.
    """
    _check(level, together)
    some = trials[trials["p_value"].notna()]
    rejected = (some["p_value"] <= level * (1 + 1e-12)).groupby(
        [some[key] for key in ("setting", "measure", "test")], sort=False
    )
    counts = rejected.agg(simulations="size", count="sum").reset_index()
    judged = judged_shares(counts, level, ("cautious", "honest", "too eager"), together)
    real = [test in SETTINGS[s].true for s, test in zip(judged["setting"], judged["test"], strict=True)]
    judged.loc[real, "verdict"] = "an effect is there"
    return judged


def coverage(trials: pd.DataFrame, *, level: float = 0.05, together: float = 0.95) -> pd.DataFrame:
    """How often the interval of the effect held the truth, an effect of 0.

    Parameters
    ----------
    trials : DataFrame
        From `simulate` with the same level; settings in which families differ in spread are left out.
    level : float
        The intervals claim to cover in 1 - level.
    together : float
        As in `sizes`.

    Returns
    -------
    DataFrame
        Columns as `sizes`, with ``count`` the intervals that covered; ``verdict`` *too short*, *honest* or
        *too wide*.

    Raises
    ------
    AkpError
        As `sizes`.
    """
    _check(level, together)
    equal = [name for name, setting in SETTINGS.items() if setting.wider == 1]
    some = trials[trials["covers"].notna() & trials["setting"].isin(equal)]
    covered = some.groupby(["setting", "measure", "test"], sort=False)["covers"]
    counts = covered.agg(simulations="size", count="sum").reset_index()
    return judged_shares(counts, 1 - level, ("too short", "honest", "too wide"), together)


def pooled(trials: pd.DataFrame, *, level: float = 0.05, together: float = 0.95) -> pd.DataFrame:
    """The size of each test over all measures: sharper than one cell, with the study as the replicate.

    Parameters
    ----------
    trials : DataFrame
        From `simulate`. Measures judge the same studies, so their judgements are averaged within a study.
    level, together
        As in `sizes`.

    Returns
    -------
    DataFrame
        One row for each setting and test without an effect: ``studies``, ``share``, its interval ``low`` to
        ``high`` (Student's t over studies; exact where no study or every one rejects) and ``verdict``.

    Raises
    ------
    AkpError
        As `sizes`.
    """
    _check(level, together)
    some = trials[trials["p_value"].notna()]
    rejected = some["p_value"] <= level * (1 + 1e-12)
    each = rejected.groupby([some[k] for k in ("setting", "test", "study")], sort=False).mean()
    rows = [
        (setting, test, values.to_numpy(dtype=np.float64))
        for (setting, test), values in each.groupby(["setting", "test"], sort=False)
        if test not in SETTINGS[str(setting)].true
    ]
    confidence, found = 1 - (1 - together) / max(len(rows), 1), []
    for setting, test, values in rows:
        n, share = len(values), float(values.mean())
        if n < 2 or values.var() == 0:
            exact = stats.binomtest(round(share * n), n).proportion_ci(confidence, method="exact")
            low, high = float(exact.low), float(exact.high)
        else:
            half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(values))
            low, high = max(share - half, 0.0), min(share + half, 1.0)
        verdict = "cautious" if high < level else "too eager" if low > level else "honest"
        found.append((setting, test, n, share, low, high, verdict))
    return pd.DataFrame(found, columns=["setting", "test", "studies", "share", "low", "high", "verdict"])


def _check(level: float, together: float = 0.95) -> None:
    for name, value in (("level", level), ("together", together)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise expected(f"{name} as a probability between 0 and 1", repr(value))


def by_level(trials: pd.DataFrame, levels: Sequence[float]) -> pd.DataFrame:
    """The share of studies rejected at each of several levels; without an effect it should be the level.

    Parameters
    ----------
    trials : DataFrame
        From `simulate`.
    levels : sequence of float
        Each between 0 and 1.

    Returns
    -------
    DataFrame
        One row for each setting, measure, test and level: ``level`` and ``share``.

    Raises
    ------
    AkpError
        If a level is no probability between 0 and 1.
    """
    if not all(0 < level < 1 for level in levels):
        raise expected("levels as probabilities between 0 and 1", str(list(levels)))
    keys = ["setting", "measure", "test"]
    some = trials[trials["p_value"].notna()]
    rejected = [
        (some["p_value"] <= level * (1 + 1e-12)).groupby([some[k] for k in keys], sort=False).mean()
        for level in levels
    ]
    tables = [share.rename("share").reset_index() for share in rejected]
    return pd.concat([table.assign(level=level) for table, level in zip(tables, levels, strict=True)])
