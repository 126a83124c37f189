r"""Where the Ornstein-Uhlenbeck model of stress ends: a second valley, and steps that are too large.

In a landscape with two valleys, :math:`x' = x - x^3`, a pulse can carry members over the barrier, and then
nothing brings them back. And stochastic gradient descent is an Ornstein-Uhlenbeck process seen at whole times
only while its step is small.
"""

from __future__ import annotations

from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from akp_core.errors import expected, whole_number
from akp_core.similarity.calibration import check_rng
from akp_core.theory.ornstein_uhlenbeck import Regime, check_times, number

FOLD = 2 / (3 * sqrt(3))
"""The least steady push that leaves no valley on the left: the largest slope back, at x = -1/sqrt(3)."""


def rolled(start: Float[np.ndarray, " ..."], times: Float[np.ndarray, " T"]) -> Float64[np.ndarray, "... T"]:
    r"""Where a member without noise is after each time in the landscape with two valleys.

    .. math:: x' = x - x^3, \qquad x(t) = \frac{x_0\, e^t}{\sqrt{1 + x_0^2 (e^{2t} - 1)}}

    Parameters
    ----------
    start : array
        Places x_0 of any shape.
    times : (T,) array
        Each at least 0.

    Returns
    -------
    (..., T) float64 array
        In the limit the sign of x_0.

    Raises
    ------
    AkpError
        For places or times that are not finite, and negative times.
    """
    places = np.asarray(start, dtype=np.float64)[..., None]
    if not np.isfinite(places).all():
        raise expected("finite places", "some that are not")
    fade = np.exp(-check_times(times))
    return places / np.sqrt(np.maximum(fade**2 + places**2 * (1 - fade**2), 1e-300))


def two_valleys(
    push: float,
    length: float,
    times: Float[np.ndarray, " T"],
    members: int,
    rng: np.random.Generator,
    *,
    noise: float = 0.1,
    step: float = 0.01,
) -> Float64[np.ndarray, "M T"]:
    r"""Members of the left valley that a pulse pushes to the right: draws with noise.

    .. math:: dX = \bigl(X - X^3 + f\,1[t < \ell]\bigr) dt + \sigma\,dW

    Each step is half the push and noise, the exact flow of the landscape, and the other half (Strang), so
    it cannot blow up; its error is of the order of the squared step.

    Parameters
    ----------
    push : float
        Force f of the pulse.
    length : float
        How long it lasts, 0 or more.
    times : (T,) array
        Since its beginning, rising.
    members : int
    rng : numpy.random.Generator
    noise : float
        sigma, 0 or more. Members begin in the normal law that fits the bottom of the left valley, of
        variance sigma^2 / 4 about -1.
    step : float
        Of time, above 0.

    Returns
    -------
    (M, T) float64 array

    Raises
    ------
    AkpError
        For an argument out of its range.

    Notes
    -----
    Cost: M members times the steps up to the last time.
    """
    times = check_times(times, rising=True)
    force, noise, step = number("push", push), number("noise", noise, 0.0), number("step", step, 1e-6, 1.0)
    length = number("length", length, 0.0)
    check_rng(rng)
    place = -1 + noise / 2 * rng.standard_normal(whole_number("members", members, 1))
    stops = np.unique(np.concatenate([times, [length] if length < times[-1] else []]))
    found, now = [], 0.0
    for stop in stops:
        count = int(np.ceil((stop - now) / step - 1e-9))
        h = (stop - now) / max(count, 1)
        pull = force if stop <= length else 0.0
        for _ in range(count):
            kicks = np.sqrt(h / 2) * noise * rng.standard_normal((2, len(place))) + pull * h / 2
            place = rolled(place + kicks[0], np.array([h]))[:, 0] + kicks[1]
        now = stop
        if stop in times:
            found.append(place)
    return np.stack(found, axis=1)


class Descent(NamedTuple):
    """What stochastic gradient descent on a parabola comes to."""

    kind: str
    """``converges``: as an Ornstein-Uhlenbeck process; ``forgets``: at once, as if theta were infinite;
    ``alternates``: to a law, but jumping across the minimum, as no such process does; ``diverges``."""
    variance: float
    """Of the weight in the long run; infinite if it diverges."""
    approximation: float
    """What small steps would give: eta s^2 / (2 lambda)."""
    regime: Regime | None
    """The process that it is at whole times; only where it converges."""


def descent(rate: float, curvature: float, noise: float) -> Descent:
    r"""The exact long run of stochastic gradient descent with a fixed step on a parabola.

    .. math:: x_{k+1} = x_k - \eta\,(\lambda x_k + s\,\xi_k), \qquad
              V = \frac{\eta\, s^2}{\lambda\,(2 - \eta\lambda)} \quad (0 < \eta\lambda < 2)

    Parameters
    ----------
    rate : float
        Learning rate eta, above 0.
    curvature : float
        lambda, above 0.
    noise : float
        Standard deviation s of a gradient, above 0.

    Returns
    -------
    Descent

    Raises
    ------
    AkpError
        For an argument that is not above 0.

    References
    ----------
    Mandt, Hoffman and Blei 2017, who model it as an Ornstein-Uhlenbeck process.
    """
    for name, value in (("rate", rate), ("curvature", curvature), ("noise", noise)):
        if not number(name, value) > 0:
            raise expected(f"{name} above 0", repr(value))
    stride = rate * curvature
    near = rate * noise**2 / (2 * curvature)
    if stride >= 2:
        return Descent("diverges", inf, near, None)
    variance = rate * noise**2 / (curvature * (2 - stride))
    if stride >= 1:
        return Descent("alternates" if stride > 1 else "forgets", variance, near, None)
    theta = -log(1 - stride)
    return Descent("converges", variance, near, Regime(theta, 0.0, sqrt(2 * theta * variance)))


def descend(
    rate: float, curvature: float, noise: float, steps: int, members: int, rng: np.random.Generator
) -> Float64[np.ndarray, "M K"]:
    """Run the descent of `descent` from the minimum; columns are the weight after 1, 2, ... steps.

    Parameters
    ----------
    rate, curvature, noise : float
        As for `descent`.
    steps : int
        At least 1.
    members : int
        At least 1.
    rng : numpy.random.Generator

    Returns
    -------
    (M, K) float64 array
        Finite also where it diverges.

    Raises
    ------
    AkpError
        As `descent`, for counts below 1, and for so many steps that the weight overflows.
    """
    descent(rate, curvature, noise)
    shape = (whole_number("members", members, 1), whole_number("steps", steps, 1))
    if steps * log(max(abs(1 - rate * curvature), 1)) > 600:
        raise expected("steps that stay finite", f"{steps} at rate x curvature = {rate * curvature:g}")
    check_rng(rng)
    pushes = rate * noise * rng.standard_normal(shape)
    found, place = np.empty(shape), np.zeros(shape[0])
    for k in range(shape[1]):
        place = (1 - rate * curvature) * place - pushes[:, k]
        found[:, k] = place
    return found
