"""From a chunk to the whole layer: R^2 in and out of sample, and what the residuals still share.

One Cholesky factor of the permuted Gram matrix holds the regressions on the first w units for all w at once:
its row j is unit j written in the orthonormalised units before it. No ridge is solved for any chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64, Int64, Real, Shaped
from torch import Tensor

from akp_core.clones.chunks import (
    Array,
    Generator,
    as_activations,
    check_generator,
    chunk_sizes,
    nested_chunks,
    varying,
)
from akp_core.errors import expected, whole_number

RIDGE = 1e-8
_FLOOR = 1e-13
"""Share of the layer's variance below which a Gram matrix in float64 cannot tell a direction from none."""


@dataclass(frozen=True)
class Regression:
    """What chunks of each size tell of the whole layer; means over chunks.

    Attributes
    ----------
    sizes : (s,) int64
        Units in a chunk, w.
    r_squared : (s,) float64
        Chunk -> whole layer, in sample, variance-weighted, at most 1.
    out_of_sample : (s,) float64
        The same on images that the regression has not seen; negative where it tells less than the mean.
    correlation : (s,) float64
        Mean absolute correlation of the residuals of two units, over all pairs of the layer, in [0, 1]. Those
        of the chunk itself are 0, so it falls to 0 at w = W whatever the layer. Where no residuals
        correlate it is about sqrt(2 / (pi n)), not 0.
    others : (s,) float64
        The same over the pairs of units outside the chunk; NaN where fewer than two are left.
    chunks : int
    dead : int
        Units that are the same for all images. They count as units of the layer, not as residuals.
    """

    sizes: Int64[np.ndarray, " s"]
    r_squared: Float64[np.ndarray, " s"]
    out_of_sample: Float64[np.ndarray, " s"]
    correlation: Float64[np.ndarray, " s"]
    others: Float64[np.ndarray, " s"]
    chunks: int
    dead: int

    @property
    def table(self) -> pd.DataFrame:
        """One row a size, as `akp_core.clones.critical_width` takes it."""
        columns = ("r_squared", "out_of_sample", "correlation", "others")
        return pd.DataFrame({"size": self.sizes} | {name: getattr(self, name) for name in columns})


def chunk_regression(
    activations: Real[Array, "n w"],
    *,
    sizes: Sequence[int] | None = None,
    chunks: int = 40,
    ridge: float = RIDGE,
    groups: Shaped[Array, " n"] | None = None,
    held_out: bool = True,
    generator: Generator,
) -> Regression:
    r"""Regress the whole layer on random chunks of it.

    .. math:: R^2(w) = 1 - \frac{\sum_j \lVert x_j - X_S \beta_j \rVert^2}{\sum_j \lVert x_j \rVert^2},
       \qquad \beta = (X_S^\top X_S + \lambda)^{-1} X_S^\top X,

    with X centred and S a chunk of w units. Out of sample, :math:`\beta` and the means come from one half of
    the images and the sums from the other, both ways round. Residual correlations are in sample, as
    published.

    Parameters
    ----------
    activations : (n, W) array
        One row an image. NumPy or torch, any real dtype.
    sizes : sequence of int, optional
        As for `chunk_sizes`.
    chunks : int
        Chunks of each size; published: 40.
    ridge : float
        Penalty, in squared units of the activations summed over images; published: 1e-8. Raised to 1e-13
        of the layer's variance where it is less, as float64 cannot tell the rest from nothing.
    groups : (n,) array, optional
        What each image comes from (a patient); no group is in both halves.
    held_out : bool
        Whether to judge out of sample too; without it NaN.
    generator : numpy.random.Generator
        Draws the halves, then the chunks.

    Returns
    -------
    Regression

    Raises
    ------
    AkpError
        For activations that are no finite table, a layer without a unit that varies, sizes above the width, a
        negative ridge, or, out of sample, halves with no more images than the largest chunk has units.

    Notes
    -----
    With fewer images than a chunk has units, R^2 in sample is 1 for any layer: it is fitted exactly. Out of
    sample that is refused. The chunk's own units are among those predicted, so R^2 is w / W where units
    share nothing.

    Invariances: the order of units and of images (in law), shifts of a unit; a common scale, but for
    the ridge.
    Cost: 3 n W^2 once; for each chunk W^3 for the correlations and 3 W^3 for each half, all sizes together.

    References
    ----------
    Doimo, Glielmo, Goldt & Laio 2022, and their published code (ridge, variance weights, in sample).
    """
    x = as_activations(activations)
    n, width = x.shape
    wanted = np.array(chunk_sizes(width, sizes))
    if isinstance(ridge, bool) or not isinstance(ridge, int | float) or not 0 <= ridge < np.inf:
        raise expected("ridge as a number of at least 0", repr(ridge))
    whole_number("chunks", chunks, 1)
    check_generator(generator)
    halves = _halves(n, groups, generator) if held_out else []
    orders = nested_chunks(width, chunks, generator)
    if halves and min(map(len, halves)) <= min(wanted[-1], width - 1):
        raise expected(
            f"more images in each half than the {wanted[-1]} units of the largest chunk",
            f"{min(map(len, halves))} of {n}",
            "give more images, smaller sizes, or held_out=False",
        )
    alive = varying(x)
    gram = x.T @ x
    total = float(np.trace(gram))
    penalty = max(float(ridge), _FLOOR * total)
    found = np.array([_in_sample(gram, order, wanted, penalty, alive) for order in orders])
    r_squared, correlation = found[:, 0].mean(axis=0), found[:, 1].mean(axis=0)
    others = found[0, 2] if chunks == 1 else found[:, 2].mean(axis=0)
    seen = np.full(len(wanted), np.nan)
    if halves:
        pairs = [_about_first(x[a], x[b], float(ridge)) for a, b in (halves, halves[::-1])]
        each = [[_out_of_sample(*pair, order, wanted) for pair in pairs] for order in orders]
        seen = np.mean(each, axis=(0, 1))
    return Regression(wanted, r_squared, seen, correlation, others, chunks, int((~alive).sum()))


def _halves(n: int, groups: Shaped[Array, " n"] | None, generator: Generator) -> list[np.ndarray]:
    """Two halves of the images, by whole groups."""
    which = (
        np.arange(n) if groups is None else np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    )
    if which.shape != (n,):
        raise expected(f"groups as one value for each of {n} images", f"shape {which.shape}")
    names, each = np.unique(which, return_inverse=True)
    if len(names) < 2:
        raise expected("at least two groups of images to halve", str(len(names)), "or ask for held_out=False")
    first = np.zeros(len(names), dtype=bool)
    first[generator.permutation(len(names))[: len(names) // 2]] = True
    return [np.flatnonzero(first[each]), np.flatnonzero(~first[each])]


def _about_first(
    a: Float64[np.ndarray, "n w"], b: Float64[np.ndarray, "m w"], ridge: float
) -> tuple[Float64[np.ndarray, "w w"], Float64[np.ndarray, "w w"], float, float]:
    """Gram matrices of both halves about the first one's mean, the sum of squares to explain, the penalty."""
    mean = a.mean(axis=0)
    fit, judged = a - mean, b - mean
    total = float(np.square(b - b.mean(axis=0)).sum())
    if total == 0 or not np.any(fit):
        raise expected(
            "units that vary in both halves of the images", "a half without variance", "give more images"
        )
    gram = fit.T @ fit
    return gram, judged.T @ judged, total, max(ridge, _FLOOR * float(np.trace(gram)))


def _factor(gram: Float64[np.ndarray, "w w"], penalty: float) -> Float64[np.ndarray, "w w"]:
    """Cholesky factor of a Gram matrix plus a penalty, which grows until rounding no longer matters."""
    eye = np.eye(len(gram))
    while True:
        factor, fault = torch.linalg.cholesky_ex(torch.from_numpy(gram + penalty * eye))
        if not int(fault):
            return factor.numpy()
        penalty *= 10


def _in_sample(
    gram: Float64[np.ndarray, "w w"],
    order: Int64[np.ndarray, " w"],
    sizes: Int64[np.ndarray, " s"],
    penalty: float,
    alive: np.ndarray,
) -> Float64[np.ndarray, "3 s"]:
    """R^2 and both residual correlations of the chunks that begin one order."""
    c, lives = gram[np.ix_(order, order)], alive[order]
    factor = _factor(c, penalty)
    total = float(np.trace(c))
    floor = 10 * max(penalty, _FLOOR * total)  # a residual below it is the penalty's own doing
    rest, done = torch.from_numpy(c.copy()), 0
    out = np.full((3, len(sizes)), np.nan)
    for k, size in enumerate(sizes):
        # only the units outside the chunk: the others have no residual
        block = torch.from_numpy(factor[size:, done:size].copy())
        rest = torch.addmm(rest[size - done :, size - done :], block, block.T, alpha=-1)
        left = rest.diagonal().numpy()
        out[0, k] = 1 - float(np.maximum(left, 0).sum()) / total
        some = lives[size:]
        scale = np.where((left > floor) & some, 1 / np.sqrt(np.where(left > floor, left, 1.0)), 0.0)
        inverse = torch.from_numpy(scale)
        shared = float((rest.abs() * inverse[:, None] * inverse).sum()) - float((scale > 0).sum())
        every, others = int(lives.sum()), int(some.sum())
        out[1, k] = max(shared, 0.0) / max(every * (every - 1), 1)
        out[2, k] = max(shared, 0.0) / (others * (others - 1)) if others > 1 else np.nan
        done = int(size)
    return out


def _out_of_sample(
    fit: Float64[np.ndarray, "w w"],
    judged: Float64[np.ndarray, "w w"],
    total: float,
    penalty: float,
    order: Int64[np.ndarray, " w"],
    sizes: Int64[np.ndarray, " s"],
) -> Float64[np.ndarray, " s"]:
    """R^2 on other images of the chunks that begin one order, all sizes from one factor.

    With C = L L', z = L^-1 x are the units made orthonormal one after the other, and the first w of them
    predict unit j as sum_i L_ji z_i. Sums over the judged images need their Gram matrix only.
    """
    at = np.ix_(order, order)
    factor = torch.from_numpy(_factor(fit[at], penalty))
    half = torch.linalg.solve_triangular(factor, torch.from_numpy(judged[at]), upper=False)
    inner = torch.linalg.solve_triangular(factor, half.T.contiguous(), upper=False)
    crossed = (half * factor.T).sum(dim=1).cumsum(0)
    overlap = inner * (factor.T @ factor)
    upper = torch.triu(overlap, 1)
    squared = (overlap.diagonal() + 2 * upper.sum(dim=0)).cumsum(0)
    left = float(np.trace(judged)) - 2 * crossed + squared
    kept: Float64[np.ndarray, " s"] = 1 - left.numpy()[sizes - 1] / total
    return kept
