"""What a study says about its network, and what it needs of one."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from akp_core import palette
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.networks.architectures import BLUEPRINTS, Shape
from akp_core.networks.slot import slots


@runtime_checkable
class Architecture(Protocol):
    """What a study needs of a network: how to build it, where to swap and where to look in."""

    @property
    def held(self) -> tuple[tuple[str, str], ...]:
        """Each slot and the name of the activation it holds at the start, first to last."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the places where an activation can be swapped, first to last."""

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the places where the representation can be read, first to last."""

    @property
    def draws(self) -> bool:
        """Whether a training pass may draw random numbers, as dropout does."""

    @property
    def spec(self) -> dict[str, Any]:
        """All that determines what `build` gives, as plain data that JSON holds."""

    def build(self, shape: Shape, classes: int, generator: torch.Generator) -> nn.Module:
        """Build the network with weights drawn from the generator."""

    def check(self, shape: Shape, classes: int) -> None:
        """Raise `AkpError` if images of a shape cannot pass, or what comes out is not (n, classes)."""


def checked_shape(shape: Shape, classes: int) -> None:
    """Raise `AkpError` unless a shape is (channels, height, width) and there are classes."""
    if len(shape) != 3:
        raise expected("the shape of an image as (channels, height, width)", repr(shape))
    for name, size in zip(("channels", "height", "width"), shape, strict=True):
        whole_number(f"the {name} of an image", size, 1)
    whole_number("classes", classes, 1)


@dataclass(frozen=True)
class Network:
    """What to build: architecture, size and the activation that every slot holds at the start.

    Attributes
    ----------
    kind : {"cnn", "mlp", "resnet18", "wide_resnet"}
        ``cnn``: blocks of 3 x 3 convolution, slot and 2 x 2 max-pooling, the width doubling from block
        to block, then a spatial mean and a linear read-out. ``mlp``: linear layers with slots.
        ``resnet18``: a 3 x 3 stem and four stages of residual blocks for small images (He et al. 2016,
        section 4.2, with the stages of their ResNet-18). ``wide_resnet``: WRN-(6 depth + 4)-(width / 16)
        of Zagoruyko & Komodakis (2016), pre-activation blocks in three stages. Both residual networks
        carry group normalisation (Wu & He 2018), which treats each example by itself and keeps no memory
        of a swapped activation, where the originals carry batch normalisation.
    width : int
        Channels of the first block (cnn, 16 unless given) or first stage (resnet18 and wide_resnet, 64),
        or units of each layer (mlp, 128). Stages double it.
    depth : int
        Number of blocks or hidden layers (cnn and mlp, 3 unless given), or of residual blocks in each
        stage (resnet18 and wide_resnet, 2).
    activation : str
        A name of `akp_core.palette.ACTIVATIONS`.

    Raises
    ------
    AkpError
        For an unknown kind or activation, or a width or depth below 1.
    """

    kind: str = "cnn"
    width: int = 0
    depth: int = 0
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.kind not in BLUEPRINTS:
            raise unknown_name("network", self.kind, BLUEPRINTS)
        palette.activation(self.activation)
        for field in ("width", "depth"):
            given = getattr(self, field)
            if given == 0 and not isinstance(given, bool):
                object.__setattr__(self, field, getattr(BLUEPRINTS[self.kind], field))
            whole_number(field, getattr(self, field), 1)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the places where an activation can be swapped, such as ``block1.slot``, first to last."""
        return self._layout[0]

    @property
    def held(self) -> tuple[tuple[str, str], ...]:
        """Each slot and the name of the activation it holds at the start."""
        return tuple((slot, self.activation) for slot in self.slots)

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of the top-level parts, first to last; ``features`` is the input of the read-out."""
        return self._layout[1]

    @property
    def draws(self) -> bool:
        """Whether a training pass may draw random numbers: none of these networks does."""
        return False

    @property
    def spec(self) -> dict[str, Any]:
        """The fields, as plain data."""
        return asdict(self)

    @cached_property
    def _layout(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        side = self._smallest_side
        model = self._without_weights((1, side, side), 2)
        return tuple(slots(model)), tuple(name for name, _ in model.named_children())

    @property
    def _smallest_side(self) -> int:
        return int(2 ** BLUEPRINTS[self.kind].halvings(self.depth))

    def _without_weights(self, shape: Shape, classes: int) -> nn.Sequential:
        with torch.device("meta"):
            return BLUEPRINTS[self.kind].build(self.width, self.depth, self.activation, shape, classes)

    def check(self, shape: Shape, classes: int) -> None:
        """Raise `AkpError` for a shape that is none, or images too small to be halved so often."""
        checked_shape(shape, classes)
        if min(shape[1:]) < self._smallest_side:
            times = BLUEPRINTS[self.kind].halvings(self.depth)
            raise AkpError(
                f"a {self.kind} of depth {self.depth} halves the image {times} times and needs a side of at "
                f"least {self._smallest_side} pixels, got {shape[1]} x {shape[2]}; use larger images or "
                f"another network"
            )

    def build(self, shape: Shape, classes: int, generator: torch.Generator) -> nn.Module:
        """Build the network with weights drawn from the generator.

        Weights are Kaiming normal (fan-in, gain sqrt 2; He et al. 2015), the read-out's has gain 1, the
        scales of norms are one and biases are zero. No other source of randomness is touched.

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

        Raises
        ------
        AkpError
            As `check` does.
        """
        self.check(shape, classes)
        model = self._without_weights(shape, classes).to_empty(device="cpu")
        for name, p in model.named_parameters():
            if p.ndim > 1:
                gain = 1.0 if name.startswith("logits") else math.sqrt(2.0)
                p.data.normal_(0.0, gain / math.sqrt(p[0].numel()), generator=generator)
            else:
                p.data.zero_()
        for part in model.modules():
            if isinstance(part, nn.GroupNorm):
                part.reset_parameters()
        return model
