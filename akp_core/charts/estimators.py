"""Charts of the estimator laboratory: what estimators say and how far they scatter, in settings to choose."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from akp_core.charts.tables import needs, rounded
from akp_core.errors import AkpError

AXES: Mapping[str, str] = {"examples": "examples", "width": "features", "batch": "examples in a batch"}
QUANTITIES: Mapping[str, str] = {
    "mean": "Mean of the estimates",
    "sd": "Standard deviation of the estimates",
    "rmse": "Root mean square error",
}


def laboratory(table: pd.DataFrame, titles: Mapping[str, str]) -> alt.LayerChart | alt.FacetChart:
    """Draw a sweep of estimators for a reader to move through: choose axis, truth and quantity.

    Shows a line an estimator with 95 % intervals, and dashed in gray what is true. Needs no kernel.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.simulation.sweeps.sweep`: columns ``axis``, ``at``, ``truth``, ``estimator``,
        ``quantity``, ``value``, ``low``, ``high``, ``true``. Rows without a value are left out.
    titles : mapping of str to str
        What to call each estimator, in the order of the legend.
    """
    columns = ["axis", "at", "truth", "estimator", "quantity", "value", "low", "high", "true"]
    needs(table, columns)
    drawn = rounded(table[columns].dropna(subset=["value"]))
    if drawn.empty:
        raise AkpError("expected a sweep with at least one value, got none; its column refused says why")
    named = {name: titles.get(name, name) for name in [*titles, *drawn["estimator"]]}
    order = [title for name, title in named.items() if name in set(drawn["estimator"])]
    drawn["estimator"] = drawn["estimator"].map(named)
    # One dashed line for all estimators of one constant truth: dashes over dashes look solid.
    values = drawn.groupby(["axis", "truth", "estimator"])["true"].transform("nunique")
    drawn["known"] = drawn["estimator"].where(values != 1, drawn["true"].astype(str))
    axes, truths = (list(dict.fromkeys(drawn[column])) for column in ("axis", "truth"))
    shown = [name for name in QUANTITIES if name in set(drawn["quantity"])]
    axis = alt.param(
        name="axis",
        value=axes[0],
        bind=alt.binding_select(options=axes, labels=[AXES.get(a, a) for a in axes], name="Vary "),
    )
    truth = alt.param(
        name="truth",
        value=truths[min(1, len(truths) - 1)],
        bind=alt.binding_select(options=truths, name="True similarity "),
    )
    quantity = alt.param(
        name="quantity",
        value=shown[0],
        bind=alt.binding_select(options=shown, labels=[QUANTITIES[q] for q in shown], name="Show "),
    )
    base = (
        alt.Chart(drawn)
        .transform_filter((alt.datum.axis == axis) & (alt.datum.truth == truth))
        .transform_filter(alt.datum.quantity == quantity)
        .encode(x=alt.X("at:O", title="the number varied", axis=alt.Axis(labelAngle=0)))
    )
    legend = alt.Legend(orient="top", columns=2, symbolOpacity=1, symbolStrokeWidth=3, labelLimit=320)
    color = alt.Color("estimator:N", title=None, sort=order, scale=alt.Scale(domain=order), legend=legend)
    shape = alt.Shape("estimator:N", title=None, sort=order, scale=alt.Scale(domain=order))
    # Room for the widest labels, as the picture does not grow when a menu changes them.
    upright = alt.Axis(minExtent=36)
    y = alt.Y("value:Q", title="value", scale=alt.Scale(zero=False), axis=upright)
    tip = ["estimator:N", "at:Q", "value:Q", "low:Q", "high:Q", "true:Q"]
    true = (
        base.transform_filter("datum.quantity == 'mean' && isValid(datum.true)")
        .mark_line(strokeDash=[6, 4], strokeWidth=2, color="gray")
        .encode(y="true:Q", detail="known:N")
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q", color=color)
    lines = base.mark_line(strokeWidth=2).encode(y=y, color=color)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=y, color=color, shape=shape, tooltip=tip
    )
    words = " : ".join(f"quantity == '{name}' ? '{text}'" for name, text in QUANTITIES.items())
    against = " : ".join(f"axis == '{name}' ? '{text}'" for name, text in AXES.items())
    title = alt.TitleParams(
        text=alt.ExprRef(f"({words} : quantity) + ' against ' + ({against} : axis)"), anchor="start"
    )
    return (
        alt.layer(true, bars, lines, points)
        .add_params(axis, truth, quantity)
        .properties(
            width=520,
            height=300,
            title=title,
            description=(
                f"Interactive chart. Menus choose what varies ({', '.join(AXES.get(a, a) for a in axes)}), "
                f"the true similarity ({', '.join(map(str, truths))}) and the quantity. A line with 95 % "
                f"intervals for each of {len(order)} estimators: {', '.join(order)}. Dashed: what is true."
            ),
        )
    )
