"""Charts of the theory of representations: convergence with width, distances and detours, directions."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError


def _menu(name: str, options: Sequence[object], label: str) -> alt.Parameter:
    return alt.param(
        name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label} ")
    )


def rates(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw measured gaps against width beside what was proved; menus choose activation and estimator.

    Parameters
    ----------
    table : DataFrame
        One row a layer, estimator and width: ``layer``, ``estimator``, ``width``, ``gap``, ``low``, ``high``
        (measured), ``leading`` (c / m) and ``bound`` (4v / m, at most 2); NaN where there is none. Lower
        ends of 0 or less are cut at a hundredth of the gap, as the axis is logarithmic.
    """
    columns = ["layer", "estimator", "width", "gap", "low", "high", "leading", "bound"]
    needs(table, columns)
    drawn = table[columns].dropna(subset=["gap"]).copy()
    drawn = drawn[drawn["gap"] > 0]
    if drawn.empty:
        raise AkpError("expected at least one gap above 0, got none")
    drawn["low"] = drawn["low"].clip(lower=drawn["gap"] / 100)
    for name in ("gap", "low", "high", "leading", "bound"):
        drawn[name] = drawn[name].map(lambda value: float(f"{value:.4g}"))
    layers, kinds = (list(dict.fromkeys(drawn[name])) for name in ("layer", "estimator"))
    menus = [_menu("layer", layers, "Layer"), _menu("estimator", kinds, "CKA")]
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter((alt.datum.layer == menus[0]) & (alt.datum.estimator == menus[1]))
        .encode(x=alt.X("width:Q", title="units in the layer (log scale)", scale=alt.Scale(type="log")))
    )
    upwards = alt.Scale(type="log")
    names = ["measured", "leading term, c / m", "bound, 4v / m"]
    colour = alt.Scale(domain=names)
    layers_drawn = []
    for name, column, dash in ((names[1], "leading", [6, 4]), (names[2], "bound", [2, 2])):
        layers_drawn.append(
            base.transform_calculate(line=f"'{name}'")
            .transform_filter(f"isValid(datum.{column})")
            .mark_line(strokeDash=dash, strokeWidth=2)
            .encode(y=alt.Y(f"{column}:Q", scale=upwards), color=alt.Color("line:N", scale=colour))
        )
    measured = base.transform_calculate(line=f"'{names[0]}'").encode(
        color=alt.Color("line:N", title=None, scale=colour, legend=alt.Legend(orient="top", columns=2)),
        tooltip=["layer:N", "width:Q", "gap:Q", "low:Q", "high:Q", "leading:Q", "bound:Q"],
    )
    bars = measured.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", scale=upwards), y2="high:Q")
    points = measured.mark_point(filled=True, size=70, opacity=1).encode(
        y=alt.Y("gap:Q", title="1 − CKA of two seeds (log scale)", scale=upwards)
    )
    return (
        alt.layer(*layers_drawn, bars, points)
        .add_params(*menus)
        .properties(
            width=480,
            height=300,
            description=(
                f"Interactive chart, both axes logarithmic. Menus choose one of {len(layers)} layers "
                f"({', '.join(map(str, layers))}) and the estimator of CKA. Points with intervals: mean of "
                "1 minus CKA of two seeds against the width. Lines: the proved leading term and the bound "
                "that holds at every width."
            ),
        )
    )


def detours(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw how much longer the way between two representations is over a blend; a menu chooses the two.

    Parameters
    ----------
    table : DataFrame
        ``pair``, ``share`` (of the second in the blend), ``distance`` (its name) and ``detour``.
    """
    columns = ["pair", "share", "distance", "detour"]
    needs(table, columns)
    if table.empty:
        raise AkpError("expected at least one detour, got an empty table")
    pairs, names = (list(dict.fromkeys(table[name])) for name in ("pair", "distance"))
    menu = _menu("pair", pairs, "Between")
    base = alt.Chart(as_lines(rounded(table[columns]))).transform_filter(alt.datum.pair == menu)
    lines = base.mark_line(strokeWidth=2.5, aria=False).encode(
        x=alt.X("share:Q", title="share of the second in the blend"),
        y=alt.Y("detour:Q", title="detour over the blend"),
        color=alt.Color(
            "distance:N",
            title=None,
            sort=names,
            legend=alt.Legend(orient="top", columns=2, labelLimit=240),
        ),
        strokeDash=alt.StrokeDash("distance:N", sort=names, legend=None),
        tooltip=["distance:N", "share:Q", "detour:Q"],
    )
    zero = alt.Chart(table[["share"]].head(1)).mark_rule(color="gray").encode(y=alt.datum(0))
    return (
        alt.layer(zero, lines)
        .add_params(menu)
        .properties(
            width=480,
            height=280,
            description=(
                f"Interactive chart. A menu chooses one of {len(pairs)} pairs of representations. Lines, one "
                f"for each of {', '.join(names)}: the detour over a blend of the two against the "
                "share of the second. Below zero the triangle inequality is broken."
            ),
        )
    )


def directions(table: pd.DataFrame) -> alt.VConcatChart:
    """Draw the cosines of a family's displacements beside their law if random; menus choose the family.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.theory.random_directions.cosine_histograms`.
    """
    columns = ["shared", "dimension", "left", "right", "part", "law", "index", "low", "high", "verdict"]
    needs(table, columns)
    if table.empty:
        raise AkpError("expected at least one histogram, got an empty table")
    shares, dimensions = (sorted(set(table[name])) for name in ("shared", "dimension"))
    menus = [_menu("shared", shares, "Share that is shared"), _menu("dimension", dimensions, "Dimensions")]
    chosen = (alt.datum.shared == menus[0]) & (alt.datum.dimension == menus[1])
    base = alt.Chart(as_lines(rounded(table[columns[:6]]))).transform_filter(chosen)
    x = alt.X("left:Q", bin="binned", title="cosine of two displacements", scale=alt.Scale(domain=[-1, 1]))
    bars = base.mark_bar(opacity=0.7).encode(
        x=x,
        x2="right:Q",
        y=alt.Y("part:Q", title="part of the pairs"),
        tooltip=["left:Q", "right:Q", "part:Q", "law:Q"],
    )
    law = (
        base.transform_calculate(middle="(datum.left + datum.right) / 2")
        .mark_line(strokeDash=[6, 4], strokeWidth=2, color="gray")
        .encode(x="middle:Q", y="law:Q")
    )
    said = rounded(table[["shared", "dimension", "index", "low", "high", "verdict"]].drop_duplicates(), 3)
    words = (
        alt.Chart(as_lines(said))
        .transform_filter(chosen)
        .transform_calculate(
            text="'Own-way index ' + format(datum.index, '.2f') + ' (' + format(datum.low, '.2f') + ' to ' + "
            "format(datum.high, '.2f') + '): ' + datum.verdict"
        )
        .mark_text(align="left", baseline="top", fontSize=14)
        .encode(text="text:N", x=alt.value(0), y=alt.value(0))
        .properties(width=400, height=20, view=alt.ViewConfig(strokeWidth=0))
    )
    return (
        alt.vconcat(words, alt.layer(bars, law).properties(width=400, height=260), spacing=8)
        .add_params(*menus)
        .properties(
            description=(
                "Interactive chart. Menus choose the share of the squared displacement that all models of a "
                f"family share ({', '.join(f'{s:g}' for s in shares)}) and the number of dimensions "
                f"({', '.join(map(str, dimensions))}). Bars: the cosines of all pairs of displacements. "
                "Dashed: their law if every model goes its own way. Above: the own-way index in words."
            )
        )
    )
