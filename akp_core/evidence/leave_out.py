"""The jackknife over members: what is said of families that share members leaves one out of all at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64
from scipy import stats


def log_ratio(
    effect: Callable[[Int64[np.ndarray, " m"]], float], members: int, level: float
) -> dict[str, object]:
    """Interval, p-value and verdict of the logarithm of a ratio of dispersions, unhappy over happy.

    Parameters
    ----------
    effect : callable
        The log ratio from the members with these numbers.
    members : int
    level : float

    Returns
    -------
    dict
        ``ratio`` with ``low`` and ``high`` (Student's t with ``members - 1`` degrees of freedom),
        ``p_value`` and ``verdict``: AKP, none, anti-AKP, or ``not testable`` where the effect is not finite.

    Notes
    -----
    Cost: ``members + 1`` calls.

    References
    ----------
    Miller 1974 (the jackknife).
    """
    everyone = np.arange(members)
    whole, left = effect(everyone), np.array([effect(np.delete(everyone, i)) for i in everyone])
    if not (np.isfinite(whole) and np.isfinite(left).all()):
        nothing = dict.fromkeys(("ratio", "low", "high", "p_value"), float("nan"))
        return nothing | {"verdict": "not testable"}
    error = float(np.sqrt((members - 1) / members * np.square(left - left.mean()).sum()))
    half = float(stats.t.ppf(1 - level / 2, members - 1)) * error
    p = 2 * float(stats.t.sf(abs(whole) / error, members - 1)) if error > 0 else float(whole == 0)
    ends = {"ratio": np.exp(whole), "low": np.exp(whole - half), "high": np.exp(whole + half)}
    verdict = "none" if p >= level else "AKP" if whole > 0 else "anti-AKP"
    return {name: float(value) for name, value in ends.items()} | {"p_value": p, "verdict": verdict}
