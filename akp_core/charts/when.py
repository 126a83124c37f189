"""The chart of onsets: what a stress does, against when it struck, after equal time and at the end."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from akp_core.charts.adaptation import KINDS, with_dose
from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

QUANTITIES: Mapping[str, str] = {
    "error": "test error above the twin's, points",
    "beyond lost time": "test error beyond lost time, points",
    "apart": "distance to the own twin (1: strangers)",
    "dispersion": "dispersion, stressed over control",
}
WHENS = ("equal time", "end of training")
NEUTRAL: Mapping[str, float] = {"error": 0, "beyond lost time": 0, "apart": 1, "dispersion": 1}


def dose_response(responses: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw the effect of each stress against its onset for a reader to choose stress, quantity and when.

    Parameters
    ----------
    responses : DataFrame
        From `akp_core.adaptation.dose_response`: columns ``stress``, ``dose``, ``kind``, ``onset``,
        ``quantity``, ``when``, ``lag``, ``value``, ``low``, ``high``. Rows without a finite value are left
        out, and ends of intervals that are infinite.
    """
    columns = ["stress", "dose", "kind", "onset", "quantity", "when", "lag", "value", "low", "high"]
    needs(responses, columns)
    drawn = with_dose(responses[columns])
    drawn = drawn[drawn["value"].abs() < float("inf")].drop(columns=["stress", "dose"])
    if drawn.empty:
        raise AkpError("expected at least one finite effect to draw, got none")
    wide = drawn["low"].abs().eq(float("inf")) | drawn["high"].abs().eq(float("inf"))
    drawn.loc[wide, ["low", "high"]] = None
    share = drawn["quantity"].isin(["error", "beyond lost time"])
    drawn.loc[share, ["value", "low", "high"]] *= 100
    drawn["neutral"] = drawn["quantity"].map(NEUTRAL)
    drawn["onset"] *= 100
    drawn["at"] = drawn["onset"] + drawn["kind"].map({"pulse": -0.6, "press": 0.6})
    stresses = list(dict.fromkeys(drawn["what"]))
    quantities = [q for q in QUANTITIES if q in set(drawn["quantity"])]
    whens = [w for w in WHENS if w in set(drawn["when"])]
    stress = alt.param(
        name="stress", value=stresses[0], bind=alt.binding_select(options=stresses, name="Stress ")
    )
    quantity = alt.param(
        name="quantity",
        value=quantities[0],
        bind=alt.binding_select(options=quantities, labels=[QUANTITIES[q] for q in quantities], name="Show "),
    )
    when = alt.param(name="when", value=whens[0], bind=alt.binding_radio(options=whens, name="Compare at "))
    chosen = (alt.datum.what == stress) & (alt.datum.quantity == quantity) & (alt.datum.when == when)
    base = alt.Chart(as_lines(rounded(drawn, 3))).transform_filter(chosen)
    colour = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(domain=list(KINDS)),
        legend=alt.Legend(orient="top", symbolOpacity=1, symbolStrokeWidth=3),
    )
    x = alt.X("at:Q", title="when the stress set in, % of training", scale=alt.Scale(domain=[-3, 100]))
    y = alt.Y(
        "value:Q", title="effect of the stress", scale=alt.Scale(zero=False), axis=alt.Axis(minExtent=36)
    )
    rule = base.mark_rule(color="gray", aria=False).encode(y="neutral:Q")
    bars = base.mark_rule(strokeWidth=1.5, aria=False).encode(
        x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour
    )
    lines = base.mark_line(strokeWidth=2, aria=False).encode(
        x=x, y=y, color=colour, strokeDash=alt.StrokeDash("kind:N", scale=alt.Scale(domain=list(KINDS)))
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(
        x=x,
        y=y,
        color=colour,
        shape=alt.Shape("kind:N", title=None, scale=alt.Scale(domain=list(KINDS))),
        tooltip=[
            "kind:N",
            "onset:Q",
            "value:Q",
            "low:Q",
            "high:Q",
            alt.Tooltip("lag:Q", title="epochs after"),
        ],
    )
    named = " : ".join(f"quantity == '{q}' ? '{QUANTITIES[q]}'" for q in quantities).replace(
        "twin's", "twin\\'s"
    )
    title = alt.TitleParams(
        text=alt.ExprRef(f"['When does it hurt most?', {named} : quantity]"), anchor="start"
    )
    # all rows stay, most without words: an axis of nothing has no ends, and Vega complains
    most = base.transform_joinaggregate(most="max(value)", groupby=["kind"]).transform_calculate(
        words="datum.value === datum.most && (datum.value > datum.neutral || quantity === 'apart') ? "
        "format(datum.value, '.3~g') : ''"
    )
    worst = most.mark_text(align="left", dx=8, dy=-9, fontSize=13, fontWeight="bold", aria=False).encode(
        x=x, y=y, color=colour, text="words:N"
    )
    return (
        alt.layer(rule, bars, lines, points, worst)
        .add_params(stress, quantity, when)
        .properties(
            width=480,
            height=280,
            title=title,
            description=(
                f"Interactive chart. Menus choose one of {len(stresses)} stresses ({', '.join(stresses)}), a "
                f"quantity ({'; '.join(QUANTITIES[q] for q in quantities)}) and when families are compared: "
                f"{' or '.join(whens)}. Points with intervals against the onset of the stress, "
                "for a pulse and for a press; a number stands at the worst onset of each. The gray line "
                "is no effect; for distances, strangers."
            ),
        )
    )
