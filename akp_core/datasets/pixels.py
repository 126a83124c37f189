"""From pictures as they are stored to float32 in [0, 1], in chunks, resized where asked."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from akp_core.amounts import size
from akp_core.errors import expected, whole_number

CHUNK_IMAGES = 256


class Pictures(Sized, Protocol):
    """An array of numpy, or one of h5py that stays on disk: (N, H, W) or (N, H, W, C)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """The pictures of some ascending rows."""


def checked_side(side: int | None, most: int = 512) -> int | None:
    """Return a side that is None or a whole number from 8 to ``most``."""
    return None if side is None else whole_number("side", side, 8, most)


def room_for(count: int, channels: int, height: int, width: int) -> Float[Tensor, "n c h w"]:
    """Return an empty tensor for so many pictures, or one line if this machine could not hold it.

    Raises
    ------
    AkpError
        If the pictures need more than the memory of this machine.
    """
    needed = 4 * count * channels * height * width
    if hasattr(os, "sysconf") and needed > (
        memory := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    ):
        do = "give a limit of images for each class, or a smaller side"
        raise expected(f"images that fit into {size(memory)} of memory", f"{size(needed)} of them", do)
    return torch.empty(count, channels, height, width)


def as_pixels(
    pictures: Pictures, rows: Int64[Tensor, " m"], channels: int, side: int | None
) -> Float[Tensor, "m c h w"]:
    """Open some pictures of an array.

    Parameters
    ----------
    pictures : uint8 or float in [0, 1], shape (N, H, W) or (N, H, W, C)
        Only the rows asked for are read.
    rows : int64, shape (m,)
        Ascending.
    channels : int
        C, or 1.
    side : int or None
        Pixels along a side, by bilinear interpolation with antialiasing; None leaves them as they are.

    Returns
    -------
    float32, shape (m, c, h, w)
        In [0, 1].

    Raises
    ------
    AkpError
        If pictures that are not square are to be resized, or they do not fit into memory.
    """
    height, width = pictures.shape[1:3]
    if side and height != width:
        raise expected("square images to resize with side", f"{height} x {width}", "crop them first")
    pixels = room_for(len(rows), channels, side or height, side or width)
    # In chunks, so that the pictures are held once as float32 whatever their original size.
    for start in range(0, len(rows), CHUNK_IMAGES):
        chunk = pictures[rows[start : start + CHUNK_IMAGES].numpy()]
        block = torch.from_numpy(chunk.astype(np.float32)).view(len(chunk), height, width, channels)
        block = block.movedim(-1, 1) / (255.0 if chunk.dtype == np.uint8 else 1.0)
        pixels[start : start + CHUNK_IMAGES] = resized(block, side)
    return pixels


def resized(block: Float[Tensor, "n c h w"], side: int | None) -> Float[Tensor, "n c h2 w2"]:
    """Resize square pictures, clamped to [0, 1]; None leaves their size."""
    if side and block.shape[-2:] != (side, side):
        block = F.interpolate(block, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return block.clamp(0.0, 1.0)
