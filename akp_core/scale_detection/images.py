"""Images of pairs, the task's own deformation, and its noise: what a network is asked about."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from akp_core.errors import expected
from akp_core.scale_detection.task import Pairs, ScaleTask, check_generator


class Probe(NamedTuple):
    """Images with three changed versions of each, one channel.

    Attributes
    ----------
    images, moved, noisy, rectified : (n, 1, side[, side]) float32 tensors
        As drawn; each active pixel one step away; with Gaussian noise; with that noise after a ReLU.
    """

    images: Float32[Tensor, "n 1 *side"]
    moved: Float32[Tensor, "n 1 *side"]
    noisy: Float32[Tensor, "n 1 *side"]
    rectified: Float32[Tensor, "n 1 *side"]


def render(task: ScaleTask, places: Int64[Tensor, "n 2 d"]) -> Float32[Tensor, "n 1 *side"]:
    """Images of pairs: two bright pixels on nothing.

    Parameters
    ----------
    task : ScaleTask
    places : (n, 2, d) int64 tensor
        Within the image. Two points on one pixel add up.

    Returns
    -------
    (n, 1, side) or (n, 1, side, side) float32 tensor
        0, or the task's brightness.

    Raises
    ------
    AkpError
        For places of another shape, or outside the image.
    """
    if places.ndim != 3 or places.shape[1:] != (2, task.dims) or places.is_floating_point():
        raise expected(f"whole places of shape (n, 2, {task.dims})", str(tuple(places.shape)))
    if len(places) and not (int(places.min()) >= 0 and int(places.max()) < task.side):
        raise expected(f"places from 0 to {task.side - 1}", f"{int(places.min())} to {int(places.max())}")
    flat = places[..., 0] if task.dims == 1 else places[..., 0] * task.side + places[..., 1]
    images = torch.zeros(len(places), task.side**task.dims)
    images.scatter_add_(1, flat, torch.full(flat.shape, task.pixel))
    return images.reshape(len(places), 1, *[task.side] * task.dims)


def move(
    task: ScaleTask, places: Int64[Tensor, "n 2 d"], generator: torch.Generator
) -> Int64[Tensor, "n 2 d"]:
    """The task's own deformation: each active pixel goes one step, on its own.

    In one dimension by +1 or -1, in two by a unit vector of random direction, rounded to the grid (so also
    diagonally). Over a border that is none a point comes back on the other side; at a border it stops.
    In the task of blocks a point that would leave its block stays.

    Parameters
    ----------
    task : ScaleTask
    places : (n, 2, d) int64 tensor
    generator : torch.Generator

    Returns
    -------
    (n, 2, d) int64 tensor

    Notes
    -----
    In the task of distances a pair may cross the scale, unless the gap (half of it, in two dimensions) is at
    least 2. The authors' one-dimensional code stops points at the ends of the circle; ``periodic=False``
    does so.
    """
    check_generator(generator)
    if task.dims == 1:
        step = 2 * torch.randint(2, places.shape, generator=generator) - 1
    else:
        angle = 2 * torch.pi * torch.rand(places.shape[:2], generator=generator)
        step = torch.stack([angle.cos(), angle.sin()], -1).round().long()
    gone = (places + step) % task.side if task.wraps else (places + step).clamp(0, task.side - 1)
    if task.rule == "block":
        stays = (gone // int(task.scale) != places // int(task.scale)).any(-1, keepdim=True)
        gone = torch.where(stays, places, gone)
    return gone


def probe(task: ScaleTask, pairs: Pairs, generator: torch.Generator) -> Probe:
    r"""Images with their changed versions, the noise as strong as the deformation.

    .. math:: \eta \sim N(0, \sigma^2), \quad
              \sigma^2 = \bigl\langle (\tau x - x)^2 \bigr\rangle_{\text{images, pixels}}, \qquad
              \text{rectified: } \max(\eta, 0)

    Parameters
    ----------
    task : ScaleTask
    pairs : Pairs
    generator : torch.Generator

    Returns
    -------
    Probe
        Rectified noise keeps half of the squared norm, as in the authors' code, which does not rescale it.
    """
    images = render(task, pairs.places)
    moved = render(task, move(task, pairs.places, generator))
    strength = (moved - images).square().mean().sqrt()
    noise = strength * torch.randn(images.shape, generator=generator)
    return Probe(images, moved, images + noise, images + noise.clamp_min(0))
