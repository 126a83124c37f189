"""The directions in the space of the examples that features reach, and when these are too many to compare."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from akp_core.errors import AkpError, whole_number
from akp_core.similarity.arrays import Array, Features, as_float64
from akp_core.similarity.members import rounding_errors

_HIGH_CHANCE = 0.5
_TIED = 1e-8
"""Singular values, relative, and correlations that differ by less are taken for one."""
_DWARFED = 100
"""Examples this many times larger than round-off still have six digits in a subspace."""


class CanonicalWarning(UserWarning):
    """Too many directions for the number of examples: chance alone correlates them highly."""


@dataclass(frozen=True)
class Subspace:
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


def subspace(x: Features, raw: Array, variance: float) -> Subspace:
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
    return Subspace(left[:, :kept], values[:kept, None] * right[:kept], x.name)


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


def check_room(spaces: Sequence[Subspace], stacklevel: int) -> None:
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
