"""Charts of *Agreement*: what networks have right together, and what the order of learning follows."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

LINES = ("networks", "chance at this accuracy", "most that accuracy allows", "least that accuracy allows")
DASHES = ((1, 0), (6, 4), (2, 2), (2, 2))
BANDS = ((("low", "high"), "#1b74c5", 0.25), (("null_low", "null_high"), "gray", 0.45))
ALONG = {"training": "share of training", "accuracy": "accuracy, mean over networks"}


def agreement_curves(curves: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw TPa as networks learn, beside chance and bounds: choose the population, and time or accuracy.

    Parameters
    ----------
    curves : DataFrame
        From `akp_core.agreement.conditions.curve`, with a column ``condition``.
    """
    names = [
        "training",
        "accuracy",
        "value",
        "low",
        "high",
        "lower",
        "upper",
        "chance",
        "null_low",
        "null_high",
    ]
    needs(curves, ["condition", *names])
    if curves.empty:
        raise AkpError("expected curves with at least one look, got none")
    conditions = list(dict.fromkeys(curves["condition"]))
    named = dict(zip(("value", "chance", "upper", "lower"), LINES, strict=True))
    table = rounded(curves[["condition", *names]], 3).rename(columns=named)
    kept = as_lines(table)
    chosen, x = _menus(conditions)
    scale = alt.Scale(domain=[0, 1])
    along = alt.X("x:Q", title="share of training, or accuracy", scale=alt.Scale(domain=[0, 1], nice=False))
    band, null = (
        alt.Chart(kept)
        .transform_filter(alt.datum.condition == chosen)
        .transform_calculate(x=alt.datum[x])
        .mark_area(opacity=opacity, color=colour, aria=False)
        .encode(x=along, y=alt.Y(f"{ends[0]}:Q", scale=scale), y2=f"{ends[1]}:Q")
        for ends, colour, opacity in BANDS
    )
    legend = alt.Legend(
        orient="top", columns=2, labelLimit=300, symbolType="stroke", symbolSize=300, symbolStrokeWidth=2
    )
    lines = (
        alt.Chart(kept)
        .transform_filter(alt.datum.condition == chosen)
        .transform_fold(list(LINES), as_=["line", "share"])
        .transform_calculate(x=alt.datum[x])
        .mark_line(strokeWidth=2, aria=False)
        .encode(
            x=along,
            y=alt.Y("share:Q", title="true-positive agreement", scale=scale),
            color=alt.Color(
                "line:N",
                title=None,
                legend=legend,
                scale=alt.Scale(domain=list(LINES), range=["#1b74c5", "#d95f02", "#8a8a8a", "#8a8a8a"]),
            ),
            strokeDash=alt.StrokeDash(
                "line:N", title=None, legend=legend, scale=alt.Scale(domain=list(LINES), range=list(DASHES))
            ),
            order="training:Q",
            tooltip=["line:N", "training:Q", "accuracy:Q", "share:Q"],
        )
    )
    return (
        alt.layer(band, null, lines)
        .add_params(chosen, x)
        .properties(
            width=480,
            height=280,
            description=(
                f"Interactive chart. A menu chooses one of {len(conditions)} populations "
                f"({', '.join(conditions)}), buttons choose share of training or accuracy across. Lines: "
                "true-positive agreement with its interval, what chance gives at the same accuracies with "
                "the band of a permutation null, and the least and the most that accuracy allows."
            ),
        )
    )


def _menus(conditions: Sequence[str]) -> tuple[alt.Parameter, alt.Parameter]:
    chosen = alt.param(
        name="population",
        value=conditions[0],
        bind=alt.binding_select(options=list(conditions), name="Population "),
    )
    along = alt.param(
        name="along",
        value="training",
        bind=alt.binding_radio(options=list(ALONG), labels=list(ALONG.values()), name="Across "),
    )
    return chosen, along


def sizes(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw TPa at one accuracy against the number of networks that must agree.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.agreement.conditions.by_size`: ``size``, ``value``, ``chance``, ``lower``, ``upper``,
        ``corrected``.
    """
    needs(table, ["size", "value", "chance", "lower", "upper", "corrected"])
    if table.empty:
        raise AkpError("expected agreement of at least one number of networks, got none")
    last = "networks, beyond chance"
    names = dict(zip(("value", "chance", "upper", "lower"), LINES, strict=True)) | {"corrected": last}
    long = rounded(table, 3).melt(["size"], list(names), "line", "share")
    long["line"] = long["line"].map(names)
    domain = [*LINES, last]
    legend = alt.Legend(
        orient="top", columns=2, labelLimit=300, symbolType="stroke", symbolSize=300, symbolStrokeWidth=2
    )
    colours = ["#1b74c5", "#d95f02", "#8a8a8a", "#8a8a8a", "#9b59b6"]
    drawn = (
        alt.Chart(long)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45, filled=True))
        .encode(
            x=alt.X("size:O", title="networks that must agree", axis=alt.Axis(labelAngle=0)),
            y=alt.Y(
                "share:Q",
                title="agreement, or agreement beyond chance",
                scale=alt.Scale(domain=[0, 1]),
            ),
            color=alt.Color(
                "line:N", title=None, legend=legend, scale=alt.Scale(domain=domain, range=colours)
            ),
            strokeDash=alt.StrokeDash(
                "line:N",
                title=None,
                legend=legend,
                scale=alt.Scale(domain=domain, range=[*DASHES, (1, 0)]),
            ),
            tooltip=["line:N", "size:O", "share:Q"],
        )
    )
    return alt.layer(drawn).properties(
        width=480,
        height=240,
        description=(
            f"True-positive agreement of {table['size'].min()} to {table['size'].max()} networks of one "
            "accuracy, with chance, bounds and agreement beyond chance: one line each."
        ),
    )


def statistics_against_time(table: pd.DataFrame, titles: dict[str, str]) -> alt.Chart:
    """Draw the learning time of every image against a statistic that a menu chooses.

    Parameters
    ----------
    table : DataFrame
        One row an image: ``time``, ``label`` and a column for each statistic.
    titles : dict of str to str
        The statistics and what to call them.
    """
    needs(table, ["time", "label", *titles])
    if table.empty or not titles:
        raise AkpError("expected at least one image and one statistic to draw")
    points = as_lines(rounded(table[["label", "time", *titles]], 3))
    first = next(iter(titles))
    chosen = alt.param(
        name="statistic",
        value=first,
        bind=alt.binding_select(options=list(titles), labels=list(titles.values()), name="Statistic "),
    )
    each = alt.Scale(domain=list(dict.fromkeys(table["label"])))
    return (
        alt.Chart(points)
        .transform_calculate(value=alt.datum[chosen])
        .mark_point(filled=True, size=36, opacity=0.6, aria=False)
        .encode(
            x=alt.X("value:Q", title="statistic of the image", scale=alt.Scale(zero=False)),
            y=alt.Y("time:Q", title="learnt after, share of training"),
            color=alt.Color("label:N", title=None, scale=each, legend=alt.Legend(orient="top")),
            shape=alt.Shape("label:N", title=None, scale=each, legend=alt.Legend(orient="top")),
            tooltip=["label:N", "value:Q", "time:Q"],
        )
        .add_params(chosen)
        .properties(
            width=480,
            height=260,
            description=(
                f"Scatter of {len(table)} images: mean learning time against a statistic that a menu chooses "
                f"among {', '.join(titles.values())}."
            ),
        )
    )
