"""Inner products of the Gram matrices of one small batch, all held at once, in memory that is used again.

Each symmetric Gram matrix is kept as two square blocks on the diagonal and the one between them, which
counts twice: a quarter less to multiply, and the products inside are of the shape that runs fastest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from akp_core.similarity.products import SMALL, Products, in_parallel

_PIECES = 4
"""Parts in which the products of each kind of block are added up, whatever the number of threads."""
_ROUND_OFF = 4
"""Deviations up to this many units in the last place of the mean count as none."""


class Workspace:
    """Room for the Gram matrices of a batch; fresh pages for them would cost as much as the products."""

    def __init__(self) -> None:
        self._blocks: NDArray[np.floating] = np.empty((0, 0), dtype=np.float32)
        self._scratch: NDArray[np.floating] = np.empty((0, 0), dtype=np.float32)

    def products(self, batch: Sequence[Float[np.ndarray, "n _p"]]) -> Products:
        """Centre the features of one batch over the batch and compare all.

        Parameters
        ----------
        batch : sequence of (n, p_i) arrays
            Of one floating dtype.

        Returns
        -------
        Products
            Not finite where the features are not, or their squares do not fit.
        """
        n, members, dtype = len(batch[0]), len(batch), batch[0].dtype
        half, rest = n // 2, n - n // 2
        first, inside = half * half, half * half + rest * rest
        widest = n * max(x.shape[1] for x in batch)
        workers = min(torch.get_num_threads(), members)
        workers = workers if n * n * sum(x.shape[1] for x in batch) > SMALL else 1
        self._make_room((members, inside + half * rest), (workers, widest), dtype)
        blocks, levels = self._blocks, np.empty(members)
        ones = np.full(n, 1 / n, dtype=dtype)

        def fill(index: int, centred: NDArray[np.floating]) -> None:
            row, top, bottom = blocks[index], centred[:half], centred[half:]
            np.matmul(top, top.T, out=row[:first].reshape(half, half))
            np.matmul(bottom, bottom.T, out=row[first:inside].reshape(rest, rest))
            np.matmul(top, bottom.T, out=row[inside:].reshape(half, rest))

        def share(worker: int) -> None:
            for index in range(worker, members, workers):
                x = batch[index]
                middle = ones @ x
                room = self._scratch[worker, : x.size].reshape(x.shape)
                fill(index, np.subtract(x, middle, out=room))
                levels[index] = n * (middle @ middle)

        with np.errstate(all="ignore"):
            in_parallel(share, workers)
            on_diagonal = (blocks[:, : first : half + 1], blocks[:, first : inside : rest + 1])
            traces = np.add(*(part.sum(axis=1, dtype=np.float64) for part in on_diagonal))
            for index in np.flatnonzero(traces < 0.1 * levels).tolist():
                centred = batch[index] - ones @ batch[index]
                centred -= centred.mean(axis=0)
                fill(index, centred)
                if np.vdot(centred, centred) <= levels[index] * (_ROUND_OFF * np.finfo(dtype).eps) ** 2:
                    blocks[index] = 0
            diagonal = np.concatenate(on_diagonal, axis=1).astype(np.float64)
            for part in on_diagonal:
                part[:] = 0
            off = self._multiply(inside, workers)
            return Products.with_diagonal(torch.from_numpy(off), torch.from_numpy(diagonal))

    def _multiply(self, inside: int, workers: int) -> NDArray[np.float64]:
        members, width = self._blocks.shape
        edges = [inside * k // _PIECES for k in range(_PIECES)]
        edges += [inside + (width - inside) * k // _PIECES for k in range(_PIECES + 1)]
        parts = np.empty((2 * _PIECES, members, members))

        def share(worker: int) -> None:
            for piece in range(worker, 2 * _PIECES, workers):
                rows = self._blocks[:, edges[piece] : edges[piece + 1]]
                parts[piece] = rows @ rows.T

        in_parallel(share, workers)
        total: NDArray[np.float64] = parts[:_PIECES].sum(axis=0) + 2 * parts[_PIECES:].sum(axis=0)
        return total

    def _make_room(self, blocks: tuple[int, int], scratch: tuple[int, int], dtype: np.dtype) -> None:
        if self._blocks.shape != blocks or self._blocks.dtype != dtype:
            self._blocks = np.empty(blocks, dtype=dtype)
        if self._scratch.shape != scratch or self._scratch.dtype != dtype:
            self._scratch = np.empty(scratch, dtype=dtype)
