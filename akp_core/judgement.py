"""Judges a finished population: is each stressed family unhappy, and does it spread?

Of a control and a stressed family, the happy one is settled first, by held-out error unless another
definition is asked for (`akp_core.happiness`). Then the Anna Karenina test compares their dispersions at
each tap. Where the two cannot be told apart the principle predicts nothing, and the verdict says so.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64
from sklearn.manifold import ClassicalMDS

from akp_core.dispersion import anna_karenina_test, distance_to_centroid, location_test
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.false_discoveries import q_values
from akp_core.dispersion.geometry import represented
from akp_core.errors import expected
from akp_core.happiness import BY, errors
from akp_core.outcome import COLLAPSED, DIVERGED, TRAINED, Population
from akp_core.similarity import disagreement_bound, prediction_disagreement

Row = dict[str, float | str | int]
NO_PREDICTION, NOT_TESTABLE = "no prediction", "not testable"


def judge(
    population: Population,
    *,
    by: str = "error",
    level: float = 0.05,
    permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every stressed family against the control, at every tap.

    Parameters
    ----------
    population : Population
    by : {"error", "gap", "loss"}
        What makes a family the happier (`akp_core.happiness`): a low test error, a low gap between test
        and training error, or a low test loss.
    level : float
        A p-value below it decides a verdict; intervals hold with confidence ``1 - level``.
    permutations : int
    seed : int
        Of the permutations and the bootstrap.

    Returns
    -------
    DataFrame
        One row a family and tap: ``stress``, ``onset``, ``family``, ``tap``; ``lost`` (members that
        diverged or collapsed there, of both families); ``error`` and ``control_error`` (or the gaps, or the
        losses); ``error_difference`` with ``error_low`` and ``error_high``; ``happier``; ``location_r2``
        and ``location_p`` (PERMANOVA, twins permuted); ``ratio`` of the dispersions, stressed over control,
        with ``low`` and ``high``; ``p_value``, and ``smallest_p``, the least that so many networks can give;
        ``q_value`` (Benjamini-Hochberg over the families, tap by tap); ``verdict``, one of AKP,
        none, anti-AKP, ``no prediction`` and ``not testable``; ``sentence`` saying it, lines split by ``|``.
    """
    s = population.study
    if not s.stresses:
        raise expected("a study with at least one stress to judge", "only the control")
    rng = np.random.default_rng(seed)
    differences = errors(population, by=by, level=level, rng=rng)
    rows = []
    for tap in s.taps or ():
        distances = population.distances(tap).numpy()
        for k, family in enumerate(s.families):
            if family.stress is None:
                continue
            pick = np.r_[0 : s.members, k * s.members : (k + 1) * s.members]
            error = differences[family.name]
            row: Row = {"stress": family.stress.name, "onset": family.stress.onset}
            row |= {
                "family": family.name,
                "tap": tap,
                "error": error.stressed,
                "control_error": error.control,
            }
            row |= {"error_difference": error.difference, "error_low": error.interval[0]}
            row |= {"error_high": error.interval[1], "happier": error.happier}
            row |= _spread(distances[np.ix_(pick, pick)], error.happier, level, permutations, rng)
            rows.append(row | {"sentence": _sentence(row, s.members, level, by)})
    cells = pd.DataFrame(rows)
    cells["q_value"] = q_values(cells["p_value"], cells["tap"])
    return cells


def _spread(
    distances: Float64[np.ndarray, "m m"],
    happier: str,
    level: float,
    permutations: int,
    rng: np.random.Generator,
) -> Row:
    """Location and dispersion of a stressed family (second half of rows) against the control (first half)."""
    members = len(distances) // 2
    is_stressed = np.arange(2 * members) >= members
    twin = np.tile(np.arange(members), 2)
    lost = ~represented(distances)
    out: Row = {"lost": int(lost.sum())}
    both = ~(lost[:members] | lost[members:])
    if both.sum() < LEAST_MEMBERS:
        nothing = dict.fromkeys(
            ("location_r2", "location_p", "ratio", "low", "high", "p_value", "smallest_p"), np.nan
        )
        return out | nothing | {"verdict": NOT_TESTABLE}
    keep = np.tile(both, 2)
    where = location_test(
        distances[np.ix_(keep, keep)],
        is_stressed[keep],
        paired=twin[keep],
        permutations=permutations,
        rng=rng,
    )
    flipped = happier == "stressed"
    test = anna_karenina_test(
        distances,
        is_stressed != flipped,
        paired=twin,
        permutations=permutations,
        level=level,
        rng=rng,
    )
    ends = np.exp(np.array(test.interval) * (-1 if flipped else 1))
    return out | {
        "location_r2": where.r_squared,
        "location_p": where.p_value,
        "ratio": float(np.exp(-test.effect if flipped else test.effect)),
        "low": float(ends.min()),
        "high": float(ends.max()),
        "p_value": test.p_value,
        "smallest_p": test.smallest_p,
        "verdict": NO_PREDICTION if happier == "neither" else test.verdict,
    }


def _sentence(row: Row, members: int, level: float, by: str) -> str:
    digits = ".3f" if by == "loss" else ".1%"
    err = f"{BY[by].capitalize()} {row['error']:{digits}}, control {row['control_error']:{digits}}: "
    err += (
        "they cannot be told apart"
        if row["happier"] == "neither"
        else f"the {row['happier']} family is the happier"
    )
    lost = f"; {row['lost']} of {2 * members} networks lost" if row["lost"] else ""
    if row["verdict"] == NOT_TESTABLE:
        return f"Verdict: not testable|{err}|Too few networks have a representation here{lost}."
    few = (
        f"; so few networks give no p below {row['smallest_p']:.2g}"
        if float(row["smallest_p"]) >= level
        else ""
    )
    return (
        f"Verdict: {row['verdict']}|{err}{lost}.|Stressed networks lie {row['ratio']:.2f} times as far from "
        f"their centroid ({row['low']:.2f} to {row['high']:.2f}), p = {row['p_value']:.2g}{few}."
    )


def placed(population: Population) -> pd.DataFrame:
    """Place every network on a map, tap by tap, with its distance to its own family's centroid.

    Returns
    -------
    DataFrame
        The rows of `Population.members` once for each tap, with ``tap``, ``x`` and ``y`` (classical
        scaling of the chordal distances of the whole population) and ``distance``; NaN where a network has
        no representation, and ``distance`` also where it is the last of its family.
    """
    tables = []
    for tap in population.study.taps or ():
        table = population.members.assign(tap=tap)
        distances = population.distances(tap).numpy()
        here = represented(distances)
        if here.sum() > 2:
            inside = distances[np.ix_(here, here)]
            table.loc[here, ["x", "y"]] = ClassicalMDS(2, metric="precomputed").fit_transform(inside)
        table = table.reindex(columns=[*table.columns.drop(["x", "y"], errors="ignore"), "x", "y"])
        sizes = table[here].groupby("family")["member"].count().reindex(table["family"], fill_value=0)
        counted = here & (sizes > 1).to_numpy()
        table["distance"] = np.nan
        if counted.any():
            inside = distances[np.ix_(counted, counted)]
            table.loc[counted, "distance"] = distance_to_centroid(inside, table["family"][counted].to_numpy())
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def survivors(population: Population) -> pd.DataFrame:
    """Count, family by family, the networks that trained, collapsed and diverged, and those of one answer."""
    families = population.members.groupby("family", sort=False)
    counts = families["status"].value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=[TRAINED, COLLAPSED, DIVERGED], fill_value=0).rename_axis(columns=None)
    return counts.assign(**{"one answer only": families["one_answer"].sum()})


def beside(population: Population) -> pd.DataFrame:
    """Tabulate, family by family, what a dispersion must be read beside.

    Returns
    -------
    DataFrame
        Mean train and test error and their gap; the mean share of test images on which two networks of the
        family disagree, and the mean of the most that their errors allow (`disagreement_bound`). All in
        [0, 1]; pairs share members, so these means describe and test nothing.
    """
    s = population.study
    predicted, table = population.predictions("test").numpy(), population.members
    pairs = np.triu_indices(s.members, 1)
    rows = []
    for k, family in enumerate(s.families):
        own = slice(k * s.members, (k + 1) * s.members)
        apart = prediction_disagreement(predicted[own])[pairs]
        bound = disagreement_bound(table["test_error"].to_numpy()[own])[pairs]
        means = table[["train_error", "test_error", "gap"]].iloc[own].mean().tolist()
        rows.append((family.name, *means, *(v.mean() if len(v) else np.nan for v in (apart, bound))))
    columns = ["family", "train error", "test error", "gap", "disagreement", "at most"]
    return pd.DataFrame(rows, columns=columns)
