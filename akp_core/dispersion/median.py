"""The spatial median: the centre that one far member does not drag along."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from scipy.spatial.distance import cdist

from akp_core.errors import expected

_ROUND_OFF = 1e-12
_STEP, _STEPS = 1e-10, 500
"""The median has converged when Newton's step is below this share of the family's extent."""
_FLAT = 1e-8
"""Points are on a line to round-off of their distances when this much longer than wide."""
_SAME = 1e-9
"""Points nearer to each other, relative to the family's extent, are one point."""
_LEVEL = 1e-15
"""Relative change of a sum of distances that is none."""


def spatial_median(points: Float64[np.ndarray, "n a"]) -> Float64[np.ndarray, " a"]:
    r"""The point with the least sum of distances to given points.

    .. math:: \min_c \sum_i \|x_i - c\|

    Of the given points only the one of least sum can be the median, and it is where the others pull no
    harder than it weighs (Vardi and Zhang 2000). Otherwise it starts a descent by Newton's steps, each
    replaced by Weiszfeld's where that goes lower. On a line, also one to round-off, the median is the
    usual one.

    Raises
    ------
    AkpError
        If the descent does not converge.
    """
    mean = points.mean(axis=0)
    left, singular, axes = np.linalg.svd(points - mean, full_matrices=False)
    kept = singular > _FLAT * singular.max(initial=0.0)
    if not kept.any():
        return np.asarray(points[0])
    x = left[:, kept] * singular[kept]
    if x.shape[1] == 1:
        order, n = np.argsort(x[:, 0], kind="stable"), len(x)
        return np.asarray((points[order[(n - 1) // 2]] + points[order[n // 2]]) / 2)
    extent = float(np.abs(x).max())
    x /= extent
    nearest = int(cdist(x, x).sum(axis=1).argmin())
    away = np.linalg.norm(x - x[nearest], axis=1)
    others = away > _SAME
    pull = ((x[others] - x[nearest]) / away[others, None]).sum(axis=0)
    strength, here = float(np.linalg.norm(pull)), len(x) - int(others.sum())
    if strength <= here * (1 + _ROUND_OFF):
        return np.asarray(points[nearest])
    start = x[nearest] + pull * (1 - here / strength) / (1 / away[others]).sum()
    found: Float64[np.ndarray, " a"] = mean + extent * (_descend(x, start) @ axes[kept])
    return found


def _pull(
    x: Float64[np.ndarray, "n a"], at: Float64[np.ndarray, " a"]
) -> tuple[Float64[np.ndarray, " a"], Float64[np.ndarray, "n a"], Float64[np.ndarray, " n"]]:
    """Sum of the unit vectors from a place to the points, those vectors, and the distances."""
    away = np.maximum(np.linalg.norm(x - at, axis=1), np.finfo(float).tiny)
    unit = (x - at) / away[:, None]
    return unit.sum(axis=0), unit, away


def _descend(x: Float64[np.ndarray, "n a"], centre: Float64[np.ndarray, " a"]) -> Float64[np.ndarray, " a"]:
    """Minimise the sum of distances to points of extent 1, not on a line, from below the sum at each."""

    def total(at: Float64[np.ndarray, " a"]) -> float:
        return float(np.linalg.norm(x - at, axis=1).sum())

    for _ in range(_STEPS):
        pull, unit, away = _pull(x, centre)
        weight = float((1 / away).sum())
        curvature = weight * np.eye(len(centre)) - (unit / away[:, None]).T @ unit
        try:
            newton = np.linalg.solve(curvature, pull)
        except np.linalg.LinAlgError:
            newton = pull / weight
        if np.linalg.norm(newton) <= _STEP:
            return centre + newton
        reached = total(centre)
        steps = (pull / weight, *(newton / 4**k for k in range(12)))
        best = min(steps, key=lambda step: total(centre + step))
        if total(centre + best) >= reached * (1 - _LEVEL):  # at round-off only the pull can tell
            if total(centre + newton) <= reached * (1 + _LEVEL) and (
                np.linalg.norm(_pull(x, centre + newton)[0]) < np.linalg.norm(pull)
            ):
                best = newton
            elif pull @ newton <= _ROUND_OFF * reached:
                return centre
        centre = centre + best
    raise expected(
        "a spatial median that can be found", f"none after {_STEPS} steps", "use centre='centroid'"
    )
