"""Taps: reading what a named part of a network puts out; the hook is gone when the context closes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core.errors import AkpError, unknown_name


@contextmanager
def tapped(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named parts while the context is open.

    Parameters
    ----------
    model : nn.Module
    names : iterable of str
        Qualified module names; each must exist.

    Yields
    ------
    dict of str to Tensor
        Filled by every forward pass with a copy of the latest output of each part: a network may go on
        to change the output itself in place.

    Raises
    ------
    AkpError
        For a name that the network does not have; in a pass, for a part that gives anything but one
        floating tensor, or is called more than once, since its last call would silently hide the others.
    """
    parts = dict(model.named_modules())
    wanted = list(names)
    for name in wanted:
        if name not in parts or name == "":
            raise unknown_name("tap", name, [n for n in parts if n])
    seen: dict[str, Tensor] = {}
    handles = [parts[name].register_forward_hook(_keep(name, seen)) for name in wanted]
    handles.append(model.register_forward_pre_hook(lambda *_: seen.clear()))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keep(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if name in seen:
            raise AkpError(f"tap {name!r} is called more than once in a pass; tap a part that is called once")
        if not isinstance(output, Tensor) or not output.is_floating_point():
            came = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
            raise AkpError(f"tap {name!r} gives {came}; tap a part that gives one floating tensor")
        seen[name] = output.clone()

    return hook


def representations(
    model: nn.Module, images: Float[Tensor, "n c h w"], taps: Iterable[str], *, batch: int = 256
) -> dict[str, Float[Tensor, "n p"]]:
    """Read a network's representation of images at each tap, flattened to one row an image.

    Convolutional maps are flattened (channels x height x width); average over space beforehand for
    the spatial-mean policy, which is what the tap ``features`` of the convolutional networks does.

    Parameters
    ----------
    model : nn.Module
    images : (n, c, h, w) float
        Standardised as in training.
    taps : iterable of str
    batch : int
        Images in one forward pass; bounds the memory.

    Returns
    -------
    dict of str to (n, p) float
        On the device of the images, detached.

    Raises
    ------
    AkpError
        As `tapped` does, and for a part that a pass does not call.
    """
    names = list(taps)
    pieces: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad(), tapped(model, names) as seen:
        for part in torch.split(images, batch):
            model(part)
            for name in names:
                if name not in seen:
                    raise AkpError(f"tap {name!r} is never called in a pass; tap a part that is called once")
                pieces[name].append(seen[name].flatten(1))
    return {name: torch.cat(chunks) for name, chunks in pieces.items()}
