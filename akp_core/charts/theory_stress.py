"""Charts of the Ornstein-Uhlenbeck model of stress: bands over time, plane of verdicts, limits."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

VERDICTS = ("AKP", "none", "anti-AKP")


def _menu(name: str, values: pd.Series, label: str, *, radio: bool = False) -> alt.Parameter:
    """A menu, or a row of buttons, over the distinct values of a column."""
    options = [v.item() if hasattr(v, "item") else v for v in values.drop_duplicates()]
    bind = (alt.binding_radio if radio else alt.binding_select)(options=options, name=label)
    return alt.param(
        name=name, value=options[len(options) // 2] if name == "strength" else options[0], bind=bind
    )


def bands(table: pd.DataFrame) -> alt.VConcatChart:
    """Draw where a stressed family is and how far it spreads over time; choose mechanism, strength and kind.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.theory.stress_mechanisms.bands`.
    """
    columns = ["mechanism", "strength", "kind", "time", "mean", "low", "high", "ratio", "verdict"]
    needs(table, columns)
    if table.empty:
        raise AkpError("expected at least one stress, got an empty table")
    menus = [
        _menu("mechanism", table["mechanism"], "The stress "),
        _menu("strength", table["strength"], "Strength "),
        _menu("kind", table["kind"], "It is a ", radio=True),
    ]
    moving = rounded(table[columns], 3)
    base = alt.Chart(as_lines(moving))
    for name, menu in zip(("mechanism", "strength", "kind"), menus, strict=True):
        base = base.transform_filter(alt.datum[name] == menu)
    x = alt.X("time:Q", title="time since the fork, in units of 1/theta")
    y = alt.Y("low:Q", title="first coordinate, in spreads")
    still = alt.Chart(pd.DataFrame({"at": [-1.96, 1.96]}))
    control = still.mark_rule(strokeDash=[4, 4], color="gray").encode(y="at:Q")
    band = base.mark_area(opacity=0.3, aria=False).encode(x=x, y=y, y2="high:Q")
    mean = base.mark_line(strokeWidth=2).encode(
        x=x, y="mean:Q", tooltip=["time:Q", "mean:Q", "low:Q", "high:Q", "ratio:Q"]
    )
    # One scale for all choices, so that a reader sees which stress does more.
    reach = float(np.exp(np.abs(np.log(moving["ratio"])).max()))
    marks = [2.0**k for k in range(-4, 5) if 1 / reach <= 2.0**k <= reach]
    scale = alt.Scale(type="log", domain=[1 / reach, reach], nice=False) if reach > 1 else alt.Scale()
    one = alt.Chart(pd.DataFrame({"at": [1]})).mark_rule(strokeDash=[4, 4], color="gray").encode(y="at:Q")
    ratio = base.mark_line(strokeWidth=2).encode(
        x=x,
        y=alt.Y("ratio:Q", title="dispersion / control's", scale=scale, axis=alt.Axis(values=marks)),
        tooltip=["time:Q", "ratio:Q"],
    )
    last = float(moving["time"].max())
    word = (
        base.transform_filter(alt.datum.time == last)
        .mark_text(align="left", fontSize=14, fontWeight="bold", color="gray")
        .encode(x=alt.value(0), y=alt.value(-10), text=alt.Text("verdict:N"))
    )
    size = {"width": 460, "height": 190}
    names = ", ".join(map(str, dict.fromkeys(table["mechanism"])))
    return (
        alt.vconcat(
            alt.layer(control, band, mean, word).properties(**size),
            alt.layer(one, ratio).properties(**size),
        )
        .add_params(*menus)
        .properties(
            description=(
                f"Interactive chart. Menus choose the stress ({names}), its strength, and press or pulse. "
                "Above, the band that holds 95 % of the stressed family over time, with its mean, between "
                "dashed lines for the control, and the verdict in words. Below, its dispersion over the "
                "control's; a dashed line marks 1."
            )
        )
    )


def plane(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw the plane of return and noise: the region that is proved, and what the test found there.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.theory.stress_measured.regions`.
    """
    columns = ["return", "noise", "due", "effect", "low", "high", "found"]
    needs(table, columns)
    drawn = rounded(table[columns], 3)
    if drawn.empty:
        raise AkpError("expected at least one stress, got an empty table")
    low = max(drawn["return"].min(), drawn["noise"].min())
    high = min(drawn["return"].max(), drawn["noise"].max())
    scale = alt.Scale(type="log", base=2, padding=16)
    x = alt.X("return:Q", title="theta, times the control's", scale=scale)
    y = alt.Y("noise:Q", title="sigma², times the control's", scale=scale)
    line = pd.DataFrame({"return": [low, high], "noise": [low, high]})
    edge = alt.Chart(line).mark_line(strokeDash=[4, 4], color="gray").encode(x=x, y=y)
    points = (
        alt.Chart(drawn)
        .mark_point(filled=True, size=110, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "found:N",
                title="the test",
                scale=alt.Scale(domain=list(VERDICTS)),
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("found:N", scale=alt.Scale(domain=list(VERDICTS)), title="the test"),
            tooltip=columns,
        )
    )
    return alt.layer(edge, points).properties(
        width=340,
        height=340,
        description=(
            f"The plane of stresses: {len(drawn)} combinations of return and noise over the control's. Hue "
            "and shape show the verdict of the test on drawn families. By the theorem AKP lies above the "
            "dashed diagonal, anti-AKP below, none on it."
        ),
    )


def valleys(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw what is left of a pulse long after it, against its strength, in one valley and in two.

    Parameters
    ----------
    table : DataFrame
        Columns ``push``, ``landscape``, ``quantity``, ``value``.
    """
    columns = ["push", "landscape", "quantity", "value"]
    needs(table, columns)
    drawn = rounded(table[columns], 4)
    menu = _menu("quantity", drawn["quantity"], "Show ", radio=True)
    legend = alt.Legend(orient="top", symbolType="stroke", symbolSize=300)
    color = alt.Color("landscape:N", title=None, legend=legend)
    return (
        alt.layer(
            alt.Chart(drawn)
            .transform_filter(alt.datum.quantity == menu)
            .mark_line(point=alt.OverlayMarkDef(size=50))
            .encode(
                x=alt.X("push:Q", title="strength of the pulse"),
                y=alt.Y("value:Q", title="left long after the pulse"),
                color=color,
                strokeDash=alt.StrokeDash("landscape:N", title=None, legend=legend),
                tooltip=columns,
            )
        )
        .add_params(menu)
        .properties(
            width=440,
            height=240,
            description=(
                "Interactive chart. What a pulse leaves behind long after its end, against its strength, for "
                "a landscape with one valley and one with two; buttons choose the family's displacement, its "
                "squared dispersion, or the share of members beyond the barrier."
            ),
        )
    )
