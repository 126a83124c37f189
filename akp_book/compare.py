"""What two editions of a page say differently: parameters, verdicts, numbers, tables, sentences, figures.

All of it is read from the two executed notebooks. What stands under the same heading at the same place
belongs together; a verdict is known by its claim and statement, a glued number by its name.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import nbformat

from akp_book.compare_sources import Source
from akp_book.compare_tables import Table, tables
from akp_book.offline import VEGA_LITE
from akp_book.parameters import Value
from akp_book.verdicts import Verdict, of_notebook

T = TypeVar("T")
GLUED = "application/papermill.record/text/plain"
PICTURES = ("image/svg+xml", "image/png", "image/jpeg")
HIDDEN = {"remove-cell", "remove-output"}


@dataclass(frozen=True)
class Figure:
    """A chart, or a picture.

    Attributes
    ----------
    description : str
        In words.
    spec : dict or None
        Vega-Lite, of a chart.
    picture : tuple of str
        MIME type and content as the notebook holds it, of a picture.
    """

    description: str
    spec: dict[str, Any] | None = None
    picture: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Both(Generic[T]):
    """One thing in both editions, or None where an edition has no such thing."""

    place: str
    a: T | None
    b: T | None

    @property
    def same(self) -> bool:
        """Whether the editions agree in it."""
        return self.a == self.b


@dataclass(frozen=True)
class Choice:
    """A parameter in both editions; None where an edition has no such parameter."""

    name: str
    a: Value
    b: Value
    default: Value

    @property
    def same(self) -> bool:
        """Whether the editions agree in it."""
        return bool(self.a == self.b)


@dataclass
class Contents:
    """What an executed page shows, each with what it is known by and where it stands."""

    verdicts: dict[Hashable, tuple[str, Verdict]] = field(default_factory=dict)
    numbers: dict[Hashable, tuple[str, str]] = field(default_factory=dict)
    tables: dict[Hashable, tuple[str, Table]] = field(default_factory=dict)
    sentences: dict[Hashable, tuple[str, str]] = field(default_factory=dict)
    figures: dict[Hashable, tuple[str, Figure]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Two editions of one page, thing by thing, in the order of the page."""

    a: Source
    b: Source
    parameters: tuple[Choice, ...]
    made: tuple[Both[str], ...]
    verdicts: tuple[Both[Verdict], ...]
    numbers: tuple[Both[str], ...]
    tables: tuple[Both[Table], ...]
    sentences: tuple[Both[str], ...]
    figures: tuple[Both[Figure], ...]

    @property
    def shown(self) -> dict[str, tuple[Both[Any], ...]]:
        """What the pages show, by kind."""
        kinds = ("verdicts", "numbers", "tables", "sentences", "figures")
        return {kind: getattr(self, kind) for kind in kinds}

    @property
    def same(self) -> bool:
        """Whether the two pages show the same throughout."""
        return all(one.same for kind in self.shown.values() for one in kind)


def compare(a: Source, b: Source) -> Comparison:
    """Compare two editions of one page.

    Parameters
    ----------
    a, b : Source
        From `akp_book.compare_sources.pair`.
    """
    names = [*a.parameters, *(name for name in b.parameters if name not in a.parameters)]
    first, second = contents(a.notebook), contents(b.notebook)
    return Comparison(
        a,
        b,
        tuple(_choice(name, a.parameters.get(name), b.parameters.get(name)) for name in names),
        tuple(Both(name, a.made.get(name), b.made.get(name)) for name in {**a.made, **b.made}),
        _paired(first.verdicts, second.verdicts),
        _paired(first.numbers, second.numbers),
        _paired(first.tables, second.tables),
        _paired(first.sentences, second.sentences),
        _paired(first.figures, second.figures),
    )


def _choice(name: str, a: Mapping[str, Value] | None, b: Mapping[str, Value] | None) -> Choice:
    return Choice(name, a and a["value"], b and b["value"], (b or a or {}).get("default"))


def _paired(a: Mapping[Hashable, tuple[str, T]], b: Mapping[Hashable, tuple[str, T]]) -> tuple[Both[T], ...]:
    found = []
    for key in {**a, **b}:
        place = (a.get(key) or b[key])[0]
        found.append(Both(place, a[key][1] if key in a else None, b[key][1] if key in b else None))
    return tuple(found)


def contents(notebook: nbformat.NotebookNode) -> Contents:
    """Read what an executed page shows; of a hidden cell only the numbers that it glued."""
    found = Contents()
    for verdict in of_notebook(notebook):
        name = f"{verdict.claim} · {verdict.statement}"
        _put(found.verdicts, (verdict.claim, verdict.statement), name, verdict)
    for section, output, hidden in _outputs(notebook):
        data = output.get("data", {})
        if GLUED in data:
            name = output.metadata["scrapbook"]["name"]
            found.numbers[name] = (name, _text(data[GLUED]).strip("'"))
            continue
        if hidden:
            continue
        figure = _figure(data)
        if figure is not None:
            _put(found.figures, section, section, figure)
            continue
        for table in tables(_text(data.get("text/html", ""))):
            _put(found.tables, section, section, table)
        said = _text(
            output.get("text", "") if output.output_type == "stream" else data.get("text/markdown", "")
        )
        if said.strip():
            _put(found.sentences, section, section, said.strip())
    return found


def _put(where: dict[Hashable, tuple[str, T]], key: Hashable, place: str, thing: T) -> None:
    nth = 0
    while (key, nth) in where:
        nth += 1
    where[key, nth] = (place, thing)


def _outputs(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, nbformat.NotebookNode, bool]]:
    """Yield the heading above each output, the output, and whether its cell is hidden."""
    section = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            fenced = False
            for line in cell.source.split("\n"):
                fenced ^= line.startswith("```")
                if not fenced and line.startswith("#"):
                    section = line.lstrip("#").strip()
        for output in cell.get("outputs", ()):
            yield section, output, bool(HIDDEN & set(cell.metadata.get("tags", ())))


def _figure(data: Mapping[str, Any]) -> Figure | None:
    for kind in VEGA_LITE:
        if kind in data:
            spec = data[kind] if isinstance(data[kind], dict) else json.loads(_text(data[kind]))
            return Figure(str(spec.get("description") or ""), spec)
    for kind in PICTURES:
        if kind in data:
            return Figure(_text(data.get("text/plain", "")), None, (kind, _text(data[kind])))
    return None


def _text(value: object) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
