"""The fingerprint of a representation: the unit vector whose inner products are CKA.

A training run stores fingerprints instead of representations. They have one length whatever the width
of the layer, so that any two models, layers and checkpoints that saw the same examples can be compared
later, and all pairs of M of them cost one matrix product.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import A, Array, as_float64, like, non_finite_entries, read
from akp_core.similarity.gram import Estimator, check_enough_examples, check_estimator, unit_gram

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_BLOCK = 1 << 16
"""Columns of float32 fingerprints that are widened to float64 at a time."""


def pack(matrix: Float[Tensor, "n n"], estimator: str) -> Float[Tensor, " k"]:
    r"""Upper triangle of a symmetric matrix, off-diagonal entries times :math:`\sqrt2`.

    So the inner product of two packed vectors is that of the matrices. The diagonal of a U-centred
    matrix is zero and left out.
    """
    first = 1 if estimator == "unbiased" else 0
    packed = torch.cat([row[index + first :] for index, row in enumerate(matrix)]).mul_(2**0.5)
    if first == 0:
        n = len(matrix)
        starts = torch.arange(n, device=matrix.device)
        packed[starts * n - starts * (starts - 1) // 2] = matrix.diagonal()
    return packed


def fingerprint(
    x: Real[A, "n p"], *, estimator: Estimator = "unbiased", dtype: Literal["float32", "float64"] = "float64"
) -> Float[A, " k"]:
    r"""The centred Gram matrix of a representation as a vector of length 1.

    .. math:: f = \sqrt2\,\bigl(U_{ij} / \|U\|_F\bigr)_{i<j}, \qquad f_x \cdot f_y = \mathrm{CKA}(x, y).

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per probe example; any real dtype, computed in float64.
    estimator : {"unbiased", "biased"}
        Which CKA the inner products are; see `cka`. Never mix the two.
    dtype : {"float64", "float32"}
        How the result is stored. float32 costs about 1e-8 in a CKA and halves the bytes.

    Returns
    -------
    (k,) array of the kind of x
        Unit norm; k = n(n-1)/2 (unbiased) or n(n+1)/2 with the diagonal (biased): 1 MB for 512 examples
        in float64.

    Raises
    ------
    AkpError
        As `cka`: a constant or a non-finite representation has no fingerprint. Ask
        `representation_fault` first where models may collapse or diverge, and store a row of NaN.

    Notes
    -----
    Invariances: those of `cka`. Cost: :math:`2n^2p` operations, :math:`2n^2` numbers for a moment.

    References
    ----------
    Szekely and Rizzo 2014 (U-centring); Song et al. 2012, eq. 5.
    """
    check_estimator(estimator)
    stored = str(dtype).removeprefix("torch.")
    if stored not in _DTYPES:
        raise unknown_name("dtype of a fingerprint", stored, _DTYPES)
    packed = pack(unit_gram(read(x, "x"), estimator), estimator)
    return like(packed.to(_DTYPES[stored]), x)


def representation_fault(
    x: Real[Array, "n p"], *, estimator: Estimator = "unbiased"
) -> Literal["collapsed", "diverged"] | None:
    """Why a representation has no CKA, or None if it has one.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
    estimator : {"unbiased", "biased"}

    Returns
    -------
    {"collapsed", "diverged"} or None
        Diverged: some entry is not finite. Collapsed: constant, or (unbiased) all examples but one
        coincide, or all are equally far apart.

    Raises
    ------
    AkpError
        For anything that is not the model's fault: a wrong shape, too few examples, an unknown estimator.

    Notes
    -----
    Cost: that of a fingerprint.
    """
    check_estimator(estimator)
    if non_finite_entries(x):
        return "diverged"
    features = read(x, "x")
    check_enough_examples(features, estimator)
    try:
        unit_gram(features, estimator)
    except AkpError:
        return "collapsed"
    return None


def similarity_of_fingerprints(fingerprints: Float[A, "M k"]) -> Float64[A, "M M"]:
    """All pairwise CKA of stored fingerprints: one matrix product.

    Parameters
    ----------
    fingerprints : (M, k) array, NumPy or torch
        One `fingerprint` per row, all of the same estimator and the same examples. A row of NaN stands
        for a model that has none (collapsed or diverged).

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [-1, 1]; rows and columns of models without a
        fingerprint are NaN, diagonal included.

    Raises
    ------
    AkpError
        If the array is not (M, k), or a row is partly non-finite or zero.

    Notes
    -----
    Rows are normalised again, as storing them in float32 moves their length by about 1e-8.
    Cost: :math:`2M^2k` operations in float64, :math:`M^2` numbers beside the input.
    """
    if getattr(fingerprints, "ndim", 0) != 2:
        raise expected(
            "fingerprints as (models, entries)",
            f"shape {tuple(getattr(fingerprints, 'shape', ()))}",
            "stack one fingerprint per row",
        )
    members, length = fingerprints.shape
    device = fingerprints.device if isinstance(fingerprints, Tensor) else "cpu"
    products = torch.zeros(members, members, dtype=torch.float64, device=device)
    finite = torch.zeros(members, dtype=torch.int64, device=device)
    for start in range(0, length, _BLOCK):
        block, _ = as_float64(fingerprints[:, start : start + _BLOCK], "fingerprints")
        known = torch.isfinite(block)
        finite += known.sum(dim=1)
        block[~known] = 0
        products += block @ block.T
    partly = torch.nonzero((finite > 0) & (finite < length)).flatten().tolist()
    if partly:
        raise expected(
            "fingerprints that are finite, or NaN throughout for a model without one",
            f"non-finite entries in row {partly[0]}",
        )
    missing = finite == 0
    norms = products.diagonal().sqrt()
    empty = torch.nonzero((norms == 0) & ~missing).flatten().tolist()
    if empty:
        raise expected("fingerprints of length 1", f"zeros in row {empty[0]}")
    similarity = (products / (norms[:, None] * norms[None, :])).clamp_(-1, 1)
    similarity = similarity.triu(1) + similarity.triu(1).T
    similarity.fill_diagonal_(1)
    similarity[missing[:, None] | missing[None, :]] = torch.nan
    return like(similarity, fingerprints)
