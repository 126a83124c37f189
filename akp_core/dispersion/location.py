"""The test of location: do families sit in different places (PERMANOVA)?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Shaped

from akp_core.dispersion.geometry import (
    Array,
    as_numpy,
    check_resampling,
    family_codes,
    smallest_p,
    squared_distances,
)
from akp_core.errors import expected

_BATCH_ENTRIES = 1_000_000


@dataclass(frozen=True)
class LocationTest:
    """What the test found.

    Attributes
    ----------
    pseudo_f : float
        Between-family over within-family mean square; about 1 without a difference, infinite where every
        family consists of identical models and the families differ, 0 where all models are identical.
    r_squared : float
        Share of the total sum of squares that lies between families: in [0, 1] for Euclidean distances.
        Others can give a negative share, and then a negative pseudo_f.
    omega_squared : float
        The same share with its bias removed, about 0 without a difference and 1 at most,
        :math:`(k-1)(F-1) / ((k-1)(F-1) + M)`: what the share would be in the population.
    p_value : float
        One-sided (large F), by permutation of models.
    members : int
        How many models were used.
    excluded : int
        How many had no representation.
    smallest_p : float
        The least p that this many models and permutations can give. Where that is not below a level, no
        verdict is possible there: add models.
    unmatched : int
        How many usable models were left out of a paired test because their block lacked a family.
    """

    pseudo_f: float
    r_squared: float
    p_value: float
    members: int
    excluded: int
    omega_squared: float
    smallest_p: float
    unmatched: int


def _within(
    squared: Float64[np.ndarray, "M M"], codes: Int64[np.ndarray, "P M"], families: int
) -> Float64[np.ndarray, " P"]:
    """Sum of squares within families for many assignments of models to families at once."""
    total = np.zeros(len(codes))
    for family in range(families):
        member = (codes == family).astype(np.float64)
        total += np.einsum("pm,pm->p", member @ squared, member) / (2 * member.sum(axis=1))
    return total


def _shuffled(
    codes: Int64[np.ndarray, " M"], blocks: Int64[np.ndarray, " M"], draws: int, rng: np.random.Generator
) -> Int64[np.ndarray, "P M"]:
    """Assignments permuted within blocks: sorting random keys inside each block shuffles it."""
    order = np.argsort(rng.random((draws, len(codes))) + blocks, axis=1)
    slots = np.argsort(blocks, kind="stable")
    shuffled = np.empty((draws, len(codes)), dtype=np.int64)
    shuffled[:, slots] = codes[order]
    return shuffled


def _counts(
    codes: Int64[np.ndarray, " M"], blocks: Int64[np.ndarray, " M"], families: int
) -> Int64[np.ndarray, "b k"]:
    """Models of each family in each block."""
    counts = np.bincount(blocks * families + codes, minlength=families * (1 + int(blocks.max(initial=-1))))
    return counts.reshape(-1, families)


def _complete_blocks(
    paired: Int[Array, " M"], codes: Int64[np.ndarray, " M"], usable: Bool[np.ndarray, " M"], families: int
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]:
    """Positions of the usable models in blocks with every family, and the blocks' numbers."""
    pairs = as_numpy(paired)
    if pairs.shape != usable.shape or pairs.dtype.kind not in "iu":
        raise expected(
            f"one pair number for each of the {len(usable)} models in paired",
            f"{pairs.dtype} of shape {pairs.shape}",
        )
    _, blocks = np.unique(pairs[usable], return_inverse=True)
    counts = _counts(codes[usable], blocks, families)
    complete = np.isin(blocks, np.flatnonzero((counts > 0).all(axis=1)))
    if not complete.any():
        raise expected(f"pairs that join models of different families, all {families}", "none that does")
    return np.flatnonzero(usable)[complete], np.unique(blocks[complete], return_inverse=True)[1]


def location_test(
    distances: Float[Array, "M M"],
    families: Shaped[Array, " M"],
    *,
    paired: Int[Array, " M"] | None = None,
    permutations: int = 9999,
    rng: np.random.Generator,
) -> LocationTest:
    r"""Test whether the centroids of families differ (PERMANOVA).

    .. math:: F = \frac{(S_T - S_W)/(k-1)}{S_W/(M-k)}, \qquad
              S_W = \sum_g \frac{1}{n_g} \sum_{i<j \in g} d_{ij}^2

    Parameters
    ----------
    distances : (M, M) array, NumPy or torch
        Distances between models: symmetric, 0 or more, Euclidean or not; NaN rows and columns mark models
        without a representation, which are left out and counted.
    families : (M,) array
        A label for each model.
    paired : (M,) integer array, optional
        Block of each model; models are permuted only inside their block (a stressed model and its twin).
        A block without a usable model of every family is dropped and its models counted, as its
        place would count towards the difference of the families.
    permutations : int
        Number of random permutations.
    rng : numpy.random.Generator
        Draws them.

    Returns
    -------
    LocationTest

    Raises
    ------
    AkpError
        If the matrix is not one of distances; fewer than 2 families, a family with fewer than 2 usable
        models, no block with a model of every family, or an argument out of range.

    Notes
    -----
    A difference of dispersion alone can also make F large when family sizes differ (Anderson and Walsh
    2013), so read it beside `anna_karenina_test`.

    The sums of squares are half mean squared distances, so they need no centroid and no Euclidean distance;
    for Euclidean ones they are the sums of squared distances to the centroids.

    Invariances: scale of the distances. Cost: :math:`kM^2` operations per permutation, as matrix products.

    References
    ----------
    Anderson 2001 (PERMANOVA); Kelley 1935 and Hays 1963 (omega squared).
    """
    permutations = check_resampling(permutations, rng)
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(usable))
    if len(names) < 2:
        raise expected("at least 2 families", str(len(names)))
    kept, blocks, unmatched = np.flatnonzero(usable), np.zeros(int(usable.sum()), dtype=np.int64), 0
    if paired is not None:
        kept, blocks = _complete_blocks(paired, codes, usable, len(names))
        unmatched = int(usable.sum()) - len(kept)
    squared, codes = squared[np.ix_(kept, kept)], codes[kept]
    sizes = np.bincount(codes, minlength=len(names))
    if sizes.min() < 2:
        lost = f" ({unmatched} left out: no twin)" if unmatched else ""
        raise expected(
            f"at least 2 models with a representation in family {names[int(sizes.argmin())]!r}",
            f"{sizes.min()}{lost}",
            "add members",
        )
    members, k = len(codes), len(names)
    total = float(squared.sum()) / (2 * members)
    within = float(_within(squared, codes[None], k)[0])
    batch = max(1, _BATCH_ENTRIES // members)
    as_small = 0
    for start in range(0, permutations, batch):
        draws = _shuffled(codes, blocks, min(batch, permutations - start), rng)
        as_small += int((_within(squared, draws, k) <= within + 1e-12 * total).sum())
    between = total - within
    if abs(between) <= 1e-12 * total:
        between = max(between, 0.0)
    if total == 0:
        pseudo_f, omega_squared = 0.0, 0.0
    elif within <= 1e-15 * total:
        pseudo_f, omega_squared = float("inf"), 1.0
    else:
        pseudo_f = (between / (k - 1)) / (within / (members - k))
        unbiased = (k - 1) * (pseudo_f - 1)
        omega_squared = unbiased / (unbiased + members)
    return LocationTest(
        pseudo_f=pseudo_f,
        r_squared=between / total if total else 0.0,
        p_value=(1 + as_small) / (1 + permutations),
        members=members,
        excluded=int((~usable).sum()),
        omega_squared=omega_squared,
        smallest_p=smallest_p(_counts(codes, blocks, k), permutations),
        unmatched=unmatched,
    )
