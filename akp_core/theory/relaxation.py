r"""How fast a quantity settles, such as the squared distance of members to their centroid after a pulse."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from akp_core.theory.member_bootstrap import Interval, check_positions, interval, least, member_counts, rates
from akp_core.theory.ornstein_uhlenbeck import check_times, number


class Relaxation(NamedTuple):
    """How a quantity settles: level + change * exp(-rate t), each with its interval over members."""

    rate: Interval
    level: Interval
    change: Interval


def relaxation(
    times: Float[np.ndarray, " T"],
    values: Float[np.ndarray, "M T"],
    *,
    settled: float | None = None,
    level: float = 0.05,
    draws: int = 499,
    rng: np.random.Generator,
) -> Relaxation:
    r"""Least squares of an exponential approach to the mean over members.

    .. math:: \bar y(t) = y_\infty + (y_0 - y_\infty)\, e^{-r (t - t_0)}

    For squared distances to the family's centroid, or their excess over the control's, r is 2 theta; for
    displacements of the family r is theta.

    Parameters
    ----------
    times : (T,) array
        At least three, rising; their first is t_0.
    values : (M, T) array
        One number for each of at least 4 members and each time.
    settled : float or None
        The level it settles at, where that is known, such as 0 for an excess over the control; None to
        estimate it.
    level, draws, rng
        As for `fit`.

    Returns
    -------
    Relaxation
        The rate is infinite where all happens within the first step. Where nothing happens every rate
        fits, and its interval says so.

    Raises
    ------
    AkpError
        For shapes that do not fit, values that are not finite, too few members or times.

    Notes
    -----
    Invariances: unit of the values. Cost: T^2 a draw.
    """
    times = check_times(times, rising=True)
    held = check_positions(np.asarray(values)[..., None], len(times), least=3)[..., 0]
    counts = member_counts(len(held), draws, level, rng)
    fixed = None if settled is None else number("settled", settled)
    since = times - times[0]
    grid = rates(np.diff(times), since[-1])
    grid = grid[grid > 0]

    def shape(tried: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Level, change and residual of each rate."""
        decay = np.exp(-tried[:, None] * since)
        if fixed is None:
            rel, own = decay - decay.mean(axis=1, keepdims=True), mean - mean.mean()
        else:
            rel, own = decay, mean - fixed
        change = (rel @ own) / np.maximum((rel**2).sum(axis=1), 1e-300)
        base = mean.mean() - change * decay.mean(axis=1) if fixed is None else np.full(len(tried), fixed)
        return base, change, ((own - change[:, None] * rel) ** 2).sum(axis=1)

    def residual(mean: np.ndarray, tried: np.ndarray) -> np.ndarray:
        return shape(tried, mean)[2]

    found = []
    for weights in counts:
        mean = weights @ held / len(held)
        rate, at_end = least(partial(residual, mean), grid)
        base, change, _ = shape(np.array([rate]), mean)
        found.append((np.inf if at_end else rate, base[0], change[0]))
    return Relaxation(*(interval(np.array(column), len(held), level) for column in zip(*found, strict=True)))
