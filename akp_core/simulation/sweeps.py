"""Estimators of similarity along examples, width and batch, and every measure beside its own chance."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity import MEASURES, CanonicalWarning, calibrated
from akp_core.similarity.calibration import check_rng
from akp_core.simulation.estimators import OF_CKA, check_setting, estimates_or_refusals
from akp_core.simulation.gaussian import GaussianPair
from akp_core.simulation.precision import summary
from akp_core.threads import one_thread

AXES = ("examples", "width", "batch")


def sweep(
    names: Iterable[str],
    *,
    along: Mapping[str, Sequence[int]],
    at: Mapping[str, int],
    truths: Mapping[str, float],
    repeats: int,
    rng: np.random.Generator,
    decay: float = 0.5,
) -> pd.DataFrame:
    """Bias and spread of estimators along one axis after another, from a common setting.

    Parameters
    ----------
    names : iterable of str
        Names in `ESTIMATORS`.
    along : mapping of str to sequence of int
        For "examples", "width" or "batch" the values that it takes, while the others stay as in `at`.
    at : mapping of str to int
        The common setting, all three.
    truths : mapping of str to float
        Population CKA by the label that it goes by.
    repeats : int
        Draws of each setting, at least 2.
    rng : numpy.random.Generator
    decay : float
        Of `GaussianPair`.

    Returns
    -------
    DataFrame
        Columns ``axis``, ``at``, ``truth``, ``cka``, ``estimator``, ``quantity``, ``value``, ``low``,
        ``high``, ``true`` (NaN where unknown) and ``refused``: empty, or why the estimator has no value
        there, which is then NaN.

    Raises
    ------
    AkpError
        For an unknown name, axis or number out of range.

    Notes
    -----
    Cost: `estimates` for each setting and truth. Each draws from a child of the generator of its own, so that
    a further axis or another estimator changes no number.
    """
    for axis in (*along, *at):
        if axis not in AXES:
            raise unknown_name("axis", axis, AXES)
    missing = [axis for axis in AXES if axis not in at]
    if missing:
        raise expected(f"at to set {', '.join(AXES)}", f"no {missing[0]}")
    settings = [(axis, {**at, axis: value}) for axis, values in along.items() for value in values]
    if not settings or not truths:
        raise expected("at least one value of an axis and one truth", f"{len(settings)} and {len(truths)}")
    wanted = check_setting(names, at["examples"], at["batch"], repeats)
    for _, here in settings:
        check_setting(wanted, here["examples"], here["batch"], repeats)
        for cka in truths.values():
            GaussianPair(here["width"], cka, decay)
    check_rng(rng)
    parts = []
    for (truth, cka), own in zip(truths.items(), rng.spawn(len(truths)), strict=True):
        for (axis, here), child in zip(settings, own.spawn(len(settings)), strict=True):
            pair = GaussianPair(here["width"], cka, decay)
            found = estimates_or_refusals(pair, wanted, here["examples"], here["batch"], repeats, child)
            for name, values in found.items():
                table = _described(pair, name, values, here["examples"])
                parts.append(table.assign(axis=axis, at=here[axis], truth=truth, cka=cka, estimator=name))
    columns = [
        "axis",
        "at",
        "truth",
        "cka",
        "estimator",
        "quantity",
        "value",
        "low",
        "high",
        "true",
        "refused",
    ]
    return pd.concat(parts, ignore_index=True)[columns]


def _described(
    pair: GaussianPair, name: str, values: Float64[np.ndarray, " repeats"] | AkpError, examples: int
) -> pd.DataFrame:
    if isinstance(values, AkpError):
        nothing = pd.DataFrame({"quantity": ["mean"], "value": np.nan, "low": np.nan, "high": np.nan})
        return nothing.assign(true=np.nan, refused=str(values))
    true = pair.known("cka" if name in OF_CKA else name, examples)
    return summary(values, true).assign(true=np.nan if true is None else true, refused="")


def against_chance(
    truths: Mapping[str, float],
    *,
    examples: int,
    width: int,
    repeats: int,
    permutations: int,
    rng: np.random.Generator,
    level: float = 0.05,
    decay: float = 0.5,
) -> pd.DataFrame:
    """Every measure beside its own shuffled null, and what calibration leaves of it.

    Parameters
    ----------
    truths : mapping of str to float
        Population CKA by the label that it goes by.
    examples, width : int
        Of each draw.
    repeats : int
        Draws, at least 2.
    permutations : int
        Shuffles a draw, at least 1/level - 1.
    rng : numpy.random.Generator
    level : float
        Of `akp_core.similarity.calibrated`.
    decay : float
        Of `GaussianPair`.

    Returns
    -------
    DataFrame
        Columns ``truth``, ``cka``, ``measure``, then means over the draws: ``raw``, ``chance`` (the mean of
        the shuffled values), ``calibrated``; and ``above``, the share of draws above chance.

    Raises
    ------
    AkpError
        As `akp_core.similarity.calibrated` and `GaussianPair`; for a number too small, or no truth.

    Notes
    -----
    Cost: `permutations` + 1 calls of every measure a draw.
    """
    if not truths:
        raise expected("at least one truth", "none")
    whole_number("repeats", repeats, 2)
    check_rng(rng)
    rows = []
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", CanonicalWarning)
        for (truth, cka), own in zip(truths.items(), rng.spawn(len(truths)), strict=True):
            pair = GaussianPair(width, cka, decay)
            draws = [pair.draw(examples, own) for _ in range(repeats)]
            for measure in MEASURES:
                seen = [
                    calibrated(x, y, measure=measure, permutations=permutations, level=level, rng=own)
                    for x, y in draws
                ]
                means = {
                    "raw": np.mean([one.raw for one in seen]),
                    "chance": np.mean([one.null_mean for one in seen]),
                    "calibrated": np.mean([one.value for one in seen]),
                    "above": np.mean([one.value > 0 for one in seen]),
                }
                rows.append({"truth": truth, "cka": cka, "measure": measure, **means})
    return pd.DataFrame(rows)
