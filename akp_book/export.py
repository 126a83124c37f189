"""A page as a plain notebook, for papermill's own command and for any front end.

papermill reads no MyST text, takes help only from lines with one ``=``, checks neither names nor types nor
ranges, and runs wherever it was called. So the exported notebook declares its parameters in lines that
papermill reads, and calls `settle` behind them. What a printed page offers for download is written like it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from akp_book.pages import Page, load
from akp_book.parameters import Parameter, Typed, Value, check_all
from akp_book.root import find_root
from akp_core.errors import AkpError, expected, unknown_name

SETUP = """\
# papermill checks no name, type or range, and runs wherever it was called: both are seen to here
try:
    from akp_book.export import settle
except ModuleNotFoundError:
    import sys
    told = f"expected the book's own Python, got {{sys.executable}}; run the papermill of the book's .venv"
    raise RuntimeError(told) from None
globals().update(settle({page!r}, globals(), book={book!r}))"""
AMID = {"In", "Out", "exit", "get_ipython", "open", "quit", "settle"}
"""Names that a fresh kernel has of its own, and the one that the set-up cell brings."""


def notebook(page: Page, values: Mapping[str, Value], book: Path) -> nbformat.NotebookNode:
    """Return a page as a notebook with no outputs, whose parameters start from these values.

    Parameters
    ----------
    page : Page
        It runs without the other pages.
    values : mapping of str to Value
        All its parameters, checked.
    book : Path
        The book's folder, which the notebook changes to.

    Raises
    ------
    AkpError
        If the page has no code, or tells of other pages.
    """
    if not page.notebook or page.after:
        why = (
            "gathers what other pages found, which papermill cannot hand to it"
            if page.notebook
            else "has no code"
        )
        raise expected("a page that runs by itself", f"{page.name!r}, which {why}", "name another page")
    plain = page.read()
    plain.metadata.pop("akp", None)
    return offered(plain, page, values, str(book))


def offered(
    source: nbformat.NotebookNode, page: Page, values: Mapping[str, Value], book: str = ""
) -> nbformat.NotebookNode:
    """Return a notebook, executed or not, in the form that papermill's own command runs.

    Parameters
    ----------
    source : NotebookNode
        It is not changed.
    page : Page
        What it is of.
    values : mapping of str to Value
        Written into the cell of parameters in place of the defaults; the cell that papermill injected goes.
    book : str
        The book's folder; none for a notebook that may be opened on another machine.
    """
    copy = nbformat.from_dict(source)
    cells: list[nbformat.NotebookNode] = []
    for cell in copy.cells:
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            continue
        cells.append(cell)
        if "parameters" in tags and page.parameters:
            cell.source = declaration(page.parameters, values)
            setup = nbformat.v4.new_code_cell(SETUP.format(page=page.name, book=book))
            setup["id"] = f"{page.name.rsplit('/', 1)[-1]}-setup"[-64:]
            setup.metadata["tags"] = ["remove-cell"]
            cells.append(setup)
    copy.cells = cells
    return copy


def declaration(parameters: Sequence[Parameter], values: Mapping[str, Value]) -> str:
    """Write the cell of parameters so that ``papermill --help-notebook`` reads every line of it."""
    lines = []
    for p in parameters:
        meaning = re.sub(r"\s*=\s*", " ", "; ".join(filter(None, (p.help, p.allowed))))
        lines.append(f"{p.name}: {p.type} = {_literal(values[p.name])}  # {meaning}")
    return "\n".join(lines)


def _literal(value: Value) -> str:
    text = isinstance(value, str) or (isinstance(value, list) and any(isinstance(v, str) for v in value))
    return json.dumps(value, ensure_ascii=False) if text else repr(value)


def settle(page: str, given: Mapping[str, Any], book: str = "") -> dict[str, Value]:
    """Change to the book's folder and check the parameters that a notebook was run with.

    Parameters
    ----------
    page : str
        Name of the page.
    given : mapping of str to object
        The notebook's names. A list may have come as text, for that is how papermill's ``-p`` passes it.
    book : str
        The book's folder when the notebook was made; without it, or if it is gone, the one above this folder.

    Returns
    -------
    dict
        The page's parameters in their types.

    Raises
    ------
    AkpError
        If the book is not found, or a parameter is unknown, missing or will not do.
    """
    root = Path(book) if book and (Path(book) / "_toc.yml").is_file() else _above(book)
    os.chdir(root)
    parameters = load(root).page(page).parameters
    known = {p.name: p for p in parameters}
    missing = [name for name in known if name not in given]
    if missing:
        raise AkpError(f"{page} has the parameter {missing[0]!r} and this notebook has not; export it again")
    mine = {name for name in given if not name.startswith(("_", "PAPERMILL_")) and name not in AMID}
    fresh = len(given.get("In", ())) <= 4  # later, the names are those of the page's own cells
    if fresh and mine - set(known):
        raise AkpError(f"{page}: {unknown_name('parameter', min(mine - set(known)), known)}")
    as_text = {n for n, p in known.items() if p.is_list and isinstance(given[n], str)}
    return check_all(parameters, {n: Typed(given[n]) if n in as_text else given[n] for n in known}, page)


def _above(book: str) -> Path:
    try:
        return find_root()
    except AkpError:
        gone = f" ({book}, where it was made, is gone)" if book else ""
        here, do = f"{Path.cwd()}{gone}", "change to it, or give papermill --cwd"
        raise expected("to run in the book's folder", here, do) from None


def save(made: nbformat.NotebookNode, path: Path, *, force: bool = False) -> Path:
    """Write a notebook to a file.

    Raises
    ------
    AkpError
        If the file is there already and is not to be replaced, or its folder is not there.
    """
    if path.suffix != ".ipynb":
        raise expected("a file name that ends in .ipynb", str(path))
    if not path.parent.is_dir():
        raise expected("a folder to write to", f"{path.parent}, which is not there")
    if path.exists() and not force:
        raise expected(
            "a new file", f"{path}, which exists", "give --to another name, or --force to replace it"
        )
    nbformat.write(made, path)
    return path
