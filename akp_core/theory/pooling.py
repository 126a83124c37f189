r"""Layers that average: how sensitive they are to a shift and to noise, exactly, and with bounds.

A layer is x -> (h * x) at every s-th place, h >= 0 with sum 1. After k of them the output is one filter
:math:`a_k` applied to the input, and everything follows from its autocorrelation, the law of a random walk:
:math:`r_k(\tau) = P\bigl(\sum_i s^i (J_i - J'_i) = \tau\bigr)` with J and J' independent draws from h.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log2, pi, sqrt
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from akp_core.errors import expected, whole_number

LONGEST = 1_000_000


def check_filter(weights: Sequence[float]) -> Float64[np.ndarray, " F"]:
    """Return an averaging filter: weights of at least 0, at least two of them above, scaled to sum 1."""
    found = np.asarray(weights, dtype=np.float64)
    if found.ndim != 1 or not np.isfinite(found).all() or (found < 0).any() or (found > 0).sum() < 2:
        raise expected("a filter of finite weights, none below 0 and two above", f"{weights!r:.60}")
    # A leading or trailing zero is no part of a filter's width.
    return np.trim_zeros(found) / found.sum()


def kernel(weights: Sequence[float], stride: int, depth: int) -> Float64[np.ndarray, " L"]:
    r"""The one filter that a stack of equal layers is.

    .. math:: a_k = h * h_{\uparrow s} * \dots * h_{\uparrow s^{k - 1}}

    Parameters
    ----------
    weights : sequence of float
        The filter h of a layer; scaled to sum 1.
    stride : int
        s, at least 1.
    depth : int
        Layers k, at least 0.

    Returns
    -------
    (L,) float64 array
        At least 0, sum 1; L is the receptive field.

    Raises
    ------
    AkpError
        For a filter that does not average, and a receptive field above a million pixels.
    """
    h = check_filter(weights)
    stride, depth = whole_number("stride", stride, 1), whole_number("depth", depth, 0, 10_000)
    length = 1 + (len(h) - 1) * sum(stride**i for i in range(depth))
    if length > LONGEST:
        raise expected(f"a receptive field of at most {LONGEST:,} pixels", f"{length:,}", "use fewer layers")
    found = np.ones(1)
    for i in range(depth):
        # Sparse, so by sums of shifted copies rather than by a dense convolution.
        grown = np.zeros(len(found) + (len(h) - 1) * stride**i)
        for j, weight in enumerate(h):
            grown[j * stride**i : j * stride**i + len(found)] += weight * found
        found = grown
    return found


class Sensitivity(NamedTuple):
    """What a stack of averaging layers does to white images.

    Attributes
    ----------
    width : float
        A: standard deviation of the filter :math:`a_k` as a law of places.
    shift : float
        D_f: mean squared change of the output under the shift, over that between two images.
    noise : float
        G_f: the same under Gaussian noise whose norm is that of the change of the input.
    rectified : float
        G_f for that noise after a ReLU.
    """

    width: float
    shift: float
    noise: float
    rectified: float


def sensitivity(
    weights: Sequence[float], stride: int, depth: int, *, shift: int = 1, dims: int = 1
) -> Sensitivity:
    r"""D_f, G_f and receptive field of a stack on white images, without drawing any.

    .. math:: D = 1 - \frac{r_k(\tau)}{r_k(0)}, \qquad G = 1, \qquad
              G_+ = \frac12 \Bigl(1 - \frac1\pi + \frac{1}{\pi\, r_k(0)^d}\Bigr)

    Parameters
    ----------
    weights, stride, depth
        As for `kernel`.
    shift : int
        tau, pixels along one axis, at least 1.
    dims : int
        d, of the image; the filter is the product of h along each axis.

    Returns
    -------
    Sensitivity

    Raises
    ------
    AkpError
        As `kernel`; for a shift or dims below 1.

    Notes
    -----
    Invariances: scale and mean of the pixels. Cost: L log L for a receptive field of L pixels.
    """
    a = kernel(weights, stride, depth)
    tau, dims = whole_number("shift", shift, 1), whole_number("dims", dims, 1)
    r0 = float(a @ a)
    r = float(a[tau:] @ a[:-tau]) if tau < len(a) else 0.0
    places = np.arange(len(a)) - a @ np.arange(len(a))
    return Sensitivity(
        width=sqrt(float(a @ places**2)),
        shift=max(1 - r / r0, 0.0),
        noise=1.0,
        rectified=(1 - 1 / pi + 1 / (pi * r0**dims)) / 2,
    )


class Bounds(NamedTuple):
    """Bounds of D_f for a shift of one pixel at stride 1: low / k <= D_f <= high / k, and k D_f -> limit."""

    low: float
    limit: float
    high: float


def bounds(weights: Sequence[float]) -> Bounds:
    r"""The constants of the theorem on stride 1, from the filter's variance v and its narrowness c.

    .. math:: \frac{8\sqrt{c}}{15\, \pi^{5/2}\, v^{3/2}}\,\frac1k \le D_f \le
              \frac{3 \sqrt{\pi v}}{16\, c^{3/2}}\,\frac1k, \qquad k D_f \to \frac{1}{4 v}

    with :math:`c = \inf_{0 < \omega \le \pi} -\log |\hat h(\omega)|^2 / \omega^2`.

    Parameters
    ----------
    weights : sequence of float
        Whose places with positive weight have differences without a common divisor.

    Returns
    -------
    Bounds

    Raises
    ------
    AkpError
        For a filter that does not average, or whose places share a divisor: a shift by one pixel then
        never meets itself, and D_f stays 1.

    Notes
    -----
    The upper and lower bound hold for k >= 1 / (v pi^2). c is found on 20,000 frequencies.
    """
    h = check_filter(weights)
    places = np.arange(len(h))
    if np.gcd.reduce(np.flatnonzero(h > 0)) != 1:
        raise expected("a filter whose places have no common divisor", f"{weights!r:.60}")
    v = float(h @ (places - h @ places) ** 2)
    omega = np.linspace(0, pi, 20_001)[1:]
    power = np.abs(np.exp(-1j * np.outer(omega, places)) @ h) ** 2
    c = min(v, float((-np.log(np.maximum(power, 1e-300)) / omega**2).min()))
    return Bounds(
        low=8 * sqrt(c) / (15 * pi**2.5 * v**1.5), limit=1 / (4 * v), high=3 * sqrt(pi * v) / (16 * c**1.5)
    )


def sum_rule(weights: Sequence[float], stride: int) -> bool:
    """Whether a filter weighs all residues of the stride alike, without which D_f cannot fall to 0.

    Parameters
    ----------
    weights : sequence of float
    stride : int
        At least 1.

    Returns
    -------
    bool
        Weights at places that leave the same rest when divided by the stride have one sum for all rests.

    Raises
    ------
    AkpError
        For a filter that does not average, or a stride below 1.

    References
    ----------
    Strang and Fix 1971 (the sum rule, as a condition on approximation).
    """
    h, stride = check_filter(weights), whole_number("stride", stride, 1)
    sums = np.bincount(np.arange(len(h)) % stride, weights=h, minlength=stride)
    return bool(np.ptp(sums) < 1e-9)


def stride_bound(width: int, stride: int, depth: int) -> float:
    r"""The proved upper bound of D_f for an all-ones filter whose width is a multiple of the stride.

    .. math:: D_f \le \frac{2 (F - 1)}{s - 1}\, s^{-k}; \qquad D_f = s^{-k} \text{ for } F = s

    Parameters
    ----------
    width : int
        F, a multiple of the stride.
    stride : int
        s, at least 2.
    depth : int
        k, at least 1.

    Returns
    -------
    float

    Raises
    ------
    AkpError
        For a width that is no multiple of the stride, or a number out of its range.
    """
    stride, depth = whole_number("stride", stride, 2), whole_number("depth", depth, 1)
    width = whole_number("width", width, 2)
    if width % stride:
        raise expected(f"a width that is a multiple of {stride}", str(width))
    return (1.0 if width == stride else 2 * (width - 1) / (stride - 1)) * float(stride) ** -depth


THREE_AT_TWO = (5 - sqrt(17)) / 4
"""Where D_f stops falling for the all-ones filter of width 3 at stride 2."""
THREE_AT_TWO_NOISE = log2(18 / (5 + sqrt(17)))
"""Exponent of G_f under rectified noise for that filter, in the width of the receptive field."""
