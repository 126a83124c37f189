"""Do families that err more spread more? One answer over all families, the replicate being the family.

`akp_core.judgement.judge` asks of each stress alone whether it spread its networks; this asks whether
dispersion goes with error from family to family, whatever the stress was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.errors import expected


@dataclass(frozen=True)
class Trend:
    """Whether families that err more also spread more, over all families at one tap.

    Attributes
    ----------
    tap : str
    rho : float
        Spearman's rank correlation of a family's mean test error with its dispersion, in [-1, 1].
    interval : tuple of float
        Bootstrap over families (percentile).
    p_value : float
        Two-sided, families permuted.
    families : int
    verdict : {"AKP", "none", "anti-AKP"}
    """

    tap: str
    rho: float
    interval: tuple[float, float]
    p_value: float
    families: int
    verdict: Literal["AKP", "none", "anti-AKP"]


def trend(
    networks: pd.DataFrame, tap: str, *, level: float = 0.05, permutations: int = 9999, seed: int = 0
) -> Trend:
    """Relate dispersion to error across families; here the replicate is the family.

    Every member's distance is to its own family's centroid, so a family that merely moved does not count
    as spread. Families with fewer than four members left are not counted.

    Parameters
    ----------
    networks : DataFrame
        From `placed`.
    tap : str
    level, permutations, seed
        As for `judge`.

    Raises
    ------
    AkpError
        When fewer than four families can be counted.
    """
    kept = networks[(networks["tap"] == tap) & networks["distance"].notna()].groupby("family")
    sizes = kept.size()
    families = sizes.index[sizes >= LEAST_MEMBERS]
    if len(families) < LEAST_MEMBERS:
        raise expected(
            f"at least {LEAST_MEMBERS} families with {LEAST_MEMBERS} members left at {tap!r}", len(families)
        )
    error = kept["test_error"].mean()[families].to_numpy()
    spread = kept["distance"].apply(lambda d: float(np.sqrt(np.mean(d**2))))[families].to_numpy()
    rng = np.random.default_rng(seed)
    test = stats.permutation_test(
        (error,),
        lambda x, axis: _spearman(x, spread, axis),
        permutation_type="pairings",
        n_resamples=permutations,
        rng=rng,
        vectorized=True,
    )
    boot = stats.bootstrap(
        (error, spread),
        _spearman,
        paired=True,
        n_resamples=permutations,
        method="percentile",
        rng=rng,
        confidence_level=1 - level,
    )
    value, p = float(test.statistic), float(test.pvalue)
    verdict: Literal["AKP", "none", "anti-AKP"] = "none" if p >= level else "AKP" if value > 0 else "anti-AKP"
    interval = (float(boot.confidence_interval.low), float(boot.confidence_interval.high))
    return Trend(tap, value, interval, p, len(families), verdict)


def _spearman(
    x: Float64[np.ndarray, "*b f"], y: Float64[np.ndarray, "*b f"], axis: int = -1
) -> Float64[np.ndarray, " *b"]:
    """Rank correlation along an axis; 0 where one side is constant, as nothing goes with it."""
    a, b = (r - r.mean(axis=axis, keepdims=True) for r in (stats.rankdata(v, axis=axis) for v in (x, y)))
    size = np.sqrt((a**2).sum(axis=axis) * (b**2).sum(axis=axis))
    return np.divide((a * b).sum(axis=axis), size, out=np.zeros_like(size), where=size > 0)
