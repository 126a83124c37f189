"""The chart of all stresses side by side: which of them makes families spread."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError
from akp_core.stress import percent

FOUND = ("spread", "gathered", "cannot be told")
_SHAPES = ("triangle-right", "triangle-left", "circle")
_COLOURS = ("#d95f02", "#1b74c5", "#8a8a8a")


def which_spread(cells: pd.DataFrame, *, level: float) -> alt.LayerChart | alt.FacetChart:
    """Draw how spread each stressed family is, the most spread on top; menus choose the tap and the onset.

    Parameters
    ----------
    cells : DataFrame
        From `akp_core.judgement.judge`: columns ``stress``, ``onset``, ``tap``, ``ratio``, ``low``, ``high``,
        ``p_value``. Families without a finite ratio are left to tables, and ends that are infinite or 0.
    level : float
        A p-value below it tells spread or gathered families from the control.
    """
    columns = ["stress", "onset", "tap", "ratio", "low", "high", "p_value"]
    needs(cells, columns)
    drawn = cells[columns].replace([np.inf, 0.0], np.nan).assign(p_value=cells["p_value"])
    drawn = drawn.dropna(subset=["ratio"])
    if drawn.empty:
        raise AkpError("expected at least one family with a finite ratio of dispersions to draw, got none")
    drawn["onset"] = cells["onset"].astype(float)
    told = drawn["p_value"] < level
    drawn["found"] = np.select(
        [told & (drawn["ratio"] > 1), told & (drawn["ratio"] < 1)], FOUND[:2], FOUND[2]
    )
    taps, onsets = list(dict.fromkeys(cells["tap"])), sorted({float(onset) for onset in drawn["onset"]})
    tap = alt.param(
        name="spread_tap",
        value="features" if "features" in taps else taps[-1],
        bind=alt.binding_select(options=taps, name="Look at "),
    )
    onset = alt.param(
        name="spread_onset",
        value=onsets[0],
        bind=alt.binding_radio(
            options=onsets, labels=[f"{percent(o)} of training" for o in onsets], name="Set in at "
        ),
    )
    # one scale for all choices, so that a reader sees which tap and onset does more
    ends = drawn[["ratio", "low", "high"]].to_numpy(float)
    reach = [min(1.0, float(np.nanmin(ends))) / 1.15, 1.3 * max(1.0, float(np.nanmax(ends)))]
    log = alt.Scale(type="log", domain=reach, nice=False)
    base = (
        alt.Chart(as_lines(rounded(drawn, 3)))
        .transform_filter((alt.datum.tap == tap) & (alt.datum.onset == onset))
        .encode(
            y=alt.Y(
                "stress:N",
                title=None,
                sort=alt.EncodingSortField("ratio", order="descending"),
                axis=alt.Axis(labelLimit=160),
            ),
        )
    )
    x = alt.X(
        "ratio:Q",
        title="times as spread as the control (log scale)",
        scale=log,
        axis=alt.Axis(tickCount=4, format="~g", labelOverlap="greedy"),
    )
    legend = alt.Legend(orient="top", symbolSize=100)
    colour = alt.Color(
        "found:N", title=None, scale=alt.Scale(domain=list(FOUND), range=list(_COLOURS)), legend=legend
    )
    shape = alt.Shape(
        "found:N", title=None, scale=alt.Scale(domain=list(FOUND), range=list(_SHAPES)), legend=legend
    )
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(
        x=alt.X("low:Q", scale=log), x2="high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=x,
        color=colour,
        shape=shape,
        tooltip=["stress:N", "ratio:Q", "low:Q", "high:Q", "p_value:Q", "found:N"],
    )
    numbers = base.mark_text(align="left", dx=8, dy=-9, fontSize=12, aria=False).encode(
        x=x, text=alt.Text("ratio:Q", format=".2f")
    )
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(strokeDash=[4, 4], color="gray", aria=False)
    names = list(dict.fromkeys(drawn["stress"]))
    return (
        alt.layer(one.encode(x=alt.X("one:Q", scale=log)), bars, points, numbers)
        .add_params(tap, onset)
        .properties(
            width=360,
            height=34 * len(names),
            title=alt.TitleParams("Which stress makes families spread?", anchor="start"),
            description=(
                f"Interactive chart. A menu chooses one of {len(taps)} taps, buttons one of {len(onsets)} "
                f"onsets. A row for each of {len(names)} stresses ({', '.join(names)}), the most spread on "
                "top: how many times as far from their centroid its networks lie as the control's, with "
                "interval, number, and whether a permutation test tells the two apart. The dashed line is "
                "no difference."
            ),
        )
    )
