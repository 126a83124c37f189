"""Charts of the deformation lens: an image that the reader bends, and where fields begin to fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.charts.tables import as_lines, needs, rounded
from akp_core.deformation import fields, temperature_for
from akp_core.deformation.folds import fold_scales
from akp_core.errors import expected

_FAR = 9.0
_SIZE = 200
"""About how wide a panel is: pixels of an image are whole numbers of the screen's, so that no seams show."""


def bendable(side: int, cutoffs: Sequence[int], draws: int, generator: torch.Generator) -> pd.DataFrame:
    """What a page needs to bend an image of one size without a kernel.

    Fields are proportional to the displacement, so that those of one pixel answer for all; and so does the
    displacement at which each square of four pixels begins to fold.

    Parameters
    ----------
    side : int
    cutoffs : sequence of int
    draws : int
        Fields for each cutoff.
    generator : torch.Generator

    Returns
    -------
    DataFrame
        A row for each pixel: ``y``, ``x``, ``noise`` (a direction of length 1), and for every cutoff c and
        draw d ``v{c}_{d}``, ``h{c}_{d}`` (displacement where the typical one is 1 pixel) and ``f{c}_{d}``
        (the typical displacement from which the square below and to the right folds).
    """
    y, x = np.indices((side, side))
    noise = torch.randn(side, side, generator=generator, dtype=torch.float64)
    table = {"y": y.ravel(), "x": x.ravel(), "noise": (noise / noise.norm()).numpy().ravel().round(4)}
    for cutoff in cutoffs:
        unit = temperature_for(1.0, cutoff, side)
        field = fields(draws, (side, side), cutoff=cutoff, temperature=unit, generator=generator)
        onset = torch.full((draws, side, side), _FAR)
        onset[:, :-1, :-1] = fold_scales(field).clamp(max=_FAR)
        for draw in range(draws):
            for name, values in zip("vhf", (*field[draw], onset[draw]), strict=True):
                table[f"{name}{cutoff}_{draw + 1}"] = values.double().numpy().ravel().round(2)
    return pd.DataFrame(table)


def bend_an_image(
    pictures: Mapping[str, Float[Tensor, "side side"]], table: pd.DataFrame, *, most: float = 4.0
) -> alt.HConcatChart:
    """Draw an image that the reader bends: where its pixels are read, the result, and noise of equal norm.

    Parameters
    ----------
    pictures : mapping of str to (side, side) tensor
        Grey images in [0, 1], by what the menu calls them.
    table : DataFrame
        From `bendable`, for that side.
    most : float
        Typical displacement at the end of the slider, in pixels.
    """
    side = math.isqrt(len(table))
    for name, picture in pictures.items():
        if tuple(picture.shape) != (side, side):
            raise expected(f"pictures of {side} x {side} pixels", f"{name} of shape {tuple(picture.shape)}")
    columns = [c for c in table.columns if c.startswith("f")]
    keys = [c.removeprefix("f") for c in columns]
    cutoffs = list(dict.fromkeys(int(key.split("_")[0]) for key in keys))
    draws = list(dict.fromkeys(int(key.split("_")[1]) for key in keys))
    grey = {name: (255 * p).round().int().flatten().tolist() for name, p in pictures.items()}
    onset = {key: round(float(table[c].min()), 2) for key, c in zip(keys, columns, strict=True)}
    scale = max(1, round(_SIZE / side))
    params = [
        alt.param(
            name="picture", value=next(iter(grey)), bind=alt.binding_select(options=list(grey), name="Image ")
        ),
        alt.param(
            name="move",
            value=1.0,
            bind=alt.binding_range(min=0, max=most, step=0.1, name="Typical displacement, pixels "),
        ),
        alt.param(
            name="cutoff",
            value=str(3 if 3 in cutoffs else cutoffs[0]),
            bind=alt.binding_radio(options=[str(c) for c in cutoffs], name="Cutoff (half-waves a side) "),
        ),
        alt.param(
            name="field", value="1", bind=alt.binding_radio(options=[str(d) for d in draws], name="Draw ")
        ),
        alt.param(name="grey", value=grey),
        alt.param(name="onset", value=onset),
    ]
    base = alt.Chart().transform_calculate(
        **_places(side),
        first=f"grey[picture][datum.y * {side} + datum.x]",
        folds="datum['f' + cutoff + '_' + field] <= move",
    )
    bent = base.transform_calculate(**_bilinear(side))
    noisy = (
        bent.transform_calculate(square="pow(datum.bent - datum.first, 2)")
        .transform_joinaggregate(total="sum(square)")
        .transform_calculate(noisy="clamp(datum.first + datum.noise * sqrt(datum.total), 0, 255)")
    )
    reading = alt.layer(
        _pixels(base, "first", side),
        *(
            base.transform_filter(f"datum.{row} % 2 == 0 || datum.{row} == {side - 1}")
            .mark_line(aria=False, strokeWidth=1, opacity=0.9, color="#4fa3e0")
            .encode(x=_axis("px", side), y=_axis("py", side), detail=f"{row}:Q", order=f"{other}:Q")
            for row, other in (("y", "x"), ("x", "y"))
        ),
        base.transform_filter("datum.folds")
        .mark_square(aria=False, size=36, opacity=0.9, color="#e4572e")
        .encode(x=_axis("px", side), y=_axis("py", side)),
    )
    ratio = f"(pow(PI * toNumber(cutoff) * move / {side}, 2))"
    kelvin = f"format(4 * move * move / (PI * {side**2} * log(toNumber(cutoff))), '.2~e')"
    where = "onset[cutoff + '_' + field]"
    panels = [
        (
            reading,
            f"'read here: ' + (move >= {where} ? 'FOLDED' : 'no fold')",
            f"'this draw folds from ' + format({where}, '.2f') + ' px on'",
        ),
        (
            _pixels(bent, "bent", side),
            "'bent'",
            f"'T = ' + {kelvin} + ' = ' + format({ratio}, '.2f') + ' T_max'",
        ),
        (_pixels(noisy, "noisy", side), "'as much noise'", "'same norm, another direction'"),
    ]
    drawn = [
        panel.properties(
            width=side * scale,
            height=side * scale,
            title=alt.Title(
                text=alt.expr(f"[{title}, {below}]"), anchor="start", fontSize=12, fontWeight="normal"
            ),
        )
        for panel, title, below in panels
    ]
    return (
        alt.hconcat(*drawn, data=as_lines(table), spacing=14)
        .add_params(*params)
        .properties(
            title=alt.TitleParams("What does a diffeomorphism do?", anchor="start"),
            description=(
                "Interactive chart of three pictures: an image with the places where its bent copy reads "
                "rows and columns, and squares where the map folds; the bent copy; and the image with noise "
                f"that changes it as much. A menu chooses the image ({', '.join(grey)}), a slider the "
                "displacement, buttons the cutoff and the draw. Words above each picture say where the draw "
                "begins to fold and how warm it is."
            ),
        )
    )


def folding_shares(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """Draw the share of fields that fold against their temperature, for a reader to choose the side.

    Parameters
    ----------
    table : DataFrame
        From `akp_core.deformation.measured.folding`.
    """
    needs(table, ["side", "cutoff", "ratio", "displacement", "share", "low", "high"])
    shown = rounded(table.drop(columns="draws", errors="ignore"))
    shown["percent"], shown["from"], shown["to"] = (100 * shown[c] for c in ("share", "low", "high"))
    sides = [str(side) for side in dict.fromkeys(shown["side"])]
    side = alt.param(
        name="side", value=sides[0], bind=alt.binding_radio(options=sides, name="Pixels along the side ")
    )
    base = alt.Chart(as_lines(rounded(shown.drop(columns=["share", "low", "high"]), 2))).transform_filter(
        "toString(datum.side) == side"
    )
    each = alt.Scale(domain=list(dict.fromkeys(shown["cutoff"])))
    legend = alt.Legend(orient="top", symbolOpacity=1)
    colour = alt.Color("cutoff:N", title="cutoff", scale=each, legend=legend)
    x = alt.X("ratio:Q", title="temperature, in units of the paper's upper limit T_max")
    band = base.mark_area(opacity=0.2, aria=False).encode(
        x=x, y=alt.Y("from:Q", title="fields that fold, %"), y2="to:Q", color=colour
    )
    line = base.mark_line(point=True).encode(
        x=x,
        y="percent:Q",
        color=colour,
        shape=alt.Shape("cutoff:N", title="cutoff", scale=each, legend=legend),
        tooltip=[
            f"{name}:Q" for name in ("side", "cutoff", "ratio", "displacement", "percent", "from", "to")
        ],
    )
    rule = (
        alt.Chart(pd.DataFrame({"ratio": [1.0]}))
        .mark_rule(color="gray", strokeDash=[4, 4])
        .encode(x="ratio:Q")
    )
    return (
        alt.layer(band, line, rule)
        .add_params(side)
        .properties(
            width=480,
            height=260,
            description="Share of fields that fold against temperature over T_max, a line for each cutoff; "
            "the side of the image can be chosen.",
        )
    )


def _places(side: int) -> dict[str, str]:
    """Where each pixel of the bent image is read, and the four neighbours' corner there."""
    last = side - 1
    found = {}
    for axis, name in (("y", "v"), ("x", "h")):
        moved = f"datum.{axis} - move * datum['{name}' + cutoff + '_' + field]"
        found[f"p{axis}"] = f"clamp({moved}, 0, {last})"
        found[f"c{axis}"] = f"min(floor(datum.p{axis}), {last - 1})"
    return found


def _bilinear(side: int) -> dict[str, str]:
    def read(down: int, across: int) -> str:
        return f"grey[picture][(datum.cy + {down}) * {side} + datum.cx + {across}]"

    left, right = "(1 - datum.px + datum.cx)", "(datum.px - datum.cx)"
    upper = f"({left} * {read(0, 0)} + {right} * {read(0, 1)})"
    lower = f"({left} * {read(1, 0)} + {right} * {read(1, 1)})"
    return {"bent": f"(1 - datum.py + datum.cy) * {upper} + (datum.py - datum.cy) * {lower}"}


def _axis(field: str, side: int) -> alt.X | alt.Y:
    kind = alt.Y if "y" in field else alt.X
    domain = [side - 0.5, -0.5] if kind is alt.Y else [-0.5, side - 0.5]
    return kind(f"{field}:Q", axis=None, scale=alt.Scale(domain=domain, nice=False))


def _pixels(base: alt.Chart, value: str, side: int) -> alt.Chart:
    tone = f"'rgb(' + round(datum.{value}) + ',' + round(datum.{value}) + ',' + round(datum.{value}) + ')'"
    # unlabelled, as 600 labels would help nobody
    ends = {"xa": "datum.x - 0.5", "xb": "datum.x + 0.5", "ya": "datum.y - 0.5", "yb": "datum.y + 0.5"}
    return (
        base.transform_calculate(tone=tone, **ends)
        .mark_rect(aria=False)
        .encode(
            x=_axis("xa", side),
            x2="xb:Q",
            y=_axis("ya", side),
            y2="yb:Q",
            color=alt.Color("tone:N", scale=None),
        )
    )
