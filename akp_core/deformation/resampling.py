"""Means and medians of squared changes, and their intervals by drawing images with replacement."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int32, Int64
from torch import Tensor

from akp_core.dispersion.expanded import expanded_tail

_ENTRIES = 4_000_000


def means(changes: Float64[Tensor, "r n p"]) -> Float64[Tensor, ""]:
    """Mean over repeats and images of the sum over components."""
    return changes.sum(dim=2).mean()


def medians(changes: Float64[Tensor, "r n p"]) -> Float64[Tensor, ""]:
    """Sum over components of the median over repeats and images."""
    return middle(changes.flatten(0, 1).T).sum()


def middle(values: Float64[Tensor, "*b n"]) -> Float64[Tensor, "*b"]:
    """Median along the last axis; of an even number, the mean of the two in the middle."""
    n = values.shape[-1]
    upper = values.kthvalue(n // 2 + 1).values
    return upper if n % 2 else (upper + values.kthvalue(n // 2).values) / 2


def intervals(
    changes: Sequence[Float64[Tensor, "r n p"]],
    deviations: Float64[Tensor, " n"],
    of_medians: bool,
    codes: Int64[Tensor, " n"],
    *,
    draws: int,
    level: float,
    generator: torch.Generator,
) -> Float64[Tensor, "3 2"]:
    """Ends of the intervals of D, of G and of their ratio, by drawing groups of images with replacement.

    Parameters
    ----------
    changes : two (r, n, p) tensors
        Squared changes under deformations and under noise, of each repeat, image and component.
    deviations : (n,) tensor
        Twice the squared distance of each image's activations from their mean; its mean is the normaliser.
    of_medians : bool
        Medians in place of means.
    codes : (n,) int64 tensor
        The group of each image, from 0; each its own where images are independent.
    draws, level, generator
        As for `stability`.
    """
    groups = int(codes.max()) + 1
    chosen = torch.randint(groups, (draws, groups), generator=generator)
    drawn_groups = torch.zeros(draws, groups, dtype=torch.int32).scatter_add_(
        1, chosen, torch.ones_like(chosen, dtype=torch.int32)
    )
    times = drawn_groups[:, codes.cpu()].to(changes[0].device)
    share = times.double() / times.sum(dim=1, keepdim=True)
    if of_medians:
        drawn = torch.stack([_medians(part.permute(2, 0, 1), times) for part in changes])
    else:
        drawn = torch.stack([share @ part.sum(dim=2).mean(dim=0) for part in changes])
    normaliser = share @ deviations
    # atan2 in place of the ratio: it keeps the order, and a draw without any change under noise has a place
    angle = torch.atan2(drawn[0], drawn[1])
    tail = expanded_tail(groups, level)
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64, device=angle.device)
    scaled = torch.where(normaliser > 0, drawn / normaliser, torch.inf)
    limits = [torch.quantile(part, ends, interpolation="nearest") for part in (*scaled, angle)]
    return torch.stack([*limits[:2], torch.tan(limits[2])]).cpu()


def _medians(changes: Float64[Tensor, "p r n"], times: Int32[Tensor, "draws n"]) -> Float64[Tensor, " draws"]:
    """Sum over components of the median of each draw: sorted once, then only counted."""
    repeats, n = changes.shape[1:]
    sums = changes.new_zeros(len(times))
    for part in torch.split(changes.flatten(1), max(1, _ENTRIES // (repeats * n))):
        values, order = part.sort(dim=1)
        image = order.remainder_(n)
        for k, row in enumerate(times):
            upto = row[image].cumsum(1, dtype=torch.int32)
            half, odd = divmod(int(upto[0, -1]), 2)
            places = [_first_above(upto, half - back) for back in ((0,) if odd else (0, 1))]
            sums[k] += sum(values.gather(1, place).sum() for place in places) / len(places)
    return sums


def _first_above(upto: Int32[Tensor, "p m"], count: int) -> Int64[Tensor, "p 1"]:
    return torch.searchsorted(upto, upto.new_full((len(upto), 1), count), right=True)
