"""Statement 2: a small excess risk under a proper loss forces outputs together, and their CKA towards 1."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64
from scipy.special import rel_entr

from akp_core.errors import AkpError, unknown_name
from akp_core.similarity.arrays import Array
from akp_core.theory.probabilities import not_negative, read_numbers, read_probabilities, same_shape

Estimator = Literal["biased", "unbiased"]
PROPER = ("cross_entropy", "squared_error")
"""The losses of the palette with a modulus; `akp_core.palette` normalises squared error by the classes."""


def modulus(loss: str, classes: int) -> float:
    r"""How strongly proper a loss is: the least ratio of regret to squared distance.

    .. math:: \sum_y p_y\{\ell(q, y) - \ell(p, y)\} \ge \lambda\lVert q - p\rVert_2^2

    Parameters
    ----------
    loss : {"cross_entropy", "squared_error"}
        As in the palette: nats, and the mean over classes of squared distances.
    classes : int
        K, at least 2.

    Returns
    -------
    float
        1 for cross-entropy, 1/K for squared error, where equality holds.

    Raises
    ------
    AkpError
        For a loss that has no such constant, or that is none of the palette.
    """
    if loss not in PROPER:
        raise unknown_name("strongly proper loss", loss, PROPER)
    return 1.0 if loss == "cross_entropy" else 1.0 / classes


def excess_risk(
    truth: Float[Array, "n K"], outputs: Float[Array, "M n K"], loss: str = "cross_entropy"
) -> Float64[np.ndarray, " M"]:
    r"""How much more than the least possible risk each model has, where the law of the labels is known.

    .. math:: \varepsilon_i = \frac1n\sum_x \mathrm{KL}(p(x)\,\Vert\,q_i(x))
              \quad\text{or}\quad \frac{1}{nK}\sum_x\lVert q_i(x) - p(x)\rVert_2^2

    Parameters
    ----------
    truth : (n, K) float array, NumPy or torch
        Probability of each class at each item.
    outputs : (M, n, K) float array, NumPy or torch
        Probabilities by M models; for squared error any real numbers.
    loss : {"cross_entropy", "squared_error"}

    Returns
    -------
    (M,) float64
        In nats for cross-entropy, at least 0; infinite for a model that calls something possible impossible.

    Raises
    ------
    AkpError
        If shapes do not fit, or a row is no law.

    Notes
    -----
    The mean is over the items given, each of weight 1/n. Cost: MnK.

    References
    ----------
    T. Gneiting, A. E. Raftery, Strictly proper scoring rules, prediction, and estimation, J. Am. Stat. Assoc.
    102 (2007), section 4.
    """
    law = read_probabilities(truth, "truth")
    read = read_probabilities if loss == "cross_entropy" else read_numbers
    values = read(outputs, "outputs", "models items classes")
    same_shape(law, values, "truth and outputs")
    scale = modulus(loss, law.shape[-1])
    if loss == "cross_entropy":
        return np.asarray(rel_entr(law, values).sum(axis=-1).mean(axis=-1).clip(min=0))
    return np.asarray(scale * np.square(values - law).sum(axis=-1).mean(axis=-1))


def total_variation_bound(
    first: float | Float[np.ndarray, "*any"], second: float | Float[np.ndarray, "*any"]
) -> Float64[np.ndarray, "*any"]:
    r"""The most that the outputs of two models can differ, from their excess cross-entropies.

    .. math:: \mathbb E\,\mathrm{TV}(q_1, q_2) \le \min\{1, f(\varepsilon_1) + f(\varepsilon_2)\}, \qquad
              f(\varepsilon) = \min\Bigl\{\sqrt{\varepsilon/2}, \sqrt{1 - e^{-\varepsilon}}\Bigr\}

    Parameters
    ----------
    first, second : float or array that broadcast
        Excess cross-entropies in nats, from 0 to infinity.

    Returns
    -------
    float64 array
        In [0, 1]; 1 says nothing. Whatever the number of classes.

    Raises
    ------
    AkpError
        For an excess below 0 or NaN.

    References
    ----------
    A. B. Tsybakov, Introduction to Nonparametric Estimation (2009), section 2.4: Pinsker, Bretagnolle-Huber.
    """

    def f(excess: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
        return np.minimum(np.sqrt(excess / 2), np.sqrt(-np.expm1(-excess)))

    both = f(not_negative(first, "excess risk")) + f(not_negative(second, "excess risk"))
    return np.asarray(np.minimum(1.0, both))


def root_mean_square_bound(
    first: float | Float[np.ndarray, "*any"], second: float | Float[np.ndarray, "*any"], strength: float = 1.0
) -> Float64[np.ndarray, "*any"]:
    r"""The most that two models' outputs differ in root mean square, from their excess risks.

    .. math:: \bigl(\mathbb E\lVert q_1 - q_2\rVert_2^2\bigr)^{1/2} \le
              \sqrt{\varepsilon_1/\lambda} + \sqrt{\varepsilon_2/\lambda}

    Parameters
    ----------
    first, second : float or array that broadcast
        Excess risks, from 0 to infinity.
    strength : float
        :math:`\lambda > 0`, from `modulus`.

    Returns
    -------
    float64 array
        At least 0. For probabilities it says nothing from :math:`\sqrt2` on.

    Raises
    ------
    AkpError
        For an excess below 0 or NaN, or a strength that is not positive.
    """
    if not strength > 0:
        raise AkpError(f"expected a strength above 0, got {strength!r}; take it from modulus")
    both = np.sqrt(not_negative(first, "excess risk")) + np.sqrt(not_negative(second, "excess risk"))
    return np.asarray(both / np.sqrt(strength))


def cka_floor(
    truth: Float[Array, "n K"],
    first: float | Float[np.ndarray, "*any"],
    second: float | Float[np.ndarray, "*any"],
    estimator: Estimator = "unbiased",
) -> Float64[np.ndarray, "*any"]:
    r"""The least linear CKA of two models' outputs, from how far each is from the truth.

    .. math:: \mathrm{CKA} \ge \cos(\theta_1 + \theta_2), \qquad
              \sin\theta_i = \frac{2 s\sqrt n\,r_i + n r_i^2}{\kappa}

    with s the largest singular value of the centred truth S, :math:`\kappa = \lVert SS^\top\rVert_F`, and for
    the unbiased estimator the norm of the U-centred :math:`SS^\top` in its place.

    Parameters
    ----------
    truth : (n, K) float array, NumPy or torch
        Probability of each class at each of n items; n > 3.
    first, second : float or array that broadcast
        Root mean square distances :math:`r_i` of the models' outputs from the truth on these items. At most
        :math:`\sqrt{\varepsilon_i/\lambda}` where only an excess risk is known.
    estimator : {"biased", "unbiased"}

    Returns
    -------
    float64 array
        In [0, 1] for the biased estimator, in [-1, 1] for the unbiased one. 0 and less says nothing of use.

    Raises
    ------
    AkpError
        If the truth does not vary over the items, as then no floor exists.

    Notes
    -----
    Near the truth the floor is about :math:`1 - 2s^2 n(r_1 + r_2)^2/\kappa^2`. Cost: :math:`nK^2`.
    """
    if estimator not in get_args(Estimator):
        raise unknown_name("estimator", estimator, get_args(Estimator))
    law = read_probabilities(truth, "truth")
    items = len(law)
    signal = law - law.mean(axis=0)
    size = (
        float(np.linalg.norm(signal @ signal.T))
        if items < law.shape[1]
        else float(np.linalg.norm(signal.T @ signal))
    )
    if estimator == "unbiased":
        if items < 4:
            raise AkpError(f"expected four items or more for the unbiased estimator, got {items}")
        own = np.square(signal).sum(axis=1)
        lost = items / (items - 2) * np.square(own).sum() - own.sum() ** 2 / ((items - 1) * (items - 2))
        size = float(np.sqrt(max(0.0, size**2 - lost)))
    top = float(np.linalg.norm(signal, 2))
    if np.abs(signal).max() < 1e-7 or size <= 1e-9 * top**2:
        raise AkpError(
            "expected a law that varies over the items, got a constant one: CKA has no floor there"
        )
    sines = []
    for distance in (first, second):
        move = np.sqrt(items) * not_negative(distance, "distance to the truth")
        sines.append((2 * top * move + move**2) / size)
    known = (sines[0] < 1) & (sines[1] < 1)
    angle = np.arcsin(np.minimum(sines[0], 1)) + np.arcsin(np.minimum(sines[1], 1))
    floor = np.where(known, np.cos(angle), -1.0)
    return np.asarray(np.maximum(floor, 0.0) if estimator == "biased" else floor)
