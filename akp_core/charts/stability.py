"""Charts of stability: in the course of training, by depth, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs
from akp_core.errors import AkpError

QUANTITIES: Mapping[str, str] = {
    "R": "R = D / G",
    "D": "D, change under deformation",
    "G": "G, change under noise",
}
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
UNTRAINED, CONTROL = "before training", "control, trained"
ALWAYS = "whatever the menu says"


def course(averages: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw D, G and R in the course of training, a line a tap; a menu chooses the quantity.

    Parameters
    ----------
    averages : DataFrame
        From `akp_core.lenses.stability_signatures.averaged`, of one family: ``epoch``, ``tap``, ``quantity``,
        ``value``, ``low``, ``high``.
    """
    return _lines(
        averages,
        x="epoch",
        x_title="passes over the training images",
        colour="tap",
        menus={"quantity": "Show "},
        ident="course",
        says="D, G and R against the epoch, a line for each tap, of the unstressed networks.",
    )


def depth(averages: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw D, G and R along the taps, of a family that a menu chooses beside the control and the untrained.

    Parameters
    ----------
    averages : DataFrame
        As for `course`, with ``family`` and ``step`` in place of ``epoch``. At step 0 the control, at the
        last step the control and other families.
    """
    needs(averages, ["family", "step", "tap", "quantity", "value", "low", "high"])
    last = averages["step"].max()
    common = averages[averages["family"] == "control"]
    common = common[common["step"].isin([0, last])]
    named = common.assign(networks=np.where(common["step"] == 0, UNTRAINED, CONTROL), shown=ALWAYS)
    others = averages[(averages["family"] != "control") & (averages["step"] == last)]
    stressed = others.assign(networks="stressed, trained", shown=others["family"])
    return _lines(
        pd.concat([named, stressed]),
        x="tap",
        x_title="tap, first to last",
        colour="networks",
        menus={"shown": "Stressed family ", "quantity": "Show "},
        ident="depth",
        says="D, G and R along the taps: before training, of the trained control, and of a stressed family.",
    )


def exchanged(averages: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw D, G and R along the taps with channels as learnt and exchanged; menus choose.

    Parameters
    ----------
    averages : DataFrame
        As for `course`, with ``step`` in place of ``epoch`` and ``shuffled``.
    """
    needs(averages, ["step", "shuffled", "tap", "quantity", "value", "low", "high"])
    drawn = averages.assign(
        channels=np.where(averages["shuffled"], "exchanged", "as they are"),
        training=np.where(averages["step"] > 0, "trained", "untrained"),
    ).sort_values("step", ascending=False, kind="stable")
    return _lines(
        drawn,
        x="tap",
        x_title="tap, first to last",
        colour="channels",
        menus={"quantity": "Show ", "training": "Networks "},
        ident="channels",
        says="D, G and R along the taps, with channels as they are and exchanged.",
    )


def piled_up(averages: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw G along the taps for both noises, with and without rectifying activations.

    Parameters
    ----------
    averages : DataFrame
        As for `exchanged`, of G alone, with ``noise`` and ``activation`` in place of ``shuffled``.
    """
    needs(averages, ["step", "noise", "activation", "tap", "quantity", "value", "low", "high"])
    drawn = averages.assign(
        training=np.where(averages["step"] > 0, "trained", "untrained"),
        networks=np.where(averages["activation"] == "none", "nothing rectifies", "as they are"),
    )
    return _lines(
        drawn,
        x="tap",
        x_title="tap, first to last",
        colour="noise",
        menus={"networks": "Activations ", "training": "Networks "},
        ident="noise",
        says="G along the taps, under noise as it is and under rectified noise of the same size.",
    )


def evenness(averages: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw how even filters are, over chance, by layer, untrained and trained.

    Parameters
    ----------
    averages : DataFrame
        As for `course`, with ``layer`` and ``when`` in place of ``epoch`` and ``tap``; ``quantity`` is
        ``over``, a share in the even pattern over that of chance.
    """
    return _lines(
        averages,
        x="layer",
        x_title="convolution, first to last",
        colour="when",
        menus={},
        ident="filters",
        says="Share of filters in the even pattern over that of chance, by layer, untrained and trained.",
    )


def _lines(
    table: pd.DataFrame, *, x: str, x_title: str, colour: str, menus: Mapping[str, str], ident: str, says: str
) -> alt.LayerChart | alt.FacetChart:
    """Lines with intervals on a logarithmic axis; each menu chooses a value of its column."""
    columns = list(dict.fromkeys([x, colour, *menus, "quantity", "value", "low", "high"]))
    needs(table, columns)
    drawn = table[columns].copy()
    drawn = drawn[np.isfinite(drawn["value"]) & (drawn["value"] > 0)]
    if drawn.empty:
        raise AkpError("expected at least one finite value to draw, got none")
    drawn.loc[~(drawn["low"] > 0), ["low", "high"]] = np.nan
    for name in ("value", "low", "high"):
        drawn[name] = [float(f"{number:.3g}") for number in drawn[name]]
    keys, order = list(dict.fromkeys(drawn[colour])), list(dict.fromkeys(table[x]))
    params, chosen = [], None
    for column, label in menus.items():
        present = set(drawn[column])
        options = (
            [q for q in QUANTITIES if q in present]
            if column == "quantity"
            else [one for one in dict.fromkeys(drawn[column]) if one != ALWAYS]
        )
        labels = [QUANTITIES[q] for q in options] if column == "quantity" else options
        if len(options) < 2:
            continue
        bind = (alt.binding_radio if len(options) < 4 else alt.binding_select)(
            options=options, labels=labels, name=label
        )
        params.append(alt.param(name=f"{ident}_{column}", value=options[0], bind=bind))
        is_it = (alt.datum[column] == params[-1]) | (alt.datum[column] == ALWAYS)
        chosen = is_it if chosen is None else chosen & is_it
    base = alt.Chart(as_lines(drawn))
    base = base if chosen is None else base.transform_filter(chosen)
    across = (
        alt.X(f"{x}:Q", title=x_title)
        if x == "epoch"
        else alt.X(f"{x}:O", title=x_title, sort=order, axis=alt.Axis(labelAngle=0))
    )
    log = alt.Scale(type="log", nice=False, padding=12)
    hue = alt.Color(
        f"{colour}:N",
        title=None,
        scale=alt.Scale(domain=keys),
        legend=alt.Legend(orient="top", columns=3, symbolOpacity=1),
    )
    shape = alt.Shape(
        f"{colour}:N",
        title=None,
        scale=alt.Scale(domain=keys, range=[SHAPES[i % len(SHAPES)] for i in range(len(keys))]),
    )
    up = alt.Y(
        "value:Q",
        scale=log,
        title="mean over networks (log scale)",
        axis=alt.Axis(minExtent=40, format="~g"),
    )
    # D and G have no such level: there the rule hides on a value, as an axis of nothing has no ends
    level = "datum.quantity === 'R' || datum.quantity === 'over'"
    rule = (
        base.transform_aggregate(middle="median(value)", groupby=["quantity"])
        .transform_calculate(one=f"{level} ? 1 : datum.middle")
        .mark_rule(color="gray", strokeDash=[4, 4], aria=False)
        .encode(y=alt.Y("one:Q", scale=log), opacity=alt.condition(level, alt.value(1.0), alt.value(0.0)))
    )
    bars = base.mark_rule(strokeWidth=1.5, aria=False).encode(
        x=across, y=alt.Y("low:Q", scale=log), y2="high:Q", color=hue
    )
    lines = base.mark_line(strokeWidth=2, aria=False).encode(x=across, y=up, color=hue)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        x=across,
        y=up,
        color=hue,
        shape=shape,
        tooltip=[f"{x}:N", f"{colour}:N", "value:Q", "low:Q", "high:Q"],
    )
    picture = alt.layer(rule, bars, lines, points).properties(
        width=480,
        height=280,
        description=(
            f"Interactive chart. {says} Values are geometric means over networks, with intervals, "
            f"on a logarithmic axis. Lines: {', '.join(map(str, keys))}. A dashed line at 1 is no "
            "difference: for R, from noise; for filters, from chance."
        ),
    )
    return picture.add_params(*params) if params else picture
