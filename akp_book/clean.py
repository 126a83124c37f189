"""Turn an executed notebook into one that is the same for every run of the same page."""

from __future__ import annotations

import re
from collections.abc import Mapping

import nbformat

from akp_book.commands import example
from akp_book.pages import Page
from akp_book.parameters import Value, table

PANDAS_NAME = re.compile(r"\bT_[0-9a-f]{5}(?=[_\W])")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
PARAMETER_TAGS = {"parameters", "injected-parameters"}


def cleaned(
    notebook: nbformat.NotebookNode, page: Page, values: Mapping[str, Value]
) -> nbformat.NotebookNode:
    """Strip times, random names, empty sentences and stderr, which the log has; show the parameters.

    Parameters
    ----------
    notebook : NotebookNode
        As papermill left it. It is not changed.
    page : Page
        The page it came from.
    values : mapping of str to Value
        The parameters it ran with.

    Returns
    -------
    NotebookNode
        Two runs of a deterministic page give the same bytes.
    """
    clean = nbformat.from_dict(notebook)
    for key in ("papermill", "akp", "widgets"):
        clean.metadata.pop(key, None)
    cells: list[nbformat.NotebookNode] = []
    for cell in clean.cells:
        tags = cell.metadata.get("tags", [])
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            shown = [one for one in cell.outputs if one.get("name") != "stderr" and not _says_nothing(one)]
            cell.outputs = [_stable(output, f"{len(cells)}_{n}") for n, output in enumerate(shown)]
        if PARAMETER_TAGS & set(tags):
            cell.metadata["tags"] = [*(tag for tag in tags if tag != "papermill"), "remove-input"]
        if "parameters" in tags and page.parameters:
            told = table(page.parameters, values, example(page.name, page.parameters))
            cells.append(nbformat.v4.new_markdown_cell(told))
        cells.append(cell)
    for number, cell in enumerate(cells):
        cell["id"] = f"{page.name.rsplit('/', 1)[-1]}-{number:03d}"[-64:]
    clean.cells = cells
    return clean


def _says_nothing(output: nbformat.NotebookNode) -> bool:
    """Whether it is a sentence that was left empty, of which only the name of its class would be shown."""
    data = output.get("data", {})
    return "display.Markdown object" in data.get("text/plain", "") and not data.get("text/markdown")


def _stable(output: nbformat.NotebookNode, place: str) -> nbformat.NotebookNode:
    """Name a pandas table by its place in the page (pandas names it at random), drop addresses in memory."""
    output.get("metadata", {}).pop("papermill", None)
    data = output.get("data", {})
    for kind, pattern, fixed in (("text/html", PANDAS_NAME, f"T_{place}"), ("text/plain", ADDRESS, "")):
        if kind in data:
            data[kind] = pattern.sub(fixed, data[kind])
    return output
