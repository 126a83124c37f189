"""Does the order in which images are learnt follow what can be read off them?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from akp_core.agreement.cube import as_parts
from akp_core.agreement.intervals import image_weights, network_weights
from akp_core.agreement.orders import check
from akp_core.agreement.ranks import Orders, across
from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, expected
from akp_core.similarity.arrays import Array


@dataclass(frozen=True)
class Follows:
    """How far the order of learning follows one statistic.

    Attributes
    ----------
    statistic : str
    overall : float
        Spearman correlation of the statistic with the learning time of a network, over all images, averaged
        over networks; NaN if the statistic is the same for all.
    value, low, high : float
        The same within classes, with its interval over networks and images. Above 0: images with much of it
        are learnt late.
    of_mean : float
        Within classes, with the mean over networks of the learning ranks: less noise, so farther from 0.
    p_value : float
        That images exchanged within their class would correlate as much, in either direction.
    corrected : float
        The same of the largest correlation among all statistics (Westfall and Young): holds for all at once.
    """

    statistic: str
    overall: float
    value: float
    low: float
    high: float
    of_mean: float
    p_value: float
    corrected: float


def follows(
    times: Float[np.ndarray, "m n"],
    statistics: Mapping[str, Array],
    *,
    classes: Array | None = None,
    groups: Array | None = None,
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 999,
    rng: np.random.Generator,
) -> list[Follows]:
    """Correlate the order in which images are learnt with statistics of the images.

    Parameters
    ----------
    times : (m, n) float array
        Learning time of each image in each network; inf for never. A network that learnt all images at one
        look, or none, has no order and is left out.
    statistics : mapping of str to (n,) float array
    classes : (n,) int array or None
        Ranks are taken within each class: a class that is learnt first and looks different is no evidence
        about images.
    groups, level, draws, permutations, rng
        As for `akp_core.agreement.order_agreement`; the interval is for each statistic by itself.

    Returns
    -------
    list of Follows
        One a statistic. A statistic that is the same for all images of
        each class has value NaN and p-values 1.

    Raises
    ------
    AkpError
        For no statistics, one that is not finite or of another length, or learning times that are none.

    Notes
    -----
    Invariances: any rising change of a statistic. Cost: (m + s) n a draw, s statistics.

    References
    ----------
    Pliushch et al. 2022 plot the mean of each statistic over the images that all networks have right; a
    correlation, its interval and its null are ours. Westfall and Young 1993, the largest of all statistics.
    """
    given = np.asarray(times)
    if given.ndim != 2 or given.dtype.kind not in "iuf" or given.shape[1] < 3 or np.isnan(given).any():
        raise expected(
            "learning times of shape (networks, images), of three images or more", f"shape {given.shape}"
        )
    if not statistics:
        raise AkpError("expected at least one statistic of the images, got none")
    check("spearman", level, draws, permutations, rng)
    m, n = given.shape
    table = []
    for name, values in statistics.items():
        row = np.asarray(values, np.float64)
        if row.shape != (n,) or not np.isfinite(row).all():
            raise expected(f"a finite {name!r} for each of {n} images", f"shape {row.shape}")
        table.append(row)
    parts = as_parts(classes, n, "classes")
    belongs = np.arange(n) if groups is None else as_parts(groups, n, "groups")
    known, single = np.stack(table), np.zeros(n, np.int64)
    given = given.astype(np.float64)
    ordered = Orders(given, parts).ranks().any(axis=1)
    if not ordered.any():
        raise AkpError("expected a network that orders the images, got none: each learnt all at one look")
    learnt, looks = Orders(given[ordered], parts), Orders(known, parts)
    m = int(ordered.sum())
    networks, images = network_weights(m, draws, rng), image_weights(belongs, draws, rng)

    def within(v: np.ndarray, w: np.ndarray) -> np.ndarray:
        each = across(learnt.ranks(v), looks.ranks(v), v)
        return w @ np.where(np.isnan(each).all(axis=0), np.nan, np.nan_to_num(each)) / w.sum()

    whole = within(np.ones(n), np.ones(m))
    drawn = np.array([within(v, w) for w, v in zip(networks, images, strict=True)])
    low, high = expanded_ends(drawn, m, level, within=(-1, 1))
    overall = across(Orders(given[ordered], single).ranks(), Orders(known, single).ranks()).mean(axis=0)
    ranks = learnt.ranks()
    of_mean = across(ranks.mean(axis=0, keepdims=True), looks.ranks())[0]
    mean_unit = (ranks / np.linalg.norm(ranks, axis=1, keepdims=True)).mean(axis=0)
    null = _exchanged(mean_unit, looks.ranks(), parts, permutations, rng)
    size = np.abs(np.nan_to_num(across(mean_unit[None], looks.ranks())[0]))
    alone = (1 + (null >= size - 1e-12).sum(axis=0)) / (1 + permutations)
    largest = (1 + (null.max(axis=1)[:, None] >= size - 1e-12).sum(axis=0)) / (1 + permutations)
    rows = zip(statistics, overall, whole, low, high, of_mean, alone, largest, strict=True)
    return [
        Follows(
            name,
            float(o),
            float(v),
            *((float(a), float(b)) if np.isfinite(v) else (float("nan"),) * 2),
            float(f),
            float(p),
            float(q),
        )
        for name, o, v, a, b, f, p, q in rows
    ]


def _exchanged(
    learnt: np.ndarray, looks: np.ndarray, parts: np.ndarray, permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Absolute correlations with images exchanged within their class, (permutations, statistics)."""
    orders = np.tile(learnt, (permutations, 1))
    for part in range(int(parts.max()) + 1):
        at = np.flatnonzero(parts == part)
        orders[:, at] = rng.permuted(orders[:, at], axis=1)
    return np.abs(np.nan_to_num(across(orders, looks)))
