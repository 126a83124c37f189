"""What excess risk allows, on a grid, and how fast trained and constructed families shrink with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from akp_core.errors import expected
from akp_core.simulation.happy_outputs import Case
from akp_core.theory.diameter import diameter_bound, largest_attained, measured_exponent, orthogonal_models
from akp_core.theory.outputs import cka_floor, excess_risk
from akp_core.theory.probabilities import output_distances
from akp_core.theory.targets import read_out


def allowed_grid(cases: Mapping[int, Case], log_excess: Sequence[float]) -> pd.DataFrame:
    """What is proved of two models of the same excess cross-entropy, for a chart to read off.

    Parameters
    ----------
    cases : mapping of int to Case
        From `akp_core.simulation.happy_outputs.families`.
    log_excess : sequence of float
        Decimal logarithms of excess risks in nats.

    Returns
    -------
    DataFrame
        Columns ``classes``, ``quantity``, ``log_excess`` and ``allowed``. A floor for CKA, unbiased.
    """
    excess = 10.0 ** np.asarray(log_excess, dtype=np.float64)
    tables = []
    for classes, case in cases.items():
        root = np.sqrt(excess)
        found = {
            "total variation": diameter_bound(excess, "total_variation"),
            "root mean square": np.minimum(np.sqrt(2), diameter_bound(excess)),
            "CKA": cka_floor(case.truth, root, root),
        }
        tables += [
            pd.DataFrame({"classes": classes, "quantity": q, "log_excess": log_excess, "allowed": values})
            for q, values in found.items()
        ]
    return pd.concat(tables, ignore_index=True)


def shrinking(cases: Mapping[int, Case], *, directions: int = 32) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How far the members of families are apart as their excess risk falls.

    Parameters
    ----------
    cases : mapping of int to Case
        Trained families, looked at twice or more after the first step.
    directions : int
        Directions of the families that are constructed.

    Returns
    -------
    drawn : DataFrame
        Columns ``family``, ``excess`` (mean of the family) and ``distance`` (root mean square; the mean over
        pairs for the trained, the widest pair for the constructed, the bound for what is proved).
    rates : DataFrame
        A row a trained family: ``classes``, ``slope`` with ``low`` and ``high`` over members, ``attained``
        the slope of the constructed ones, and ``shared_first``, ``shared_last``: the mean cosine between the
        members' displacements from the law at the first look after the start and at the end.
    """
    drawn, rates = [], []
    for classes, case in cases.items():
        outputs = [read_out("cross_entropy", logits) for logits in case.trained.logits[1:]]
        if len(outputs) < 2:
            raise expected("two looks after the first step", len(outputs), "train longer")
        excess = np.stack([excess_risk(case.truth, q) for q in outputs])
        apart = np.stack([output_distances(q) for q in outputs])
        members = excess.shape[1]
        mean = apart.sum(axis=(1, 2)) / (members * (members - 1))
        drawn.append(
            pd.DataFrame(
                {
                    "family": f"trained, {classes} classes",
                    "excess": excess.mean(axis=1),
                    "distance": mean,
                }
            )
        )
        limit = largest_attained(case.truth)
        levels = np.geomspace(limit / 300, limit, 4) if limit > 0 else np.array([])
        made = [orthogonal_models(case.truth, float(level), directions) for level in levels]
        reached = [(float(excess_risk(case.truth, q).max()), float(output_distances(q).max())) for q in made]
        drawn.append(
            pd.DataFrame(reached, columns=["excess", "distance"]).assign(
                family=f"constructed, {classes} classes"
            )
        )
        found = measured_exponent(excess, apart)
        attained = np.nan
        if reached:
            across, up = np.log(np.array(reached)).T
            attained = float(np.polyfit(across, up, 1)[0])
        rates.append(
            {
                "classes": classes,
                "slope": found.slope,
                "low": found.low,
                "high": found.high,
                "attained": attained,
                "shared_first": shared_part(case.truth, outputs[0]),
                "shared_last": shared_part(case.truth, outputs[-1]),
            }
        )
    every = np.concatenate([table["excess"] for table in drawn])
    grid = np.geomspace(every.min(), every.max(), 4)
    proved = pd.DataFrame(
        {"family": "proved: no pair above", "excess": grid, "distance": diameter_bound(grid)}
    )
    return pd.concat([proved, *drawn], ignore_index=True), pd.DataFrame(rates)


def shared_part(truth: np.ndarray, outputs: np.ndarray) -> float:
    r"""How much members err alike: the mean cosine between their displacements from the law.

    .. math:: \bar c = \frac{1}{M(M-1)}\sum_{i\ne j}
              \frac{\langle q_i - p, q_j - p\rangle}{\lVert q_i - p\rVert\,\lVert q_j - p\rVert}

    Parameters
    ----------
    truth : (n, K) float
    outputs : (M, n, K) float
        None equal to the truth.

    Returns
    -------
    float
        In [-1 / (M - 1), 1]. 1: all err in the same way; 0: each in its own way.

    Raises
    ------
    AkpError
        If a member is the law itself, as it has no direction.
    """
    moved = (np.asarray(outputs, np.float64) - truth).reshape(len(outputs), -1)
    length = np.linalg.norm(moved, axis=1, keepdims=True)
    if length.min() == 0:
        raise expected("members that differ from the law", "one that equals it")
    total = float(np.square((moved / length).sum(axis=0)).sum())
    return (total - len(moved)) / (len(moved) * (len(moved) - 1))
