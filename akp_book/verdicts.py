"""Verdicts on claims: a card on the page that judged, and all of them together on the first page.

A card carries its verdict as data beside its markup, in the executed notebook itself. So what the first page
collects is what was run with the parameters of this book; an edition of a page has verdicts of its own.
"""

from __future__ import annotations

import html
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from akp_book.page import SIGNS, Shown, Tone, root
from akp_core.errors import expected, unknown_name

if TYPE_CHECKING:
    import nbformat

KEY = "akp_verdicts"
"""Where the metadata of an output holds its verdicts."""
EARLIER = "AKP_EARLIER"
"""Variable of the kernel that names the file with the notebooks of the pages that ran before this one."""


@dataclass(frozen=True)
class Verdict:
    """What a page found about one claim.

    Attributes
    ----------
    claim : str
        Its sign in the list of claims, such as ``C2`` or ``T4``.
    statement : str
        The claim, in one sentence.
    verdict : str
        A word or two: ``AKP``, ``none``, ``anti-AKP``, ``holds``, ...
    tone : {"yes", "no", "open"}
        Whether the claim is supported, contradicted or undecided.
    effect : str
        What `value` measures, in words with its unit.
    value, low, high : float, optional
        The effect and the ends of its interval.
    p_value : float, optional
    members : int or str
        How many networks, or whatever the replicate is: ``12 + 12``, ``200 simulations``.
    null : str
        What it was compared with.

    Raises
    ------
    AkpError
        For an unknown tone, a claim or verdict without words, a number that is not finite, an interval
        without its ends or with its ends exchanged, or a p-value outside [0, 1].
    """

    claim: str
    statement: str
    verdict: str
    tone: Tone
    effect: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    members: int | str = ""
    null: str = ""

    def __post_init__(self) -> None:
        if self.tone not in SIGNS:
            raise unknown_name("tone of a verdict", self.tone, SIGNS)
        for name in ("claim", "statement", "verdict", "effect"):
            if not str(getattr(self, name)).strip():
                raise expected(f"words for the {name} of a verdict", repr(getattr(self, name)))
        for name in ("value", "low", "high", "p_value"):
            given = getattr(self, name)
            if given is not None:
                if not math.isfinite(given):
                    raise expected(f"a finite {name} or None in the verdict on {self.claim}", repr(given))
                object.__setattr__(self, name, float(given))
        if isinstance(self.members, Integral):
            object.__setattr__(self, "members", int(self.members))
        if (self.low is None) != (self.high is None):
            raise expected(f"both ends of the interval in the verdict on {self.claim}", "one of them")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise expected(
                f"low below high in the verdict on {self.claim}", f"{self.low:g} and {self.high:g}"
            )
        if self.p_value is not None and not 0 <= self.p_value <= 1:
            raise expected(f"p_value from 0 to 1 in the verdict on {self.claim}", repr(self.p_value))

    @property
    def figures(self) -> str:
        """The effect with its interval, the p-value, the replicates and the null, in one line."""
        said = self.effect
        if self.value is not None:
            said += f": {self.value:.3g}"
        if self.low is not None and self.high is not None:
            said += f" ({self.low:.3g} to {self.high:.3g})"
        parts = [said]
        if self.p_value is not None:
            parts.append(f"p = {self.p_value:.2g}")
        if self.members != "":
            parts.append(f"{self.members} networks" if isinstance(self.members, int) else self.members)
        if self.null:
            parts.append(f"null: {self.null}")
        return "; ".join(parts) + "."


class Cards(Shown):
    """Cards that carry their verdicts as data."""

    def __init__(self, verdicts: tuple[Verdict, ...]) -> None:
        self.verdicts = verdicts
        markup = "".join(_card(verdict) for verdict in verdicts)
        told = "\n".join(f"{v.claim}, {v.statement}: {v.verdict}. {v.figures}" for v in verdicts)
        super().__init__(f'<div class="akp-cards">{markup}</div>', told)

    def _repr_mimebundle_(self, **_: object) -> tuple[dict[str, object], dict[str, object]]:
        data = [asdict(verdict) for verdict in self.verdicts]
        return {"text/html": self._repr_html_(), "text/plain": repr(self)}, {KEY: data}


def show(*verdicts: Verdict) -> Cards:
    """Show verdicts as cards; as the last expression of a cell, also hand them to the first page."""
    for verdict in verdicts:
        if not isinstance(verdict, Verdict):
            raise expected("verdicts to show", type(verdict).__name__, "make each with verdicts.Verdict(...)")
    return Cards(verdicts)


def of_notebook(notebook: nbformat.NotebookNode) -> Iterator[Verdict]:
    """Read the verdicts that an executed notebook shows, in its order."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            for data in output.get("metadata", {}).get(KEY, ()):
                yield Verdict(**data)


def collected() -> list[tuple[str, Verdict]]:
    """Return (page, verdict) of every page that ran before this one (see `akp: {after: ...}` of a header).

    Empty where the press did not run this page, as under ``jupyter-book build .``.
    """
    import nbformat  # a second, in each kernel, that only the first page has need of

    file = os.environ.get(EARLIER)
    listed: dict[str, Any] = json.loads(Path(file).read_text("utf8")) if file else {}
    return [
        (page, verdict)
        for page, path in listed.items()
        for verdict in of_notebook(nbformat.read(path, as_version=4))
    ]


def _sign(claim: str) -> tuple[str, int]:
    """Sort ``T2`` before ``T10``."""
    letters = claim.rstrip("0123456789")
    return letters, int(claim[len(letters) :] or 0)


def _card(verdict: Verdict) -> str:
    label = f'<p class="akp-card-label">{html.escape(f"{verdict.claim} · {verdict.statement}")}</p>'
    sign = f'<span class="akp-card-sign" aria-hidden="true">{SIGNS[verdict.tone]}</span>'
    return (
        f'<div class="akp-card akp-{verdict.tone}">{label}'
        f'<p class="akp-card-verdict">{sign} {html.escape(verdict.verdict)}</p>'
        f'<p class="akp-card-text">{html.escape(verdict.figures)}</p></div>'
    )


def glance(found: Sequence[tuple[str, Verdict]], here: str) -> Shown:
    """Show verdicts as one table: a row each, claims in the order of their signs, with links to the pages.

    Parameters
    ----------
    found : sequence of (page, Verdict)
        From `collected`.
    here : str
        Name of the page that shows the table, for the links.
    """
    from akp_book.pages import load  # as heavy

    titles = {one.name: one.title for one in load(root()).pages}
    rows = sorted(found, key=lambda pair: _sign(pair[1].claim))
    markup, told, last = [], [], ""
    for page, v in rows:
        link = f"{os.path.relpath(page, Path(here).parent)}.html"
        first = f"<strong>{html.escape(v.claim)}</strong>" if v.claim != last else ""
        said = (
            f'<span class="akp-card-sign" aria-hidden="true">{SIGNS[v.tone]}</span> {html.escape(v.verdict)}'
        )
        what = f'{html.escape(v.statement)}<span class="akp-figures">{html.escape(v.figures)}</span>'
        where = f'<a href="{html.escape(link)}">{html.escape(titles.get(page, page))}</a>'
        cells = [first, what, said, where]
        markup.append(f'<tr class="akp-{v.tone}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        told.append(f"{v.claim}, {v.statement}: {v.verdict}. {v.figures} ({page})")
        last = v.claim
    head = "".join(f"<th>{name}</th>" for name in ("claim", "what it says", "verdict", "page"))
    table = f'<table class="dataframe akp-table akp-glance"><thead><tr>{head}</tr></thead>'
    table += f"<tbody>{''.join(markup)}</tbody></table>"
    return Shown(f'<div class="akp-table-box" tabindex="0">{table}</div>', "\n".join(told))
