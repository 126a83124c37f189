r"""Canonical correlations of two representations, averaged plainly (SVCCA) or by importance (PWCCA).

Canonical correlations compare *subspaces* of :math:`\mathbb{R}^n`: what linear maps of the features can
reach. With as many directions as examples less one a subspace is everything and the correlations say
nothing; for independent Gaussian subspaces of p and q directions the mean squared correlation is exactly
:math:`\max(p, q)/(n-1)`, and :math:`p + q - (n - 1)` of them are 1 whatever the data.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import lgamma, pi
from numbers import Real as RealNumber

import numpy as np
import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, whole_number
from akp_core.similarity.arrays import A, Array, Features, as_float64, like
from akp_core.similarity.members import as_members, read_members, rounding_errors, symmetric
from akp_core.similarity.procrustes import nuclear_norms

LEAST_EXAMPLES = 3
_HIGH_CHANCE = 0.5
_TIED = 1e-8
"""Singular values, relative, and correlations that differ by less are taken for one."""
_DWARFED = 100
"""Examples this many times larger than round-off still have six digits in a subspace."""


class CanonicalWarning(UserWarning):
    """Too many directions for the number of examples: chance alone correlates them highly."""


@dataclass(frozen=True)
class _Subspace:
    """Orthonormal directions in the space of the examples, and the features' coordinates along them."""

    basis: Float64[Tensor, "n k"]
    loadings: Float64[Tensor, "k p"]
    name: str


def canonical_chance(first: int, second: int, examples: int) -> float:
    r"""The root mean square canonical correlation of independent data, :math:`\sqrt{\max(p, q)/(n-1)}`.

    Parameters
    ----------
    first, second : int
        Directions p and q that are compared.
    examples : int
        Their number n.

    Returns
    -------
    float
        In (0, 1]. Exact for independent subspaces, one of them uniformly random: the expected
        trace of the product of the two projections is :math:`pq/(n-1)`, shared by min(p, q) correlations.
    """
    n = whole_number("examples", examples, 2)
    wider = max(whole_number("directions", first, 1), whole_number("directions", second, 1))
    return min(1.0, wider / (n - 1)) ** 0.5


def _subspace(x: Features, raw: Array, variance: float) -> _Subspace:
    r"""The leading singular directions that hold this share of the variance, those of rounding left out.

    Along left and right singular vectors u, v, rounding errors of standard deviations e have the standard
    deviation :math:`(\sum_{ij} u_i^2 e_{ij}^2 v_j^2)^{1/2}`, and alone would reach
    :math:`\sqrt n + \sqrt p` times that: what one outlying example is uncertain by spoils its own direction.
    """
    n, p = x.centred.shape
    stored, eps = as_float64(raw, x.name)
    errors = rounding_errors(stored.div_(x.scale), eps)
    left, values, right = torch.linalg.svd(x.centred * (errors.amax(dim=0) > 0), full_matrices=False)
    noise = (n**0.5 + p**0.5) * (errors.square() @ right.T.square() * left.square()).sum(dim=0).sqrt()
    computed = max(n, p) * torch.finfo(torch.float64).eps * float(values[0])
    rank = max(1, int((values > noise.clamp(min=computed)).sum()))
    sums = values[:rank].square().cumsum(dim=0)
    kept = rank if variance == 1 else int((sums < variance * (1 - 1e-12) * sums[-1]).sum()) + 1
    kept = min(rank, int((values >= (1 - _TIED) * values[kept - 1]).sum()))
    if variance == 1:
        _refuse_dwarfed(stored, errors, computed, x.name)
    return _Subspace(left[:, :kept], values[:kept, None] * right[:kept], x.name)


def _refuse_dwarfed(
    stored: Float64[Tensor, "n p"], errors: Float64[Tensor, "n p"], computed: float, name: str
) -> None:
    """Refuse examples most of which differ by less than the arithmetic on a few far ones leaves."""
    nearest = int((stored - stored.mean(dim=0)).abs().amax(dim=1).argmin())
    sizes = torch.linalg.vector_norm(stored - stored[nearest], dim=1)
    differ = sizes[sizes > torch.linalg.vector_norm(errors, dim=1)]
    if len(differ) > 2 and float(differ.median()) <= _DWARFED * computed:
        raise AkpError(
            f"a few examples of {name} are so far from the others that the directions of these are lost in "
            "float64; leave these outliers out on both sides"
        )


def _check_room(spaces: Sequence[_Subspace], stacklevel: int) -> None:
    """Refuse a subspace that is everything; warn of directions that chance correlates highly."""
    widest = max(spaces, key=lambda space: space.basis.shape[1])
    n, k = widest.basis.shape
    if k >= n - 1:
        raise AkpError(
            f"expected fewer directions than the {n - 1} that {n} centred examples span, got {k} in "
            f"{widest.name}: every canonical correlation with it is 1 whatever the data; "
            f"use more examples, at least {4 * k + 1}, or fewer features"
        )
    chance = canonical_chance(k, 1, n)
    if chance > _HIGH_CHANCE:
        certain = 2 * k - (n - 1)
        also = f" and correlations that are 1 whatever the data where p + q > {n - 1}" if certain > 0 else ""
        warnings.warn(
            f"{widest.name} has {k} directions for {n} examples: expect a root mean square canonical "
            f"correlation of {chance:.2f} by chance{also}; use at least {4 * k + 1} examples, or compare "
            "with a shuffled null",
            CanonicalWarning,
            stacklevel=stacklevel + 1,
        )


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


def _projection_weighted(x: _Subspace, y: _Subspace) -> tuple[float, float]:
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
    first, second = (_subspace(features, raw, share) for features, raw in zip(read, (x, y), strict=True))
    _check_room((first, second), 2)
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
    first, second = (_subspace(features, raw, 1.0) for features, raw in zip(read, (x, y), strict=True))
    _check_room((first, second), 2)
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
    spaces = [_subspace(features, raw, share) for features, raw in zip(read, members, strict=True)]
    _check_room(spaces, 2)
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
    spaces = [_subspace(features, raw, 1.0) for features, raw in zip(read, members, strict=True)]
    _check_room(spaces, 2)
    values = spaces[0].basis.new_zeros(len(spaces), len(spaces))
    for i, j in combinations(range(len(spaces)), 2):
        values[i, j] = sum(_projection_weighted(spaces[i], spaces[j])) / 2
    return like(symmetric(values, 0), members[0])
