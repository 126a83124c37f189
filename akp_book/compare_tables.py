"""Two tables of one page laid over each other: which rows belong together, which cells differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bs4 import BeautifulSoup

Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table as text."""

    columns: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Overlay:
    """Two tables with the same columns, row by row; a row that one lacks is None."""

    columns: Row
    rows: tuple[tuple[Row | None, Row | None], ...]

    @property
    def differing(self) -> int:
        """How many rows are not the same in both."""
        return sum(a != b for a, b in self.rows)


def tables(markup: str) -> Iterator[Table]:
    """Read the tables in a piece of HTML."""
    for found in BeautifulSoup(markup, "html.parser").find_all("table"):
        lines = [
            (
                all(cell.name == "th" for cell in cells),
                tuple(" ".join(cell.get_text(" ").split()) for cell in cells),
            )
            for row in found.find_all("tr")
            if (cells := row.find_all(["th", "td"]))
        ]
        heads = [line for head, line in lines if head]
        rows = tuple(line for head, line in lines if not head)
        yield Table(heads[-1] if heads else (), rows)


def overlay(a: Table, b: Table) -> Overlay | None:
    """Lay two tables over each other.

    Rows are the same row if they agree in as many first columns as it takes to tell the rows of each table
    apart. If no two rows agree in them, these columns are results, and rows are taken in their order.

    Returns
    -------
    Overlay or None
        None if the columns differ, or rows cannot be told which is which.
    """
    widths = {len(row) for table in (a, b) for row in (table.columns, *table.rows)}
    if a.columns != b.columns or len(widths) != 1:
        return None
    for length in range(1, widths.pop() + 1):
        first, second = ({row[:length]: row for row in table.rows} for table in (a, b))
        if len(first) == len(a.rows) and len(second) == len(b.rows):
            if first.keys() & second.keys():
                names = [*first, *(name for name in second if name not in first)]
                return Overlay(a.columns, tuple((first.get(name), second.get(name)) for name in names))
            break
    if len(a.rows) != len(b.rows):
        return None
    return Overlay(a.columns, tuple(zip(a.rows, b.rows, strict=True)))


def number(text: str) -> float | None:
    """Read a number as pages write it, or None."""
    try:
        value = float(text.replace(",", "").replace("−", "-").removesuffix("%").strip())
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def difference(a: str, b: str) -> str:
    """Write what the second number has more than the first, with a sign; empty unless both are numbers."""
    first, second = number(a), number(b)
    return f"{second - first:+.3g}" if first is not None and second is not None and first != second else ""
