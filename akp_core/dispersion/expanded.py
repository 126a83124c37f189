"""Percentile intervals over few models, made as wide as they claim to be."""

from __future__ import annotations

import numpy as np
from scipy import stats

BEYOND = 5
"""Draws beyond the percentile from which one that lies beyond all draws is judged."""


def expanded_tail(models: int, level: float) -> float:
    r"""Share of bootstrap draws to leave out at each end of a percentile interval over few models.

    .. math:: \Phi\Bigl(\sqrt{\tfrac{n}{n-1}}\; t_{n-1}^{-1}(\text{level}/2)\Bigr),

    less than level / 2, as drawing from n models spreads too little and their spread itself is estimated.
    Without it, intervals over 10 models that claim 95 % held the truth in 90 to 95 % of simulations, with
    it in 95 to 97 %; of a rate fitted over 12 models, in 88 % and 92 %.

    Parameters
    ----------
    models : int
        At least 2; of one alone nothing is widened.
    level : float
        The interval claims 1 - level.

    Returns
    -------
    float
        In (0, level / 2].

    References
    ----------
    Hesterberg 2015, on expanded percentile intervals.
    """
    if models < 2:
        return level / 2
    reach = np.sqrt(models / (models - 1)) * stats.t.ppf(level / 2, models - 1)
    return float(stats.norm.cdf(reach))


def expanded_ends(
    draws: np.ndarray, models: int, level: float, *, within: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[np.ndarray, np.ndarray]:
    r"""Ends of the percentile interval of draws over few models.

    With few models, or a level shared by many intervals, `expanded_tail` asks for percentiles beyond all
    draws. Then those with `BEYOND` draws farther out are moved away from the median as in a normal law,

    .. math:: m \pm \frac{\Phi^{-1}(\text{tail})}{\Phi^{-1}(\text{BEYOND} / B)} \, \lvert q - m \rvert .

    Parameters
    ----------
    draws : (B, ...) float
        Resampled values; NaN where a draw has none, which is left out.
    models : int
        How many were resampled.
    level : float
        The interval claims 1 - level.
    within : tuple of float
        The values that are possible at all.

    Returns
    -------
    low, high : (...) float
        NaN where no draw has a value.

    References
    ----------
    Hesterberg 2015.
    """
    tail = expanded_tail(models, level)
    bare = np.isnan(draws).all(axis=0)
    filled = np.where(bare, 0.0, draws)
    if tail * len(draws) >= 1:
        low, high = np.nanquantile(filled, [tail, 1 - tail], axis=0)
    else:
        seen = BEYOND / len(draws)
        low, middle, high = np.nanquantile(filled, [seen, 0.5, 1 - seen], axis=0)
        farther = stats.norm.ppf(tail) / stats.norm.ppf(seen)
        low, high = middle - farther * (middle - low), middle + farther * (high - middle)
    low, high = np.clip(low, *within), np.clip(high, *within)
    return np.where(bare, np.nan, low), np.where(bare, np.nan, high)
