"""Networks with named *slots*, where an activation can be swapped, and named *taps*, where one can look in.

A slot is a module that applies whichever activation it currently holds; a swap replaces what it holds
and touches no weight. A tap is any named part of the network whose output is read while a context is
open; the hook is gone when the context closes, also after an error.

The networks here carry no normalisation layer: a batch statistic would be a memory of the activation
that was swapped out, and would tie the examples of a batch to one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core import palette
from akp_core.errors import AkpError, unknown_name, whole_number


class Slot(nn.Module):
    """A place in a network that applies the activation it currently holds."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.activation = palette.activation(name)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the held activation to a tensor of any shape."""
        return self.activation.function(x)

    def extra_repr(self) -> str:
        """Show the held activation where torch prints the network."""
        return self.activation.name


@dataclass(frozen=True)
class Network:
    """What to build: architecture, size and the activation that every slot holds at the start.

    Attributes
    ----------
    kind : {"cnn", "mlp"}
        ``cnn``: blocks of 3 x 3 convolution, slot and 2 x 2 max-pooling, the width doubling from block
        to block, then a spatial mean and a linear read-out. ``mlp``: linear layers with slots.
    width : int
        Channels of the first block (cnn, 16 unless given), or units of each layer (mlp, 128).
    depth : int
        Number of blocks or hidden layers; each has one slot, ``block1.slot``, ``block2.slot``, ...
    activation : str
        A name of `akp_core.palette.ACTIVATIONS`.

    Raises
    ------
    AkpError
        For an unknown kind or activation, or a width or depth below 1.
    """

    kind: str = "cnn"
    width: int = 0
    depth: int = 3
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.kind not in _BUILDERS:
            raise unknown_name("network", self.kind, _BUILDERS)
        palette.activation(self.activation)
        if self.width == 0 and not isinstance(self.width, bool):
            object.__setattr__(self, "width", _WIDTHS[self.kind])
        for field in ("width", "depth"):
            whole_number(field, getattr(self, field), 1)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the places where an activation can be swapped, first to last."""
        return tuple(f"block{k}.slot" for k in range(1, self.depth + 1))

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the places where the representation can be read, first to last."""
        return (*(f"block{k}" for k in range(1, self.depth + 1)), "features", "logits")

    def build(self, shape: tuple[int, int, int], classes: int, generator: torch.Generator) -> nn.Module:
        """Build the network with weights drawn from the generator.

        Weights are Kaiming normal (fan-in, gain sqrt 2; He et al. 2015), the read-out's has gain 1, and
        biases are zero. No other source of randomness is touched.

        Parameters
        ----------
        shape : tuple of int
            ``(channels, height, width)`` of one image.
        classes : int
            Number of logits.
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        nn.Module
            Maps images ``(n, channels, height, width)`` to logits ``(n, classes)``.
        """
        with torch.device("meta"):
            model = _BUILDERS[self.kind](self, shape, classes)
        model = model.to_empty(device="cpu")
        weights = [(n, p) for n, p in model.named_parameters() if p.ndim > 1]
        for name, p in weights:
            gain = 1.0 if name.startswith("logits") else math.sqrt(2.0)
            p.data.normal_(0.0, gain / math.sqrt(p[0].numel()), generator=generator)
        for _, p in model.named_parameters():
            if p.ndim == 1:
                p.data.zero_()
        return model


def _cnn(spec: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    channels, height, width = shape
    if min(height, width) < 2**spec.depth:
        raise AkpError(
            f"a cnn of depth {spec.depth} halves the image {spec.depth} times and needs a side of at least "
            f"{2**spec.depth} pixels, got {height} x {width}; use fewer blocks or larger images"
        )
    net = nn.Sequential()
    for k in range(1, spec.depth + 1):
        wide = spec.width * 2 ** (k - 1)
        block = nn.Sequential()
        block.add_module("conv", nn.Conv2d(channels, wide, kernel_size=3, padding=1))
        block.add_module("slot", Slot(spec.activation))
        block.add_module("pool", nn.MaxPool2d(2))
        net.add_module(f"block{k}", block)
        channels = wide
    net.add_module("features", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    net.add_module("logits", nn.Linear(channels, classes))
    return net


def _mlp(spec: Network, shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("flatten", nn.Flatten())
    units = math.prod(shape)
    for k in range(1, spec.depth + 1):
        block = nn.Sequential()
        block.add_module("linear", nn.Linear(units, spec.width))
        block.add_module("slot", Slot(spec.activation))
        net.add_module(f"block{k}", block)
        units = spec.width
    net.add_module("features", nn.Identity())
    net.add_module("logits", nn.Linear(units, classes))
    return net


_WIDTHS = {"cnn": 16, "mlp": 128}
_BUILDERS: dict[str, Callable[[Network, tuple[int, int, int], int], nn.Sequential]] = {
    "cnn": _cnn,
    "mlp": _mlp,
}


def slots(model: nn.Module) -> dict[str, Slot]:
    """Find every slot of a network, by its qualified name, in order."""
    return {name: part for name, part in model.named_modules() if isinstance(part, Slot)}


def swap(model: nn.Module, activations: Mapping[str, str]) -> None:
    """Replace the activation that each named slot holds, in place; weights are not touched.

    Parameters
    ----------
    model : nn.Module
        A network with slots.
    activations : mapping of str to str
        Slot name to activation name.

    Raises
    ------
    AkpError
        For a slot the network does not have, or an unknown activation; nothing is swapped then.
    """
    places = slots(model)
    for name in activations:
        if name not in places:
            raise unknown_name("slot", name, places)
    chosen = {name: palette.activation(to) for name, to in activations.items()}
    for name, entry in chosen.items():
        places[name].activation = entry


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
        Filled by every forward pass with the latest output of each part. A part that is called more
        than once in a pass is an error, since its last call would silently hide the others.

    Raises
    ------
    AkpError
        For a name that the network does not have.
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


def _keep(name: str, seen: dict[str, Tensor]) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if name in seen:
            raise AkpError(f"tap {name!r} is called more than once in a pass; tap a part that is called once")
        seen[name] = output

    return hook


def representations(
    model: nn.Module, images: Float[Tensor, "n c h w"], taps: Iterable[str], *, batch: int = 256
) -> dict[str, Float[Tensor, "n p"]]:
    """Read a network's representation of images at each tap, flattened to one row an image.

    Convolutional maps are flattened (channels x height x width); average over space beforehand for
    the spatial-mean policy, which is what the tap ``features`` of the cnn does.

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
    """
    names = list(taps)
    pieces: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad(), tapped(model, names) as seen:
        for part in torch.split(images, batch):
            model(part)
            for name in names:
                pieces[name].append(seen[name].flatten(1).clone())
    return {name: torch.cat(chunks) for name, chunks in pieces.items()}
