"""The sine modes of a displacement that leaves the frame of an image where it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from akp_core.errors import expected, whole_number


@dataclass(frozen=True, eq=False)  # each is made once, so that it is known by itself
class Modes:
    """The modes of one image shape and cutoff; whoever asks for the same gets the same tensors.

    Attributes
    ----------
    shape : (int, int)
        Height and width in pixels.
    vertical, horizontal : (k,) int64 tensors
        Half-waves of each mode down and across the image, from 1.
    deviation : (k,) float64 tensor
        Standard deviation, in pixels, of the coefficient of each mode at temperature 1.
    down, across : (h, a) and (w, b) float64 tensors
        The sines at the pixels, exactly zero at both ends; column i is that of i + 1 half-waves.
    """

    shape: tuple[int, int]
    vertical: Int64[Tensor, " k"]
    horizontal: Int64[Tensor, " k"]
    deviation: Float64[Tensor, " k"]
    down: Float64[Tensor, "h a"]
    across: Float64[Tensor, "w b"]


def modes(shape: Sequence[int], cutoff: int) -> Modes:
    r"""List the modes up to a cutoff, which counts half-waves along the shorter side.

    .. math:: \sin(i \pi x) \sin(j \pi y), \qquad
              \sqrt{(i s / w)^2 + (j s / h)^2} < c + \tfrac12, \qquad s = \min(h, w)

    Their coefficients have variance :math:`T / ((i/w)^2 + (j/h)^2)` in pixels squared, the inverse of their
    share of the squared gradient; for a square image of side n that is :math:`n^2 T / (i^2 + j^2)`.

    Parameters
    ----------
    shape : (int, int)
        Height h and width w of the images, at least 3 each.
    cutoff : int
        c, from 1 to min(h, w) - 2: a wave with as many half-waves as pixels vanishes at every pixel.

    Raises
    ------
    AkpError
        For anything else.
    """
    if len(shape) != 2:
        raise expected("the shape of an image as (height, width)", repr(tuple(shape)))
    h, w = whole_number("an image's height", shape[0], 3), whole_number("an image's width", shape[1], 3)
    short = min(h, w)
    return _modes(h, w, whole_number(f"a cutoff for images of {h} x {w} pixels", cutoff, 1, short - 2))


@lru_cache(maxsize=64)
def _modes(h: int, w: int, cutoff: int) -> Modes:
    short = min(h, w)
    j = torch.arange(1, math.ceil((cutoff + 0.5) * h / short) + 1, dtype=torch.float64)[:, None]
    i = torch.arange(1, math.ceil((cutoff + 0.5) * w / short) + 1, dtype=torch.float64)[None, :]
    number = ((i / w).square() + (j / h).square()).sqrt()
    rows, columns = torch.nonzero(number * short < cutoff + 0.5, as_tuple=True)
    return Modes(
        (h, w),
        rows + 1,
        columns + 1,
        1 / number[rows, columns],
        _sines(h, int(rows.max()) + 1),
        _sines(w, int(columns.max()) + 1),
    )


def _sines(side: int, most: int) -> Float64[Tensor, "side most"]:
    place = torch.linspace(0, math.pi, side, dtype=torch.float64)
    sines = torch.sin(place[:, None] * torch.arange(1, most + 1, dtype=torch.float64))
    sines[0] = sines[-1] = 0
    return sines
