"""Intervals over members, the replicates, for rates that are searched for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar

from akp_core.dispersion.expanded import expanded_tail
from akp_core.errors import expected, whole_number
from akp_core.similarity.calibration import check_rng
from akp_core.theory.ornstein_uhlenbeck import number

GRID = 121
LEAST_MEMBERS = 4


class Interval(NamedTuple):
    """An estimate with its bootstrap interval over members."""

    value: float
    low: float
    high: float


def check_positions(positions: object, times: int, *, least: int = 2) -> np.ndarray:
    """Return (M, T, d) positions as float64, or say in one line why they are none."""
    held = np.asarray(positions, dtype=np.float64)
    if held.ndim != 3 or held.shape[1] != times or held.shape[2] < 1:
        raise expected(f"positions as members x {times} times x dims", f"shape {held.shape}")
    if times < least:
        raise expected(f"at least {least} times", str(times))
    if len(held) < LEAST_MEMBERS:
        raise expected(f"at least {LEAST_MEMBERS} members", str(len(held)))
    bad = ~np.isfinite(held).all(axis=(1, 2))
    if bad.any():
        raise expected("finite positions", f"members {np.flatnonzero(bad).tolist()}", "drop diverged members")
    if np.ptp(held, axis=1).max() == 0:
        raise expected("positions that change over time", "ones that never do")
    return held


def member_counts(members: int, draws: int, level: float, rng: np.random.Generator) -> np.ndarray:
    """How often each member is taken: once each in the first row, then by chance."""
    draws = whole_number("draws", draws, 99)
    if not 0 < number("level", level, 0.0, 1.0) < 1:
        raise expected("level between 0 and 1", repr(level))
    check_rng(rng)
    drawn = rng.multinomial(members, np.full(members, 1 / members), size=draws)
    return np.concatenate([np.ones((1, members)), drawn])


def rates(gaps: np.ndarray, span: float) -> np.ndarray:
    """Rates from growth by e^5 over the whole span to forgetting all but e^-5 in the shortest step."""
    low, high = np.arcsinh(-5.0), np.arcsinh(5 / float(gaps.min()) * span)
    return np.sinh(np.linspace(low, high, GRID)) / span


def least(loss: Callable[[np.ndarray], np.ndarray], grid: np.ndarray) -> tuple[float, bool]:
    """Where a loss is least, and whether that is the upper end of the grid."""
    best = int(np.argmin(loss(grid)))
    around = (grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)])
    found = minimize_scalar(lambda r: loss(np.array([r]))[0], bounds=around, method="bounded")
    return float(found.x), best == len(grid) - 1


def tails(draws: np.ndarray, members: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Percentiles along the first axis that are values drawn, so that infinite ones do no harm."""
    share = expanded_tail(members, level)
    low = np.quantile(draws, share, axis=0, method="inverted_cdf")
    return low, np.quantile(draws, 1 - share, axis=0, method="inverted_cdf")


def interval(draws: np.ndarray, members: int, level: float) -> Interval:
    """The first draw, which takes each member once, with the percentiles of the others."""
    low, high = tails(draws[1:], members, level)
    return Interval(float(draws[0]), float(low), float(high))
