"""Charts of the scale-detection task: the task itself, to play with, and what depth does to D and G."""

from __future__ import annotations

import math

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs
from akp_core.errors import AkpError, expected
from akp_core.scale_detection.task import ScaleTask


def the_task(task: ScaleTask) -> alt.LayerChart | alt.FacetChart:
    """Draw the circle with two points that the reader moves, the scale, and the label by either rule.

    Parameters
    ----------
    task : ScaleTask
        In one dimension; its side, scale and gap are where the sliders begin.

    Raises
    ------
    AkpError
        For a task in two dimensions.
    """
    if task.dims != 1:
        raise expected("a task in one dimension, on a circle", f"{task.dims} dimensions")
    n = task.side
    sliders = {
        "first": ("First point ", 0, n - 1, 3),
        "second": ("Second point ", 0, n - 1, min(n - 1, 3 + round(task.scale / 2))),
        "scale": ("Scale ", 2, n // 2, round(task.scale)),
        "gap": ("Gap ", 0, n // 4, round(task.gap)),
    }
    params = [
        alt.param(name=key, value=start, bind=alt.binding_range(min=low, max=high, step=1, name=label))
        for key, (label, low, high, start) in sliders.items()
    ]
    rule = alt.param(
        name="rule",
        value=task.rule,
        bind=alt.binding_radio(
            options=["distance", "block"], labels=["distance", "same block"], name="Rule "
        ),
    )
    angle = 2 * np.pi * np.arange(n) / n
    sites = pd.DataFrame({"site": np.arange(n), "x": np.sin(angle), "y": np.cos(angle)}).round(4)
    across = "abs(first - second)"
    apart = f"min({across}, {n} - {across})"
    away = f"min(abs(datum.site - first), {n} - abs(datum.site - first))"
    near = f"(rule == 'block' ? floor(first / scale) == floor(second / scale) : {apart} < scale - gap)"
    far = f"(rule == 'block' ? true : {apart} >= scale + gap)"
    label = (
        f"first == second ? 'one pixel only: no pair' : {near} ? 'near: +1' : {far} ? 'far: -1' "
        ": 'in the gap: left out'"
    )
    hidden = alt.Axis(labels=False, ticks=False, grid=False, domain=False, title=None)
    reach = alt.Scale(domain=[-1.25, 1.25])
    base = alt.Chart(as_lines(sites)).encode(
        x=alt.X("x:Q", axis=hidden, scale=reach), y=alt.Y("y:Q", axis=hidden, scale=reach)
    )
    ring = base.transform_calculate(
        part="rule == 'block' ? 'block ' + (floor(datum.site / scale) % 2 == 0 ? 'A' : 'B') : "
        f"{away} < scale - gap ? 'near the first point' : {away} < scale + gap ? 'in the gap' : 'far'"
    ).mark_point(filled=True, size=35, opacity=0.9).encode(
        color=alt.Color("part:N", title="sites", legend=alt.Legend(orient="bottom", columns=2)),
        tooltip=["site:Q", "part:N"],
    )  # fmt: skip
    points = base.transform_filter("datum.site == first || datum.site == second").mark_point(
        filled=False, size=260, strokeWidth=3, opacity=1
    )  # fmt: skip
    words = (
        alt.Chart(pd.DataFrame({"x": [0.0], "y": [0.0]}))
        .transform_calculate(lines=f"split('distance ' + {apart} + '|' + ({label}), '|')")
        .mark_text(fontSize=15, lineHeight=22)
        .encode(x="x:Q", y="y:Q", text="lines:N")
    )
    return (
        alt.layer(ring, points, words)
        .add_params(*params, rule)
        .properties(
            width=300,
            height=300,
            description=(
                f"Interactive chart: a circle of {n} sites with two ringed points. Sliders move the points "
                "and set the scale and the gap, a radio button chooses the rule. In the middle stand the "
                "distance of the points and the label of the pair."
            ),
        )
    )


def curves(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw D or G of every layer: ideal filters as lines, networks as points with intervals over networks.

    Parameters
    ----------
    table : DataFrame
        ``curves`` of `akp_core.scale_detection.experiment.Experiment`. Values of 0 have no place on the
        logarithmic axis and are left out; lower ends are cut at a tenth of the value.
    """
    columns = [
        "layers",
        "state",
        "channels",
        "quantity",
        "layer",
        "field",
        "value",
        "low",
        "high",
        "networks",
    ]
    needs(table, columns)
    drawn = table[columns]
    drawn = drawn[drawn["value"] > 0].copy()
    if drawn.empty:
        raise AkpError("expected at least one sensitivity above 0, got none")
    drawn["low"] = drawn["low"].clip(lower=drawn["value"] / 10)
    for name in ("value", "low", "high"):
        drawn[name] = drawn[name].map(lambda value: float(f"{value:.3g}") if math.isfinite(value) else None)
    options = {name: list(dict.fromkeys(drawn[name])) for name in ("layers", "quantity", "channels")}
    labels = {"layers": "Layers ", "quantity": "Show ", "channels": "Of "}
    binds = {"layers": alt.binding_select, "quantity": alt.binding_select, "channels": alt.binding_radio}
    menus = {
        key: alt.param(name=key, value=found[0], bind=binds[key](options=found, name=labels[key]))
        for key, found in options.items()
    }
    states = list(dict.fromkeys(drawn["state"]))
    chosen = (
        (alt.datum.layers == menus["layers"])
        & (alt.datum.quantity == menus["quantity"])
        & (alt.datum.channels == menus["channels"])
    )
    up, whole = alt.Scale(type="log"), alt.Axis(tickMinStep=1, format="d")
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter(chosen)
        .transform_calculate(
            # without an interval a bar of no length: an axis of nothing has no ends
            lower="isValid(datum.low) ? datum.low : datum.value",
            upper="isValid(datum.high) ? datum.high : datum.value",
        )
        .encode(
            x=alt.X("layer:Q", title="layer", axis=whole, scale=alt.Scale(nice=False, padding=12)),
            color=alt.Color("state:N", title=None, sort=states, legend=alt.Legend(orient="top", columns=2)),
        )
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=1.5, aria=False).encode(
        y=alt.Y("value:Q", title="sensitivity (log scale)", scale=up),
        strokeDash=alt.StrokeDash("state:N", sort=states, legend=None),
    )
    bars = base.mark_rule(strokeWidth=1.5, aria=False).encode(y=alt.Y("lower:Q", scale=up), y2="upper:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        y=alt.Y("value:Q", scale=up),
        shape=alt.Shape("state:N", sort=states, legend=None),
        tooltip=[f"{name}:N" for name in columns[:4]] + [f"{name}:Q" for name in columns[4:]],
    )
    return (
        alt.layer(lines, bars, points)
        .add_params(*menus.values())
        .properties(
            width=460,
            height=300,
            description=(
                f"Interactive chart. Menus choose the layers ({', '.join(options['layers'])}), what is "
                f"shown ({', '.join(options['quantity'])}) and whether channels are averaged first. Against "
                f"the layer, on a logarithmic axis: {', '.join(states)}, with intervals over networks."
            ),
        )
    )
