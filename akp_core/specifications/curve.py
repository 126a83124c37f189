"""Every reasonable way to ask one question, asked: a specification curve over families of networks.

A specification is a choice of measure, tap, network, data set, definition of happiness, stress and onset. Its
effect is that of the Anna Karenina test: the log ratio of the dispersions, unhappy over happy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float32, Float64, Int8

from akp_core import happiness
from akp_core.dispersion.geometry import check_resampling
from akp_core.dispersion.inference import check_level
from akp_core.durable import refusals
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.identity import identity_of, sha256
from akp_core.outcome import Population
from akp_core.specifications.flips import decided, intervals, joined, pairs_of, seed_flips
from akp_core.specifications.measures import ruler
from akp_core.specifications.within import within_families

FACTORS = ("measure", "tap", "network", "dataset", "definition", "stress", "onset")
"""What a specification chooses, by column of `Curve.table`."""

VERDICTS = ("AKP", "none", "anti-AKP", "no prediction", "not testable")
"""What a specification may answer."""
_SIGNS = {"control": 1, "stressed": -1, "neither": 0}


@dataclass(frozen=True, eq=False)
class Outcomes:
    """All comparisons of one study under every exchange of labels.

    Attributes
    ----------
    contrast : (b, c) float32
        As `akp_core.specifications.flips.statistics`; row 0 is the data.
    decision : (b, c) int8
    influence : (members, c) float64
    """

    contrast: Float32[np.ndarray, "b c"]
    decision: Int8[np.ndarray, "b c"]
    influence: Float64[np.ndarray, "m c"]


@dataclass(frozen=True, eq=False)
class Curve:
    """A specification curve and what its inference needs.

    Attributes
    ----------
    table : DataFrame
        One row a specification: `FACTORS`; ``family``; ``happier``; ``ratio`` of the dispersions, stressed
        over control; ``effect``, ``low``, ``high``: log ratio, unhappy over happy, with its jackknife
        interval, NaN where the principle predicts nothing; ``p_value``; ``verdict``, one of `VERDICTS`;
        ``pairs``, complete pairs of twins; ``orientation``, 1, -1 or 0, what turns stressed over control
        into unhappy over happy; ``study`` and ``column``, where in `outcomes` it stands.
    outcomes : tuple of Outcomes
        One a study.
    level : float
    """

    table: pd.DataFrame
    outcomes: tuple[Outcomes, ...]
    level: float

    @property
    def predicted(self) -> pd.DataFrame:
        """The specifications of which the principle predicts something that can be tested."""
        return self.table[self.table["verdict"].isin(VERDICTS[:3])]


def specifications(
    populations: Mapping[tuple[str, str], Population],
    *,
    measures: Sequence[str],
    taps: Sequence[str],
    definitions: Sequence[str] = ("error", "gap", "loss"),
    permutations: int = 9999,
    level: float = 0.05,
    seed: int = 0,
    cache: str | Path | None = None,
) -> Curve:
    r"""Test every combination of choices.

    .. math:: \text{effect} = \tfrac12 \log \frac{V_u}{V_h}

    Parameters
    ----------
    populations : mapping of (data set, network) to Population
        Finished studies.
    measures : sequence of str
        Names in `akp_core.specifications.measures.RULERS`.
    taps : sequence of str
        Places that every network has.
    definitions : sequence of str
        Names in `akp_core.happiness.BY`.
    permutations : int
        Of the seeds' labels in each study; all 2^members where they are no more.
    level : float
    seed : int
    cache : path, optional
        Folder where distances and happiness are kept, so that a second call is quick.

    Returns
    -------
    Curve

    Raises
    ------
    AkpError
        For no study, one without a stress, an unknown name, or a number out of range.

    Notes
    -----
    Of a single specification, effect, interval and p-value are those of
    `akp_core.dispersion.anna_karenina_test`, paired; the p-value to the last digit where all exchanges are
    taken.

    Cost: `within_families`, then for b exchanges and c comparisons of m seeds 3bcm operations and one sort
    of bc numbers; 5 bytes for each exchange and comparison.

    References
    ----------
    Simonsohn, Simmons and Nelson 2020, *Specification curve analysis* (Nature Human Behaviour 4).
    """
    level, seed = check_level(level), whole_number("seed", seed, 0)
    rng = np.random.default_rng(seed)
    permutations = check_resampling(permutations, rng)
    if not populations:
        raise expected("at least one population", "none")
    for name in definitions:
        if name not in happiness.BY:
            raise unknown_name("definition of happiness", name, happiness.BY)
    if not definitions:
        raise expected("at least one definition of happiness", "none")
    tables, outcomes = [], []
    for k, ((dataset, network), population) in enumerate(populations.items()):
        table, outcome = _study(
            population, measures, taps, definitions, permutations, level, seed, rng, cache
        )
        tables.append(table.assign(dataset=dataset, network=network, study=k))
        outcomes.append(outcome)
    whole = pd.concat(tables, ignore_index=True)
    return Curve(whole[[*FACTORS, *(c for c in whole if c not in FACTORS)]], tuple(outcomes), level)


def _study(
    population: Population,
    measures: Sequence[str],
    taps: Sequence[str],
    definitions: Sequence[str],
    permutations: int,
    level: float,
    seed: int,
    rng: np.random.Generator,
    cache: str | Path | None,
) -> tuple[pd.DataFrame, Outcomes]:
    study = population.study
    stressed = study.families[1:]
    if not stressed:
        raise expected("studies with at least one stress", "only the control")
    within = within_families(population, taps=taps, measures=measures, cache=cache)
    pairs = joined([pairs_of(within[tap, measure]) for tap in taps for measure in measures])
    contrast, decision, p = decided(pairs, seed_flips(study.members, permutations, rng), level)
    effect, ends, influence = intervals(pairs, level)
    base = pd.DataFrame(
        [
            (ruler(measure).title, tap, f.stress.name, f.stress.onset, f.name)
            for tap in taps
            for measure in measures
            for f in stressed
            if f.stress is not None
        ],
        columns=["measure", "tap", "stress", "onset", "family"],
    ).assign(p_value=p, pairs=pairs.complete.sum(axis=0), column=np.arange(len(p)))
    with np.errstate(over="ignore"):
        base["ratio"] = np.exp(effect)
    tables = []
    for by in definitions:
        happier = base["family"].map(happier_by(population, by, level=level, seed=seed, cache=cache))
        sign = happier.map(_SIGNS).to_numpy()
        turn = np.where(sign == 0, np.nan, sign)
        sides = np.sort(ends * turn[:, None], axis=1)
        verdict = np.select(
            [~pairs.testable, sign == 0, decision[0] == 0, decision[0] == sign],
            ["not testable", "no prediction", "none", "AKP"],
            "anti-AKP",
        )
        tables.append(
            base.assign(
                definition=by,
                happier=happier,
                orientation=sign,
                effect=effect * turn,
                low=sides[:, 0],
                high=sides[:, 1],
                verdict=verdict,
            )
        )
    return pd.concat(tables, ignore_index=True), Outcomes(contrast, decision, influence)


def happier_by(
    population: Population, by: str, *, level: float = 0.05, seed: int = 0, cache: str | Path | None = None
) -> dict[str, str]:
    """Which of control and stressed family is the happier (`akp_core.happiness.errors`), kept in a folder.

    Parameters
    ----------
    population, by, level
        As for `akp_core.happiness.errors`.
    seed : int
        Of the resampling.
    cache : path, optional

    Returns
    -------
    dict of family to {"control", "stressed", "neither"}
    """
    code = [identity_of(f) for f in (happiness.errors, happiness.compare, happiness.loss_by_group)]
    key = sha256(repr([sorted(population.tree.leaves.items()), by, level, seed, code]))[:32]
    file = None if cache is None else Path(cache) / f"{key}.json"
    if file is not None and file.exists():
        try:
            kept = json.loads(file.read_text("utf8"))
            if set(kept.values()) <= set(_SIGNS) and len(kept) == len(population.study.families) - 1:
                return dict(kept)
        except (OSError, ValueError, AttributeError, TypeError):
            pass
    found = happiness.errors(population, by=by, level=level, rng=np.random.default_rng(seed))
    answer: dict[str, str] = {name: difference.happier for name, difference in found.items()}
    if file is not None:
        with refusals(f"the folder {file.parent}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(answer), "utf8")
    return answer
