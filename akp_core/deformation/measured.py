"""Draws held against what is known of them: displacements, folds, and a linear network's stability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from akp_core.deformation.deformed import deform
from akp_core.deformation.field import fields
from akp_core.deformation.folds import fold_scale
from akp_core.deformation.known_answer import linear_answer, planes
from akp_core.deformation.noise import matched_noise
from akp_core.deformation.scales import (
    displacement_variance,
    root_mean_square,
    temperature_for,
    temperature_range,
    typical_displacement,
)
from akp_core.deformation.stability import stability


def displacements(
    sides: Sequence[int],
    cutoffs: Sequence[int],
    *,
    displacement: float,
    draws: int,
    generator: torch.Generator,
    level: float = 0.05,
) -> pd.DataFrame:
    """Root mean square displacements, exact and drawn, where the paper's formula says ``displacement``.

    Parameters
    ----------
    sides, cutoffs : sequences of int
        Every side with every cutoff.
    displacement : float
        Typical displacement in pixels.
    draws : int
        Fields of each setting.
    generator : torch.Generator
    level : float
        Intervals have confidence 1 - level.

    Returns
    -------
    DataFrame
        A row for each setting and ``what``: "component, centre" or "length, image". Columns ``side``,
        ``cutoff``, ``formula``, ``exact``, ``drawn``, ``low``, ``high`` (pixels) and ``p_value`` of the drawn
        one under the exact law.
    """
    rows = []
    for side in sides:
        for cutoff in cutoffs:
            temperature = temperature_for(displacement, cutoff, side)
            field = fields(
                draws,
                (side, side),
                cutoff=cutoff,
                temperature=temperature,
                generator=generator,
                dtype=torch.float64,
            )
            middle = side // 2
            squares = float(field[:, :, middle, middle].square().sum())
            n = 2 * draws
            exact = displacement_variance((side, side), cutoff=cutoff, temperature=temperature)[
                middle, middle
            ]
            ends = np.sqrt(squares / stats.chi2.ppf([1 - level / 2, level / 2], n))
            p = 2 * min(stats.chi2.cdf(squares / exact, n), stats.chi2.sf(squares / exact, n))
            centre = (math.sqrt(exact), math.sqrt(squares / n), *ends, p)
            lengths = field.square().sum(dim=1).mean(dim=(1, 2)).numpy()
            exact = root_mean_square((side, side), cutoff=cutoff, temperature=temperature)
            reach = stats.t.ppf(1 - level / 2, draws - 1) * lengths.std(ddof=1) / math.sqrt(draws)
            ends = np.sqrt(np.maximum(lengths.mean() + np.array([-reach, reach]), 0))
            p = stats.ttest_1samp(lengths, exact**2).pvalue
            image = (exact, math.sqrt(lengths.mean()), *ends, p)
            for what, row in (("component, centre", centre), ("length, image", image)):
                rows.append((side, cutoff, what, displacement, *map(float, row)))
    columns = ["side", "cutoff", "what", "formula", "exact", "drawn", "low", "high", "p_value"]
    return pd.DataFrame(rows, columns=columns)


def folding(
    sides: Sequence[int],
    cutoffs: Sequence[int],
    ratios: Sequence[float],
    *,
    draws: int,
    generator: torch.Generator,
    level: float = 0.05,
) -> pd.DataFrame:
    """Share of fields that fold, against their temperature over the paper's upper one.

    Parameters
    ----------
    sides, cutoffs : sequences of int
    ratios : sequence of float
        Temperatures over T_max; one draw of a field answers for all of them (`fold_scale`).
    draws : int
        Fields of each setting.
    generator : torch.Generator
    level : float

    Returns
    -------
    DataFrame
        Columns ``side``, ``cutoff``, ``ratio``, ``displacement`` (typical, in pixels), ``share``, ``low``,
        ``high`` (Clopper and Pearson's interval) and ``draws``.
    """
    rows = []
    for side in sides:
        for cutoff in cutoffs:
            highest = temperature_range(cutoff, side)[1]
            step = max(1, 4_000_000 // side**2)
            scales = [
                fold_scale(
                    fields(
                        min(step, draws - start),
                        (side, side),
                        cutoff=cutoff,
                        temperature=highest,
                        generator=generator,
                    )
                )
                for start in range(0, draws, step)
            ]
            onset = torch.cat(scales).double().square()
            for ratio in ratios:
                folded = int((onset <= ratio).sum())
                ends = stats.binomtest(folded, draws).proportion_ci(1 - level)
                moved = typical_displacement(ratio * highest, cutoff, side)
                rows.append((side, cutoff, ratio, moved, folded / draws, ends.low, ends.high, draws))
    columns = ["side", "cutoff", "ratio", "displacement", "share", "low", "high", "draws"]
    return pd.DataFrame(rows, columns=columns)


def linear_networks(side: int) -> Mapping[str, Tensor]:
    """Three linear networks on grey images: what they read is the mean, nothing special, or an edge.

    Returns
    -------
    mapping of str to (p, 1, side, side) float64 tensor
    """
    edge = torch.zeros(1, 1, side, side, dtype=torch.float64)
    half = side // 2
    edge[0, 0, half - 1 : half + 1, half - 1 : half + 1] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    random = torch.randn(8, 1, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return {
        "mean of all pixels": torch.ones(1, 1, side, side, dtype=torch.float64) / side**2,
        "eight random weights a pixel": random,
        "difference of neighbours": edge,
    }


def linear_stability(
    side: int,
    *,
    cutoff: int,
    displacement: float,
    images: int,
    generator: torch.Generator,
    level: float = 0.05,
) -> pd.DataFrame:
    """Stability of linear networks that see planes: as derived (`linear_answer`), and drawn.

    Returns
    -------
    DataFrame
        Columns ``network``, ``exact`` (R), ``drawn``, ``low``, ``high``, ``p_value`` (of the mean over images
        of their change under deformation less R times that under noise).
    """
    gradients = torch.randn(images, 1, 2, generator=generator, dtype=torch.float64)
    given = planes(gradients, (side, side))
    bent = deform(given, cutoff=cutoff, displacement=displacement, generator=generator)
    noisy = matched_noise(given, bent, generator=generator)
    rows = []
    for name, weights in linear_networks(side).items():
        exact = linear_answer(weights, gradients, cutoff=cutoff, temperature=bent.temperature).relative
        clean, moved, hit = (x.flatten(1) @ weights.flatten(1).T for x in (given, bent.images, noisy))
        found = stability(clean, moved, hit, generator=generator, level=level).r_f
        excess = (moved - clean).square().sum(dim=1) - exact * (hit - clean).square().sum(dim=1)
        rows.append((name, exact, *found, float(stats.ttest_1samp(excess.numpy(), 0).pvalue)))
    return pd.DataFrame(rows, columns=["network", "exact", "drawn", "low", "high", "p_value"])
