"""True-positive agreement: of the images that anybody has right, the share that everybody has right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from akp_core.agreement.cube import as_cube, as_parts, check_size
from akp_core.agreement.subsets import mean_extremes, mean_product
from akp_core.errors import expected, whole_number
from akp_core.similarity.arrays import Array


@dataclass(frozen=True, eq=False)
class Agreement:
    """Agreement of groups of K networks at every look, beside what accuracy alone allows and gives.

    Attributes
    ----------
    size : int
        K: how many networks must agree.
    networks : int
        m: from how many they are taken.
    value : (t,) float array
        TPa, in [0, 1]; 0 where nobody has anything right.
    all_right, any_right : (t,) float array
        Shares of the images: numerator and denominator of TPa.
    lower, upper : (t,) float array
        What TPa must be at least and can be at most with these accuracies.
    chance : (t,) float array
        TPa of networks as accurate (in each class, if classes are given) that err independently.
    corrected : (t,) float array
        (value - chance) / (1 - chance): 0 chance, 1 everybody has the same images right. NaN where chance
        is 1: all networks have all images right and nothing is left to agree on.
    """

    size: int
    networks: int
    value: Float64[np.ndarray, " t"]
    all_right: Float64[np.ndarray, " t"]
    any_right: Float64[np.ndarray, " t"]
    lower: Float64[np.ndarray, " t"]
    upper: Float64[np.ndarray, " t"]
    chance: Float64[np.ndarray, " t"]
    corrected: Float64[np.ndarray, " t"]


def true_positive_agreement(
    correct: Array, *, size: int | None = None, classes: Array | None = None
) -> Agreement:
    r"""Measure how far networks have the same images right, at every look.

    .. math:: \mathrm{TPa} = \frac{\sum_x \prod_k c_k(x)}{\sum_x \max_k c_k(x)}, \qquad
              \max\Bigl(0, 1 - \sum_k (1 - a_k)\Bigr) \le \mathrm{TPa} \le \frac{\min_k a_k}{\max_k a_k},
              \qquad
              \text{chance} = \frac{\prod_k a_k}{1 - \prod_k (1 - a_k)}

    for K networks of accuracies :math:`a_k`. Of more than K networks, numerator and denominator (and those
    of both bounds and of chance) are averaged over all groups of K. With classes, upper bound and chance sum
    over classes, with each network's accuracy in each: a class that all networks favour makes them agree
    without agreeing about images.

    Parameters
    ----------
    correct : (m, t, n) bool array
        The correctness cube.
    size : int or None
        K, from 2 to m; None takes all m. TPa falls as K rises, so compare populations at one K.
    classes : (n,) int array or None
        Class of each image.

    Returns
    -------
    Agreement

    Raises
    ------
    AkpError
        For a cube that is none, fewer than two networks, a size out of range or classes that do not fit.

    Notes
    -----
    Where nobody is right of anything TPa is 0 / 0; it is set to 0, as the published code does.
    Images that all networks have wrong count nowhere, though they err alike.

    Invariances: order of networks and of images. Non-increasing in K. Cost: m t n.

    References
    ----------
    Pliushch et al. 2022, section 3 (TPa and its lower bound); Hacohen et al. 2020. Groups of K, chance, upper
    bound and correction are ours; the correction is that of Cohen's kappa.
    """
    cube = as_cube(correct)
    size, parts = check_size(size, len(cube)), as_parts(classes, cube.shape[2], "classes")
    all_right, any_right = (share.mean(axis=1) for share in shares(cube, size))
    errors = 1 - cube.mean(axis=2)
    accuracies, counts = by_class(cube, parts)
    low, high = (_summed(part, counts) for part in mean_extremes(accuracies, size))
    both = _summed(mean_product(accuracies, size), counts)
    some = 1 - _summed(mean_product(1 - accuracies, size), counts)
    value, chance = ratio(all_right, any_right), ratio(both, some)
    return Agreement(
        size,
        len(cube),
        value,
        all_right,
        any_right,
        np.maximum(0, 1 - size * errors.mean(axis=0)),
        ratio(low, high),
        chance,
        corrected(value, chance),
    )


def shares(
    cube: Bool[np.ndarray, "m t n"], size: int
) -> tuple[Float64[np.ndarray, "t n"], Float64[np.ndarray, "t n"]]:
    """Share of the groups of K networks that are all right of each image, and of those where one is."""
    all_of, any_of = tables(len(cube), size)
    count = cube.sum(axis=0)
    return all_of[count], any_of[count]


def tables(members: int, size: int) -> tuple[Float64[np.ndarray, " m1"], Float64[np.ndarray, " m1"]]:
    """The same for an image that 0, 1, ..., m networks have right."""
    from scipy.special import comb

    right = np.arange(members + 1)
    whole = comb(members, size)
    return comb(right, size) / whole, 1 - comb(members - right, size) / whole


def by_class(
    cube: Bool[np.ndarray, "m t n"], parts: Int64[np.ndarray, " n"]
) -> tuple[Float64[np.ndarray, "m t c"], Float64[np.ndarray, " c"]]:
    """Accuracy of each network in each class, and the share of each class."""
    counts = np.bincount(parts).astype(float)
    accuracies = np.stack([cube[:, :, parts == c].mean(axis=2) for c in range(len(counts))], axis=2)
    return accuracies, counts / counts.sum()


def ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """Divide; 0 / 0 is 0."""
    over, under = np.broadcast_arrays(over, under)
    return np.divide(over, under, out=np.zeros(over.shape), where=under > 0)


def corrected(value: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """Agreement beyond chance, as a share of what is possible beyond it; NaN where nothing is."""
    value, room = np.broadcast_arrays(value, 1 - chance)
    return np.divide(value - chance, room, out=np.full(room.shape, np.nan), where=room > 1e-12)


def _summed(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return (values * counts).sum(axis=-1)


@dataclass(frozen=True, eq=False)
class Null:
    """Agreement with images exchanged within each network.

    Attributes
    ----------
    mean, low, high : (t,) float array
        Mean and quantiles of TPa under exchange.
    p_value : (t,) float array
        Share of exchanges that agree at least as much, the observed one counted among them; in (0, 1].
    permutations : int
    """

    mean: Float64[np.ndarray, " t"]
    low: Float64[np.ndarray, " t"]
    high: Float64[np.ndarray, " t"]
    p_value: Float64[np.ndarray, " t"]
    permutations: int


def permutation_null(
    correct: Array,
    *,
    size: int | None = None,
    classes: Array | None = None,
    permutations: int = 999,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Null:
    """Draw agreement under the null that networks err independently of one another.

    Each network keeps how many images it has right at every look (in each class, if classes are given); which
    ones is exchanged, one order a network for all looks.

    Parameters
    ----------
    correct, size, classes
        As for `true_positive_agreement`.
    permutations : int
        At least 19.
    level : float
        ``low`` and ``high`` leave out half of it at either side.
    rng : numpy.random.Generator

    Returns
    -------
    Null

    Raises
    ------
    AkpError
        As `true_positive_agreement`; for a level outside (0, 1).

    Notes
    -----
    Its expected numerator and denominator are exactly those of `Agreement.chance`. Images of one patient are
    not independent: give one image a patient, or read the p-value as too small. Cost: m t n a permutation.
    """
    cube = as_cube(correct)
    size, parts = check_size(size, len(cube)), as_parts(classes, cube.shape[2], "classes")
    permutations = whole_number("permutations", permutations, 19)
    if not 0 < level < 1:
        raise expected("a level between 0 and 1", repr(level))
    if not isinstance(rng, np.random.Generator):
        raise expected("rng as a numpy.random.Generator", type(rng).__name__)
    all_of, any_of = tables(len(cube), size)
    order = np.argsort(parts, kind="stable")
    cube, ends = cube[:, :, order], np.cumsum(np.bincount(parts))[:-1]
    looked = np.ascontiguousarray(cube.transpose(0, 2, 1))
    drawn = np.empty((permutations + 1, cube.shape[1]))
    for draw in range(permutations + 1):
        count = np.zeros(looked.shape[1:], np.int64)
        for network in looked:
            count += network[_exchanged(cube.shape[2], ends, rng)] if draw else network
        drawn[draw] = ratio(all_of[count].mean(axis=0), any_of[count].mean(axis=0))
    as_much = (drawn[1:] >= drawn[0] - 1e-12).sum(axis=0)
    low, high = np.quantile(drawn[1:], [level / 2, 1 - level / 2], axis=0)
    return Null(drawn[1:].mean(axis=0), low, high, (1 + as_much) / (1 + permutations), permutations)


def _exchanged(images: int, ends: Int64[np.ndarray, " c"], rng: np.random.Generator) -> np.ndarray:
    """An order of the images that leaves each class, a stretch of them, in its place."""
    return np.concatenate([rng.permutation(part) for part in np.split(np.arange(images), ends)])
