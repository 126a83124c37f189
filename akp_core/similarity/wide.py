r"""Gram matrices of representations far wider than they are long, centred strip by strip.

To centre 512 examples of 65,536 features at once writes a copy of 134 MB, and the time goes into memory
instead of arithmetic. Here a strip of columns is centred in the cache and its product added at once,

.. math:: K = \sum_s (S_s - \mathbf{1}\mu_s^\top)(S_s - \mathbf{1}\mu_s^\top)^\top,

so the features are read twice and nothing as large as they are is ever written.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64

from akp_core.similarity.arrays import Array, passes_needed
from akp_core.similarity.products import Products, in_parallel, single_threaded

_WIDE = 16
"""Features an example from which a representation counts as wide."""
_LEAST = 4_000_000
"""Entries below which copies are cheap."""
_STRIP_BYTES = 8e6
"""Of one centred strip: it must stay in the cache between being written and being multiplied."""
_GRAM_BYTES = 256e6
"""That all the Gram matrices may take together."""


def wide_products(members: Sequence[Array]) -> tuple[Products, torch.dtype] | None:
    """All inner products of M Gram matrices of wide representations on a CPU.

    Parameters
    ----------
    members : sequence of (n, p_i) arrays
        As they came: uncentred, of one floating dtype, NumPy or torch.

    Returns
    -------
    (Products, torch.dtype) or None
        With the precision of the products. None where this is not the route: narrow, small, on a device, of
        mixed kinds, or in need of the care that `arrays.admit` takes (not finite, constant, far from zero,
        out of range).
    """
    arrays = [_as_wide(x) for x in members]
    found = [x for x in arrays if x is not None]
    n = len(found[0]) if found else 0
    fit = len(found) == len(members) and len(found) * n * n * 8 <= _GRAM_BYTES
    if not fit or len({(len(x), x.dtype.char) for x in found}) > 1:
        return None
    grams: list[Float64[np.ndarray, "n n"] | None] = [None] * len(found)
    workers = min(torch.get_num_threads(), len(found))

    def share(worker: int) -> None:
        for index in range(worker, len(found), workers):
            grams[index] = _gram(found[index])

    in_parallel(share, workers)
    whole = [torch.from_numpy(gram) for gram in grams if gram is not None]
    if len(whole) < len(found):
        return None
    diagonal = torch.stack([gram.diagonal() for gram in whole])
    off = torch.zeros(len(whole), len(whole), dtype=torch.float64)
    for gram in whole:
        gram.fill_diagonal_(0)
    with single_threaded():
        for i, first in enumerate(whole):
            for j in range(i, len(whole)):
                off[i, j] = off[j, i] = float(np.vdot(first.numpy(), whole[j].numpy()))
    return Products.with_diagonal(off, diagonal), torch.from_numpy(found[0]).dtype


def _as_wide(x: Array) -> Float[np.ndarray, "n p"] | None:
    if isinstance(x, torch.Tensor):
        plain = x.device.type == "cpu" and x.layout == torch.strided and not x.is_neg()
        if not plain or x.dtype not in (torch.float32, torch.float64):
            return None
        x = x.detach().numpy()
    usable = type(x) is np.ndarray and x.ndim == 2 and x.dtype in (np.float32, np.float64)
    return x if usable and x.size >= _LEAST and x.shape[1] >= _WIDE * len(x) >= 4 * _WIDE else None


def _gram(x: Float[np.ndarray, "n p"]) -> Float64[np.ndarray, "n n"] | None:
    """Sum the products of centred strips; None where centring in the dtype that came would lose digits."""
    n, p = x.shape
    width = max(64, int(_STRIP_BYTES / (n * x.itemsize)))
    ones = np.full(n, 1 / n, dtype=x.dtype)
    strip, gram = np.empty((n, width), dtype=x.dtype), np.zeros((n, n))
    mean_square = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for left in range(0, p, width):
            part = x[:, left : left + width]
            middle = ones @ part
            centred = np.subtract(part, middle, out=strip[:, : part.shape[1]])
            gram += centred @ centred.T
            mean_square += float(np.vdot(middle, middle))
    spread = float(np.trace(gram))
    dtype = torch.from_numpy(ones).dtype
    return gram if passes_needed(dtype, spread, mean_square, (n, p)) == 1 else None
