r"""A family of networks as a cloud of Ornstein-Uhlenbeck walkers, and a stress as a change of its law.

Every coordinate of every member follows :math:`dX = -\theta (X - \mu)\,dt + \sigma\,dW`. A stress at time 0
shifts :math:`\mu`, weakens (or strengthens) the return :math:`\theta`, or changes the noise :math:`\sigma`,
for good (a press) or until ``end`` (a pulse). Nothing here is stepped by Euler: laws and draws are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy.special import exprel

from akp_core.errors import expected, whole_number
from akp_core.similarity.calibration import check_rng

Times = Float64[np.ndarray, " T"]


def number(name: str, value: object, low: float = -inf, high: float = inf) -> float:
    """Return a finite number within bounds, or say in one line why it is none."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        span = "" if (low, high) == (-inf, inf) else f" from {low:g} to {high:g}"
        raise expected(f"{name} as a finite number{span}", repr(value))
    return float(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Regime:
    r"""The three constants of :math:`dX = -\theta (X - \mu)\,dt + \sigma\,dW`.

    Attributes
    ----------
    theta : float
        Rate of return. 0: none (Brownian motion). Negative: the centre repels.
    mu : float
        Place of the centre along the first coordinate; it is 0 along all others, which loses nothing, as
        two centres lie on a line.
    sigma : float
        Strength of the noise, 0 or more, the same in every coordinate.

    Raises
    ------
    AkpError
        For a value that is not finite, or a negative sigma.
    """

    theta: float = 1.0
    mu: float = 0.0
    sigma: float = 1.0

    def __post_init__(self) -> None:
        number("theta", self.theta)
        number("mu", self.mu)
        number("sigma", self.sigma, 0.0)

    @property
    def stationary(self) -> float:
        r"""Long-run variance of a coordinate, :math:`\sigma^2 / (2\theta)`; infinite without return."""
        if self.theta > 0:
            return self.sigma**2 / (2 * self.theta)
        return 0.0 if self.theta == 0 and self.sigma == 0 else inf


class Law(NamedTuple):
    """Means, variances and covariance of a coordinate of two twins, each a (T,) float64 array.

    ``control`` and ``stressed`` are places along the first coordinate; the variances and the covariance
    hold for every coordinate.
    """

    times: Times
    control: Times
    stressed: Times
    control_variance: Times
    stressed_variance: Times
    covariance: Times

    @property
    def effect(self) -> Times:
        r"""Log ratio of the dispersions, :math:`\tfrac12 \log (V_s / V_c)`."""
        with np.errstate(divide="ignore"):
            return 0.5 * np.log(self.stressed_variance / self.control_variance)

    @property
    def correlation(self) -> Times:
        """Correlation of a coordinate of two twins."""
        return self.covariance / np.sqrt(self.control_variance * self.stressed_variance)

    @property
    def paired_variance(self) -> Times:
        """Variance of a coordinate of the difference of two twins."""
        return self.control_variance + self.stressed_variance - 2 * self.covariance


@dataclass(frozen=True)
class Scenario:
    """Twins that are one walker until time 0, when one of them meets a stress.

    Attributes
    ----------
    control : Regime
        Of the control at all times, and of the stressed twin after the stress; its theta and sigma are
        above 0.
    stressed : Regime
        Of the stressed twin from time 0 to ``end``.
    end : float
        When the stress is undone: infinite for a press, above 0.
    shared : float
        Correlation of the twins' noise after the fork, from -1 to 1: 0 for twins that go on alone, 1 for
        twins that go on to see the same batches.
    variance : float or None
        Variance of a coordinate at the fork; None for the control's stationary one.
    location : float or None
        Mean of the first coordinate at the fork; None for the control's centre.

    Raises
    ------
    AkpError
        For a control without a stationary law, or a value out of its range.
    """

    control: Regime
    stressed: Regime
    end: float = inf
    shared: float = 0.0
    variance: float | None = None
    location: float | None = None

    def __post_init__(self) -> None:
        if not self.control.theta > 0 or not self.control.sigma > 0:
            raise expected("a control with theta and sigma above 0", repr(self.control))
        if self.end != inf and not number("end", self.end) > 0:
            raise expected("end of the stress above 0", repr(self.end))
        number("shared", self.shared, -1.0, 1.0)
        if self.variance is not None and not number("variance at the fork", self.variance) > 0:
            raise expected("variance at the fork above 0", repr(self.variance))
        if self.location is not None:
            number("location at the fork", self.location)

    def law(self, times: Times) -> Law:
        r"""The exact law of both twins at each time.

        .. math:: m(t + h) = \mu + e^{-\theta h}(m(t) - \mu), \qquad
                  V(t + h) = e^{-2\theta h} V(t) + \sigma^2 \frac{1 - e^{-2\theta h}}{2\theta}

        .. math:: C(t + h) = e^{-(\theta_c + \theta_s) h} C(t)
                  + \varrho\,\sigma_c \sigma_s \frac{1 - e^{-(\theta_c + \theta_s) h}}{\theta_c + \theta_s}

        Parameters
        ----------
        times : (T,) array
            Since the fork, each at least 0.

        Returns
        -------
        Law

        Raises
        ------
        AkpError
            For times that are negative, or so late that an unstable stress overflows.

        Notes
        -----
        Cost: T operations.

        References
        ----------
        Uhlenbeck and Ornstein 1930.
        """
        times = check_times(times)
        start = self.control.mu if self.location is None else self.location
        spread = self.control.stationary if self.variance is None else self.variance
        state = tuple(np.full(len(times), value, dtype=np.float64) for value in (start, start, *[spread] * 3))
        during = np.minimum(times, self.end)
        with np.errstate(over="ignore", invalid="ignore"):
            state = self._advance(state, during, self.stressed)
            state = self._advance(state, times - during, self.control)
        if not all(np.isfinite(values).all() for values in state):
            raise expected("times at which the law is finite", f"up to {times.max():g}", "end them sooner")
        return Law(times, *state)

    def draw(
        self, times: Times, members: int, dims: int, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, "M T d"], Float64[np.ndarray, "M T d"]]:
        """Draw both families by exact Gaussian transitions, twins together.

        Parameters
        ----------
        times : (T,) array
            Since the fork, at least 0, each above the one before.
        members : int
            Twins M, at least 1.
        dims : int
            Coordinates d, at least 1.
        rng : numpy.random.Generator

        Returns
        -------
        control, stressed : (M, T, d) float64 arrays

        Raises
        ------
        AkpError
            As `law`; for times that do not rise, and for members or dims below 1.

        Notes
        -----
        Exact at any spacing of the times. Cost: M T d normal deviates for each family.
        """
        times = check_times(times, rising=True)
        self.law(times)
        shape = (whole_number("members", members, 1), whole_number("dims", dims, 1))
        check_rng(rng)
        start = self.control.mu if self.location is None else self.location
        spread = self.control.stationary if self.variance is None else self.variance
        mean = np.zeros(shape[1])
        mean[0] = start
        control = stressed = mean + np.sqrt(spread) * rng.standard_normal(shape)
        stops = np.unique(np.concatenate([times, [self.end] if self.end < times[-1] else []]))
        found, now = [], 0.0
        for stop in stops:
            regime = self.stressed if stop <= self.end else self.control
            control, stressed = self._step(control, stressed, stop - now, regime, rng)
            now = stop
            if stop in times:
                found.append((control, stressed))
        first, second = (np.stack(column, axis=1) for column in zip(*found, strict=True))
        return first, second

    def _step(
        self, control: np.ndarray, stressed: np.ndarray, h: float, regime: Regime, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Advance positions by h, with the joint noise of the twins."""
        lag, axis = np.array([h]), np.zeros(control.shape[1])
        axis[0] = 1
        zeros = tuple(np.zeros(1) for _ in range(5))
        moved, pushed, own, other, both = (float(v[0]) for v in self._advance(zeros, lag, regime))
        z = rng.standard_normal((2, *control.shape))
        tied = both / np.sqrt(own) if own > 0 else 0.0
        # Twins that share all noise leave a rest of round-off, whose root would be 1e-8.
        rest = other - tied**2
        noise = tied * z[0] + np.sqrt(rest if rest > 1e-12 * other else 0.0) * z[1]
        first = np.exp(-self.control.theta * h) * control + moved * axis + np.sqrt(own) * z[0]
        return first, np.exp(-regime.theta * h) * stressed + pushed * axis + noise

    def _advance(self, state: tuple[np.ndarray, ...], h: Times, regime: Regime) -> tuple[np.ndarray, ...]:
        """Means, variances and covariance after a stretch h in which the stressed twin is in a regime."""
        found = []
        for place, own in zip(state[:2], (self.control, regime), strict=True):
            found.append(np.exp(-own.theta * h) * place - own.mu * np.expm1(-own.theta * h))
        pairs = (
            (self.control, self.control, 1.0),
            (regime, regime, 1.0),
            (self.control, regime, self.shared),
        )
        for value, (one, two, tied) in zip(state[2:], pairs, strict=True):
            rate = one.theta + two.theta
            noise = tied * one.sigma * two.sigma * h * exprel(-rate * h)
            found.append(np.exp(-rate * h) * value + noise)
        return tuple(found)


def check_times(times: object, *, rising: bool = False) -> Times:
    """Return times since the fork as a float64 array, or say in one line why they are none."""
    found = np.atleast_1d(np.asarray(times, dtype=np.float64))
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or (found < 0).any():
        raise expected("finite times of at least 0 in one row", f"{times!r:.60}")
    if rising and (np.diff(found) <= 0).any():
        raise expected("times that rise", f"{times!r:.60}", "sort them and drop repeats")
    return found
