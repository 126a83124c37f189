"""Charts of *The principle*: effects with their intervals, and one family under many measures."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd

from akp_core.charts.tables import as_lines, needs, rounded

_MENUS = {"tap": "Look at "}
FOUND = ("spread", "gathered", "none", "not testable")


def effects(
    table: pd.DataFrame,
    *,
    title: str,
    null: float = 1.0,
    log: bool = True,
    by: str | None = None,
    menu: str | None = None,
    says: str = "",
) -> alt.LayerChart | alt.FacetChart:
    """Draw effects with their intervals, one row a label, and a rule where there is none.

    Parameters
    ----------
    table : DataFrame
        Columns ``label``, ``value``, ``low`` and ``high``; with `by` or `menu`, those columns too. With
        ``null_low`` and ``null_high`` a wide grey bar shows what chance gives. Rows without a finite value
        are left to tables; an interval without ends is not drawn.
    title : str
        What a value is.
    null : float
        The value of no effect.
    log : bool
        Whether the axis is logarithmic.
    by : str, optional
        Column that splits each row in lines of their own shape and colour.
    menu : str, optional
        Column whose value a menu chooses.
    says : str
        What is compared, for the description.
    """
    extra = [c for c in (by, menu) if c is not None]
    needs(table, ["label", "value", "low", "high", *extra])
    band = [c for c in ("null_low", "null_high") if c in table.columns]
    shown = table[["label", "value", "low", "high", *extra, *band]].replace([np.inf, -np.inf], np.nan)
    positive = shown["value"] > 0 if log else shown["value"].notna()
    drawn = shown[positive].copy()
    if drawn.empty:
        words = alt.Chart(pd.DataFrame({"text": ["There is no effect to draw in this run."]}))
        empty = words.mark_text(align="left", fontSize=13).encode(text="text:N", x=alt.value(0))
        return alt.layer(empty).properties(width=330, height=30, description=f"No chart: no {title} to draw.")
    ends = drawn["low"].notna() & drawn["high"].notna() & ((drawn["low"] > 0) | (not log))
    drawn.loc[~ends, ["low", "high"]] = np.nan
    order, groups = list(dict.fromkeys(table["label"])), []
    axis = alt.Scale(type="log") if log else alt.Scale(zero=True)
    base = alt.Chart(as_lines(rounded(drawn, 3))).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        tooltip=["label:N", "value:Q", "low:Q", "high:Q", *(f"{name}:N" for name in extra)],
    )
    legend = alt.Legend(orient="top", columns=2, labelLimit=300)
    if by is not None:
        groups = list(dict.fromkeys(table[by]))
        base = base.encode(
            color=alt.Color(f"{by}:N", title=None, scale=alt.Scale(domain=groups), legend=legend),
            yOffset=alt.YOffset(f"{by}:N", sort=groups),
        )
    chosen = None
    if menu is not None:
        options = list(dict.fromkeys(table[menu]))
        chosen = alt.param(
            name="chosen",
            value=options[-1],
            bind=alt.binding_select(options=options, name=_MENUS.get(menu, f"{menu.capitalize()} ")),
        )
        base = base.transform_filter(alt.datum[menu] == chosen)
    x = alt.X("value:Q", scale=axis, title=title)
    layers: list[alt.Chart] = []
    if len(band) == 2:
        grey = base.mark_bar(aria=False, color="gray", opacity=0.25, height=12)
        layers.append(grey.encode(x=alt.X("null_low:Q", scale=axis, title=title), x2="null_high:Q"))
    layers.append(
        base.mark_rule(strokeWidth=2, aria=False).encode(
            x=alt.X("low:Q", scale=axis, title=title), x2="high:Q"
        )
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x=x)
    layers.append(
        points
        if by is None
        else points.encode(
            shape=alt.Shape(f"{by}:N", title=None, scale=alt.Scale(domain=groups), legend=legend)
        )
    )
    line = alt.Chart(pd.DataFrame({"at": [null]})).mark_rule(strokeDash=[4, 4], color="gray")
    layers.append(line.encode(x=alt.X("at:Q", scale=axis, title=title)))
    height = max(2, len(order)) * (20 + 10 * max(0, len(groups) - 1))
    chart = alt.layer(*layers).properties(
        width=330,
        height=height,
        description=(
            f"Points with intervals: {title}, for {len(order)} rows ({', '.join(map(str, order[:12]))}). "
            f"{says} The dashed line, at {null:g}, is no effect."
        ),
    )
    return chart if chosen is None else chart.add_params(chosen)


def measures(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw what each measure of similarity finds of each family: a cell a pair, coloured where it finds much.

    Parameters
    ----------
    table : DataFrame
        From `evidence.witnesses.by_measure`: ``family``, ``measure``, ``ratio``, ``p_value``, ``found``.
    """
    needs(table, ["family", "measure", "ratio", "p_value", "found"])
    drawn = table[["family", "measure", "ratio", "p_value", "found"]].copy()
    drawn["measure"] = drawn["measure"].str.replace("_", " ")
    drawn["words"] = [f"{r:.2f}" if np.isfinite(r) else "–" for r in drawn["ratio"]]
    families, names = list(dict.fromkeys(drawn["family"])), list(dict.fromkeys(drawn["measure"]))
    drawn = drawn.replace([np.inf, -np.inf], np.nan)
    base = alt.Chart(as_lines(rounded(drawn, 3))).encode(
        x=alt.X("measure:N", sort=names, title=None, axis=alt.Axis(labelAngle=-40, orient="top")),
        y=alt.Y("family:N", sort=families, title=None, axis=alt.Axis(labelLimit=200)),
        tooltip=["family:N", "measure:N", "ratio:Q", "p_value:Q", "found:N"],
    )
    scale = alt.Scale(domain=list(FOUND), range=["#d95f02", "#1b74c5", "#8a8a8a", "#c9b458"])
    cells = base.mark_rect(opacity=0.55, aria=False).encode(
        color=alt.Color("found:N", title=None, scale=scale, legend=alt.Legend(orient="bottom", columns=2))
    )
    numbers = base.mark_text(fontSize=12).encode(text="words:N")
    return alt.layer(cells, numbers).properties(
        width=56 * len(names),
        height=22 * len(families),
        description=(
            f"A table of {len(families)} stressed families by {len(names)} measures ({', '.join(names)}). "
            "Each cell gives the dispersion of the stressed family over the control's, and is coloured by "
            "whether a permutation test finds it spread, gathered or neither."
        ),
    )
