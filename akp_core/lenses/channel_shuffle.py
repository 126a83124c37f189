"""Channels exchanged in every filter: what is then left of a network's stability is pooling over space."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from akp_core.errors import expected, whole_number
from akp_core.lenses.stability import QUANTITIES, Change, stability
from akp_core.outcome import Population
from akp_core.seeds import derive
from akp_core.study import CONTROL


def shuffled_channels(model: nn.Module, *, generator: torch.Generator) -> nn.Module:
    r"""A copy of a network whose convolutions read their input channels in a wrong order.

    .. math:: w'_{o, c} = w_{o, \pi_o(c)}

    with a permutation :math:`\pi_o` of its own for every output channel o of every two-dimensional
    convolution but the first.

    Parameters
    ----------
    model : nn.Module
        Not changed.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    nn.Module

    Raises
    ------
    AkpError
        For a network in which no convolution but the first has two channels to exchange.

    Notes
    -----
    Each filter keeps its F x F patterns, their norms and its bias: what it pools over space is untouched.
    It no longer sums the channels that it learnt to sum. The first convolution reads the image itself and
    is left alone, as are linear layers. In an untrained network weights are drawn independently, so the
    copy has the same law as the network: no effect is expected there.

    References
    ----------
    Tomasini et al. 2022, arXiv:2210.01506, and the code of its authors.
    """
    copied = copy.deepcopy(model)
    convolutions = [part for part in copied.modules() if isinstance(part, nn.Conv2d)]
    later = [part for part in convolutions[1:] if part.weight.shape[1] > 1]
    if not later:
        got = f"{len(convolutions)} convolutions, {len(later)} of them later ones of two channels or more"
        raise expected("a second convolution with channels to exchange", got, "use a deeper network")
    with torch.no_grad():
        for part in later:
            weight = part.weight
            keys = torch.rand(weight.shape[:2], generator=generator, dtype=torch.float64)
            order = keys.argsort(dim=1).to(weight.device)
            weight.copy_(weight.gather(1, order[:, :, None, None].expand_as(weight)))
    return copied


def channel_shuffle(
    population: Population,
    *,
    families: Sequence[str] = (CONTROL,),
    steps: Iterable[int] | None = None,
    copies: int = 3,
    seed: int = 0,
    **how: Any,
) -> pd.DataFrame:
    """D_f, G_f and R_f of every network as it is and with its channels exchanged, on the same images.

    Parameters
    ----------
    population : Population
        Of convolutional networks.
    families : sequence of str
    steps : iterable of int or None
        None means the untrained and the trained networks.
    copies : int
        Ways to exchange the channels of each network.
    seed : int
        Of images, fields and noise, and of the permutations, which are the same at all steps of a training.
    **how
        The other arguments of `akp_core.lenses.stability.stability`.

    Returns
    -------
    DataFrame
        As `stability`, with ``shuffled``, False or True, and ``copy``, from 1; 0 as it is. The copies of a
        network are no replicates: see `over_copies`.

    Raises
    ------
    AkpError
        As `stability` and `shuffled_channels`.
    """
    at = (0, population.study.steps) if steps is None else tuple(steps)

    def exchange(copy_number: int) -> Change:
        path = derive(seed, "stability", "channels", copy_number)
        return lambda model: shuffled_channels(model, generator=torch.Generator().manual_seed(path))

    whole_number("copies", copies, 1)
    parts = [
        stability(population, families=families, steps=at, seed=seed, **how).assign(shuffled=False, copy=0)
    ]
    for number in range(1, copies + 1):
        rows = stability(population, families=families, steps=at, seed=seed, change=exchange(number), **how)
        parts.append(rows.assign(shuffled=True, copy=number))
    return pd.concat(parts, ignore_index=True)


def over_copies(table: pd.DataFrame) -> pd.DataFrame:
    """One row a network: geometric means of D_f, G_f and R_f over its copies.

    Parameters
    ----------
    table : DataFrame
        From `channel_shuffle`.

    Returns
    -------
    DataFrame
        ``family``, ``member``, ``step``, ``tap``, ``shuffled``, ``D``, ``G``, ``R``; NaN where a
        copy has none.
    """
    keys = ["family", "member", "step", "tap", "shuffled"]
    positive = table[list(QUANTITIES)].where(table[list(QUANTITIES)] > 0)
    logs = positive.astype(float).apply(np.log).assign(**{key: table[key] for key in keys})
    means = logs.groupby(keys, sort=False)[list(QUANTITIES)].mean(skipna=False)
    return means.apply(np.exp).reset_index()
