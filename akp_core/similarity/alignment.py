"""Centred kernel alignment of two representations."""

from __future__ import annotations

from jaxtyping import Real

from akp_core.similarity.arrays import Array, read, same_examples
from akp_core.similarity.cosines import cosines
from akp_core.similarity.gram import Estimator, check_estimator, unit_gram
from akp_core.similarity.kernels import Kernel, kernel_of


def cka(
    x: Real[Array, "n p"],
    y: Real[Array, "n q"],
    *,
    estimator: Estimator = "unbiased",
    kernel: Kernel = "linear",
    fraction: float = 1.0,
    sigma: float | None = None,
) -> float:
    r"""How alike the geometry of the same examples is in two representations.

    .. math:: \mathrm{CKA} = \frac{\langle A, B\rangle_F}{\|A\|_F \|B\|_F},

    with A, B the centred Gram matrices of x and y (biased), or their U-centrings (unbiased, so that the
    numerator is :math:`n(n-3)` times the unbiased :math:`\mathrm{HSIC}_1`). A cosine in both cases.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example, any real dtype. Products are float32 where both arrays are float32 or less
        (error about 1e-7) and float64 otherwise (1e-12); sums are float64; features are centred first.
    y : (n, q) array
        The same examples in the same order; the widths may differ.
    estimator : {"unbiased", "biased"}
        Biased CKA of independent data tends to 1 as the features outnumber the examples; unbiased CKA
        averages about 0, and so may be negative.
    kernel : {"linear", "rbf"}
        The Gaussian kernel is exp(-d^2 / (2 s^2)) with s the bandwidth.
    fraction : float
        Bandwidth of the rbf kernel as a multiple of the median distance between two distinct examples.
    sigma : float, optional
        The bandwidth outright, in the unit of the features, instead of a fraction.

    Returns
    -------
    float
        In [-1, 1] (unbiased) or [0, 1] (biased). 1: the same geometry up to rotation and scale. About 0:
        none in common. Never NaN.

    Raises
    ------
    AkpError
        For an unknown estimator or kernel, or a bandwidth that is none; an array that is not (examples,
        features), not finite, or of another number of examples; fewer than 4 examples (unbiased) or 2
        (biased); a representation that is constant, which has no CKA; a median distance of 0.

    Notes
    -----
    Invariances: rotation and reflection of the features, shift, isotropic scale (not with a given sigma),
    one permutation of the examples of both. *Not* a general linear map.

    Cost: the cheaper of :math:`n^2(p+q)` (Gram matrices, in tiles of 33 MB) and :math:`n(p+q)^2`
    (cross-covariances) operations; rbf :math:`2n^2(p+q)` and two n x n matrices.

    References
    ----------
    Kornblith et al. 2019, eq. 3 (biased; the bandwidth in section 3); Song et al. 2012, eq. 5, and Nguyen
    et al. 2021, eq. 3 (unbiased); Szekely and Rizzo 2014 (U-centring).

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 5))
    >>> round(cka(x, 3 * x + 1), 12)
    1.0
    """
    check_estimator(estimator)
    rbf = kernel_of(kernel, fraction, sigma)
    if rbf is None:
        return float(cosines((x, y), ("x", "y"), (estimator,))[0][0, 1])
    first, second = read(x, "x"), read(y, "y")
    same_examples(first, second)
    value = float((unit_gram(first, estimator, rbf) * unit_gram(second, estimator, rbf)).sum())
    return min(1.0, max(-1.0, value))
