"""Taps: reading what a named part of a network puts out, or putting something else in its place.

No hook outlives the context or the call that needed it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core.errors import AkpError, expected, unknown_name


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
    parts = {name: _part(model, name) for name in names}
    seen: dict[str, Tensor] = {}
    handles = [part.register_forward_hook(_keep(name, seen)) for name, part in parts.items()]
    handles.append(model.register_forward_pre_hook(lambda *_: seen.clear()))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; every part gets back the mode that it was in.

    Parameters
    ----------
    *models : nn.Module
        They may share parts.
    """
    modes = {part: part.training for model in models for part in model.modules()}
    try:
        for model in models:
            model.eval()
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _part(model: nn.Module, name: str) -> nn.Module:
    parts = dict(model.named_modules())
    if name not in parts or name == "":
        raise unknown_name("tap", name, [n for n in parts if n])
    return parts[name]


def _refuse_other(name: str, output: Any) -> None:
    if not isinstance(output, Tensor) or not output.is_floating_point():
        came = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__
        raise AkpError(f"tap {name!r} gives {came}; tap a part that gives one floating tensor")


def _keep(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if name in seen:
            raise AkpError(f"tap {name!r} is called more than once in a pass; tap a part that is called once")
        _refuse_other(name, output)
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


def continued(model: nn.Module, tap: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Run a network from a tap onwards: as it is, but with the tap's output replaced.

    Parameters
    ----------
    model : nn.Module
        Not changed; gradients flow from its output to the replacement and stop there.
    tap : str
        A part that is called once in a pass.

    Returns
    -------
    callable
        ``(images, replacement) -> output``. The replacement has the shape of the tap's output. What goes
        around the tap, as the shortcut of a residual block does, still comes from the images.

    Raises
    ------
    AkpError
        For an unknown tap; in a call, as `tapped` does, and for a replacement of another shape.

    Notes
    -----
    Cost: one whole forward pass, the part below the tap without a graph.
    """
    part = _part(model, tap)

    def run(images: Tensor, replacement: Tensor) -> Tensor:
        recording, calls = torch.is_grad_enabled(), 0

        def replace(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise AkpError(
                    f"tap {tap!r} is called more than once in a pass; tap a part that is called once"
                )
            _refuse_other(tap, output)
            if output.shape != replacement.shape:
                raise expected(
                    f"a replacement of shape {tuple(output.shape)} at tap {tap!r}", tuple(replacement.shape)
                )
            torch.set_grad_enabled(recording)
            return replacement.to(output.dtype)

        handle = part.register_forward_hook(replace)
        try:
            torch.set_grad_enabled(False)
            result: Tensor = model(images)
        finally:
            torch.set_grad_enabled(recording)
            handle.remove()
        if not calls:
            raise AkpError(f"tap {tap!r} is never called in a pass; tap a part that is called once")
        return result

    return run
