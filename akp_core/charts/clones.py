"""Charts of clones: what chunks of a layer do against their size, and clones against width."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError, unknown_name

QUANTITIES = {
    "out_of_sample": "R² of the whole, out of sample",
    "r_squared": "R² of the whole, in sample",
    "others": "residual correlation, other units",
    "correlation": "residual correlation, whole layer",
    "test_error": "test error of chunks",
    "train_error": "training error of chunks",
}
"""What `chunk_curves` draws, and how to call it."""
PUBLISHED = "published, Wide-ResNet on CIFAR-10"
_KEYS = ["layer", "condition", "width"]


def _menu(name: str, options: Sequence[object], label: str) -> alt.Parameter:
    return alt.param(
        name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label} ")
    )


def mean_curves(curves: pd.DataFrame, labels: Mapping[tuple[float, int], str]) -> pd.DataFrame:
    """Means of chunk curves over networks, as `chunk_curves` takes them.

    Parameters
    ----------
    curves : DataFrame
        ``layer``, ``decay``, ``epoch``, ``layer_width``, ``size`` and the `QUANTITIES`.
    labels : dict
        What to call each (decay, epoch).

    Returns
    -------
    DataFrame
        One row a layer, condition, width, size (powers of two, and the whole) and quantity: ``value``,
        and ``low`` and ``high``, the least and greatest network.
    """
    needs(curves, ["layer", "decay", "epoch", "layer_width", "size", *QUANTITIES])
    known = curves.dropna(subset=["size"])
    # the sizes that every width shares, so that a page stays small
    whole = known["size"] == known["layer_width"]
    known = known[whole | known["size"].map(lambda size: int(size).bit_count() == 1)]
    named = known.assign(
        condition=[labels[float(d), int(e)] for d, e in zip(known["decay"], known["epoch"], strict=True)],
        width=known["layer_width"],
    )
    long = named.melt([*_KEYS, "size"], list(QUANTITIES), "quantity").dropna(subset=["value"])
    found = long.groupby([*_KEYS, "size", "quantity"], sort=False)["value"].agg(["mean", "min", "max"])
    table = found.reset_index().rename(columns={"mean": "value", "min": "low", "max": "high"})
    order = list(labels.values())
    return table.sort_values("condition", key=lambda names: names.map(order.index), kind="stable")


def chunk_curves(
    means: pd.DataFrame, published: pd.DataFrame | None = None
) -> alt.LayerChart | alt.FacetChart:
    """Draw what chunks do against their size, one line a width; menus choose quantity, layer and condition.

    Parameters
    ----------
    means : DataFrame
        From `mean_curves`.
    published : DataFrame, optional
        ``size`` and some of the `QUANTITIES`, drawn dashed beside ours.
    """
    needs(means, [*_KEYS, "size", "quantity", "value", "low", "high"])
    if means.empty:
        raise AkpError("expected at least one chunk curve, got an empty table")
    for stray in set(means["quantity"]) - set(QUANTITIES):
        raise unknown_name("quantity", stray, QUANTITIES)
    quantities = [name for name in QUANTITIES if name in set(means["quantity"])]
    layers, conditions = (list(dict.fromkeys(means[name])) for name in ("layer", "condition"))
    widths = sorted({int(w) for w in means["width"]})
    titles = [QUANTITIES[name] for name in quantities]
    menus = [
        _menu("quantity", titles, "Show"),
        _menu("layer", layers, "Last layer"),
        _menu("condition", conditions, "Networks"),
    ]
    words = {"quantity": quantities, "layer": layers, "condition": conditions}
    coded = means.assign(**{name: means[name].map(known.index) for name, known in words.items()})
    numbers = coded[[*words, "width", "size", "value", "low", "high"]].astype(float)
    at = [
        f"indexof({json.dumps(known)}, {menu.name})"
        for known, menu in zip((titles, layers, conditions), menus, strict=True)
    ]
    base = alt.Chart(as_lines(rounded(numbers, 3))).transform_filter(
        " && ".join(f"datum.{name} === {where}" for name, where in zip(words, at, strict=True))
    )
    reference = None if published is None else published.reindex(columns=["size", *quantities])
    # ends of our own: not everything was published, and an axis of nothing has none
    sizes = pd.concat([means["size"], *([] if reference is None else [reference["size"]])])
    x = alt.X(
        "size:Q",
        title="units in the chunk (log scale)",
        scale=alt.Scale(type="log", base=2, nice=False, domain=[int(sizes.min()), int(sizes.max())]),
    )
    y = alt.Y("value:Q", title="mean over networks and chunks", scale=alt.Scale(domain=[0, 1], clamp=True))
    colour = alt.Color(
        "width:N",
        title="units in the layer",
        sort=widths,
        legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1),
    )
    tip = ["width:Q", "size:Q", "value:Q", "low:Q", "high:Q"]
    parts: list[alt.Chart] = [
        base.mark_rule(opacity=0.5, aria=False).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2.5, aria=False).encode(x=x, y=y, color=colour),
        base.mark_point(filled=True, size=45, opacity=1).encode(x=x, y=y, color=colour, tooltip=tip),
    ]
    if reference is not None:
        long = reference.melt("size", quantities, "quantity").dropna()
        long["quantity"] = long["quantity"].map(quantities.index)
        parts.append(
            alt.Chart(as_lines(long))
            .transform_filter(f"datum.quantity === {at[0]}")
            .mark_line(strokeDash=[6, 4], strokeWidth=2, color="gray", point=alt.OverlayMarkDef(color="gray"))
            .encode(x=x, y=y, tooltip=[alt.Tooltip("value:Q", title=PUBLISHED)])
        )
    return (
        alt.layer(*parts)
        .add_params(*menus)
        .properties(
            width=480,
            height=300,
            description=(
                f"Interactive chart. Menus choose one of {len(quantities)} quantities, the last layer "
                f"({', '.join(map(str, layers))}) and one of {len(conditions)} conditions. Lines, one for "
                f"each width from {widths[0]} to {widths[-1]}: it against the size of the chunk, mean "
                "over networks, with bars from the least to the greatest network."
                + (
                    f" Dashed and gray: {PUBLISHED}, read off a figure by eye."
                    if published is not None
                    else ""
                )
            ),
        )
    )


def counts(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw the number of clones against width, one line a condition; menus choose layer and threshold.

    Parameters
    ----------
    table : DataFrame
        ``layer``, ``by``, ``condition``, ``width``, ``clones``, ``low``, ``high``.
    """
    needs(table, ["layer", "by", "condition", "width", "clones", "low", "high"])
    drawn = table.dropna(subset=["clones"])
    if drawn.empty:
        raise AkpError("expected at least one number of clones, got none")
    drawn = drawn[["layer", "by", "condition", "width", "clones", "low", "high"]]
    layers, thresholds, conditions = (
        list(dict.fromkeys(drawn[name])) for name in ("layer", "by", "condition")
    )
    menus = [_menu("layer", layers, "Last layer"), _menu("by", thresholds, "Counted by")]
    base = alt.Chart(as_lines(rounded(drawn, 3))).transform_filter(
        (alt.datum.layer == menus[0]) & (alt.datum.by == menus[1])
    )
    log: dict[str, Any] = {"type": "log", "base": 2, "nice": False}
    units = sorted({int(width) for width in drawn["width"]})
    x = alt.X(
        "width:Q",
        title="units in the layer (log scale)",
        scale=alt.Scale(**log, domain=[min(units), max(units)]),
        axis=alt.Axis(values=units),
    )
    y = alt.Y(
        "clones:Q", title="clones in the layer (log scale)", scale=alt.Scale(**log, domainMin=1, clamp=True)
    )
    colour = alt.Color(
        "condition:N",
        title=None,
        sort=conditions,
        legend=alt.Legend(
            orient="top", columns=1, labelLimit=320, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
        ),
    )
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(x=x, y="low:Q", y2="high:Q", color=colour)
    line = base.mark_line(strokeWidth=2.5, aria=False).encode(
        x=x, y=y, color=colour, strokeDash=alt.StrokeDash("condition:N", sort=conditions, legend=None)
    )
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=x, y=y, color=colour, tooltip=["condition:N", "width:Q", "clones:Q", "low:Q", "high:Q"]
    )
    two = (
        alt.Chart(drawn[["width"]].head(1)).mark_rule(strokeDash=[4, 4], color="gray").encode(y=alt.datum(2))
    )
    return (
        alt.layer(two, bars, line, points)
        .add_params(*menus)
        .properties(
            width=480,
            height=280,
            title=alt.TitleParams("Where do clones appear?", anchor="start"),
            description=(
                f"Interactive chart, both axes logarithmic. Menus choose the last layer "
                f"({', '.join(map(str, layers))}) and how clones are counted. Lines, one for each of "
                f"{len(conditions)} conditions: the number of clones against the width of the layer, with "
                "intervals over networks. Above the dashed line, at two, there are clones."
            ),
        )
    )


def law(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw error above that at infinity against chunk size beside the fit and the published law.

    Parameters
    ----------
    table : DataFrame
        One row a series and size: ``series``, ``size``, ``excess``, and the lines ``fitted`` and ``half``
        (slope -1/2 through the geometric middle); NaN where a line is not drawn.
    """
    needs(table, ["series", "size", "excess", "fitted", "half"])
    drawn = table[table["excess"] > 0].copy()
    if drawn.empty:
        raise AkpError("expected at least one error above that at infinity, got none")
    for name in ("excess", "fitted", "half"):
        drawn[name] = drawn[name].map(lambda value: float(f"{value:.4g}"))
    series = list(dict.fromkeys(drawn["series"]))
    log: dict[str, Any] = {"type": "log", "nice": False, "padding": 8}
    x = alt.X("size:Q", title="units in the chunk (log scale)", scale=alt.Scale(**log, base=2))
    title = "test error above the ensemble's (log scale)"
    legend = alt.Legend(orient="top", columns=1, labelLimit=320)
    colour = alt.Color("series:N", title=None, sort=series, legend=legend)
    base = alt.Chart(drawn)

    def line(column: str, dash: list[int]) -> alt.Chart:
        return (
            base.transform_filter(f"isValid(datum.{column})")
            .mark_line(strokeDash=dash, strokeWidth=2)
            .encode(x=x, y=alt.Y(f"{column}:Q", title=title, scale=alt.Scale(**log)), color=colour)
        )

    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x,
        y=alt.Y("excess:Q", title=title, scale=alt.Scale(**log), axis=alt.Axis(format="%")),
        color=colour,
        shape=alt.Shape("series:N", title=None, sort=series, legend=legend),
        tooltip=["series:N", "size:Q", "excess:Q"],
    )
    return alt.layer(line("half", [2, 3]), line("fitted", []), points).properties(
        width=480,
        height=280,
        description=(
            f"Chart, both axes logarithmic, of {len(series)} series ({', '.join(series)}): test error of "
            "chunks above that of the ensemble, against the size of the chunk. Lines: the fitted power law. "
            "Dotted: a power of minus one half."
        ),
    )
