"""The affine map between two representations: ridge regression, the ridge by generalised cross-validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.convolution import as_features

Kind: TypeAlias = Literal["auto", "position", "dense"]

RIDGES = 10.0 ** np.arange(-12, 2.25, 0.25)
"""Candidates for the ridge, as shares of the largest eigenvalue of the sender's covariance."""


@dataclass(frozen=True, eq=False)
class AffineMap:
    """What carries a sender's representation to a receiver's.

    Attributes
    ----------
    weight : (q, p) float64
    bias : (q,) float64
    shape : tuple of int
        Shape of the receiver's representation of one image.
    by_position : bool
        Whether the map acts on the channels at each position, as a 1 x 1 convolution, or on all features.
    ridge : float
        The chosen ridge, as a share of the largest eigenvalue of the sender's covariance.
    """

    weight: Float64[Tensor, "q p"]
    bias: Float64[Tensor, " q"]
    shape: tuple[int, ...]
    by_position: bool
    ridge: float

    def __call__(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Carry representations (n, p, ...) over; computes in their precision."""
        rows = as_features(x, positions="each") if self.by_position else x.flatten(1)
        y = F.linear(rows, self.weight.to(x), self.bias.to(x))
        if not self.by_position:
            return y.reshape(len(x), *self.shape)
        return y.reshape(len(x), -1, len(self.bias)).swapaxes(1, 2).reshape(len(x), *self.shape)


def matched(x: Tensor, y: Tensor, kind: Kind) -> AffineMap:
    """Ridge regression of one representation on another, by position or dense."""
    maps = x.ndim > 2 and y.ndim > 2
    by_position = kind == "position" or (kind == "auto" and maps)
    if by_position and not (maps and x.shape[2:] == y.shape[2:]):
        raise expected(
            "maps of equal size at both taps for a stitch by position",
            f"{tuple(x.shape[1:])} and {tuple(y.shape[1:])}",
            "choose taps of equal size, or kind='dense'",
        )
    positions: Literal["each", "flatten"] = "each" if by_position else "flatten"
    rows, goal = (as_features(t, positions=positions).double() for t in (x, y))
    centre, middle = rows.mean(dim=0), goal.mean(dim=0)
    weight, ridge = ridge_regression(rows - centre, goal - middle)
    return AffineMap(weight, middle - weight @ centre, tuple(y.shape[1:]), by_position, ridge)


def ridge_regression(
    x: Float64[Tensor, "n p"], y: Float64[Tensor, "n q"]
) -> tuple[Float64[Tensor, "q p"], float]:
    r"""Ridge regression of centred data, the ridge by generalised cross-validation; weights and ridge.

    With :math:`s_k` the singular values of x and :math:`g_k` the sum of squares of y along the k-th left
    singular vector, the ridge :math:`\lambda` has the least

    .. math:: \frac{\|y\|^2 - \sum_k g_k + \sum_k g_k (\lambda / (s_k^2 + \lambda))^2}
              {(n - 1 - \sum_k s_k^2 / (s_k^2 + \lambda))^2} .
    """
    n, p = x.shape
    wide = p > n
    squares, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    kept = squares > len(squares) * torch.finfo(torch.float64).eps * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    left = vectors if wide else x @ vectors / squares.sqrt()
    along = left.T @ y
    power = along.square().sum(dim=1)
    ridges = torch.from_numpy(RIDGES).to(squares) * squares[-1]
    shrink = ridges[:, None] / (squares + ridges[:, None])
    rest = (y.square().sum() - power.sum()).clamp(min=0)
    free = n - 1 - (1 - shrink).sum(dim=1)
    score = (rest + (power * shrink.square()).sum(dim=1)) / free.square()
    score[free < 1e-6 * n] = torch.inf
    best = int(score.argmin())
    right = x.T @ left / squares.sqrt() if wide else vectors
    weight = (right * (squares.sqrt() / (squares + ridges[best]))) @ along
    return weight.T.contiguous(), float(RIDGES[best])
