"""Editions: one page run with parameters of one's own, printed beside the book, and told apart from it.

An edition lies in ``OUT/editions/NAME``. Its own ``run.json`` says which page it is of, with which
parameters; the executed notebook lies in it as the source that the printed page offers. So an edition can be
copied or sent, and read again without the book that it came from.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

from akp_book.commands import command, written
from akp_book.pages import Page

FOLDER = "editions"


def homes(out: Path) -> dict[str, Path]:
    """Return the printed editions of a build folder, by name."""
    found = sorted((out / FOLDER).glob("*/html/run.json"))
    return {record.parents[1].name: record.parents[1] for record in found}


def changed(parameters: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values that are not their page's defaults, from a page's entry in a record."""
    return {name: p["value"] for name, p in parameters.items() if p["value"] != p["default"]}


def told(parameters: Mapping[str, Mapping[str, Any]]) -> str:
    """Say which parameters are changed: ``changed: a=1, b=2``."""
    values = [f"{name}={written(value)}" for name, value in changed(parameters).items()]
    return f"changed: {', '.join(values)}" if values else "nothing changed"


def banner(name: str, page: Page, record: Mapping[str, Any], html_folder: Path, out: Path) -> str:
    """Write what an edition carries at its top: its name, what it is of, its command, the way back.

    Parameters
    ----------
    name : str
        The edition.
    page : Page
        What it is an edition of.
    record : mapping
        Of the run, with an entry for the page.
    html_folder : Path
        Where the edition is printed to.
    out : Path
        The build folder; a book that was printed there is linked to.

    Returns
    -------
    str
        Markdown, to stand below the page's title.
    """
    entry = next(one for one in record["pages"] if one["page"] == page.name)
    parameters = entry["parameters"]
    back = out / "html" / f"{page.name}.html"
    if back.is_file():
        link = os.path.relpath(back, (html_folder / f"{page.name}.html").parent).replace(os.sep, "/")
        way = f'<a class="akp-back" href="{html.escape(link)}">Back to this page in the book</a>.'
    else:
        way = "The book was not printed beside it; `akp book` prints it."
    of = f"Edition of `{page.name}` with the profile *{record['profile']}*, {_escaped(told(parameters))}."
    return "\n".join(
        [
            f"```````{{admonition}} Edition {name}",
            ":class: note akp-edition",
            f"{of} {way}",
            "",
            "```bash",
            command(page.name, changed(parameters)),
            "```",
            "```````",
        ]
    )


def marked(notebook: nbformat.NotebookNode, text: str) -> nbformat.NotebookNode:
    """Put a banner below the title of an executed page; it is not changed."""
    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        lines = cell.source.split("\n") if cell.cell_type == "markdown" else []
        titles = [number for number, line in enumerate(lines) if line.startswith("# ")]
        if titles:
            cell.source = "\n".join([*lines[: titles[0] + 1], "", text, "", *lines[titles[0] + 1 :]])
            return copy
    copy.cells.insert(0, nbformat.v4.new_markdown_cell(text))
    return copy


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]<>|$" else sign for sign in text)
