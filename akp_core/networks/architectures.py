"""The architectures for small images, as torch modules whose top-level parts are the taps.

The simple ones carry no normalisation; the residual ones, which need it, carry one that ties no
examples to one another and keeps no memory of a swapped activation (`akp_core.networks.residual`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from akp_core.networks.pool import HalvingPool
from akp_core.networks.residual import BasicBlock, PreactivationBlock, conv, norm
from akp_core.networks.slot import Slot

Shape = tuple[int, int, int]
WIDE_STEM = 16  # channels of the stem of every Wide-ResNet; its first stage has k times as many


@dataclass(frozen=True)
class Blueprint:
    """One kind of network.

    Attributes
    ----------
    build : callable
        ``(width, depth, activation, shape of one image, classes) -> nn.Sequential``. Every top-level part
        is a tap, so each must be called once and keep the batch axis; the last is ``logits``.
    width, depth : int
        The usual ones.
    halvings : callable
        ``depth -> int``, how many times the side of the image is halved.
    """

    build: Callable[[int, int, str, Shape, int], nn.Sequential]
    width: int
    depth: int
    halvings: Callable[[int], int]


def _cnn(width: int, depth: int, activation: str, shape: Shape, classes: int) -> nn.Sequential:
    net, channels = nn.Sequential(), shape[0]
    for k in range(1, depth + 1):
        wide = width * 2 ** (k - 1)
        block = nn.Sequential()
        block.add_module("conv", nn.Conv2d(channels, wide, kernel_size=3, padding=1))
        block.add_module("slot", Slot(activation))
        block.add_module("pool", HalvingPool())
        net.add_module(f"block{k}", block)
        channels = wide
    return _read_out(net, channels, classes)


def _mlp(width: int, depth: int, activation: str, shape: Shape, classes: int) -> nn.Sequential:
    net, units = nn.Sequential(), math.prod(shape)
    for k in range(1, depth + 1):
        block = nn.Sequential()
        if k == 1:
            block.add_module("flatten", nn.Flatten())
        block.add_module("linear", nn.Linear(units, width))
        block.add_module("slot", Slot(activation))
        net.add_module(f"block{k}", block)
        units = width
    net.add_module("features", nn.Identity())
    net.add_module("logits", nn.Linear(units, classes))
    return net


def _resnet18(width: int, depth: int, activation: str, shape: Shape, classes: int) -> nn.Sequential:
    net, stem = nn.Sequential(), nn.Sequential()
    stem.add_module("conv", conv(shape[0], width))
    stem.add_module("norm", norm(width))
    stem.add_module("slot", Slot(activation))
    net.add_module("stem", stem)
    channels = _stages(net, BasicBlock, width, [width, 2 * width, 4 * width, 8 * width], depth, activation)
    return _read_out(net, channels, classes)


def _wide_resnet(width: int, depth: int, activation: str, shape: Shape, classes: int) -> nn.Sequential:
    net = nn.Sequential()
    net.add_module("stem", conv(shape[0], WIDE_STEM))
    widths = [width, 2 * width, 4 * width]
    channels = _stages(net, PreactivationBlock, WIDE_STEM, widths, depth, activation)
    return _read_out(net, channels, classes, norm(channels), Slot(activation))


def _stages(
    net: nn.Sequential,
    block: type[BasicBlock] | type[PreactivationBlock],
    channels: int,
    widths: list[int],
    depth: int,
    activation: str,
) -> int:
    """Add one stage for each width, all but the first halving the side; returns the channels put out."""
    for i, wide in enumerate(widths, start=1):
        stage = nn.Sequential()
        for k in range(1, depth + 1):
            stride = 2 if k == 1 and i > 1 else 1
            stage.add_module(f"block{k}", block(channels, wide, stride, activation))
            channels = wide
        net.add_module(f"stage{i}", stage)
    return channels


def _read_out(
    net: nn.Sequential, channels: int, classes: int, norm: nn.Module | None = None, slot: Slot | None = None
) -> nn.Sequential:
    """Add the spatial mean, after a last norm and slot where the blocks end without one, and the logits."""
    features = nn.Sequential()
    for name, part in (("norm", norm), ("slot", slot)):
        if part is not None:
            features.add_module(name, part)
    features.add_module("pool", nn.AdaptiveAvgPool2d(1))
    features.add_module("flatten", nn.Flatten())
    net.add_module("features", features)
    net.add_module("logits", nn.Linear(channels, classes))
    return net


BLUEPRINTS: dict[str, Blueprint] = {
    "cnn": Blueprint(_cnn, width=16, depth=3, halvings=lambda depth: depth),
    "mlp": Blueprint(_mlp, width=128, depth=3, halvings=lambda _: 0),
    "resnet18": Blueprint(_resnet18, width=64, depth=2, halvings=lambda _: 3),
    "wide_resnet": Blueprint(_wide_resnet, width=64, depth=2, halvings=lambda _: 2),
}
"""Every architecture of `Network` by name; another one is one more line."""
