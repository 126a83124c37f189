"""How sure the stitching penalty is: its interval over images, or what they come from, and McNemar's test."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats
from torch import Tensor

from akp_core.errors import expected


def interval_of(
    wrong: Bool[Tensor, " n"],
    usual: Bool[Tensor, " n"],
    groups: Int[Tensor, " n"] | None,
    resamples: int,
    level: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean paired difference at 1 - level, drawing groups."""
    difference = wrong.cpu().numpy().astype(float) - usual.cpu().numpy().astype(float)
    of = (
        np.arange(len(difference))
        if groups is None
        else np.unique(groups.cpu().numpy(), return_inverse=True)[1]
    )
    if of.max() == 0:
        raise expected("at least two groups of evaluation images", "one", "there is nothing to resample")
    result = stats.bootstrap(
        (np.bincount(of, weights=difference), np.bincount(of).astype(float)),
        lambda totals, counts, axis: totals.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 10_000_000 // len(difference)),
        confidence_level=1 - level,
        method="percentile",
        rng=rng,
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def mcnemar(wrong: Bool[Tensor, " n"], usual: Bool[Tensor, " n"]) -> float:
    """Exact two-sided McNemar test: of the images on which they differ, half go each way."""
    lost, won = int((wrong & ~usual).sum()), int((~wrong & usual).sum())
    return float(stats.binomtest(lost, lost + won).pvalue) if lost + won else 1.0
