r"""Linear CKA of representations that come in batches: exactly the full computation, whatever the split.

Features of M representations, side by side in one row z of P numbers an example, and their M
squared lengths k enter only through sums over examples,

.. math:: n,\; \textstyle\sum z,\; \sum z z^\top,\; \sum z k^\top,\; \sum k k^\top,\; \sum k,

and both estimators follow from these (`StreamedCKA`). They are kept about the first batch's mean, so that
features far from zero cost no digits, and moved to the mean of all examples at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected
from akp_core.similarity.arrays import Array, as_float64
from akp_core.similarity.gram import Estimator, check_estimator
from akp_core.similarity.products import Products

_CANCELLED = 1e-9
"""Share of a squared norm left after U-centring below which a result has lost too many digits."""
_ROOM = 2.0**-64
"""How much larger than before features may come until their sums are brought to the new size."""
_CONSTANT = 1e-24
"""Variance over squared mean below which features are constant up to float64 round-off."""


@dataclass(frozen=True)
class _Sums:
    """Sums over examples of rows z (width P), and of the M squared lengths k, about some origin."""

    n: int
    z: Float64[Tensor, " P"]
    zz: Float64[Tensor, "P P"]
    zk: Float64[Tensor, "P M"]
    kk: Float64[Tensor, "M M"]
    k: Float64[Tensor, " M"]

    @classmethod
    def of(cls, z: Float64[Tensor, "n P"], widths: Sequence[int]) -> _Sums:
        """The sums of one batch."""
        k = torch.stack([part.square().sum(dim=1) for part in torch.split(z, list(widths), 1)], dim=1)
        return cls(len(z), z.sum(dim=0), z.T @ z, z.T @ k, k.T @ k, k.sum(dim=0))

    def __add__(self, other: _Sums) -> _Sums:
        fields = ("z", "zz", "zk", "kk", "k")
        return _Sums(self.n + other.n, *(getattr(self, f) + getattr(other, f) for f in fields))

    def scaled(self, ratio: Float64[Tensor, " M"], widths: Sequence[int]) -> _Sums:
        """The same sums with the features of each representation multiplied by a number."""
        wide = torch.repeat_interleave(ratio, torch.tensor(widths))
        square = ratio**2
        return _Sums(
            self.n,
            self.z * wide,
            self.zz * torch.outer(wide, wide),
            self.zk * torch.outer(wide, square),
            self.kk * torch.outer(square, square),
            self.k * square,
        )

    def about(self, shift: Float64[Tensor, " P"], widths: Sequence[int]) -> _Sums:
        r"""The same sums about an origin moved by `shift`.

        With :math:`h = z \cdot \delta` per representation and :math:`c = \|\delta\|^2`, the lengths become
        :math:`k - 2h + c`; everything else is expansion.
        """
        sizes = list(widths)
        owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        block = shift[:, None] * torch.nn.functional.one_hot(owner, len(sizes))
        c = (block * block).sum(dim=0)
        h, hk, hh = block.T @ self.z, block.T @ self.zk, block.T @ self.zz @ block
        k = self.k - 2 * h + self.n * c
        kk = self.kk - 2 * (hk + hk.T) + 4 * hh + torch.outer(self.k, c) + torch.outer(c, self.k)
        kk -= 2 * (torch.outer(h, c) + torch.outer(c, h)) - self.n * torch.outer(c, c)
        zk = self.zk - 2 * self.zz @ block + torch.outer(self.z, c) - torch.outer(shift, k)
        zz = self.zz - torch.outer(self.z, shift) - torch.outer(shift, self.z)
        zz += self.n * torch.outer(shift, shift)
        return _Sums(self.n, self.z - self.n * shift, zz, zk, kk, k)


class StreamedCKA:
    r"""Linear CKA of M representations whose examples come in batches; equal to `pairwise` for any split.

    With the sums of the module about the mean, blocks :math:`C_{ij}` of :math:`\sum zz^\top` and
    :math:`T = \sum kk^\top`, :math:`u = \sum k`,

    .. math:: \langle K_i, K_j\rangle = \|C_{ij}\|_F^2, \qquad
              \langle U(K_i), U(K_j)\rangle = \|C_{ij}\|_F^2 - \tfrac{n}{n-2} T_{ij}
              + \tfrac{u_i u_j}{(n-1)(n-2)} .

    Parameters
    ----------
    estimator : {"unbiased", "biased"}

    Raises
    ------
    AkpError
        For an unknown estimator; by `add` for representations that do not fit those before; by `result` for
        too few examples or a constant representation.

    Notes
    -----
    Cost: :math:`n P^2` operations and :math:`P^2` float64 numbers, with P the sum of the widths: for narrow
    layers. Wide ones go through `MinibatchCKA`, whose estimate depends on the split, or are kept as
    `fingerprint` of a fixed probe set.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(30, 4))
    >>> stream = StreamedCKA()
    >>> for part in np.array_split(x, 7):
    ...     stream.add([part, 3 * part + 1])
    >>> round(float(stream.result()[0, 1]), 12)
    1.0
    """

    def __init__(self, *, estimator: Estimator = "unbiased") -> None:
        check_estimator(estimator)
        self._estimator = estimator
        self._widths: tuple[int, ...] = ()
        self._origin: Tensor | None = None
        self._scale = torch.ones(0, dtype=torch.float64)
        self._sums: _Sums | None = None
        self._returns_numpy = True

    @property
    def examples(self) -> int:
        """How many examples have come."""
        return 0 if self._sums is None else self._sums.n

    def add(self, representations: Sequence[Real[Array, "n _p"]]) -> None:
        """Add a batch: for each representation its (n_b, p_i) features of the same n_b examples."""
        batch = checked_batch(representations)
        widths = tuple(int(x.shape[1]) for x in batch)
        if self._widths and widths != self._widths:
            raise expected(
                f"{len(self._widths)} representations of widths {list(self._widths)} as before",
                f"{len(widths)} of widths {list(widths)}",
            )
        self._rescale(torch.stack([x.abs().max() for x in batch]))
        factors = torch.where(self._scale.isinf(), 1.0, self._scale)
        z = torch.cat([x * factor for x, factor in zip(batch, factors, strict=True)], dim=1)
        if self._origin is None:
            self._origin, self._widths = z.mean(dim=0), widths
            self._returns_numpy = not isinstance(representations[0], Tensor)
        sums = _Sums.of(z - self._origin, widths)
        self._sums = sums if self._sums is None else self._sums + sums

    def _rescale(self, sizes: Float64[Tensor, " M"]) -> None:
        """Powers of two change no digit, and keep fourth powers from over- or underflowing."""
        wanted = torch.where(sizes > 0, torch.exp2(-sizes.clamp(min=1e-300).log2().round()), torch.inf)
        if not len(self._scale):
            self._scale = torch.full_like(wanted, torch.inf)
        new = torch.where(self._scale.isinf() | (wanted < self._scale * _ROOM), wanted, self._scale)
        # What was nothing but zeros so far has nothing to rescale.
        ratio = torch.where(self._scale.isinf() | new.isinf(), 1.0, new / self._scale)
        self._scale = new
        if self._sums is not None and self._origin is not None and bool((ratio != 1).any()):
            self._sums = self._sums.scaled(ratio, self._widths)
            self._origin = self._origin * torch.repeat_interleave(ratio, torch.tensor(self._widths))

    def merge(self, other: StreamedCKA) -> None:
        """Take in the batches that another stream has seen, such as one in another process."""
        if not isinstance(other, StreamedCKA) or other._estimator != self._estimator:
            raise expected(f"another StreamedCKA of estimator {self._estimator!r}", type(other).__name__)
        if other._sums is None or other._origin is None:
            return
        if self._sums is None or self._origin is None:
            self._origin, self._widths, self._sums = other._origin, other._widths, other._sums
            self._scale = other._scale
            self._returns_numpy = other._returns_numpy
            return
        if other._widths != self._widths:
            raise expected(f"a stream of widths {list(self._widths)}", f"widths {list(other._widths)}")
        self._rescale(1 / other._scale)
        ratio = torch.where(other._scale.isinf(), 1.0, self._scale / other._scale)
        shift = self._origin - other._origin * torch.repeat_interleave(ratio, torch.tensor(self._widths))
        self._sums = self._sums + other._sums.scaled(ratio, self._widths).about(shift, self._widths)

    def result(self) -> Float64[Array, "M M"]:
        """CKA of every pair so far: symmetric, 1 on the diagonal, in [-1, 1]; of the kind that came first."""
        least = 4 if self._estimator == "unbiased" else 2
        if self._sums is None or self._origin is None or self._sums.n < least:
            raise expected(f"at least {least} examples for {self._estimator} CKA", str(self.examples))
        n, sizes = self._sums.n, list(self._widths)
        shift = self._sums.z / n
        sums = self._sums.about(shift, self._widths)
        squares = sums.zz.square()
        inner = torch.stack([part.sum(dim=0) for part in torch.split(squares, sizes)])
        inner = torch.stack([part.sum(dim=1) for part in torch.split(inner, sizes, dim=1)], dim=1)
        middle = (self._origin + shift).square()
        for index, (spread, size) in enumerate(zip(sums.k, torch.split(middle, sizes), strict=True)):
            if float(spread) <= _CONSTANT * n * float(size.sum()):
                raise constant_stream(index)
        found, left = Products.of_whole(inner, sums.kk, sums.k, n).of(self._estimator)
        spoilt = torch.nonzero(~(left >= _CANCELLED)).flatten().tolist()
        if spoilt:
            raise AkpError(
                f"representation {spoilt[0]} has a U-centred Gram matrix of about zero in streamed sums: one "
                "example outweighs all others, or all are equally far apart; compare it with pairwise"
            )
        norms = found.diagonal().sqrt()
        cosine = (found / torch.outer(norms, norms)).clamp_(-1, 1).fill_diagonal_(1)
        return cosine.numpy() if self._returns_numpy else cosine


def checked_batch(representations: Sequence[Real[Array, "n _p"]]) -> list[Float64[Tensor, "n _p"]]:
    """The representations of one batch in float64: each (examples, features), finite, of as many examples."""
    if not isinstance(representations, Sequence) or not representations:
        raise expected("a sequence of at least one representation a batch", type(representations).__name__)
    batch: list[Tensor] = []
    for index, x in enumerate(representations):
        values, _ = as_float64(x, f"representation {index}")
        if values.ndim != 2 or values.numel() == 0:
            raise expected(f"representation {index} as (examples, features)", f"shape {tuple(values.shape)}")
        if not bool(torch.isfinite(values).all()):
            raise AkpError(
                f"expected finite numbers in representation {index}, got some that are not; a diverged model "
                "has no CKA, leave it out and count it"
            )
        if len(values) != len(batch[0] if batch else values):
            raise expected(
                f"as many examples in representation {index} as in representation 0 ({len(batch[0])})",
                str(len(values)),
                "compare representations of the same examples in the same order",
            )
        batch.append(values)
    return batch


def constant_stream(index: int) -> AkpError:
    """The error for a representation that did not vary over a whole stream."""
    return AkpError(
        f"representation {index} is the same for every example: a constant representation has no CKA; "
        "leave this collapsed model out and count it"
    )
