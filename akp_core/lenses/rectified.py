"""Does noise pile up in pooling because it was rectified? The same noise as it is, and its positive part."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from akp_core.errors import expected, whole_number
from akp_core.lenses.stability import Trial, chosen, measured, networks, trial
from akp_core.networks import slots, swap
from akp_core.outcome import Population
from akp_core.study import CONTROL

Activation = Literal["its own", "none"]
ACTIVATIONS: tuple[Activation, ...] = ("its own", "none")


def rectified(noise: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
    r"""The positive part of noise, scaled to the norm that each had.

    .. math:: \eta^+ = \lVert \eta \rVert \, \frac{\max(\eta, 0)}{\lVert \max(\eta, 0) \rVert}

    Parameters
    ----------
    noise : (n, ...) float
        A row an image.

    Returns
    -------
    (n, ...) float

    Raises
    ------
    AkpError
        Where a noise has no positive entry, so that nothing could be scaled to its norm.
    """
    rows = noise.flatten(1)
    positive = rows.clamp(min=0)
    norm = torch.linalg.vector_norm(positive, dim=1, keepdim=True)
    if bool(((norm == 0) & rows.any(dim=1, keepdim=True)).any()):
        raise expected("noise with a positive entry for each image", "one without")
    scale = torch.linalg.vector_norm(rows, dim=1, keepdim=True) / norm.clamp(min=torch.finfo(norm.dtype).tiny)
    return (positive * scale).reshape(noise.shape)


def without_rectification(model: nn.Module) -> nn.Module:
    """A copy of a network in which nothing rectifies: identities in its slots, means instead of maxima.

    Parameters
    ----------
    model : nn.Module
        With slots (`akp_core.networks.Slot`); not changed.

    Returns
    -------
    nn.Module
        With the same weights. Max-pooling becomes average pooling of the same size and stride, as the
        largest of several noises has a positive mean too. Norms are left, and are not linear.

    Raises
    ------
    AkpError
        For a network without slots, or with a dilated max-pooling, which has no average counterpart.
    """
    if not slots(model):
        raise expected("a network with slots", "none", "adopt it: akp_core.networks.Own")
    copied = copy.deepcopy(model)
    swap(copied, dict.fromkeys(slots(copied), "identity"))
    for part in list(copied.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, nn.MaxPool2d):
                if child.dilation not in (1, (1, 1)):
                    raise expected("max-pooling without dilation", f"dilation {child.dilation}")
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(part, name, mean)
    return copied


def rectified_noise(
    population: Population,
    *,
    taps: Sequence[str] | None = None,
    families: Sequence[str] = (CONTROL,),
    steps: Iterable[int] | None = None,
    activations: Sequence[Activation] = ACTIVATIONS,
    images: int | None = 128,
    cutoff: int = 3,
    displacement: float | None = None,
    draws: int = 1,
    resamples: int = 999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """G_f of every network at every tap under noise as it is and rectified, of the same norms.

    Parameters
    ----------
    population : Population
    taps, families
        As for `akp_core.lenses.stability.stability`.
    steps : iterable of int or None
        None means before and after training.
    activations : sequence of {"its own", "none"}
        The networks as they are, and `without_rectification`.
    images, cutoff, displacement, draws, resamples, level, seed
        As for `stability`; they set the norm of the noise.

    Returns
    -------
    DataFrame
        One row a network, step, tap, activation and noise: ``family``, ``member``, ``step``, ``tap``,
        ``activation``, ``noise`` ("as it is", "rectified"), ``G`` (positive) with ``G_low`` and
        ``G_high`` over images, ``images``, ``why``.

    Raises
    ------
    AkpError
        As `stability`; for an unknown activation, or as `without_rectification`.

    Notes
    -----
    Prediction (Tomasini et al. 2022; the theorem on averaging layers of this book): where nothing
    rectifies, noise as it is does not pile up with depth, rectified noise does, as its mean survives
    averaging.
    """
    for activation in activations:
        if activation not in ACTIVATIONS:
            raise expected(f"activations from {', '.join(map(repr, ACTIVATIONS))}", repr(activation))
    names, wanted = chosen(population, taps, families)
    at = (0, population.study.steps) if steps is None else tuple(whole_number("step", s, 0) for s in steps)
    plain = trial(
        population.study.data,
        images=images,
        cutoff=cutoff,
        displacement=displacement,
        draws=draws,
        seed=seed,
    )
    both = _two_noises(plain)
    rows = []
    for family, member, step, model in networks(population, wanted, at):
        for activation in activations:
            seen = model if activation == "its own" else without_rectification(model)
            place = {"family": family, "member": member, "step": step, "activation": activation}
            for row in measured(seen, names, both, resamples=resamples, level=level, seed=seed):
                kept = place | {name: row[name] for name in ("tap", "images", "why")}
                for noise, letter in (("rectified", "D"), ("as it is", "G")):
                    figures = {f"G{end}": row[f"{letter}{end}"] for end in ("", "_low", "_high")}
                    rows.append(kept | {"noise": noise} | figures)
    return pd.DataFrame(rows)


def _two_noises(plain: Trial) -> Trial:
    """Rectified noise in the place of the deformation: both are then measured by one pass."""
    noise = plain.noisy - plain.clean
    positive = rectified(noise.flatten(0, 1)).reshape(noise.shape)
    return replace(plain, deformed=plain.clean + positive)
