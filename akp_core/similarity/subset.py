r"""Fingerprints as if fewer examples had been shown: exactly, from the fingerprints alone.

A U-centred Gram is :math:`U_{ij} = K_{ij} - a_i - a_j` off the diagonal, for some vector a (the constant is
split between the two). U-centring is linear, and it annihilates every matrix with :math:`b_i + b_j` off and 0
on the diagonal: over m examples its row sums are :math:`(m-2) b_i + B` and its total :math:`2(m-1) B` with
:math:`B = \sum b_j`, so that

.. math:: b_i + b_j - \frac{(m-2)(b_i + b_j) + 2B}{m-2} + \frac{2(m-1)B}{(m-1)(m-2)} = 0 .

Hence U-centring the sub-matrix of U for some examples gives what U-centring the Gram of those examples alone
would give, up to the scale that is normalised away; likewise for the doubly centred Gram of biased CKA. So
examples can be left out of stored fingerprints without the features. They cannot be repeated, as resampling
with replacement would: an example beside its own copy is a pair with the similarity of an example to itself,
which U-centring discards on purpose.
"""

from __future__ import annotations

from math import isqrt

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.arrays import A, Array, as_float64, like
from akp_core.similarity.gram import Estimator, check_estimator

_LEAST = {"biased": 2, "unbiased": 4}
_BLOCK_ENTRIES = 1 << 23
_ZERO = 1e3
"""A restricted Gram below this many units in the last place of what came in is round-off."""


def check_fingerprints(fingerprints: Float[Array, "M k"]) -> None:
    """Refuse what is not a (models, entries) array of float32 or float64."""
    if getattr(fingerprints, "ndim", 0) != 2:
        raise expected(
            "fingerprints as (models, entries)", f"shape {tuple(getattr(fingerprints, 'shape', ()))}"
        )
    dtype = str(fingerprints.dtype).removeprefix("torch.")
    if dtype not in ("float32", "float64"):
        raise expected(
            "fingerprints in float32 or float64", dtype, "make them again: centring loses the digits of less"
        )


def examples_of(entries: int, estimator: str) -> int:
    """The number of examples behind a fingerprint of so many entries.

    Raises
    ------
    AkpError
        If no number of examples gives that many.
    """
    root = isqrt(1 + 8 * entries)
    if root * root != 1 + 8 * entries or entries < 1:
        formula = "n(n-1)/2" if estimator == "unbiased" else "n(n+1)/2"
        raise expected(f"fingerprints of {formula} entries for n examples", str(entries))
    return (root + 1) // 2 if estimator == "unbiased" else (root - 1) // 2


def _stored_at(images: Int[Tensor, " m"], n: int, first: int) -> Int[Tensor, "m m"]:
    """Where the entry of each two images of a subset stands in a packed fingerprint."""
    low = torch.minimum(images[:, None], images[None, :])
    high = torch.maximum(images[:, None], images[None, :])
    where = low * n - low * (low - 1) // 2 - first * low + high - low - first
    return where.fill_diagonal_(0) if first else where


def restrict(
    fingerprints: Float[A, "M k"], images: Int[Array, " m"], *, estimator: Estimator = "unbiased"
) -> Float64[A, "M q"]:
    r"""The fingerprints that the same models would have had if only some examples had been shown.

    .. math:: f' = \sqrt2\, \bigl(U'_{ij} / \|U'\|_F\bigr)_{i<j}, \qquad U' = \text{U-centring of } U_{SS}

    Parameters
    ----------
    fingerprints : (M, k) array, NumPy or torch, float32 or float64
        One `fingerprint` per row, k = n(n-1)/2 (unbiased) or n(n+1)/2 (biased). A row of NaN stands for a
        model without one.
    images : (m,) integer array
        Which examples S to keep: distinct numbers from 0 to n - 1, at least 4 (unbiased) or 2 (biased).
    estimator : {"unbiased", "biased"}
        That of the fingerprints; their length alone does not tell.

    Returns
    -------
    (M, q) float64 array of the kind that came
        Row i equals ``fingerprint(x_i[images])``. NaN where that model has none: it had none before, or
        its representation of these examples is constant.

    Raises
    ------
    AkpError
        If the fingerprints are of no possible length or of less precision, or partly non-finite or zero; for
        examples that are repeated, too few, or not there.

    Notes
    -----
    Exact up to round-off of what was stored: about 1e-15 from float64, 1e-7 from float32.

    Cost: :math:`6Mm^2` operations; :math:`m^2` numbers for a few models at a time.

    References
    ----------
    Szekely and Rizzo 2014 (U-centring); Politis and Romano 1994 (subsampling without replacement).
    """
    check_estimator(estimator)
    check_fingerprints(fingerprints)
    n = examples_of(fingerprints.shape[1], estimator)
    chosen = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu":
        raise expected("images as a list of example numbers", f"{chosen.dtype} of shape {chosen.shape}")
    if len(chosen) < _LEAST[estimator]:
        raise expected(f"at least {_LEAST[estimator]} examples for {estimator} CKA", str(len(chosen)))
    if chosen.min() < 0 or chosen.max() >= n:
        raise expected(f"example numbers from 0 to {n - 1}", f"{chosen.min()} to {chosen.max()}")
    if len(np.unique(chosen)) < len(chosen):
        raise expected(
            "distinct examples",
            "repeated ones",
            "draw without replacement: an example beside its own copy inflates every similarity",
        )
    device = fingerprints.device if isinstance(fingerprints, Tensor) else "cpu"
    first = 1 if estimator == "unbiased" else 0
    where = _stored_at(torch.as_tensor(chosen.astype(np.int64), device=device), n, first)
    rows, m = len(fingerprints), len(chosen)
    a, b = torch.triu_indices(m, m, first, device=device)
    result = torch.empty(rows, len(a), dtype=torch.float64, device=device)
    size = max(1, _BLOCK_ENTRIES // (m * m))
    for start in range(0, rows, size):
        block = fingerprints[start : start + size]
        _check_rows(block, start)
        gathered = block[:, where] if isinstance(block, Tensor) else block[:, where.numpy()]
        square, eps = as_float64(gathered, "fingerprints")
        result[start : start + size] = _recentred(square, estimator, _ZERO * eps)[:, a, b]
    return like(result, fingerprints)


def _check_rows(block: Float[A, "b k"], start: int) -> None:
    """Refuse rows that are partly non-finite, or all zero."""
    values = block if isinstance(block, Tensor) else torch.from_numpy(np.asarray(block))
    known = torch.isfinite(values)
    partly = torch.nonzero(known.any(dim=1) & ~known.all(dim=1)).flatten().tolist()
    if partly:
        raise expected(
            "fingerprints that are finite, or NaN throughout for a model without one",
            f"non-finite entries in row {start + partly[0]}",
        )
    empty = torch.nonzero((values == 0).all(dim=1)).flatten().tolist()
    if empty:
        raise expected("fingerprints of length 1", f"zeros in row {start + empty[0]}")


def _recentred(square: Float64[Tensor, "b m m"], estimator: str, zero: float) -> Float64[Tensor, "b m m"]:
    """Centre sub-matrices again and scale them as they are packed; NaN where only round-off is left.

    What comes in is packed too: its off-diagonal entries, but not its diagonal, are times the root of 2.
    """
    m = square.shape[1]
    diagonal = square.diagonal(dim1=1, dim2=2)
    if estimator == "unbiased":
        diagonal.zero_()
    else:
        diagonal *= 2**0.5
    before = square.square().sum(dim=(1, 2)).sqrt()
    sums = square.sum(dim=2)
    total = sums.sum(dim=1, keepdim=True)
    if estimator == "unbiased":
        shift = sums / (m - 2) - total / (2 * (m - 1) * (m - 2))
    else:
        shift = sums / m - total / (2 * m * m)
    square -= shift[:, :, None]
    square -= shift[:, None, :]
    if estimator == "unbiased":
        diagonal.zero_()
    length = square.square().sum(dim=(1, 2)).sqrt()
    square *= (2**0.5 / torch.where(length > zero * before, length, torch.nan))[:, None, None]
    diagonal /= 2**0.5
    return square
