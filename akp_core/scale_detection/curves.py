"""Populations on the task: sensitivities of every layer of every network, and their exponents with intervals.

The replicate is the network. Beside trained networks stand the same networks untrained, the trained ones
with the input channels of every filter shuffled (which destroys pooling over channels and keeps pooling
over space), and the ideal: one channel of even, positive filters (binomial: of 1 2 1 where it has 3 places).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from scipy.special import binom

from akp_core.errors import expected, whole_number
from akp_core.scale_detection.fields import reach, widths
from akp_core.scale_detection.images import Probe, probe
from akp_core.scale_detection.network import Stack, Weights, shuffled
from akp_core.scale_detection.sensitivity import QUANTITIES, changes, ideal, member_function
from akp_core.scale_detection.training import Trained
from akp_core.seeds import generator
from akp_core.theory.ornstein_uhlenbeck import number
from akp_core.theory.random_layers import mean_interval

IDEALS = ("ideal", "binomial", "ideal without ReLU")
STATES = (*IDEALS, "trained", "untrained", "channels shuffled")
CHANNELS: Mapping[str, str] = {"mean": "channels averaged", "all": "all channels"}
PASSES = 0.1
"""A network has learnt the task if its test error is at most this; half are wrong by chance."""


def over_networks(
    values: Sequence[float] | np.ndarray, level: float = 0.05
) -> tuple[float, float, float, int]:
    """Mean, Student's interval and number of the finite values; NaN for the interval of fewer than 3."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if len(kept) < 3:
        return (float(kept.mean()) if len(kept) else np.nan), np.nan, np.nan, len(kept)
    mean, low, high = mean_interval(kept[:, None], level=level)[:, 0]
    return float(mean), float(low), float(high), len(kept)


def layer_sensitivities(trained: Trained, *, images: int = 256, seed: int) -> pd.DataFrame:
    """D and G of every layer of every network, in every state.

    Parameters
    ----------
    trained : Trained
    images : int
        Test pairs that are moved and made noisy; the same for all networks.
    seed : int
        Of steps, noise and shuffles.

    Returns
    -------
    DataFrame
        One row a state, channels, member and layer: ``state, channels, member, layer, field, width,
        moved, noisy, rectified, test_error, why``; the ideals are member -1. Where a network was lost
        (diverged, or a layer that gives the same for all images) values are NaN and ``why`` says it.

    Raises
    ------
    AkpError
        For fewer than 4 images, or more than there are test pairs.
    """
    images = whole_number("images", images, 4, len(trained.test.labels))
    pairs = type(trained.test)(trained.test.places[:images], trained.test.labels[:images])
    found = probe(trained.task, pairs, generator(seed, "scale detection", "probe"))
    stack, fields, wide = trained.stack, reach(trained.stack), widths(trained.stack)
    mixed = shuffled(trained.after, generator(seed, "scale detection", "shuffle"))
    rows = []
    models = {"ideal": ideal(stack)}
    if stack.filter > 2:
        models["binomial"] = ideal(stack, torch.from_numpy(binom(stack.filter - 1, np.arange(stack.filter))))
    models["ideal without ReLU"] = ideal(stack, relu=False)
    for state, own in zip(STATES[len(IDEALS) :], (trained.after, trained.before, mixed), strict=True):
        models[state] = (stack, own)
    for state, (model, own) in models.items():
        for member in [-1] if state in IDEALS else range(len(trained.test_error)):
            lost = state not in (*IDEALS, "untrained") and trained.diverged[member]
            for key, channels in CHANNELS.items():
                values = _values(model, own, max(member, 0), found, key)
                for k in range(stack.depth):
                    d, g, rectified = (np.nan,) * 3 if lost else values[k]
                    why = "diverged" if lost else "one output for all images" if np.isnan(d) else ""
                    error = np.nan if member < 0 else trained.test_error[member]
                    rows.append(
                        (state, channels, member, k + 1, fields[k], wide[k], d, g, rectified, error, why)
                    )
    names = "state channels member layer field width moved noisy rectified test_error why"
    return pd.DataFrame(rows, columns=names.split())


def _values(
    stack: Stack, weights: Weights, member: int, found: Probe, channels: str
) -> list[tuple[float, float, float]]:
    read = changes(member_function(stack, weights, member), found, channels=channels)  # type: ignore[arg-type]
    return [layer.relative() for layer in read.values()]


def learnt(rows: pd.DataFrame, passes: float = PASSES) -> pd.DataFrame:
    """The rows of the ideals and of networks that learnt the task; a lost network did not."""
    return rows[(rows["member"] < 0) | (rows["test_error"] <= passes)]


def depth_curves(rows: pd.DataFrame, *, level: float = 0.05) -> pd.DataFrame:
    """Means over networks of D and G of every layer, with Student's intervals.

    Parameters
    ----------
    rows : DataFrame
        From `layer_sensitivities`, of networks to be counted (see `learnt`).
    level : float
        Intervals hold with confidence 1 - level.

    Returns
    -------
    DataFrame
        ``state, channels, quantity, layer, field, width, value, low, high, networks``; layers at which no
        network is left are missing, intervals of fewer than 3 networks NaN.
    """
    level = number("level", level, 1e-6, 0.999)
    found = []
    by = ["state", "channels", "layer", "field", "width"]
    for at, group in rows.groupby(by, sort=False):
        for name, label in QUANTITIES.items():
            mean = over_networks(group[name].to_numpy(), level)
            if mean[-1]:
                found.append((*at[:2], label, *at[2:], *mean))
    names = ["state", "channels", "quantity", *by[2:], "value", "low", "high", "networks"]
    return pd.DataFrame(found, columns=names)


def slopes(rows: pd.DataFrame, layers: Iterable[int]) -> pd.DataFrame:
    """Exponent of each network: least-squares slope of log D and log G on log A over some layers.

    Parameters
    ----------
    rows : DataFrame
        From `layer_sensitivities`.
    layers : iterable of int
        At least two.

    Returns
    -------
    DataFrame
        ``state, channels, quantity, member, slope``; NaN where a value at one of the layers is missing or 0.

    Raises
    ------
    AkpError
        For fewer than two layers, or layers that are not in the table.
    """
    wanted = sorted(set(layers))
    if len(wanted) < 2 or not set(wanted) <= set(rows["layer"]):
        raise expected("at least two layers of the table", str(wanted))
    kept = rows[rows["layer"].isin(wanted)]
    found = []
    for (state, channels, member), group in kept.groupby(["state", "channels", "member"], sort=False):
        x = np.log(group["width"].to_numpy())
        x = x - x.mean()
        for name, label in QUANTITIES.items():
            values = group[name].to_numpy()
            with np.errstate(divide="ignore", invalid="ignore"):
                y = np.log(values)
            slope = float(y @ x / (x @ x)) if np.isfinite(y).all() else np.nan
            found.append((state, channels, label, member, slope))
    return pd.DataFrame(found, columns=["state", "channels", "quantity", "member", "slope"])
