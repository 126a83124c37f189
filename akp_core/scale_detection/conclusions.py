"""What the exponents of trained networks say about the derived ones: a verdict for each, computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

from akp_core.errors import expected
from akp_core.scale_detection.curves import CHANNELS, IDEALS, STATES, over_networks
from akp_core.scale_detection.network import Stack
from akp_core.scale_detection.sensitivity import QUANTITIES
from akp_core.theory.ornstein_uhlenbeck import number
from akp_core.theory.pooling import THREE_AT_TWO_NOISE, sum_rule

Verdict = Literal["reproduced", "not reproduced", "undecided"]


def place(low: float, high: float, target: float, tolerance: float) -> Verdict:
    """Where an interval lies against a target: inside target +- tolerance, outside, or across its edge.

    Parameters
    ----------
    low, high : float
        Ends of the interval; NaN where there is none.
    target : float
    tolerance : float
        At least 0: how far from the target still counts as the same.

    Returns
    -------
    {"reproduced", "not reproduced", "undecided"}
        Undecided also where anything is NaN.
    """
    number("tolerance", tolerance, 0)
    if target - tolerance <= low and high <= target + tolerance:
        return "reproduced"
    return "not reproduced" if high < target - tolerance or low > target + tolerance else "undecided"


def derived(stack: Stack) -> dict[str, float]:
    """Exponents in A at infinite depth of even filters, where they are proved; NaN elsewhere.

    From the book's theorems: stride 1 (D: -2), filter as wide as the stride (D: -1), wider filters of a
    multiple of the stride 2 (D: -2 for four ones), and three ones at stride 2, which alias (D: 0). G of
    rectified noise is d; of other noise 0, in layers without a ReLU (with one, the first layer rectifies it).
    """
    d = np.nan
    rectified = float(stack.dims)
    if stack.filter < 2:
        return dict.fromkeys(QUANTITIES, np.nan)
    if stack.stride == 1:
        d = -2.0
    elif stack.filter == stack.stride:
        d = -1.0
    elif (stack.filter, stack.stride) == (4, 2):
        d = -2.0
    elif not sum_rule([1.0] * stack.filter, stack.stride):
        d = 0.0
        rectified = stack.dims * THREE_AT_TWO_NOISE if (stack.filter, stack.stride) == (3, 2) else np.nan
    return {"moved": d, "noisy": 0.0, "rectified": rectified}


def exponents(
    slopes: pd.DataFrame, stack: Stack, *, tolerance: float = 0.25, level: float = 0.05
) -> pd.DataFrame:
    """Exponents over networks beside the derived ones, each with a verdict.

    Parameters
    ----------
    slopes : DataFrame
        From `akp_core.scale_detection.curves.slopes`, of networks to be counted.
    stack : Stack
    tolerance : float
        How far from the ideal still counts as the same exponent.
    level : float
        Intervals hold with confidence 1 - level, each on its own.

    Returns
    -------
    DataFrame
        One row a state but the ideals, channels and quantity: ``state, channels, quantity, proved`` (at
        infinite depth), ``linear``, ``ideal`` and ``binomial`` (such filters on the same images and layers,
        the first without a ReLU), ``value, low, high, networks, verdict`` (against ``ideal``),
        ``binomial_verdict``; undecided against a NaN.
    """
    limits = {QUANTITIES[name]: value for name, value in derived(stack).items()}
    of = {
        name: slopes[slopes["state"] == name].set_index(["channels", "quantity"])["slope"] for name in IDEALS
    }
    found = []
    for state, channels, quantity in product(STATES[len(IDEALS) :], CHANNELS.values(), QUANTITIES.values()):
        same = (
            (slopes["state"] == state) & (slopes["channels"] == channels) & (slopes["quantity"] == quantity)
        )
        value, low, high, count = over_networks(slopes.loc[same, "slope"].to_numpy(), level)
        due, other, linear = (float(of[name].get((channels, quantity), np.nan)) for name in IDEALS)
        verdicts = (place(low, high, target, tolerance) for target in (due, other))
        ends = (value, low, high, count)
        found.append((state, channels, quantity, limits[quantity], linear, due, other, *ends, *verdicts))
    names = "state channels quantity proved linear ideal binomial value low high networks verdict"
    return pd.DataFrame(found, columns=[*names.split(), "binomial_verdict"])


def signature(slopes: pd.DataFrame, *, channels: str, level: float = 0.05) -> pd.DataFrame:
    """Whether training, not the draw of weights, makes D fall and G of rectified noise rise with depth.

    Parameters
    ----------
    slopes : DataFrame
        From `akp_core.scale_detection.curves.slopes`, of networks to be counted.
    channels : str
        Of the table.
    level : float
        Intervals hold with confidence 1 - level.

    Returns
    -------
    DataFrame
        One row for D and one for G: ``quantity, value, low, high`` (exponent of trained networks), ``change,
        change_low, change_high`` (less that of the same networks untrained), ``networks, verdict``.
        Reproduced: both intervals lie on the claimed side of 0. Not: one lies on the other side.

    Raises
    ------
    AkpError
        For channels that the table does not have.
    """
    kept = slopes[slopes["channels"] == channels]
    if kept.empty:
        raise expected(f"channels of the table ({', '.join(slopes['channels'].unique())})", repr(channels))
    found = []
    for name, sign in (("moved", -1), ("rectified", 1)):
        table = kept[kept["quantity"] == QUANTITIES[name]]
        table = table.pivot(index="member", columns="state", values="slope").reindex(columns=STATES)
        value, low, high, count = over_networks(table["trained"].to_numpy(), level)
        change, *ends, _ = over_networks((table["trained"] - table["untrained"]).to_numpy(), level)
        near = [min(sign * a, sign * b) for a, b in ((low, high), ends)]
        far = [max(sign * a, sign * b) for a, b in ((low, high), ends)]
        verdict = "reproduced" if min(near) > 0 else "not reproduced" if min(far) < 0 else "undecided"
        found.append((QUANTITIES[name], value, low, high, change, *ends, count, verdict))
    names = "quantity value low high change change_low change_high networks verdict"
    return pd.DataFrame(found, columns=names.split())


def aliasing(low: float, high: float, even: float, tolerance: float) -> str:
    """Whether the D of trained odd filters at an even stride falls where that of even filters stays.

    Parameters
    ----------
    low, high : float
        Interval of the trained exponent of D.
    even : float
        Exponent of even filters over the same layers.
    tolerance : float
        At least 0.

    Returns
    -------
    str
        ``avoided`` if the interval lies below ``even - tolerance``, ``shown`` if above, else ``undecided``.
    """
    edge = even - number("tolerance", tolerance, 0)
    return "avoided" if high < edge else "shown" if low >= edge else "undecided"


def figures(row: pd.Series) -> dict[str, float | None]:
    """Value and interval of a row as a verdict card takes them: None where there is none."""
    found = {name: float(row[name]) for name in ("value", "low", "high")}
    told = all(map(np.isfinite, found.values()))
    return {name: (value if told else None) for name, value in found.items()}


def in_words(row: pd.Series) -> str:
    """Value and interval of a row as text."""
    if not np.isfinite(row["value"]):
        return "not measured"
    if not np.isfinite([row["low"], row["high"]]).all():
        return f"{row['value']:.2f}, without an interval"
    return f"{row['value']:.2f}, from {row['low']:.2f} to {row['high']:.2f}"


def together(verdicts: Sequence[str]) -> Verdict:
    """One word for several: reproduced if all are, not reproduced if one is not, else undecided."""
    if verdicts and all(v == "reproduced" for v in verdicts):
        return "reproduced"
    return "not reproduced" if "not reproduced" in verdicts else "undecided"


TONES: Mapping[str, Literal["yes", "no", "open"]] = {
    "reproduced": "yes", "not reproduced": "no", "undecided": "open"
}  # fmt: skip
