"""Charts of tests under examination: how often each rejects, and what it can see."""

from __future__ import annotations

import json

import altair as alt
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.errors import AkpError, unknown_name

HONESTY = ("cautious", "honest", "too eager", "an effect is there")

_POWER = "studies that find the difference (power)"
_COMPARED = {False: "other networks", True: "twins"}


def honesty(sizes: pd.DataFrame, levels: pd.DataFrame, *, level: float) -> alt.VConcatChart:
    """Draw how often each test rejected: at the level with its interval, and at all levels as curves.

    Two menus choose the setting and the measure.

    Parameters
    ----------
    sizes : DataFrame
        From `akp_core.simulation.verdicts.sizes`, with names as a reader should see them.
    levels : DataFrame
        From `akp_core.simulation.verdicts.by_level`, with the same names.
    level : float
        That of `sizes`; a dashed line marks it.
    """
    key = ["setting", "measure", "test"]
    needs(sizes, [*key, "share", "low", "high", "simulations", "verdict"])
    needs(levels, [*key, "level", "share"])
    if sizes.empty:
        raise AkpError("expected at least one judged test, got an empty table")
    settings, measures, tests = (list(dict.fromkeys(sizes[name])) for name in key)
    menus = [
        alt.param(name=name, value=options[0], bind=alt.binding_select(options=options, name=label))
        for name, options, label in (
            ("setting", settings, "Studies with "),
            ("measure", measures, "Similarity "),
        )
    ]
    chosen = (alt.datum.setting == menus[0]) & (alt.datum.measure == menus[1])
    words = {"setting": settings, "measure": measures, "test": tests, "verdict": list(HONESTY)}
    named = {name: f"{json.dumps(words[name])}[datum.{name}_]" for name in key}

    def coded(table: pd.DataFrame) -> pd.DataFrame:
        known = [name for name in words if name in table]
        for name in known:
            for stray in set(table[name]) - set(words[name]):
                raise unknown_name(name, str(stray), words[name])
        codes = {f"{name}_": table[name].map(words[name].index) for name in known}
        return table.drop(columns=known).assign(**codes)

    shown = coded(rounded(sizes[[*key, "share", "low", "high", "simulations", "verdict"]]))
    base = (
        alt.Chart(as_lines(shown))
        .transform_calculate(**named, verdict=f"{json.dumps(words['verdict'])}[datum.verdict_]")
        .transform_filter(chosen)
        .encode(
            y=alt.Y("test:N", sort=tests, title=None, axis=alt.Axis(labelLimit=220)),
            color=alt.Color(
                "verdict:N",
                title=None,
                scale=alt.Scale(domain=list(HONESTY)),
                legend=alt.Legend(orient="top", columns=2, labelLimit=300),
            ),
            tooltip=["test:N", "share:Q", "low:Q", "high:Q", "simulations:Q", "verdict:N"],
        )
    )
    share = alt.X(
        "share:Q",
        title="share of studies rejected (root scale)",
        axis=alt.Axis(format="%", values=[0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1]),
        scale=alt.Scale(type="sqrt", domain=[0, 1]),
    )
    bars = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=70).encode(x=share)
    at = alt.Chart(pd.DataFrame({"level": [level]})).mark_rule(strokeDash=[4, 4]).encode(x=alt.datum(level))
    dots = alt.layer(at, bars, points).properties(width=240, height=24 * len(tests))

    claimed = alt.X("level:Q", title="level claimed", axis=alt.Axis(format="%"))
    each = sorted(set(levels["level"]))
    shares = coded(rounded(levels[[*key, "level", "share"]], 3))
    wide = shares.pivot(index=[f"{name}_" for name in key], columns="level", values="share")[each]
    wide = wide.set_axis([f"at{k}" for k in range(len(each))], axis=1)
    legend = alt.Legend(orient="bottom", columns=2, labelLimit=300, symbolType="stroke", symbolSize=300)
    lines = (
        alt.Chart(as_lines(wide.reset_index()))
        .transform_calculate(**named)
        .transform_filter(chosen)
        .transform_fold(list(wide.columns))
        .transform_calculate(
            level=f"{json.dumps(each)}[toNumber(substring(datum.key, 2))]", share="datum.value"
        )
        .mark_line()
        .encode(
            x=claimed,
            y=alt.Y("share:Q", title="share rejected", axis=alt.Axis(format="%")),
            color=alt.Color("test:N", title=None, sort=tests, legend=legend),
            strokeDash=alt.StrokeDash("test:N", title=None, sort=tests, legend=legend),
            tooltip=["test:N", "level:Q", "share:Q"],
        )
    )
    just = alt.Chart(levels[["level"]].drop_duplicates()).mark_line(strokeDash=[4, 4], color="gray")
    curves = alt.layer(just.encode(x=claimed, y=alt.Y("level:Q", title="share rejected")), lines)
    return (
        alt.vconcat(dots, curves.properties(width=240, height=240))
        .resolve_scale(color="independent")
        .add_params(*menus)
        .properties(
            description=(
                f"Interactive chart. Menus choose one of {len(settings)} kinds of studies and one of "
                f"{len(measures)} similarities. Above, for each of {len(tests)} tests, the share of "
                f"simulated studies that it rejected at {level:.0%}, with its binomial interval and "
                "verdict. Below, that share against the level claimed; an honest test follows the dashed "
                "diagonal."
            )
        )
    )


def reach(curves: pd.DataFrame, *, aim: float) -> alt.LayerChart | alt.FacetChart:
    """Draw power against the number of members, one line a ratio of spreads; menus choose what is compared.

    Parameters
    ----------
    curves : DataFrame
        From `akp_core.simulation.sensitivity.power_curves`, unpaired, paired, or both together.
    aim : float
        The wanted power; a dashed line marks it.
    """
    columns = ["paired", "ratio", "dimension", "members", "power", "low", "high"]
    needs(curves, columns)
    if curves.empty:
        raise AkpError("expected at least one point of a power curve, got an empty table")
    dimensions = sorted({float(value) for value in curves["dimension"]})
    ratios = sorted({float(value) for value in curves["ratio"]})
    menu = alt.param(
        name="dimension",
        value=dimensions[len(dimensions) // 2],
        bind=alt.binding_select(
            options=dimensions,
            labels=[f"{d:g}" for d in dimensions],
            name="Directions in which networks vary ",
        ),
    )
    kinds = sorted({bool(value) for value in curves["paired"]})
    whom = alt.param(
        name="paired",
        value=kinds[0],
        bind=alt.binding_radio(
            options=kinds, labels=[_COMPARED[kind] for kind in kinds], name="Compare with "
        ),
    )
    drawn = rounded(curves[columns], 3)
    key = ["paired", "ratio", "dimension"]
    first = (
        drawn["members"].where(drawn["power"] >= aim).groupby([drawn[name] for name in key]).transform("min")
    )
    drawn["enough"] = drawn["members"].eq(first)
    base = (
        alt.Chart(as_lines(drawn))
        .transform_filter((alt.datum.dimension == menu) & (alt.datum.paired == whom))
        .encode(
            x=alt.X(
                "members:Q",
                title="networks in each family, or pairs of twins",
                scale=alt.Scale(
                    domain=[int(drawn["members"].min()), int(drawn["members"].max())], nice=False
                ),
            ),
            color=alt.Color(
                "ratio:N",
                title="spread, times as wide",
                sort=ratios,
                legend=alt.Legend(orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1),
            ),
            tooltip=["ratio:Q", "members:Q", "power:Q", "low:Q", "high:Q"],
        )
    )
    upwards = alt.Y("power:Q", title=_POWER, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("low:Q", title=_POWER, scale=alt.Scale(domain=[0, 1])), y2="high:Q"
    )
    line = base.mark_line(point=True).encode(y=upwards)
    # where a line first stands above the aim: the number that a reader came for
    enough = base.transform_filter("datum.enough").encode(y=upwards)
    ring = enough.mark_point(filled=False, size=170, strokeWidth=2, opacity=1, aria=False)
    number = enough.mark_text(dy=-16, fontSize=13, fontWeight="bold", aria=False).encode(
        text=alt.Text("members:Q")
    )
    wanted = alt.Chart(pd.DataFrame({"aim": [aim]})).mark_rule(strokeDash=[4, 4]).encode(y=alt.datum(aim))
    return (
        alt.layer(band, wanted, line, ring, number)
        .add_params(menu, whom)
        .properties(
            width=420,
            height=280,
            title=alt.TitleParams("How many models do I need?", anchor="start"),
            description=(
                f"Interactive chart. Choose {' or '.join(_COMPARED[kind] for kind in kinds)}, and one of "
                f"{len(dimensions)} effective dimensions. Lines of the power of the Anna Karenina test "
                "against the networks in each family, for "
                f"{len(ratios)} ratios of spread from {ratios[0]:g} to {ratios[-1]:g}, each in the band of "
                f"its simulation. A dashed line marks a power of {aim:.0%}; a number is the first on its "
                "line that reaches it."
            ),
        )
    )
