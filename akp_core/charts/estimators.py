"""Charts of estimators: how biased a CKA is, and what each estimator says and how far it scatters."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

AXES: Mapping[str, str] = {"examples": "examples", "width": "features", "batch": "examples in a batch"}
QUANTITIES: Mapping[str, str] = {
    "mean": "Mean of the estimates",
    "sd": "Standard deviation of the estimates",
    "rmse": "Root mean square error",
}


def how_biased() -> alt.LayerChart | alt.FacetChart:
    """Draw what the biased estimator of CKA says on average against the number of examples. Needs no kernel.

    Sliders set the examples, the directions in which features vary and the true CKA; a sentence says what a
    reader with these numbers would see. The curve is `akp_core.simulation.gaussian.GaussianPair.biased_cka`.
    """
    sliders = {
        "examples": ("Examples ", 8, 1024, 8, 64),
        "directions": ("Directions in which features vary ", 1, 1024, 1, 64),
        "truth": ("True CKA ", 0, 1, 0.05, 0.0),
    }
    params = [
        alt.param(name=name, value=start, bind=alt.binding_range(min=low, max=high, step=step, name=label))
        for name, (label, low, high, step, start) in sliders.items()
    ]

    def says(n: str) -> str:
        return f"({n} * truth + directions) / ({n} + directions)"

    across = alt.X(
        "n:Q",
        title="examples (log scale)",
        scale=alt.Scale(type="log", base=2, domain=[8, 1024], nice=False),
        axis=alt.Axis(values=[2**k for k in range(3, 11)], format="d"),
    )
    up = alt.Y("value:Q", title="CKA", scale=alt.Scale(domain=[0, 1]))
    kinds = alt.Scale(domain=["biased estimator, mean", "truth, and unbiased estimator, mean"])
    legend = alt.Legend(orient="top", columns=1, labelLimit=320, symbolStrokeWidth=3)
    along = alt.Chart(alt.sequence(3, 10.01, 0.25, as_="k")).transform_calculate(n="pow(2, datum.k)")
    lines = (
        along.transform_calculate(biased=says("datum.n"), true="truth")
        .transform_fold(["biased", "true"], as_=["which", "value"])
        .transform_calculate(line=f"datum.which == 'biased' ? '{kinds.domain[0]}' : '{kinds.domain[1]}'")
        .mark_line(strokeWidth=2.5, aria=False)
        .encode(
            x=across,
            y=up,
            color=alt.Color("line:N", title=None, scale=kinds, legend=legend),
            strokeDash=alt.StrokeDash("line:N", title=None, scale=kinds, legend=legend),
        )
    )
    here = alt.Chart(alt.sequence(1, 2, as_="one")).transform_calculate(n="examples", value=says("examples"))
    gap = here.transform_calculate(true="truth").mark_rule(strokeWidth=2).encode(x=across, y=up, y2="true:Q")
    point = here.mark_point(filled=True, size=110, opacity=1).encode(
        x=across, y=up, tooltip=["n:Q", "value:Q"]
    )
    said = f"format({says('examples')}, '.2f')"
    sentence = f"'Where ' + format(truth, '.2f') + ' is true, the biased one says ' + {said}"
    return (
        alt.layer(lines, gap, point)
        .add_params(*params)
        .properties(
            width=300,
            height=260,
            title=alt.TitleParams(text=alt.ExprRef(f"['How biased is my CKA?', {sentence}]"), anchor="start"),
            description=(
                "Interactive chart. Sliders set the number of examples, the directions in which features "
                "vary and the true CKA. A line for what the biased estimator says on average against the "
                "number of examples, a dashed line for the truth, and a bar between them at your number; the "
                "title says both in words. The bias grows with directions and shrinks with examples."
            ),
        )
    )


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
        alt.Chart(as_lines(drawn))
        .transform_filter((alt.datum.axis == axis) & (alt.datum.truth == truth))
        .transform_filter(alt.datum.quantity == quantity)
        .encode(
            x=alt.X(
                "at:O",
                title="how many: examples, features or examples in a batch",
                axis=alt.Axis(labelAngle=0),
            )
        )
    )
    legend = alt.Legend(orient="top", columns=2, symbolOpacity=1, symbolStrokeWidth=3, labelLimit=320)
    color = alt.Color("estimator:N", title=None, sort=order, scale=alt.Scale(domain=order), legend=legend)
    shape = alt.Shape("estimator:N", title=None, sort=order, scale=alt.Scale(domain=order))
    # Room for the widest labels, as the picture does not grow when a menu changes them.
    upright = alt.Axis(minExtent=36)
    y = alt.Y("value:Q", title="what estimators say", scale=alt.Scale(zero=False), axis=upright)
    tip = ["estimator:N", "at:Q", "value:Q", "low:Q", "high:Q", "true:Q"]
    # hidden, not left out, where there is no truth to draw: an axis of nothing has no ends
    known = "datum.quantity === 'mean'"
    true = (
        base.transform_filter(f"!({known}) || isValid(datum.true)")
        .transform_calculate(level=f"{known} ? datum.true : datum.value")
        .mark_line(strokeDash=[6, 4], strokeWidth=2, color="gray", aria=False)
        .encode(y="level:Q", detail="known:N", opacity=alt.condition(known, alt.value(1.0), alt.value(0.0)))
    )
    bars = base.mark_rule(strokeWidth=1.5, aria=False).encode(y=alt.Y("low:Q"), y2="high:Q", color=color)
    lines = base.mark_line(strokeWidth=2, aria=False).encode(y=y, color=color)
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
