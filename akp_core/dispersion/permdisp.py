r"""PERMDISP, the field's usual test of dispersion: are distances to the own centre equal on average?

Anderson (2006) embeds the distances by principal coordinates (PCoA), takes each member's distance to the
centre of its own family and compares the families by analysis of variance. A distance that is not Euclidean
has axes with negative eigenvalues, along which squares count negatively:
:math:`z_i = \sqrt{|\delta^2_{i+} - \delta^2_{i-}|}`. For centroids that difference is

.. math:: \delta^2_{i+} - \delta^2_{i-} = \tfrac1n \sum_j d_{ij}^2 - \tfrac1{2n^2} \sum_{jk} d_{jk}^2 ,

so no axis need be computed. Spatial medians, and a limited number of axes, need the coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Int64, Shaped
from scipy import linalg

from akp_core.dispersion.geometry import (
    Array,
    about_centroid,
    check_resampling,
    family_codes,
    squared_distances,
)
from akp_core.errors import expected, unknown_name, whole_number

Centre = Literal["centroid", "median"]

_BATCH_ENTRIES = 4_000_000
_ROUND_OFF = 1e-12
_STEP, _STEPS = 1e-11, 10_000
"""The median has converged when it moves by less than this share of the family's extent."""


@dataclass(frozen=True)
class PermDisp:
    """What the test found.

    Attributes
    ----------
    f : float
        Between-family over within-family mean square of the members' distances to their own centre; about
        1 without a difference, infinite where they differ between families but not within, 0 where all
        are equal.
    p_value : float
        One-sided (large F), by permutation of those distances.
    distances : (M,) float64 array
        Of every model to the centre of its own family, in the unit of the distances and without the
        small-sample factor of `distance_to_centroid`; NaN for a model without a representation.
    members : int
        How many models were used.
    excluded : int
        How many had no representation.
    axes : int or None
        How many principal coordinates were kept; None for all, the negative ones included.
    """

    f: float
    p_value: float
    distances: Float64[np.ndarray, " M"]
    members: int
    excluded: int
    axes: int | None


def _coordinates(
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


def spatial_median(points: Float64[np.ndarray, "n a"]) -> Float64[np.ndarray, " a"]:
    """The point with the least sum of distances to given points.

    Weiszfeld's iteration with the correction of Vardi and Zhang (2000) for an iterate on top of a point,
    started from the mean.
    """
    centre = points.mean(axis=0)
    extent = float(np.sqrt(np.square(points - centre).sum(axis=1).max(initial=0.0)))
    for _ in range(_STEPS):
        away = np.sqrt(np.square(points - centre).sum(axis=1))
        apart = away > _STEP * extent
        if not apart.any():
            break
        weights = 1 / away[apart]
        target = weights @ points[apart] / weights.sum()
        pull = float(np.linalg.norm((target - centre) * weights.sum()))
        here = len(points) - int(apart.sum())
        stay = min(1.0, here / pull) if pull > 0 else 1.0
        step = (1 - stay) * (target - centre)
        centre = centre + step
        if np.linalg.norm(step) <= _STEP * extent:
            break
    return centre


def _to_centre(
    squared: Float64[np.ndarray, "n n"], codes: Int64[np.ndarray, " n"], centre: Centre, axes: int | None
) -> Float64[np.ndarray, " n"]:
    """Distance of every member to the centre of its own family (z above)."""
    result = np.empty(len(squared))
    parts = () if centre == "centroid" and axes is None else _coordinates(squared, axes)
    find = spatial_median if centre == "median" else lambda points: points.mean(axis=0)
    for code in range(codes.max() + 1):
        inside = np.flatnonzero(codes == code)
        if parts:
            real, imaginary = (np.square(part[inside] - find(part[inside])).sum(axis=1) for part in parts)
            signed = real - imaginary
        else:
            signed = about_centroid(squared[np.ix_(inside, inside)])
        result[inside] = np.sqrt(np.abs(signed))
    return result


def permdisp(
    distances: Float[Array, "M M"],
    families: Shaped[Array, " M"],
    *,
    centre: Centre = "centroid",
    axes: int | None = None,
    permutations: int = 9999,
    rng: np.random.Generator,
) -> PermDisp:
    r"""Test whether distances to the own centre are equal between families (PERMDISP).

    .. math:: F = \frac{\sum_g n_g (\bar z_g - \bar z)^2 / (k-1)}{\sum_i (z_i - \bar z_{g(i)})^2 / (M-k)},
              \qquad z_i = \sqrt{|\delta^2_{i+} - \delta^2_{i-}|}

    This is here to compare with the literature; `anna_karenina_test` is the calibrated test. Distances to a
    sample centroid are not independent, so permuting them, as is done here, rejects too often: 5 to 8 % for
    Gaussian and up to 20 % for heavy-tailed families of 6 to 20 at a nominal 5 %
    (`akp_core.dispersion.contributions`).

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Distances between models: symmetric, 0 or more, Euclidean or not. NaN rows and columns mark models
        without a representation, which are left out and counted.
    families : (M,) array
        A label for each model.
    centre : {"centroid", "median"}
        The mean of the family, or its spatial median, which outlying members hardly move.
    axes : int, optional
        How many principal coordinates to keep, those of the largest eigenvalues (negative ones count as
        zero). scikit-bio keeps 10 unless told otherwise, which loses the rest of the dispersion. None
        keeps all, with negative axes counted negatively as in Anderson (2006) and vegan's betadisper.
    permutations : int
        Number of random permutations.
    rng : numpy.random.Generator
        Draws them.

    Returns
    -------
    PermDisp

    Raises
    ------
    AkpError
        If the matrix is not one of distances; fewer than 2 families, a family with fewer than 2 usable
        models, more axes than usable models, an unknown centre, or an argument out of range.

    Notes
    -----
    F is scikit-bio's (its "centroid" and "median", with ``dimensions=axes``); for all axes of a distance that
    is not Euclidean scikit-bio drops the negative ones, which is ``axes=M`` here. The p value is not
    scikit-bio's: it permutes the labels and finds new centres, so that families in different places are
    compared with mixtures of them.

    Invariances: scale of the distances. With ``axes=None`` and centroids, translation of each family.

    Cost: :math:`M^2` for all axes and centroids, else an eigendecomposition, :math:`M^3`; then M operations
    per permutation, all in one matrix product with the family indicator.

    References
    ----------
    Anderson 2006, Distance-based tests for homogeneity of multivariate dispersions, eq. 4 (negative axes);
    Vardi and Zhang 2000 (the spatial median).
    """
    check_resampling(permutations, rng)
    if centre not in get_args(Centre):
        raise unknown_name("centre", centre, get_args(Centre))
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(usable))
    if len(names) < 2:
        raise expected("at least 2 families", str(len(names)))
    squared, codes = squared[np.ix_(usable, usable)], codes[usable]
    sizes = np.bincount(codes, minlength=len(names))
    if sizes.min() < 2:
        raise expected(
            f"at least 2 models with a representation in family {names[int(sizes.argmin())]!r}",
            str(int(sizes.min())),
            "add members",
        )
    members = len(codes)
    if axes is not None:
        axes = whole_number("axes", axes, 1, members)
    z = _to_centre(squared, codes, centre, axes)
    f, p_value = _analysis_of_variance(z, codes, permutations, rng)
    everyone = np.full(len(usable), np.nan)
    everyone[usable] = z
    return PermDisp(f, p_value, everyone, members, int((~usable).sum()), axes)


def _analysis_of_variance(
    z: Float64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"], permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """F of z between families, and the share of permutations of z that reach it.

    The total sum of squares does not change, so F grows with the sum of squares between families alone.
    """
    sizes = np.bincount(codes)
    indicator = (codes[:, None] == np.arange(len(sizes))) / np.sqrt(sizes)
    deviation = z - z.mean()
    total = float(deviation @ deviation)
    if total <= _ROUND_OFF**2 * float(z @ z):
        return 0.0, 1.0
    between = float(np.square(deviation @ indicator).sum())
    within = float(np.square(deviation - ((deviation @ indicator) / np.sqrt(sizes))[codes]).sum())
    batch = max(1, _BATCH_ENTRIES // len(z))
    as_large = 0
    for start in range(0, permutations, batch):
        rows = np.broadcast_to(deviation, (min(batch, permutations - start), len(z)))
        drawn = np.square(rng.permuted(rows, axis=1) @ indicator).sum(axis=1)
        as_large += int((drawn >= between - _ROUND_OFF * total).sum())
    freedom = (len(sizes) - 1, len(z) - len(sizes))
    f = float("inf") if within <= _ROUND_OFF * total else (between / freedom[0]) / (within / freedom[1])
    return f, (1 + as_large) / (1 + permutations)
