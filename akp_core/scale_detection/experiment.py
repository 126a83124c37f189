"""The whole experiment: stacks of several filters and strides trained on one task, measured and judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from akp_core.errors import AkpError, expected
from akp_core.scale_detection.conclusions import exponents, signature
from akp_core.scale_detection.curves import (
    CHANNELS,
    PASSES,
    depth_curves,
    layer_sensitivities,
    learnt,
    slopes,
)
from akp_core.scale_detection.fields import below_scale
from akp_core.scale_detection.filters import shapes
from akp_core.scale_detection.network import Padding, Stack
from akp_core.scale_detection.task import ScaleTask
from akp_core.scale_detection.training import Descent, Trained, train


@dataclass(frozen=True)
class Experiment:
    """What was found; every table has the stack's name in its first column, ``layers``.

    Attributes
    ----------
    trained : mapping of str to Trained
    networks : DataFrame
        Sensitivities, of `akp_core.scale_detection.curves.layer_sensitivities`.
    curves, exponents, signatures, shapes : DataFrame
        Of the functions of those names, over networks that learnt the task.
    counts : DataFrame
        One row a stack: ``layers, networks, learnt, failed, collapsed, diverged, silent, train_error,
        test_error`` (means over networks that did not diverge), ``measured`` (layers of the exponents).
        Collapsed: not learnt, and one output for all images at some layer. Silent: learnt, but so at a layer
        that counts, if only after channels are averaged.
    """

    trained: Mapping[str, Trained]
    networks: pd.DataFrame
    curves: pd.DataFrame
    exponents: pd.DataFrame
    signatures: pd.DataFrame
    shapes: pd.DataFrame
    counts: pd.DataFrame


def standard_stacks(task: ScaleTask, *, width: int, deep: int) -> dict[str, Stack]:
    """Three stacks: filter 2 at stride 2, filter 3 at stride 1, and filter 3 at stride 2, which may alias.

    Parameters
    ----------
    task : ScaleTask
        Its side a multiple of 8.
    width : int
        Channels; three quarters of it at stride 1, whose layers do not shrink.
    deep : int
        Layers at stride 1. At stride 2 as many as the side allows.

    Returns
    -------
    dict of str to Stack

    Raises
    ------
    AkpError
        For a side that is no multiple of 8.
    """
    if task.side % 8:
        raise expected("a side that is a multiple of 8", str(task.side))
    halvings = (task.side & -task.side).bit_length() - 1
    padding: Padding = "circular" if task.wraps else "zeros"
    threes = max(k for k in range(1, halvings + 1) if task.side // 2 ** (k - 1) >= 3)
    return {
        "filter 2, stride 2": Stack(halvings, width, 2, 2, task.dims, padding=padding),
        "filter 3, stride 1": Stack(deep, max(1, 3 * width // 4), 3, 1, task.dims, padding=padding),
        "filter 3, stride 2": Stack(threes, width, 3, 2, task.dims, padding=padding),
    }


def run(
    task: ScaleTask,
    stacks: Mapping[str, Stack],
    descent: Descent,
    *,
    members: int,
    pairs: int,
    test: int,
    channels: str = "channels averaged",
    passes: float = PASSES,
    tolerance: float = 0.25,
    level: float = 0.05,
    seed: int,
) -> Experiment:
    """Train a population of every stack on the task, measure all layers, and judge.

    Parameters
    ----------
    task, descent
        Of all stacks.
    stacks : mapping of str to Stack
        Each with two layers or more whose receptive field is below the scale.
    members, pairs, test
        As for `akp_core.scale_detection.training.train`.
    channels : str
        For the signatures: ``channels averaged`` or ``all channels``.
    passes : float
        Largest test error of a network that learnt.
    tolerance, level
        As for `akp_core.scale_detection.conclusions.exponents`.
    seed : int

    Returns
    -------
    Experiment

    Raises
    ------
    AkpError
        For no stack, and as the parts do; before anything is trained where a stack does not fit.

    Notes
    -----
    Measured, 64 sites, scale 16, gap 2, rate 0.05, channels averaged, exponents of D and of G under rectified
    noise (even filters in brackets): filter 2 at stride 2, width 16, ridge 0.03, 80 epochs, 8 networks: -0.86
    (-0.90) and 0.41 (0.62); filter 3 at stride 2, the same: -1.53 (-0.24; 1 2 1: -1.64) and 0.68 (0.74).
    Filter 3 at stride 1, 8 layers, width 12: -0.90 (-1.85) and -0.89 (0.74); 320 epochs, 4 networks: -1.58
    and -0.24; ridge 0.06, 240 epochs, 4 networks: -1.38 and -0.20. With biases as in the authors' code
    (variance 1), at these widths most networks die. Cost: 44 CPU-seconds for those 24 networks.
    """
    if not stacks:
        raise AkpError("expected at least one stack, got none")
    layers = {}
    for name, stack in stacks.items():
        stack.check(task.side)
        layers[name] = below_scale(stack, task.scale)
    trained = {name: train(task, stack, descent, members=members, pairs=pairs, test=test, seed=seed)
               for name, stack in stacks.items()}  # fmt: skip
    tables: dict[str, list[pd.DataFrame]] = {
        key: [] for key in ("rows", "curves", "exponents", "signs", "shapes")
    }
    counts = []
    for name, found in trained.items():
        rows = layer_sensitivities(found, images=test, seed=seed)
        good = learnt(rows, passes)
        tilts = slopes(good, layers[name])
        for key, table in (
            ("rows", rows),
            ("curves", depth_curves(good, level=level)),
            ("exponents", exponents(tilts, found.stack, tolerance=tolerance, level=level)),
            ("signs", signature(tilts, channels=channels, level=level)),
            ("shapes", shapes(found, passes, level=level)),
        ):
            table.insert(0, "layers", name)
            tables[key].append(table)
        counts.append((name, *_counts(found, rows, passes, layers[name])))
    names = "layers networks learnt failed collapsed diverged silent train_error test_error measured"
    joined = {key: pd.concat(parts, ignore_index=True) for key, parts in tables.items()}
    return Experiment(
        trained, joined["rows"], joined["curves"], joined["exponents"], joined["signs"], joined["shapes"],
        pd.DataFrame(counts, columns=names.split()),
    )  # fmt: skip


def _counts(found: Trained, rows: pd.DataFrame, passes: float, layers: list[int]) -> tuple[object, ...]:
    errors, lost = found.test_error, found.diverged
    quiet = rows[(rows["state"] == "trained") & (rows["why"] != "")]
    passed = set(np.flatnonzero(errors <= passes).tolist())
    flat = set(quiet.loc[quiet["channels"] == CHANNELS["all"], "member"]) - passed
    collapsed = len(flat - set(np.flatnonzero(lost).tolist()))
    silent = len(set(quiet.loc[quiet["layer"].isin(layers), "member"]) & passed)
    failed = len(errors) - len(passed) - int(lost.sum()) - collapsed
    kept = ~lost
    means = [float(e[kept].mean()) if kept.any() else float("nan") for e in (found.train_error, errors)]
    span = f"{layers[0]} to {layers[-1]}"
    return len(errors), len(passed), failed, collapsed, int(lost.sum()), silent, *means, span
