r"""Every label of a study exchanged at once: the paired test of many specifications, and all of them jointly.

A seed gives a control network and, in every stressed family, a twin of it. What is exchanged is a *seed*:
for some seeds the control takes the place of the stressed twin, in every family, at every tap and by every
measure together. So the networks stay the replicates, and the dependence of the specifications on one
another, which is nearly total, is in the null as it is in the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8
from scipy import stats

from akp_core.dispersion.contributions import jackknife_interval, log_pseudo_values, pseudo_values
from akp_core.dispersion.inference import LEAST_MEMBERS
from akp_core.errors import expected

_CANCELLED = 1e-13
"""A sum of squares below this share of the terms it is the difference of is zero to round-off."""


def seed_flips(members: int, permutations: int, rng: np.random.Generator) -> Float64[np.ndarray, "b m"]:
    """Which seeds exchange their labels in each permutation; the first exchanges none.

    Parameters
    ----------
    members : int
    permutations : int
        All 2^members are given where they are no more than this, else this many drawn ones.
    rng : numpy.random.Generator

    Returns
    -------
    (b, members) float64
        0 or 1.
    """
    if members < 63 and 2**members <= permutations:
        every = np.arange(2**members)[:, None] >> np.arange(members)
        return (every & 1).astype(np.float64)
    drawn = rng.integers(0, 2, size=(permutations, members))
    return np.vstack([np.zeros(members), drawn]).astype(np.float64)


@dataclass(frozen=True)
class Pairs:
    """What each network adds to the dispersion of its family, for many comparisons of the same seeds.

    Attributes
    ----------
    stressed, control : (members, c) float64
        Jackknife pseudo-values of V (`akp_core.dispersion.contributions`), one column a comparison,
        scaled so that the two families' V sum to 1; 0 where a seed has no complete pair.
    complete : (members, c) bool
    size : (c,) float64
        What they were divided by.
    """

    stressed: Float64[np.ndarray, "m c"]
    control: Float64[np.ndarray, "m c"]
    complete: Bool[np.ndarray, "m c"]
    size: Float64[np.ndarray, " c"]

    @property
    def testable(self) -> Bool[np.ndarray, " c"]:
        """Which comparisons have enough complete pairs."""
        return self.complete.sum(axis=0) >= LEAST_MEMBERS


def pairs_of(within: Float64[np.ndarray, "f m m"]) -> Pairs:
    """Compare every stressed family with the control, which comes first.

    Parameters
    ----------
    within : (families, members, members) float64
        Distances inside each family, NaN to every other for a network without a representation.

    Returns
    -------
    Pairs
        One column a stressed family.
    """
    families, members, _ = within.shape
    if families < 2:
        raise expected("a control and at least one stressed family", f"{families} families")
    off = ~np.eye(members, dtype=bool)
    usable = (np.isfinite(within) & off).any(axis=2)
    shape = (members, families - 1)
    stressed, control, complete = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=bool)
    size = np.ones(families - 1)
    for k in range(1, families):
        both = usable[0] & usable[k]
        if both.sum() < LEAST_MEMBERS:
            continue
        inner = np.ix_(both, both)
        a, b = (pseudo_values(np.where(off, d, 0.0)[inner] ** 2) for d in (within[k], within[0]))
        total = float(a.mean() + b.mean())
        size[k - 1] = total if total > 0 else 1.0
        stressed[both, k - 1], control[both, k - 1] = a / size[k - 1], b / size[k - 1]
        complete[both, k - 1] = True
    return Pairs(stressed, control, complete, size)


def joined(parts: list[Pairs]) -> Pairs:
    """Comparisons of the same seeds side by side."""
    names = ("stressed", "control", "complete", "size")
    return Pairs(*(np.concatenate([getattr(part, n) for part in parts], axis=-1) for n in names))


def statistics(
    pairs: Pairs, flips: Float64[np.ndarray, "b m"]
) -> tuple[Float32[np.ndarray, "b c"], Float32[np.ndarray, "b c"]]:
    r"""Contrast of the dispersions and its studentised form under each exchange of labels.

    .. math:: c = \frac{V_s - V_c}{V_s + V_c} = \tanh(\text{effect}), \qquad t = c / \widehat{se}(c)

    with V the mean pseudo-values of the two families after the exchange; the same as
    `akp_core.dispersion.contributions.contrast`, for all exchanges and comparisons in a few products.

    Returns
    -------
    contrast, studentised : (b, c) float32
        The contrast is in [-1, 1] without exchange and may pass these ends with one. NaN where a
        comparison is not testable.
    """
    n = np.maximum(pairs.complete.sum(axis=0), 2)
    a, b = pairs.stressed, pairs.control
    shift = flips @ (a - b) / n
    u, h = a.mean(axis=0) * len(a) / n - shift, b.mean(axis=0) * len(b) / n + shift
    moved = flips @ (a**2 - b**2)
    uu, hh, uh = (a**2).sum(axis=0) - moved, (b**2).sum(axis=0) + moved, (a * b).sum(axis=0)
    terms = h**2 * uu + u**2 * hh
    squares = terms - 2 * h * u * uh
    squares[squares <= _CANCELLED * terms] = 0
    variance = squares / (n - 1) / n
    difference = u - h
    difference[np.abs(difference) < _CANCELLED] = 0
    with np.errstate(divide="ignore", invalid="ignore"):
        t = difference / (2 * np.sqrt(variance))
    t = np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf)
    bad = ~pairs.testable
    difference[:, bad], t[:, bad] = np.nan, np.nan
    return difference.astype(np.float32), t.astype(np.float32)


def p_values(studentised: Float32[np.ndarray, "b c"]) -> Float64[np.ndarray, "b c"]:
    """Two-sided p of every exchange among all of them, column by column; NaN for NaN.

    The first row holds the p-values of the data. The others are what the test would have said had the
    labels been those, at the price of one sort.
    """
    count = len(studentised)
    known = ~np.isnan(studentised[0])
    out = np.full(studentised.shape, np.nan)
    if known.any():
        t = studentised[:, known]
        above = stats.rankdata(-t, method="max", axis=0)
        below = stats.rankdata(t, method="max", axis=0)
        out[:, known] = np.minimum(2 * np.minimum(above, below) / count, 1)
    return out


def decided(
    pairs: Pairs, flips: Float64[np.ndarray, "b m"], level: float, block: int = 512
) -> tuple[Float32[np.ndarray, "b c"], Int8[np.ndarray, "b c"], Float64[np.ndarray, " c"]]:
    """The contrast of every exchange, which way it would have been decided, and the p of the data.

    Returns
    -------
    contrast : (b, c) float32
    decision : (b, c) int8
        1: the stressed family significantly the more dispersed; -1: the less; 0: neither, or not testable.
    p_value : (c,) float64
        NaN where not testable.
    """
    columns = pairs.size.shape[0]
    contrast = np.empty((len(flips), columns), dtype=np.float32)
    decision = np.zeros((len(flips), columns), dtype=np.int8)
    p = np.full(columns, np.nan)
    for start in range(0, columns, block):
        part = slice(start, start + block)
        some = Pairs(
            pairs.stressed[:, part], pairs.control[:, part], pairs.complete[:, part], pairs.size[part]
        )
        contrast[:, part], t = statistics(some, flips)
        values = p_values(t)
        decision[:, part] = np.sign(np.nan_to_num(contrast[:, part])) * (values < level)
        p[part] = values[0]
    return contrast, decision, p


def intervals(
    pairs: Pairs, level: float
) -> tuple[Float64[np.ndarray, " c"], Float64[np.ndarray, "c 2"], Float64[np.ndarray, "m c"]]:
    r"""The log ratio of the dispersions, stressed over control, its jackknife interval, and each seed's part.

    Returns
    -------
    effect : (c,) float64
        :math:`\tfrac12 \log (V_s / V_c)`, infinite where one family does not vary; NaN where not testable.
    interval : (c, 2) float64
    influence : (members, c) float64
        Centred jackknife pseudo-values of the effect, 0 for an incomplete pair and where there are none;
        scaled so that their mean over all seeds is that over the complete pairs.
    """
    members, columns = pairs.stressed.shape
    effect, ends = np.full(columns, np.nan), np.full((columns, 2), np.nan)
    influence = np.zeros((members, columns))
    for k in np.flatnonzero(pairs.testable):
        here = pairs.complete[:, k]
        a, b = pairs.stressed[here, k], pairs.control[here, k]
        top, bottom = max(float(a.mean()), 0.0), max(float(b.mean()), 0.0)
        with np.errstate(divide="ignore"):
            effect[k] = 0.0 if top == bottom else (np.log(top) - np.log(bottom)) / 2
        ends[k] = jackknife_interval(a, b, confidence=1 - level, paired=True)
        logs = log_pseudo_values(a), log_pseudo_values(b)
        if logs[0] is not None and logs[1] is not None:
            part = (logs[0] - logs[1]) / 2
            influence[here, k] = (part - part.mean()) * members / len(part)
    return effect, ends, influence
