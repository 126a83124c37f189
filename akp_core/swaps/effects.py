"""What a hot-swap did: courses around it, whether it moved the family, what the effect goes with."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats

from akp_core.errors import expected
from akp_core.outcome import Population
from akp_core.study import CONTROL, Family

Kind = Literal["activation", "loss"]
"""What is swapped."""


def courses(population: Population, kind: Kind) -> pd.DataFrame:
    """Follow control and swapped families through training, at the times at which all were looked at.

    Parameters
    ----------
    population : Population
        Of a study with ``looks`` above 0, so that families are looked at together.
    kind : {"activation", "loss"}
        Which swaps.

    Returns
    -------
    DataFrame
        One row a stress, onset, role (control or swapped), quantity (test or training error) and time:
        ``stress``, ``onset``, ``role``, ``quantity``, ``share`` of training, ``mean``, ``low``, ``high``.
        Low and high are the least and the greatest network's, so they describe and test nothing. The swapped
        family starts at its onset, where it is its twins.

    Raises
    ------
    AkpError
        If the study holds no swap of that kind.
    """
    study, history = population.study, population.history
    names = {"test_error": "test error", "train_error": "training error"}
    tidy = history.melt(["family", "member", "step"], list(names), var_name="quantity", value_name="value")
    summary = tidy.groupby(["family", "step", "quantity"])["value"].agg(["mean", "min", "max"]).reset_index()
    tables = []
    for family in _swaps(population, kind):
        stress = family.stress
        assert stress is not None
        own, control = (summary[summary["family"] == name] for name in (family.name, CONTROL))
        since = own[own["step"] >= round(stress.onset * study.steps)]
        for role, part in (("control", control), ("swapped", since)):
            tables.append(part.assign(stress=stress.name, onset=stress.onset, role=role))
    whole = pd.concat(tables, ignore_index=True)
    whole["share"] = whole["step"] / study.steps
    whole["quantity"] = whole["quantity"].map(names)
    columns = ["stress", "onset", "role", "quantity", "share", "mean", "min", "max"]
    return whole[columns].rename(columns={"min": "low", "max": "high"})


def _swaps(population: Population, kind: Kind) -> list[Family]:
    found = [f for f in population.study.families if f.stress is not None and f.stress.kind == kind]
    if not found:
        raise expected(
            f"a study with at least one swap of the {kind}", "none", "name one more function to swap in"
        )
    return found


def of_kind(population: Population, table: pd.DataFrame, kind: Kind) -> pd.DataFrame:
    """The rows of a table that belong to swaps of one kind, with ``to``, the function swapped in."""
    target = {f.name: f.stress.to for f in _swaps(population, kind) if f.stress is not None}
    kept = table[table["family"].isin(target)]
    return kept.assign(to=kept["family"].map(target)).reset_index(drop=True)


def moved(cells: pd.DataFrame, tap: str, *, level: float = 0.05) -> dict[str, Any]:
    """Count the swaps that moved their family, and test whether all did, or any.

    Parameters
    ----------
    cells : DataFrame
        From `akp_core.judgement.judge`.
    tap : str
    level : float

    Returns
    -------
    dict
        ``cells`` that could be tested; ``moved``, those of them with a location p below the level by Holm's
        correction; ``verdict``: *all*, *some*, *none* or *not testable*; ``p_value``: the largest p where the
        claim is that all moved (the test of an intersection needs no correction), else Holm's smallest;
        ``median``, ``low``, ``high``: median, least and greatest R^2.
    """
    here = cells[(cells["tap"] == tap) & cells["location_p"].notna()]
    p = here["location_p"].to_numpy()
    if not len(p):
        blank = dict.fromkeys(("p_value", "median", "low", "high"))
        return {"cells": 0, "moved": 0, "verdict": "not testable", **blank}
    adjusted = _holm(p)
    every, count = bool((p < level).all()), int((adjusted < level).sum())
    r2 = here["location_r2"]
    return {
        "cells": len(p),
        "moved": len(p) if every else count,
        "verdict": "all" if every else "some" if count else "none",
        "p_value": float(p.max() if every else adjusted.min()),
        "median": float(r2.median()),
        "low": float(r2.min()),
        "high": float(r2.max()),
    }


def _holm(p: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    order = np.argsort(p)
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    out = np.empty_like(p)
    out[order] = stepped
    return out


def goes_with(
    cells: pd.DataFrame, properties: pd.DataFrame, column: str, tap: str
) -> tuple[float, float, int]:
    """Rank correlation, over the functions swapped in, of a property with the log ratio of dispersions.

    Onsets of one function are averaged first: the replicate is the function.

    Returns
    -------
    rho, p_value, functions : float, float, int
        p by exact permutation where functions are few; NaN both, below four functions or where either side
        does not vary.
    """
    here = cells[(cells["tap"] == tap) & np.isfinite(cells["ratio"]) & (cells["ratio"] > 0)]
    effect = np.log(here["ratio"]).groupby(here["to"]).mean().rename("effect")
    both = properties.set_index("to")[[column]].join(effect, how="inner").dropna()
    x, y = both[column].to_numpy(dtype=float), both["effect"].to_numpy()
    if len(both) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan, len(both)
    test = stats.permutation_test(
        (x,),
        lambda a: float(stats.spearmanr(a, y).statistic),
        permutation_type="pairings",
        n_resamples=4999,
        rng=np.random.default_rng(0),
    )
    return float(test.statistic), float(test.pvalue), len(both)
