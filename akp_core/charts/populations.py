"""Charts of a population: histories, similarities, dispersions with their verdicts, and the explorer."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float

from akp_core.charts.tables import as_lines, needs, rounded, top_of
from akp_core.errors import AkpError
from akp_core.stress import percent
from akp_core.study import CONTROL

ROLES = (CONTROL, "stressed")
VERDICTS = ("AKP", "anti-AKP", "none", "no prediction")


def histories(
    history: pd.DataFrame, value: str, title: str, *, onset: float | None = None
) -> alt.LayerChart | alt.FacetChart:
    """Draw a quantity of every network over training: one faint line a network, one bold line a family.

    Parameters
    ----------
    history : DataFrame
        Columns ``family``, ``member``, ``epoch`` and `value`, as `Population.history` or `.curves`.
    value : str
        The column drawn upwards.
    title : str
        Its axis title.
    onset : float or None
        Epoch at which a rule marks the swap.
    """
    needs(history, ["family", "member", "epoch", value])
    families = list(dict.fromkeys(history["family"]))
    base = alt.Chart(as_lines(rounded(history[["family", "member", "epoch", value]], 3))).encode(
        x=alt.X("epoch:Q", title="epoch", scale=alt.Scale(zero=True)),
        y=alt.Y(f"{value}:Q", title=title, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "family:N",
            title="family",
            sort=families,
            legend=alt.Legend(orient="top", columns=3, symbolOpacity=1, symbolStrokeWidth=3),
        ),
    )
    each = base.mark_line(opacity=0.25, strokeWidth=1, aria=False).encode(detail="member:N")
    mean = base.mark_line(strokeWidth=3).encode(y=alt.Y(f"mean({value}):Q", title=title))
    layers = [each, mean]
    if onset is not None:
        rule = alt.Chart(pd.DataFrame({"epoch": [onset]})).mark_rule(strokeDash=[4, 4], color="gray")
        layers.append(rule.encode(x="epoch:Q"))
    swap = f" A dashed line marks the swap at epoch {onset:g}." if onset is not None else ""
    return alt.layer(*layers).properties(
        width=560,
        height=280,
        description=(
            f"Lines of {title} against the epoch for {len(families)} families ({', '.join(families)}): "
            f"a faint line for each network, a bold line for each family's mean.{swap}"
        ),
    )


def heatmap(
    values: Float[np.ndarray, "r c"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    size: int = 360,
) -> alt.Chart:
    """Draw a similarity matrix as coloured squares on the scale 0 to 1, with its values at the pointer.

    Parameters
    ----------
    values : (r, c) float
    rows, columns : sequence of str
        Names along the two sides, each once.
    title : str
        What a value is.
    size : int
        Pixels of the longer side.
    """
    if values.shape != (len(rows), len(columns)):
        raise AkpError(f"expected {len(rows)} x {len(columns)} values to match the names, got {values.shape}")
    cells = pd.DataFrame(
        {
            "row": np.repeat(np.asarray(rows, dtype=object), len(columns)),
            "column": np.tile(np.asarray(columns, dtype=object), len(rows)),
            "value": np.round(values.ravel(), 3),
        }
    )
    cell = size / max(values.shape)
    return (
        alt.Chart(as_lines(cells))
        .mark_rect()
        .encode(
            x=alt.X("column:N", sort=list(columns), title=None),
            y=alt.Y("row:N", sort=list(rows), title=None),
            color=alt.Color(
                "value:Q", title=title, scale=alt.Scale(scheme="viridis", domain=[0, 1], clamp=True)
            ),
            tooltip=["row:N", "column:N", "value:Q"],
        )
        .properties(
            width=cell * len(columns),
            height=cell * len(rows),
            description=(
                f"Heat map of {title}, {len(rows)} rows by {len(columns)} columns, "
                f"from {np.nanmin(values):.2f} to {np.nanmax(values):.2f}."
            ),
        )
    )


def dispersions(cells: pd.DataFrame) -> alt.FacetChart:
    """Draw the effect of every stress on dispersion with its interval, one panel a tap.

    Parameters
    ----------
    cells : DataFrame
        From `akp_core.judgement.judge`: columns ``family``, ``tap``, ``ratio``, ``low``, ``high``,
        ``verdict``, ``p_value``. Infinite ratios and ends of intervals are left to tables.
    """
    needs(cells, ["family", "tap", "ratio", "low", "high", "verdict", "p_value"])
    finite = cells.replace([np.inf, 0.0], np.nan).dropna(subset=["ratio"])
    drawn = rounded(finite[["family", "tap", "ratio", "low", "high", "verdict", "p_value"]], 3)
    order = list(dict.fromkeys(cells["family"]))
    rows = as_lines(drawn)
    base = alt.Chart(rows).encode(
        y=alt.Y("family:N", sort=order, title=None),
        color=alt.Color(
            "verdict:N", title=None, scale=alt.Scale(domain=list(VERDICTS)), legend=alt.Legend(orient="top")
        ),
        tooltip=["family:N", "tap:N", "ratio:Q", "low:Q", "high:Q", "p_value:Q", "verdict:N"],
    )
    axis = alt.Scale(type="log")
    title = "dispersion, stressed over control (log scale)"
    bars = base.mark_rule(strokeWidth=2, aria=False).encode(
        x=alt.X("low:Q", scale=axis, title=title), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=60).encode(x=alt.X("ratio:Q", scale=axis, title=title))
    one = alt.Chart(rows).mark_rule(strokeDash=[4, 4], color="gray", aria=False)
    one = one.encode(x=alt.datum(1))
    taps = list(dict.fromkeys(cells["tap"]))
    return (
        alt.layer(one, bars, points)
        .properties(width=420, height=18 * len(order))
        .facet(row=alt.Row("tap:N", sort=taps, title=None))
        .properties(
            description=(
                f"Points with intervals: how many times as far the networks of each of {len(order)} stressed "
                f"families lie from their centroid as the control's, at {len(taps)} taps. The dashed "
                "line is no difference."
            )
        )
    )


def explorer(networks: pd.DataFrame, cells: pd.DataFrame) -> alt.VConcatChart:
    """Draw the population for a reader to move through: choose stress, onset and tap.

    Shows the map of models, each network's distance to its own family's centroid, each network's test
    error, and the verdict of the chosen cell in words. Needs no kernel.

    Parameters
    ----------
    networks : DataFrame
        From `akp_core.judgement.placed`: columns ``tap``, ``stress``, ``onset``, ``member``, ``x``, ``y``,
        ``distance``, ``test_error``.
    cells : DataFrame
        From `akp_core.judgement.judge`: columns ``tap``, ``stress``, ``onset``, ``sentence``.
    """
    columns = ["tap", "stress", "onset", "member", "x", "y", "distance", "test_error"]
    needs(networks, columns)
    needs(cells, ["tap", "stress", "onset", "sentence"])
    stresses = list(dict.fromkeys(cells["stress"]))
    onsets = [float(o) for o in dict.fromkeys(cells["onset"])]
    taps = list(dict.fromkeys(cells["tap"]))
    stress = alt.param(
        name="stress", value=stresses[0], bind=alt.binding_select(options=stresses, name="Stress ")
    )
    labels = [f"{percent(o)} of training" for o in onsets]
    onset = alt.param(
        name="onset",
        value=onsets[0],
        bind=alt.binding_select(options=onsets, labels=labels, name="Set in at "),
    )
    first = "features" if "features" in taps else taps[-1]
    tap = alt.param(name="tap", value=first, bind=alt.binding_select(options=taps, name="Look at "))

    chosen = (alt.datum.tap == tap) & (
        (alt.datum.stress == CONTROL) | ((alt.datum.stress == stress) & (alt.datum.onset == onset))
    )
    role = alt.Color(
        "role:N",
        title=None,
        scale=alt.Scale(domain=list(ROLES)),
        legend=alt.Legend(orient="top", symbolSize=120),
    )
    drawn = networks[columns].copy()
    furthest = drawn[["x", "y"]].abs().max(axis=1).groupby(drawn["tap"]).transform("max")
    drawn[["x", "y"]] = drawn[["x", "y"]].div(furthest.where(furthest > 0), axis=0)
    base = (
        alt.Chart(as_lines(rounded(drawn, 3)))
        .transform_filter(chosen)
        .transform_calculate(role=f"datum.stress == '{CONTROL}' ? '{ROLES[0]}' : '{ROLES[1]}'")
    )
    tip = ["role:N", "member:Q", "test_error:Q", "distance:Q"]
    plain = alt.Axis(ticks=False, labels=False, grid=False)
    square = alt.Scale(domain=[-1.08, 1.08])  # one length on both axes and for all choices at a tap
    place = {
        "x": alt.X("x:Q", title="first principal coordinate", axis=plain, scale=square),
        "y": alt.Y("y:Q", title="second principal coordinate", axis=plain, scale=square),
    }
    twins = base.mark_line(aria=False, color="gray", opacity=0.35, strokeWidth=1).encode(
        **place, detail="member:N"
    )
    shape = alt.Shape(
        "role:N", title=None, scale=alt.Scale(domain=list(ROLES), range=["circle", "triangle-up"])
    )
    points = base.mark_point(filled=True, size=80, opacity=0.85).encode(
        **place, color=role, shape=shape, tooltip=tip
    )
    map_ = alt.layer(twins, points).properties(width=260, height=260, title="Map of models")

    def strip(column: str, title: str, top: float) -> alt.Chart:
        return (
            base.mark_tick(thickness=2, size=32)
            .encode(
                x=alt.X("role:N", title=None, sort=list(ROLES), axis=alt.Axis(labelAngle=0)),
                y=alt.Y(f"{column}:Q", title=None, scale=alt.Scale(domain=[0, top])),
                color=role,
                tooltip=tip,
            )
            .properties(width=100, height=260, title=title)
        )

    words = (
        alt.Chart(as_lines(cells[["tap", "stress", "onset", "sentence"]]))
        .transform_filter((alt.datum.tap == tap) & (alt.datum.stress == stress) & (alt.datum.onset == onset))
        .transform_calculate(lines="split(datum.sentence, '|')")
        .mark_text(align="left", baseline="top", fontSize=13, lineHeight=18)
        .encode(text="lines:N", x=alt.value(0), y=alt.value(0))
        .properties(width=560, height=56, view=alt.ViewConfig(strokeWidth=0))
    )
    far = strip("distance", "Distance to centroid", top_of(networks["distance"]))
    wrong = strip("test_error", "Test error", top_of(networks["test_error"]))
    picture = alt.hconcat(map_, far, wrong, spacing=20)
    return (
        alt.vconcat(words, picture, spacing=8)
        .add_params(stress, onset, tap)
        .properties(
            description=(
                f"Interactive chart. Three menus choose one of {len(stresses)} stresses, {len(onsets)} "
                f"onsets and {len(taps)} taps. It shows the verdict in words, a map of the control and the "
                "stressed networks with a line between twins, each network's distance to its own family's "
                "centroid, and its test error."
            )
        )
    )
