r"""Where a stressed network stands: how far from its own twin, and how far from the family of happy ones.

Let :math:`f_i` be the fingerprint of a stressed network, :math:`c_i` that of its unstressed twin at the same
step, and :math:`\bar c_{-i}` the mean of the *other* unstressed networks. Four distances place it:

.. math:: a_i = \|f_i - c_i\|, \qquad o_i^2 = \frac{1}{n-1} \sum_{j \ne i} \|f_i - c_j\|^2, \qquad
          b_i = \|f_i - \bar c_{-i}\|, \qquad r_i = \|c_i - \bar c_{-i}\| .

*Nearness* is :math:`\sqrt{\sum a_i^2 / \sum o_i^2}`: 0 at the own twin, 1 where the own twin is no nearer
than any other happy network. *Outsideness* is :math:`\sqrt{\sum b_i^2 / \sum r_i^2}`: 1 where a stressed
network is as far from the centre of the others as its unstressed twin is. All follow from the distances
between networks, and the own twin never enters the centre it is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

from akp_core.adaptation.exchanges import dealt_out, exchanged
from akp_core.adaptation.twins import NEAR, OUTSIDE, jackknifed, parts, squared_pairs, twins_of
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.geometry import Array, check_resampling
from akp_core.dispersion.inference import check_level
from akp_core.errors import expected

HALFWAY = 0.5
"""Nearness below which a network is with its own twin, and above which it is with strangers."""


@dataclass(frozen=True)
class Place:
    """Where the stressed networks of one family stand at one look; NaN where fewer than 4 pairs are left.

    Attributes
    ----------
    pairs, lost : int
        Pairs of twins that both have a representation, and the others.
    twin, others, centre : float
        Root mean square of a, o and b over the pairs, in the unit of the distances.
    happy_pair, happy_centre : float
        Root mean square distance of two unstressed networks, and of one from the centre of the others (r).
    near, near_low, near_high : float
        Nearness and its jackknife interval.
    outside, outside_low, outside_high : float
        Outsideness and its jackknife interval.
    p_near : float
        One-sided: how often the own twins are as near where twins are dealt out at random.
    p_twin, p_strangers : float
        One-sided: against being more than half as far from the own twin as from the others, and against
        being less than half as far.
    p_outside : float
        One-sided: how often the stressed are as far outside where twins change places at random.
    p_inside : float
        One-sided: against being farther outside than the margin allows.
    smallest_near, smallest_outside : float
        The least p that so many pairs can give.
    """

    pairs: int
    lost: int
    twin: float = np.nan
    others: float = np.nan
    centre: float = np.nan
    happy_pair: float = np.nan
    happy_centre: float = np.nan
    near: float = np.nan
    near_low: float = np.nan
    near_high: float = np.nan
    outside: float = np.nan
    outside_low: float = np.nan
    outside_high: float = np.nan
    p_near: float = np.nan
    p_twin: float = np.nan
    p_strangers: float = np.nan
    p_outside: float = np.nan
    p_inside: float = np.nan
    smallest_near: float = np.nan
    smallest_outside: float = np.nan


def check_margin(margin: float) -> float:
    """Return a margin above 0; refuse anything else."""
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < np.inf:
        raise expected("margin as a number above 0", repr(margin), "0.1 allows a tenth more")
    return float(margin)


def place(
    distances: Float[Array, "M M"],
    *,
    margin: float = 0.1,
    permutations: int = 9999,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Place:
    r"""Place one stressed family among its unstressed twins, and test where it stands.

    Parameters
    ----------
    distances : (M, M) float array, NumPy or torch
        Euclidean distances between n unstressed networks, first, and their n stressed twins in the same
        order; M = 2n. A row of NaN is a network without a representation: its pair is left out.
    margin : float
        How much farther from the centre than its twin a stressed network may lie and still count as inside.
    permutations : int
        All distinct ones are used where there are no more than this.
    level : float
        Intervals hold with confidence ``1 - level``.
    rng : numpy.random.Generator

    Returns
    -------
    Place
        Its distances are 0 or more; ``near`` and ``outside`` are ratios, 0 or more.

    Raises
    ------
    AkpError
        If the matrix is not square with an even number of rows, if the unstressed networks are all the same,
        or for a margin, level or number out of range.

    Notes
    -----
    *Near.* Where the own twin means nothing, which twin belongs to which stressed network is arbitrary:
    twins are dealt out anew, and :math:`\sum_i \|f_i - c_{\pi(i)}\|^2` compared. Exact under that hypothesis.

    *Twin and strangers.* Whether nearness lies below or above one half, by Student's t with the jackknife
    error over pairs. The test of *near* finds any trace of the twin, however faint; this one asks for most.

    *Outside.* Where a stressed network is one more happy one, it may change places with its twin:
    :math:`\sum_{i \ne j} \|f_i - c_j\|^2 - \|c_i - c_j\|^2`, which is :math:`\sum b_i^2 - r_i^2` times n -
    1, is compared after exchanging twins. Exact under that hypothesis.

    *Inside.* A difference that is not found is not an absence. Inside is claimed only where outsideness is
    shown to lie below ``1 + margin``, by one side of the two one-sided tests (Schuirmann 1987) with the
    jackknife error over pairs. A displacement at right angles to a family of root mean square radius r
    raises b to :math:`\sqrt{r^2 + \delta^2}`, so a margin of 0.1 bears displacements up to 0.46 r.

    Invariances: scale, rotation, translation. Cost: :math:`n^2` operations per permutation.

    References
    ----------
    Schuirmann 1987 (equivalence); Miller 1974 (the jackknife).
    """
    margin, permutations = check_margin(margin), check_resampling(permutations, rng)
    where = whereabouts(distances, level=level)
    if where.pairs < LEAST_MEMBERS:
        return where
    squared = squared_pairs(distances)
    p_inside = _below(1 + margin, *jackknifed(squared, *OUTSIDE), where.pairs)
    p_twin = _below(HALFWAY, *jackknifed(squared, *NEAR), where.pairs)
    p_near, least_near = dealt_out(squared, permutations, rng)
    p_outside, least_outside = exchanged(squared, permutations, rng)
    return replace(
        where,
        p_near=p_near,
        p_twin=p_twin,
        p_strangers=1 - p_twin,
        p_outside=p_outside,
        p_inside=p_inside,
        smallest_near=least_near,
        smallest_outside=least_outside,
    )


def whereabouts(distances: Float[Array, "M M"], *, level: float = 0.05) -> Place:
    """Place one stressed family without testing: distances, ratios and intervals; the p values are NaN.

    Parameters
    ----------
    distances, level
        As for `place`, which says what is refused.

    Returns
    -------
    Place
    """
    level, n = check_level(level), twins_of(distances)
    squared = squared_pairs(distances)
    pairs = len(squared) // 2
    if pairs < LEAST_MEMBERS:
        return Place(pairs, n - pairs)
    own, others, centre, happy_pair, happy_centre = (np.maximum(part, 0.0) for part in parts(squared))
    if not happy_centre.sum() > 0:
        raise expected(
            "unstressed networks that differ from one another", "identical ones", "change the seed"
        )
    t = float(stats.t.ppf(1 - level / 2, pairs - 1))
    near, near_error = jackknifed(squared, *NEAR)
    outside, outside_error = jackknifed(squared, *OUTSIDE)
    return Place(
        pairs=pairs,
        lost=n - pairs,
        twin=_root_mean(own),
        others=_root_mean(others),
        centre=_root_mean(centre),
        happy_pair=_root_mean(happy_pair),
        happy_centre=_root_mean(happy_centre),
        near=near,
        near_low=max(near - t * near_error, 0.0),
        near_high=near + t * near_error,
        outside=outside,
        outside_low=max(outside - t * outside_error, 0.0),
        outside_high=outside + t * outside_error,
    )


def _below(limit: float, value: float, error: float, pairs: int) -> float:
    """One-sided p against a value at or above a limit, with Student's t."""
    if error > 0:
        return float(stats.t.cdf((value - limit) / error, pairs - 1))
    return 0.0 if value < limit else 1.0


def _root_mean(squares: Float64[np.ndarray, " n"]) -> float:
    return float(np.sqrt(squares.mean()))
