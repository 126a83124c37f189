"""The chart of what is learnt first: images that light up as networks learn them."""

from __future__ import annotations

import base64
import io

import altair as alt
import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from akp_core.charts.tables import needs
from akp_core.errors import expected, whole_number

_STEP = 5
"""Per cent of training from one stop of the slider to the next."""


def learnt_images(
    images: Float[np.ndarray, "n c h w"],
    table: pd.DataFrame,
    times: Float[np.ndarray, "m n"],
    *,
    side: int = 72,
) -> alt.LayerChart | alt.FacetChart:
    """Show pictures in rows, as bright as networks have learnt them by the time that a slider sets.

    Parameters
    ----------
    images : (n, c, h, w) float array
        In [0, 1], of one or three channels (others are averaged).
    table : DataFrame
        One row a picture: ``image`` (its number in `images`), ``row`` (words for the row), ``place`` (0, 1,
        ... from the left), ``label`` (words below).
    times : (m, n) float array
        When each network has learnt each image, as a share of training; inf where it never has.
    side : int
        Pixels of a picture on the page.

    Raises
    ------
    AkpError
        For an empty table, numbers that are no image, images that are none, or times of other images.
    """
    needs(table, ["image", "row", "place", "label"])
    side = whole_number("side", side, 16, 512)
    if np.ndim(images) != 4:
        raise expected("images of shape (n, c, h, w)", f"shape {np.shape(images)}")
    if table.empty or not table["image"].between(0, len(images) - 1).all():
        raise expected(f"numbers of images from 0 to {len(images) - 1}, one at least", str(len(table)))
    if np.ndim(times) != 2 or np.shape(times)[1] != len(images) or not len(times):
        raise expected(f"times of networks x {len(images)} images", f"shape {np.shape(times)}")
    networks, stops = len(times), np.arange(0, 101, _STEP) / 100
    picked = times[:, table["image"].to_numpy()]
    # a time on a stop counts at that stop, whatever its last bit
    known = (picked[None] <= stops[:, None, None] + 1e-9).sum(axis=1)
    shown = table[["row", "place", "label"]].assign(
        url=[_png(np.asarray(images[int(k)]), side) for k in table["image"]],
        known=known.T.tolist(),
    )
    settled = picked[np.isfinite(picked)]
    begin = _STEP * round(100 * float(np.median(settled)) / _STEP) if settled.size else 100
    done = alt.param(
        name="done",
        value=min(begin, 100),
        bind=alt.binding_range(min=0, max=100, step=_STEP, name="Training done, % "),
    )
    rows, wide = list(dict.fromkeys(table["row"])), int(table["place"].max()) + 1
    base = (
        alt.Chart(shown)
        .transform_calculate(now=f"datum.known[done / {_STEP}]")
        .transform_calculate(
            bright=f"0.2 + 0.8 * datum.now / {networks}",
            words=f"datum.label + '\\n' + datum.now + ' of {networks}'",
        )
        .encode(
            x=alt.X("place:O", axis=None),
            y=alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(labelLimit=150)),
        )
    )
    pictures = base.mark_image(width=side, height=side, yOffset=-15).encode(
        url="url:N", opacity=alt.Opacity("bright:Q", scale=None), tooltip=["label:N", "now:Q"]
    )
    words = base.mark_text(
        yOffset=side // 2 - 6, fontSize=11, lineBreak="\n", baseline="top", aria=False
    ).encode(text="words:N")
    when = "'After ' + done + ' % of training, learnt by'"
    said = "; ".join(
        f"{row}: {', '.join(table.loc[table['row'] == row, 'label'].astype(str))}" for row in rows
    )
    return (
        alt.layer(pictures, words)
        .add_params(done)
        .properties(
            width=(side + 6) * wide,
            height=(side + 36) * len(rows),
            title=alt.TitleParams(text=alt.ExprRef(f"['What is learnt first?', {when}]"), anchor="start"),
            description=(
                "Interactive chart: rows of images with their labels, not for clinical use. A slider sets "
                f"how much of training is done; an image brightens with every one of {networks} networks "
                f"that has learnt it by then, and the number below counts them. {said}."
            ),
        )
    )


def _png(image: Float[np.ndarray, "c h w"], side: int) -> str:
    """An image as a picture in the page itself; smaller ones are enlarged without smoothing."""
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
