r"""Layers whose clones are planted, and what theory says of their chunks.

A base of b independent units of variance 1 is copied k times, each copy with independent noise of variance
:math:`\sigma^2`; so W = b k. With m of a base unit's k copies in a chunk, the others are foretold from their
mean, which leaves :math:`\sigma^2 / (m + \sigma^2)` of the base unit's variance and all of their own noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Real
from scipy import integrate, stats

from akp_core.clones.chunks import Generator, check_generator, chunk_sizes
from akp_core.errors import expected, whole_number


@dataclass(frozen=True)
class Planted:
    """A layer with planted clones.

    Attributes
    ----------
    activations : (n, W) float64
        In random order of the units.
    base : (W,) int64
        Which base unit each unit copies.
    """

    activations: Float64[np.ndarray, "n w"]
    base: Int64[np.ndarray, " w"]


def _noise(noise: float) -> float:
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 <= noise < np.inf:
        raise expected("noise as a variance of at least 0", repr(noise))
    return float(noise)


def plant(images: int, base: int, copies: int, noise: float, *, generator: Generator) -> Planted:
    """Draw a layer of so many noisy copies of a Gaussian base; one copy has no clones.

    Parameters
    ----------
    images, base, copies : int
    noise : float
        Variance of each unit's own noise; the base has variance 1.
    generator : numpy.random.Generator

    Returns
    -------
    Planted
    """
    for name, value in (("images", images), ("base", base), ("copies", copies)):
        whole_number(name, value, 1)
    check_generator(generator)
    which = generator.permutation(np.repeat(np.arange(base), copies))
    z = generator.standard_normal((images, base))
    own = np.sqrt(_noise(noise)) * generator.standard_normal((images, base * copies))
    return Planted(z[:, which] + own, which)


def _copies_in_chunk(base: int, copies: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    chunk_sizes(whole_number("base", base, 1) * whole_number("copies", copies, 1), [size])
    m = np.arange(copies + 1)
    return m, stats.hypergeom(base * copies, copies, size).pmf(m)


def planted_r_squared(base: int, copies: int, noise: float, size: int) -> float:
    r"""Expected R^2 of a chunk of a planted layer, for endlessly many images.

    .. math:: R^2 = \frac{w (1 + \sigma^2) + b\, \mathbb E\left[ (k - m) \frac{m}{m + \sigma^2} \right]}
       {b k (1 + \sigma^2)}, \qquad m \sim \text{hypergeometric}(bk, k, w).

    Parameters
    ----------
    base, copies, noise
        As for `plant`.
    size : int
        Units in the chunk, w.

    Returns
    -------
    float
        In [0, 1].
    """
    m, chance = _copies_in_chunk(base, copies, size)
    s = _noise(noise)
    told = np.divide(m, m + s, out=np.zeros(len(m)), where=m + s > 0)
    explained = size * (1 + s) + base * float(chance @ ((copies - m) * told))
    return explained / (base * copies * (1 + s))


def planted_correlation(base: int, copies: int, noise: float, size: int) -> float:
    r"""Expected mean absolute residual correlation of a planted layer, for endlessly many images.

    .. math:: \frac{b\, \mathbb E\left[ (k - m)(k - m - 1) / (1 + m + \sigma^2) \right]}{bk (bk - 1)},

    over all pairs of the layer: those of a chunk's own units, and of copies of different base units, are 0.

    Parameters
    ----------
    base, copies, noise, size
        As for `planted_r_squared`; the noise above 0.

    Returns
    -------
    float
        In [0, 1].
    """
    m, chance = _copies_in_chunk(base, copies, size)
    s = _noise(noise)
    if s == 0:
        raise expected("noise above 0", "0", "exact copies leave no residual to correlate")
    width = base * copies
    pairs = (copies - m) * (copies - m - 1) / (1 + m + s)
    return base * float(chance @ pairs) / max(width * (width - 1), 1)


def planted_margins(
    images: int, width: int, noise: float, *, generator: Generator
) -> tuple[Float64[np.ndarray, "n w"], Float64[np.ndarray, "2 w"], Int64[np.ndarray, " n"]]:
    r"""Draw a layer whose chunks err by a known law: every unit says the margin, plus noise of its own.

    Margins are uniform on (0, 1), so no image lies beyond its boundary and the whole, were it endless, would
    never err. Returns activations, the read-out's weight and labels.

    Parameters
    ----------
    images, width : int
    noise : float
        Standard deviation of each unit's noise.
    generator : numpy.random.Generator
    """
    whole_number("images", images, 1)
    whole_number("width", width, 1)
    check_generator(generator)
    labels = generator.integers(0, 2, size=images)
    side = np.where(labels == 1, 1.0, -1.0) * generator.random(images)
    x = side[:, None] + _noise(noise) * generator.standard_normal((images, width))
    return x, np.stack([-np.ones(width), np.ones(width)]), labels


def planted_margin_error(size: int | Real[np.ndarray, " s"], noise: float) -> Float64[np.ndarray, " s"]:
    r"""Expected error of a chunk of `planted_margins`.

    .. math:: e(w) = \int_0^1 \Phi\left(-\frac{m \sqrt w}{\sigma}\right) dm
       \;\to\; \frac{\sigma}{\sqrt{2 \pi w}} \quad (w \gg \sigma^2).

    Parameters
    ----------
    size : int or (s,) array
    noise : float
        Standard deviation, above 0.

    Returns
    -------
    (s,) float64
        In (0, 1/2].
    """
    if not _noise(noise) > 0:
        raise expected("noise above 0", repr(noise))
    sizes = np.atleast_1d(np.asarray(size, float))
    return np.array(
        [integrate.quad(lambda m, w=w: stats.norm.cdf(-m * np.sqrt(w) / noise), 0, 1)[0] for w in sizes]
    )
