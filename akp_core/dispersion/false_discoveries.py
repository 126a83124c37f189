"""P-values of several tests corrected for their number, those that could not be made left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def q_values(p_values: pd.Series, within: pd.Series | None = None) -> pd.Series:
    r"""Correct p-values for their number by the rule of Benjamini and Hochberg.

    .. math:: q_{(i)} = \min_{j \ge i} \frac{m\, p_{(j)}}{j}

    Parameters
    ----------
    p_values : Series
        In [0, 1]; NaN where there was no test, which counts for nothing.
    within : Series, optional
        A label for each row: rows with the same label are corrected together. None: all together.

    Returns
    -------
    Series
        In [0, 1], with the same index; NaN where the p-value is.

    References
    ----------
    Benjamini & Hochberg 1995.
    """
    q = pd.Series(np.nan, index=p_values.index, dtype=float)
    known = p_values.notna()
    if known.any():
        labels = pd.Series(0, index=p_values.index) if within is None else within
        q[known] = p_values[known].groupby(labels[known]).transform(stats.false_discovery_control)
    return q
