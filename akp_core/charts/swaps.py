"""Charts of hot-swaps one by one: what happened around each, and what its effect goes with."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.populations import VERDICTS
from akp_core.charts.tables import as_lines, needs, rounded, top_of
from akp_core.errors import AkpError
from akp_core.stress import percent

ROLES = ("control", "swapped")
_VERDICT_SCALE = alt.Scale(domain=list(VERDICTS))


def swap_explorer(courses: pd.DataFrame, cells: pd.DataFrame, *, kind: str) -> alt.VConcatChart:
    """Draw one swap at a time, chosen by menus: errors around it, and dispersion and verdict at every tap.

    Parameters
    ----------
    courses : DataFrame
        From `akp_core.swaps.courses`.
    cells : DataFrame
        From `akp_core.swaps.of_kind` of `akp_core.judgement.judge`.
    kind : str
        What is swapped, for the menu: ``activation`` or ``loss``.
    """
    needs(courses, ["stress", "onset", "role", "quantity", "share", "mean", "low", "high"])
    columns = ["stress", "onset", "tap", "ratio", "low", "high", "p_value", "verdict", "location_r2", "lost"]
    needs(cells, [*columns, "location_p", "error", "control_error", "to"])
    if cells.empty or courses.empty:
        raise AkpError("expected at least one swap to draw, got none")
    stresses, onsets = list(dict.fromkeys(cells["stress"])), [float(o) for o in dict.fromkeys(cells["onset"])]
    names = cells.drop_duplicates("stress").set_index("stress")["to"]
    which = alt.param(
        name="swap",
        value=stresses[0],
        bind=alt.binding_select(
            options=stresses,
            labels=[names[s].replace("_", " ") for s in stresses],
            name=f"Swap the {kind} to ",
        ),
    )
    when = alt.param(
        name="when",
        value=onsets[0],
        bind=alt.binding_select(
            options=onsets, labels=[f"{percent(o)} of training" for o in onsets], name="At "
        ),
    )
    chosen = (alt.datum.stress == which) & (alt.datum.onset == when)
    left = _courses(courses, chosen)
    right = _taps(cells, columns, chosen)
    words = (
        alt.Chart(as_lines(_sentences(cells)))
        .transform_filter(chosen)
        .transform_calculate(lines="split(datum.sentence, '|')")
        .mark_text(align="left", baseline="top", fontSize=13, lineHeight=18)
        .encode(text="lines:N", x=alt.value(0), y=alt.value(0))
        .properties(width=560, height=56, view=alt.ViewConfig(strokeWidth=0))
    )
    return (
        alt.vconcat(words, alt.hconcat(left, right, spacing=24).resolve_scale(color="independent"), spacing=8)
        .add_params(which, when)
        .properties(
            title=alt.TitleParams("What does a swap do to the curve?", anchor="start"),
            description=(
                f"Interactive chart. Two menus choose one of {len(stresses)} functions to which the {kind} "
                f"is swapped and one of {len(onsets)} onsets. It shows the test and training error of the "
                "control and of the swapped family through training, and at every tap how many times as far "
                "the swapped networks lie from their centroid as the control's, with interval and verdict."
            ),
        )
    )


def _courses(courses: pd.DataFrame, chosen: alt.Predicate) -> alt.LayerChart | alt.FacetChart:
    columns = ["stress", "onset", "role", "quantity", "share", "mean", "low", "high"]
    base = alt.Chart(as_lines(rounded(courses[columns]))).transform_filter(chosen)
    colour = alt.Color(
        "role:N",
        title=None,
        scale=alt.Scale(domain=list(ROLES)),
        legend=alt.Legend(orient="top", symbolOpacity=1),
    )
    dash = alt.StrokeDash(
        "quantity:N",
        title=None,
        sort=["test error", "training error"],
        legend=alt.Legend(orient="top"),
    )
    across = alt.X(
        "share:Q", title="share of training done", axis=alt.Axis(format="%"), scale=alt.Scale(domain=[0, 1])
    )
    up = alt.Y(
        "mean:Q",
        title="share of images wrong",
        axis=alt.Axis(format="%"),
        scale=alt.Scale(domain=[0, min(1.0, top_of(courses["high"]))]),
    )
    tested = base.transform_filter(alt.datum.quantity == "test error")
    band = tested.mark_area(opacity=0.2, aria=False).encode(
        x=across, y=alt.Y("low:Q"), y2="high:Q", color=colour
    )
    lines = base.mark_line(strokeWidth=2, aria=False).encode(x=across, y=up, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=25).encode(
        x=across,
        y=up,
        color=colour,
        tooltip=["role:N", "quantity:N", alt.Tooltip("share:Q", format=".1%"), "mean:Q", "low:Q", "high:Q"],
    )
    swap = base.transform_aggregate(groupby=["onset"]).mark_rule(strokeDash=[4, 4], color="gray")
    return alt.layer(band, swap.encode(x="onset:Q"), lines, points).properties(
        width=250, height=240, title="Errors around the swap"
    )


def _taps(cells: pd.DataFrame, columns: list[str], chosen: alt.Predicate) -> alt.LayerChart | alt.FacetChart:
    finite = cells[columns].replace([np.inf, 0.0], np.nan).assign(lost=cells["lost"])
    taps = list(dict.fromkeys(cells["tap"]))
    base = (
        alt.Chart(as_lines(rounded(finite.dropna(subset=["ratio"]), 3)))
        .transform_filter(chosen)
        .encode(
            y=alt.Y("tap:N", sort=taps, title=None, scale=alt.Scale(domain=taps)),
            color=alt.Color(
                "verdict:N", title=None, scale=_VERDICT_SCALE, legend=alt.Legend(orient="top", columns=2)
            ),
            tooltip=[
                "tap:N",
                "ratio:Q",
                "low:Q",
                "high:Q",
                "p_value:Q",
                "verdict:N",
                "location_r2:Q",
                "lost:Q",
            ],
        )
    )
    title, axis = "times as spread as the control (log scale)", alt.Scale(type="log")
    ticks = alt.Axis(tickCount=4, format="~g", labelOverlap="greedy")
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(
        x=alt.X("low:Q", scale=axis, title=title, axis=ticks), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=70).encode(
        x=alt.X("ratio:Q", scale=axis, title=title, axis=ticks)
    )
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(strokeDash=[4, 4], color="gray")
    return alt.layer(one.encode(x="one:Q"), bars, points).properties(
        width=190, height=240, title="Spread at every tap"
    )


def _sentences(cells: pd.DataFrame) -> pd.DataFrame:
    """What happened in words, for every swap and onset."""
    rows = []
    for (stress, onset), part in cells.groupby(["stress", "onset"], sort=False):
        one = part.iloc[0]
        told = part.groupby("verdict", sort=False)["tap"].agg(", ".join)
        r2 = part["location_r2"].dropna()
        where = (
            f"Location: R² {r2.min():.2f} to {r2.max():.2f} over the taps, p at most "
            f"{part['location_p'].max():.2g}."
            if len(r2)
            else "Location: not testable."
        )
        lost = f" {one['lost']} networks lost." if one["lost"] else ""
        errors = f"Test error {one['error']:.1%}, control {one['control_error']:.1%}.{lost}"
        verdicts = "; ".join(f"{verdict}: {taps}" for verdict, taps in told.items())
        rows.append((stress, onset, f"{errors}|{where}|Verdicts. {verdicts}."))
    return pd.DataFrame(rows, columns=["stress", "onset", "sentence"])


def effect_against(
    cells: pd.DataFrame, properties: pd.DataFrame, column: str, title: str
) -> alt.LayerChart | alt.FacetChart:
    """Draw the effect of every swap against a property of the function swapped in; a menu chooses the tap.

    Parameters
    ----------
    cells : DataFrame
        From `akp_core.swaps.of_kind`.
    properties : DataFrame
        One row a function: ``to`` and `column`.
    column : str
        A numerical property.
    title : str
        Its axis title.
    """
    needs(cells, ["to", "tap", "onset", "ratio", "verdict"])
    needs(properties, ["to", column])
    table = cells[["to", "tap", "onset", "ratio", "verdict"]].replace([np.inf, 0.0], np.nan)
    drawn = table.dropna(subset=["ratio"]).merge(properties[["to", column]], on="to")
    if drawn.empty:
        raise AkpError("expected at least one swap with a finite ratio of dispersions to draw, got none")
    drawn = drawn.rename(columns={column: "property"}).assign(onset=drawn["onset"].map(percent))
    taps = list(dict.fromkeys(cells["tap"]))
    tap = alt.param(
        name="at_tap",
        value="features" if "features" in taps else taps[-1],
        bind=alt.binding_select(options=taps, name="Look at "),
    )
    base = alt.Chart(as_lines(rounded(drawn, 3))).transform_filter(alt.datum.tap == tap)
    across = alt.X("property:Q", title=title, scale=alt.Scale(zero=False, padding=30))
    scale = alt.Scale(type="log", nice=False, padding=24)
    up = alt.Y("ratio:Q", title="dispersion, swapped over control (log)", scale=scale)
    points = base.mark_point(filled=True, size=80).encode(
        x=across,
        y=up,
        color=alt.Color("verdict:N", title=None, scale=_VERDICT_SCALE, legend=alt.Legend(orient="top")),
        shape=alt.Shape("onset:N", title="set in at", legend=alt.Legend(orient="top")),
        tooltip=["to:N", "onset:N", "property:Q", "ratio:Q", "verdict:N"],
    )
    text = (  # one name over the upper of a function's points, not one at each
        base.transform_aggregate(groupby=["to"], ratio="max(ratio)", property="max(property)")
        .mark_text(aria=False, dy=-11, fontSize=11)
        .encode(x=across, y=up, text="to:N")
    )
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(strokeDash=[4, 4], color="gray")
    return (
        alt.layer(one.encode(y="one:Q"), points, text)
        .add_params(tap)
        .properties(
            width=480,
            height=280,
            description=(
                f"Points, one a swap and onset: dispersion of the swapped family over the control's against "
                f"{title}, at the tap that a menu chooses. The dashed line is no difference."
            ),
        )
    )
