r"""Representational similarity analysis: compare which examples are far apart, not where they lie.

A representation becomes its representational dissimilarity matrix (RDM), the dissimilarities of all pairs
of examples; two representations are as alike as the upper triangles of their RDMs. Each triangle, ranked
or centred and scaled to length 1, is a vector, and every comparison offered is an inner product of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import A, Array, Features, like
from akp_core.similarity.members import (
    as_members,
    as_stored,
    distances_between_examples,
    example_errors,
    read_members,
    round_off,
    symmetric,
)

Dissimilarity = Literal["euclidean", "squared_euclidean", "correlation"]
Comparison = Literal["spearman", "pearson", "cosine"]

LEAST_EXAMPLES = 3
_TRANSFORMED = 8
"""Units in the last place of float64 by which a rotation beforehand may have moved an example."""


def _check_choices(dissimilarity: str, comparison: str) -> None:
    if not isinstance(dissimilarity, str) or dissimilarity not in get_args(Dissimilarity):
        raise unknown_name("dissimilarity", dissimilarity, get_args(Dissimilarity))
    if not isinstance(comparison, str) or comparison not in get_args(Comparison):
        raise unknown_name("comparison", comparison, get_args(Comparison))


def _standardised(
    values: Float64[Tensor, "n p"], eps: float, name: str
) -> tuple[Float64[Tensor, "n p"], Float64[Tensor, " n"]]:
    r"""Examples of mean 0 and length 1, and the size of each that was rounded, beside its deviations.

    Of two such examples at distance c, :math:`c^2/2` is one minus their correlation. Not by one minus the
    product, which loses the digits of small dissimilarities.
    """
    if values.shape[1] < 2:
        raise expected(
            f"at least 2 features in {name} for correlation dissimilarity", "1", "use euclidean instead"
        )
    magnitude = values.abs().amax(dim=1, keepdim=True)
    values = values / magnitude.clamp(min=torch.finfo(torch.float64).tiny)
    values -= values.mean(dim=1, keepdim=True)
    deviation = values.abs().amax(dim=1, keepdim=True)
    flat = torch.nonzero(deviation.flatten() <= 4 * eps).flatten().tolist()
    if flat:
        raise AkpError(
            f"expected features that vary within every example of {name} for correlation dissimilarity, got "
            f"row {flat[0]} constant; leave this example out on both sides, or use euclidean"
        )
    values /= deviation
    values /= torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return values, 1 / deviation.flatten()


def _ranks(values: Float64[Tensor, " m"], errors: Float64[Tensor, " m"]) -> Float64[Tensor, " m"]:
    """Ranks from 0, their mean where values differ from the least of their group by no more than both errors.

    Compared with the least, not with the next: a chain of small steps is not one tie.
    """
    ordered, order = torch.sort(values)
    loose = errors[order]
    new = torch.ones(len(values), dtype=torch.bool, device=values.device)
    new[1:] = ordered.diff() > loose[1:] + loose[:-1]
    starts = torch.nonzero(new).flatten()
    stops = torch.cat([starts[1:], starts.new_tensor([len(values)])])
    long = ordered[stops - 1] - ordered[starts] > loose[stops - 1] + loose[starts]
    for start, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True):
        first = start
        while True:
            past = ordered[first:stop] - ordered[first] > loose[first:stop] + loose[first]
            if not bool(past.any()):
                break
            first += int(past.int().argmax())
            new[first] = True
    counts = torch.bincount(new.cumsum(dim=0) - 1).to(torch.float64)
    means = counts.cumsum(dim=0) - (counts + 1) / 2
    ranks = torch.empty_like(values)
    ranks[order] = torch.repeat_interleave(means, counts.to(torch.int64))
    return ranks


def _unit_rdm(x: Features, raw: Array, dissimilarity: str, comparison: str) -> Float64[Tensor, " m"]:
    """The upper triangle of the RDM, ranked or centred as the comparison asks, of length 1."""
    values, eps = as_stored(raw, x.name)
    double = torch.finfo(torch.float64).eps
    if dissimilarity == "correlation":
        values, sizes = _standardised(values, eps, x.name)
        stored, computed = 4 * eps * sizes, _TRANSFORMED * double * sizes
    else:
        stored = example_errors(values, eps)
        computed = _TRANSFORMED * example_errors(values, double)
    n, relative = len(values), round_off(values.shape[1])
    above = torch.ones(n, n, dtype=torch.bool, device=values.device).triu_(1)
    vector = distances_between_examples(values)[above]
    errors = torch.hypot(computed[:, None], computed[None, :])[above]
    # A distance from an example to itself, rotated, is a last digit.
    vector[vector <= errors] = 0
    errors += relative * vector
    unsure = errors + torch.hypot(stored[:, None], stored[None, :])[above]
    same = float((vector - unsure).max()) <= float((vector + unsure).min())
    if float((vector - unsure).max()) <= 0 or (comparison != "cosine" and same):
        raise AkpError(
            f"expected dissimilarities that vary in {x.name}, got the same for every pair of examples; "
            "a constant dissimilarity matrix correlates with nothing; leave it out and count it"
        )
    if comparison == "spearman":
        # The distances, as squares and one minus a correlation have their order, and more digits to lose.
        vector = _ranks(vector, errors / 2)
    else:
        vector /= vector.max()
        if dissimilarity != "euclidean":
            vector.square_()
    if comparison != "cosine":
        vector = vector - vector.mean()
    return vector / torch.linalg.vector_norm(vector)


def rsa(
    x: Real[Array, "n p"],
    y: Real[Array, "n q"],
    *,
    dissimilarity: Dissimilarity = "euclidean",
    comparison: Comparison = "spearman",
) -> float:
    r"""How alike the dissimilarities between examples are in two representations.

    .. math:: s = \frac{\langle r(D_x), r(D_y)\rangle}{\|r(D_x)\| \|r(D_y)\|},

    over pairs i < j of examples, with r the centred ranks (Spearman), the centred values (Pearson) or the
    values themselves (cosine).

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the widths may differ.
    dissimilarity : {"euclidean", "squared_euclidean", "correlation"}
        Of two examples: the distance, its square, or one minus the correlation across features. The ranks
        of the first two are the same.
    comparison : {"spearman", "pearson", "cosine"}

    Returns
    -------
    float
        In [-1, 1], for cosine [0, 1]. 1: the same order (Spearman), affinely related values (Pearson),
        proportional ones (cosine). Chance averages 0, for cosine far above it.

    Raises
    ------
    AkpError
        For an unknown choice; an array that is not (examples, features), not finite, constant, or of another
        number of examples; fewer than 3 examples; dissimilarities that are all the same (Spearman, Pearson)
        or all zero; with correlation, an example whose features are all equal, named by its row.

    Notes
    -----
    Invariances, euclidean: rotation and reflection of the features, translation, isotropic scaling, one
    permutation of the examples of both. *Not* scaling of single features. Correlation: permutation of the
    features, isotropic scaling, one permutation of the examples, and a constant added to all features of an
    example, but *neither* rotation *nor* translation.

    Pairs of examples are not independent: judge a value by permuting examples, not by the p value of
    a correlation of n(n - 1)/2 numbers. For ranks the numbers count as they are stored, whatever their dtype:
    two dissimilarities are tied where float64 arithmetic cannot tell them apart, each pair by its own size.

    Distance: :math:`\sqrt{2 - 2s}` is Euclidean, as s is a cosine of vectors that depend on one
    representation each.

    Cost: :math:`2n^2(p + q)` operations, and a sort of n(n - 1)/2 numbers for Spearman.

    References
    ----------
    Kriegeskorte et al. 2008; Nili et al. 2014 (rank comparison).
    """
    _check_choices(dissimilarity, comparison)
    read = read_members([x, y], "dissimilarities", LEAST_EXAMPLES, ("x", "y"))
    first, second = (
        _unit_rdm(features, raw, dissimilarity, comparison)
        for features, raw in zip(read, (x, y), strict=True)
    )
    return min(1.0, max(-1.0, float(first @ second)))


def rsa_matrix(
    representations: Sequence[A] | Real[A, "M n p"],
    *,
    dissimilarity: Dissimilarity = "euclidean",
    comparison: Comparison = "spearman",
) -> Float64[A, "M M"]:
    """The `rsa` of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.
    dissimilarity, comparison
        As for `rsa`.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [-1, 1].

    Raises
    ------
    AkpError
        As `rsa`, naming the index of the representation at fault.

    Notes
    -----
    Invariances: those of `rsa`. Cost: one dissimilarity matrix (and one sort) per member, then one
    product of :math:`M^2n^2` operations; M vectors of n(n - 1)/2 float64 numbers are held.
    """
    _check_choices(dissimilarity, comparison)
    members = as_members(representations)
    read = read_members(members, "dissimilarities", LEAST_EXAMPLES)
    n = read[0].centred.shape[0]
    vectors = read[0].centred.new_empty(len(members), n * (n - 1) // 2)
    for vector, features, raw in zip(vectors, read, members, strict=True):
        vector[:] = _unit_rdm(features, raw, dissimilarity, comparison)
    return like(symmetric(vectors @ vectors.T, -1), members[0])
