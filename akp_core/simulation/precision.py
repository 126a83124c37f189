"""What a number of simulated estimates says about their estimator, with the simulation's own error."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import binom

from akp_core.errors import expected

_NORMAL = 1.959964


def summary(values: Float[np.ndarray, " repeats"], true: float | None = None) -> pd.DataFrame:
    r"""Mean, standard deviation and error of estimates, each with its 95 % interval over repeats.

    The interval of the mean is :math:`\pm 1.96\, s/\sqrt R`. That of s uses
    :math:`\operatorname{var}(s^2) \approx (m_4 - \tfrac{R-3}{R-1} s^4)/R`, so it needs no normal estimates,
    and that of the root mean square error the variance of the squared errors.

    Parameters
    ----------
    values : (repeats,) float
        Estimates from independent draws, at least 2.
    true : float, optional
        The true value; without it there is no error.

    Returns
    -------
    DataFrame
        Columns ``quantity`` ("mean", "sd", "rmse"), ``value``, ``low``, ``high``.

    Raises
    ------
    AkpError
        For fewer than 2 values, or one that is not finite.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < 2 or not np.isfinite(given).all():
        raise expected("at least 2 finite estimates", f"an array of shape {given.shape}")
    repeats = len(given)
    mean, sd = float(given.mean()), float(given.std(ddof=1))
    around = given - mean
    fourth = max(0.0, float((around**4).mean()) - (repeats - 3) / (repeats - 1) * sd**4)
    rows = [("mean", mean, sd / repeats**0.5), ("sd", sd, _of_root(sd, (fourth / repeats) ** 0.5))]
    if true is not None:
        squares = (given - true) ** 2
        error = float(squares.mean()) ** 0.5
        rows.append(("rmse", error, _of_root(error, float(squares.std(ddof=1)) / repeats**0.5)))
    table = pd.DataFrame(rows, columns=["quantity", "value", "error"])
    low = table["value"] - _NORMAL * table["error"]
    table["low"] = low.where(table["quantity"] == "mean", low.clip(lower=0))
    table["high"] = table["value"] + _NORMAL * table["error"]
    return table[["quantity", "value", "low", "high"]]


def _of_root(root: float, error_of_square: float) -> float:
    """The standard error of a root from that of its square."""
    return error_of_square / (2 * root) if root > 0 else 0.0


def coverage(table: pd.DataFrame) -> pd.DataFrame:
    """How often each estimator's interval holds the truth, where it is worst, and its mean error.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.simulation.sweeps.sweep`.

    Returns
    -------
    DataFrame
        A row an estimator, by name: ``settings`` where the truth is known; ``covered`` of them;
        ``plausible``, whether so few or fewer have a probability of at least 0.001 if each holds with 0.95;
        ``bias``, the largest, with ``margin``, half its interval; and ``rmse``, the mean.

    Raises
    ------
    AkpError
        If the truth is known nowhere.
    """
    means = table[(table["quantity"] == "mean") & table["true"].notna() & table["value"].notna()]
    if means.empty:
        raise expected("a sweep in which something is known", "none")
    rows = {}
    for name, t in means.groupby("estimator", sort=False):
        bias = t["value"] - t["true"]
        covered = int(((t["low"] <= t["true"]) & (t["true"] <= t["high"])).sum())
        worst = bias.abs().to_numpy().argmax()
        errors = table[(table["estimator"] == name) & (table["quantity"] == "rmse")]["value"]
        rows[name] = {
            "settings": len(t),
            "covered": covered,
            "plausible": bool(binom.cdf(covered, len(t), 0.95) >= 1e-3),
            "bias": bias.iloc[worst],
            "margin": (t["high"] - t["low"]).iloc[worst] / 2,
            "rmse": errors.mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")
