"""Statement 5, the targets that have a formula: smoothed labels, focal loss, the hinge of three classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from akp_core.errors import expected
from akp_core.similarity.arrays import Array
from akp_core.theory.probabilities import not_negative, read_probabilities


def smoothed(law: Float[Array, "n K"], smoothing: float = 0.1) -> Float64[np.ndarray, "n K"]:
    r"""The target of cross-entropy with smoothed labels, a contraction towards the uniform law.

    .. math:: q^\star = (1 - \alpha)\,p + \alpha / K

    Parameters
    ----------
    law : (n, K) float array, NumPy or torch
    smoothing : float
        :math:`\alpha` in [0, 1]; the palette has 0.1.

    Returns
    -------
    (n, K) float64
        Probabilities. Order and ties of the classes are kept for :math:`\alpha < 1`.

    Raises
    ------
    AkpError
        For a smoothing outside [0, 1].
    """
    p = read_probabilities(law, "the law")
    alpha = float(not_negative(smoothing, "smoothing"))
    if alpha > 1:
        raise expected("a smoothing from 0 to 1", repr(smoothing))
    return np.asarray((1 - alpha) * p + alpha / p.shape[1])


def law_behind_focal(target: Float[Array, "n K"]) -> Float64[np.ndarray, "n K"]:
    r"""The law at which focal loss (gamma 2) aims at given probabilities: the inverse of its target.

    .. math:: p_k = \frac{1/\varphi(q_k)}{\sum_j 1/\varphi(q_j)}, \qquad
              \varphi(q) = \frac{(1 - q)^2}{q} - 2(1 - q)\log q

    Parameters
    ----------
    target : (n, K) float array, NumPy or torch
        Probabilities strictly between 0 and 1.

    Returns
    -------
    (n, K) float64
        Probabilities, in the same order over classes.

    Raises
    ------
    AkpError
        If a row is no law, or calls a class certain or impossible.

    References
    ----------
    N. Charoenphakdee et al., On focal loss for class-posterior probability estimation, CVPR 2021.
    """
    q = read_probabilities(target, "the target")
    if q.min() <= 0 or q.max() >= 1:
        raise expected("a target strictly between 0 and 1", f"from {q.min():.3g} to {q.max():.3g}")
    weight = 1 / ((1 - q) ** 2 / q - 2 * (1 - q) * np.log(q))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def hinge_ties(law: Float[Array, "n 3"]) -> Bool[np.ndarray, " n"]:
    r"""Where the three-class hinge cannot tell the best class from the second best.

    .. math:: p_{(1)} < \tfrac12 \quad\text{and}\quad p_{(2)} > \tfrac13

    with the probabilities in falling order: there every minimiser has :math:`z_{(1)} = z_{(2)}`.

    Parameters
    ----------
    law : (n, 3) float array, NumPy or torch

    Returns
    -------
    (n,) bool
        True for one law in six of all laws of three classes, drawn uniformly.

    Raises
    ------
    AkpError
        If there are not three classes.
    """
    p = np.sort(read_probabilities(law, "the law"), axis=1)
    if p.shape[1] != 3:
        raise expected("a law of three classes", f"{p.shape[1]} classes")
    return np.asarray((p[:, 2] < 0.5) & (p[:, 1] > 1 / 3))
