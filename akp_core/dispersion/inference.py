r"""From the contributions of two families to a verdict: what every test of dispersion here shares.

It does not matter where the contributions (`akp_core.dispersion.contributions`) come from: a matrix of
distances (`anna_karenina_test`) or a stream of fingerprints (`streamed_test`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from numbers import Real
from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Int
from numpy.typing import NDArray
from scipy import special, stats

from akp_core.dispersion.contributions import contrast, jackknife_interval
from akp_core.dispersion.geometry import Array, as_numpy
from akp_core.errors import expected

Verdict = Literal["AKP", "none", "anti-AKP"]
Number = TypeVar("Number", int, float)

LEAST_MEMBERS = 4
_BATCH_ENTRIES = 250_000
_ROUND_OFF = 1e-12


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
        Log ratio of the dispersions, unhappy over happy. Infinite where
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
        sqrt(V), in the unit of the distances: for Euclidean ones the root mean square distance to the own
        centroid, for any others the root of half the mean squared dissimilarity of two members.
    excluded : PerFamily
        How many models had no representation (collapsed or diverged).
    unmatched : PerFamily
        How many usable models were left out of a paired test because their twin was missing.
    standardised : float
        Hedges' g of the contributions: the difference of their means (unhappy less happy) over their
        pooled standard deviation, corrected for small samples; 0.2, 0.5 and 0.8 are customarily called
        small, medium and large. It says how far the families overlap, which the ratio does not; read the
        ratio for how much wider one is. Infinite where contributions differ but do not vary, 0 where they
        neither differ nor vary.
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
    standardised: float

    @property
    def ratio(self) -> float:
        """Dispersion of the unhappy over that of the happy, ``exp(effect)``."""
        return float(np.exp(self.effect))


class Families(NamedTuple):
    """Which models of a population are compared, and which are not and why.

    ``happy`` and ``unhappy`` are positions; in a paired comparison twins stand at the same place.
    """

    happy: NDArray[np.int64]
    unhappy: NDArray[np.int64]
    excluded: PerFamily[int]
    unmatched: PerFamily[int]


def check_level(level: float) -> float:
    """Return a probability between 0 and 1; refuse anything else."""
    if isinstance(level, bool) or not isinstance(level, Real) or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    return float(level)


def check_enough(members: PerFamily[int], lost: PerFamily[int]) -> None:
    """Refuse a family with too few usable models."""
    for name, count, left_out in zip(("happy", "unhappy"), members, lost, strict=True):
        if count < LEAST_MEMBERS:
            raise expected(
                f"at least {LEAST_MEMBERS} usable models in the {name} family",
                f"{count} ({left_out} left out: no representation or no twin)",
                "train more members",
            )


def twins(
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


def families_of(
    usable: NDArray[np.bool_], unhappy: Bool[Array, " M"], paired: Int[Array, " M"] | None
) -> Families:
    """Sort the usable models into two families, or into complete pairs.

    Raises
    ------
    AkpError
        For labels of the wrong kind or length, repeated pair numbers, or too few models in a family.
    """
    is_unhappy = as_numpy(unhappy)
    if is_unhappy.shape != usable.shape or is_unhappy.dtype != np.bool_:
        raise expected(
            f"one boolean for each of the {len(usable)} models in unhappy",
            f"{is_unhappy.dtype} of shape {is_unhappy.shape}",
            "compare errors with a threshold first",
        )
    excluded = PerFamily(int((~usable & ~is_unhappy).sum()), int((~usable & is_unhappy).sum()))
    happy, stressed = np.flatnonzero(usable & ~is_unhappy), np.flatnonzero(usable & is_unhappy)
    unmatched = PerFamily(0, 0)
    if paired is not None:
        pairs = as_numpy(paired)
        if pairs.shape != usable.shape or pairs.dtype.kind not in "iu":
            raise expected(
                f"one pair number for each of the {len(usable)} models in paired",
                f"{pairs.dtype} of shape {pairs.shape}",
            )
        everyone = PerFamily(len(happy), len(stressed))
        happy, stressed = twins(pairs, is_unhappy, usable)
        unmatched = PerFamily(everyone.happy - len(happy), everyone.unhappy - len(stressed))
    check_enough(
        PerFamily(len(happy), len(stressed)),
        PerFamily(excluded.happy + unmatched.happy, excluded.unhappy + unmatched.unhappy),
    )
    return Families(happy, stressed, excluded, unmatched)


def log_ratio(unhappy: float, happy: float) -> float:
    """Half the log ratio of two values of V: infinite where one is 0, and 0 where both are."""
    with np.errstate(divide="ignore"):
        return 0.0 if happy == unhappy else float(np.log(unhappy) - np.log(happy)) / 2


def _hedges(u: NDArray[np.float64], h: NDArray[np.float64], *, paired: bool) -> float:
    """Hedges' g of two samples, with the exact correction (Hedges 1981, eq. 6e)."""
    freedom = len(u) + len(h) - 2
    pooled = np.sqrt(((len(u) - 1) * u.var(ddof=1) + (len(h) - 1) * h.var(ddof=1)) / freedom)
    difference, size = float(u.mean() - h.mean()), max(np.abs(u).max(), np.abs(h).max())
    if abs(difference) <= _ROUND_OFF * size:
        return 0.0
    if pooled <= _ROUND_OFF * size:
        return float(np.copysign(np.inf, difference))
    half = (len(u) - 1 if paired else freedom) / 2
    correction = np.exp(special.gammaln(half) - special.gammaln(half - 0.5)) / np.sqrt(half)
    return float(difference / pooled * correction)


def infer(
    happy: NDArray[np.float64],
    unhappy: NDArray[np.float64],
    *,
    excluded: PerFamily[int],
    unmatched: PerFamily[int],
    paired: bool,
    permutations: int,
    level: float,
    rng: np.random.Generator,
) -> AnnaKarenina:
    """Test, estimate and judge from the contributions of two families (of twins in order, if paired)."""
    h, u = happy, unhappy
    distinct = 2 ** len(h) if paired else comb(len(u) + len(h), len(h))
    v = PerFamily(max(float(h.mean()), 0.0), max(float(u.mean()), 0.0))
    exponent = int(np.frexp(max(v))[1])  # a power of two changes no digit and keeps products in range

    def statistic(x: NDArray[np.float64], y: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return contrast(x, y, axis, paired=paired)

    found = stats.permutation_test(
        (np.ldexp(u, -exponent), np.ldexp(h, -exponent)),
        statistic,
        permutation_type="samples" if paired else "independent",
        vectorized=True,
        n_resamples=permutations,
        batch=max(1, _BATCH_ENTRIES // (len(u) + len(h))),
        alternative="two-sided",
        rng=rng,
    )
    effect = log_ratio(v.unhappy, v.happy)
    p = float(found.pvalue)
    verdict: Verdict = "none"
    if p < level and effect != 0:
        verdict = "AKP" if effect > 0 else "anti-AKP"
    return AnnaKarenina(
        verdict=verdict,
        effect=effect,
        interval=jackknife_interval(u, h, confidence=1 - level, paired=paired),
        p_value=p,
        smallest_p=min(1.0, 2 / (distinct if distinct <= permutations else permutations + 1)),
        level=level,
        paired=paired,
        members=PerFamily(len(h), len(u)),
        dispersion=PerFamily(float(np.sqrt(v.happy)), float(np.sqrt(v.unhappy))),
        excluded=excluded,
        unmatched=unmatched,
        standardised=_hedges(u, h, paired=paired),
    )
