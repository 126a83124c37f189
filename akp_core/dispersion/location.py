"""The test of location: do families sit in different places (PERMANOVA)?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64, Shaped

from akp_core.dispersion.geometry import Array, as_numpy, check_resampling, family_codes, squared_distances
from akp_core.errors import expected

_BATCH_ENTRIES = 4_000_000


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
    """

    pseudo_f: float
    r_squared: float
    p_value: float
    members: int
    excluded: int
    omega_squared: float


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
        models, blocks in which there is nothing to permute, or an argument out of range.

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
    check_resampling(permutations, rng)
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(usable))
    if len(names) < 2:
        raise expected("at least 2 families", str(len(names)))
    squared, codes = squared[np.ix_(usable, usable)], codes[usable]
    sizes = np.bincount(codes, minlength=len(names))
    if sizes.min() < 2:
        raise expected(
            f"at least 2 models with a representation in family {names[int(sizes.argmin())]!r}",
            str(int(sizes.min())),
            "add members",
        )
    blocks = np.zeros(len(codes), dtype=np.int64)
    if paired is not None:
        pairs = as_numpy(paired)
        if pairs.shape != usable.shape or pairs.dtype.kind not in "iu":
            raise expected(
                f"one pair number for each of the {len(usable)} models in paired",
                f"{pairs.dtype} of shape {pairs.shape}",
            )
        _, blocks = np.unique(pairs[usable], return_inverse=True)
        if all(len(np.unique(codes[blocks == block])) == 1 for block in np.unique(blocks)):
            raise expected("pairs that join models of different families", "none that does")
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
    )
