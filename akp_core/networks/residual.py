"""The two kinds of residual block, each activation a slot of its own.

Group normalisation (Wu & He 2018, arXiv:1803.08494) takes the place of batch normalisation. It treats
each example by itself: an image's representation does not depend on the images beside it, the same
statement holds under any vectorisation over members, and no running mean is kept that would remember
an activation after it has been swapped out.
"""

from __future__ import annotations

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from akp_core.networks.slot import Slot

GROUPS = 32  # Wu & He's default
CHANNELS_A_GROUP = (
    4  # where maps are one pixel wide, a group of one or two would keep hardly more than a sign
)


def groups(channels: int) -> int:
    """Groups for so many channels: their largest divisor up to 32 that leaves a group at least 4 channels.

    One group, which is layer normalisation over channels and space, where no other divisor does.
    """
    most = min(GROUPS, channels // CHANNELS_A_GROUP)
    return max((g for g in range(1, most + 1) if channels % g == 0), default=1)


def norm(channels: int) -> nn.GroupNorm:
    """Group normalisation of so many channels."""
    return nn.GroupNorm(groups(channels), channels)


def conv(channels: int, wide: int, stride: int = 1, size: int = 3) -> nn.Conv2d:
    """A convolution that keeps the side (divided by the stride), without the bias that a norm would undo."""
    return nn.Conv2d(channels, wide, size, stride, padding=size // 2, bias=False)


class BasicBlock(nn.Module):
    r"""Two 3 x 3 convolutions beside a shortcut, :math:`\phi_2(x' + N_2 W_2\, \phi_1(N_1 W_1 x))`.

    The shortcut :math:`x'` is :math:`x` itself, or a normalised 1 x 1 convolution of it where the shape
    changes (option B of He et al. 2016, arXiv:1512.03385).

    Parameters
    ----------
    channels, wide : int
        Channels that come in and that go out.
    stride : int
        By which the side is divided.
    activation : str
    """

    def __init__(self, channels: int, wide: int, stride: int, activation: str) -> None:
        super().__init__()
        self.conv1, self.norm1, self.slot1 = conv(channels, wide, stride), norm(wide), Slot(activation)
        self.conv2, self.norm2 = conv(wide, wide), norm(wide)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != wide:
            parts = {"conv": conv(channels, wide, stride, size=1), "norm": norm(wide)}
            self.shortcut = nn.Sequential(OrderedDict(parts))
        self.slot2 = Slot(activation)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Apply the block."""
        inner = self.norm2(self.conv2(self.slot1(self.norm1(self.conv1(x)))))
        return self.slot2(inner + self.shortcut(x))


class PreactivationBlock(nn.Module):
    r"""Two 3 x 3 convolutions, each after norm and activation, :math:`x' + W_2 \phi_2 N_2 W_1 \phi_1 N_1 x`.

    The shortcut :math:`x'` is :math:`x` itself, or a 1 x 1 convolution of :math:`\phi_1 N_1 x` where the
    shape changes (Zagoruyko & Komodakis 2016, arXiv:1605.07146, and their code).

    Parameters
    ----------
    channels, wide : int
        Channels that come in and that go out.
    stride : int
        By which the side is divided.
    activation : str
    """

    def __init__(self, channels: int, wide: int, stride: int, activation: str) -> None:
        super().__init__()
        self.norm1, self.slot1, self.conv1 = norm(channels), Slot(activation), conv(channels, wide, stride)
        self.norm2, self.slot2, self.conv2 = norm(wide), Slot(activation), conv(wide, wide)
        self.changes = stride != 1 or channels != wide
        self.shortcut = conv(channels, wide, stride, size=1) if self.changes else nn.Identity()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Apply the block."""
        ready = self.slot1(self.norm1(x))
        inner = self.conv2(self.slot2(self.norm2(self.conv1(ready))))
        return inner + self.shortcut(ready if self.changes else x)
