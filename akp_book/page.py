"""What a page calls: a beginning, and the cards, facts and tables that it shows."""

from __future__ import annotations

import html
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from akp_book.root import find_root

if TYPE_CHECKING:
    import pandas as pd

Tone = Literal["yes", "no", "open"]
SIGNS: dict[str, str] = {"yes": "✓", "no": "✗", "open": "?"}
ROUND_OFF = 1e-12
LIVE_FRONT_ENDS = ("JPY_SESSION_NAME", "VOILA_PREHEAT", "AKP_LIVE")


def begin() -> None:
    """Make a page run the same everywhere: the project's root as working directory, and charts that show.

    Under the press and under ``jupyter-book build .`` charts are stored as Vega-Lite for the book's own
    printing. A live front end is recognised by the variables that JupyterLab, Notebook and Voila set for
    their kernels (for any other, set ``AKP_LIVE=1``). There a chart is a widget that carries its scripts
    (``anywidget``) or, without that package, a still picture. None of them needs the internet.
    """
    import altair as alt

    os.chdir(root())
    alt.data_transformers.disable_max_rows()
    if live():
        has_widgets = importlib.util.find_spec("anywidget") is not None
        alt.renderers.enable("jupyter", offline=True) if has_widgets else alt.renderers.enable("svg")
        return
    alt.renderers.register("book", _bundle)
    alt.renderers.enable("book")


def live() -> bool:
    """Return whether a person watches this kernel in a front end, rather than the book being made."""
    voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    return "AKP_BOOK" not in os.environ and (voila or any(name in os.environ for name in LIVE_FRONT_ENDS))


def _bundle(spec: dict[str, object], **_: object) -> dict[str, object]:
    # '+json' because nbformat refuses a table under Altair's own 'application/vnd.vegalite.v6.json'
    described = f"Chart: {spec.get('description', 'without a description')}"
    bundle: dict[str, object] = {"application/vnd.vegalite.v6+json": spec, "text/plain": described}
    if "AKP_BOOK" not in os.environ:  # papermill's own notebook is opened where no version 6 is drawn
        import vl_convert

        bundle["image/svg+xml"] = vl_convert.vegalite_to_svg(spec)
    return bundle


def root() -> Path:
    """Return the project's folder, whatever the working directory of the kernel is."""
    return find_root()


def build_folder() -> Path:
    """Return the folder of this build, where a page may keep what it can compute again."""
    return Path(os.environ.get("AKP_BUILD") or root() / "_build")


def data_root() -> Path:
    """Return the folder of public data sets: ``$AKP_DATA``, else ``data`` in the project's folder."""
    given = os.environ.get("AKP_DATA")
    return Path(given).expanduser() if given else root() / "data"


class Shown:
    """A piece of HTML with the same content as text."""

    def __init__(self, markup: str, text: str) -> None:
        self._markup, self._text = markup, text

    def _repr_html_(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        """Return the text."""
        return self._text


def card(verdict: str, text: str, *, label: str = "", tone: Tone = "open") -> Shown:
    """Show a verdict and the sentence that supports it.

    Parameters
    ----------
    verdict : str
        A word or two, such as ``"AKP"``.
    text : str
        One sentence: the effect, its interval, the number of models.
    label : str
        What was judged.
    tone : {"yes", "no", "open"}
        Whether the claim is supported, contradicted or undecided. Shown by a sign and a colour.
    """
    label_markup = f'<p class="akp-card-label">{html.escape(label)}</p>' if label else ""
    sign = f'<span class="akp-card-sign" aria-hidden="true">{SIGNS[tone]}</span>'
    markup = (
        f'<div class="akp-card akp-{tone}">{label_markup}'
        f'<p class="akp-card-verdict">{sign} {html.escape(verdict)}</p>'
        f'<p class="akp-card-text">{html.escape(text)}</p></div>'
    )
    return Shown(markup, f"{label + ': ' if label else ''}{verdict}. {text}")


def cards(*shown: Shown) -> Shown:
    """Lay cards side by side, or one below the other on a narrow screen."""
    markup = "".join(one._repr_html_() for one in shown)
    return Shown(f'<div class="akp-cards">{markup}</div>', "\n".join(map(repr, shown)))


def facts(values: Mapping[str, object]) -> Shown:
    """Show a few named values as a list of definitions."""
    rows = (f"<div><dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd></div>" for k, v in values.items())
    text = "\n".join(f"{name}: {value}" for name, value in values.items())
    return Shown(f'<dl class="akp-facts">{"".join(rows)}</dl>', text)


def table(frame: pd.DataFrame, *, digits: int = 3) -> Shown:
    """Show a table without its row numbers.

    Parameters
    ----------
    frame : DataFrame
        Its columns as they should be named.
    digits : int
        Decimals of numbers that are not whole; what they would make 0, as a small p-value, is told by its
        power of ten.
    """

    def told(value: float) -> str:
        text = f"{value:z.{digits}f}"
        return f"{value:.0e}" if float(text) == 0 and abs(value) > ROUND_OFF else text

    markup = frame.to_html(index=False, border=0, classes="dataframe akp-table", float_format=told)
    return Shown(f'<div class="akp-table-box" tabindex="0">{markup}</div>', frame.to_string(index=False))


def download(frame: pd.DataFrame, name: str) -> Shown:
    """Offer a table as a file that lies in the page itself, so that it needs no server and no network.

    Parameters
    ----------
    frame : DataFrame
        Without its row labels.
    name : str
        File name, ending in ``.csv``.
    """
    coded = quote(frame.to_csv(index=False), safe="!$()*+,-./:;=?@_~")  # a quarter less than base64
    file = html.escape(name)
    link = f'<a download="{file}" href="data:text/csv;charset=utf-8,{coded}">Download {file}</a>'
    return Shown(f'<p class="akp-download">{link} ({len(frame)} rows)</p>', f"{name}, {len(frame)} rows")
