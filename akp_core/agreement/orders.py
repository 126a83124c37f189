"""Do networks learn the same images in the same order? Rank correlations of learning times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from akp_core.agreement.cube import as_parts
from akp_core.agreement.intervals import image_weights, network_weights
from akp_core.agreement.ranks import Orders, across, correlations, kendall
from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity.arrays import Array

COEFFICIENTS = ("spearman", "kendall")


@dataclass(frozen=True, eq=False)
class OrderAgreement:
    """How alike the orders of networks are.

    Attributes
    ----------
    value : float
        Mean rank correlation of two networks, in [-1, 1].
    low, high : float
        Its interval over networks and images.
    p_value : float
        That images exchanged within each network (and class) would be as alike.
    networks : int
        Networks whose order is known: those that learnt all images at one look, or none, have no order.
    constant : int
        How many have none; they are left out.
    pairs : (m, m) float array
        Correlation of every two networks; NaN where there is none.
    """

    value: float
    low: float
    high: float
    p_value: float
    networks: int
    constant: int
    pairs: Float64[np.ndarray, "m m"]


@dataclass(frozen=True, eq=False)
class OrdersBetween:
    """How alike the orders of two populations are, beside how alike they are within each.

    Attributes
    ----------
    across, first, second : float
        Mean rank correlation of a network of one with one of the other, and of two networks within each.
    value : float
        ``across / sqrt(first * second)``: 1 if the populations share one order and differ only as two
        networks of one population do. NaN unless both orders are reproducible.
    low, high : float
        Its interval over networks and images; NaN where the value is, or where more than a share `level` of
        the draws find no order in common within one of the two.
    p_value : float
        That images exchanged within each network (and class) would be as alike across.
    networks : int
        Networks with an order, of both.
    """

    across: float
    first: float
    second: float
    value: float
    low: float
    high: float
    p_value: float
    networks: int


def order_agreement(
    times: Float[np.ndarray, "m n"],
    *,
    classes: Array | None = None,
    groups: Array | None = None,
    how: str = "spearman",
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 999,
    rng: np.random.Generator,
) -> OrderAgreement:
    """Mean rank correlation of the learning times of two networks, with interval and null.

    Parameters
    ----------
    times : (m, n) float array
        Learning time of each image in each network; inf for never (all such tie, as the last).
    classes : (n,) int array or None
        Images are ranked within their class, so that one class learnt before another is no agreement about
        images. None: among all.
    groups : (n,) int array or None
        What images come from: drawn together.
    how : {"spearman", "kendall"}
        Ties get their mean rank (Spearman), or count in neither order (Kendall's tau-b).
    level : float
        The interval holds with confidence 1 - level.
    draws, permutations : int
        Of networks and images; of images within each network.
    rng : numpy.random.Generator

    Returns
    -------
    OrderAgreement

    Raises
    ------
    AkpError
        For fewer than two networks with an order, fewer than two images, NaN, or an unknown coefficient.

    Notes
    -----
    Invariances: order of networks and of images; any rising change of the times. Cost: m n a draw for
    Spearman, (m n)^2 for Kendall.
    """
    times, parts, belongs = _read(times, classes, groups)
    check(how, level, draws, permutations, rng)
    pairs = _pairs(times, parts, how)
    known = ~np.isnan(pairs.diagonal())
    if known.sum() < 2:
        raise AkpError(
            f"expected at least two networks that order the images, got {known.sum()}: the others learnt all "
            "at the same look, or none"
        )
    kept = times[known]
    orders, m = Orders(kept, parts), len(kept)
    networks, images = network_weights(m, draws, rng), image_weights(belongs, draws, rng)
    drawn = np.array(
        [
            _mean_pair(kendall(kept, parts, v) if how == "kendall" else correlations(orders.ranks(v), v), w)
            for w, v in zip(networks, images, strict=True)
        ]
    )
    low, high = expanded_ends(drawn[:, None], m, level, within=(-1, 1))
    units = _units(orders.ranks())
    # The null of both coefficients is drawn with Spearman: exchange makes them rise and fall together.
    by_rank = (_squared(units) - m) / (m * (m - 1))
    null = [(_squared(_shuffled(units, parts, rng)) - m) / (m * (m - 1)) for _ in range(permutations)]
    p_value = (1 + int((np.array(null) >= by_rank - 1e-12).sum())) / (1 + permutations)
    value = _mean_pair(pairs[np.ix_(known, known)], np.ones(m))
    return OrderAgreement(value, float(low[0]), float(high[0]), p_value, m, int((~known).sum()), pairs)


def has_order(times: Float[np.ndarray, "m n"], *, classes: Array | None = None) -> Bool[np.ndarray, " m"]:
    """Which networks order the images at all: not those that learnt all at one look, or none.

    Parameters
    ----------
    times, classes
        As for `order_agreement`.

    Returns
    -------
    (m,) bool array
    """
    given, parts, _ = _read(times, classes, None)
    return np.asarray(Orders(given, parts).ranks().any(axis=1))


def orders_between(
    first: Float[np.ndarray, "a n"],
    second: Float[np.ndarray, "b n"],
    *,
    twins: bool = False,
    classes: Array | None = None,
    groups: Array | None = None,
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 999,
    rng: np.random.Generator,
) -> OrdersBetween:
    r"""Ask whether two populations learn the same images in the same order.

    .. math:: \rho^* = \frac{\bar\rho_{AB}}{\sqrt{\bar\rho_{AA}\,\bar\rho_{BB}}}

    with :math:`\bar\rho` the mean Spearman correlations of two different networks. Two networks of one
    population do not agree fully either; the denominator takes that out.

    Parameters
    ----------
    first, second : (a, n) and (b, n) float arrays
        Learning times of the same images.
    twins : bool
        Row i of both started from the same weights and batches: such pairs are left out of the comparison
        across, and are drawn together.
    classes, groups, level, draws, permutations, rng
        As for `order_agreement`.

    Returns
    -------
    OrdersBetween

    Raises
    ------
    AkpError
        For other images, twins that are not as many, or fewer than two networks with an order in either.

    Notes
    -----
    Cost: (a + b) n a draw.

    References
    ----------
    Spearman 1904, the correction for attenuation.
    """
    a, parts, belongs = _read(first, classes, groups)
    b, _, _ = _read(second, classes, groups)
    check("spearman", level, draws, permutations, rng)
    if a.shape[1] != b.shape[1]:
        raise expected("learning times of the same images in both", f"{a.shape[1]} and {b.shape[1]} images")
    if twins and len(a) != len(b):
        raise expected("as many networks in both, as they are twins", f"{len(a)} and {len(b)}")
    known = [~np.isnan(_pairs(x, parts, "spearman").diagonal()) for x in (a, b)]
    if twins:
        known = [known[0] & known[1]] * 2
    if min(k.sum() for k in known) < 2:
        raise AkpError("expected at least two networks that order the images in either, got fewer")
    a, b = a[known[0]], b[known[1]]
    orders = [Orders(x, parts) for x in (a, b)]
    apart = ~np.eye(len(a), dtype=bool) if twins else np.ones((len(a), len(b)), bool)

    def means(v: np.ndarray | None, wa: np.ndarray, wb: np.ndarray) -> tuple[float, float, float]:
        ra, rb = (order.ranks(v) for order in orders)
        weight = np.outer(wa, wb) * apart
        mixed = (np.nan_to_num(across(ra, rb, v)) * weight).sum() / weight.sum()
        return float(mixed), _mean_pair(correlations(ra, v), wa), _mean_pair(correlations(rb, v), wb)

    whole = means(None, np.ones(len(a)), np.ones(len(b)))
    wa = network_weights(len(a), draws, rng)
    wb = wa if twins else network_weights(len(b), draws, rng)
    images = image_weights(belongs, draws, rng)
    drawn = np.array([_disattenuated(*means(*one)) for one in zip(images, wa, wb, strict=True)])
    value = _disattenuated(*whole)
    low, high = (float(end[0]) for end in expanded_ends(drawn[:, None], min(len(a), len(b)), level))
    if np.isnan(value) or np.isnan(drawn).mean() > level:
        low = high = float("nan")
    ua, ub = (_units(order.ranks()) for order in orders)
    null = np.array(
        [
            _mean_across(_shuffled(ua, parts, rng), _shuffled(ub, parts, rng), apart)
            for _ in range(permutations)
        ]
    )
    p_value = (1 + int((null >= whole[0] - 1e-12).sum())) / (1 + permutations)
    return OrdersBetween(*whole, value, low, high, p_value, len(a) + len(b))


def check(how: str, level: float, draws: int, permutations: int, rng: np.random.Generator) -> None:
    """Refuse what no correlation of orders can be estimated with."""
    if how not in COEFFICIENTS:
        raise unknown_name("rank correlation", how, COEFFICIENTS)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("a level between 0 and 1", repr(level))
    whole_number("draws", draws, 99)
    whole_number("permutations", permutations, 19)
    if not isinstance(rng, np.random.Generator):
        raise expected("rng as a numpy.random.Generator", type(rng).__name__)


def _read(
    times: object, classes: Array | None, groups: Array | None
) -> tuple[Float64[np.ndarray, "m n"], Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    given = np.asarray(times)
    if given.ndim != 2 or given.dtype.kind not in "iuf" or given.shape[0] < 1 or given.shape[1] < 2:
        raise expected(
            "learning times of shape (networks, images), of two images or more",
            f"{given.dtype} of shape {given.shape}",
        )
    n = given.shape[1]
    belongs = np.arange(n) if groups is None else as_parts(groups, n, "groups")
    return given.astype(np.float64), as_parts(classes, n, "classes"), belongs


def _pairs(times: np.ndarray, parts: np.ndarray, how: str) -> np.ndarray:
    return kendall(times, parts) if how == "kendall" else correlations(Orders(times, parts).ranks())


def _mean_pair(pairs: np.ndarray, weights: np.ndarray) -> float:
    """Mean over pairs of different networks; a network without an order in this draw agrees with nobody."""
    weight = np.outer(weights, weights)
    np.fill_diagonal(weight, 0)
    return float((np.nan_to_num(pairs) * weight).sum() / weight.sum())


def _disattenuated(mixed: float, first: float, second: float) -> float:
    return mixed / float(np.sqrt(first * second)) if min(first, second) > 0 else float("nan")


def _units(ranks: np.ndarray) -> np.ndarray:
    return ranks / np.linalg.norm(ranks, axis=1, keepdims=True)


def _shuffled(units: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exchange the images of each class, in each network by itself."""
    out = units.copy()
    for part in range(int(parts.max()) + 1):
        at = np.flatnonzero(parts == part)
        out[:, at] = rng.permuted(units[:, at], axis=1)
    return out


def _squared(units: np.ndarray) -> float:
    return float((units.sum(axis=0) ** 2).sum())


def _mean_across(a: np.ndarray, b: np.ndarray, apart: np.ndarray) -> float:
    return float((a @ b.T)[apart].mean())
