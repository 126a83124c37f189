"""How much each layer changes under the task's deformation and noise, and how even its filters are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from akp_core.dispersion.expanded import expanded_tail
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.networks.tap import evaluating, tapped
from akp_core.scale_detection.images import Probe
from akp_core.scale_detection.network import Stack, Weights, forward
from akp_core.similarity.calibration import check_rng
from akp_core.theory.ornstein_uhlenbeck import number

Channels = Literal["all", "mean"]
Function = Callable[[Tensor], Mapping[str, Tensor]]
ROUNDING = 1e-12
QUANTITIES: Mapping[str, str] = {
    "moved": "D, points moved",
    "noisy": "G, noise",
    "rectified": "G, noise after a ReLU",
}


class Changes(NamedTuple):
    """Squared changes of one layer, for each of n images; float64.

    Attributes
    ----------
    moved, noisy, rectified : (n,) arrays
        Sums over units of the squared change under the deformation, the noise, and the noise after a ReLU.
    apart : (n,) array
        Sum over units of the squared distance to the mean image, times 2 n / (n - 1): its mean over images
        is the mean squared distance of two different images.
    """

    moved: Float64[np.ndarray, " n"]
    noisy: Float64[np.ndarray, " n"]
    rectified: Float64[np.ndarray, " n"]
    apart: Float64[np.ndarray, " n"]

    def relative(self) -> tuple[float, float, float]:
        """D, G and G of rectified noise; NaN where all images give the same."""
        apart = float(self.apart.mean())
        if not (np.isfinite(apart) and apart > 0):
            return np.nan, np.nan, np.nan
        return tuple(float(v.mean()) / apart for v in self[:3])  # type: ignore[return-value]


@torch.no_grad()
def changes(function: Function, probe: Probe, *, channels: Channels = "all") -> dict[str, Changes]:
    r"""Squared changes of every layer under the deformation and the noise.

    .. math:: D = \frac{\langle \lVert f(\tau x) - f(x) \rVert^2 \rangle_x}
              {\langle \lVert f(x) - f(x') \rVert^2 \rangle_{x \ne x'}}, \qquad
              G = \frac{\langle \lVert f(x + \eta) - f(x) \rVert^2 \rangle_x}
              {\langle \lVert f(x) - f(x') \rVert^2 \rangle_{x \ne x'}}

    Parameters
    ----------
    function : callable
        Images (n, 1, side[, side]) to a mapping of layer names to activations (n, channels, ...).
    probe : Probe
        At least 4 images.
    channels : {"all", "mean"}
        "mean": average the channels first, which leaves what pooling over space does.

    Returns
    -------
    dict of str to Changes
        ``relative()`` of each gives D, G and G of rectified noise.

    Raises
    ------
    AkpError
        For fewer than 4 images, an unknown name, or a function that gives something else.

    Notes
    -----
    Invariances: scale and mean of every layer. The authors' code counts pairs of an image with itself, too:
    its D and G are n / (n - 1) times these. Cost: four passes.

    References
    ----------
    Tomasini et al. 2022; Petrini et al. 2021.
    """
    if channels not in get_args(Channels):
        raise unknown_name("channels", channels, get_args(Channels))
    count = len(probe.images)
    if count < 4:
        raise expected("at least 4 images", str(count))
    plain = _read(function, probe.images, channels)
    pushed = [_read(function, images, channels) for images in probe[1:]]
    found = {}
    for name, clean in plain.items():
        moved, noisy, rectified = ((other[name] - clean).square().sum(1).numpy() for other in pushed)
        spread = (clean - clean.mean(0)).square().sum(1).numpy() * 2 * count / (count - 1)
        # What rounding leaves of equal outputs is no spread.
        real = spread.mean() > ROUNDING * float(clean.square().sum(1).mean())
        found[name] = Changes(moved, noisy, rectified, spread if real else np.zeros(count))
    return found


def measured(
    function: Function,
    probe: Probe,
    *,
    channels: Channels = "all",
    level: float = 0.05,
    draws: int = 999,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """D and G of every layer of one network, with bootstrap intervals over images.

    Parameters
    ----------
    function, probe, channels
        As for `changes`.
    level : float
        Intervals hold with confidence 1 - level: for new images, not for another network.
    draws : int
        Of the images, with replacement; at least 99.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``layer, quantity, value, low, high``; NaN where a layer gives the same for all images.

    Raises
    ------
    AkpError
        As `changes`.
    """
    check_rng(rng)
    level, draws = number("level", level, 1e-6, 0.999), whole_number("draws", draws, 99)
    count = len(probe.images)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=draws)
    tail = expanded_tail(count, level)
    rows = []
    for name, found in changes(function, probe, channels=channels).items():
        apart = weights @ found.apart
        told = found.apart.any() and bool((apart > 0).all())
        for (key, label), value in zip(QUANTITIES.items(), found.relative(), strict=True):
            ends = [np.nan] * 2
            if told:
                ends = np.quantile(weights @ getattr(found, key) / apart, [tail, 1 - tail]).tolist()
            rows.append((name, label, value, *ends))
    return pd.DataFrame(rows, columns=["layer", "quantity", "value", "low", "high"])


def _read(function: Function, images: Tensor, channels: Channels) -> dict[str, Tensor]:
    parts = function(images)
    if not isinstance(parts, Mapping) or not parts:
        raise expected("a function that gives a mapping of layers to activations", type(parts).__name__)
    found = {}
    for name, part in parts.items():
        if not isinstance(part, Tensor) or part.ndim < 2 or len(part) != len(images):
            came = tuple(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise expected(f"activations ({len(images)}, channels, ...) at {name!r}", str(came))
        part = part.mean(1) if channels == "mean" else part
        found[name] = part.detach().cpu().reshape(len(images), -1).double()
    return found


def layers_of(module: nn.Module, names: list[str] | None = None) -> Function:
    """A function for `changes` that gives the outputs of a module's parts.

    Parameters
    ----------
    module : nn.Module
        Takes (n, 1, side) or (n, 1, side, side); evaluated in its evaluation mode.
    names : list of str or None
        Qualified names of parts. None: every ReLU, or every child where there is none.

    Returns
    -------
    callable

    Raises
    ------
    AkpError
        For a name that the module does not have, or a module without parts.
    """
    if names is None:
        names = [name for name, part in module.named_modules() if isinstance(part, nn.ReLU)]
        names = names or [name for name, _ in module.named_children()]
    if not names:
        raise AkpError("expected a module with parts, got one without; give a function instead")

    def outputs(images: Tensor) -> Mapping[str, Tensor]:
        with evaluating(module), tapped(module, names) as seen:
            module(images)
            return dict(seen)

    return outputs


def member_function(stack: Stack, weights: Weights, member: int) -> Function:
    """One network of a population as a function for `changes`; layers are named 1, 2, ..."""
    one = weights.member(member)

    def outputs(images: Tensor) -> Mapping[str, Tensor]:
        activations, _ = forward(stack, one, images[None])
        return {str(k + 1): a[0].movedim(-1, 1) for k, a in enumerate(activations)}

    return outputs


def ideal(
    stack: Stack, weights: Float[Tensor, " F"] | None = None, *, relu: bool = True
) -> tuple[Stack, Weights]:
    """A network of one channel whose filters are all alike and positive: what pooling over space would do.

    Parameters
    ----------
    stack : Stack
        Filter, stride, depth, dimensions and padding are kept.
    weights : (F,) float tensor or None
        Of the filter along each axis. None: all ones.
    relu : bool
        Whether layers end in a ReLU: unrectified noise makes values below 0, which it cuts.

    Returns
    -------
    (Stack, Weights)
        For `member_function`. Linear on images of at least 0: each layer is a weighted mean.
    """
    one = torch.ones(stack.filter) if weights is None else torch.as_tensor(weights, dtype=torch.float32)
    if one.shape != (stack.filter,) or not (one > 0).all():
        raise expected(f"{stack.filter} positive weights", f"{weights!r:.60}")
    one = one / one.sum()
    kernel = one if stack.dims == 1 else torch.outer(one, one).flatten()
    plain = replace(stack, width=1, bias=False, relu=relu, scaling="standard")
    layers = tuple(kernel[None, :, None].clone() for _ in range(stack.depth))
    biases = tuple(torch.zeros(1, 1, 1) for _ in range(stack.depth))
    return plain, Weights(layers, biases, torch.ones(1, 1, 1), torch.zeros(1, 1, 1))
