"""What may be compared: editions by name, the book's own run of a page, folders that hold either."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from akp_book import editions
from akp_book.pages import Project
from akp_book.parameters import Value
from akp_core.errors import AkpError, expected

BOOK = "the book"


@dataclass(frozen=True)
class Source:
    """One printed run of one page.

    Attributes
    ----------
    name : str
        The edition's name, or ``the book``.
    page : str
        Name of the page.
    title : str
        Its heading.
    parameters : mapping
        For each name, the value it ran with and the page's default.
    made : mapping of str to str
        Profile, commit, versions and machine, as text.
    key : str
        Hash of all that the run depends on.
    html : Path
        Folder of the printed pages.
    notebook : NotebookNode
        The executed page.
    """

    name: str
    page: str
    title: str
    parameters: Mapping[str, Mapping[str, Value]]
    made: Mapping[str, str]
    key: str
    html: Path
    notebook: nbformat.NotebookNode

    @property
    def printed(self) -> Path:
        """The printed page."""
        return self.html / f"{self.page}.html"


def pair(project: Project, out: Path, first: str, second: str) -> tuple[Source, Source]:
    """Find two runs of one page.

    Each is asked for by the name of an edition, by the name of a page for the book's own run of it, or by a
    folder. Where a name is an edition's and a page's short name at once, it is the edition's.

    Parameters
    ----------
    project : Project
        The book, for the names of pages.
    out : Path
        The build folder.
    first, second : str
        What was asked for.

    Raises
    ------
    AkpError
        If one is not there, both are the same one, or they are of different pages. Pages may judge the same
        claim, but by other quantities of other networks, and share no figure: their difference would mean
        nothing. The first page of the book lays such verdicts side by side as they are.
    """
    places = [_place(project, out, asked) for asked in (first, second)]
    if len({(html.resolve(), page) for html, page, _ in places}) == 1:
        raise expected("two editions", f"{first!r} and {second!r}, which are the same one", _listed(out))
    a, b = (_read(html, page, name) for html, page, name in places)
    if a.page != b.page:
        raise expected(
            "two editions of one page", f"{first!r} of {a.page} and {second!r} of {b.page}", _listed(out)
        )
    return a, b


def file_name(a: Source, b: Source) -> str:
    """Name the file of a comparison after what is compared."""
    return "--".join(source.name.replace(" ", "-") for source in (a, b)) + ".html"


def _place(project: Project, out: Path, asked: str) -> tuple[Path, str, str]:
    """Return the folder of the printed pages, the page asked for ("" if it is the only one), and a name."""
    found = editions.homes(out)
    if asked in found:
        return found[asked] / "html", "", asked
    folder = Path(asked)
    if folder.is_dir():
        html = folder if (folder / "run.json").is_file() else folder / "html"
        if not (html / "run.json").is_file():
            raise expected("a folder with a printed edition", f"{asked!r}, which holds no run.json")
        name = html.resolve().parent.name if html.name == "html" else html.name
        return html, "", name
    try:
        page = project.page(asked).name
    except AkpError:
        raise _unknown(project, out, asked) from None
    if not (out / "html" / "run.json").is_file():
        raise expected(
            f"the book's own run of {page}", f"no printed book in {out / 'html'}", "run 'akp book'"
        )
    return out / "html", page, BOOK


def _unknown(project: Project, out: Path, asked: str) -> AkpError:
    found = sorted(editions.homes(out))
    notebooks = [page.name for page in project.pages if page.notebook]
    every = [*found, *notebooks, *(name.rsplit("/", 1)[-1] for name in notebooks)]
    near = difflib.get_close_matches(asked, every, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return AkpError(
        f"unknown edition {asked!r}:{hint} {_listed(out)}, and any page's name for the book's own run"
    )


def _listed(out: Path) -> str:
    return f"editions here: {', '.join(sorted(editions.homes(out))) or 'none (make one with akp run)'}"


def _read(html: Path, page: str, name: str) -> Source:
    record: dict[str, Any] = json.loads((html / "run.json").read_text("utf8"))
    runs = {one["page"]: one for one in record["pages"]}
    if not page and len(runs) != 1:
        raise expected("an edition of one page", f"{html} with {len(runs)} pages", "name a page of the book")
    page = page or next(iter(runs))
    source = html / "_sources" / f"{page}.ipynb"
    if page not in runs or not source.is_file():
        raise expected(
            f"a run of {page} in {html}", "none", "a page of prose cannot be compared; else run it"
        )
    notebook = nbformat.read(source, as_version=4)
    titles = [line for cell in notebook.cells for line in cell.source.split("\n") if line.startswith("# ")]
    machine, versions = record["machine"], record["versions"]
    made = {
        "profile": record["profile"],
        "commit": f"{record['commit'][:10] or 'none'}{', changed since' if record['changed'] else ''}",
        **{package: versions[package] for package in ("python", "torch", "numpy") if package in versions},
        "machine": f"{machine['device']}, {machine['cores']} cores",
    }
    run = runs[page]
    title = titles[0].removeprefix("# ").strip() if titles else page
    return Source(name, page, title, run["parameters"], made, run["key"], html, notebook)
