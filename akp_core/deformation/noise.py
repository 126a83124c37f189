"""Noise that changes each image by exactly as much as a deformation did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.deformation.deformed import Deformed
from akp_core.deformation.field import check_generator, normals
from akp_core.deformation.reading import check_images, said
from akp_core.errors import expected, unknown_name

Match = Literal["each", "mean"]
_CHUNK = 1_000_000


def matched_noise(
    images: Float[Tensor, "n c h w"],
    deformed: Deformed | Float[Tensor, "n c h w"],
    *,
    generator: torch.Generator,
    match: Match = "each",
) -> Float[Tensor, "n c h w"]:
    r"""Add isotropic noise of the norm of the deformation's change.

    .. math:: x_i + r_i \frac{z_i}{\|z_i\|}, \quad z_i \sim N(0, 1), \qquad
              r_i = \|\tau_i x_i - x_i\| \text{ or } r_i = \tfrac1n \textstyle\sum_j \|\tau_j x_j - x_j\|

    Parameters
    ----------
    images : (n, c, h, w) tensor, float32 or float64
    deformed : Deformed or (n, c, h, w) tensor
        The same images, bent.
    generator : torch.Generator
        On the CPU.
    match : {"each", "mean"}
        Each image's own change (the authors' code of 2022), or the mean over the images (the definition of
        2021).

    Returns
    -------
    (n, c, h, w) tensor
        The noisy images, not the noise; they are not clipped. An image that did not change gets no noise of
        its own.

    Raises
    ------
    AkpError
        If the shapes differ, or for an unknown match.

    Notes
    -----
    Image i gets the i-th draw, however many come after it.

    References
    ----------
    Petrini et al. 2021 (``"mean"``); Tomasini et al. 2022 (``"each"``).
    """
    check_images(images)
    bent = deformed.images if isinstance(deformed, Deformed) else deformed
    if not isinstance(bent, Tensor) or bent.shape != images.shape:
        raise expected(f"deformed images of shape {tuple(images.shape)}, that of the images", said(bent))
    check_images(bent)
    if match not in get_args(Match):
        raise unknown_name("match", match, get_args(Match))
    check_generator(generator)
    n = len(images)
    radius = torch.cat([(b - x).double().flatten(1).norm(dim=1) for b, x in _chunks(bent, images)])
    if match == "mean":
        radius = radius.mean().expand(n)
    out = torch.empty_like(images, memory_format=torch.contiguous_format)
    for noisy, x, length in _chunks(out, images, radius):
        drawn = normals(len(x), x[0].numel(), generator).to(x.device, torch.float64)
        noise = drawn * (length / drawn.norm(dim=1))[:, None]
        noisy.copy_(x.double() + noise.reshape(x.shape))
    return out


def _chunks(*arrays: Tensor) -> Iterator[tuple[Tensor, ...]]:
    step = max(1, _CHUNK // arrays[0][0].numel())
    return zip(*(torch.split(array, step) for array in arrays), strict=True)
