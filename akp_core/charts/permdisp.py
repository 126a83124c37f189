"""The chart of what PERMDISP may permute: how often either scheme rejects where there is no difference."""

from __future__ import annotations

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError
from akp_core.simulation.clouds import LAWS

_TITLE = "share of studies rejected (root scale)"


def schemes(clouds: pd.DataFrame, *, level: float) -> alt.LayerChart | alt.FacetChart:
    """Draw for each law how often either scheme rejects, with intervals; a menu chooses the families' sizes.

    Parameters
    ----------
    clouds : DataFrame
        From `akp_core.simulation.clouds.permdisp_sizes`.
    level : float
        The error rate that both schemes claim; a dashed line marks it.
    """
    needs(clouds, ["law", "happy", "unhappy", "permute", "share", "low", "high", "verdict"])
    if clouds.empty:
        raise AkpError("expected at least one law and pair of families to draw, got an empty table")
    drawn = rounded(clouds[["permute", "share", "low", "high", "verdict"]], 3).assign(
        law=clouds["law"].map({name: law.title for name, law in LAWS.items()}),
        families=[f"{h} + {u}" for h, u in zip(clouds["happy"], clouds["unhappy"], strict=True)],
    )
    families, laws = (list(dict.fromkeys(drawn[name])) for name in ("families", "law"))
    menu = alt.param(
        name="families",
        value=families[-1],
        bind=alt.binding_radio(options=families, name="Networks in the families "),
    )
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter(alt.datum.families == menu)
        .encode(
            y=alt.Y("law:N", sort=laws, title=None, axis=alt.Axis(labelLimit=220)),
            yOffset=alt.YOffset("permute:N"),
            color=alt.Color("permute:N", title="permuted", legend=alt.Legend(orient="top", symbolSize=90)),
            tooltip=["law:N", "permute:N", "share:Q", "low:Q", "high:Q", "verdict:N"],
        )
    )
    share = alt.X(
        "share:Q",
        title=_TITLE,
        axis=alt.Axis(format="%", values=[0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1]),
        scale=alt.Scale(type="sqrt", domain=[0, 1]),
    )
    at = alt.Chart(pd.DataFrame({"level": [level]})).mark_rule(strokeDash=[4, 4], color="gray")
    return (
        alt.layer(
            at.encode(x=alt.X("level:Q", title=_TITLE)),
            base.mark_rule(strokeWidth=2, aria=False).encode(x=alt.X("low:Q", title=_TITLE), x2="high:Q"),
            base.mark_point(filled=True, size=70, opacity=1).encode(
                x=share,
                shape=alt.Shape("permute:N", legend=None),
            ),
        )
        .add_params(menu)
        .properties(
            width=260,
            height=46 * len(laws),
            description=(
                f"Interactive chart. For {len(laws)} laws that both families follow, the share of studies "
                "that PERMDISP rejects when it permutes contributions and when it permutes distances, each "
                f"with its interval; a dashed line marks the claimed {level:.0%}. A menu chooses among "
                f"{len(families)} pairs of family sizes."
            ),
        )
    )
