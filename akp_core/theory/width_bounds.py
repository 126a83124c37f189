r"""Bounds on how much the insides of two wide layers differ, at every width.

The constants are those of `akp_core.theory.width`; the proofs are in the book (statement 4).
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from akp_core.errors import expected, whole_number
from akp_core.theory.width import LayerConstants, centre


def expected_gap_bound(width: int, variance: float) -> float:
    r"""Bound on the expected gap of two seeds: :math:`\mathbb E[1-\mathrm{CKA}] \le \min(2, 4v/m)`, any m.

    Parameters
    ----------
    width : int
        m.
    variance : float
        v of `LayerConstants`, above 0.

    Returns
    -------
    float
        In (0, 2]; 2 says nothing.
    """
    width = whole_number("width", width, 1)
    return min(2.0, 4 * _positive("variance", variance) / width)


def _positive(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not 0 < value < np.inf:
        raise expected(f"{name} as a number above 0", repr(value))
    return float(value)


def bernstein_gap(width: int, spread: float, tail: float, *, failure: float = 0.05) -> float:
    r"""Bound on 1 - CKA of two seeds that holds with probability 1 - failure, at any width.

    .. math:: 1 - \mathrm{CKA} \le \min\Bigl(2,\; 2\rho^2\Bigr), \qquad
       \rho = \sqrt{\frac{2 s^2 \log(4/\delta)}{m}} + \frac{2 b \log(4/\delta)}{m}

    where :math:`\mathbb E\|A_k - A\|^p \le \frac{p!}{2} s^2 b^{p-2} \|A\|^p` for every whole p from 2.

    Parameters
    ----------
    width : int
        m.
    spread, tail : float
        s and b, from `bounded_tail` or `lipschitz_tail`.
    failure : float
        In (0, 1).

    Returns
    -------
    float
        In (0, 2]; 2 says nothing.

    References
    ----------
    Pinelis 1994 (the method); the constants are proved in the book.
    """
    width = whole_number("width", width, 1)
    spread, tail = _positive("spread", spread), _positive("tail", tail)
    if not 0 < _positive("failure", failure) < 1:
        raise expected("failure in (0, 1)", repr(failure))
    log = math.log(4 / failure)
    rho = math.sqrt(2 * spread**2 * log / width) + 2 * tail * log / width
    return min(2.0, 2 * rho**2)


def bounded_tail(constants: LayerConstants, images: int, low: float, high: float) -> tuple[float, float]:
    r"""Constants s, b of `bernstein_gap` for units in [low, high]: :math:`s^2 = v`, :math:`b = D/3`.

    .. math:: D = \frac{n (high - low)^2}{4 \|A\|} + 1 \;\ge\; \|A_k - A\| / \|A\| .

    Parameters
    ----------
    constants : LayerConstants
    images : int
        n.
    low, high : float
        The range of the activation.

    Returns
    -------
    (float, float)
    """
    images = whole_number("images", images, 2)
    room = _positive("high - low", high - low)
    return math.sqrt(constants.variance), (images * room**2 / (4 * constants.scale) + 1) / 3


def lipschitz_tail(
    constants: LayerConstants, covariance: Float[np.ndarray, "n n"], slope: float
) -> tuple[float, float]:
    r"""Constants s, b of `bernstein_gap` for Gaussian weights and an activation of Lipschitz constant l.

    .. math:: s = \sqrt{12}\, \ell^2 T / \|A\|, \qquad b = 4 \ell^2 T / \|A\|, \qquad
       T = \operatorname{tr} H \Sigma H

    Parameters
    ----------
    constants : LayerConstants
    covariance : (n, n) real array
        :math:`\Sigma`, of a unit's input (before the activation) on the images.
    slope : float
        l, such as 1 for ReLU.

    Returns
    -------
    (float, float)
    """
    total = float(np.trace(centre(np.asarray(covariance, dtype=np.float64), "biased")))
    unit = _positive("slope", slope) ** 2 * _positive("the trace of the covariance", total) / constants.scale
    return math.sqrt(12) * unit, 4 * unit
