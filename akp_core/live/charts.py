"""The charts of the live lab, as specifications whose numbers come later, and come again and again.

Every chart reads the table ``curves`` or ``map`` of `akp_core.live.view.View` by its name, so that a new
frame is a new table and nothing else. The same charts stand on the page that explains the lab, with a
recorded run in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from akp_core.charts.tables import rounded
from akp_core.live.view import QUANTITIES

PLACES = ("control", "A", "B")
WORDS = {
    "error": "Share of the probe images that networks get wrong, against training steps: a line for the mean "
    "of each family, a band from its best to its worst network.",
    "loss": "Training loss in force, against training steps, a line and a band for each family. After a swap "
    "of the loss its scale is another one.",
    "cka": "CKA of each stressed network to its unstressed twin at the same step: 1 is the same "
    "representation. The line of the control is what unstressed networks have in common with one another.",
    "spread": "Mean distance of a family's networks to the family's centre, against training steps: how "
    "far the networks of a family are from being alike.",
    "map": "Map of the models: every mark is a network, and the distance between two marks is about the "
    "chordal distance between their representations at this step. Marks that would lie outside stand at "
    "the edge.",
}
_DOMAIN = [-0.75, 0.75]


def _lines() -> dict[str, Any]:
    """Colour and dashes of the families, with one legend for both."""
    scale = alt.Scale(domain=list(PLACES))
    legend = alt.Legend(
        orient="top", symbolType="stroke", symbolSize=220, symbolStrokeWidth=2.5, symbolOpacity=1
    )
    colour = alt.Color("place:N", title=None, scale=scale, legend=legend)
    dash = alt.StrokeDash("place:N", title=None, scale=scale, legend=legend)
    return {"color": colour, "strokeDash": dash}


def curve(quantity: str, steps: int, data: alt.NamedData | alt.InlineData) -> alt.LayerChart | alt.FacetChart:
    """One quantity against training steps: the mean of each family, from its least to its largest network.

    Parameters
    ----------
    quantity : str
        One of `akp_core.live.view.QUANTITIES`.
    steps : int
        Length of training.
    data : NamedData or InlineData
        Rows as `akp_core.live.view.View.curves` gives them.
    """
    base = alt.Chart(data).transform_filter(f"isValid(datum.{quantity})")
    x = alt.X("step:Q", title="training step", scale=alt.Scale(domain=[0, steps], nice=False))
    top = {"cka": alt.Scale(domainMax=1), "error": alt.Scale(domainMin=0)}.get(quantity, alt.Scale(zero=True))
    y = alt.Y(f"{quantity}:Q", title=QUANTITIES[quantity], scale=top, axis=alt.Axis(minExtent=36))
    band = base.mark_area(opacity=0.18).encode(
        x=x,
        y=alt.Y(f"{quantity}_low:Q"),
        y2=f"{quantity}_high:Q",
        color=_lines()["color"],
    )
    line = base.mark_line(strokeWidth=2.5).encode(x=x, y=y, **_lines())
    return alt.layer(band, line).properties(width="container", height=180, description=WORDS[quantity])


def scaling(data: alt.NamedData | alt.InlineData) -> alt.LayerChart | alt.FacetChart:
    """The map of the models: classical scaling of their chordal distances.

    Parameters
    ----------
    data : NamedData or InlineData
        Rows as `akp_core.live.view.View.map` gives them.
    """
    base = alt.Chart(data)
    scale, legend = alt.Scale(domain=list(PLACES)), alt.Legend(orient="top", symbolOpacity=1)
    axis = alt.Axis(labels=False, ticks=False, grid=False)
    x, y = (alt.X("x:Q", title=None, axis=axis, scale=alt.Scale(domain=_DOMAIN, clamp=True)),
            alt.Y("y:Q", title=None, axis=axis, scale=alt.Scale(domain=_DOMAIN, clamp=True)))  # fmt: skip
    twins = base.mark_line(strokeWidth=1, opacity=0.45, color="gray").encode(
        x=x, y=y, detail="member:N", order=alt.Order("place:N", sort="descending")
    )
    marks = base.mark_point(filled=True, size=130, opacity=0.95).encode(
        x=x,
        y=y,
        shape=alt.Shape("place:N", title=None, scale=scale, legend=legend),
        tooltip=[alt.Tooltip("place:N", title="family"), alt.Tooltip("member:Q", title="network")],
        color=alt.Color("place:N", title=None, scale=scale, legend=legend),
    )
    return alt.layer(twins, marks).properties(width="container", height=420, description=WORDS["map"])


def specifications(steps: int) -> dict[str, dict[str, Any]]:
    """Every chart of the lab as Vega-Lite, without numbers: ``map`` and each of the quantities.

    Parameters
    ----------
    steps : int
        Length of training.
    """
    rows = alt.NamedData(name="curves")
    charts = {quantity: curve(quantity, steps, rows) for quantity in QUANTITIES}
    return {
        "map": scaling(alt.NamedData(name="map")).to_dict(),
        **{name: chart.to_dict() for name, chart in charts.items()},
    }


def recorded(curves: Sequence[dict[str, Any]], quantity: str, steps: int) -> alt.LayerChart | alt.FacetChart:
    """A chart of a run that is over, with its numbers in it.

    Parameters
    ----------
    curves : sequence of dict
        From `akp_core.live.view.View.curves`.
    quantity : str
    steps : int
    """
    columns = ["place", "step", quantity, f"{quantity}_low", f"{quantity}_high"]
    table = rounded(pd.DataFrame(curves)[columns])
    rows = table.astype(object).where(table.notna(), None).to_dict("records")
    values = [{str(name): value for name, value in row.items()} for row in rows]
    return curve(quantity, steps, alt.InlineData(values=values)).properties(width=520)


def course(maps: Sequence[dict[str, Any]]) -> alt.LayerChart | alt.FacetChart:
    """The map of a run that is over, for a reader to move through training.

    Parameters
    ----------
    maps : sequence of dict
        From `akp_core.live.view.View.maps`.
    """
    steps = sorted({int(row["step"]) for row in maps})
    numbered = [{**row, "frame": steps.index(row["step"])} for row in maps]
    slider = alt.binding_range(min=0, max=len(steps) - 1, step=1, name="Frame ")
    frame = alt.param(name="frame", value=len(steps) - 1, bind=slider)
    drawn = (
        scaling(alt.InlineData(values=numbered)).transform_filter("datum.frame == frame").add_params(frame)
    )
    words = (
        f"{WORDS['map']} The slider moves through {len(steps)} frames from step {steps[0]} to {steps[-1]}."
    )
    return drawn.properties(description=words, width=420)
