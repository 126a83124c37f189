"""Similarities of many simulated studies at once, for representations of one shape and full rank.

The same numbers as `akp_core.similarity.pairwise`, without its care for what cannot occur here (repeated
examples, constant features, mixed widths). Thousands of small matrices are then a few large operations.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core.errors import unknown_name

_NEIGHBOURS = 10
_VARIANCE = 0.99
"""As `mutual_neighbours` and `svcca` have them by default."""

Features = Float64[Tensor, "S M n p"]
Matrices = Float64[Tensor, "S M M"]


def similarities(features: Float64[np.ndarray, "S M n p"], measure: str) -> Float64[np.ndarray, "S M M"]:
    """The similarity of every pair of models in each of S studies.

    Parameters
    ----------
    features : (S, M, n, p) float64 array
        M representations of n examples in each study; features independent and in general position.
    measure : str
        A name in `akp_core.similarity.MEASURES` or `VARIANTS`.

    Returns
    -------
    (S, M, M) float64 array
        As `pairwise` of each study, with the options of a variant: symmetric, 1 on the diagonal.

    Raises
    ------
    AkpError
        For an unknown measure.

    Notes
    -----
    Cost: that of `pairwise`, less what many small calls cost on top.
    """
    if measure not in _MATRICES:
        raise unknown_name("measure", measure, _MATRICES)
    given = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
    values = _MATRICES[measure](given - given.mean(dim=2, keepdim=True)).clamp(-1, 1)
    values = (values + values.mT) / 2
    values.diagonal(dim1=1, dim2=2).fill_(1)
    return values.numpy()


def _cosines(vectors: Float64[Tensor, "S M k"]) -> Matrices:
    unit = vectors / torch.linalg.vector_norm(vectors, dim=2, keepdim=True)
    return unit @ unit.mT


def _centred(gram: Float64[Tensor, "S M n n"]) -> Matrices:
    """Cosines of doubly centred Gram matrices."""
    gram = gram - gram.mean(dim=3, keepdim=True)
    return _cosines((gram - gram.mean(dim=2, keepdim=True)).flatten(2))


def _u_centred(gram: Float64[Tensor, "S M n n"]) -> Matrices:
    """Cosines of U-centred Gram matrices; overwrites them."""
    n = gram.shape[2]
    gram.diagonal(dim1=2, dim2=3).zero_()
    rows = gram.sum(dim=3, keepdim=True) / (n - 2)
    gram = gram - rows - rows.mT + rows.sum(dim=2, keepdim=True) / (n - 1)
    gram.diagonal(dim1=2, dim2=3).zero_()
    return _cosines(gram.flatten(2))


def _cka(x: Features) -> Matrices:
    return _u_centred(x @ x.mT)


def _biased_cka(x: Features) -> Matrices:
    return _centred(x @ x.mT)


def _rbf_cka(x: Features) -> Matrices:
    n = x.shape[2]
    first, second = torch.triu_indices(n, n, 1)
    squared = torch.cdist(x, x).square()
    of_pairs = squared[:, :, first, second].sort(dim=2).values
    middle = (of_pairs.shape[2] - 1) // 2, of_pairs.shape[2] // 2
    median = sum(of_pairs[:, :, k].sqrt() for k in middle) / 2
    return _u_centred(torch.exp(-squared / (2 * torch.as_tensor(median).square()[:, :, None, None])))


def _rsa(x: Features) -> Matrices:
    n = x.shape[2]
    first, second = torch.triu_indices(n, n, 1)
    order = torch.cdist(x, x)[:, :, first, second].argsort(dim=2)
    places = torch.arange(order.shape[2], dtype=torch.float64).expand(order.shape)
    ranks = torch.empty_like(places, memory_format=torch.contiguous_format).scatter_(2, order, places)
    return _cosines(ranks - ranks.mean(dim=2, keepdim=True))


def _mutual_neighbours(x: Features) -> Matrices:
    distances = torch.cdist(x, x)
    distances.diagonal(dim1=2, dim2=3).fill_(torch.inf)
    nearest = distances.topk(_NEIGHBOURS, dim=3, largest=False).indices
    member = torch.zeros(distances.shape, dtype=torch.float64).scatter_(3, nearest, 1.0).flatten(2)
    return member @ member.mT / (x.shape[2] * _NEIGHBOURS)


def _products(factors: Float64[Tensor, "S M n k"]) -> tuple[Tensor, Tensor, Float64[Tensor, "S P k k"]]:
    """Both indices of every pair, and the product of the pair's factors."""
    i, j = torch.triu_indices(factors.shape[1], factors.shape[1], 1)
    return i, j, factors[:, i].mT @ factors[:, j]


def _mirrored(values: Float64[Tensor, "S P"], i: Tensor, j: Tensor, members: int) -> Matrices:
    matrix = values.new_zeros(len(values), members, members)
    matrix[:, i, j] = matrix[:, j, i] = values
    return matrix


def _procrustes(x: Features) -> Matrices:
    i, j, products = _products(x / torch.linalg.matrix_norm(x, keepdim=True))
    return _mirrored(torch.linalg.svdvals(products).sum(dim=2), i, j, x.shape[1])


def _svcca(x: Features) -> Matrices:
    left, values, _ = torch.linalg.svd(x, full_matrices=False)
    held = values.square().cumsum(dim=2)
    enough = _VARIANCE * (1 - 1e-12) * held[:, :, -1:]
    kept = (held < enough).sum(dim=2) + 1
    within = torch.arange(values.shape[2]) < kept[:, :, None]
    i, j, products = _products(left * within[:, :, None, :])
    sums = torch.linalg.svdvals(products).sum(dim=2)
    return _mirrored(sums / torch.minimum(kept[:, i], kept[:, j]), i, j, x.shape[1])


def _pwcca(x: Features) -> Matrices:
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    loadings = values[..., None] * right
    i, j, products = _products(left)
    a, correlations, b = torch.linalg.svd(products)
    both = []
    for rotation, own in ((a, loadings[:, i]), (b.mT, loadings[:, j])):
        weights = (rotation.mT @ own).abs().sum(dim=3)
        both.append((weights * correlations).sum(dim=2) / weights.sum(dim=2))
    return _mirrored((both[0] + both[1]) / 2, i, j, x.shape[1])


_MATRICES: MappingProxyType[str, Callable[[Features], Matrices]] = MappingProxyType(
    {
        "cka": _cka,
        "procrustes": _procrustes,
        "svcca": _svcca,
        "pwcca": _pwcca,
        "mutual_neighbours": _mutual_neighbours,
        "rsa": _rsa,
        "biased_cka": _biased_cka,
        "rbf_cka": _rbf_cka,
    }
)

VARIANTS: MappingProxyType[str, MappingProxyType[str, str]] = MappingProxyType(
    {
        "biased_cka": MappingProxyType({"estimator": "biased"}),
        "rbf_cka": MappingProxyType({"kernel": "rbf"}),
    }
)
"""Options of `pairwise` that make another CKA, by name; both cosines, hence with a Euclidean distance."""
