r"""PERMDISP, the field's usual test of dispersion: are distances to the own centre equal on average?

Anderson (2006) embeds the distances by principal coordinates, takes each member's distance z to the centre of
its own family (`akp_core.dispersion.ordination`) and compares the families by analysis of variance.

Distances to a *sample* centre are not independent, and shorter in smaller families, so permuting them, as the
literature does, rejects too often. What is permuted here unless asked otherwise are the members'
contributions to the dispersion of their family, studentised (`akp_core.dispersion.several`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64, Shaped

from akp_core.dispersion.geometry import (
    Array,
    check_resampling,
    family_codes,
    smallest_p,
    squared_distances,
)
from akp_core.dispersion.inference import LEAST_MEMBERS
from akp_core.dispersion.ordination import Centre, contributions_to, coordinates, seen_along, to_centre
from akp_core.dispersion.several import (
    analysis_of_variance,
    p_of_contrast,
    p_of_f,
    pair_share,
    sharpened,
)
from akp_core.errors import expected, unknown_name, whole_number

Permute = Literal["contributions", "distances"]

_LEAST = {"contributions": LEAST_MEMBERS, "distances": 2}

_CAUTIONS = {
    "contributions": "6 to 7 % at a nominal 5 % for few models of a strongly skewed law, up to 10 % about "
    "medians, and 1 to 2 % where all models lie as far from the centre as each other",
    "distances": "permuted distances reject too often without a difference: up to 20 % at a nominal 5 % for "
    "small or heavy-tailed families, more where sizes differ; permute='contributions' or anna_karenina_test "
    "keep the level better",
}


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
        By permutation of what `permuted` names: of a studentised contrast of the contributions, or of F.
    distances : (M,) float64 array
        Of every model to the centre of its own family, in the unit of the distances and without the
        small-sample factor of `distance_to_centroid`; NaN for a model without a representation.
    members : int
        How many models were used.
    excluded : int
        How many had no representation.
    axes : int or None
        How many principal coordinates were kept; None for all, the negative ones included.
    permuted : {"contributions", "distances"}
        What was permuted; see `caution`.
    smallest_p : float
        The least p that this many models and permutations can give. Where that is not below a level, no
        verdict is possible there: add models.
    """

    f: float
    p_value: float
    distances: Float64[np.ndarray, " M"]
    members: int
    excluded: int
    axes: int | None
    permuted: Permute
    smallest_p: float

    @property
    def caution(self) -> str:
        """What to know about the p value before believing it, in one line."""
        return _CAUTIONS[self.permuted]


def permdisp(
    distances: Float[Array, "M M"],
    families: Shaped[Array, " M"],
    *,
    centre: Centre = "centroid",
    axes: int | None = None,
    permute: Permute = "contributions",
    permutations: int = 9999,
    rng: np.random.Generator,
) -> PermDisp:
    r"""Test whether distances to the own centre are equal between families (PERMDISP).

    .. math:: F = \frac{\sum_g n_g (\bar z_g - \bar z)^2 / (k-1)}{\sum_i (z_i - \bar z_{g(i)})^2 / (M-k)},
              \qquad z_i = \sqrt{|\delta^2_{i+} - \delta^2_{i-}|}

    F is the statistic of the literature. The p value is, unless asked otherwise, that of

    .. math:: Q = \frac{\sum_{g<h} (V_g^2 - V_h^2)^2 / (4 s_g^2 s_h^2)}{\sum_g V_g^2 / s_g^2}

    with V the dispersion of a family and s its standard error. For two families, and for twins,
    `anna_karenina_test` has also an effect and an interval.

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
    permute : {"contributions", "distances"}
        What the p value is made of; F is of the distances in either case. Contributions are each
        member's share in the dispersion of its family, compared in units of their own error (Q); that keeps
        the level (Notes). Distances are what the literature permutes.
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
        If the matrix is not one of distances; fewer than 2 families, a family with fewer than 4 usable
        models (2 where distances are permuted), more axes than usable models, an unknown name, a median that
        is not found, or an argument out of range.

    Notes
    -----
    F is scikit-bio's (its "centroid" and "median", with ``dimensions=axes``); for all axes of a distance that
    is not Euclidean scikit-bio drops the negative ones, which is ``axes=M`` here. The p value is not
    scikit-bio's: it permutes the labels and finds new centres, so that families in different places are
    compared with mixtures of them.

    Rejections at a nominal 5 % without a difference, in per cent, contributions permuted (and distances, for
    comparison); families far apart, 199 permutations, 3000 simulations:

    ==============================  ==========  ==========  ==========  ==========
    cloud                           6 + 6       10 + 10     6 + 14      6 + 6 + 6
    ==============================  ==========  ==========  ==========  ==========
    Gaussian, 2 dimensions          3.9 (6.3)   4.6 (6.4)   4.9 (6.2)   4.4 (7.5)
    Gaussian, 20 dimensions         4.3 (7.3)   5.2 (7.0)   4.4 (11.5)  4.6 (9.1)
    Gaussian, 200 dimensions        4.5 (7.8)   3.9 (5.4)   4.6 (54.3)  3.7 (8.1)
    t (3), 5 dimensions             4.4 (15.6)  4.8 (11.9)  4.8 (11.1)  5.6 (19.9)
    t (3), 20 dimensions            4.8 (19.4)  5.6 (14.5)  4.8 (11.0)  4.6 (22.4)
    log-normal radius, 20           4.4 (19.9)  5.3 (14.2)  5.1 (11.3)  5.1 (24.9)
    exponential coordinates, 5      6.5 (14.4)  4.9 (10.9)  5.4 (11.7)  5.7 (16.2)
    log-normal coordinates, 5       6.6 (24.0)  6.9 (19.0)  6.3 (14.5)  7.6 (29.2)
    all equally far out, 20         1.2 (1.9)   0.9 (1.2)   1.3 (32.0)  0.6 (1.5)
    ==============================  ==========  ==========  ==========  ==========

    About medians contributions were less sure (600 simulations): 2.8 to 6.3, but 9.5 for 6 + 14 in 2
    dimensions and 7.8 for 6 + 6 with log-normal coordinates; distances 1.8 to 6.7, but 46 for 6 + 14 in 200
    dimensions. Also tried: whole members, aligned by their centroids and permuted, with new centroids for
    each permutation; 10 % for 6 + 6 in 200 dimensions, 50 % for 6 + 14.

    Invariances: scale of the distances. With ``axes=None`` and centroids, translation of each family.

    Cost: :math:`M^2` for all axes and centroids, else an eigendecomposition, :math:`M^3`; then M operations
    per permutation, all in matrix products with the family indicator. Contributions about medians take M
    medians more.

    References
    ----------
    Anderson 2006, Distance-based tests for homogeneity of multivariate dispersions, eq. 4 (negative axes);
    Miller 1968 (contributions as pseudo-values); Efron and Stein 1981 (the jackknife overrates an
    error); Welch 1951 (several means of unequal error); Vardi and Zhang 2000 (the spatial median).
    """
    permutations = check_resampling(permutations, rng)
    for kind, name, valid in (("centre", centre, get_args(Centre)), ("permute", permute, get_args(Permute))):
        if name not in valid:
            raise unknown_name(kind, name, valid)
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(usable))
    if len(names) < 2:
        raise expected("at least 2 families", str(len(names)))
    squared, codes = squared[np.ix_(usable, usable)], codes[usable]
    sizes = np.bincount(codes, minlength=len(names))
    if sizes.min() < _LEAST[permute]:
        raise expected(
            f"at least {_LEAST[permute]} models with a representation in family "
            f"{names[int(sizes.argmin())]!r}",
            str(int(sizes.min())),
            "add members" + (" or give permute='distances'" if sizes.min() >= _LEAST["distances"] else ""),
        )
    members = len(codes)
    if axes is not None:
        axes = whole_number("axes", axes, 1, members)
    scale = float(squared.mean()) or 1.0
    squared = squared / scale
    parts = None if centre == "centroid" and axes is None else coordinates(squared, axes)
    z, contributions, shares = np.empty(members), np.empty(members), []
    for code in range(len(names)):
        inside = np.flatnonzero(codes == code)
        own = None if parts is None else (parts[0][inside], parts[1][inside])
        of_family = squared[np.ix_(inside, inside)]
        z[inside] = to_centre(of_family, own, centre)
        if permute == "contributions":
            contributions[inside] = contributions_to(of_family, own, centre)
            shares.append(pair_share(seen_along(of_family, own), contributions[inside]))
    if permute == "contributions":
        p_value = p_of_contrast(sharpened(contributions, codes, shares), codes, permutations, rng)
    else:
        p_value = p_of_f(z, codes, permutations, rng)
    everyone = np.full(len(usable), np.nan)
    everyone[usable] = z * np.sqrt(scale)
    return PermDisp(
        f=analysis_of_variance(z, codes),
        p_value=p_value,
        distances=everyone,
        members=members,
        excluded=int((~usable).sum()),
        axes=axes,
        permuted=permute,
        smallest_p=smallest_p(sizes[None], permutations),
    )
