"""Picture files: png, jpg, tif and bmp, of 8 bits, or of 16 in grey."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from akp_core.datasets.pixels import resized, room_for
from akp_core.errors import AkpError, expected

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
GREY = ("1", "L", "LA", "I;16", "I;16L", "I;16B")
COLOUR = ("P", "RGB", "RGBA", "PA", "CMYK", "YCbCr")
_UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


def _opened(file: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file)
    except _UNREADABLE as cause:
        raise _unreadable(file, cause) from None


def common(files: list[Path], side: int | None) -> tuple[tuple[int, int], int]:
    """Look at the head of every picture.

    Parameters
    ----------
    files : list of Path
    side : int or None
        What they will be resized to.

    Returns
    -------
    size : tuple of int
        Height and width of the result.
    channels : int
        1 if all pictures are grey, else 3.

    Raises
    ------
    AkpError
        If a file is no picture, is of another depth, holds several, or sizes differ and no side is given.
    """
    sizes: dict[tuple[int, int], Path] = {}
    grey = True
    for file in files:
        with _opened(file) as image:
            if image.mode not in (*GREY, *COLOUR):
                raise expected(
                    f"{file} with 8 bits a colour, or 16 in grey", f"mode {image.mode}", "convert it"
                )
            if getattr(image, "n_frames", 1) != 1:
                raise expected(f"one picture in {file}", image.n_frames, "save each as a file")  # type: ignore[attr-defined]
            grey &= image.mode in GREY
            sizes.setdefault((image.height, image.width), file)
    if side is None and len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        got = f"{first[1]} x {first[0]} in {one.name}, {second[1]} x {second[0]} in {other.name}"
        raise expected("images of one size", got, "give a side to bring them to")
    return (side, side) if side else next(iter(sizes)), 1 if grey else 3


def read(
    files: list[Path], size: tuple[int, int], channels: int, side: int | None
) -> Float[Tensor, "n c h w"]:
    """Open pictures one at a time, in [0, 1]; with a side, cut to a square and resized."""
    pixels = room_for(len(files), channels, *size)
    for k, file in enumerate(files):
        with _opened(file) as image:
            try:
                deep = image.mode.startswith("I;16")
                picture = np.asarray(image if deep else image.convert("L" if channels == 1 else "RGB"))
            except _UNREADABLE as cause:
                raise _unreadable(file, cause) from None
        block = torch.from_numpy(picture.astype(np.float32) / (65535.0 if deep else 255.0))
        block = block[None, None] if block.ndim == 2 else block.movedim(-1, 0)[None]
        if side:
            block = _square(block)
        pixels[k] = resized(block, side)[0]
    return pixels


def _square(block: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c s s"]:
    height, width = block.shape[-2:]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    return block[..., top : top + short, left : left + short]


def _unreadable(file: Path, cause: BaseException) -> AkpError:
    why = " ".join(str(cause).split()) or type(cause).__name__
    return expected(f"{file} as a picture", why, "repair or remove it")
