"""The bootstrap interval of the effect over models, with what it covers beside what the jackknife covers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import stats

from akp_core.dispersion.contributions import log_pseudo_values, pseudo_values
from akp_core.dispersion.geometry import Array, check_resampling, squared_distances
from akp_core.dispersion.inference import PerFamily, check_level, families_of, log_ratio
from akp_core.errors import unknown_name, whole_number

Method = Literal["percentile", "BCa", "basic"]


@dataclass(frozen=True)
class BootstrapEffect:
    """A bootstrap interval of the effect over models.

    Attributes
    ----------
    effect : float
        As in `AnnaKarenina`.
    interval : (float, float)
        At the level's confidence; (-inf, inf) where a family's spread cannot be told.
    method : str
        Which interval.
    level : float
        The interval has confidence 1 - level.
    members, excluded, unmatched : PerFamily
        As in `AnnaKarenina`.
    draws : int
        How many times models (pairs) were drawn with replacement.
    """

    effect: float
    interval: tuple[float, float]
    method: Method
    level: float
    members: PerFamily[int]
    excluded: PerFamily[int]
    unmatched: PerFamily[int]
    draws: int


def bootstrap_effect(
    distances: Float[Array, "M M"],
    unhappy: Bool[Array, " M"],
    *,
    paired: Int[Array, " M"] | None = None,
    method: Method = "percentile",
    level: float = 0.05,
    draws: int = 9999,
    rng: np.random.Generator,
) -> BootstrapEffect:
    r"""Bootstrap interval of the effect over models; the jackknife interval of the test covers better.

    .. math:: \theta^* = \tfrac12 \log \frac{\bar p^*_u}{\bar p^*_h}

    with :math:`\bar p^*` the mean of n contributions (pseudo-values, whose mean is V) drawn with
    replacement. Contributions are drawn rather than models, as a model beside its own copy is a distance
    of zero.

    Parameters
    ----------
    distances, unhappy, paired
        As for `anna_karenina_test`; pairs are drawn together.
    method : {"percentile", "BCa", "basic"}
        Percentiles of the draws, bias-corrected and accelerated ones (Efron 1987), or the reflected ones.
        All are taken on tanh of the effect, the contrast :math:`(V_u - V_h)/(V_u + V_h)`, and brought back.
    level : float
        The interval has confidence 1 - level.
    draws : int
        At least 100.
    rng : numpy.random.Generator
        Draws the models.

    Returns
    -------
    BootstrapEffect

    Raises
    ------
    AkpError
        As `anna_karenina_test`; for an unknown method or fewer than 100 draws.

    Notes
    -----
    Measured coverage at a nominal 95 % without a difference, in per cent (1000 simulations each, 999 draws;
    clouds in 5, 20 and 200 dimensions; the last row in 20):

    ==============================  ============  ============  ============  ============
    cloud, members                  jackknife     percentile    BCa           basic
    ==============================  ============  ============  ============  ============
    Gaussian, 10 + 10               95.0 to 96.8  91.9 to 94.3  92.7 to 93.8  89.6 to 93.0
    log-normal radii, 10 + 10       92.6 to 93.8  88.5 to 89.8  85.5 to 88.2  71.0 to 76.4
    t (5), 10 + 10                  93.1 to 95.1  89.8 to 92.4  86.6 to 89.9  76.0 to 77.8
    the same three, 20 + 20         93.6 to 95.8  91.8 to 94.7  87.3 to 94.3  79.4 to 93.7
    ==============================  ============  ============  ============  ============

    (The jackknife is `AnnaKarenina.interval`.) Read this one where a bootstrap is asked for.

    Invariances: as `anna_karenina_test`. Cost: M operations per draw.

    References
    ----------
    Efron 1987 (BCa).
    """
    check_resampling(1, rng)
    level = check_level(level)
    if method not in get_args(Method):
        raise unknown_name("method", method, get_args(Method))
    draws = whole_number("draws", draws, 100)
    squared, usable = squared_distances(distances)
    found = families_of(usable, unhappy, paired)
    h, u = (pseudo_values(squared[np.ix_(family, family)]) for family in (found.happy, found.unhappy))
    v = PerFamily(max(float(h.mean()), 0.0), max(float(u.mean()), 0.0))
    effect = log_ratio(v.unhappy, v.happy)
    interval = (-np.inf, np.inf)
    if log_pseudo_values(u) is not None and log_pseudo_values(h) is not None:
        unit = max(v)

        def statistic(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
            a, b = (np.maximum(values.mean(axis=axis), 0) for values in (x, y))
            total = a + b
            return np.divide(a - b, total, out=np.zeros_like(total), where=total > 0)

        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # all draws equal: seen to below
            limits = stats.bootstrap(
                (u / unit, h / unit),
                statistic,
                n_resamples=draws,
                batch=max(1, 4_000_000 // (len(u) + len(h))),
                vectorized=True,
                paired=paired is not None,
                confidence_level=1 - level,
                method=method,
                rng=rng,
            ).confidence_interval
        with np.errstate(divide="ignore"):
            low, high = (float(np.arctanh(np.clip(limit, -1, 1))) for limit in limits)
        interval = (low, high) if not np.isnan([low, high]).any() else (effect, effect)
    return BootstrapEffect(
        effect=effect,
        interval=interval,
        method=method,
        level=level,
        members=PerFamily(len(h), len(u)),
        excluded=found.excluded,
        unmatched=found.unmatched,
        draws=draws,
    )
