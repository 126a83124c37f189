r"""What a similarity would be for no reason, and what is left of it beyond that.

Shuffling which example of one representation belongs to which of the other keeps both geometries and breaks
all that they share. The values that this gives are the measure's own null: about 0 for unbiased CKA, near 1
for biased CKA of wide features, about k/(n - 1) for mutual k-NN. They serve as a test, and as the zero of a
*calibrated* similarity on which measures of different bias can be read side by side:

.. math:: s_{\mathrm{cal}} = \frac{\max(0,\, s - \tau)}{1 - \tau}, \qquad
          \tau = s_{(\lceil (1 - \alpha)(B + 1) \rceil)}

with :math:`\tau` taken among the B shuffled values and s itself, so that without any relation the calibrated
value is above 0 with a probability of at most :math:`\alpha`, whatever the measure, n or ties.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Generic

import numpy as np
import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, whole_number
from akp_core.similarity.arrays import A, Array, like, read, same_examples
from akp_core.similarity.gram import Estimator, check_estimator, unit_gram
from akp_core.similarity.matrices import listed, measure_called

_TIE = 1e-7
"""Similarities closer than this are the same: round-off must not order shuffles that change nothing."""


@dataclass(frozen=True)
class Calibrated:
    """A similarity beside its null.

    Attributes
    ----------
    raw : float
        The similarity itself.
    null_mean : float
        Mean of the shuffled values: what the measure reports for no relation.
    threshold : float
        The shuffled values' quantile at 1 - level.
    value : float
        The calibrated similarity, in [0, 1]: 0 not above the threshold, 1 identical.
    p_value : float
        One-sided, by permutation of examples: the share of shuffles at least as similar.
    permutations : int
    level : float
    """

    raw: float
    null_mean: float
    threshold: float
    value: float
    p_value: float
    permutations: int
    level: float


def shuffled_null(
    x: Real[A, "n p"],
    y: Real[A, "n q"],
    *,
    measure: str | Callable[[A, A], float] = "cka",
    permutations: int,
    rng: np.random.Generator,
    estimator: Estimator = "unbiased",
) -> Float64[A, " permutations"]:
    """Similarity after shuffling which example of y belongs to which example of x: what chance alone gives.

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        As for `cka`.
    measure : str or callable
        A name in `MEASURES`, or a function of two representations.
    permutations : int
        How many shuffles, at least 1.
    rng : numpy.random.Generator
        Draws the shuffles.
    estimator : {"unbiased", "biased"}
        Of CKA.

    Returns
    -------
    (permutations,) float64 array
        One value per shuffle, of the kind (NumPy or torch) of x. Unbiased CKA scatters about 0; biased
        measures about their bias, which is how to read them.

    Raises
    ------
    AkpError
        As the measure; for a number of permutations below 1, or an rng that is not a generator.

    Notes
    -----
    Cost: for CKA the two Gram matrices once, then :math:`n^2` operations per shuffle; for another measure
    one call per shuffle.
    """
    _, null = _with_null(x, y, measure, estimator, whole_number("permutations", permutations, 1), rng)
    return like(null, x)


def _with_null(
    x: A,
    y: A,
    measure: str | Callable[[A, A], float],
    estimator: str,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, Float64[Tensor, " permutations"]]:
    """A similarity and its shuffled null, computed alike, so that shuffles that change nothing tie."""
    check_rng(rng)
    check_estimator(estimator)
    if not isinstance(measure, str) or measure != "cka":
        if estimator != "unbiased":
            raise AkpError("estimator belongs to measure='cka'")
        compare = measure_called(measure)
        values = [compare(x, y[_order(y, rng)]) for _ in range(permutations)]
        return compare(x, y), torch.tensor(values, dtype=torch.float64)
    first, second = read(x, "x"), read(y, "y")
    same_examples(first, second)
    a, b = unit_gram(first, estimator), unit_gram(second, estimator)
    null = torch.empty(permutations, dtype=torch.float64)
    for draw in range(permutations):
        order = torch.from_numpy(rng.permutation(a.shape[0])).to(b.device)
        null[draw] = (a * b[order[:, None], order]).sum()
    return min(1.0, max(-1.0, float((a * b).sum()))), null.clamp_(-1, 1)


def calibrated(
    x: Real[A, "n p"],
    y: Real[A, "n q"],
    *,
    measure: str | Callable[[A, A], float] = "cka",
    estimator: Estimator = "unbiased",
    permutations: int = 199,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Calibrated:
    r"""A similarity, its shuffled null, and how far it rises above that null (formula above).

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        As for `cka`.
    measure : str or callable
        A name in `MEASURES`, or a function of two representations.
    estimator : {"unbiased", "biased"}
        Of CKA.
    permutations : int
        How many shuffles; at least 1/level - 1, or nothing could ever be above the threshold.
    level : float
        Probability, in (0, 1), with which a similarity without any relation may come out above 0.
    rng : numpy.random.Generator
        Draws the shuffles.

    Returns
    -------
    Calibrated

    Raises
    ------
    AkpError
        As `shuffled_null`; for a level out of range, or too few permutations for it.

    Notes
    -----
    The null says that the *examples* are exchangeable between the two representations. Examples that come in
    groups (fields of one patient) are not, and then the null is too narrow: shuffle one example a group.

    Cost: that of `shuffled_null`.

    References
    ----------
    Permutation nulls as the zero of representational similarity: arXiv 2602.14486 (2026), whose abstract
    is all that we could read: the formula here is ours.
    """
    _check_level(level, permutations)
    raw, null = _with_null(x, y, measure, estimator, permutations, rng)
    found = _beyond(torch.tensor([raw], dtype=torch.float64), null[:, None], level)
    threshold, value, p_value = (float(part) for part in found)
    return Calibrated(raw, float(null.mean()), threshold, value, p_value, permutations, float(level))


@dataclass(frozen=True, eq=False)
class CalibratedMatrix(Generic[A]):
    """The similarities of a population beside their nulls, all (M, M) float64; 1 on the diagonal of `value`.

    Attributes
    ----------
    raw, null_mean, threshold, value, p_value
        For every pair as in `Calibrated`. A representation and itself are not tested: null_mean and
        threshold are 0 there, p_value is 1.
    permutations : int
    level : float
    """

    raw: Float64[A, "M M"]
    null_mean: Float64[A, "M M"]
    threshold: Float64[A, "M M"]
    value: Float64[A, "M M"]
    p_value: Float64[A, "M M"]
    permutations: int
    level: float


def calibrated_pairwise(
    representations: Sequence[A] | Real[A, "M n p"],
    *,
    estimator: Estimator = "unbiased",
    permutations: int = 199,
    level: float = 0.05,
    rng: np.random.Generator,
) -> CalibratedMatrix[A]:
    """CKA of every pair of M representations, calibrated by shuffled examples.

    Parameters
    ----------
    representations
        As for `pairwise`.
    estimator, permutations, level, rng
        As for `calibrated`. One shuffle serves all pairs, so that the tests of different pairs are related;
        each by itself holds its level.

    Returns
    -------
    CalibratedMatrix

    Raises
    ------
    AkpError
        As `calibrated`.

    Notes
    -----
    Cost: M unit Gram matrices of n x n float64 numbers, twice, and :math:`2 M^2 n^2` operations a shuffle.
    """
    check_estimator(estimator)
    check_rng(rng)
    _check_level(level, permutations)
    members, names = listed(representations)
    features = [read(x, name) for x, name in zip(members, names, strict=True)]
    for one in features:
        same_examples(features[0], one)
    grams = torch.stack([unit_gram(one, estimator) for one in features])
    rows = grams.flatten(1)
    null = torch.empty(permutations, len(members), len(members), dtype=torch.float64)
    for draw in range(permutations):
        order = torch.from_numpy(rng.permutation(grams.shape[1])).to(grams.device)
        null[draw] = (rows @ grams[:, order][:, :, order].flatten(1).T).cpu()
    # Shuffling i against j or j against i are draws of one and the same null.
    null = null.triu(1) + null.triu(1).transpose(1, 2)
    raw = (rows @ rows.T).cpu().clamp_(-1, 1)
    raw = (raw.triu(1) + raw.triu(1).T).fill_diagonal_(1)
    threshold, value, p_value = _beyond(raw, null, level)
    threshold.fill_diagonal_(0)
    value.fill_diagonal_(1)
    p_value.fill_diagonal_(1)
    kind = members[0]
    return CalibratedMatrix(
        raw=like(raw, kind),
        null_mean=like(null.mean(dim=0), kind),
        threshold=like(threshold, kind),
        value=like(value, kind),
        p_value=like(p_value, kind),
        permutations=permutations,
        level=float(level),
    )


def _beyond(
    raw: Float64[Tensor, "*s"], null: Float64[Tensor, permutations * s], level: float
) -> tuple[Float64[Tensor, "*s"], Float64[Tensor, "*s"], Float64[Tensor, "*s"]]:
    """Threshold, calibrated value and p; the value is above 0 exactly where p is at most the level."""
    permutations = len(null)
    p_value = (1 + (null >= raw - _TIE).sum(dim=0)).double() / (1 + permutations)
    ranked = torch.cat([null, raw[None]]).sort(dim=0).values
    threshold = ranked[ceil((1 - level) * (permutations + 1) - 1e-9) - 1]
    value = torch.where(p_value <= level, (raw - threshold) / (1 - threshold).clamp(min=_TIE), 0.0)
    return threshold, value.clamp(0, 1), p_value


def _check_level(level: float, permutations: int) -> None:
    real = isinstance(level, int | float | np.floating) and not isinstance(level, bool)
    if not real or not 0 < level < 1:
        raise expected("level as a probability between 0 and 1", repr(level))
    whole_number("permutations", permutations, ceil(1 / level - 1 - 1e-9))


def check_rng(rng: np.random.Generator) -> None:
    """Refuse anything but an explicit generator."""
    if not isinstance(rng, np.random.Generator):
        raise expected(
            "rng as a numpy.random.Generator", type(rng).__name__, "use numpy.random.default_rng(seed)"
        )


def _order(y: Array, rng: np.random.Generator) -> Array:
    order = rng.permutation(y.shape[0])
    return torch.from_numpy(order).to(y.device) if isinstance(y, Tensor) else order
