r"""Orthogonal Procrustes: how well one configuration of examples can be turned onto another.

Two configurations, centred and of Frobenius norm 1, are brought together by the best rotation or reflection.
What remains is a shape distance, and one minus half its square is the similarity here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.similarity.arrays import A, Array, Features, like
from akp_core.similarity.members import as_members, read_members, symmetric

LEAST_EXAMPLES = 3
_STACK = 1 << 24
"""Numbers in a stack of products and their factors: 128 MB."""


def _unit_factor(x: Features) -> Float64[Tensor, "n w"]:
    """An n x min(n, p) matrix with the Gram matrix of x, scaled to norm 1.

    From the triangular factor of the transpose, so that no digit is lost to squaring.
    """
    factor = x.centred
    if factor.shape[1] > factor.shape[0]:
        factor = torch.linalg.qr(factor.T, mode="r").R.T
    return factor / torch.linalg.matrix_norm(factor)


def nuclear_norms(factors: Sequence[Float64[Tensor, "n w"]]) -> Float64[Tensor, "M M"]:
    r"""The sum of the singular values of :math:`X_i^\top X_j` for every i < j; zero elsewhere.

    Factors of one width are stacked, and the stacks of products, of bounded size, decomposed together.
    """
    norms = factors[0].new_zeros(len(factors), len(factors))
    groups: dict[int, list[int]] = {}
    for index, factor in enumerate(factors):
        groups.setdefault(factor.shape[1], []).append(index)
    widths = list(groups)
    n = factors[0].shape[0]
    for a, width in enumerate(widths):
        for other in widths[a:]:
            pairs = [(i, j) for i in groups[width] for j in groups[other] if width != other or i < j]
            step = max(1, _STACK // (width * other + n * (width + other)))
            for start in range(0, len(pairs), step):
                block = pairs[start : start + step]
                left = torch.stack([factors[i] for i, _ in block])
                right = torch.stack([factors[j] for _, j in block])
                sums = torch.linalg.svdvals(left.mT @ right).sum(dim=1)
                low = torch.tensor([min(pair) for pair in block], device=sums.device)
                high = torch.tensor([max(pair) for pair in block], device=sums.device)
                norms[low, high] = sums
    return norms


def procrustes(x: Real[Array, "n p"], y: Real[Array, "n q"]) -> float:
    r"""How well the best rotation or reflection lays one representation over the other.

    .. math:: s = \max_{R^\top R = I} \frac{\langle \bar X R, \bar Y\rangle_F}{\|\bar X\|_F \|\bar Y\|_F}
                = \frac{\|\bar X^\top \bar Y\|_*}{\|\bar X\|_F \|\bar Y\|_F},

    with features centred and :math:`\|\cdot\|_*` the nuclear norm, the sum of the singular values.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the narrower one counts as padded with zero features.

    Returns
    -------
    float
        In [0, 1]. 1: the same shape. 0: every feature of x is uncorrelated with every one of y. Chance is
        well above 0 and grows with the widths: compare with a shuffled null.

    Raises
    ------
    AkpError
        For an array that is not (examples, features), not finite, constant, or of another number of
        examples; for fewer than 3 examples, as two points have but one shape.

    Notes
    -----
    Invariances: rotation and reflection of the features, translation, isotropic scaling, one permutation of
    the examples of both. *Not* scaling of single features, nor a general linear map.

    Distance: :math:`\sqrt{2 - 2s} = \min_R \|\hat X R - \hat Y\|_F` between configurations of norm 1 is a
    metric on shapes, and so is :math:`\arccos s`. Neither is Euclidean (for single features s is the absolute
    correlation, whose matrix has negative eigenvalues for a fan of lines in a plane), so there is no
    centroid that distances from it could be exact for.

    Cost: with :math:`w = \min(n, p)` and :math:`v = \min(n, q)`, two reductions of :math:`2n^2p`
    operations where p exceeds n, one product of :math:`2nwv`, one singular value decomposition w x v.

    References
    ----------
    Schonemann 1966 (the solution); Kendall 1984 (shapes); Williams et al. 2021, sec. 2.2; Ding et al. 2021.
    """
    first, second = read_members([x, y], "Procrustes similarity", LEAST_EXAMPLES, ("x", "y"))
    product = _unit_factor(first).T @ _unit_factor(second)
    return min(1.0, float(torch.linalg.svdvals(product).sum()))


def procrustes_matrix(representations: Sequence[A] | Real[A, "M n p"]) -> Float64[A, "M M"]:
    """The Procrustes similarity of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [0, 1].

    Raises
    ------
    AkpError
        As `procrustes`, naming the index of the representation at fault.

    Notes
    -----
    Invariances: those of `procrustes`. Cost: each member is reduced once; then per pair one product and the
    singular values of a matrix no wider than n, in stacks of at most 128 MB.
    """
    members = as_members(representations)
    read = read_members(members, "Procrustes similarity", LEAST_EXAMPLES)
    return like(symmetric(nuclear_norms([_unit_factor(x) for x in read]), 0), members[0])
