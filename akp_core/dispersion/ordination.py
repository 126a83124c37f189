r"""Distances of the members of a family to its centre, and what each member adds to their mean square.

Principal coordinates embed any distances; one that is not Euclidean has axes with negative eigenvalues, along
which squares count negatively (Anderson 2006). For centroids the difference

.. math:: \delta^2_{i+} - \delta^2_{i-} = \tfrac1n \sum_j d_{ij}^2 - \tfrac1{2n^2} \sum_{jk} d_{jk}^2

needs no axis. Spatial medians, and a limited number of axes, need the coordinates.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float64
from scipy import linalg
from scipy.spatial.distance import cdist

from akp_core.dispersion.contributions import pseudo_values
from akp_core.dispersion.geometry import about_centroid
from akp_core.dispersion.median import spatial_median

Centre = Literal["centroid", "median"]
Parts: TypeAlias = tuple[Float64[np.ndarray, "n a"], Float64[np.ndarray, "n b"]]

_ROUND_OFF = 1e-12


def coordinates(
    squared: Float64[np.ndarray, "n n"], axes: int | None
) -> tuple[Float64[np.ndarray, "n a"], Float64[np.ndarray, "n b"]]:
    """Principal coordinates: along positive eigenvalues, and (all axes only) along negative ones."""
    n = len(squared)
    rows = squared.mean(axis=1)
    gram = (rows[:, None] + rows[None, :] - squared - rows.mean()) / 2
    keep = None if axes is None else (n - axes, n - 1)
    values, vectors = linalg.eigh((gram + gram.T) / 2, subset_by_index=keep)
    if axes is not None:
        return vectors * np.sqrt(np.maximum(values, 0)), np.empty((n, 0))
    real, imaginary = (sign * values > _ROUND_OFF * np.abs(values).max() for sign in (1, -1))
    return vectors[:, real] * np.sqrt(values[real]), vectors[:, imaginary] * np.sqrt(-values[imaginary])


def seen_along(squared: Float64[np.ndarray, "n n"], parts: Parts | None) -> Float64[np.ndarray, "n n"]:
    """Squared distances in one family as its coordinates have them: unchanged where there are none."""
    if parts is None:
        return squared
    real, imaginary = (cdist(part, part, "sqeuclidean") for part in parts)
    return np.asarray(real - imaginary)


def _signed(parts: Parts, centre: Centre) -> Float64[np.ndarray, " n"]:
    """Squared distance of each member of one family to its centre, along real less imaginary axes."""
    find = spatial_median if centre == "median" else lambda points: points.mean(axis=0)
    real, imaginary = (np.square(part - find(part)).sum(axis=1) for part in parts)
    return np.asarray(real - imaginary)


def to_centre(
    squared: Float64[np.ndarray, "n n"], parts: Parts | None, centre: Centre
) -> Float64[np.ndarray, " n"]:
    """Distance of each member of one family to its centre."""
    return np.sqrt(np.abs(about_centroid(squared) if parts is None else _signed(parts, centre)))


def contributions_to(
    squared: Float64[np.ndarray, "n n"], parts: Parts | None, centre: Centre
) -> Float64[np.ndarray, " n"]:
    """Jackknife pseudo-values of the sum of squared distances to the centre over n - 1; n is 3 or more."""
    if centre == "centroid":
        return pseudo_values(seen_along(squared, parts))
    assert parts is not None
    n = len(squared)
    others = ([np.delete(part, i, axis=0) for part in parts] for i in range(n))
    left = np.array([_signed((a, b), centre).sum() / (n - 2) for a, b in others])
    return np.asarray(n * _signed(parts, centre).sum() / (n - 1) - (n - 1) * left)
