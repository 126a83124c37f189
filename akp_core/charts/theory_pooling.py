"""Charts of averaging layers: sensitivity to a shift and to noise against depth, exact and drawn."""

from __future__ import annotations

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError


def depths(curves: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw sensitivities against the receptive field, exact as lines, measured as points with intervals.

    A menu chooses the quantity.

    Parameters
    ----------
    curves : DataFrame
        From `akp_core.theory.pooling_measured.depth_curves`.
    """
    columns = ["layers", "quantity", "depth", "width", "exact", "value", "low", "high"]
    needs(curves, columns)
    if curves.empty:
        raise AkpError("expected at least one stack of layers, got an empty table")
    drawn = rounded(curves[columns], 6)
    quantities = list(dict.fromkeys(drawn["quantity"]))
    stacks = list(dict.fromkeys(drawn["layers"]))
    menu = alt.param(
        name="quantity", value=quantities[0], bind=alt.binding_select(options=quantities, name="Show ")
    )
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter(alt.datum.quantity == menu)
        .encode(
            x=alt.X(
                "width:Q",
                title="width A of the receptive field, pixels",
                scale=alt.Scale(type="log", nice=False),
            ),
            color=alt.Color(
                "layers:N",
                title=None,
                sort=stacks,
                legend=alt.Legend(orient="top", columns=2, labelLimit=200),
            ),
        )
    )
    up = alt.Scale(type="log")
    lines = base.mark_line(strokeWidth=1.5, aria=False).encode(
        y=alt.Y("exact:Q", title="sensitivity", scale=up)
    )
    bars = base.mark_rule(strokeWidth=1.5, aria=False).encode(y=alt.Y("low:Q", scale=up), y2="high:Q")
    points = base.mark_point(filled=True, size=45, opacity=1).encode(
        y=alt.Y("value:Q", scale=up),
        shape=alt.Shape("layers:N", sort=stacks, legend=None),
        tooltip=["layers:N", "quantity:N", *(f"{name}:Q" for name in columns[2:])],
    )
    return (
        alt.layer(lines, bars, points)
        .add_params(menu)
        .properties(
            width=460,
            height=320,
            description=(
                f"Interactive chart. A menu chooses one of: {', '.join(quantities)}. Both axes are "
                f"logarithmic. For each of {len(stacks)} stacks of averaging layers, a line of exact values "
                "against the width of the receptive field, and points with 95 % intervals over images."
            ),
        )
    )
