r"""Mutual nearest neighbours: whether the same examples lie close together in two representations.

Purely local: nothing beyond the k nearest counts. A membership says how far j belongs to the k nearest of i:
1 if strictly nearer than the k-th distance; examples tied at that distance share the places left equally. So
no answer depends on the order of the rows, and the memberships of every example sum to k.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64, Real
from torch import Tensor

from akp_core.errors import expected, whole_number
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

LEAST_EXAMPLES = 3
_TRANSFORMED = 8
"""Units in the last place of float64 by which a rotation beforehand may have moved an example."""
_STACK = 1 << 23
"""Numbers in a stack of memberships: 64 MB."""


def neighbour_chance(k: int, examples: int) -> float:
    """The mutual neighbours expected of unrelated representations, ``k / (n - 1)``.

    Parameters
    ----------
    k : int
        Neighbours, from 1 to examples - 2.
    examples : int

    Returns
    -------
    float
        In (0, 1): exact for any two representations, averaged over the orders of one's examples.
    """
    n = whole_number("examples", examples, LEAST_EXAMPLES)
    return _check_k(k, n) / (n - 1)


def _check_k(k: int, n: int) -> int:
    try:
        return whole_number("k", k, 1, n - 2)
    except ValueError as error:
        raise expected(
            f"k as a whole number from 1 to {n - 2} for {n} examples",
            repr(k),
            "with all others as neighbours every representation agrees",
        ) from error


def _memberships(x: Features, raw: Array, k: int) -> Float64[Tensor, "n n"]:
    r"""How far each example (column) belongs to the k nearest of each (row).

    With c the k-th nearest of i, the difference of the distances to j and to c is uncertain by the errors of
    j and c, and by that of i times the chord between the two directions, at most :math:`d_{jc} / d_{ic}`.
    """
    values, eps = as_stored(raw, x.name)
    computed = round_off(values.shape[1])
    distances = distances_between_examples(values)
    errors = example_errors(values, eps) + _TRANSFORMED * example_errors(
        values, torch.finfo(torch.float64).eps
    )
    reach, last = torch.kthvalue(distances.clone().fill_diagonal_(torch.inf), k, dim=1, keepdim=True)
    last = last.flatten()
    tiny = torch.finfo(torch.float64).tiny
    chord = (distances[last] / reach.clamp(min=tiny)).clamp_(max=2)
    slack = torch.hypot(errors[:, None] * chord, torch.hypot(errors[None, :], errors[last][:, None]))
    slack += computed * reach
    distances.fill_diagonal_(torch.inf)
    nearer, tied = distances < reach - slack, (distances - reach).abs() <= slack
    places = (k - nearer.sum(dim=1, keepdim=True)) / tied.sum(dim=1, keepdim=True).to(torch.float64)
    return nearer + tied * places


def mutual_neighbours(x: Real[Array, "n p"], y: Real[Array, "n q"], *, k: int = 10) -> float:
    r"""The share of an example's k nearest neighbours that two representations agree on, averaged.

    .. math:: s = \frac{1}{nk} \sum_{i \ne j} \min(a_{ij}, b_{ij}),

    with :math:`a_{ij}` the membership of j in the k nearest (Euclidean) of i in x, and b in y: 1 or 0 but for
    ties at the k-th distance.

    Parameters
    ----------
    x : (n, p) array, NumPy or torch
        One row per example; any real dtype, computed in float64.
    y : (n, q) array
        The same examples in the same order; the widths may differ.
    k : int
        Neighbours, from 1 to n - 2.

    Returns
    -------
    float
        In [0, 1]. 1: the same neighbourhoods. Chance is k/(n - 1), see `neighbour_chance`, also where all
        examples of one side are equally far apart.

    Raises
    ------
    AkpError
        For an array that is not (examples, features), not finite, constant, or of another number of
        examples; for a k outside 1 to n - 2.

    Notes
    -----
    Invariances: rotation and reflection of the features, translation, isotropic scaling, one permutation of
    the examples of both. *Not* scaling of single features, nor a general linear map.

    Two distances from one example count as tied where rounding to the dtype that came could have made the
    difference, in these very examples: repeated examples stay tied, and an outlier ties no others.

    Distance: :math:`\sqrt{2 - 2s}` is Euclidean. Without ties s is the cosine of two 0/1 vectors with nk
    ones; with ties :math:`\min(a, b) = \int 1_{t<a} 1_{t<b}\,dt` is still an inner product, and
    :math:`\sum \min(a, a) = nk`.

    Cost: :math:`2n^2(p + q)` operations, a few times :math:`n^2` numbers.

    References
    ----------
    Huh et al. 2024, sec. 2 and app. A (mutual k-nearest-neighbour alignment, there with inner products).
    """
    first, second = read_members([x, y], "neighbours", LEAST_EXAMPLES, ("x", "y"))
    n = first.centred.shape[0]
    k = _check_k(k, n)
    shared = torch.minimum(_memberships(first, x, k), _memberships(second, y, k)).sum()
    return min(1.0, float(shared) / (n * k))


def mutual_neighbours_matrix(
    representations: Sequence[A] | Real[A, "M n p"], *, k: int = 10
) -> Float64[A, "M M"]:
    r"""The mutual neighbours of every pair of M representations of the same examples.

    Parameters
    ----------
    representations : sequence of (n, p_i) arrays, or one (M, n, p) array
        NumPy or torch; the widths may differ.
    k : int
        Neighbours, from 1 to n - 2.

    Returns
    -------
    (M, M) float64 array of the kind that came
        Exactly symmetric, exactly 1 on the diagonal, in [0, 1].

    Raises
    ------
    AkpError
        As `mutual_neighbours`, naming the index of the representation at fault.

    Notes
    -----
    Invariances: those of `mutual_neighbours`. Cost: :math:`2n^2\sum p_i + M^2n^2` operations; each
    member's memberships are found once and held sparse, about nk entries; examples with ties are compared
    pair by pair.
    """
    members = as_members(representations)
    read = read_members(members, "neighbours", LEAST_EXAMPLES)
    n, device = read[0].centred.shape[0], read[0].centred.device
    k = _check_k(k, n)
    held = []
    tied = torch.zeros(n, dtype=torch.bool, device=device)
    for features, raw in zip(read, members, strict=True):
        membership = _memberships(features, raw, k)
        tied |= ((membership > 0) & (membership < 1)).any(dim=1)
        rows, columns = torch.nonzero(membership, as_tuple=True)
        held.append((rows, columns, membership[rows, columns]))
    shared = torch.zeros(len(members), len(members), dtype=torch.float64, device=device)
    step = max(1, _STACK // (n * len(members)))
    for start in range(0, n, step):
        stop = min(n, start + step)
        stack = torch.zeros(len(members), stop - start, n, dtype=torch.float64, device=device)
        for slab, (rows, columns, values) in zip(stack, held, strict=True):
            ends = torch.searchsorted(rows, torch.tensor([start, stop], device=device)).tolist()
            entries = slice(*ends)
            slab[rows[entries] - start, columns[entries]] = values[entries]
        fuzzy = tied[start:stop]
        crisp = stack[:, ~fuzzy].flatten(1).to(torch.float32)  # counts of ones: exact below 2^24
        shared += (crisp @ crisp.T).to(torch.float64)
        vague = stack[:, fuzzy].flatten(1)
        for index in range(len(members) if vague.shape[1] else 0):
            shared[index, index:] += torch.minimum(vague[index], vague[index:]).sum(dim=1)
    return like(symmetric(shared / (n * k), 0), members[0])
