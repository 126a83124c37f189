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
from akp_core.similarity.arrays import A, Array, Features, as_float64, like
from akp_core.similarity.members import (
    as_members,
    distances_between_examples,
    read_members,
    rounding_errors,
    symmetric,
)

Dissimilarity = Literal["euclidean", "squared_euclidean", "correlation"]
Comparison = Literal["spearman", "pearson", "cosine"]

LEAST_EXAMPLES = 3
_TIED = 1e-10
"""Dissimilarities closer than this share of the largest are tied: round-off of what is computed here."""


def _check_choices(dissimilarity: str, comparison: str) -> None:
    if dissimilarity not in get_args(Dissimilarity):
        raise unknown_name("dissimilarity", dissimilarity, get_args(Dissimilarity))
    if comparison not in get_args(Comparison):
        raise unknown_name("comparison", comparison, get_args(Comparison))


def _correlation_chords(raw: Array, name: str) -> tuple[Float64[Tensor, "n n"], float]:
    r"""Chords c between standardised examples; :math:`c^2/2` is one minus their correlation.

    Not by one minus the product, which loses the digits of small dissimilarities.
    """
    values, eps = as_float64(raw, name)
    values /= values.abs().max()
    if values.shape[1] < 2:
        raise expected(
            f"at least 2 features in {name} for correlation dissimilarity", "1", "use euclidean instead"
        )
    magnitude = values.abs().amax(dim=1)
    values -= values.mean(dim=1, keepdim=True)
    deviation = values.abs().amax(dim=1)
    flat = torch.nonzero(deviation <= 4 * eps * magnitude).flatten().tolist()
    if flat:
        raise AkpError(
            f"expected features that vary within every example of {name} for correlation dissimilarity, got "
            f"row {flat[0]} constant; leave this example out on both sides, or use euclidean"
        )
    values /= deviation[:, None]
    values /= torch.linalg.vector_norm(values, dim=1, keepdim=True)
    return distances_between_examples(values), 4 * eps * float((magnitude / deviation).max())


def _ranks(values: Float64[Tensor, " m"]) -> Float64[Tensor, " m"]:
    """Ranks from 0, their mean where values are tied up to round-off."""
    ordered, order = torch.sort(values)
    new = torch.ones(len(values), dtype=torch.int64, device=values.device)
    new[0] = 0
    new[1:] = ordered.diff() > _TIED * ordered[-1].abs()
    counts = torch.bincount(new.cumsum(dim=0)).to(torch.float64)
    means = counts.cumsum(dim=0) - (counts + 1) / 2
    ranks = torch.empty_like(values)
    ranks[order] = torch.repeat_interleave(means, counts.to(torch.int64))
    return ranks


def _unit_rdm(x: Features, raw: Array, dissimilarity: str, comparison: str) -> Float64[Tensor, " m"]:
    """The upper triangle of the RDM, ranked or centred as the comparison asks, of length 1."""
    if dissimilarity == "correlation":
        lengths, rounding = _correlation_chords(raw, x.name)
    else:
        lengths, rounding = distances_between_examples(x.centred), 2 * float(rounding_errors(raw).max())
    n = len(lengths)
    vector = lengths[torch.ones(n, n, dtype=torch.bool, device=lengths.device).triu_(1)]
    largest = float(vector.max())
    spread = largest - float(vector.min())
    if largest <= rounding or (comparison != "cosine" and spread <= max(rounding, _TIED * largest)):
        raise AkpError(
            f"expected dissimilarities that vary in {x.name}, got the same for every pair of examples; "
            "a constant dissimilarity matrix correlates with nothing; leave it out and count it"
        )
    if dissimilarity != "euclidean":
        vector = vector.square()
        largest = largest**2
    vector = _ranks(vector) if comparison == "spearman" else vector / largest
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
    a correlation of n(n - 1)/2 numbers. Dissimilarities within 1e-10 of the largest count as tied.

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
