"""The critical width of a layer, and how many clones it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Real

from akp_core.errors import expected

TELLS, EXCESS = 0.95, 0.01
"""Thresholds of `critical_width`: R^2 out of sample to reach, training error above the layer's to keep to."""
LEAST_CLONES = 2.0


@dataclass(frozen=True)
class Critical:
    """Where the chunks of one layer begin to be worth the whole.

    Attributes
    ----------
    width : float
        Units in the smallest chunk that passes both thresholds, w*.
    by_r_squared, by_error : float
        Where it passes each of them; NaN by error where there is no training error.
    clones : float
        W / w*, from 1 on; 1 is the layer itself.
    found : bool
        Whether there are clones: at least two chunks, each worth the whole, fit into the layer.
    """

    width: float
    by_r_squared: float
    by_error: float
    clones: float
    found: bool


def critical_width(
    table: pd.DataFrame, *, tells: float = TELLS, excess: float = EXCESS, by: str = "out_of_sample"
) -> Critical:
    r"""Estimate the critical width of one layer from its chunk curves.

    .. math:: w^* = \min \{ w : R^2(w) \ge 0.95 \text{ and }
       e_\text{train}(w) - e_\text{train}(W) \le 0.01 \},

    from the last crossing of each threshold, interpolated along log2 w.

    Parameters
    ----------
    table : DataFrame
        From `chunk_curves`: one row a size, the whole layer among them. Without a ``train_error`` the
        chunks are judged by what they tell alone.
    tells, excess : float
        The thresholds, in (0, 1). They are ours; the paper shades where its curves flatten.
    by : str
        Column of R^2 that is read.

    Returns
    -------
    Critical
        Its interval comes from several networks (`akp_core.lenses.clones`), or from another draw of chunks.

    Raises
    ------
    AkpError
        For thresholds outside (0, 1), a missing column, or no row of the whole layer.

    Notes
    -----
    Independent units give R^2 = w / W, so w* = 0.95 W: less than two chunks, and no clones. With ``tells`` of
    1/2 or less they would count as two: keep it well above.
    """
    for name, value in (("tells", tells), ("excess", excess)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise expected(f"{name} as a threshold between 0 and 1", repr(value))
    missing = [name for name in ("size", by) if name not in table]
    if missing or not len(table):
        raise expected("a table from chunk_curves", f"one without {', '.join(missing) or 'rows'}")
    rows = table.sort_values("size")
    size, told = rows["size"].to_numpy(float), rows[by].to_numpy(float)
    if np.isnan(told).any():
        raise expected(
            f"{by} at every size", f"NaN at {int(np.isnan(told).sum())}", "measure it, or choose another by"
        )
    first = crossing(size, told, tells)
    second = np.nan
    if "train_error" in rows and not rows["train_error"].isna().any():
        wrong = rows["train_error"].to_numpy(float)
        second = crossing(size, wrong[-1] - wrong, -excess)
    width = float(np.nanmax([first, second]))
    clones = float(size[-1]) / width
    return Critical(width, first, second, clones, clones >= LEAST_CLONES)


def crossing(sizes: Real[np.ndarray, " s"], values: Real[np.ndarray, " s"], threshold: float) -> float:
    """Where a curve last rises through a threshold, interpolated along the logarithm of the size.

    Parameters
    ----------
    sizes : (s,) array
        Ascending, above 0.
    values : (s,) array
    threshold : float

    Returns
    -------
    float
        The first size where it is above all along, the last where it is not even there.
    """
    below = np.flatnonzero(np.asarray(values) < threshold)
    if not len(below):
        return float(sizes[0])
    k = int(below[-1])
    if k == len(sizes) - 1:
        return float(sizes[-1])
    share = (threshold - values[k]) / (values[k + 1] - values[k])
    return float(np.exp(np.log(sizes[k]) + share * np.log(sizes[k + 1] / sizes[k])))
