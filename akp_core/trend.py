"""Do stresses that raise the error more also raise the dispersion more? One answer over all stresses.

`akp_core.judgement.judge` asks of each family alone whether its stress spread it; this asks whether
dispersion goes with error from stress to stress. The onsets of one stress give families that resemble one
another, so they are averaged first: the replicate is the stress, not the family.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS

LEAST_STRESSES = 4
Verdict = Literal["AKP", "none", "anti-AKP", "not testable"]


@dataclass(frozen=True)
class Trend:
    """Whether stresses that raise the error more also spread networks more, at one tap.

    Attributes
    ----------
    tap : str
    rho : float
        Spearman's rank correlation of mean test error with dispersion over stresses, in [-1, 1].
    interval : tuple of float
        From Fisher's z with the variance of Bonett and Wright (2000) for ranks; wide when stresses are few.
    p_value : float
        Two-sided, stresses permuted.
    stresses : int
        How many, the control included.
    verdict : {"AKP", "none", "anti-AKP", "not testable"}
        Not testable, with NaN for the rest, where fewer than four stresses can be counted; and where they
        are so few that no order of them has a p-value below the level.
    """

    tap: str
    rho: float
    interval: tuple[float, float]
    p_value: float
    stresses: int
    verdict: Verdict


def trend(
    networks: pd.DataFrame, tap: str, *, level: float = 0.05, permutations: int = 9999, seed: int = 0
) -> Trend:
    """Relate dispersion to error across stresses.

    Every member's distance is to its own family's centroid, so a family that merely moved does not count
    as spread. Families with fewer than four members left are not counted.

    Parameters
    ----------
    networks : DataFrame
        From `akp_core.judgement.placed`.
    tap : str
    level, permutations, seed
        As for `akp_core.judgement.judge`.
    """
    kept = networks[(networks["tap"] == tap) & networks["distance"].notna()]
    squares = kept.assign(square=kept["distance"] ** 2).groupby(["stress", "family"])
    families = squares[["test_error", "square"]].mean()[squares.size() >= LEAST_MEMBERS]
    stresses = families.groupby("stress").mean()
    count = len(stresses)
    if count < LEAST_STRESSES:
        return Trend(tap, np.nan, (np.nan, np.nan), np.nan, count, "not testable")
    error, spread = stresses["test_error"].to_numpy(), stresses["square"].to_numpy()
    test = stats.permutation_test(
        (error,),
        lambda x, axis: spearman(x, spread, axis),
        permutation_type="pairings",
        n_resamples=permutations,
        rng=np.random.default_rng(seed),
        vectorized=True,
    )
    rho, p = float(test.statistic), float(test.pvalue)
    # of all orders two are the most extreme
    if 2 / min(factorial(count), permutations + 1) >= level:
        return Trend(tap, rho, fisher_interval(rho, count, level), p, count, "not testable")
    verdict: Verdict = "none" if p >= level else "AKP" if rho > 0 else "anti-AKP"
    return Trend(tap, rho, fisher_interval(rho, count, level), p, count, verdict)


def fisher_interval(rho: float, count: int, level: float) -> tuple[float, float]:
    """Fisher's interval of a rank correlation; a perfect order counts as half a step from perfect."""
    perfect = 1 - 6 / (count * (count**2 - 1))
    z = float(np.arctanh(min(max(rho, -perfect), perfect)))
    half = float(stats.norm.ppf(1 - level / 2)) * float(np.sqrt((1 + rho**2 / 2) / (count - 3)))
    return min(float(np.tanh(z - half)), rho), max(float(np.tanh(z + half)), rho)


def spearman(
    x: Float64[np.ndarray, "*b f"], y: Float64[np.ndarray, "*b f"], axis: int = -1
) -> Float64[np.ndarray, " *b"]:
    """Rank correlation along an axis; 0 where one side is constant, as nothing goes with it; NaN of NaN."""
    a, b = (r - r.mean(axis=axis, keepdims=True) for r in (stats.rankdata(v, axis=axis) for v in (x, y)))
    size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return np.divide((a * b).sum(axis=axis), size, out=np.asarray(0 * size), where=size > 0)
