"""Images bent by displacement fields: each pixel is read where its field says, between four neighbours."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from akp_core.deformation.modes import Modes
from akp_core.deformation.places import frame_of, places_of
from akp_core.errors import AkpError, expected

_CHUNK_BYTES = 1_600_000
"""Images are bent in chunks of about this size: what is written and read again then stays in the caches, and
no block is so large that the system hands it out and takes it back each time."""


def warp(images: Float[Tensor, "n c h w"], fields: Float[Tensor, "n 2 h w"]) -> Float[Tensor, "n c h w"]:
    r"""Bend each image by its displacement field.

    .. math:: (\tau x)(p) = x(p - \delta(p))

    with bilinear reading between pixels; what would be read beyond the frame is read on it.

    Parameters
    ----------
    images : (n, c, h, w) tensor, float32 or float64
        Any number of channels, any height and width of at least 2, any device.
    fields : (n, 2, h, w) tensor
        Pixels, vertical component first, on the device of the images.

    Returns
    -------
    (n, c, h, w) tensor
        Of the images' dtype and device, within the range of the values of each image's channel.

    Raises
    ------
    AkpError
        If shapes do not match, or there is a number that is not finite.

    Notes
    -----
    A field of zeros gives the image back bit for bit, and a constant image stays constant up to round-off.

    Invariances: linear in the images. Cost: bandwidth; four pixels are read for each one written.
    """
    check_images(images)
    n, _, h, w = images.shape
    if not isinstance(fields, Tensor) or fields.shape != (n, 2, h, w):
        raise expected(f"fields of shape ({n}, 2, {h}, {w})", said(fields))
    if fields.device != images.device:
        raise expected(f"fields on {images.device}, where the images are", str(fields.device))
    if not bool(torch.isfinite(fields).all()):
        raise AkpError("expected finite displacements, got fields with NaN or infinity")
    frame, unit = frame_of(h, w, images.dtype, images.device)

    def chunk(part: slice) -> Tensor:
        here = fields[part].to(images.dtype)
        # grid_sample wants horizontal before vertical, and the frame at -1 and 1
        return torch.addcmul(frame, here.flip(1).permute(0, 2, 3, 1), unit, value=-1)

    bent = _read(images, chunk)
    still = (fields == 0).flatten(1).all(dim=1)
    if bool(still.any()):
        bent[still] = images[still].detach()
    return bent


def bend(
    images: Float[Tensor, "n c h w"], coefficients: Float[Tensor, "n 2 k"], which: Modes
) -> Float[Tensor, "n c h w"]:
    """Bend images by the fields of these coefficients, without writing the fields down."""
    if not bool(coefficients.any()):
        return images.detach().clone(memory_format=torch.contiguous_format)
    places = places_of(which, images.dtype, images.device)
    given = coefficients.to(images.device, images.dtype)
    return _read(images, lambda part: places(given[part]))


def check_images(images: Float[Tensor, "n c h w"]) -> None:
    """Refuse what is not a batch of finite images in float32 or float64."""
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape or min(images.shape[2:]) < 2:
        raise expected(
            "images as a tensor (n, channels, height, width) of at least 2 x 2 pixels",
            said(images),
            "grey images (n, h, w) need a channel axis: images[:, None]",
        )
    if images.dtype not in (torch.float32, torch.float64):
        raise expected(
            "float32 or float64 images", str(images.dtype), "images.float(), and divide bytes by 255"
        )
    # the sum is quick and shows any NaN or infinity; where it overflows by itself, counting decides
    bad = 0 if bool(torch.isfinite(images.sum())) else int((~torch.isfinite(images)).sum())
    if bad:
        raise expected("finite images", f"{bad} pixels that are NaN or infinite")


def said(what: object) -> str:
    """Name the kind and shape of what came, for a message."""
    return f"shape {tuple(what.shape)}" if isinstance(what, Tensor) else type(what).__name__


def _read(images: Tensor, places: Callable[[slice], Tensor]) -> Tensor:
    n, size = len(images), images[0].numel() * images.element_size()
    room = _CHUNK_BYTES if images.device.type == "cpu" else 64 * _CHUNK_BYTES
    step = min(n, max(1, room // size))
    with torch.no_grad():
        out = None if step == n else torch.empty_like(images, memory_format=torch.contiguous_format)
        for start in range(0, n, step):
            part = slice(start, start + step)
            bent = F.grid_sample(
                images[part], places(part), mode="bilinear", padding_mode="border", align_corners=True
            )
            if out is None:
                out = bent
            else:
                out[part] = bent
    assert out is not None
    return out
