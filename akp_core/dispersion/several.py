r"""Between several families: the F of an analysis of variance, a studentised contrast, and their p values.

For two families `akp_core.dispersion.contributions.contrast` is :math:`\sinh(\log V_u / V_h)` over its
standard error. For k it is summed over pairs as Welch's statistic is,

.. math:: Q = \frac{\sum_{g<h} (V_g^2 - V_h^2)^2 / (4 s_g^2 s_h^2)}{\sum_g V_g^2 / s_g^2} ,

with :math:`s_g` the standard error of :math:`V_g`: the square of that contrast for k = 2, and free of
logarithms for all.

The jackknife overrates that error. What pairs of members add to the variance of V beyond single members,
:math:`2 \operatorname{tr} C^2 / (n(n-1))`, it counts more than twice, and so exceeds the truth by

.. math:: \frac{2 \operatorname{tr} C^2}{(n-1)(n-2)} :

a share :math:`u/(n-1)` of itself with u = 1 for a Gaussian cloud of any covariance C, and less for heavy
tails. u is estimated, and deviations of contributions are scaled by :math:`\sqrt{1 - u^2/(n-1)}`. One u
serves all families, the least of theirs, as a family that happens to have drawn no far member looks Gaussian;
it is squared, and never above 1, for the same reason. Without these cautions skewed clouds were rejected more
often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64

from akp_core.dispersion.dimension import trace_of_square

Statistic = Callable[[Float64[np.ndarray, "*p n"], Float64[np.ndarray, "n k"]], Float64[np.ndarray, "*p"]]

_BATCH_ENTRIES = 1_000_000
_ROUND_OFF, _TIE = 1e-12, 1e-9


def pair_share(squared: Float64[np.ndarray, "n n"], values: Float64[np.ndarray, " n"]) -> float:
    """The u of one family of at least 4, in [0, 1], from its squared distances and its contributions."""
    n, variance = len(values), float(values.var(ddof=1))
    excess = 2 * n / (n - 2) * max(trace_of_square(squared), 0.0)
    return 1.0 if variance <= excess else excess / variance


def sharpened(
    values: Float64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"], shares: Sequence[float]
) -> Float64[np.ndarray, " n"]:
    """Contributions whose spread is that of V and not the jackknife's; every family keeps its mean."""
    sizes = np.bincount(codes)
    means = (np.bincount(codes, values) / sizes)[codes]
    return np.asarray(means + np.sqrt(1 - min(shares) ** 2 / (sizes - 1))[codes] * (values - means))


def indicator_of(codes: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "n k"]:
    """One column for each family, 1 over its size for its members, so that products are means."""
    sizes = np.bincount(codes)
    return np.asarray((codes[:, None] == np.arange(len(sizes))) / sizes)


def _between(
    values: Float64[np.ndarray, "*p n"], indicator: Float64[np.ndarray, "n k"]
) -> Float64[np.ndarray, "*p"]:
    """Sum of squares between families of values with mean 0; for a fixed total, F grows with it alone."""
    return np.asarray((np.square(values @ indicator) / indicator.max(axis=0)).sum(axis=-1))


def _welch(
    values: Float64[np.ndarray, "*p n"], indicator: Float64[np.ndarray, "n k"]
) -> Float64[np.ndarray, "*p"]:
    """Q above, of contributions whose absolute mean is 1."""
    sizes = 1 / indicator.max(axis=0)
    centre = values.mean(axis=-1, keepdims=True)
    away = values - centre
    means, squares = away @ indicator, np.square(away) @ indicator
    least = _ROUND_OFF * np.square(away).mean(axis=-1, keepdims=True) + np.finfo(float).tiny
    errors = np.maximum(squares - np.square(means), least) / (sizes - 1)
    v = np.square(means + centre)
    i, j = np.triu_indices(len(sizes), 1)
    pairs = np.square(v[..., i] - v[..., j]) / (4 * errors[..., i]) / errors[..., j]
    total = (v / errors).sum(axis=-1)
    return np.divide(pairs.sum(axis=-1), total, out=np.zeros(total.shape), where=total > 0)


def analysis_of_variance(z: Float64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"]) -> float:
    """F of z between families."""
    sizes = np.bincount(codes)
    deviation = z - z.mean()
    total = float(deviation @ deviation)
    if total <= _ROUND_OFF**2 * float(z @ z):
        return 0.0
    between = float(_between(deviation, indicator_of(codes)))
    means = np.bincount(codes, deviation) / sizes
    within = float(np.square(deviation - means[codes]).sum())
    if within <= _ROUND_OFF * total:
        return float("inf")
    return (between / (len(sizes) - 1)) / (within / (len(z) - len(sizes)))


def _share_as_large(
    statistic: Statistic,
    values: Float64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
    permutations: int,
    rng: np.random.Generator,
    slack: float,
) -> float:
    """Share of the permutations of values that reach their statistic, less a slack for round-off in ties."""
    indicator = indicator_of(codes)
    least = float(statistic(values, indicator)) * (1 - _TIE) - slack
    batch = max(1, _BATCH_ENTRIES // len(values))
    as_large = 0
    for start in range(0, permutations, batch):
        rows = np.broadcast_to(values, (min(batch, permutations - start), len(values)))
        as_large += int((statistic(rng.permuted(rows, axis=1), indicator) >= least).sum())
    return (1 + as_large) / (1 + permutations)


def p_of_f(
    z: Float64[np.ndarray, " n"], codes: Int64[np.ndarray, " n"], permutations: int, rng: np.random.Generator
) -> float:
    """P value of F, by permutation of z."""
    deviation = z - z.mean()
    total = float(deviation @ deviation)
    if total <= _ROUND_OFF**2 * float(z @ z):
        return 1.0
    return _share_as_large(_between, deviation, codes, permutations, rng, _ROUND_OFF * total)


def p_of_contrast(
    values: Float64[np.ndarray, " n"],
    codes: Int64[np.ndarray, " n"],
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """P value of Q, by permutation of contributions."""
    size = float(np.abs(values).mean())
    if size == 0 or float(np.ptp(values)) <= _ROUND_OFF * size:
        return 1.0
    return _share_as_large(_welch, values / size, codes, permutations, rng, _ROUND_OFF)
