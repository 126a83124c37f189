"""Where each pixel is read when an image is bent: from the coefficients of its field, without the field."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.deformation.modes import Modes

Places: TypeAlias = Callable[[Float[Tensor, "n 2 k"]], Float[Tensor, "n h w 2"]]
_WRITTEN_OUT = 65_536
"""Up to so many numbers, which stay in the caches, one product with all modes is quicker than two."""


@lru_cache(maxsize=8)
def places_of(which: Modes, dtype: torch.dtype, device: torch.device) -> Places:
    r"""Return the function from coefficients to the places where pixels are read.

    .. math:: p - \delta(p), \qquad \delta(x, y) = \sum_{ij} C_{ij} \sin(i \pi x) \sin(j \pi y)

    Parameters
    ----------
    which : Modes
        Few modes of a small image are written out over it, and one product does all. Else one product is
        down and one across, and the frame takes part as two further modes.
    dtype : torch.float32 or torch.float64
    device : torch.device

    Returns
    -------
    callable
        Of (n, 2, k) coefficients in pixels, vertical component first, of this dtype and device; gives
        (n, h, w, 2) places as `torch.nn.functional.grid_sample` wants them: across, then down, from -1 to 1.

    Notes
    -----
    Cost: 4 k h w multiplications for each image, or 2 h c (c + w) with cutoff c.
    """
    size = 4 * len(which.deviation) * which.shape[0] * which.shape[1]
    of = _at_once if size <= _WRITTEN_OUT else _side_by_side
    return of(which, dtype, device)


def frame_of(
    h: int, w: int, dtype: torch.dtype, device: torch.device
) -> tuple[Float[Tensor, "h w 2"], Float[Tensor, " 2"]]:
    """Where each pixel is, and how long a pixel is, across and down, on a frame from -1 to 1."""
    down, across = (
        torch.linspace(-1, 1, side, dtype=torch.float64).to(device=device, dtype=dtype) for side in (h, w)
    )
    y, x = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([x, y], dim=2), torch.tensor([2 / (w - 1), 2 / (h - 1)], dtype=dtype, device=device)


def _at_once(which: Modes, dtype: torch.dtype, device: torch.device) -> Places:
    (h, w), k = which.shape, len(which.deviation)
    frame, unit = frame_of(h, w, dtype, device)
    sines = which.down[:, which.vertical - 1], which.across[:, which.horizontal - 1]
    waves = torch.einsum("hk,wk->khw", *sines).to(device, dtype)
    basis = waves.new_zeros(2, k, h, w, 2)
    basis[0, ..., 1], basis[1, ..., 0] = -unit[1] * waves, -unit[0] * waves
    flat_frame, flat_basis = frame.flatten(), basis.reshape(2 * k, -1)
    return lambda given: torch.addmm(flat_frame, given.flatten(1), flat_basis).reshape(-1, h, w, 2)


def _side_by_side(which: Modes, dtype: torch.dtype, device: torch.device) -> Places:
    h, w = which.shape
    a, b = which.down.shape[1], which.across.shape[1]
    frame, unit = frame_of(h, w, dtype, device)
    down, across = (sines.to(device, dtype) for sines in (which.down, which.across))
    left = torch.cat([down, down.new_ones(h, 1), frame[:, :1, 1]], dim=1)
    right = across.new_zeros(2 * b + 2, w, 2)
    right[:b, :, 0], right[b : 2 * b, :, 1] = -unit[0] * across.T, -unit[1] * across.T
    right[2 * b, :, 0], right[2 * b + 1, :, 1] = frame[0, :, 0], 1.0
    row = (which.vertical - 1) * (2 * b + 2) + which.horizontal - 1
    slots = torch.cat([row + b, row]).to(device)

    def places(given: Float[Tensor, "n 2 k"]) -> Float[Tensor, "n h w 2"]:
        table = given.new_zeros(len(given), (a + 2) * (2 * b + 2)).index_copy_(1, slots, given.flatten(1))
        table = table.reshape(-1, a + 2, 2 * b + 2)
        table[:, a, 2 * b] = table[:, a + 1, 2 * b + 1] = 1
        return ((left @ table).reshape(-1, 2 * b + 2) @ right.flatten(1)).reshape(-1, h, w, 2)

    return places
