"""Centred kernel alignment of two representations, and the value it takes when nothing is shared."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Real
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.arrays import A, Array, Features, like, read, same_examples
from akp_core.similarity.gram import (
    Estimator,
    Kernel,
    check_choices,
    check_enough_examples,
    constant_error,
    unit_gram,
)

_CANCELLED = 1e-6
"""Below this share of the uncorrected term, the feature path has lost too many digits to cancellation."""


def _feature_products(
    x: Float[Tensor, "n p"], y: Float[Tensor, "n q"], estimator: str
) -> tuple[float, float]:
    r"""Inner product of two centred Grams without forming them, and its uncorrected part.

    Biased, :math:`\langle K, L\rangle = \|X^\top Y\|_F^2`. Unbiased, with diagonals k, l of K, L,

    .. math:: \langle U(K), U(L)\rangle = \|X^\top Y\|_F^2 - \tfrac{n}{n-2} k\cdot l
              + \tfrac{(\sum k)(\sum l)}{(n-1)(n-2)}.
    """
    product = float((x.T @ y).square().sum())
    if estimator == "biased":
        return product, product
    n = x.shape[0]
    k, l = x.square().sum(dim=1), y.square().sum(dim=1)  # noqa: E741
    correction = -n / (n - 2) * float(k @ l) + float(k.sum() * l.sum()) / ((n - 1) * (n - 2))
    return product + correction, product


def _by_features(x: Features, y: Features, estimator: str) -> float | None:
    """CKA from p x q cross-products; None where cancellation would cost digits."""
    kk, kk_raw = _feature_products(x.centred, x.centred, estimator)
    ll, ll_raw = _feature_products(y.centred, y.centred, estimator)
    if kk <= _CANCELLED * kk_raw or ll <= _CANCELLED * ll_raw:
        return None
    kl, _ = _feature_products(x.centred, y.centred, estimator)
    return kl / (kk * ll) ** 0.5


def cka(
    x: Real[Array, "n p"],
    y: Real[Array, "n q"],
    *,
    estimator: Estimator = "unbiased",
    kernel: Kernel = "linear",
) -> float:
    r"""How alike the geometry of the same examples is in two representations.

    .. math:: \mathrm{CKA} = \frac{\langle A, B\rangle_F}{\|A\|_F \|B\|_F},

    with A, B the centred Gram matrices of x and y (biased), or their U-centrings (unbiased, so that the
    numerator is :math:`n(n-3)` times the unbiased :math:`\mathrm{HSIC}_1`). A cosine in both cases.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the widths may differ.
    estimator : {"unbiased", "biased"}
        Biased CKA of independent data tends to 1 as the features outnumber the examples; unbiased CKA
        averages about 0, and so may be negative.
    kernel : {"linear"}

    Returns
    -------
    float
        In [-1, 1] (unbiased) or [0, 1] (biased). 1: the same geometry up to rotation and scale. About 0:
        none in common. Never NaN.

    Raises
    ------
    AkpError
        For an unknown estimator or kernel; an array that is not (examples, features), not finite, or of
        another number of examples; fewer than 4 examples (unbiased) or 2 (biased); a representation that
        is constant, which has no CKA.

    Notes
    -----
    Invariances: rotation and reflection of the features, shift, isotropic scale, one permutation of the
    examples of both. *Not* a general linear map.

    Cost: the cheaper of :math:`n^2(p+q)` (Gram matrices) and :math:`n(p+q)^2` (cross-products) operations.

    References
    ----------
    Kornblith et al. 2019, eq. 3 (biased); Song et al. 2012, eq. 5, and Nguyen et al. 2021, eq. 3
    (unbiased); Szekely and Rizzo 2014 (U-centring).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(cka(x, 3 * x + 1), 12)
    1.0
    """
    check_choices(estimator, kernel)
    first, second = read(x, "x"), read(y, "y")
    same_examples(first, second)
    check_enough_examples(first, estimator)
    for features in (first, second):
        if features.constant:
            raise constant_error(features)
    value = None
    if first.centred.shape[0] > first.centred.shape[1] + second.centred.shape[1]:
        value = _by_features(first, second, estimator)
    if value is None:
        value = float((unit_gram(first, estimator) * unit_gram(second, estimator)).sum())
    return min(1.0, max(-1.0, value))


def shuffled_null(
    x: Real[A, "n p"],
    y: Real[A, "n q"],
    *,
    permutations: int,
    rng: np.random.Generator,
    estimator: Estimator = "unbiased",
) -> Float64[A, " permutations"]:
    """CKA after shuffling which example of y belongs to which example of x: what chance alone gives.

    Parameters
    ----------
    x, y : (n, p) and (n, q) arrays
        As for `cka`.
    permutations : int
        How many shuffles, at least 1.
    rng : numpy.random.Generator
        Draws the shuffles.
    estimator : {"unbiased", "biased"}

    Returns
    -------
    (permutations,) float64 array
        One CKA per shuffle, of the kind (NumPy or torch) of x. Unbiased values scatter about 0; biased
        ones about the bias, which is how to read a biased CKA.

    Raises
    ------
    AkpError
        As `cka`; for a number of permutations below 1, or an rng that is not a generator.

    Notes
    -----
    Cost: the two Gram matrices once, then :math:`n^2` operations per shuffle.
    """
    check_choices(estimator, "linear")
    if isinstance(permutations, bool) or not isinstance(permutations, int) or permutations < 1:
        raise expected("permutations as a whole number from 1", repr(permutations))
    if not isinstance(rng, np.random.Generator):
        raise expected(
            "rng as a numpy.random.Generator", type(rng).__name__, "use numpy.random.default_rng(seed)"
        )
    first, second = read(x, "x"), read(y, "y")
    same_examples(first, second)
    a, b = unit_gram(first, estimator), unit_gram(second, estimator)
    null = torch.empty(permutations, dtype=torch.float64)
    for draw in range(permutations):
        order = torch.from_numpy(rng.permutation(a.shape[0])).to(b.device)
        null[draw] = (a * b[order[:, None], order]).sum()
    return like(null.clamp_(-1, 1), x)
