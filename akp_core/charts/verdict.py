"""Charts of one comparison of two families: the same models under every measure of similarity."""

from __future__ import annotations

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import expected

FAMILIES = ("happy", "unhappy")


def by_measure(models: pd.DataFrame, verdicts: pd.DataFrame, *, start: str | None = None) -> alt.VConcatChart:
    """Draw two families under the measure that a menu chooses: verdict, map, distances to the centroid.

    Parameters
    ----------
    models : DataFrame
        One row a model and measure: columns ``measure``, ``family`` (happy or unhappy), ``model``, ``x``,
        ``y`` (a map of the models, NaN where there is none) and ``distance`` (to the centroid of its own
        family, NaN where there is none).
    verdicts : DataFrame
        Columns ``measure`` and ``sentence``, whose lines are split by ``|``.
    start : str or None
        The measure shown first; the first of `verdicts` if None.
    """
    needs(models, ["measure", "family", "model", "x", "y", "distance"])
    needs(verdicts, ["measure", "sentence"])
    measures = list(dict.fromkeys(verdicts["measure"]))
    if not measures or set(models["measure"]) - set(measures):
        raise expected("a verdict for every measure drawn", f"verdicts for {measures}")
    chosen = measures[0] if start is None else start
    if chosen not in measures:
        raise expected(f"a start among {', '.join(measures)}", repr(start))
    menu = alt.param(
        name="measure", value=chosen, bind=alt.binding_select(options=measures, name="Measured by ")
    )
    drawn = models[["measure", "family", "model", "x", "y", "distance"]].copy()
    furthest = drawn[["x", "y"]].abs().max(axis=1).groupby(drawn["measure"]).transform("max")
    drawn[["x", "y"]] = drawn[["x", "y"]].div(furthest.where(furthest > 0, 1), axis=0)
    base = alt.Chart(as_lines(rounded(drawn, 3))).transform_filter(alt.datum.measure == menu)
    legend = alt.Legend(orient="top", symbolSize=120)
    colour = alt.Color("family:N", title=None, scale=alt.Scale(domain=list(FAMILIES)), legend=legend)
    shape = alt.Shape(
        "family:N",
        title=None,
        scale=alt.Scale(domain=list(FAMILIES), range=["circle", "triangle-up"]),
        legend=legend,
    )
    tip = ["family:N", "model:N", "distance:Q"]
    points = base.mark_point(filled=True, size=80, opacity=0.85)
    plain = alt.Axis(ticks=False, labels=False, grid=False)
    square = alt.Scale(domain=[-1.08, 1.08])
    place = points.encode(
        x=alt.X("x:Q", title="first principal coordinate", axis=plain, scale=square),
        y=alt.Y("y:Q", title="second principal coordinate", axis=plain, scale=square),
        color=colour,
        shape=shape,
        tooltip=tip,
    ).properties(width=250, height=250, title="Map of models")
    strip = points.encode(
        x=alt.X("family:N", title=None, sort=list(FAMILIES), axis=alt.Axis(labelAngle=0)),
        y=alt.Y("distance:Q", title=None, scale=alt.Scale(zero=True)),
        color=colour,
        shape=shape,
        tooltip=tip,
    ).properties(width=140, height=250, title="Distance to own centroid")
    words = (
        alt.Chart(as_lines(verdicts[["measure", "sentence"]]))
        .transform_filter(alt.datum.measure == menu)
        .transform_calculate(lines="split(datum.sentence, '|')")
        .mark_text(align="left", baseline="top", fontSize=13, lineHeight=18)
        .encode(text="lines:N", x=alt.value(0), y=alt.value(0))
        .properties(width=430, height=56, view=alt.ViewConfig(strokeWidth=0))
    )
    return (
        alt.vconcat(words, alt.hconcat(place, strip, spacing=24), spacing=8)
        .add_params(menu)
        .properties(
            description=(
                f"Interactive chart. A menu chooses one of {len(measures)} measures of similarity "
                f"({', '.join(measures)}). It shows the verdict in words, a map of the happy and the unhappy "
                "models, and each model's distance to the centroid of its own family."
            )
        )
    )
