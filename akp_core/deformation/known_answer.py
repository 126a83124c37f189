"""A linear network whose stability is known exactly: it sees planes, which bilinear reading bends exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from akp_core.deformation.modes import Modes, modes
from akp_core.deformation.reading import said
from akp_core.deformation.scales import not_negative
from akp_core.errors import expected


class Answer(NamedTuple):
    """Expected squared changes, not normalised, and their ratio."""

    deformed: float
    noisy: float
    relative: float


def planes(gradients: Float[Tensor, "n c 2"], shape: Sequence[int]) -> Float[Tensor, "n c h w"]:
    r"""Images that are planes: brightness rises evenly down and across.

    .. math:: x(p) = g \cdot p, \qquad \text{so that} \qquad x(p - \delta) = x(p) - g \cdot \delta

    Parameters
    ----------
    gradients : (n, c, 2) tensor
        g: rise in a pixel, down and across, for every image and channel.
    shape : (int, int)
        Height and width.
    """
    if not isinstance(gradients, Tensor) or gradients.ndim != 3 or gradients.shape[2] != 2:
        raise expected("gradients as a tensor (images, channels, 2)", said(gradients))
    y, x = (torch.arange(side, dtype=gradients.dtype) for side in shape)
    down, across = gradients[..., 0, None, None], gradients[..., 1, None, None]
    return down * y[:, None] + across * x


def linear_answer(
    weights: Float[Tensor, "p c h w"],
    gradients: Float[Tensor, "n c 2"],
    *,
    cutoff: int,
    temperature: float,
) -> Answer:
    r"""Expected D, G and R of the linear network :math:`f(x) = A x` that sees planes.

    .. math:: \mathbb{E} D = \frac1n \sum_i \sum_{k} \mathrm{tr}\,(A_{ik} K A_{ik}^\top), \quad
              A_{ik} = \sum_c g_{ick} A_c, \qquad
              \mathbb{E} G = \frac{\|A\|_F^2}{c h w} \cdot \frac1n \sum_i \|g_i\|^2\, \mathrm{tr}\, K

    with K the covariance of one component of the displacement between pixels, and k down or across. A plane
    changes by :math:`-g \cdot \delta`, whose covariance is known; isotropic noise of norm r changes A x by
    :math:`r^2 \|A\|_F^2 / (c h w)` on average, and the mean of r squared is that of the change. R is the
    ratio of the expectations, the same at all temperatures.

    Parameters
    ----------
    weights : (p, c, h, w) tensor
        A, one row of pixels for each output.
    gradients : (n, c, 2) tensor
        Of the images (`planes`).
    cutoff, temperature
        As for `fields`.

    Returns
    -------
    Answer
        Squared changes before they are normalised, and R.

    Raises
    ------
    AkpError
        For shapes that do not match, or a value out of range.

    Notes
    -----
    Exact as long as nothing is read beyond the frame, which takes a fold. Cost: p c h w for every mode.
    """
    if not isinstance(weights, Tensor) or weights.ndim != 4:
        raise expected("weights as a tensor (outputs, channels, height, width)", said(weights))
    p, c, h, w = weights.shape
    if not isinstance(gradients, Tensor) or gradients.ndim != 3 or gradients.shape[1:] != (c, 2):
        raise expected(f"gradients of {c} channels as a tensor (images, {c}, 2)", said(gradients))
    slopes = gradients.double()
    factor = factors(modes((h, w), cutoff)) * not_negative("temperature", temperature) ** 0.5
    onto = weights.double().reshape(p, c, h * w) @ factor.T
    changes = torch.einsum("nck,pcm->nkpm", slopes, onto)
    deformed = float(changes.square().sum(dim=(1, 2, 3)).mean())
    moved = float(slopes.square().sum(dim=(1, 2)).mean() * factor.square().sum())
    noisy = moved * float(weights.double().square().sum()) / (c * h * w)
    if noisy == 0:
        raise expected("weights, gradients and a temperature that are not all zero", "no change under noise")
    return Answer(deformed, noisy, deformed / noisy)


def factors(which: Modes) -> Float64[Tensor, "k hw"]:
    """Each mode over the pixels, at its standard deviation; their products add up to the covariance K."""
    down, across = which.down[:, which.vertical - 1], which.across[:, which.horizontal - 1]
    over = torch.einsum("hk,wk,k->khw", down, across, which.deviation)
    return over.flatten(1)
