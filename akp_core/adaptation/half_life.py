r"""How long until half of a displacement is gone: an exponential return, with an interval over networks.

.. math:: D(\tau) = A \, 2^{-\tau / h}

The rate :math:`1/h` is fitted by least squares to the mean over networks, and networks are drawn again for
its interval. A rate that may be zero is no return, and a half-life beyond the time that was watched is not
a measurement; both are called *not reached*.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64

from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected

RESAMPLES = 999
LEAST_LOOKS = 3
State = Literal["reached", "within one look", "not reached", "nothing to recover", "not testable"]


@dataclass(frozen=True)
class HalfLife:
    """When half of a displacement was gone.

    Attributes
    ----------
    state : str
        ``reached``: the whole interval lies inside the time watched. ``within one look``: it is faster than
        the looks can tell. ``not reached``: the interval goes beyond the time watched, or there is no return.
        ``nothing to recover``: the first displacement cannot be told from zero. ``not testable``: fewer than
        three looks, or fewer than four networks.
    half_life : float
        h in the unit of the times; infinite where the displacement does not shrink, NaN where nothing is
        fitted.
    low, high : float
        Percentile interval over networks; infinite where a rate of zero is in it.
    watched : float
        How long the networks were watched.
    """

    state: State
    half_life: float
    low: float
    high: float
    watched: float


def half_life(
    displacement: Float[np.ndarray, "m l"],
    times: Float[np.ndarray, " l"],
    *,
    level: float = 0.05,
    rng: np.random.Generator,
) -> HalfLife:
    r"""Fit the half-life of a displacement.

    .. math:: \hat h = \arg\max_h \bigl(\textstyle\sum_\tau \bar D(\tau) 2^{-\tau/h}\bigr)_+^2
              \bigm/ \textstyle\sum_\tau 4^{-\tau/h}

    which is least squares with the best A put in; rates are searched on a grid, growth included.

    Parameters
    ----------
    displacement : (m, l) float array
        Of each network at each look, the first at the end of the stress. It may be negative (an error below
        the twin's). Rows with NaN are left out.
    times : (l,) float array
        Since the end of the stress: ascending, the first 0.
    level : float
        The interval holds with confidence ``1 - level``.
    rng : numpy.random.Generator
        Draws the networks.

    Returns
    -------
    HalfLife

    Raises
    ------
    AkpError
        If shapes do not fit, times do not ascend from 0, or a value is infinite.

    Notes
    -----
    Invariances: scale of the displacement; the half-life scales with the times. A return that stops short
    of the twin is fitted by a slower one: read the curve beside the number. A percentile interval of few
    networks is a little short.

    Cost: `RESAMPLES` x (m + 481) x l operations.
    """
    level = check_level(level)
    d, t = np.asarray(displacement, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if d.ndim != 2 or t.shape != d.shape[1:] or not len(t):
        raise expected("one time for each look", f"shapes {d.shape} and {t.shape}")
    if t[0] != 0 or (np.diff(t) <= 0).any() or not np.isfinite(t).all() or np.isinf(d).any():
        raise expected("times that ascend from 0 and finite displacements", f"times {t.tolist()}")
    d = d[~np.isnan(d).any(axis=1)]
    watched = float(t[-1])
    if len(d) < LEAST_MEMBERS or len(t) < LEAST_LOOKS:
        return HalfLife("not testable", np.nan, np.nan, np.nan, watched)
    drawn = rng.integers(0, len(d), size=(RESAMPLES, len(d)))
    means = np.vstack([d.mean(axis=0), d[drawn].mean(axis=1)])
    least = float(np.quantile(means[1:, 0], level / 2))
    if least <= 0:
        return HalfLife("nothing to recover", np.nan, np.nan, np.nan, watched)
    fastest = 6 / float(t[1])
    found = _fit(means, t, _rates(fastest, watched))
    rate, (slow, fast) = found[0], np.quantile(found[1:], [level / 2, 1 - level / 2])
    value, low, high = (1 / r if r > 0 else np.inf for r in (rate, fast, slow))
    if high > watched:
        state: State = "not reached"
    else:
        state = "within one look" if high < t[1] / 3 else "reached"
    return HalfLife(state, float(value), float(low), float(high), watched)


def _rates(fastest: float, watched: float) -> Float64[np.ndarray, " r"]:
    """Rates from growth to a return faster than a look, zero among them, denser near zero."""
    up = np.geomspace(0.01 / watched, fastest, 360)
    down = np.geomspace(0.01 / watched, 3 / watched, 120)
    return np.concatenate([-down[::-1], [0.0], up])


def _fit(
    means: Float64[np.ndarray, "b l"], times: Float64[np.ndarray, " l"], rates: Float64[np.ndarray, " r"]
) -> Float64[np.ndarray, " b"]:
    """The rate of each row; 0 where the first displacement is not positive."""
    shape = np.exp2(-np.outer(rates, times))
    explained = np.square(np.maximum(means @ shape.T, 0.0)) / np.square(shape).sum(axis=1)
    return np.asarray(np.where(explained.max(axis=1) > 0, rates[explained.argmax(axis=1)], 0.0))
