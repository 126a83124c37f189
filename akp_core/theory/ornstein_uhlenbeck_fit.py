r"""Fit theta, mu and sigma to families that were watched at a few times, with intervals over members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import exprel

from akp_core.theory.member_bootstrap import (
    Interval,
    check_positions,
    interval,
    least,
    member_counts,
    rates,
    tails,
)
from akp_core.theory.ornstein_uhlenbeck import check_times


@dataclass(frozen=True)
class Fit:
    """What `fit` found.

    Attributes
    ----------
    theta : Interval
        Rate of return, per unit of the times given. Below 0: the family is driven apart. Infinite where
        the times are too far apart to tell: one step forgets all.
    sigma : Interval
        Noise, per root of a unit of time; infinite where theta is.
    variance : Interval
        Stationary variance of a coordinate, sigma^2 / (2 theta), which is told even where theta is not;
        infinite where nothing pulls back.
    mu : (d,) float64 array
        The centre; infinite or far away where theta is near 0, as nothing then pulls to it.
    mu_low, mu_high : (d,) float64 arrays
        Its interval, coordinate by coordinate.
    members, steps, dims : int
        What it was made of.
    """

    theta: Interval
    sigma: Interval
    variance: Interval
    mu: Float64[np.ndarray, " d"]
    mu_low: Float64[np.ndarray, " d"]
    mu_high: Float64[np.ndarray, " d"]
    members: int
    steps: int
    dims: int


def fit(
    times: Float[np.ndarray, " T"],
    positions: Float[np.ndarray, "M T d"],
    *,
    level: float = 0.05,
    draws: int = 499,
    rng: np.random.Generator,
) -> Fit:
    r"""Maximum likelihood of one theta, one sigma and a centre mu, given each member's first position.

    .. math:: X_{k+1} \sim N\bigl(\mu + e^{-\theta \Delta_k}(X_k - \mu),\; \sigma^2 g_k I\bigr), \qquad
              g_k = \frac{1 - e^{-2\theta \Delta_k}}{2\theta}

    Given theta, mu is a weighted mean and sigma^2 a weighted mean square, so only theta is searched for.

    Parameters
    ----------
    times : (T,) array
        At least two, rising; any unit, unequal steps allowed.
    positions : (M, T, d) array
        Where each of M members, at least 4, was: coordinates in which Euclidean distance means something,
        such as normalised centred Gram matrices or principal coordinates of the distances between all
        members at all times. One regime only: cut the series where a stress begins or ends.
    level : float
        The intervals have confidence 1 - level.
    draws : int
        Times that members are drawn with replacement, at least 99.
    rng : numpy.random.Generator

    Returns
    -------
    Fit

    Raises
    ------
    AkpError
        For shapes that do not fit, positions that are not finite (drop diverged members first), fewer than
        4 members, or positions that never change.

    Notes
    -----
    Invariances: rotation, shift and scale of the positions (mu and sigma follow); coordinates that are
    always 0 leave theta as it is. Intervals are percentiles of the bootstrap, widened as Hesterberg
    advises for few members. Cost: M T d, and T^2 a draw.

    References
    ----------
    Uhlenbeck and Ornstein 1930 (the transition); Hesterberg 2015 (the widening).
    """
    times = check_times(times, rising=True)
    held = check_positions(positions, len(times))
    rng_draws = member_counts(len(held), draws, level, rng)
    members, steps, dims = len(held), len(times) - 1, held.shape[2]
    gaps = np.diff(times)
    # Near the first position digits are kept, and theta does not depend on where zero is.
    origin = held.mean(axis=(0, 1))
    held = held - origin
    before, after = held[:, :-1], held[:, 1:]
    products = [np.einsum("mkd,mkd->mk", *two) for two in ((after, after), (before, after), (before, before))]
    grid = rates(gaps, times[-1] - times[0])
    found = []
    for weights in rng_draws:
        sums = [weights @ product for product in products]
        flows = np.concatenate([np.tensordot(weights, part, 1) for part in (after, before)])
        found.append(_profile(gaps, sums, flows, members, dims, grid))
    thetas, sigmas, variances, centres = (np.array(column) for column in zip(*found, strict=True))
    low, high = tails(centres[1:], members, level)
    theta, sigma, variance = (interval(column, members, level) for column in (thetas, sigmas, variances))
    return Fit(
        theta=theta,
        sigma=sigma,
        variance=variance,
        mu=centres[0] + origin,
        mu_low=low + origin,
        mu_high=high + origin,
        members=members,
        steps=steps,
        dims=dims,
    )


def _profile(
    gaps: np.ndarray,
    sums: list[np.ndarray],
    flows: np.ndarray,
    members: int,
    dims: int,
    grid: np.ndarray,
) -> tuple[float, float, float, np.ndarray]:
    """The best theta of one draw of members, with the sigma, variance and centre that go with it."""
    gram, steps = flows @ flows.T, len(gaps)
    count = members * steps * dims

    def parts(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Residual sum of squares, gain of noise, and what makes the centre, for each theta."""
        lag = theta[:, None] * gaps
        keep, gain, pull = np.exp(-lag), gaps * exprel(-2 * lag), gaps * exprel(-lag)
        own = ((sums[0] - 2 * keep * sums[1] + keep**2 * sums[2]) / gain).sum(axis=1)
        weight = pull / gain
        mix = np.concatenate([weight, -weight * keep], axis=1)
        total = members * (pull * weight).sum(axis=1)
        rest = own - np.einsum("gi,ij,gj->g", mix, gram, mix) / total
        return np.maximum(rest, 0.0), gain, mix, total

    def loss(theta: np.ndarray) -> np.ndarray:
        rest, gain, _, _ = parts(theta)
        return count * np.log(np.maximum(rest, 1e-300)) + members * dims * np.log(gain).sum(axis=1)

    theta, at_end = least(loss, grid)
    rest, _, mix, total = (value[0] for value in parts(np.array([theta])))
    noise = rest / max(count - dims, 1)
    far = np.full(flows.shape[1], np.inf)
    centre = mix @ flows / total / theta if theta != 0 else far
    variance = noise / (2 * theta) if theta > 0 else np.inf
    if at_end:
        return np.inf, np.inf, float(variance), centre
    return theta, float(np.sqrt(noise)), float(variance), centre
