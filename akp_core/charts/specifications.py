"""Charts of a specification curve: the curve over its choices, shares of verdicts, exchanged labels."""

from __future__ import annotations

import json
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float

from akp_core.charts.populations import VERDICTS as TOLD
from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError
from akp_core.stress import percent

VERDICTS = (*TOLD, "not testable")
"""In the order of the colours that all charts of verdicts share."""
CHOICES = {
    "measure": "Measure ",
    "tap": "Look at ",
    "network": "Network ",
    "dataset": "Images ",
    "stress": "Stress ",
    "onset": "Set in at ",
}
Levels = dict[str, list[str]]
"""The names of every choice, in the order of their codes."""

_WIDTH = 460
_BINS = 24


def specification_curve(table: pd.DataFrame) -> alt.VConcatChart:
    """Draw every effect in order of size, and below it which choices led to which effects.

    Menus keep one measure, tap, network, data set, stress or onset, or all; another sets what makes a family
    happy. The page holds each comparison once, as a line of numbers, so that thousands fit.

    Parameters
    ----------
    table : DataFrame
        `akp_core.specifications.Curve.table`: the columns ``measure``, ``tap``, ``network``,
        ``dataset``, ``definition``, ``stress``, ``onset``, ``effect``, ``low``, ``high``, ``verdict``,
        ``orientation``. Infinite effects are left to tables; intervals end with the chart.
    """
    needs(table, [*CHOICES, "definition", "effect", "low", "high", "verdict", "orientation"])
    drawn, names, definitions = _compact(table)
    if drawn.empty:
        raise AkpError("expected at least one specification with a finite effect to draw, got none")
    by = alt.param(
        name="happy_by",
        value=definitions[0],
        bind=alt.binding_radio(options=definitions, name="Happy by "),
    )
    menus, keeps = [by], []
    for column, levels in names.items():
        if len(levels) > 1:
            codes = list(range(-1, len(levels)))
            bind = alt.binding_select(options=codes, labels=["all", *levels], name=CHOICES[column])
            menus.append(alt.param(name=f"only_{column}", value=-1, bind=bind))
            keeps.append(f"(only_{column} < 0 || datum.{column} == only_{column})")
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter(" && ".join(["datum[happy_by] != 0", *keeps]))
        .transform_calculate(
            ratio="exp(datum[happy_by] * datum.r)",
            low="isValid(datum.l) ? exp(datum[happy_by] > 0 ? datum.l : -datum.h) : null",
            high="isValid(datum.h) ? exp(datum[happy_by] > 0 ? datum.h : -datum.l) : null",
            verdict="datum[happy_by] * datum.k > 0 ? 'AKP' : datum.k == 0 ? 'none' : 'anti-AKP'",
        )
    )
    ordered = (
        base.transform_window(rank="row_number()", sort=[alt.SortField("ratio")])
        .transform_joinaggregate(n="count()")
        .transform_calculate(place=f"round({_WIDTH} * (datum.rank - 0.5) / datum.n) / {_WIDTH}")
    )
    reach = 1.15 * float(np.exp(drawn["r"].abs().max())) + 0.05
    curve = _curve(ordered, names, reach)
    return (
        alt.vconcat(_words(base), curve, _choices(ordered, names), spacing=8)
        .add_params(*menus)
        .properties(
            description=(
                f"Interactive chart. {len(drawn)} comparisons of dispersions in order of size, each with its "
                "interval and its verdict by colour; the rows below say how common each measure, tap, "
                "network, data set, stress and onset is along that order. Menus keep one of each, and choose "
                "what makes a family happy."
            )
        )
    )


def _curve(ordered: alt.Chart, names: Levels, reach: float) -> alt.LayerChart | alt.FacetChart:
    named = ordered.transform_calculate(
        **{f"{column}_": f"{json.dumps(levels)}[datum.{column}]" for column, levels in names.items()}
    )
    across = alt.X(
        "place:Q",
        title=None,
        axis=alt.Axis(labels=False, ticks=False, grid=False),
        scale=alt.Scale(domain=[0, 1]),
    )
    title, log = "dispersion, unhappy over happy (log)", alt.Scale(type="log", domain=[1 / reach, reach])
    ticks = alt.Axis(tickCount=6, format="~g")
    band = ordered.mark_area(opacity=0.25, interpolate="step", clip=True, aria=False).encode(
        x=across, y=alt.Y("low:Q", scale=log, title=title, axis=ticks), y2="high:Q"
    )
    tip: list[alt.Tooltip | str] = [alt.Tooltip(f"{c}:Q", format=".3f") for c in ("ratio", "low", "high")]
    tip += ["verdict:N", *(alt.Tooltip(f"{column}_:N", title=column) for column in names)]
    points = named.mark_square(size=16, opacity=1, strokeWidth=0, aria=False).encode(
        x=across,
        y=alt.Y("ratio:Q", title=title, scale=log, axis=ticks),
        color=alt.Color(
            "verdict:N",
            title=None,
            scale=alt.Scale(domain=list(VERDICTS[:3])),
            legend=alt.Legend(orient="top", symbolOpacity=1),
        ),
        tooltip=tip,
    )
    one = alt.Chart(pd.DataFrame({"one": [1.0]})).mark_rule(strokeDash=[4, 4], color="gray").encode(y="one:Q")
    return alt.layer(one, band, points).properties(width=_WIDTH, height=230)


def _choices(ordered: alt.Chart, names: Levels) -> alt.Chart:
    """How common each level is among the specifications of each stretch of the order."""
    rows = {
        column: [f"{CHOICES[column].strip().lower()}: {v}" for v in levels]
        for column, levels in names.items()
    }
    every = [row for levels in rows.values() for row in levels]
    return (
        ordered.transform_calculate(bins=f"min({_BINS}, datum.n)")
        .transform_calculate(bin="floor((datum.rank - 1) * datum.bins / datum.n)")
        .transform_joinaggregate(here="count()", groupby=["bin"])
        .transform_fold(list(names), as_=["choice", "level"])
        .transform_calculate(row=f"{json.dumps(rows)}[datum.choice][datum.level]")
        .transform_aggregate(count="count()", groupby=["row", "bin", "bins", "here"])
        .transform_calculate(
            x0="datum.bin / datum.bins", x1="(datum.bin + 1) / datum.bins", share="datum.count / datum.here"
        )
        .mark_rect(aria=False)
        .encode(
            x=alt.X(
                "x0:Q",
                title="specifications, by effect",
                axis=alt.Axis(labels=False, ticks=False, grid=False),
                scale=alt.Scale(domain=[0, 1]),
            ),
            x2="x1:Q",
            y=alt.Y("row:N", title=None, axis=alt.Axis(labelLimit=190), scale=alt.Scale(domain=every)),
            opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.08, 1]), legend=None),
        )
        .properties(width=_WIDTH, height=13 * len(every))
    )


def _words(base: alt.Chart) -> alt.Chart:
    return (
        base.transform_calculate(a="datum.verdict == 'AKP' ? 1 : 0", b="datum.verdict == 'anti-AKP' ? 1 : 0")
        .transform_aggregate(n="count()", a="sum(a)", b="sum(b)", middle="median(ratio)")
        .transform_calculate(
            lines="[datum.n == 0 ? 'Of these choices the principle predicts nothing.' : datum.n + "
            "' specifications: AKP in ' + datum.a + ', anti-AKP in ' + datum.b + ', none in ' + "
            "(datum.n - datum.a - datum.b) + '; median ratio ' + format(datum.middle, '.2f')]"
        )
        .mark_text(align="left", baseline="top", fontSize=13)
        .encode(text="lines:N", x=alt.value(0), y=alt.value(0))
        .properties(width=_WIDTH, height=18, view=alt.ViewConfig(strokeWidth=0))
    )


def _compact(table: pd.DataFrame) -> tuple[pd.DataFrame, Levels, list[str]]:
    """One row of numbers a comparison, stressed over control; the names they stand for; the definitions."""
    told = table[np.isfinite(table["effect"]) & (table["orientation"] != 0)]
    definitions = list(dict.fromkeys(table["definition"]))
    turn, keys = told["orientation"], list(CHOICES)
    ends = told[["low", "high"]].replace([-np.inf, np.inf], np.nan).to_numpy()
    ends = np.sort(ends * turn.to_numpy()[:, None], axis=1)
    decided = told["verdict"].map({"AKP": 1, "anti-AKP": -1}).fillna(0).astype(int)
    coded = pd.DataFrame(index=told.index)
    names: Levels = {}
    for column in keys:
        values = told[column].map(percent) if column == "onset" else told[column]
        coded[column], levels = pd.factorize(values)
        names[column] = [str(level) for level in levels]
    flat = coded.assign(r=told["effect"] * turn, l=ends[:, 0], h=ends[:, 1], k=decided * turn)
    signs = (
        coded.assign(definition=told["definition"], turn=turn)
        .pivot_table(index=keys, columns="definition", values="turn", aggfunc="first")
        .reindex(columns=definitions)
        .fillna(0)
        .astype(int)
        .reset_index()
    )
    return rounded(flat.drop_duplicates(keys).merge(signs, on=keys), 3), names, definitions


def verdict_shares(levels: pd.DataFrame, factors: Sequence[str] | None = None) -> alt.Chart:
    """Draw, for every choice held fixed, the share of its specifications in each verdict.

    Parameters
    ----------
    levels : DataFrame
        From `akp_core.specifications.by_level`.
    factors : sequence of str or None
        Which choices; those with more than one level if None.
    """
    needs(levels, ["factor", "level", *VERDICTS])
    several = levels.groupby("factor")["level"].transform("size") > 1
    kept = levels[several if factors is None else levels["factor"].isin(factors)]
    kept = kept if len(kept) else levels
    label = [
        f"{factor}: {percent(value) if isinstance(value, float) else value}"
        for factor, value in kept[["factor", "level"]].itertuples(index=False)
    ]
    tidy = kept.assign(choice=label).melt("choice", list(VERDICTS), var_name="verdict", value_name="share")
    tidy["place"] = tidy["verdict"].map({v: k for k, v in enumerate(VERDICTS)})
    return (
        alt.Chart(as_lines(rounded(tidy[tidy["share"] > 0], 3)))
        .mark_bar()
        .encode(
            x=alt.X(
                "share:Q",
                title="share of specifications",
                axis=alt.Axis(format="%"),
                scale=alt.Scale(domain=[0, 1]),
            ),
            y=alt.Y("choice:N", sort=list(dict.fromkeys(label)), title=None, axis=alt.Axis(labelLimit=200)),
            color=alt.Color(
                "verdict:N",
                title=None,
                scale=alt.Scale(domain=list(VERDICTS)),
                legend=alt.Legend(orient="top", columns=3),
            ),
            order="place:Q",
            tooltip=["choice:N", "verdict:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(
            width=420,
            height=17 * len(kept),
            description=(
                f"Stacked bars: for each of {len(kept)} choices held fixed, the share of its specifications "
                f"whose verdict is {', '.join(VERDICTS)}."
            ),
        )
    )


def under_exchange(
    medians: Float[np.ndarray, " b"], shares: Float[np.ndarray, " b"], *, bins: int = 40
) -> alt.HConcatChart:
    """Draw the median effect and the share of AKP verdicts under exchanged labels, and those of the data.

    Parameters
    ----------
    medians, shares : (b,) float
        From `akp_core.specifications.Joint`; the first entry is the data's.
    bins : int
    """
    if len(medians) < 2 or len(shares) != len(medians) or not np.isfinite(medians).all():
        raise AkpError("expected medians and shares of at least one exchange of labels to draw, got none")

    def panel(values: Float[np.ndarray, " b"], title: str, form: str) -> alt.LayerChart | alt.FacetChart:
        counts, edges = np.histogram(
            values[1:], bins=bins, range=(min(0.0, values.min()), values.max() or 1.0)
        )
        bars = pd.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})
        histogram = (
            alt.Chart(rounded(bars[bars["count"] > 0], 5))
            .mark_bar(opacity=0.6, aria=False)
            .encode(
                x=alt.X("from:Q", bin="binned", title=title, axis=alt.Axis(format=form, tickCount=5)),
                x2="to:Q",
                y=alt.Y("count:Q", title="exchanges"),
            )
        )
        here = alt.Chart(pd.DataFrame({"data": [float(values[0])]}))
        rule = here.mark_rule(strokeWidth=3, strokeDash=[6, 3], color="gray").encode(x="data:Q")
        return alt.layer(histogram, rule).properties(width=230, height=180)

    left = panel(medians, "median effect (contrast)", ".2f")
    return alt.hconcat(left, panel(shares, "share of AKP verdicts", ".0%"), spacing=30).properties(
        description=(
            f"Two histograms over {len(medians) - 1} exchanges of labels: the median effect and the share of "
            f"AKP verdicts. Dashed lines mark the data: {medians[0]:.3f} and {shares[0]:.1%}."
        )
    )
