"""Charts of *Agreement*: what networks have right together, and which images they learn first."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from akp_core.charts.tables import needs, rounded
from akp_core.errors import AkpError, expected, whole_number

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
    kept = alt.InlineData(
        values=table.to_csv(index=False),
        format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(table.columns[1:], "number")),
    )
    chosen, x = _menus(conditions)
    scale = alt.Scale(domain=[0, 1])
    along = alt.X("x:Q", title="share of training, or accuracy", scale=alt.Scale(domain=[0, 1], nice=False))
    band, null = (
        alt.Chart(kept)
        .transform_filter(alt.datum.condition == chosen)
        .transform_calculate(x=alt.datum[x])
        .mark_area(opacity=opacity, color=colour)
        .encode(x=along, y=alt.Y(f"{ends[0]}:Q", scale=scale), y2=f"{ends[1]}:Q")
        for ends, colour, opacity in BANDS
    )
    legend = alt.Legend(orient="top", columns=2, labelLimit=300, symbolStrokeWidth=2)
    lines = (
        alt.Chart(kept)
        .transform_filter(alt.datum.condition == chosen)
        .transform_fold(list(LINES), as_=["line", "share"])
        .transform_calculate(x=alt.datum[x])
        .mark_line(strokeWidth=2)
        .encode(
            x=along,
            y=alt.Y("share:Q", title="TPa", scale=scale),
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
    legend = alt.Legend(orient="top", columns=2, labelLimit=300, symbolStrokeWidth=2)
    colours = ["#1b74c5", "#d95f02", "#8a8a8a", "#8a8a8a", "#7b3294"]
    drawn = (
        alt.Chart(long)
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=45, filled=True))
        .encode(
            x=alt.X("size:O", title="networks that must agree, K", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("share:Q", title="TPa, or agreement beyond chance", scale=alt.Scale(domain=[0, 1])),
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


def learnt_images(
    images: Float[np.ndarray, "n c h w"], table: pd.DataFrame, *, side: int = 72
) -> alt.LayerChart | alt.FacetChart:
    """Show pictures in rows, each with a word below it.

    Parameters
    ----------
    images : (n, c, h, w) float array
        In [0, 1], of one or three channels (others are averaged).
    table : DataFrame
        One row a picture: ``image`` (its number in `images`), ``row`` (words for the row), ``place`` (0, 1,
        ... from the left), ``label`` (words below), ``time`` (for the tip).
    side : int
        Pixels of a picture on the page; smaller ones are enlarged without smoothing.

    Raises
    ------
    AkpError
        For an empty table, numbers that are no image, or images that are none.
    """
    needs(table, ["image", "row", "place", "label", "time"])
    side = whole_number("side", side, 16, 512)
    if np.ndim(images) != 4:
        raise expected("images of shape (n, c, h, w)", f"shape {np.shape(images)}")
    if table.empty or not table["image"].between(0, len(images) - 1).all():
        raise expected(f"numbers of images from 0 to {len(images) - 1}, one at least", str(len(table)))
    shown = rounded(table[["row", "place", "label", "time"]], 3).assign(
        url=[_png(np.asarray(images[int(k)]), side) for k in table["image"]]
    )
    rows, wide = list(dict.fromkeys(table["row"])), int(table["place"].max()) + 1
    base = alt.Chart(shown).encode(
        x=alt.X("place:O", axis=None), y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=150))
    )
    pictures = base.mark_image(width=side, height=side, yOffset=-15).encode(
        url="url:N", tooltip=["label:N", "time:Q"]
    )
    words = base.mark_text(yOffset=side // 2 - 6, fontSize=11, lineBreak="\n", baseline="top").encode(
        text="label:N"
    )
    said = "; ".join(
        f"{row}: {', '.join(table.loc[table['row'] == row, 'label'].astype(str))}" for row in rows
    )
    return alt.layer(pictures, words).properties(
        width=(side + 6) * wide,
        height=(side + 36) * len(rows),
        description=f"Rows of images with their labels, not for clinical use. {said}.".replace("\n", " "),
    )


def _png(image: Float[np.ndarray, "c h w"], side: int) -> str:
    """An image as a picture in the page itself."""
    mode = image if len(image) == 3 else image.mean(axis=0, keepdims=True)
    pixels = np.rint(255 * np.clip(mode, 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(pixels if len(mode) == 3 else pixels[:, :, 0])
    if min(picture.size) < side:
        picture = picture.resize((side, side), Image.Resampling.NEAREST)
    else:
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


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
    wide = rounded(table[["label", "time", *titles]], 3)
    points = alt.InlineData(
        values=wide.to_csv(index=False),
        format=alt.CsvDataFormat(type="csv", parse=dict.fromkeys(["time", *titles], "number")),
    )
    first = next(iter(titles))
    chosen = alt.param(
        name="statistic",
        value=first,
        bind=alt.binding_select(options=list(titles), labels=list(titles.values()), name="Statistic "),
    )
    labels = list(dict.fromkeys(table["label"]))
    return (
        alt.Chart(points)
        .transform_calculate(value=alt.datum[chosen])
        .mark_point(filled=True, size=36, opacity=0.6, aria=False)
        .encode(
            x=alt.X("value:Q", title="statistic of the image", scale=alt.Scale(zero=False)),
            y=alt.Y("time:Q", title="learnt at, share of training"),
            color=alt.Color("label:N", title=None, sort=labels, legend=alt.Legend(orient="top")),
            shape=alt.Shape("label:N", title=None, sort=labels, legend=alt.Legend(orient="top")),
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
