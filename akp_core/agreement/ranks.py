"""Ranks within classes, with ties and weights: the common ground of all correlations of orders."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64

from akp_core.errors import AkpError


class Orders:
    """Orders of the same images, one a row, ready to be ranked under many draws of the images.

    Parameters
    ----------
    values : (m, n) float array
        What the images are ordered by; inf is allowed, NaN is not.
    parts : (n,) int array
        Classes, numbered from 0; images are ranked within their class. All 0: among all.

    Raises
    ------
    AkpError
        For NaN.

    Notes
    -----
    Cost of a ranking: m n.
    """

    def __init__(self, values: Float[np.ndarray, "m n"], parts: Int64[np.ndarray, " n"]) -> None:
        if np.isnan(values).any():
            raise AkpError("expected values that can be put in order, got NaN among them")
        codes = [np.unique(row, return_inverse=True)[1] for row in values]
        self.levels = 1 + max(int(row.max()) for row in codes)
        self.classes = 1 + int(parts.max())
        start = np.arange(len(values))[:, None] * self.classes + parts
        self._bin, self._start = start * self.levels + np.stack(codes), start
        self.shape = values.shape

    def ranks(self, weights: Float[np.ndarray, " n"] | None = None) -> Float64[np.ndarray, "m n"]:
        r"""Rank the images of each class, ties by their mean, as a share of the class; mean 0 in each class.

        .. math:: r(x) = \frac{W_{<x} + W_{=x} / 2}{W} - \frac12

        with W the weights of the images of the class that come before, tie, and in all.
        """
        m, n = self.shape
        v = np.ones(n) if weights is None else weights
        held = np.bincount(self._bin.ravel(), np.tile(v, m), m * self.classes * self.levels)
        held = held.reshape(-1, self.levels)
        total = held.sum(axis=1, keepdims=True)
        before = np.cumsum(held, axis=1) - held / 2
        share = np.divide(before, total, out=np.full(held.shape, 0.5), where=total > 0) - 0.5
        return share.ravel()[self._bin]


def correlations(
    ranks: Float64[np.ndarray, "m n"], weights: Float[np.ndarray, " n"] | None = None
) -> Float64[np.ndarray, "m m"]:
    """Spearman correlations of centred ranks: Pearson's, images weighted; NaN where a row does not vary."""
    return across(ranks, ranks, weights)


def across(
    first: Float64[np.ndarray, "a n"],
    second: Float64[np.ndarray, "b n"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, "a b"]:
    """The same between two sets of centred ranks of the same images."""
    v = np.ones(first.shape[1]) if weights is None else weights
    product = (first * v) @ second.T
    norms = [np.sqrt((rows**2) @ v) for rows in (first, second)]
    size = np.outer(*norms)
    return np.divide(product, size, out=np.full(product.shape, np.nan), where=size > 1e-12 * v.sum())


def kendall(
    values: Float[np.ndarray, "m n"],
    parts: Int64[np.ndarray, " n"],
    weights: Float[np.ndarray, " n"] | None = None,
) -> Float64[np.ndarray, "m m"]:
    """Kendall's tau-b of all pairs of rows over pairs of images of one class, ties allowed.

    Notes
    -----
    Cost: (m n)^2 operations; a few thousand images at most.
    """
    v = np.ones(values.shape[1]) if weights is None else weights
    # inf - inf is NaN: order by codes, not by values
    codes = np.stack([np.unique(row, return_inverse=True)[1] for row in values])
    same = (parts[:, None] == parts[None, :]) * np.outer(v, v)
    signs = np.sign(codes[:, :, None] - codes[:, None, :]).reshape(len(codes), -1).astype(np.float64)
    product = (signs * same.ravel()) @ signs.T
    size = np.sqrt(np.outer(product.diagonal(), product.diagonal()))
    return np.divide(product, size, out=np.full(product.shape, np.nan), where=size > 0)
