r"""The test of dispersion, with the model as the replicate.

The dispersion of a family is :math:`V = \frac{1}{n(n-1)}\sum_{i<j} d_{ij}^2`, the unbiased mean squared
distance to its own centroid, and the effect is :math:`\tfrac12 \log(V_u / V_h)`, the log ratio of the root
mean square distances, unhappy over happy. A family's location drops out of V altogether. What is permuted,
and why, is in `akp_core.dispersion.contributions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import stats

from akp_core.dispersion.contributions import contrast, jackknife_interval, pseudo_values
from akp_core.dispersion.geometry import Array, as_numpy, check_resampling, squared_distances
from akp_core.errors import expected

Verdict = Literal["AKP", "none", "anti-AKP"]
Number = TypeVar("Number", int, float)

LEAST_MEMBERS = 4
_BATCH_ENTRIES = 10_000_000


class PerFamily(NamedTuple, Generic[Number]):
    """One number for each of the two families."""

    happy: Number
    unhappy: Number


@dataclass(frozen=True)
class AnnaKarenina:
    """What the test found.

    Attributes
    ----------
    verdict : {"AKP", "none", "anti-AKP"}
        AKP: p below the level and the unhappy family is the more dispersed. anti-AKP: below the level and
        the less dispersed. none: not below the level, which is not evidence of equality; see the interval.
    effect : float
        Log ratio of root mean square distances to the own centroid, unhappy over happy. Infinite where
        exactly one family consists of identical models, 0 where both do.
    interval : (float, float)
        Confidence interval of the effect at 1 - level; (-inf, inf) where the models of a family are
        identical, or all but one are, so that the spread of its dispersion cannot be told.
    p_value : float
        Two-sided, by permutation of models (of twins within pairs, if paired).
    smallest_p : float
        The least p that this many models and permutations can give. At or above the level no verdict but
        "none" is possible: add models.
    level : float
        The level of the verdict.
    paired : bool
        Whether stressed models were compared with their unstressed twins.
    members : PerFamily
        How many models were used.
    dispersion : PerFamily
        Root mean square distance to the own centroid, sqrt(V), in the unit of the distances.
    excluded : PerFamily
        How many models had no representation (collapsed or diverged).
    unmatched : PerFamily
        How many usable models were left out of a paired test because their twin was missing.
    """

    verdict: Verdict
    effect: float
    interval: tuple[float, float]
    p_value: float
    smallest_p: float
    level: float
    paired: bool
    members: PerFamily[int]
    dispersion: PerFamily[float]
    excluded: PerFamily[int]
    unmatched: PerFamily[int]

    @property
    def ratio(self) -> float:
        """Dispersion of the unhappy over that of the happy, ``exp(effect)``."""
        return float(np.exp(self.effect))


def _twins(
    pairs: NDArray[np.int64], unhappy: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of the happy and the unhappy twin of each pair that is complete, in the same order."""
    found = []
    for family, name in ((~unhappy, "happy"), (unhappy, "unhappy")):
        ids, counts = np.unique(pairs[family], return_counts=True)
        if (counts > 1).any():
            raise expected(
                f"each pair number at most once in the {name} family",
                f"{int(counts.max())} times {int(ids[counts.argmax()])}",
                "give each stressed model the number of its one unstressed twin",
            )
        found.append({int(pairs[i]): int(i) for i in np.flatnonzero(family & usable)})
    complete = sorted(found[0].keys() & found[1].keys())
    happy, stressed = (np.array([twin[k] for k in complete], dtype=np.int64) for twin in found)
    return happy, stressed


def anna_karenina_test(
    distances: Float[Array, "M M"],
    unhappy: Bool[Array, " M"],
    *,
    paired: Int[Array, " M"] | None = None,
    permutations: int = 9999,
    level: float = 0.05,
    rng: np.random.Generator,
) -> AnnaKarenina:
    r"""Test whether unhappy models are more dispersed than happy ones, each around its own centroid.

    .. math:: \text{effect} = \tfrac12 \log \frac{V_u}{V_h},
              \qquad V = \frac{1}{n(n-1)} \sum_{i<j} d_{ij}^2

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Euclidean distances between models, such as `akp_core.similarity.chordal_distance` of `pairwise`
        similarities. A row and column of NaN marks a model without a representation (collapsed or
        diverged); it is left out and counted.
    unhappy : (M,) boolean array
        Which models are unhappy; fixed before the distances were looked at.
    paired : (M,) integer array, optional
        Number of the pair of each model: a stressed model and the unstressed twin it forked from share
        one. Then twins are swapped within pairs, pairs are left out, and a model whose twin is missing is
        dropped and counted.
    permutations : int
        All distinct ones are used where there are no more than this.
    level : float
        Of the verdict, in (0, 1); the interval has confidence 1 - level.
    rng : numpy.random.Generator
        Draws the permutations.

    Returns
    -------
    AnnaKarenina
        Verdict, effect, interval, p value and the numbers of models behind them; never NaN.

    Raises
    ------
    AkpError
        If the matrix is not one of Euclidean distances; a family has fewer than 4 usable models (or there
        are fewer than 4 complete pairs); pair numbers repeat in a family; an argument is out of range.

    Notes
    -----
    Assumptions: models are independent (unpaired) or pairs are (paired), and without an effect the two
    families' contributions to V have the same distribution, whatever the families' locations. Equal
    dispersion with very different *shapes* and very unequal sizes breaks the second: 20 happy Gaussian
    models in 200 dimensions against 6 log-normal ones of equal V gave 27 % rejections. Look at the
    members' distances (`distance_to_centroid`) before believing such a verdict.

    Invariances: scale of the distances; translation and rotation of each family.

    Cost: :math:`M^2` for the contributions and :math:`M` operations per permutation.

    References
    ----------
    Anderson 2006 (PERMDISP, residuals from the own centroid permuted); Miller 1968 (jackknifing
    variances); Zaneveld et al. 2017 (the Anna Karenina principle as dispersion).
    """
    check_resampling(permutations, rng)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    squared, usable = squared_distances(distances)
    is_unhappy = as_numpy(unhappy)
    if is_unhappy.shape != (len(squared),) or is_unhappy.dtype != np.bool_:
        raise expected(
            f"one boolean for each of the {len(squared)} models in unhappy",
            f"{is_unhappy.dtype} of shape {is_unhappy.shape}",
            "compare errors with a threshold first",
        )
    excluded = PerFamily(int((~usable & ~is_unhappy).sum()), int((~usable & is_unhappy).sum()))
    happy, stressed = np.flatnonzero(usable & ~is_unhappy), np.flatnonzero(usable & is_unhappy)
    unmatched = PerFamily(0, 0)
    if paired is not None:
        pairs = as_numpy(paired)
        if pairs.shape != (len(squared),) or pairs.dtype.kind not in "iu":
            raise expected(
                f"one pair number for each of the {len(squared)} models in paired",
                f"{pairs.dtype} of shape {pairs.shape}",
            )
        everyone = PerFamily(len(happy), len(stressed))
        happy, stressed = _twins(pairs, is_unhappy, usable)
        unmatched = PerFamily(everyone.happy - len(happy), everyone.unhappy - len(stressed))
    for name, positions, lost in (
        ("happy", happy, excluded.happy + unmatched.happy),
        ("unhappy", stressed, excluded.unhappy + unmatched.unhappy),
    ):
        if len(positions) < LEAST_MEMBERS:
            raise expected(
                f"at least {LEAST_MEMBERS} usable models in the {name} family",
                f"{len(positions)} ({lost} left out: no representation or no twin)",
                "train more members",
            )
    u, h = (pseudo_values(squared[np.ix_(family, family)]) for family in (stressed, happy))
    distinct = 2 ** len(h) if paired is not None else comb(len(u) + len(h), len(h))

    def statistic(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return contrast(x, y, axis, paired=paired is not None)

    found = stats.permutation_test(
        (u, h),
        statistic,
        permutation_type="samples" if paired is not None else "independent",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, _BATCH_ENTRIES // (len(u) + len(h))),
        alternative="two-sided",
        rng=rng,
    )
    v = PerFamily(max(float(h.mean()), 0.0), max(float(u.mean()), 0.0))
    with np.errstate(divide="ignore"):
        effect = 0.0 if v.happy == v.unhappy else float(np.log(v.unhappy) - np.log(v.happy)) / 2
    p = float(found.pvalue)
    verdict: Verdict = "none"
    if p < level and effect != 0:
        verdict = "AKP" if effect > 0 else "anti-AKP"
    return AnnaKarenina(
        verdict=verdict,
        effect=effect,
        interval=jackknife_interval(u, h, confidence=1 - level, paired=paired is not None),
        p_value=p,
        smallest_p=min(1.0, 2 / (distinct if distinct <= permutations else permutations + 1)),
        level=float(level),
        paired=paired is not None,
        members=PerFamily(len(h), len(u)),
        dispersion=PerFamily(float(np.sqrt(v.happy)), float(np.sqrt(v.unhappy))),
        excluded=excluded,
        unmatched=unmatched,
    )
