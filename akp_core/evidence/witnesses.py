"""Other witnesses of the same networks: more measures of similarity, chance, no training, and stitching.

The book's distance is that of CKA. Here the networks themselves are rebuilt and asked in other ways. Where
the ways disagree, that is the result.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64
from scipy import stats
from torch import Tensor

from akp_core import similarity
from akp_core.dispersion import anna_karenina_test
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.happiness import Happier
from akp_core.networks import tapped
from akp_core.outcome import TRAINED, Population
from akp_core.probes import evaluated, standardise
from akp_core.specifications.measures import dissimilarities as by_ruler
from akp_core.specifications.measures import ruler
from akp_core.stitching import stitch
from akp_core.study import CONTROL

Seen = dict[tuple[str, int], Tensor]


def seen(population: Population, families: Sequence[str], tap: str, *, spatial_mean: bool = False) -> Seen:
    """Rebuild networks and read what they hold of the probe images at a tap.

    Parameters
    ----------
    population : Population
    families : sequence of str
    tap : str
    spatial_mean : bool
        Average maps over space, one feature a channel; else they are flattened.

    Returns
    -------
    dict of (family, member) to (n, p) float32
        Without networks that collapsed or diverged.

    Raises
    ------
    AkpError
        For an unknown family or tap.

    Notes
    -----
    Cost: one pass over the probe images for each network.
    """
    names = [family.name for family in population.study.families]
    for family in families:
        if family not in names:
            raise unknown_name("family", family, names)
    table = population.members
    kept = table[table["family"].isin(families) & (table["status"] == TRAINED)]
    how = "mean" if spatial_mean else "flatten"
    images, out = population.probe_images, {}
    for family, member in zip(kept["family"], kept["member"], strict=True):
        model = population.network(family, member)
        with torch.no_grad(), tapped(model, [tap]) as taken:
            model(images)
        out[family, int(member)] = similarity.as_features(taken[tap], positions=how)  # type: ignore[arg-type]
    return out


def dissimilarities(rows: Sequence[Tensor], measure: str) -> Float64[np.ndarray, "m m"]:
    """The distances that belong to a measure (`akp_core.specifications`); near to chance, no cause to warn.

    sqrt(2 - 2 s), or 1 - s where that is none; NaN for a representation that the measure does not take.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", similarity.CanonicalWarning)
        return by_ruler(list(rows), ruler(measure))


def by_measure(
    reps: Seen,
    happier: Mapping[str, Happier],
    measures: Sequence[str],
    *,
    permutations: int = 1999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Test the dispersion of stressed families against the control by several measures of similarity.

    Parameters
    ----------
    reps : dict
        From `seen`, with the control among its families.
    happier : mapping of family to {"control", "stressed", "neither"}
        As settled by `akp_core.happiness`.
    measures : sequence of str
        Names of `akp_core.similarity.MEASURES`.
    permutations, level : as for `akp_core.dispersion.anna_karenina_test`
    seed : int

    Returns
    -------
    DataFrame
        One row a family and measure: ``family``, ``measure``, ``ratio`` of the dispersions (stressed over
        control) with ``low`` and ``high``, ``p_value``, ``found`` (spread, gathered or none: what the
        networks did) and ``verdict`` (AKP, none, anti-AKP, no prediction, not testable).
    """
    rng, rows = np.random.default_rng(seed), []
    for measure in measures:
        if measure not in similarity.MEASURES:
            raise unknown_name("measure", measure, similarity.MEASURES)
        own = {f: [m for g, m in reps if g == f] for f in dict.fromkeys(f for f, _ in reps)}
        if CONTROL not in own:
            raise expected("the control among the networks seen", ", ".join(own) or "none")
        inner = {f: dissimilarities([reps[f, m] for m in own[f]], measure) for f in own if own[f]}
        for family, who in happier.items():
            taken = [
                {m for m, row in zip(own[f], inner[f], strict=True) if np.isfinite(row).sum() > 1}
                for f in (family, CONTROL)
                if f in inner
            ]
            both = sorted(set.intersection(*taken)) if len(taken) == 2 else []
            row: dict[str, object] = {"family": family, "measure": measure}
            if len(both) < LEAST_MEMBERS:
                nothing = dict.fromkeys(("ratio", "low", "high", "p_value"), np.nan)
                rows.append(row | nothing | {"found": "not testable", "verdict": "not testable"})
                continue
            n = len(both)
            # distances between the families drop out of the test, so any number serves
            distances = np.ones((2 * n, 2 * n))
            for k, f in enumerate((CONTROL, family)):
                at = [own[f].index(m) for m in both]
                distances[k * n : (k + 1) * n, k * n : (k + 1) * n] = inner[f][np.ix_(at, at)]
            found = anna_karenina_test(
                distances,
                np.arange(2 * n) >= n,
                paired=np.tile(np.arange(n), 2),
                permutations=permutations,
                level=level,
                rng=rng,
            )
            low, high = np.exp(found.interval)
            row |= {"ratio": np.exp(found.effect), "low": low, "high": high, "p_value": found.p_value}
            did = {"AKP": "spread", "anti-AKP": "gathered", "none": "none"}[found.verdict]
            rows.append(row | {"found": did, "verdict": _judged(did, who)})
    return pd.DataFrame(rows)


def _judged(did: str, happier: Happier) -> str:
    if happier == "neither":
        return "no prediction"
    if did == "none":
        return "none"
    return "AKP" if (did == "spread") == (happier == "control") else "anti-AKP"


def opposed(table: pd.DataFrame) -> list[str]:
    """Families that one measure of `by_measure` finds spread and another gathered."""
    kinds = table.groupby("family", sort=False)["found"].agg(set)
    return [str(f) for f, found in kinds.items() if {"spread", "gathered"} <= found]


def chance(
    population: Population, reps: Seen, *, shuffles: int = 99, level: float = 0.05, rng: np.random.Generator
) -> pd.DataFrame:
    """Set the similarity of the control networks beside chance and beside the same networks untrained.

    Parameters
    ----------
    population : Population
    reps : dict
        From `seen`, at the tap that is asked about, with the control.
    shuffles : int
        Permutations of the examples; one image of each group enters, as images of a group are not
        exchangeable.
    level : float
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        Columns ``null_mean`` and ``null_high`` (the mean over pairs of the threshold that chance passes with
        probability `level`), ``above`` (share of pairs above it), in one row.
    """
    groups = population.study.data.probe.groups.numpy()
    first = torch.from_numpy(np.sort(np.unique(groups, return_index=True)[1]))
    rows = [x[first] for (family, _), x in reps.items() if family == CONTROL]
    if len(rows) < 2:
        raise expected("at least two control networks with a representation", str(len(rows)))
    found = similarity.calibrated_pairwise(rows, permutations=shuffles, level=level, rng=rng)
    pairs = torch.triu_indices(len(rows), len(rows), 1).unbind()
    take = [m[pairs].numpy() for m in (found.raw, found.null_mean, found.threshold, found.value)]
    values = [len(first), *(float(v.mean()) for v in take[:3]), float((take[3] > 0).mean())]
    return pd.DataFrame([values], columns=["images", "similarity", "null_mean", "null_high", "above"])


def trained_and_untrained(population: Population, *, level: float = 0.05) -> pd.DataFrame:
    """Mean similarity of the control networks before and after training, at every tap.

    Returns
    -------
    DataFrame
        One row a tap: ``tap``, ``untrained``, ``trained`` and their ``difference``, each a mean CKA over
        pairs of control networks, the latter two with an interval (``low``, ``high``;
        ``difference_low``, ``difference_high``) by the jackknife over networks.
    """
    members = population.study.members
    if members < LEAST_MEMBERS:
        raise expected(f"at least {LEAST_MEMBERS} control networks to compare", str(members))
    control = np.arange(members)
    rows = []
    for tap in population.study.taps or ():
        both = [
            1 - population.distances(tap, step=step).numpy()[np.ix_(control, control)] ** 2 / 2
            for step in (0, None)
        ]
        gone = np.isnan(both[0]) | np.isnan(both[1])
        there = gone.sum(axis=1) < members - 1
        kept = control[there]
        if len(kept) < 3:
            raise expected("at least 3 control networks with a representation", str(len(kept)))
        before, after = (m[np.ix_(kept, kept)] for m in both)
        low, high = np.clip(_mean_interval(after, level), -1, 1)
        less, more = _mean_interval(after - before, level)
        mean = [_pairs_mean(m) for m in (before, after)]
        rows.append((tap, *mean, low, high, mean[1] - mean[0], less, more))
    names = ["tap", "untrained", "trained", "low", "high", "difference", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=names)


def _pairs_mean(values: Float64[np.ndarray, "m m"]) -> float:
    return float(values[np.triu_indices(len(values), 1)].mean())


def _mean_interval(values: Float64[np.ndarray, "m m"], level: float) -> tuple[float, float]:
    """Interval of a mean over pairs, leaving out one network at a time."""
    n = len(values)
    left = np.array([_pairs_mean(np.delete(np.delete(values, i, 0), i, 1)) for i in range(n)])
    error = float(np.sqrt((n - 1) / n * np.square(left - left.mean()).sum()))
    half, mean = float(stats.t.ppf(1 - level / 2, n - 1)) * error, _pairs_mean(values)
    return mean - half, mean + half


def stitched(
    population: Population,
    families: Sequence[str],
    tap: str,
    *,
    pairs: int = 3,
    images: int = 300,
    seed: int = 0,
) -> pd.DataFrame:
    """Stitch pairs of networks inside each family: can one go on from what the other holds?

    Network i of a family receives at the tap what network i + 1 sends, through a fitted affine map
    (`akp_core.stitching.stitch`, matching). The map is fitted on validation images and judged on test images.

    Parameters
    ----------
    population : Population
    families : sequence of str
    tap : str
    pairs : int
        In each family, from its first networks on.
    images : int
        Of each of the two sets, evenly spaced through them; all if there are fewer.
    seed : int

    Returns
    -------
    DataFrame
        One row a pair: ``family``, ``receiver``, ``sender``; ``penalty`` (error of the stitched network less
        the receiver's own) with ``low`` and ``high`` over groups of images; ``receiver_error``, and
        ``null_error`` of a stitch fitted to shuffled pairs. Where there can be no stitch: NaN, and
        ``why``.
    """
    data = population.study.data
    sets = []
    for split in ("validation", "test"):
        part = evaluated(data, split)
        at = torch.linspace(0, len(part) - 1, min(images, len(part))).round().long()
        sets.append((standardise(data, part.images[at]), part.labels[at], part.groups[at]))
    fit, test = sets
    rng, rows = np.random.default_rng(seed), []
    for family in families:
        for member in range(min(pairs, population.study.members - 1)):
            row: dict[str, object] = {"family": family, "receiver": member, "sender": member + 1, "why": ""}
            try:
                found = stitch(
                    population.network(family, member + 1),
                    population.network(family, member),
                    tap,
                    fit=fit[:2],
                    evaluation=test[:2],
                    groups=test[2],
                    rng=rng,
                )
            except AkpError as error:
                rows.append(row | dict.fromkeys(("penalty", "low", "high"), np.nan) | {"why": str(error)})
                continue
            row |= {"penalty": found.penalty, "low": found.interval[0], "high": found.interval[1]}
            rows.append(row | {"receiver_error": found.receiver_error, "null_error": found.null_error})
    return pd.DataFrame(rows)
