"""Charts of what excess risk allows: regret, bounds beside families, and diameters."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError, expected

_WIDE = 340
"""Width of a plot that a phone shows whole."""


def regrets() -> alt.LayerChart | alt.FacetChart:
    """Draw the regret of an output for two classes, with a slider for the true probability. Needs no kernel.

    Shows the regret of cross-entropy and of squared error, summed over both classes, against the output, and
    in gray the floor of the former by Pinsker's inequality, twice the squared total variation. For two
    classes this floor *is* the regret of the squared error.
    """
    law = alt.param(
        name="law",
        value=0.7,
        bind=alt.binding_range(min=0.02, max=0.98, step=0.02, name="True probability p "),
    )
    outputs = pd.DataFrame({"q": np.round(np.linspace(0.01, 0.99, 99), 2)})
    entropy = "datum.p * log(datum.p / datum.q) + (1 - datum.p) * log((1 - datum.p) / (1 - datum.q))"
    names = {"kl": "cross-entropy: KL(p || q)", "brier": "squared error = Pinsker's floor"}
    base = (
        alt.Chart(outputs)
        .transform_calculate(p="law")
        .transform_calculate(kl=entropy, brier="2 * (datum.q - datum.p) * (datum.q - datum.p)")
        .transform_fold(list(names), as_=["loss", "regret"])
        .transform_calculate(which=f"datum.loss == 'kl' ? '{names['kl']}' : \"{names['brier']}\"")
    )
    lines = base.mark_line(clip=True, strokeWidth=2.5).encode(
        x=alt.X(
            "q:Q", title="output q: probability given to the first class", scale=alt.Scale(domain=[0, 1])
        ),
        y=alt.Y("regret:Q", title="regret, nats", scale=alt.Scale(domain=[0, 2])),
        color=alt.Color("which:N", title=None, legend=alt.Legend(orient="top", columns=1, labelLimit=320)),
        strokeDash=alt.StrokeDash("which:N", title=None),
        tooltip=[
            alt.Tooltip("q:Q"),
            alt.Tooltip("which:N", title="loss"),
            alt.Tooltip("regret:Q", format=".3f"),
        ],
    )
    truth = base.mark_rule(color="gray", strokeDash=[3, 3]).encode(x=alt.X("p:Q"))
    return (
        alt.layer(lines, truth)
        .add_params(law)
        .properties(
            width=_WIDE,
            height=240,
            description=(
                "Interactive chart. A slider sets the true probability of the first of two classes. Two "
                "curves show how much is lost by giving it another probability, for cross-entropy and for "
                "squared error; both are 0 at the true probability alone, and cross-entropy is never the "
                "lower."
            ),
        )
    )


def bounds(table: pd.DataFrame, grid: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw families beside what is proved of them: choose classes and quantity, slide the excess risk.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.simulation.happy_outputs.families`: columns ``classes``, ``step``, ``quantity``,
        ``excess``, ``value``, ``low``, ``high``, ``worst``.
    grid : DataFrame
        Columns ``classes``, ``quantity``, ``log_excess`` (decimal logarithm) and ``allowed``; rows of a
        quantity at equal steps of ``log_excess``, which the slider follows.
    """
    columns = ["classes", "step", "quantity", "excess", "value", "low", "high", "worst"]
    needs(table, columns)
    needs(grid, ["classes", "quantity", "log_excess", "allowed"])
    quantities = [q for q in dict.fromkeys(grid["quantity"]) if q in set(table["quantity"])]
    drawn = rounded(table.loc[table["quantity"].isin(quantities), columns], 5)
    if drawn.empty:
        raise AkpError("expected a table and a grid with a quantity in common, got none")
    marks = np.unique(np.round(grid["log_excess"], 6))
    if len(marks) < 2:
        raise expected("a grid of two values of log_excess or more", len(marks))
    lines = rounded(grid.assign(excess=10.0 ** grid["log_excess"]), 6)
    step = float(np.round(marks[1] - marks[0], 6))
    many = sorted(set(drawn["classes"]))
    classes = alt.param(name="classes", value=many[0], bind=alt.binding_select(options=many, name="Classes "))
    quantity = alt.param(
        name="quantity", value=quantities[0], bind=alt.binding_select(options=quantities, name="Show ")
    )
    at = alt.param(
        name="at",
        value=float(marks[len(marks) // 2]),
        bind=alt.binding_range(
            min=float(marks[0]), max=float(marks[-1]), step=step, name="log10 of excess risk "
        ),
    )
    chosen = "datum.classes == classes && datum.quantity == quantity"
    x = alt.X(
        "excess:Q",
        title="largest excess risk of the family, nats",
        scale=alt.Scale(type="log", domain=[10 ** float(marks[0]), 10 ** float(marks[-1])]),
        axis=alt.Axis(format="~g", values=[10.0**k for k in range(int(marks[0]), int(marks[-1]) + 1)]),
    )
    y = alt.Y("value:Q", title="between two networks", axis=alt.Axis(minExtent=36))
    kinds = alt.Scale(domain=["mean of pairs", "pair nearest its bound", "proved"])
    colour = alt.Color("kind:N", title=None, scale=kinds, legend=alt.Legend(orient="top", columns=1))
    shape = alt.Shape("kind:N", title=None, scale=kinds)
    proved = (
        alt.Chart(as_lines(lines))
        .transform_filter(chosen)
        .transform_calculate(kind="'proved'")
        .mark_line(strokeWidth=2.5)
        .encode(x=x, y=alt.Y("allowed:Q", title="between two networks"), color=colour)
    )
    here = (
        alt.Chart(as_lines(lines))
        .transform_filter(chosen)
        .transform_filter(f"abs(datum.log_excess - at) < {step / 2}")
    )
    rule = here.mark_rule(color="gray", strokeDash=[4, 4]).encode(x=x)
    words = "(quantity == 'CKA' ? 'at least ' : 'at most ') + format(datum.allowed, '.3f')"
    said = (
        here.transform_calculate(said=f"'excess ' + format(datum.excess, '.2~g') + ': ' + {words}")
        .mark_text(align="left", baseline="top", fontSize=13)
        .encode(text="said:N", x=alt.value(6), y=alt.value(4))
    )
    family = alt.Chart(as_lines(drawn)).transform_filter(chosen)
    tip = ["step:Q", "excess:Q", "value:Q", "low:Q", "high:Q", "worst:Q"]
    mean = family.transform_calculate(kind="'mean of pairs'")
    worst = family.transform_calculate(kind="'pair nearest its bound'")
    return (
        alt.layer(
            proved,
            rule,
            mean.mark_rule(strokeWidth=1.5).encode(x=x, y="low:Q", y2="high:Q", color=colour),
            mean.mark_point(filled=True, size=70, opacity=1).encode(
                x=x, y=y, color=colour, shape=shape, tooltip=tip
            ),
            worst.mark_point(size=50, opacity=1).encode(
                x=x, y="worst:Q", color=colour, shape=shape, tooltip=tip
            ),
            said,
        )
        .add_params(classes, quantity, at)
        .properties(
            width=_WIDE,
            height=280,
            description=(
                f"Interactive chart. Menus choose the number of classes ({', '.join(map(str, many))}) and "
                f"what is shown of pairs of networks ({', '.join(quantities)}); a slider chooses an excess "
                "risk, and a text says what is proved there. A line for the proved bound; points for "
                "families during training, the mean over pairs with its 95 % interval and the pair nearest "
                "its bound."
            ),
        )
    )


def diameters(table: pd.DataFrame) -> alt.Chart:
    """Draw how far apart the members of families are against their excess risk, on logarithmic axes.

    Parameters
    ----------
    table : DataFrame
        Columns ``family`` (what to call it), ``excess`` and ``distance``, both above 0.
    """
    needs(table, ["family", "excess", "distance"])
    if table.empty or not (table[["excess", "distance"]] > 0).all(axis=None):
        raise AkpError("expected families with an excess and a distance above 0")
    order = list(dict.fromkeys(table["family"]))
    each = alt.Scale(domain=order)
    log = alt.Scale(type="log")
    legend = alt.Legend(orient="top", columns=1, labelLimit=320)
    sides = alt.Axis(format="~g", tickCount=4)
    return (
        alt.Chart(rounded(table, 6))
        .mark_line(point=True, strokeWidth=2)
        .encode(
            x=alt.X("excess:Q", title="excess risk, nats", scale=log, axis=sides),
            y=alt.Y("distance:Q", title="root mean square distance", scale=log, axis=sides),
            color=alt.Color("family:N", title=None, scale=each, legend=legend),
            shape=alt.Shape("family:N", title=None, scale=each, legend=legend),
            tooltip=["family:N", "excess:Q", "distance:Q"],
        )
        .properties(
            width=_WIDE,
            height=280,
            description=(
                "Distance between the outputs of a family's members against its excess risk, both on "
                "logarithmic axes, where a square root is a straight line of slope one half. "
                f"Lines: {', '.join(order)}."
            ),
        )
    )
