"""How the error of chunks falls towards that of endlessly many clones: a power law with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Real
from scipy import optimize, stats

from akp_core.errors import AkpError, expected

PUBLISHED = -0.5
Verdict = Literal["reproduced", "not reproduced", "undecided"]
_REACH = (-4.0, 1.0)
"""Exponents that are looked at; a fit at an end has found none."""


@dataclass(frozen=True)
class PowerLaw:
    """A fit of error minus error at infinity against chunk size.

    Attributes
    ----------
    exponent, low, high : float
        Of the size, with its interval over networks.
    prefactor : float
        Excess error at size 1, by the fit.
    at_infinity : float
        Error that was taken off, in [0, 1].
    sizes : tuple of int
        That were fitted.
    networks : int
    verdict : {"reproduced", "not reproduced", "undecided"}
        Of an exponent of -1/2: inside an interval of less than one; outside; or the interval is too wide.
    """

    exponent: float
    low: float
    high: float
    prefactor: float
    at_infinity: float
    sizes: tuple[int, ...]
    networks: int
    verdict: Verdict

    @property
    def rounded(self) -> str:
        """Exponent and interval in words."""
        return f"{self.exponent:.2f} ({self.low:.2f} to {self.high:.2f})"


def fit_law(sizes: Real[np.ndarray, " s"], excess: Real[np.ndarray, " s"]) -> tuple[float, float]:
    r"""Fit :math:`e(w) - e_\infty = A w^p` by least squares on the error itself.

    Parameters
    ----------
    sizes : (s,) array
        At least two.
    excess : (s,) array
        Error minus error at infinity. Values of 0 or less are fitted like any other: no logarithm is taken.

    Returns
    -------
    p, A : float
        p in [-4, 1].

    Raises
    ------
    AkpError
        For fewer than two sizes, or an excess that is nowhere positive.
    """
    w, e = np.asarray(sizes, float), np.asarray(excess, float)
    if w.shape != e.shape or len(w) < 2 or not (np.isfinite(w) & np.isfinite(e)).all() or w.min() <= 0:
        raise expected("an excess error for each of at least two sizes", f"shapes {w.shape} and {e.shape}")
    if not (e > 0).any():
        raise expected(
            "errors above the error at infinity",
            "none",
            "chunks err no more than the ensemble: nothing is to fit",
        )

    unit = w / np.exp(np.log(w).mean())

    def amplitude(p: float) -> float:
        z = unit**p
        return float(z @ e / (z @ z))

    def lack(p: float) -> float:
        return float(np.square(e - amplitude(p) * unit**p).sum())

    grid = np.linspace(*_REACH, 101)
    near = grid[int(np.argmin([lack(p) for p in grid]))]
    bounds = (max(near - 0.05, _REACH[0]), min(near + 0.05, _REACH[1]))
    best = float(optimize.minimize_scalar(lack, bounds=bounds, method="bounded").x)
    return best, amplitude(best) * float((unit[0] / w[0]) ** best)


def power_law(
    sizes: Real[np.ndarray, " s"],
    errors: Real[np.ndarray, "m s"],
    at_infinity: float | Real[np.ndarray, " m"],
    *,
    whole_infinity: float | None = None,
    level: float = 0.05,
) -> PowerLaw:
    r"""Fit the law to the chunks of several networks, with a jackknife interval of the free exponent.

    .. math:: e(w) - e_\infty = A\, w^{p}, \qquad \text{published: } p = -\tfrac12.

    Parameters
    ----------
    sizes : (s,) array
        Chunk sizes above the critical width.
    errors : (m, s) array
        Test error of the chunks of each network.
    at_infinity : float or (m,) array
        Error of an ensemble average; or that of the ensemble without network i, for each i, so that the
        interval counts it as estimated too.
    whole_infinity : float, optional
        Error of the whole ensemble, where `at_infinity` is an array; else its mean.
    level : float
        The interval has confidence 1 - level (Student's t, m - 1 degrees).

    Returns
    -------
    PowerLaw

    Raises
    ------
    AkpError
        For fewer than three networks, fewer than two sizes, or errors at or below the one at infinity.

    Notes
    -----
    If as many images lie just below a decision boundary as just above, noise of the logits moves as many
    over it either way, its first order cancels, and the exponent is -1. It is -1/2 where all lie on one side,
    as with an ensemble without error (`planted_margins`).

    References
    ----------
    Doimo, Glielmo, Goldt & Laio 2022, who draw 0.12 w^(-1/2) beside their curve.
    """
    e = np.asarray(errors, float)
    if e.ndim != 2 or len(e) < 3:
        raise expected("errors of at least three networks as (networks, sizes)", f"shape {e.shape}")
    if not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    rest = np.asarray(at_infinity, float)
    if rest.ndim and rest.shape != (len(e),):
        raise expected(f"an error at infinity, or one for each of {len(e)} networks", f"shape {rest.shape}")
    whole = float(rest.mean()) if whole_infinity is None else float(whole_infinity)
    without: Float64[np.ndarray, " m"] = np.broadcast_to(rest, len(e))
    p, prefactor = fit_law(sizes, e.mean(axis=0) - whole)
    try:
        left = [fit_law(sizes, np.delete(e, i, axis=0).mean(axis=0) - without[i])[0] for i in range(len(e))]
    except AkpError:
        low, high = _REACH
    else:
        m = len(e)
        spread = np.sqrt((m - 1) / m * np.square(np.array(left) - np.mean(left)).sum())
        reach = float(stats.t.ppf(1 - level / 2, m - 1) * spread)
        low, high = p - reach, p + reach
    holds = low <= PUBLISHED <= high
    verdict: Verdict = "not reproduced" if not holds else "reproduced" if high - low < 1 else "undecided"
    return PowerLaw(p, low, high, prefactor, whole, tuple(int(w) for w in sizes), len(e), verdict)
