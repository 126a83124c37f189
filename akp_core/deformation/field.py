"""Random displacement fields of maximal entropy: one for every image, drawn image after image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from akp_core.deformation.modes import Modes, modes
from akp_core.deformation.scales import not_negative
from akp_core.errors import expected, whole_number

_BLOCK = 16
"""Torch fills normal numbers in blocks of 16, so that only whole blocks are the same in any larger draw."""


def fields(
    count: int,
    shape: Sequence[int],
    *,
    cutoff: int,
    temperature: float,
    generator: torch.Generator,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n 2 h w"]:
    r"""Draw independent displacement fields of maximal entropy, one for each image.

    .. math:: \delta(x, y) = \sum_{ij} C_{ij} \sin(i \pi x) \sin(j \pi y), \qquad
              C_{ij} \sim N\!\left(0, \frac{T}{(i/w)^2 + (j/h)^2}\right)

    over the modes up to the cutoff (`modes`), for the vertical and the horizontal component alike. Among all
    fields that vanish on the frame and have this mean squared gradient it is the law of the highest entropy.

    Parameters
    ----------
    count : int
        n, how many fields.
    shape : (int, int)
        Height and width of the images, any.
    cutoff : int
        Half-waves along the shorter side, from 1 to its pixels less 2.
    temperature : float
        T, 0 or more (`temperature_for` finds it from a displacement).
    generator : torch.Generator
        On the CPU, whatever the device: the draws are the same everywhere.
    dtype : torch.float32 or torch.float64
    device : torch.device or str

    Returns
    -------
    (n, 2, h, w) tensor
        Pixels; first the vertical component (down), then the horizontal one (right). Zero on the frame.

    Raises
    ------
    AkpError
        For an argument out of range, and for a generator of another device.

    Notes
    -----
    Draws come image after image: fields of 3 images and then of 5 are those of 8, up to round-off.

    Invariances: proportional to the square root of the temperature. Cost: two matrix products,
    n h c (c + w) multiplications.

    References
    ----------
    Petrini, Favero, Geiger and Wyart 2021.
    """
    which = modes(shape, cutoff)
    coefficients = draw_coefficients(count, which, temperature=temperature, generator=generator)
    return expand(coefficients, which, dtype=dtype, device=device)


def draw_coefficients(
    count: int, which: Modes, *, temperature: float, generator: torch.Generator
) -> Float32[Tensor, "n 2 k"]:
    """Draw the coefficient of every mode for every image, in pixels; vertical component first."""
    count = whole_number("the number of fields", count, 1)
    scale = math.sqrt(not_negative("temperature", temperature))
    check_generator(generator)
    needed = 2 * len(which.deviation)
    drawn = normals(count, needed, generator).reshape(count, 2, -1)
    return drawn * (scale * which.deviation).float()


def normals(count: int, needed: int, generator: torch.Generator) -> Float32[Tensor, "n needed"]:
    """Standard normal numbers, row after row: the first rows of a larger draw are those of a smaller one."""
    blocks = -(-needed // _BLOCK)
    return torch.randn(count, blocks * _BLOCK, generator=generator, dtype=torch.float32)[:, :needed]


def expand(
    coefficients: Float[Tensor, "n 2 k"], which: Modes, *, dtype: torch.dtype, device: torch.device | str
) -> Float[Tensor, "n 2 h w"]:
    """Turn coefficients of modes into displacements of pixels."""
    if dtype not in (torch.float32, torch.float64):
        raise expected("float32 or float64 for fields", str(dtype))
    table = as_table(coefficients.to(device, dtype), which)
    down, across = (sines.to(device, dtype) for sines in (which.down, which.across))
    return down @ table @ across.T


def as_table(coefficients: Float[Tensor, "n 2 k"], which: Modes) -> Float[Tensor, "n 2 a b"]:
    """Put the coefficients where their half-waves are; zero where the cutoff leaves a mode out."""
    a, b = which.down.shape[1], which.across.shape[1]
    table = coefficients.new_zeros(len(coefficients), 2, a * b)
    place = (which.vertical - 1) * b + which.horizontal - 1
    return table.index_copy_(2, place.to(table.device), coefficients).reshape(-1, 2, a, b)


def check_generator(generator: torch.Generator) -> None:
    """Refuse anything but a torch generator on the CPU."""
    if not isinstance(generator, torch.Generator):
        raise expected("a torch.Generator", type(generator).__name__, "torch.Generator().manual_seed(0)")
    if generator.device.type != "cpu":
        raise expected(
            "a generator on the CPU",
            f"one on {generator.device}",
            "the draws are made there and moved, so that they are the same on every device",
        )
