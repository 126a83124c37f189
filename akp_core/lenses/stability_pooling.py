"""Tests over networks of where stability comes from: channels, space, and noise that was rectified."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from akp_core.errors import expected, unknown_name
from akp_core.lenses.channel_shuffle import over_copies
from akp_core.lenses.stability_contrast import CONTROL_ROW, weigh
from akp_core.lenses.stability_signatures import depth_slopes

TOMASINI = "Tomasini 2022"


def channel_tests(
    table: pd.DataFrame, *, tap: str | None = None, level: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Test what exchanged channels do to D_f and R_f, and what is left without them.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.lenses.channel_shuffle.channel_shuffle`, of one family, untrained and trained.
    tap : str or None
        Where; None means ``features`` if it is there, else the last.
    level, seed
        As for `akp_core.lenses.stability_signatures.signatures`.

    Returns
    -------
    DataFrame
        As `signatures`: with channels exchanged D and R of the trained networks rise (channel pooling); D
        stays below that of the untrained ones (what pooling over space has learnt); and the control, that
        exchanging channels of untrained networks changes D within a factor of 2.

    Raises
    ------
    AkpError
        For a table without both steps, or an unknown tap.
    """
    taps = list(dict.fromkeys(table["tap"]))
    where = tap or ("features" if "features" in taps else taps[-1])
    if where not in taps:
        raise unknown_name("tap", where, taps)
    first, last = _two_steps(table)
    means = over_copies(table)
    here = means[means["tap"] == where].set_index(["member", "step", "shuffled"])
    logs = here[["D", "R"]].astype(float).apply(np.log).unstack(["step", "shuffled"])
    d, r = logs["D"], logs["R"]
    tests = [
        (TOMASINI, f"exchanging channels raises D at {where}", "above", d[last, True] - d[last, False]),
        (TOMASINI, f"exchanging channels raises R at {where}", "above", r[last, True] - r[last, False]),
        (
            TOMASINI,
            f"D at {where} is below the untrained also without channels",
            "below",
            d[last, True] - d[first, True],
        ),
        (
            CONTROL_ROW,
            f"untrained, exchanging channels leaves D at {where}",
            "",
            d[first, True] - d[first, False],
        ),
    ]
    return weigh(tests, level=level, seed=seed)


def filter_tests(table: pd.DataFrame, *, level: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Test whether filters become even: their share in the lowest mode, against chance and before training.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.lenses.stability_filters.learnt_spatial_pooling`, of one family, untrained and
        trained.
    level, seed
        As for `akp_core.lenses.stability_signatures.signatures`.

    Returns
    -------
    DataFrame
        As `signatures`: trained over chance for each layer, in the first row over all layers (geometric mean
        of a network's layers); at the end, as the control, untrained over chance.
    """
    first, last = _two_steps(table)
    ratio = np.log((table["even"] / table["null"]).where(lambda x: x > 0))
    wide = table.assign(log=ratio).pivot(index=["member", "step"], columns="layer", values="log")
    layers = list(dict.fromkeys(table["layer"]))
    trained, untrained = (wide.xs(step, level="step")[layers] for step in (last, first))
    tests = [
        (
            TOMASINI,
            "training makes filters more even, all layers",
            "above",
            _row_means(trained - untrained),
        )
    ]
    tests += [
        (TOMASINI, f"trained filters of {layer} are more even than chance", "above", trained[layer])
        for layer in layers
    ]
    tests += [(CONTROL_ROW, "untrained filters are as even as chance, all layers", "", _row_means(untrained))]
    return weigh(tests, level=level, seed=seed)


def noise_tests(table: pd.DataFrame, *, level: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Test whether noise piles up with depth because it is rectified; factors are a tap.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.lenses.rectified.rectified_noise`, of one family, with both activations, untrained and
        trained.
    level, seed
        As for `akp_core.lenses.stability_signatures.signatures`.

    Returns
    -------
    DataFrame
        As `signatures`: where nothing rectifies G falls behind under noise as it is (no pile-up: it does
        not rise), rectified noise grows against it; activations of its own make noise as it is pile up.
    """
    first, last = _two_steps(table)
    lines = {}
    for (activation, noise), part in table.groupby(["activation", "noise"], sort=False):
        lines[activation, noise] = depth_slopes(part, "G").droplevel("family").unstack("step")
    missing = {(a, n) for a in ("none", "its own") for n in ("as it is", "rectified")} - set(lines)
    if missing:
        raise expected("both activations and both noises", f"no {sorted(missing)}")
    bare, own = ({n: lines[a, n] for n in ("as it is", "rectified")} for a in ("none", "its own"))
    tests = []
    for name, step in (("untrained", first), ("trained", last)):
        tests += [
            (
                TOMASINI,
                f"{name}, nothing rectifies: noise as it is gains nothing with depth",
                "below",
                bare["as it is"][step],
            ),
            (
                TOMASINI,
                f"{name}, nothing rectifies: rectified noise gains on it",
                "above",
                bare["rectified"][step] - bare["as it is"][step],
            ),
            (
                TOMASINI,
                f"{name}: the network's own rectifiers make noise as it is gain",
                "above",
                own["as it is"][step] - bare["as it is"][step],
            ),
        ]
    return weigh(tests, level=level, seed=seed)


def _row_means(table: Any) -> pd.Series:
    return pd.Series(table.to_numpy().mean(axis=1), index=table.index)


def _two_steps(table: pd.DataFrame) -> tuple[int, int]:
    if table["family"].nunique() != 1:
        raise expected("a table of one family", ", ".join(map(str, table["family"].unique())))
    steps = sorted(set(table["step"]))
    if len(steps) < 2 or steps[0] != 0:
        raise expected("untrained and trained networks", f"steps {steps}", "give steps=(0, ...) or none")
    return steps[0], steps[-1]
