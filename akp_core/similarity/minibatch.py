r"""Minibatch CKA: one unbiased HSIC a batch, summed over batches before the ratio is taken, once.

.. math:: \mathrm{CKA} = \frac{\sum_b n_b\, \mathrm{HSIC}_1(K_b, L_b)}
          {\sqrt{\sum_b n_b\, \mathrm{HSIC}_1(K_b, K_b)}\, \sqrt{\sum_b n_b\, \mathrm{HSIC}_1(L_b, L_b)}}

with :math:`\mathrm{HSIC}_1 = \langle U(K), U(L) \rangle / (n(n-3))`. Every sum estimates the same HSIC as one
big batch does, so the value does not drift with the size of the batches, as a mean of ratios would; but it
does depend, a little, on which examples met in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Real
from numpy.typing import NDArray
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.arrays import Array
from akp_core.similarity.products import Products, in_parallel
from akp_core.similarity.streaming import checked_batch, constant_stream

_CANCELLED = {np.dtype(np.float32): 1e-3, np.dtype(np.float64): 1e-9}
"""Share of a squared norm left after U-centring below which the batch is done again in float64."""
_NOTHING = 1e-11
"""Share left after U-centring at which the examples of a batch are all equally far apart."""
_ROUND_OFF = 4
"""Deviations up to this many units in the last place of the mean count as none."""
_PIECES = 8
"""Parts in which the products of the Gram matrices are added up, whatever the number of threads."""
_WHOLE = 1024
"""Examples up to which all Gram matrices of a batch are held at once."""


def centred_gram(x: Real[Array, "n p"], out: NDArray[np.float32] | None = None) -> NDArray[np.floating]:
    """Gram matrix of one batch's features, centred over the batch first.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch on the CPU
        Float64 stays float64, everything else becomes float32.
    out : (n, n) array, optional
        Where to put it.

    Returns
    -------
    (n, n) NumPy array

    Notes
    -----
    Cost: :math:`n^2p` operations.
    """
    values = x.detach().cpu() if isinstance(x, Tensor) else x
    if isinstance(values, Tensor):
        values = (values if values.dtype == torch.float64 else values.float()).numpy()
    if values.dtype != np.float64:
        values = values.astype(np.float32, copy=False)
    middle = np.full(len(values), 1 / len(values), dtype=values.dtype) @ values
    centred = values - middle
    gram: NDArray[np.floating] = np.matmul(centred, centred.T, out=out)
    level = len(values) * float(middle @ middle)
    if np.trace(gram) < 0.1 * level:
        centred -= centred.mean(axis=0)
        np.matmul(centred, centred.T, out=gram)
        if np.trace(gram) <= level * (_ROUND_OFF * np.finfo(values.dtype).eps) ** 2:
            gram[:] = 0
    return gram


class MinibatchCKA:
    r"""Unbiased linear CKA of M representations from minibatches (formula of the module).

    Raises
    ------
    AkpError
        By `add` for a batch of fewer than 4 examples, or one that is not finite or does not fit those
        before; by `result` when nothing has come, or for a representation that is constant in every batch.

    Notes
    -----
    Invariances: those of `cka`; also to a shift of the features that differs from batch to batch, which the
    full estimate would see. Cost: :math:`n_b^2 \sum p_i + M^2 n_b^2/2` operations a batch and M Gram
    matrices.

    References
    ----------
    Nguyen et al. 2021, eq. 2 and 3; Song et al. 2012, eq. 5.
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._space: NDArray[np.floating] = np.empty(0, dtype=np.float32)
        self._returns_numpy = True
        self.examples = 0
        self.batches = 0

    def add(self, representations: Sequence[Real[Array, "n _p"]]) -> None:
        """Add a batch: for each representation its (n_b, p_i) features of the same n_b >= 4 examples."""
        if not isinstance(representations, Sequence) or not representations:
            raise expected(
                "a sequence of at least one representation a batch", type(representations).__name__
            )
        if self._sum is None:
            self._returns_numpy = not isinstance(representations[0], Tensor)
        products = self._products(representations)
        if products is None:
            grams = [centred_gram(x) for x in checked_batch(representations)]
            products = _of_grams(np.stack(grams))
        self._take(products)

    def add_grams(self, grams: Float[Array, "M n n"]) -> None:
        """Add a batch by its `centred_gram` matrices; the diagonals of the array are set to zero."""
        self._take(_of_grams(grams.numpy() if isinstance(grams, Tensor) else grams))

    def merge(self, other: MinibatchCKA) -> None:
        """Take in the batches that another sum has seen."""
        if other._sum is None:
            return
        if self._sum is not None and self._sum.shape != other._sum.shape:
            raise expected(f"a sum over {len(self._sum)} representations", str(len(other._sum)))
        self._sum = other._sum if self._sum is None else self._sum + other._sum
        self.examples += other.examples
        self.batches += other.batches

    def result(self) -> Float64[Array, "M M"]:
        """CKA of every pair so far: symmetric, 1 on the diagonal, in [-1, 1]; of the kind that came first."""
        if self._sum is None:
            raise expected("at least one batch", "none")
        size = self._sum.diagonal()
        constant = torch.nonzero(~(size > 0)).flatten().tolist()
        if constant:
            raise constant_stream(constant[0])
        cosine = (self._sum / torch.outer(size.sqrt(), size.sqrt())).clamp_(-1, 1).fill_diagonal_(1)
        return cosine.numpy() if self._returns_numpy else cosine

    def _take(self, products: Products) -> None:
        n, members = products.examples, len(products.off)
        if n < 4:
            raise expected("at least 4 examples in a batch", str(n), "use larger batches, or drop the last")
        if self._sum is not None and len(self._sum) != members:
            raise expected(f"{len(self._sum)} representations as before", str(members))
        inner, left = products.of("unbiased")
        nothing = left < _NOTHING
        inner[nothing] = inner[:, nothing] = 0
        hsic = inner / (n - 3)
        self._sum = hsic if self._sum is None else self._sum + hsic
        self.examples += n
        self.batches += 1

    def _products(self, batch: Sequence[Array]) -> Products | None:
        """The quick way, in the precision that came; None where the batch is unusual or digits would go."""
        plain = [x.detach().numpy() if isinstance(x, Tensor) and x.device.type == "cpu" else x for x in batch]
        arrays = [x for x in plain if isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype in _CANCELLED]
        if len(arrays) < len(plain) or len({(len(x), x.dtype) for x in arrays}) > 1:
            return None
        n, members, dtype = len(arrays[0]), len(arrays), arrays[0].dtype
        if not 4 <= n <= _WHOLE:
            return None
        if self._space.shape != (members, n, n) or self._space.dtype != dtype:
            self._space = np.empty((members, n, n), dtype=dtype)
        workers = min(torch.get_num_threads(), members)

        def share(worker: int) -> None:
            for index in range(worker, members, workers):
                centred_gram(arrays[index], out=self._space[index])

        with np.errstate(all="ignore"):
            in_parallel(share, workers)
            products = _of_grams(self._space)
        inner, left = products.of("unbiased")
        sound = bool(torch.isfinite(inner).all() and (products.traces >= 0).all())
        return products if sound and bool((left > _CANCELLED[dtype]).all()) else None


def _of_grams(grams: NDArray[np.floating]) -> Products:
    members, n, _ = grams.shape
    on = np.arange(n)
    diagonal = torch.from_numpy(grams[:, on, on].astype(np.float64))
    grams[:, on, on] = 0
    rows = grams.reshape(members, -1)
    edges = [n * n * k // _PIECES for k in range(_PIECES + 1)]
    parts = np.empty((_PIECES, members, members))
    workers = min(torch.get_num_threads(), _PIECES)

    def share(worker: int) -> None:
        for piece in range(worker, _PIECES, workers):
            part = rows[:, edges[piece] : edges[piece + 1]]
            parts[piece] = part @ part.T

    in_parallel(share, workers)
    return Products.with_diagonal(torch.from_numpy(parts.sum(axis=0)), diagonal)
