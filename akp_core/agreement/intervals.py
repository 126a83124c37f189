"""Intervals of agreement over networks and images: both count as drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from akp_core.agreement.cube import as_cube, as_parts, check_size
from akp_core.agreement.subsets import mean_product, symmetric
from akp_core.agreement.true_positive import corrected, ratio, true_positive_agreement
from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import expected, whole_number
from akp_core.similarity.arrays import Array


@dataclass(frozen=True, eq=False)
class Drawn:
    """Bootstrap draws of agreement.

    Attributes
    ----------
    value, corrected : (r, t) float array
        TPa, and TPa beyond chance, of each draw; as in `akp_core.agreement.Agreement`.
    """

    value: Float64[np.ndarray, "r t"]
    corrected: Float64[np.ndarray, "r t"]


@dataclass(frozen=True, eq=False)
class Interval:
    """Ends of intervals at every look; NaN where the estimate is."""

    low: Float64[np.ndarray, " t"]
    high: Float64[np.ndarray, " t"]


def network_weights(networks: int, draws: int, rng: np.random.Generator) -> Float64[np.ndarray, "r m"]:
    """Weights of the Bayesian bootstrap over networks (Rubin 1981), of mean 1.

    Whole counts would leave draws with fewer than K different networks, of which no group of K can be made;
    these weights are never 0.
    """
    if not isinstance(rng, np.random.Generator):
        raise expected("rng as a numpy.random.Generator", type(rng).__name__)
    return networks * rng.dirichlet(np.ones(networks), size=whole_number("draws", draws, 99))


def image_weights(
    groups: Int64[np.ndarray, " n"], draws: int, rng: np.random.Generator
) -> Float64[np.ndarray, "r n"]:
    """How often each image is drawn, when its group (patient) is drawn with replacement."""
    count = int(groups.max()) + 1
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)[:, groups].astype(float)


def redrawn(
    cube: Bool[np.ndarray, "m t n"],
    networks: Float64[np.ndarray, "r m"],
    images: Float64[np.ndarray, "r n"],
    size: int,
    parts: Int64[np.ndarray, " n"],
) -> Drawn:
    """Agreement under each draw of weights; two cubes of the same images may share theirs.

    Notes
    -----
    Cost: t n operations a draw, and m K for each pattern of right and wrong that occurs.
    """
    members, looks, count = cube.shape
    patterns, where = np.unique(cube.reshape(members, -1), axis=1, return_inverse=True)
    where, patterns = where.reshape(looks, count), patterns[:, None].astype(float)
    weights = networks.T[:, :, None]
    over, under = np.empty((2, len(images), looks))
    block = max(1, 4_000_000 // patterns.size)
    for start in range(0, len(images), block):
        some_of = weights[:, start : start + block]
        all_of = mean_product(patterns, size, some_of)
        none_of = mean_product(1 - patterns, size, some_of)
        for row, v in enumerate(images[start : start + block]):
            over[start + row] = all_of[row][where] @ v
            under[start + row] = (1 - none_of[row])[where] @ v
    both, some = np.zeros((2, len(images), looks))
    flat = cube.reshape(-1, count).astype(float)
    for part in range(int(parts.max()) + 1):
        inside = images * (parts == part)
        weight = inside.sum(axis=1)
        right = (flat @ inside.T).reshape(members, looks, -1).transpose(0, 2, 1)
        shares = ratio(right, weight[None, :, None])
        whole = symmetric(weights, size)
        both += weight[:, None] * symmetric(weights * shares, size) / whole
        some += weight[:, None] * (1 - symmetric(weights * (1 - shares), size) / whole)
    value = ratio(over, under)
    return Drawn(value, corrected(value, ratio(both, some)))


def agreement_intervals(
    correct: Array,
    *,
    size: int | None = None,
    classes: Array | None = None,
    groups: Array | None = None,
    level: float = 0.05,
    draws: int = 499,
    rng: np.random.Generator,
) -> tuple[Interval, Interval]:
    """Intervals of TPa and of TPa beyond chance, at every look.

    Parameters
    ----------
    correct, size, classes
        As for `akp_core.agreement.true_positive_agreement`.
    groups : (n,) int array or None
        What images come from, such as patients: drawn together. None: each image by itself.
    level : float
        The intervals hold with confidence 1 - level.
    draws : int
        At least 99.
    rng : numpy.random.Generator

    Returns
    -------
    value, corrected : Interval

    Raises
    ------
    AkpError
        As `akp_core.agreement.true_positive_agreement`; for groups that do not fit, a level out of range or
        too few draws.

    Notes
    -----
    Percentiles, widened for few networks (`akp_core.dispersion.expanded.expanded_tail`). Of exactly K
    networks there is one group only, so their own luck does not show: give more networks than K.
    """
    cube = as_cube(correct)
    size, parts = check_size(size, len(cube)), as_parts(classes, cube.shape[2], "classes")
    belongs = np.arange(cube.shape[2]) if groups is None else as_parts(groups, cube.shape[2], "groups")
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("a level between 0 and 1", repr(level))
    weights = network_weights(len(cube), draws, rng)
    drawn = redrawn(cube, weights, image_weights(belongs, draws, rng), size, parts)
    known = np.isfinite(true_positive_agreement(cube, size=size, classes=parts).corrected)
    ends = expanded_ends(drawn.corrected, len(cube), level, within=(-np.inf, 1))
    return (
        Interval(*expanded_ends(drawn.value, len(cube), level, within=(0, 1))),
        Interval(*(np.where(known, end, np.nan) for end in ends)),
    )
