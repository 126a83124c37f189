"""Displacements drawn by a known law, to hold the formulas of `akp_core.theory.directions` to.

Shares, dimensions and spectra are chosen; cosines and the own-way index are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.distance import cdist

from akp_core.dispersion import own_way
from akp_core.errors import expected, whole_number
from akp_core.theory.directions import cosine_law, mean_cosine


def _spectrum(variances: Sequence[float]) -> Float64[np.ndarray, " d"]:
    found = np.asarray(variances, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0 or not (found > 0).all() or not np.isfinite(found).all():
        raise expected("variances above 0, one a direction", repr(variances)[:60])
    return found


def drawn_cosines(
    variances: Sequence[float],
    members: int,
    repeats: int,
    rng: np.random.Generator,
    *,
    happy: int = 0,
) -> Float64[np.ndarray, " r"]:
    r"""Mean cosine of n Gaussian models' displacements from a centroid, when nothing is shared.

    Parameters
    ----------
    variances : sequence of float
        Of the models along each direction.
    members : int
        n, at least 2; with 2 the mean cosine is the cosine.
    repeats : int
    rng : numpy.random.Generator
    happy : int
        Models of the same law whose mean is the centroid; 0 for the true centroid.

    Returns
    -------
    (repeats,) float64
        In [-1/(n-1), 1].

    Raises
    ------
    AkpError
        For an argument out of range.
    """
    root = np.sqrt(_spectrum(variances))
    n, happy = whole_number("members", members, 2), whole_number("happy", happy, 0)
    found = np.empty(whole_number("repeats", repeats, 1))
    for k in range(len(found)):
        models = rng.standard_normal((n, len(root))) * root
        if happy:
            models -= rng.standard_normal((happy, len(root))).mean(axis=0) * root
        found[k] = mean_cosine(models)
    return found


def isotropic_quantile(
    members: int, dimension: int, level: float, draws: int, rng: np.random.Generator
) -> float:
    """The mean cosine that n isotropic random directions exceed with probability `level`, by simulation.

    Parameters
    ----------
    members, dimension : int
    level : float
        In (0, 1).
    draws : int
        At least 100.
    rng : numpy.random.Generator

    Returns
    -------
    float
    """
    if not 0 < level < 1:
        raise expected("level in (0, 1)", repr(level))
    whole_number("draws", draws, 100)
    dimension = whole_number("dimension", dimension, 2)
    return float(np.quantile(drawn_cosines([1.0] * dimension, members, draws, rng), 1 - level))


def families(
    share: float, dimension: int, members: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, "m d"], np.ndarray]:
    r"""Draw a happy family and an unhappy one of which a share S / T of the squared displacement is shared.

    Happy models have total variance 1; unhappy ones T = 4 in all, so that they moved farther than happy
    models stray.

    Parameters
    ----------
    share : float
        In [0, 1).
    dimension : int
    members : int
        Of each family.
    rng : numpy.random.Generator

    Returns
    -------
    points : (2 members, dimension) float64
    unhappy : (2 members,) bool
    """
    if not 0 <= share < 1:
        raise expected("a share in [0, 1)", repr(share))
    d = whole_number("dimension", dimension, 2)
    happy = rng.standard_normal((members, d)) / np.sqrt(d)
    away = rng.standard_normal((members, d)) * np.sqrt(4 * (1 - share) / d)
    away[:, 0] += np.sqrt(4 * share)
    return np.concatenate([happy, away]), np.arange(2 * members) >= members


def cosine_histograms(
    shares: Sequence[float],
    dimensions: Sequence[int],
    members: int,
    rng: np.random.Generator,
    *,
    bins: int = 40,
) -> list[dict[str, Any]]:
    """Count the cosines of one drawn study for every share and dimension, beside their law if random.

    Parameters
    ----------
    shares : sequence of float
        Of the squared displacement that is shared.
    dimensions : sequence of int
    members : int
        Of each family, at least 4.
    rng : numpy.random.Generator
    bins : int

    Returns
    -------
    list of dict
        One row a bin: ``shared``, ``dimension``, ``cosine`` (its middle), ``left``, ``right``, ``part`` (of
        the cosines), ``law`` (what the isotropic law expects), and of the study ``index``, ``low``,
        ``high``, ``verdict``.
    """
    edges, rows = np.linspace(-1, 1, whole_number("bins", bins, 4) + 1), []
    for d in dimensions:
        law = np.diff(cosine_law(d).cdf(edges))
        for share in shares:
            points, unhappy = families(share, d, members, rng)
            found = own_way(cdist(points, points), unhappy, sphere=False, rotations=999, rng=rng)
            cosines = found.cosines[np.triu_indices(len(found.cosines), 1)]
            part = np.histogram(cosines, edges)[0] / len(cosines)
            about = {
                "shared": float(share),
                "dimension": int(d),
                "index": found.index,
                "low": found.interval[0],
                "high": found.interval[1],
                "verdict": found.verdict,
            }
            rows += [
                {
                    **about,
                    "cosine": (a + b) / 2,
                    "left": a,
                    "right": b,
                    "part": float(p),
                    "law": float(e),
                }
                for a, b, p, e in zip(edges[:-1], edges[1:], part, law, strict=True)
            ]
    return rows


def index_coverage(
    share: float, dimension: int, members: int, studies: int, rng: np.random.Generator
) -> tuple[Float64[np.ndarray, " s"], int]:
    """Own-way index of drawn studies, and how many of their intervals hold the true 1 - share.

    Parameters
    ----------
    share, dimension, members, rng
        As for `families`.
    studies : int

    Returns
    -------
    indices : (studies,) float64
    held : int
    """
    found, held = [], 0
    for _ in range(whole_number("studies", studies, 1)):
        points, unhappy = families(share, dimension, members, rng)
        one = own_way(cdist(points, points), unhappy, sphere=False, rotations=99, rng=rng)
        found.append(one.index)
        held += one.interval[0] <= 1 - share <= one.interval[1]
    return np.array(found), held


def bent(
    distance: Float[np.ndarray, " t"], members: int, directions: int, rng: np.random.Generator
) -> Float64[np.ndarray, " t"]:
    """Mean cosine of displacements from the pole of a sphere, in independent random tangent directions.

    Parameters
    ----------
    distance : (t,) float array
        Chordal distances of all models from the pole, in (0, sqrt 2].
    members, directions : int
        Models, and dimensions of the tangent space.
    rng : numpy.random.Generator

    Returns
    -------
    (t,) float64
    """
    found = []
    for d in np.asarray(distance, dtype=np.float64):
        if not 0 < d <= np.sqrt(2) + 1e-12:
            raise expected("chordal distances in (0, √2]", f"{d:g}")
        tangent = rng.standard_normal((whole_number("members", members, 2), directions))
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        cosine = 1 - d**2 / 2
        found.append(
            mean_cosine(np.column_stack([np.full(members, cosine - 1), tangent * np.sqrt(1 - cosine**2)]))
        )
    return np.array(found)
