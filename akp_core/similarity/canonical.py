r"""Canonical correlations of two representations, averaged plainly (SVCCA) or by importance (PWCCA).

Canonical correlations compare *subspaces* of :math:`\mathbb{R}^n`: what linear maps of the features can
reach. With as many directions as examples less one a subspace is everything and the correlations say
nothing; for independent Gaussian subspaces of p and q directions the mean squared correlation is exactly
:math:`\max(p, q)/(n-1)`, and :math:`p + q - (n - 1)` of them are 1 whatever the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from math import lgamma, pi
from numbers import Real as RealNumber

import numpy as np
import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.arrays import A, Array, like
from akp_core.similarity.members import as_members, read_members, symmetric
from akp_core.similarity.procrustes import nuclear_norms
from akp_core.similarity.subspaces import Subspace, check_room, subspace

LEAST_EXAMPLES = 3
_TIED = 1e-8
"""Singular values, relative, and correlations that differ by less are taken for one."""


def _check_variance(variance: float) -> float:
    if isinstance(variance, bool) or not isinstance(variance, RealNumber) or not 0 < variance <= 1:
        raise expected("variance as a share above 0, at most 1", repr(variance))
    return float(variance)


def _weights(
    rotation: Float64[Tensor, "k c"], correlations: Float64[Tensor, " c"], loadings: Float64[Tensor, "k p"]
) -> Float64[Tensor, " c"]:
    """How much of the features each canonical direction carries, the same for tied directions.

    Directions of one correlation are any basis of their space; the weight is the mean over all bases.
    """
    projections = rotation.T @ loadings
    weights = torch.empty_like(correlations)
    gaps = torch.nonzero(correlations[:-1] - correlations[1:] > _TIED).flatten() + 1
    edges = [0, *gaps.tolist(), len(correlations)]
    for start, stop in pairwise(edges):
        tied = stop - start
        mean_cosine = np.exp(lgamma(tied / 2) - lgamma((tied + 1) / 2)) / pi**0.5
        lengths = torch.linalg.vector_norm(projections[start:stop], dim=0)
        weights[start:stop] = float(mean_cosine) * lengths.sum()
    return weights


def _projection_weighted(x: Subspace, y: Subspace) -> tuple[float, float]:
    """PWCCA with the weights of x, and with those of y, from one decomposition."""
    left, correlations, right = torch.linalg.svd(x.basis.T @ y.basis, full_matrices=False)
    values = []
    for rotation, space in ((left, x), (right.T, y)):
        weights = _weights(rotation, correlations, space.loadings)
        values.append(float(weights @ correlations / weights.sum()))
    return min(1.0, values[0]), min(1.0, values[1])


def svcca(x: Real[Array, "n p"], y: Real[Array, "n q"], *, variance: float = 0.99) -> float:
    r"""The mean canonical correlation of the leading singular directions of two representations.

    .. math:: s = \frac{1}{\min(k, l)} \sum_i \rho_i
                = \frac{\|U_k^\top V_l\|_*}{\min(k, l)},

    with :math:`U_k, V_l` the fewest left singular vectors of the centred x and y whose squared singular
    values hold the given share of the sum.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the widths may differ.
    variance : float
        The share of the variance to keep, above 0, at most 1. At 1 all directions above round-off stay and
        the value is the mean of plain canonical correlation analysis.

    Returns
    -------
    float
        In [0, 1]. 1: the smaller kept subspace lies in the larger. 0: orthogonal. Chance is about
        `canonical_chance` of the kept directions, never 0.

    Raises
    ------
    AkpError
        For an array that is not (examples, features), not finite, constant, or of another number of
        examples; fewer than 3 examples; a variance outside (0, 1]; as many kept directions as examples
        less one in x or in y, as then every correlation is 1 whatever the data.

    Warns
    -----
    CanonicalWarning
        If the chance value exceeds 0.5: more than a quarter as many directions as examples.

    Notes
    -----
    Invariances: rotation and reflection of the features, translation, isotropic scaling, one permutation of
    the examples of both. With ``variance=1`` any invertible linear map, otherwise *not*: rescaling a
    feature moves the cut. Directions tied with the last one kept are kept. Constant and repeated features
    change nothing beyond their share of the variance; directions within the rounding of the dtype that came
    are left out.

    Distance: :math:`\sqrt{2 - 2s}` is *no* metric. A subspace is at distance 0 from any that contains it, so
    the triangle inequality fails. (It holds among representations with equally many kept directions.)

    Cost: two singular value decompositions, :math:`O(np\min(n, p))`, and one of k x l.

    References
    ----------
    Raghu et al. 2017, sec. 2; Morcos et al. 2018, sec. 3 (the mean is sensitive to noise directions).
    """
    share = _check_variance(variance)
    read = read_members([x, y], "SVCCA", LEAST_EXAMPLES, ("x", "y"))
    first, second = (subspace(features, raw, share) for features, raw in zip(read, (x, y), strict=True))
    check_room((first, second), 2)
    correlations = torch.linalg.svdvals(first.basis.T @ second.basis)
    return min(1.0, float(correlations.mean()))


def pwcca(x: Real[Array, "n p"], y: Real[Array, "n q"]) -> float:
    r"""The mean canonical correlation, each weighted by how much of x its direction carries.

    .. math:: s = \frac{\sum_i \alpha_i \rho_i}{\sum_i \alpha_i}, \qquad
              \alpha_i = \sum_{j=1}^{p} |\langle h_i, x_j\rangle|,

    with :math:`h_i` the orthonormal canonical directions in the subspace of x and :math:`x_j` its centred
    features.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        Gives the weights. One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the widths may differ.

    Returns
    -------
    float
        In [0, 1]. 1: one subspace lies in the other. *Not symmetric*: ``pwcca(x, y)`` asks how much of x
        is found in y. `pwcca_matrix` takes the mean of both directions.

    Raises
    ------
    AkpError
        As `svcca`. A representation at least as wide as the examples less one has no PWCCA.

    Warns
    -----
    CanonicalWarning
        As `svcca`.

    Notes
    -----
    Invariances of both arguments: translation, isotropic scaling, permutation of the features, one
    permutation of the examples of both. y alone may also undergo any invertible linear map. x may *not*
    even be rotated: a sum of absolute values depends on the axes.

    Where correlations are tied (as at 1 when p + q > n - 1) their directions are any basis of a common
    space; the weight used is the mean over all bases, so that the value does not hang on the solver.

    Distance: :math:`\sqrt{2 - 2s}` is *no* metric, even symmetrised.

    Cost: that of `svcca`, plus :math:`O(\min(k, l)\,kp)`.

    References
    ----------
    Morcos et al. 2018, sec. 3. Public implementations differ: google/svcca, and resi after it, takes the
    weights from the narrower side, with directions that were not whitened; anatome sums the entries of the
    directions instead of their products with the features.
    """
    read = read_members([x, y], "PWCCA", LEAST_EXAMPLES, ("x", "y"))
    first, second = (subspace(features, raw, 1.0) for features, raw in zip(read, (x, y), strict=True))
    check_room((first, second), 2)
    return _projection_weighted(first, second)[0]


def svcca_matrix(
    representations: Sequence[A] | Real[A, "M n p"], *, variance: float = 0.99
) -> Float64[A, "M M"]:
    """The SVCCA of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.
    variance : float
        As for `svcca`.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [0, 1].

    Raises
    ------
    AkpError
        As `svcca`, naming the index of the representation at fault.

    Warns
    -----
    CanonicalWarning
        Once, for the representation with most directions.

    Notes
    -----
    Invariances: those of `svcca`. Cost: one singular value decomposition per member; then per pair one
    product and the singular values of k x l, in stacks of at most 128 MB.
    """
    share = _check_variance(variance)
    members = as_members(representations)
    read = read_members(members, "SVCCA", LEAST_EXAMPLES)
    spaces = [subspace(features, raw, share) for features, raw in zip(read, members, strict=True)]
    check_room(spaces, 2)
    sums = nuclear_norms([space.basis for space in spaces])
    kept = torch.tensor([space.basis.shape[1] for space in spaces], dtype=torch.float64, device=sums.device)
    return like(symmetric(sums / torch.minimum(kept[:, None], kept[None, :]), 0), members[0])


def pwcca_matrix(representations: Sequence[A] | Real[A, "M n p"]) -> Float64[A, "M M"]:
    r"""The symmetrised PWCCA of every pair, :math:`\tfrac12(\mathrm{PWCCA}(x, y) + \mathrm{PWCCA}(y, x))`.

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
        As `pwcca`, naming the index of the representation at fault.

    Warns
    -----
    CanonicalWarning
        Once, for the representation with most directions.

    Notes
    -----
    Invariances: those that `pwcca` has in both arguments. Cost: one decomposition per member and one per
    pair, which serves both directions.
    """
    members = as_members(representations)
    read = read_members(members, "PWCCA", LEAST_EXAMPLES)
    spaces = [subspace(features, raw, 1.0) for features, raw in zip(read, members, strict=True)]
    check_room(spaces, 2)
    values = spaces[0].basis.new_zeros(len(spaces), len(spaces))
    for i, j in combinations(range(len(spaces)), 2):
        values[i, j] = sum(_projection_weighted(spaces[i], spaces[j])) / 2
    return like(symmetric(values, 0), members[0])
