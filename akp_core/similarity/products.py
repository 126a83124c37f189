r"""Inner products of the Gram matrices of many representations, at the speed of the machine.

Everything a linear CKA needs of M representations with centred features is, for every pair,

.. math:: G_{ij} = \sum_{a \ne b} (K_i)_{ab} (K_j)_{ab}, \qquad D_{ia} = (K_i)_{aa},
          \qquad K_i = X_i X_i^\top,

so one pass serves both estimators (`Products.of`). As the features are centred the rows of K sum to zero,
and with the diagonal kept apart little is left to cancel. Two routes lead there. The Gram route costs
:math:`n^2 \sum p_i + M^2 n^2 / 2` operations and never holds an n x n matrix per representation: it makes
one tile of all M Gram matrices, multiplies these with one another and drops them. Cross-covariances,
:math:`\langle K_i, K_j \rangle = \|X_i^\top X_j\|_F^2`, cost :math:`n (\sum p_i)^2`: for narrow layers.

On a CPU the products are NumPy's, whose ``A @ A.T`` does half the work. Sums across tiles are float64.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from math import ceil, sqrt
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]
from torch import Tensor

_TILE_BYTES = 33e6
"""Bytes of one tile of all Gram matrices: more leaves the cache, less makes the products small."""
_GROUPS = 16
"""Parts in which tiles are added up, whatever the number of threads."""
_CROSS_GAIN = 0.75
"""Time of an operation by cross-covariances as a share of one by tiles."""
_GROUP_WIDTH = 512
"""Features that the route by cross-covariances multiplies at once."""


SMALL = 1e7
"""Operations below which a second thread costs more than it saves."""


@dataclass(frozen=True)
class Products:
    r"""What a pass over M representations of n examples leaves.

    Attributes
    ----------
    off : Float64[Tensor, "M M"]
        :math:`G`, the inner products of the Gram matrices without their diagonals.
    on : Float64[Tensor, "M M"]
        :math:`D D^\top`, the inner products of the diagonals.
    traces : Float64[Tensor, " M"]
    examples : int
    size : Float64[Tensor, " M"]
        What the diagonal of `off` was the difference of.
    """

    off: Float64[Tensor, "M M"]
    on: Float64[Tensor, "M M"]
    traces: Float64[Tensor, " M"]
    examples: int
    size: Float64[Tensor, " M"]

    @classmethod
    def with_diagonal(cls, off: Float64[Tensor, "M M"], diagonal: Float64[Tensor, "M n"]) -> Products:
        """Join the two parts of the Gram matrices."""
        on = _inner(diagonal)
        return cls(off, on, diagonal.sum(dim=1), diagonal.shape[1], off.diagonal().abs())

    @classmethod
    def of_whole(
        cls, whole: Float64[Tensor, "M M"], on: Float64[Tensor, "M M"], traces: Float64[Tensor, " M"], n: int
    ) -> Products:
        """Take the diagonals out of inner products of whole Gram matrices."""
        return cls(whole - on, on, traces, n, whole.diagonal() + on.diagonal())

    def of(self, estimator: str) -> tuple[Float64[Tensor, "M M"], Float64[Tensor, " M"]]:
        r"""Inner products of the centred (biased) or U-centred (unbiased) Grams, and how much had to cancel.

        .. math:: \langle K, L\rangle = G + k \cdot l, \qquad
                  \langle U(K), U(L)\rangle = G - \tfrac{2}{n-2} k \cdot l
                  + \tfrac{(\sum k)(\sum l)}{(n-1)(n-2)}

        The second result is, for each representation, its squared norm as a share of the terms it is
        the difference of: at 1 nothing cancelled, at :math:`10^{-d}` d digits are gone.
        """
        n = self.examples
        if estimator == "biased":
            return self.off + self.on, self.off.new_ones(len(self.off))
        traces = torch.outer(self.traces, self.traces) / ((n - 1) * (n - 2))
        found = self.off - self.on * (2 / (n - 2)) + traces
        terms = self.size + self.on.diagonal() * (2 / (n - 2)) + traces.diagonal()
        return found, found.diagonal() / terms.clamp(min=torch.finfo(torch.float64).tiny)


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


class _Limit:
    """The limit of one thread that overlapping calls share: the last to leave lifts it."""

    lock = threading.Lock()
    holders = 0
    held: Any = None


@contextmanager
def single_threaded() -> Iterator[None]:
    """While open, NumPy's products run on the thread that asks for them, in the whole process."""
    with _Limit.lock:
        if _Limit.holders == 0:
            _Limit.held = _libraries().limit(limits=1, user_api="blas")
        _Limit.holders += 1
    try:
        yield
    finally:
        with _Limit.lock:
            _Limit.holders -= 1
            if _Limit.holders == 0:
                _Limit.held.restore_original_limits()


def _inner(rows: Float64[Tensor, "M n"]) -> Float64[Tensor, "M M"]:
    """Inner products of rows; threads woken for so little would wait on, busily, beside the next work."""
    if rows.device.type != "cpu":
        return rows @ rows.T
    with single_threaded():
        return torch.from_numpy(rows.numpy() @ rows.numpy().T)


def in_parallel(work: Callable[[int], None], workers: int) -> None:
    """Run ``work(0), ..., work(workers - 1)``, each on a thread of its own with single-threaded BLAS."""
    with single_threaded():
        if workers == 1:
            work(0)
            return
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, range(workers)))


def by_gram_is_cheaper(n: int, widths: Sequence[int]) -> bool:
    """Whether the Gram route takes fewer operations than cross-covariances."""
    total, members = sum(widths), len(widths)
    return n * n * total + members**2 * n * n / 2 < _CROSS_GAIN * n * total**2


def inner_products(features: Sequence[Float[Tensor, "n _p"]]) -> Products:
    """All inner products of M Gram matrices, by the cheaper route.

    Parameters
    ----------
    features : sequence of (n, p_i) tensors
        Centred, all of one floating dtype and on one device.

    Returns
    -------
    Products
    """
    n, widths = features[0].shape[0], [x.shape[1] for x in features]
    if not by_gram_is_cheaper(n, widths):
        return cross_products(features)
    if features[0].device.type != "cpu":
        return device_products(features)
    return tiled_products([x.numpy() for x in features])


def tiled_products(features: Sequence[Float[np.ndarray, "n _p"]], *, tile: int | None = None) -> Products:
    """The Gram route on a CPU: tiles of the upper triangle, shared out among single-threaded workers.

    The tiles, and the order in which they are added, do not depend on the number of threads: same bits.
    """
    members, n = len(features), len(features[0])
    size = features[0].dtype.itemsize
    side = max(64, min(int(sqrt(_TILE_BYTES / (members * size))), ceil(n / 5)))
    side = tile or 8 * ceil(n / ceil(n / side) / 8)
    tiles = list(combinations_with_replacement(range(0, n, side), 2))
    tiles.sort(key=lambda corner: corner[0] == corner[1])
    groups = [tiles[k::_GROUPS] for k in range(min(_GROUPS, len(tiles)))]
    workers = (
        min(torch.get_num_threads(), len(groups)) if n * n * sum(x.shape[1] for x in features) > SMALL else 1
    )
    diagonal = np.empty((members, n))
    parts = np.zeros((len(groups), members, members))

    def share(worker: int) -> None:
        space = np.empty(members * side * side, dtype=features[0].dtype)
        mine = range(worker, len(groups), workers)
        for index, (top, left) in ((k, tile) for k in mine for tile in groups[k]):
            high, wide = min(side, n - top), min(side, n - left)
            grams = space[: members * high * wide].reshape(members, high, wide)
            for x, gram in zip(features, grams, strict=True):
                np.matmul(x[top : top + high], x[left : left + wide].T, out=gram)
            if top == left:
                on = np.arange(high)
                diagonal[:, top : top + high] = grams[:, on, on]
                grams[:, on, on] = 0
            rows = grams.reshape(members, -1)
            parts[index] += (rows @ rows.T) * (1.0 if top == left else 2.0)

    in_parallel(share, workers)
    return Products.with_diagonal(torch.from_numpy(parts.sum(axis=0)), torch.from_numpy(diagonal))


def device_products(features: Sequence[Float[Tensor, "n _p"]], *, strip: int | None = None) -> Products:
    """The Gram route on any device, strip by strip of the upper triangle."""
    members, n = len(features), features[0].shape[0]
    first = features[0]
    strip = strip or max(64, min(n, int(_TILE_BYTES * 25 / (members * n * first.element_size()))))
    off = torch.zeros(members, members, dtype=torch.float64, device=first.device)
    diagonal = torch.empty(members, n, dtype=torch.float64, device=first.device)
    space = first.new_empty(members * min(strip, n) * n)
    for top in range(0, n, strip):
        high, wide = min(strip, n - top), n - top
        grams = space[: members * high * wide].view(members, high, wide)
        for x, gram in zip(features, grams, strict=True):
            torch.mm(x[top : top + high], x[top:].T, out=gram)
        square = grams[:, :, :high]
        diagonal[:, top : top + high] = square.diagonal(dim1=1, dim2=2)
        square.diagonal(dim1=1, dim2=2).zero_()
        off += 2 * _row_by_row(grams) - _row_by_row(square)
    return Products.with_diagonal(off, diagonal)


def explicit_products(
    features: Sequence[Float64[Tensor, "n _p"]],
) -> tuple[Float64[Tensor, "M M"], Float64[Tensor, " M"]]:
    """Inner products of U-centred Grams made entry by entry, and the squared norms of the Grams before.

    For features that leave little after U-centring: nothing is subtracted from a sum. Twice the work and
    more, strip by strip, in float64.
    """
    members, n = len(features), features[0].shape[0]
    sums = -torch.stack([torch.linalg.vecdot(x, x) for x in features])  # rows of a centred Gram sum to zero
    shift = sums / (n - 2) - sums.sum(dim=1, keepdim=True) / (2 * (n - 1) * (n - 2))
    inner = torch.zeros(members, members, dtype=torch.float64, device=features[0].device)
    size = torch.zeros_like(inner[0])
    strip = max(1, min(n, int(_TILE_BYTES / (8 * members * n))))
    for top in range(0, n, strip):
        grams = torch.stack([x[top : top + strip] @ x.T for x in features])
        size += grams.square().sum(dim=(1, 2))
        grams -= shift[:, top : top + strip, None]
        grams -= shift[:, None, :]
        grams[:, :, top : top + strip].diagonal(dim1=1, dim2=2).zero_()
        inner += _row_by_row(grams)
    return inner, size


def _row_by_row(grams: Float[Tensor, "M h w"]) -> Float64[Tensor, "M M"]:
    """Inner products of M matrices; rows are summed in float64, as millions of terms would lose digits."""
    rows = grams.transpose(0, 1)
    return torch.bmm(rows, rows.transpose(1, 2)).sum(dim=0, dtype=torch.float64)


def cross_products(features: Sequence[Float[Tensor, "n _p"]]) -> Products:
    """The route by cross-covariances, neighbours of a small width multiplied together."""
    members, device = len(features), features[0].device
    groups: list[list[int]] = []
    width = _GROUP_WIDTH
    for index, x in enumerate(features):
        if width + x.shape[1] > _GROUP_WIDTH:
            groups.append([])
            width = 0
        groups[-1].append(index)
        width += x.shape[1]
    whole = torch.zeros(members, members, dtype=torch.float64)
    diagonal = torch.stack([_row_squares(x) for x in features])
    blocks = [features[g[0]] if len(g) == 1 else torch.cat([features[i] for i in g], dim=1) for g in groups]
    widths = [[features[i].shape[1] for i in group] for group in groups]
    for first, second in combinations_with_replacement(range(len(groups)), 2):
        a, b = blocks[first], blocks[second]
        # NumPy's product of a matrix with its own transpose does half the work, and torch's does not.
        product = torch.from_numpy(a.numpy().T @ b.numpy()) if device.type == "cpu" else a.T @ b
        columns = torch.stack([_row_squares(part) for part in torch.split(product, widths[second], 1)], 1)
        sums = torch.stack([part.sum(dim=0) for part in torch.split(columns, widths[first])]).cpu()
        rows, across = torch.tensor(groups[first]), torch.tensor(groups[second])
        whole[rows[:, None], across] = sums
        whole[across[:, None], rows] = sums.T
    return Products.of_whole(whole.to(device), _inner(diagonal), diagonal.sum(dim=1), diagonal.shape[1])


def _row_squares(x: Float[Tensor, "n p"]) -> Float64[Tensor, " n"]:
    """Squared length of every row; on a CPU without waking threads beside those of the products."""
    if x.device.type != "cpu":
        return torch.linalg.vecdot(x, x).double()
    rows = x.numpy()
    return torch.from_numpy(np.vecdot(rows, rows).astype(np.float64))
