r"""Minibatch CKA: one unbiased HSIC a batch, summed over batches before the ratio is taken, once.

.. math:: \mathrm{CKA} = \frac{\sum_b n_b\, \mathrm{HSIC}_1(K_b, L_b)}
          {\sqrt{\sum_b n_b\, \mathrm{HSIC}_1(K_b, K_b)}\, \sqrt{\sum_b n_b\, \mathrm{HSIC}_1(L_b, L_b)}}

with :math:`\mathrm{HSIC}_1 = \langle U(K), U(L) \rangle / (n(n-3))`. Every sum estimates the same HSIC as one
big batch does, so the value does not drift with the size of the batches, as a mean of ratios would; but it
does depend, a little, on which examples met in a batch. The weights :math:`n_b` are ours: with batches of
one size, as the sources have them, they cancel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Real
from numpy.typing import NDArray
from torch import Tensor

from akp_core.errors import AkpError, expected
from akp_core.similarity.arrays import Array
from akp_core.similarity.batch import Workspace
from akp_core.similarity.gram import u_centre_
from akp_core.similarity.products import SMALL, Products, in_parallel
from akp_core.similarity.streaming import checked_batch, constant_stream

_CANCELLED = {np.dtype(np.float32): 0.05, np.dtype(np.float64): 1e-7}
"""Share of a squared norm left after U-centring below which a batch is U-centred entry by entry."""
_NOTHING = 1e-9
"""Norm left, as a share of that before, at which the examples of a batch are all equally far apart."""
_ROUND_OFF = 4
"""Deviations up to this many units in the last place of the mean count as none."""
_PIECES = 8
"""Parts in which the products of the Gram matrices are added up, whatever the number of threads."""
_WHOLE = 1024
"""Examples up to which all Gram matrices of a batch are made side by side."""
_ROOM = 2.0**100
"""Magnitude beyond which, or below whose inverse, features are rescaled: fourth powers must fit."""


def centred_gram(x: Float[Array, "n p"], out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
    """Gram matrix of one batch's features, centred over the batch first.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        Float64 stays float64, everything else becomes float32.
    out : (n, n) array, optional
        Where to put it.

    Returns
    -------
    (n, n) NumPy array
        Exactly zero for features that do not vary.

    Raises
    ------
    AkpError
        If the features are not (examples, features), or not finite.

    Notes
    -----
    Cost: :math:`n^2p` operations.
    """
    values = _plain(x)
    if values is None:
        (wide,) = checked_batch([x])
        values = wide.cpu().numpy() if str(x.dtype).endswith("float64") else wide.float().cpu().numpy()
    with np.errstate(all="ignore"):
        gram = _gram(values, out)
    if not np.isfinite(np.trace(gram)):
        checked_batch([x])
        raise expected("features whose squares fit their dtype", f"{values.dtype} that overflows")
    return gram


def _gram(values: NDArray[np.floating], out: NDArray[np.floating] | None = None) -> NDArray[np.floating]:
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


def _plain(x: Array) -> NDArray[np.floating] | None:
    """Features as a NumPy array of float32 or float64 without a copy, if that is what they are."""
    dense = isinstance(x, Tensor) and x.device.type == "cpu" and x.layout == torch.strided and not x.is_neg()
    if isinstance(x, Tensor) and dense and x.dtype in (torch.float32, torch.float64):
        x = x.detach().numpy()
    plain = type(x) is np.ndarray and x.ndim == 2 and x.size and x.dtype in _CANCELLED
    return x if plain and isinstance(x, np.ndarray) else None


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
        self._scale = np.empty(0)
        self._workspace = Workspace()
        self._returns_numpy = True
        self.examples = 0
        self.batches = 0

    def add(self, representations: Sequence[Real[Array, "n _p"]]) -> None:
        """Add a batch: for each representation its (n_b, p_i) features of the same n_b >= 4 examples."""
        if not isinstance(representations, Sequence) or not representations:
            raise expected(
                "a sequence of at least one representation a batch", type(representations).__name__
            )
        self._fits(len(representations), representations[0])
        found = self._quickly(representations) if (self._scale == 1).all() else None
        if found is None:
            exact = [x.cpu().numpy() for x in checked_batch(representations)]
            self._rescale(np.array([np.abs(x).max() for x in exact]))
            rows = [_u_centred(x * scale) for x, scale in zip(exact, self._scale, strict=True)]
            stacked = torch.stack(rows)
            found = stacked @ stacked.T
        self._take(found, len(representations[0]))

    def add_grams(self, grams: Float[Array, "M n n"], *, check: bool = True) -> None:
        """Add a batch by its Gram matrices of centred features, such as `centred_gram` makes.

        Parameters
        ----------
        grams : (M, n, n) float32 or float64 array
        check : bool
            Whether to make sure that they are finite, symmetric and centred: for whoever made them just now,
            three passes to spare.

        Raises
        ------
        AkpError
            Unless these are finite symmetric matrices of zero row sums, one for each representation.
        """
        values = grams.detach().cpu().numpy() if isinstance(grams, Tensor) else grams
        if not isinstance(values, np.ndarray) or values.dtype not in _CANCELLED or values.ndim != 3:
            got = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else type(grams)
            raise expected("Gram matrices as a float32 or float64 array (M, n, n)", got)
        if values.shape[1] != values.shape[2]:
            raise expected("square Gram matrices", f"shape {values.shape}")
        if check:
            _check_grams(values)
        self._fits(len(values), grams)
        self._take(_inner(values), values.shape[1])

    def merge(self, other: MinibatchCKA) -> None:
        """Take in the batches that another sum has seen."""
        if not isinstance(other, MinibatchCKA):
            raise expected("another MinibatchCKA", type(other).__name__)
        if other._sum is None:
            return
        if self._sum is None:
            self._sum, self._scale = other._sum, other._scale
            self._returns_numpy = other._returns_numpy
        else:
            self._fits(len(other._scale), None)
            self._rescale(1 / other._scale)
            ratio = torch.from_numpy(
                np.where(other._sum.diagonal() == 0, 1.0, self._scale / other._scale) ** 2
            )
            self._sum = self._sum + other._sum * torch.outer(ratio, ratio)
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

    def _fits(self, members: int, first: Array | None) -> None:
        if self._sum is None:
            self._scale = np.ones(members)
            self._returns_numpy = not isinstance(first, Tensor)
        elif members != len(self._scale):
            raise expected(f"{len(self._scale)} representations as before", str(members))

    def _rescale(self, sizes: NDArray[np.float64]) -> None:
        """Bring features of extreme size, and their sums, to about 1: by powers of two, exactly."""
        empty = np.ones(len(sizes), bool) if self._sum is None else self._sum.diagonal().numpy() == 0
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            reach = sizes * self._scale
            outside = (reach > _ROOM) | ((reach < 1 / _ROOM) & (reach > 0) & empty)
            new = np.where(outside, np.exp2(-np.round(np.log2(sizes))), self._scale)
            shrunk = torch.from_numpy(np.where(empty, 1.0, new / self._scale) ** 2)
        if self._sum is not None:
            self._sum = self._sum * torch.outer(shrunk, shrunk)
        self._scale = new

    def _take(self, inner: Float64[Tensor, "M M"], n: int) -> None:
        if n < 4:
            raise expected("at least 4 examples in a batch", str(n), "use larger batches, or drop the last")
        hsic = inner / (n - 3)
        self._sum = hsic if self._sum is None else self._sum + hsic
        self.examples += n
        self.batches += 1

    def _quickly(self, batch: Sequence[Array]) -> Float64[Tensor, "M M"] | None:
        """The products in the precision that came; None where the batch is unusual or digits would go."""
        arrays = [x for x in map(_plain, batch) if x is not None]
        if len(arrays) < len(batch) or len({(len(x), x.dtype) for x in arrays}) > 1:
            return None
        if not 4 <= len(arrays[0]) <= _WHOLE:
            return None
        products = self._workspace.products(arrays)
        inner, left = products.of("unbiased")
        sound = bool(torch.isfinite(inner).all()) and bool((left > _CANCELLED[arrays[0].dtype]).all())
        return inner if sound else None


def _check_grams(values: NDArray[np.floating]) -> None:
    """Refuse what cannot be the Gram matrices of centred features."""
    with np.errstate(all="ignore"):
        size = np.abs(np.einsum("mii->m", values))
        # One random direction tells a matrix from its transpose, and rows that do not sum to zero.
        along = np.cos(np.arange(values.shape[1], dtype=values.dtype))
        skew = np.abs(values @ along - along @ values).max(axis=1)
        sums = np.abs(values.sum(axis=1, dtype=np.float64)).max(axis=1)
    for index, (whole, skewed, drift) in enumerate(zip(size, skew, sums, strict=True)):
        if not np.isfinite(whole + skewed + drift):
            raise expected(
                f"finite numbers in the Gram matrix of representation {index}", "some that are not"
            )
        if skewed > 1e-3 * whole or drift > 1e-3 * whole:
            what = (
                "a matrix that is not symmetric" if skewed > 1e-3 * whole else "rows that do not sum to zero"
            )
            raise expected(f"the Gram matrix of centred features of representation {index}", what)


def _u_centred(x: NDArray[np.float64]) -> Float64[Tensor, " k"]:
    """U-centred Gram of one batch's features, entry by entry; zero where nothing is left of it.

    About the example nearest the mean, not about the mean, which one far example would drag along: then
    that example meets the others in its own row alone, and nothing cancels.
    """
    from_mean = x - x.mean(axis=0)
    if not (np.abs(from_mean) > _ROUND_OFF * np.finfo(np.float64).eps * np.abs(x).max(axis=0)).any():
        return torch.zeros(len(x) ** 2, dtype=torch.float64)
    near = torch.from_numpy(x - x[np.argmin(np.linalg.norm(from_mean, axis=1))])
    gram = (near @ near.T).fill_diagonal_(0)
    size = torch.linalg.matrix_norm(gram)
    left = torch.linalg.matrix_norm(u_centre_(gram))
    return gram.flatten() if left > _NOTHING * size else torch.zeros_like(gram).flatten()


def _inner(grams: NDArray[np.floating]) -> Float64[Tensor, "M M"]:
    """Inner products of the U-centrings of centred Gram matrices; zero where nothing is left of one."""
    inner, left = _products(grams).of("unbiased")
    if bool((left > _CANCELLED[grams.dtype]).all()):
        return inner
    rows = []
    for index, gram in enumerate(torch.from_numpy(grams)):
        exact = gram.double()
        size, most = torch.linalg.matrix_norm(exact), float(exact.diagonal().max())
        norm = torch.linalg.matrix_norm(u_centre_(exact))
        if norm <= max(_NOTHING, _ROUND_OFF * float(np.finfo(grams.dtype).eps)) * size:
            if most > 0.5 * float(gram.diagonal().sum()) > 0:
                raise AkpError(
                    f"the Gram matrix of representation {index} is that of one example far from all others, "
                    f"and {grams.dtype} holds nothing else of it; give the features, or float64"
                )
            exact.zero_()
        rows.append(exact.flatten())
    stacked = torch.stack(rows)
    return stacked @ stacked.T


def _products(grams: NDArray[np.floating]) -> Products:
    """Inner products of Gram matrices, whose diagonals are taken out meanwhile."""
    members, n, _ = grams.shape
    on = np.arange(n)
    held = grams[:, on, on]
    diagonal = torch.from_numpy(held.astype(np.float64))
    grams[:, on, on] = 0
    rows = grams.reshape(members, -1)
    edges = [n * n * k // _PIECES for k in range(_PIECES + 1)]
    parts = np.empty((_PIECES, members, members))
    workers = min(torch.get_num_threads(), _PIECES) if members * rows.size > SMALL else 1

    def share(worker: int) -> None:
        for piece in range(worker, _PIECES, workers):
            part = rows[:, edges[piece] : edges[piece + 1]]
            parts[piece] = part @ part.T

    in_parallel(share, workers)
    grams[:, on, on] = held
    return Products.with_diagonal(torch.from_numpy(parts.sum(axis=0)), diagonal)
