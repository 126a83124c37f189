"""Charts of what becomes of networks after a stress: curves of recovery, and a map of where they end up."""

from __future__ import annotations

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError
from akp_core.stress import percent

KINDS = ("pulse", "press")
STATES = ("own twin", "family", "inside", "neither", "undecided")
SHAPES = ("circle", "square", "diamond", "triangle-up", "cross")


def recovery_curves(errors: pd.DataFrame, places: pd.DataFrame) -> alt.VConcatChart:
    """Draw how error and representation leave the twin's and come back: choose stress, onset and tap.

    Parameters
    ----------
    errors : DataFrame
        From `akp_core.adaptation.error_curves`: columns ``stress``, ``dose``, ``onset``, ``kind``, ``epoch``,
        ``excess``, ``low``, ``high``.
    places : DataFrame
        From `akp_core.adaptation.timeline`: the same but for ``excess``, and ``tap``, ``since``, ``apart``,
        ``apart_low``, ``apart_high``.
    """
    names = ["stress", "dose", "onset", "kind", "epoch"]
    needs(errors, [*names, "since", "excess", "low", "high"])
    needs(places, [*names, "tap", "apart", "apart_low", "apart_high"])
    if errors.empty or places.empty:
        raise AkpError("expected curves with at least one look, got none; ask the study for looks=8")
    both = [with_dose(table) for table in (errors, places)]
    stresses, onsets, taps = (
        list(dict.fromkeys(column))
        for column in (both[0]["what"], sorted(errors["onset"].astype(float)), places["tap"])
    )
    stress = alt.param(
        name="stress", value=stresses[0], bind=alt.binding_select(options=stresses, name="Stress ")
    )
    labels = [f"{percent(o)} of training" for o in onsets]
    middle = onsets[(len(onsets) - 1) // 2]
    onset = alt.param(
        name="onset",
        value=middle,
        bind=alt.binding_select(options=onsets, labels=labels, name="Set in at "),
    )
    first = "features" if "features" in taps else taps[-1]
    tap = alt.param(name="tap", value=first, bind=alt.binding_select(options=taps, name="Look at "))
    chosen = (alt.datum.what == stress) & (alt.datum.onset == onset)
    error = both[0][["what", "onset", "kind", "epoch", "since"]].assign(
        value=100 * errors["excess"], low=100 * errors["low"], high=100 * errors["high"]
    )
    place = both[1][["what", "onset", "kind", "epoch", "tap"]].assign(
        value=places["apart"], low=places["apart_low"], high=places["apart_high"]
    )
    ends = error[(error["since"] >= 0) & (error["kind"] == "pulse")].groupby(["what", "onset"], sort=False)
    over = ends["epoch"].min().reset_index()
    undone = (
        alt.Chart(as_lines(rounded(over, 3)))
        .transform_filter(chosen)
        .mark_rule(strokeDash=[4, 4], color="gray")
        .encode(x="epoch:Q", tooltip=[alt.Tooltip("epoch:Q", title="the pulse is undone at epoch")])
    )
    upper = _curve(rounded(error, 2), chosen, "test error above the twin's, points", 0.0, "epoch")
    lower = _curve(
        rounded(place, 3),
        chosen & (alt.datum.tap == tap),
        "distance to the own twin (1: strangers)",
        1.0,
        "epoch",
    )
    return (
        alt.vconcat(
            alt.layer(undone, *upper).properties(width=480, height=190, title="Error"),
            alt.layer(undone, *lower).properties(width=480, height=190, title="Representation"),
            spacing=14,
        )
        .add_params(stress, onset, tap)
        .properties(
            description=(
                f"Interactive chart. Menus choose one of {len(stresses)} stresses ({', '.join(stresses)}), "
                f"{len(onsets)} onsets and {len(taps)} taps. Above, how much more stressed networks err than "
                "their twins, below, how far they are from them, from the onset on, for a "
                "pulse and for a press, with intervals. A dashed line marks the end of the pulse."
            )
        )
    )


def _curve(
    table: pd.DataFrame, chosen: alt.PredicateComposition, title: str, reference: float, x: str
) -> tuple[alt.Chart, ...]:
    legend = alt.Legend(
        orient="top", symbolType="stroke", symbolSize=300, symbolOpacity=1, symbolStrokeWidth=3
    )
    scale = alt.Scale(domain=list(KINDS))
    base = alt.Chart(as_lines(table)).transform_filter(chosen)
    along = alt.X(f"{x}:Q", title="epoch of training", scale=alt.Scale(zero=True))
    colour = alt.Color("kind:N", title=None, scale=scale, legend=legend)
    tip = ["kind:N", "epoch:Q", "value:Q", "low:Q", "high:Q"]
    rule = alt.Chart(pd.DataFrame({"at": [reference]})).mark_rule(color="gray", aria=False).encode(y="at:Q")
    band = base.mark_area(opacity=0.22, aria=False).encode(
        x=along, y=alt.Y("low:Q", title=title), y2="high:Q", color=colour
    )
    dash = alt.StrokeDash("kind:N", title=None, scale=scale, legend=legend)
    line = base.mark_line(strokeWidth=2.5, aria=False).encode(
        x=along, y=alt.Y("value:Q", title=title), color=colour, strokeDash=dash
    )
    dots = base.mark_point(filled=True, size=50, opacity=1).encode(
        x=along, y="value:Q", color=colour, tooltip=tip
    )
    return rule, band, line, dots


def end_states(states: pd.DataFrame, margin: float) -> alt.LayerChart | alt.FacetChart:
    """Draw where every stressed family ends up: nearness to the own twin against outsideness, tap by tap.

    Parameters
    ----------
    states : DataFrame
        From `akp_core.adaptation.end_states`. Families that could not be placed are left to tables.
    margin : float
        Where a dashed line marks the end of the inside.
    """
    columns = ["family", "kind", "tap", "near", "near_low", "near_high"]
    columns += ["outside", "outside_low", "outside_high", "state"]
    needs(states, columns)
    drawn = rounded(states[columns].dropna(subset=["near", "outside"]), 3)
    if drawn.empty:
        raise AkpError("expected at least one family with four pairs of twins to place, got none")
    taps = list(dict.fromkeys(drawn["tap"]))
    first = "features" if "features" in taps else taps[-1]
    tap = alt.param(name="tap", value=first, bind=alt.binding_select(options=taps, name="Look at "))
    picked = alt.param(
        name="kind",
        value="all",
        bind=alt.binding_radio(options=["all", *KINDS], labels=["both", *KINDS], name="Show "),
    )
    base = alt.Chart(as_lines(drawn)).transform_filter(
        (alt.datum.tap == tap) & ((picked == "all") | (alt.datum.kind == picked))
    )
    scale = alt.Scale(domain=list(STATES))
    legend = alt.Legend(orient="top", symbolSize=120, symbolOpacity=1, title="returned to", columns=5)
    colour = alt.Color("state:N", scale=scale, legend=legend)
    shape = alt.Shape("state:N", scale=alt.Scale(domain=list(STATES), range=list(SHAPES)), legend=legend)
    x = alt.X("near:Q", title="distance to the own twin, over that to the other happy networks")
    y = alt.Y(
        "outside:Q",
        title="distance to the happy centre, over the twin's",
        scale=alt.Scale(zero=False),
    )
    tip = ["family:N", "state:N", "near:Q", "outside:Q"]
    across = base.mark_rule(opacity=0.35, aria=False).encode(
        x=alt.X("near_low:Q"), x2="near_high:Q", y=y, color=colour
    )
    up = base.mark_rule(opacity=0.35, aria=False).encode(
        x=x, y=alt.Y("outside_low:Q"), y2="outside_high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=90, opacity=0.95).encode(
        x=x, y=y, color=colour, shape=shape, tooltip=tip
    )
    lone = alt.Chart(pd.DataFrame({"half": [0.5], "one": [1.0], "limit": [1 + margin]}))
    solid = lone.mark_rule(color="gray", aria=False)
    dashed = lone.mark_rule(color="gray", strokeDash=[4, 4], aria=False)
    halfway, limit = dashed.encode(x="half:Q"), dashed.encode(y="limit:Q")
    no_nearer, as_far = solid.encode(x="one:Q"), solid.encode(y="one:Q")
    counted = ", ".join(f"{n} {s}" for s, n in states["state"].value_counts().items())
    return (
        alt.layer(halfway, no_nearer, as_far, limit, across, up, points)
        .add_params(tap, picked)
        .properties(
            width=460,
            height=320,
            description=(
                f"Interactive map of {states['family'].nunique()} stressed families after training; a "
                f"menu chooses one of {len(taps)} taps. To the right, how near they are to their own twins; "
                "upwards, how far outside the family of happy networks. Verdicts over all taps: "
                f"{counted}. Dashed lines: half-way to strangers, and the margin of {percent(margin)}."
            ),
        )
    )


def with_dose(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column ``what``: the stress, and its dose where doses differ."""
    if table["dose"].nunique() <= 1:
        return table.assign(what=table["stress"])
    doses = table["dose"].map("{:g}".format)
    return table.assign(what=table["stress"] + ", dose " + doses)
