"""Charts of what a loss aims at: a map of all laws of three classes, and the path of a swapped family."""

from __future__ import annotations

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

_WIDE = 340
"""Width of a plot that a phone shows whole."""


def target_map(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw all laws of three classes, coloured by how far a loss's target is from them; choose the loss.

    Parameters
    ----------
    table : DataFrame
        Columns ``loss``, ``p1``, ``p2``, ``p3`` (the law), ``moved`` (total variation of the target's reading
        from it) and ``answer`` (``kept``, ``tied`` or ``lost``).
    """
    columns = ["loss", "p1", "p2", "p3", "moved", "answer"]
    needs(table, columns)
    losses = list(dict.fromkeys(table["loss"]))
    if not losses:
        raise AkpError("expected targets of one loss or more, got an empty table")
    height = 3**0.5 / 2
    drawn = rounded(table[columns], 3)
    loss = alt.param(
        name="loss",
        value=losses[-1],
        bind=alt.binding_select(
            options=losses, labels=[one.replace("_", " ") for one in losses], name="Loss "
        ),
    )
    kinds = [kind for kind in ("kept", "tied", "lost") if kind in set(drawn["answer"])]
    points = (
        alt.Chart(as_lines(drawn))
        .transform_filter("datum.loss == loss")
        .transform_calculate(x="datum.p2 + datum.p3 / 2", y=f"{height:.4f} * datum.p3")
        .mark_point(filled=True, opacity=1, size=90, stroke="gray", strokeWidth=0.6, aria=False)
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.08, 1.08])),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-0.08, 0.98])),
            color=alt.Color(
                "moved:Q",
                title="target moved by (total variation)",
                scale=alt.Scale(domain=[0, max(0.01, float(drawn["moved"].max()))]),
                legend=alt.Legend(orient="top", gradientLength=220, titleLimit=320),
            ),
            shape=alt.Shape(
                "answer:N",
                title="best class",
                scale=alt.Scale(domain=kinds, range=["circle", "cross", "triangle"][: len(kinds)]),
                legend=alt.Legend(orient="top"),
            ),
            tooltip=["p1:Q", "p2:Q", "p3:Q", "moved:Q", "answer:N"],
        )
    )
    corners = pd.DataFrame(
        {"x": [0, 1, 0.5], "y": [-0.06, -0.06, height + 0.05], "name": ["class 1", "class 2", "class 3"]}
    )
    names = alt.Chart(corners).mark_text(fontSize=13).encode(x="x:Q", y="y:Q", text="name:N")
    return (
        alt.layer(points, names)
        .add_params(loss)
        .properties(
            width=_WIDE,
            height=300,
            description=(
                f"Interactive chart. A menu chooses a loss ({', '.join(losses)}). A triangle of all laws of "
                "three classes, one class certain at each corner: the colour of a point says how far the "
                "loss's target is from that law, its shape whether the target still answers with the best "
                "class alone."
            ),
        )
    )


def swap_path(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw how far a family is from its old and its new target while its loss is swapped; choose the loss.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.simulation.loss_targets.compare`: columns ``loss``, ``step``, ``goal``, ``value``,
        ``low``, ``high``.
    """
    needs(table, ["loss", "step", "goal", "value", "low", "high"])
    losses = list(dict.fromkeys(table["loss"]))
    if not losses:
        raise AkpError("expected the path of one loss or more, got an empty table")
    # A logarithmic axis has no 0: what was seen before any step is left out.
    drawn = rounded(table[table["step"] > 0])
    loss = alt.param(
        name="swapped_to",
        value=losses[0],
        bind=alt.binding_select(
            options=losses, labels=[one.replace("_", " ") for one in losses], name="Swap to "
        ),
    )
    legend = alt.Legend(orient="top", symbolStrokeWidth=2)
    each = alt.Scale(domain=list(dict.fromkeys(drawn["goal"])))
    dashes = alt.StrokeDash("goal:N", title=None, scale=each, legend=legend)
    shape = alt.Shape("goal:N", title=None, scale=each, legend=legend)
    marks = alt.Axis(values=sorted(int(step) for step in set(drawn["step"])))
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter("datum.loss == swapped_to")
        .encode(
            x=alt.X("step:Q", title="step of training", scale=alt.Scale(type="log", base=2), axis=marks),
            color=alt.Color("goal:N", title=None, scale=each, legend=legend),
        )
    )
    y = alt.Y("value:Q", title="mean total variation from the target", scale=alt.Scale(zero=True))
    return (
        alt.layer(
            base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dashes),
            base.mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q"),
            base.mark_point(filled=True, size=60, opacity=1).encode(
                y=y,
                shape=shape,
                tooltip=["step:Q", "goal:N", "value:Q", "low:Q", "high:Q"],
            ),
        )
        .add_params(loss)
        .properties(
            width=_WIDE,
            height=260,
            description=(
                f"Interactive chart. A menu chooses the loss ({', '.join(losses)}) to which a family trained "
                "by cross-entropy is swapped half-way. Two lines over training, with 95 % intervals over "
                "networks: how far the outputs are from the target of cross-entropy and from that of the new "
                "loss."
            ),
        )
    )
