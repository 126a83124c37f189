"""A batch of images bent by random diffeomorphisms, with the fields that bent them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from akp_core.deformation.field import draw_coefficients, expand
from akp_core.deformation.folds import folds as folds_of
from akp_core.deformation.modes import Modes, modes
from akp_core.deformation.reading import bend, check_images
from akp_core.deformation.scales import not_negative, temperature_for
from akp_core.errors import AkpError, unknown_name

OnFolds = Literal["report", "raise"]


@dataclass(frozen=True)
class Deformed:
    """What `deform` gives.

    Attributes
    ----------
    images : (n, c, h, w) tensor
        The bent images.
    coefficients : (n, 2, k) tensor
        Of every mode, in pixels; vertical component first.
    modes : Modes
        Which modes they are.
    temperature : float
        At which they were drawn.
    """

    images: Float[Tensor, "n c h w"]
    coefficients: Float[Tensor, "n 2 k"]
    modes: Modes
    temperature: float

    @cached_property
    def fields(self) -> Float[Tensor, "n 2 h w"]:
        """Displacement of every pixel, in pixels, vertical first; worked out when first asked for."""
        return expand(self.coefficients, self.modes, dtype=self.images.dtype, device=self.images.device)

    @cached_property
    def folded(self) -> Bool[Tensor, " n"]:
        """Whether each image was folded (`folds`); worked out when first asked for."""
        step = max(1, 1_000_000 // math.prod(self.modes.shape))
        like = self.images
        return torch.cat(
            [
                folds_of(expand(part, self.modes, dtype=like.dtype, device=like.device))
                for part in torch.split(self.coefficients, step)
            ]
        )

    @property
    def share_folded(self) -> float:
        """Share of the images that were folded."""
        return float(self.folded.double().mean())


def deform(
    images: Float[Tensor, "n c h w"],
    *,
    cutoff: int = 3,
    displacement: float | None = None,
    temperature: float | None = None,
    generator: torch.Generator,
    on_folds: OnFolds = "report",
) -> Deformed:
    r"""Bend each image by a random diffeomorphism of its own.

    .. math:: (\tau x)(p) = x(p - \delta(p)), \qquad \delta \text{ a field drawn by } \mathrm{fields}

    Parameters
    ----------
    images : (n, c, h, w) tensor, float32 or float64
        Any number of channels, any height and width, any device.
    cutoff : int
        Half-waves along the shorter side, from 2 (with a temperature, 1) to its pixels less 2.
    displacement : float, optional
        Typical displacement at the centre in pixels, by the paper's formula: `typical_displacement` with the
        square root of h w for the side. 1 pixel when neither it nor a temperature is given.
    temperature : float, optional
        In its place.
    generator : torch.Generator
        On the CPU.
    on_folds : {"report", "raise"}
        What to do about images that fold: `Deformed.folded` tells them, or an error.

    Returns
    -------
    Deformed
        ``images``, ``fields``, ``folded``, ``share_folded``.

    Raises
    ------
    AkpError
        For images that are none, a displacement beside a temperature, a value out of range, or a fold where
        none is wanted.

    Notes
    -----
    Image i is bent by the i-th draw from the generator, however many come after it, on any device.

    Invariances: linear in the images. Cost: that of a few copies of the images; fields and folds are worked
    out only when asked for.

    References
    ----------
    Petrini, Favero, Geiger and Wyart 2021.
    """
    check_images(images)
    h, w = images.shape[2:]
    if displacement is not None and temperature is not None:
        raise AkpError(
            f"expected a displacement or a temperature, got both ({displacement} and {temperature}); "
            "each follows from the other, see typical_displacement"
        )
    if on_folds not in get_args(OnFolds):
        raise unknown_name("way with folds", on_folds, get_args(OnFolds))
    if temperature is None:
        temperature = temperature_for(1.0 if displacement is None else displacement, cutoff, math.sqrt(h * w))
    which = modes((h, w), cutoff)
    temperature = not_negative("temperature", temperature)
    coefficients = draw_coefficients(len(images), which, temperature=temperature, generator=generator)
    bent = Deformed(bend(images, coefficients, which), coefficients, which, temperature)
    if on_folds == "raise" and bool(bent.folded.any()):
        raise AkpError(
            f"expected diffeomorphisms, got {int(bent.folded.sum())} of {len(images)} images with a fold; "
            "lower the displacement or the cutoff, or let on_folds='report' tell which"
        )
    return bent
