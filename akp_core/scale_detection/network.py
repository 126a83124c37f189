"""The network of the task: equal convolutions on a circle, ReLU, mean over places, read-out. Many at once.

All members of a population are computed together: a convolution is the matrix product of the slices under
the filter with the weights, and the product runs over a leading axis of members.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from akp_core.errors import expected, unknown_name, whole_number
from akp_core.seeds import generator

Scaling = Literal["ntk", "standard"]
Readout = Literal["mean_field", "standard"]
Padding = Literal["circular", "zeros"]


@dataclass(frozen=True)
class Stack:
    r"""A stack of k equal convolutions with a mean over places and a linear read-out.

    .. math:: f_l = \sqrt{F^d}\,\mathrm{ReLU}\Bigl(b + \frac{w * f_{l-1}}{\sqrt{C F^d}}\Bigr), \qquad
              o = \beta_0 + \frac1H \sum_h \beta_h \langle f_k \rangle_h

    Attributes
    ----------
    depth : int
        k.
    width : int
        H, channels of each layer.
    filter, stride : int
        F along each axis, and s.
    dims : int
        d, 1 or 2.
    bias : bool
        Whether layers have biases.
    scaling : {"ntk", "standard"}
        Weights drawn with variance 1 and divided in the pass (above), or drawn with variance
        2 / (C F^d) and used as they are, without the factor before the ReLU.
    readout : {"mean_field", "standard"}
        Divided by H (above), or by sqrt(H).
    relu : bool
        Whether there is a ReLU at all.
    padding : {"circular", "zeros"}
        The first goes with an image without a border.

    Raises
    ------
    AkpError
        For a bad number or name.
    """

    depth: int
    width: int = 32
    filter: int = 2
    stride: int = 2
    dims: int = 1
    bias: bool = False
    relu: bool = True
    scaling: Scaling = "ntk"
    readout: Readout = "mean_field"
    padding: Padding = "circular"

    def __post_init__(self) -> None:
        for name, low, high in (
            ("depth", 1, 100), ("width", 1, None), ("filter", 1, None), ("stride", 1, None), ("dims", 1, 2)
        ):  # fmt: skip
            whole_number(name, getattr(self, name), low, high)
        for name, kinds in (("scaling", Scaling), ("readout", Readout), ("padding", Padding)):
            if getattr(self, name) not in get_args(kinds):
                raise unknown_name(name, getattr(self, name), get_args(kinds))

    def check(self, side: int) -> None:
        """Refuse a side that the layers do not divide, or that is narrower than a filter."""
        left = side
        for layer in range(1, self.depth + 1):
            if left % self.stride or left < self.filter:
                need = (
                    f"a side that {self.stride}^{self.depth} divides, with {self.filter} left at each layer"
                )
                raise expected(need, f"{side} ({left} at layer {layer})", "use fewer layers")
            left //= self.stride


class Weights(NamedTuple):
    """Parameters of M networks: of each layer, and of the read-out.

    Attributes
    ----------
    layers : tuple of (M, F^d C, H) float32 tensors
        Rows by place under the filter (in two dimensions by column, then row), then by channel.
    biases : tuple of (M, 1, H) float32 tensors
        Zeros that are not trained where the stack has none.
    beta : (M, H, 1) float32 tensor
    beta0 : (M, 1, 1) float32 tensor
    """

    layers: tuple[Float32[Tensor, "M FC H"], ...]
    biases: tuple[Float32[Tensor, "M 1 H"], ...]
    beta: Float32[Tensor, "M H 1"]
    beta0: Float32[Tensor, "M 1 1"]

    def all(self) -> Iterator[Tensor]:
        """Every tensor."""
        yield from (*self.layers, *self.biases, self.beta, self.beta0)

    def member(self, index: int) -> Weights:
        """The weights of one network, still with its axis."""
        one = slice(index, index + 1)
        return Weights(
            tuple(w[one] for w in self.layers),
            tuple(b[one] for b in self.biases),
            self.beta[one],
            self.beta0[one],
        )


def initial(stack: Stack, members: int, seed: int) -> Weights:
    """Weights of untrained networks, each from a stream of its own.

    Parameters
    ----------
    stack : Stack
    members : int
        M, at least 1.
    seed : int
        Member i is the same whatever M.

    Returns
    -------
    Weights
    """
    area = stack.filter**stack.dims
    networks = []
    for member in range(whole_number("members", members, 1)):
        stream = generator(seed, "scale detection", "initial", member)
        layers, biases, channels = [], [], 1
        for _ in range(stack.depth):
            spread = 1.0 if stack.scaling == "ntk" else (2 / (area * channels)) ** 0.5
            layers.append(spread * torch.randn(area * channels, stack.width, generator=stream))
            drawn = torch.randn(1, stack.width, generator=stream)
            biases.append(drawn if stack.bias and stack.scaling == "ntk" else torch.zeros(1, stack.width))
            channels = stack.width
        beta = torch.randn(stack.width, 1, generator=stream)
        networks.append((layers, biases, beta, torch.zeros(1, 1)))
    return Weights(
        tuple(torch.stack([n[0][k] for n in networks]) for k in range(stack.depth)),
        tuple(torch.stack([n[1][k] for n in networks]) for k in range(stack.depth)),
        torch.stack([n[2] for n in networks]),
        torch.stack([n[3] for n in networks]),
    )


def shuffled(weights: Weights, stream: torch.Generator) -> Weights:
    """Networks with the input channels of every filter permuted, each on its own; the first layer stays.

    Parameters
    ----------
    weights : Weights
    stream : torch.Generator

    Returns
    -------
    Weights
        The filters themselves are untouched, so what they do over space remains.

    References
    ----------
    Tomasini et al. 2022, the control in their public code.
    """

    def one(w: Float32[Tensor, "M FC H"], channels: int) -> Float32[Tensor, "M FC H"]:
        members, rows, width = w.shape
        order = torch.rand(members, 1, channels, width, generator=stream).argsort(2)
        parted = w.reshape(members, rows // channels, channels, width)
        return parted.gather(2, order.expand_as(parted)).reshape(w.shape)

    width = weights.beta.shape[1]
    first, *others = weights.layers
    return weights._replace(layers=(first, *(one(w, width) for w in others)))


def under_filter(x: Float32[Tensor, "M b *p C"], stack: Stack) -> Float32[Tensor, "M b *q FC"]:
    """What lies under the filter at every place, one place of the filter after the other."""
    left = (stack.filter - 1) // 2
    right = stack.filter - 1 - left
    for axis in range(2, 2 + stack.dims):
        size = x.shape[axis]
        if stack.padding == "circular":
            ends = (x.narrow(axis, size - left, left), x, x.narrow(axis, 0, right))
            padded = torch.cat(ends, axis) if right else x
        else:
            padded = F.pad(x, [0, 0] * (x.ndim - 1 - axis) + [left, right])
        pieces = []
        for shift in range(stack.filter):
            index = [slice(None)] * x.ndim
            index[axis] = slice(shift, shift + size, stack.stride)
            pieces.append(padded[tuple(index)])
        x = torch.cat(pieces, -1)
    return x


def forward(
    stack: Stack, weights: Weights, images: Float32[Tensor, "M b 1 *side"]
) -> tuple[list[Float32[Tensor, "M b *p H"]], Float32[Tensor, "M b"]]:
    """Activations of all layers, and outputs, of M networks.

    Parameters
    ----------
    stack : Stack
    weights : Weights
    images : (M or 1, b, 1, side[, side]) float32 tensor
        With axis 1 all networks see the same.

    Returns
    -------
    activations : list of (M, b, places..., H) float32 tensors
    outputs : (M, b) float32 tensor
        Positive: near.
    """
    members = len(weights.beta)
    x = images.movedim(2, -1).expand(members, *images.shape[1:2], *images.shape[3:], 1)
    area, found = stack.filter**stack.dims, []
    for w, b in zip(weights.layers, weights.biases, strict=True):
        patches = under_filter(x, stack)
        scale = w.shape[1] ** -0.5 if stack.scaling == "ntk" else 1.0
        y = torch.baddbmm(b, patches.reshape(members, -1, patches.shape[-1]), w, alpha=scale)
        x = (y.relu() if stack.relu else y).reshape(*patches.shape[:-1], -1)
        if stack.scaling == "ntk":
            x = area**0.5 * x
        found.append(x)
    pooled = x.flatten(2, -2).mean(2)
    size = stack.width if stack.readout == "mean_field" else stack.width**0.5
    return found, (torch.bmm(pooled, weights.beta) / size + weights.beta0).squeeze(-1)
