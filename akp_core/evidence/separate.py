"""Does the stress spread networks, or the error and the want of training that come with it?

Stressed networks are set beside control networks that err as much, taken from earlier in their training
(`matched`); and stress, error and training are told apart in one regression over all networks (`causes`). The
replicate is the member: a control network counts once, and all networks of a member are one cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float64

from akp_core import similarity
from akp_core.dispersion import ThreeCauses, matched_comparison, three_causes
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.geometry import represented
from akp_core.errors import AkpError, expected
from akp_core.outcome import Population
from akp_core.study import CONTROL

NOT_COMPARABLE = "not comparable"
WORDS = {"AKP": "stress spreads", "anti-AKP": "stress gathers", "none": "none"}
"""What a comparison of networks that err alike says: neither side is the unhappy one."""


@dataclass(frozen=True, eq=False)
class Gathered:
    """Stressed networks at the end of training, and control networks at every look after the first step.

    Attributes
    ----------
    table : DataFrame
        One row a network and time: ``family``, ``stress``, ``member``, ``step``, ``error`` (on test images)
        and ``stressed``.
    distances : (M, M) float64
        Chordal distances between all rows; NaN for one without representation.
    steps : int
        Length of training.
    """

    table: pd.DataFrame
    distances: Float64[np.ndarray, "M M"]
    steps: int


def gather(population: Population, tap: str) -> Gathered:
    """Put stressed networks beside their controls at every time these were looked at.

    Parameters
    ----------
    population : Population
    tap : str

    Returns
    -------
    Gathered

    Raises
    ------
    AkpError
        For an unknown tap, or a study without stress.

    Notes
    -----
    Cost: one product of all fingerprints with themselves.
    """
    s = population.study
    if not s.stresses:
        raise expected("a study with at least one stress to set beside the control", "only the control")
    control = control_of(population)
    history = control.history
    looks = sorted(set(history["step"]) - {0})
    parts = [control.fingerprints(tap, step=step).float() for step in looks]
    prints = torch.cat([*parts, population.fingerprints(tap)[s.members :].float()])
    calm = pd.concat([history[history["step"] == step] for step in looks])
    calm = calm.assign(stress=CONTROL, error=calm["test_error"], stressed=False)
    hurt = population.members.iloc[s.members :]
    hurt = hurt.assign(step=s.steps, error=hurt["test_error"], stressed=True)
    columns = ["family", "stress", "member", "step", "error", "stressed"]
    table = pd.concat([calm[columns], hurt[columns]], ignore_index=True)
    alike = similarity.similarity_of_fingerprints(prints)
    return Gathered(table, similarity.chordal_distance(alike).numpy(), s.steps)


def control_of(population: Population) -> Population:
    """The same population with its control family alone."""
    return Population(replace(population.study, stresses=()), population.tree, population.store)


def matched(
    gathered: Gathered,
    *,
    caliper: float | None = None,
    permutations: int = 9999,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every stressed family with control networks that err as much, at whatever time they did.

    Parameters
    ----------
    gathered : Gathered
    caliper : float or None
        The largest difference of error in a pair, as a share in [0, 1].
    permutations, level : as for `akp_core.dispersion.matched_comparison`
    seed : int

    Returns
    -------
    DataFrame
        One row a family: ``family``, ``stress``, ``pairs``; ``before`` and ``after``, the mean difference
        of error, stressed less control, among all candidates and in pairs; ``ratio`` of the dispersions,
        stressed over matched control, with ``low`` and ``high``; ``p_value``; ``verdict``, one of
        stress spreads, none, stress gathers, and not comparable with its ``reason``.
    """
    rng, table = np.random.default_rng(seed), gathered.table
    rows = []
    for family in dict.fromkeys(table.loc[table["stressed"], "family"]):
        pick = np.flatnonzero(~table["stressed"] | (table["family"] == family))
        part = table.iloc[pick]
        row: dict[str, object] = {"family": family, "stress": part["stress"].iloc[-1], "reason": ""}
        here = gathered.distances[np.ix_(pick, pick)]
        hurt = part["stressed"].to_numpy()
        if min(represented(here)[hurt].sum(), represented(here)[~hurt].sum()) < 2:
            reason = "fewer than 2 networks of a family have a representation"
            rows.append(row | _untested(part) | {"pairs": 0, "reason": reason})
            continue
        found = matched_comparison(
            here,
            part["error"].to_numpy(),
            hurt,
            unit=part["member"].to_numpy(),
            caliper=caliper,
            permutations=permutations,
            level=level,
            rng=rng,
        )
        row |= _untested(part) | {"pairs": len(found.pairs), "reason": found.reason}
        if found.test is not None:
            gaps = part["error"].to_numpy()[found.pairs]
            row |= {"after": float((gaps[:, 0] - gaps[:, 1]).mean()), "ratio": np.exp(found.test.effect)}
            row |= dict(zip(("low", "high"), np.exp(found.test.interval).tolist(), strict=True))
            row |= {"p_value": found.test.p_value, "verdict": WORDS[found.verdict]}
        rows.append(row)
    order = ["family", "stress", "pairs", "before", "after", "ratio", "low", "high", "p_value"]
    return pd.DataFrame(rows)[[*order, "verdict", "reason"]]


def _untested(part: pd.DataFrame) -> dict[str, object]:
    errors = part.groupby("stressed")["error"].mean()
    nothing = dict.fromkeys(("after", "ratio", "low", "high", "p_value"), np.nan)
    return nothing | {"before": float(errors[True] - errors[False]), "verdict": NOT_COMPARABLE}


def causes(
    gathered: Gathered, *, permutations: int = 9999, level: float = 0.05, seed: int = 0
) -> ThreeCauses | str:
    """Tell stress, error and training apart over all networks at once (`akp_core.dispersion.three_causes`).

    Training varies among the controls, which were looked at while they learnt; error varies among all. Each
    family, and the control at each look, has its own centroid, and all networks of a member are one cluster.
    A family with fewer than four networks that have a representation is left out.

    Returns
    -------
    ThreeCauses or str
        The reason, in one line, where they cannot be told apart: fewer than 6 members, or a cause that is
        constant or determined by the others.
    """
    table = gathered.table
    label = table["family"] + " / " + table["step"].astype(str)
    has = represented(gathered.distances)
    size = label.where(has).map(label[has].value_counts()).fillna(0).to_numpy()
    kept = np.flatnonzero(size >= LEAST_MEMBERS)
    part = table.iloc[kept]
    try:
        return three_causes(
            gathered.distances[np.ix_(kept, kept)],
            part["stressed"].to_numpy(),
            part["error"].to_numpy(),
            part["step"].to_numpy() / gathered.steps,
            families=label.to_numpy(dtype=str)[kept],
            clusters=part["member"].to_numpy(),
            permutations=permutations,
            level=level,
            rng=np.random.default_rng(seed),
        )
    except AkpError as error:
        return str(error)
