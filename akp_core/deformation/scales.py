"""How far a random diffeomorphism moves a pixel: the formula of the paper, and the exact law."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
from jaxtyping import Float64

from akp_core.deformation.modes import modes
from akp_core.errors import expected, whole_number


def typical_displacement(temperature: float, cutoff: int, side: float) -> float:
    r"""Displacement at the centre of an image by the paper's formula, in pixels.

    .. math:: \delta = \frac{n}{2} \sqrt{\pi T \ln c}

    The formula puts an integral in the place of the sum over modes. It lies between the exact root mean
    square of one component and that of the length of the displacement: see `displacement_variance`.

    Parameters
    ----------
    temperature : float
        T, 0 or more.
    cutoff : int
        c, at least 2: the formula has ln c.
    side : float
        n, pixels along the side of a square image; the square root of h w for others.

    Returns
    -------
    float
        0 or more.

    Raises
    ------
    AkpError
        For anything else; a cutoff of 1 has no typical displacement.

    References
    ----------
    Petrini, Favero, Geiger and Wyart 2021, and the code that they published.
    """
    return (
        not_negative("side", side)
        / 2
        * math.sqrt(math.pi * not_negative("temperature", temperature) * _log(cutoff))
    )


def temperature_for(displacement: float, cutoff: int, side: float) -> float:
    r"""Temperature at which the typical displacement is as wanted: the inverse of `typical_displacement`.

    .. math:: T = \frac{4 \delta^2}{\pi n^2 \ln c}

    Parameters
    ----------
    displacement : float
        In pixels, 0 or more.
    cutoff, side
        As for `typical_displacement`.

    Returns
    -------
    float
        0 or more.

    Raises
    ------
    AkpError
        As `typical_displacement`; for a side of 0.
    """
    if not_negative("side", side) == 0:
        raise expected("a side of more than 0 pixels", repr(side))
    return 4 * not_negative("displacement", displacement) ** 2 / (math.pi * side**2 * _log(cutoff))


def temperature_range(cutoff: int, side: float) -> tuple[float, float]:
    r"""Temperatures between which the paper's deformations lie.

    .. math:: T_{\min} = \frac{1}{\pi n^2 \ln c}, \qquad T_{\max} = \frac{4}{\pi^3 c^2 \ln c}

    At the first the typical displacement is half a pixel. The second is meant to keep the map invertible, but
    it is a soft limit: some fields fold below it, and many do not fold at it (`fold_temperature`).

    Parameters
    ----------
    cutoff, side
        As for `temperature_for`.

    Returns
    -------
    (float, float)
        The first may exceed the second, for small images with a high cutoff: no temperature fits there.
    """
    return temperature_for(0.5, cutoff, side), 4 / (math.pi**3 * cutoff**2 * _log(cutoff))


def displacement_variance(
    shape: Sequence[int], *, cutoff: int, temperature: float
) -> Float64[np.ndarray, "h w"]:
    r"""Exact variance of one component of the displacement at every pixel, in pixels squared.

    .. math:: \sigma^2(x, y) = T \sum_{ij} \frac{\sin^2(i \pi x) \sin^2(j \pi y)}{(i/w)^2 + (j/h)^2}

    The vertical and the horizontal component are independent and both have it, so the mean squared length of
    the displacement is twice as much.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the images.
    cutoff : int
        At least 1.
    temperature : float
        T, 0 or more.

    Returns
    -------
    (h, w) float64 array
        Zero along the frame.
    """
    which = modes(shape, cutoff)
    strength = np.zeros((which.down.shape[1], which.across.shape[1]))
    strength[which.vertical - 1, which.horizontal - 1] = which.deviation.square()
    down, across = which.down.numpy() ** 2, which.across.numpy() ** 2
    return not_negative("temperature", temperature) * (down @ strength @ across.T)


def root_mean_square(shape: Sequence[int], *, cutoff: int, temperature: float) -> float:
    """Exact root mean square length of the displacement over a whole image, in pixels.

    Parameters
    ----------
    shape, cutoff, temperature
        As for `displacement_variance`.
    """
    variance = displacement_variance(shape, cutoff=cutoff, temperature=temperature)
    return math.sqrt(2 * float(variance.mean()))


def not_negative(name: str, value: object) -> float:
    """Return a value that must be a finite number of 0 or more."""
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) < math.inf:
        raise expected(f"{name} as a number of 0 or more", repr(value))
    return float(value)


def _log(cutoff: int) -> float:
    if cutoff == 1:
        raise expected(
            "a cutoff of at least 2, as the typical displacement is divided by ln(cutoff)",
            "1",
            "choose a cutoff of 2 or more, or give a temperature",
        )
    return math.log(whole_number("cutoff", cutoff, 2))
