"""The chart of test error against R_f, with the fitted line and the published one."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.labels import PLACES, places
from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError

_LEGEND = alt.Legend(orient="top", symbolType="stroke", symbolSize=300, symbolStrokeWidth=2)
_WIDTH, _HEIGHT, _ROOM, _FONT = 480, 320, 16, 11


def error_against(
    networks: pd.DataFrame, laws: pd.DataFrame, *, published: tuple[float, float]
) -> alt.LayerChart | alt.FacetChart:
    """Draw test error against R, both logarithmic, with the fitted line and the published one.

    Parameters
    ----------
    networks : DataFrame
        One row a network: ``view`` (what a menu chooses), ``group``, ``R``, ``test_error``.
    laws : DataFrame
        One row a view: ``view``, ``exponent``, ``prefactor``.
    published : (float, float)
        Exponent and prefactor of the published law.
    """
    needs(networks, ["view", "group", "R", "test_error"])
    needs(laws, ["view", "exponent", "prefactor"])
    good = networks[np.isfinite(networks["R"]) & (networks["R"] > 0) & (networks["test_error"] > 0)].copy()
    if good.empty:
        raise AkpError("expected at least one network with an R and an error above 0, got none")
    views = list(dict.fromkeys(good["view"]))
    ends = []
    for view, part in good.groupby("view", sort=False):
        law = laws[laws["view"] == view]
        known = [("published", *published)]
        known += [("fitted", law["exponent"].iloc[0], law["prefactor"].iloc[0])] if len(law) else []
        for name, exponent, prefactor in known:
            ends += [
                (view, name, r, prefactor * r**exponent)
                for r in np.geomspace(part["R"].min(), part["R"].max(), 2)
            ]
    lines = pd.DataFrame(ends, columns=["view", "line", "R", "test_error"])
    points = rounded(good[["view", "group", "R", "test_error"]])
    means = good.assign(log=np.log(good["R"])).groupby(["view", "group"], sort=False)
    groups = means.agg(log=("log", "mean"), test_error=("test_error", "mean")).reset_index()
    groups = _with_places(groups.assign(R=np.exp(groups["log"])).drop(columns="log"), points, lines)
    groups = rounded(groups)
    chosen = alt.param(
        name="chosen_view", value=views[0], bind=alt.binding_radio(options=views, name="Across ")
    )
    is_it = alt.datum.view == (chosen if len(views) > 1 else views[0])
    x = alt.X(
        "R:Q",
        scale=alt.Scale(type="log", nice=False, padding=_ROOM),
        title="R at the output (log scale)",
        axis=alt.Axis(format="~g"),
    )
    y = alt.Y(
        "test_error:Q",
        scale=alt.Scale(type="log", nice=False, padding=_ROOM),
        title="test error (log scale)",
        axis=alt.Axis(format="~g", minExtent=40),
    )
    tip = ["group:N", alt.Tooltip("R:Q", format=".3g"), alt.Tooltip("test_error:Q", format=".3g")]
    kinds = alt.Scale(domain=["fitted", "published"])
    small = (
        alt.Chart(as_lines(points))
        .transform_filter(is_it)
        .mark_point(opacity=0.7, size=22, color="#8a8a8a", aria=False)
    )
    large = alt.Chart(as_lines(groups)).transform_filter(is_it)
    both = [
        alt.Chart(as_lines(rounded(lines, 5)))
        .transform_filter(is_it)
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color("line:N", title=None, scale=kinds, legend=_LEGEND),
            strokeDash=alt.StrokeDash("line:N", title=None, scale=kinds, legend=_LEGEND),
        ),
        small.encode(x=x, y=y, tooltip=tip),
        large.mark_point(filled=True, size=80, opacity=1, color="#1b74c5").encode(x=x, y=y, tooltip=tip),
        *(  # all rows stay, most without words: an axis of nothing has no ends, and Vega complains
            large.transform_calculate(words=f"datum.place == {k} ? datum.group : ''")
            .mark_text(aria=False, align=place.align, dx=place.dx, dy=place.dy, fontSize=_FONT)
            .encode(x=x, y=y, text="words:N")
            for k, place in enumerate(PLACES)
            if k in set(groups["place"])
        ),
    ]
    picture = alt.layer(*both).properties(
        width=_WIDTH,
        height=_HEIGHT,
        description=(
            f"Interactive chart. Test error against R, both logarithmic, across {' or '.join(views)}. "
            "Small points are networks, large ones the means of groups; one line is fitted to these, one is "
            "the published law."
        ),
    )
    return picture.add_params(chosen) if len(views) > 1 else picture


def _with_places(groups: pd.DataFrame, points: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """The groups with where the name of each stands in the frame of its view."""
    drawn = pd.concat([points, lines], ignore_index=True)
    parts = []
    for view, part in groups.groupby("view", sort=False):
        at = {}
        for name, size in (("R", _WIDTH), ("test_error", _HEIGHT)):
            low, high = np.log(drawn.loc[drawn["view"] == view, name]).agg(["min", "max"])
            share = (np.log(part[name].to_numpy()) - low) / max(high - low, 1e-9)
            at[name] = _ROOM + share * (size - 2 * _ROOM)
        names = [str(group) for group in part["group"]]
        across, down = at["R"], _HEIGHT - at["test_error"]
        place = places(across, down, names, width=_WIDTH, height=_HEIGHT, font=_FONT)
        parts.append(part.assign(place=place))
    return pd.concat(parts)
