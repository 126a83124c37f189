"""Charts of one population through all lenses: networks by two of them, and whom each calls unhappy."""

from __future__ import annotations

import json
from collections.abc import Mapping

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import expected
from akp_core.lenses.calls import HAPPIER, NOT_TESTABLE, SAME, UNHAPPIER
from akp_core.study import CONTROL

ALL = "all families"
_SIGNS = {UNHAPPIER: "+", HAPPIER: "-", SAME: "", NOT_TESTABLE: "?"}
_FARTHEST = 4.0
_DARK = 2.6
"""Effects beyond it are drawn so dark that their sign must be white."""


def lens_explorer(
    networks: pd.DataFrame, called: pd.DataFrame, labels: Mapping[str, str]
) -> alt.VConcatChart:
    """Draw networks by any two lenses, above a map of what each lens says of each family; the two are linked.

    Menus choose the two lenses and a family; a click on the map chooses its family too.

    Parameters
    ----------
    networks : DataFrame
        One row a network: ``family``, ``stress``, ``member`` and a column for each lens.
    called : DataFrame
        From `akp_core.lenses.calls.calls`: ``family``, ``lens``, ``effect``, ``call``.
    labels : mapping of str to str
        The lenses in order, two at least, and what to call them.
    """
    if len(labels) < 2:
        raise expected("at least two lenses to draw", ", ".join(labels) or "none")
    needs(networks, ["family", "stress", "member", *labels])
    needs(called, ["family", "lens", "effect", "call"])
    families = list(dict.fromkeys(networks["family"]))
    names, texts = list(labels), list(labels.values())
    first, second = (
        alt.param(name=name, value=value, bind=alt.binding_select(options=names, labels=texts, name=title))
        for name, value, title in (("across", names[0], "Across "), ("upwards", names[1], "Upwards "))
    )
    menu = alt.binding_select(options=[None, *families], labels=[ALL, *families], name="Family ")
    family = alt.selection_point(name="chosen", fields=["family"], bind=menu, empty=True)
    return (
        alt.vconcat(_networks(networks, labels, family), _calls(called, labels, families, family))
        .add_params(first, second)
        .resolve_scale(color="independent")
        .properties(
            description=(
                f"Two linked charts of {len(networks)} networks. Above: a point for each, by the two "
                "lenses that menus choose; unstressed are circles, stressed triangles. Below: for each "
                f"of {len(families) - 1} stressed families and {called['lens'].nunique()} lenses, how far it "
                "lies from its twins by the lens; plus where it is called unhappier, minus where happier. A "
                "menu or a click chooses a family in both."
            )
        )
    )


def _networks(
    networks: pd.DataFrame,
    labels: Mapping[str, str],
    family: alt.Parameter,
) -> alt.Chart:
    drawn = rounded(networks[["family", "stress", "member", *labels]])
    words = json.dumps(dict(labels))
    stresses = list(dict.fromkeys(networks["stress"]))
    return (
        alt.Chart(as_lines(drawn))
        .transform_calculate(
            x="datum[across]",
            y="datum[upwards]",
            role=f"datum.stress == '{CONTROL}' ? 'unstressed' : 'stressed'",
        )
        .transform_filter("isValid(datum.x) && isValid(datum.y)")
        .mark_point(filled=True, size=45)
        .encode(
            x=alt.X("x:Q", title=None, scale=alt.Scale(zero=False, padding=8)),
            y=alt.Y("y:Q", title=None, scale=alt.Scale(zero=False, padding=8)),
            color=alt.Color(
                "stress:N", sort=stresses, legend=alt.Legend(orient="top", columns=4, title=None)
            ),
            shape=alt.Shape(
                "role:N",
                scale=alt.Scale(domain=["unstressed", "stressed"], range=["circle", "triangle-up"]),
                legend=None,
            ),
            opacity=alt.condition(family, alt.value(0.85), alt.value(0.06)),
            tooltip=["family:N", "member:Q", "x:Q", "y:Q"],
        )
        .properties(
            width=460,
            height=300,
            title=alt.Title(
                text=alt.expr(f"['↑ ' + {words}[upwards], '→ ' + {words}[across]]"), anchor="start"
            ),
        )
    )


def _calls(
    called: pd.DataFrame, labels: Mapping[str, str], families: list[str], family: alt.Parameter
) -> alt.LayerChart | alt.FacetChart:
    drawn = called[["family", "lens", "effect", "call"]].assign(
        name=called["lens"].map(dict(labels)),
        sign=called["call"].map(_SIGNS),
        shade=called["effect"].clip(-_FARTHEST, _FARTHEST),
    )
    order = [text for name, text in labels.items() if name in set(called["lens"])]
    base = alt.Chart(as_lines(rounded(drawn.drop(columns="lens"), 2))).encode(
        x=alt.X("name:N", sort=order, title=None, axis=alt.Axis(labelAngle=-35, labelLimit=250)),
        y=alt.Y("family:N", sort=families, title=None),
        tooltip=["family:N", "name:N", "effect:Q", "call:N"],
    )
    squares = base.mark_rect().encode(
        color=alt.Color(
            "shade:Q",
            title="unhappier, in standard deviations of the control",
            scale=alt.Scale(scheme="blueorange", domain=[-_FARTHEST, _FARTHEST]),
            legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=320),
        ),
        opacity=alt.condition(family, alt.value(1), alt.value(0.25)),
    )
    dark = alt.expr.abs(alt.datum.shade) > _DARK
    signs = base.mark_text(fontSize=14, fontWeight="bold").encode(
        text="sign:N", color=alt.when(dark).then(alt.value("white")).otherwise(alt.value("black"))
    )
    return alt.layer(squares, signs).add_params(family).properties(width=460, height=alt.Step(20))
