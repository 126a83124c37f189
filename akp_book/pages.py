"""The pages of the book: where they are, what they declare, in which order they run.

The table of contents is the one list of pages. A page whose header names a kernel is a notebook, written as
MyST Markdown; every other page is prose and is only copied. A header may say ``akp: {after: [...]}``: the
page runs after those, and again whenever they do; ``after: all`` puts it behind every other page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml

from akp_book.declarations import declared
from akp_book.parameters import Parameter
from akp_core.errors import AkpError, expected, unknown_name

HEADER = (
    "start it with '---', jupytext: {text_representation: {extension: .md, format_name: myst}}, "
    "kernelspec: {display_name: Python 3, language: python, name: python3}, '---'"
)


@dataclass(frozen=True)
class Page:
    """One page of the book, read and checked, not yet run.

    Parameters
    ----------
    name : str
        Path without ending, relative to the project, as in the table of contents.
    source : Path
        The file.
    text : str
        Its content.
    notebook : bool
        Whether it has code to run.
    parameters : tuple of Parameter
        What may be chosen when it runs.
    after : tuple of str
        Pages that run before it; ``("all",)`` means every other page.
    """

    name: str
    source: Path
    text: str
    notebook: bool
    parameters: tuple[Parameter, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """The name as one file name."""
        return self.name.replace("/", ".")

    @property
    def title(self) -> str:
        """Its first heading, or its name where it has none."""
        heading = re.search(r"^# (.+)$", self.text, re.MULTILINE)
        return heading[1].strip() if heading else self.name

    def read(self) -> nbformat.NotebookNode:
        """Parse the text notebook."""
        return jupytext.reads(self.text, fmt="md:myst")


@dataclass(frozen=True)
class Project:
    """A book's folder: its settings, its table of contents and its pages in that order."""

    root: Path
    config: dict[str, Any]
    toc: dict[str, Any]
    pages: tuple[Page, ...]

    def page(self, name: str) -> Page:
        """Find a page by its name, its file, or the last part of either.

        Raises
        ------
        AkpError
            If no page, or more than one, goes by that name.
        """
        wanted = name.removesuffix(".md").removesuffix(".html").removeprefix("./").strip("/")
        found = [p for p in self.pages if p.name == wanted]
        found = found or [p for p in self.pages if p.name.endswith(f"/{wanted}")]
        if len(found) > 1:  # of a chapter and its reference, the one that runs
            found = [p for p in found if p.notebook] or found
        if len(found) > 1:
            raise expected("one page", f"{name!r}, which is any of {', '.join(p.name for p in found)}")
        if not found:
            short = {p.name.rsplit("/", 1)[-1] for p in self.pages}
            raise unknown_name("page", wanted, short if "/" not in wanted else {p.name for p in self.pages})
        return found[0]

    def before(self, page: Page) -> tuple[Page, ...]:
        """Return the notebooks that a page runs after."""
        if page.after == ("all",):
            return tuple(p for p in self.pages if p.notebook and p.after != ("all",))
        return tuple(self.page(name) for name in page.after)

    def running_order(self) -> tuple[Page, ...]:
        """Return the notebooks in the order they run in: the book's, but none before those it follows.

        Raises
        ------
        AkpError
            If pages wait for each other.
        """
        done: list[Page] = []

        def visit(page: Page, waiting: tuple[str, ...]) -> None:
            if page.name in waiting:
                raise AkpError(f"pages wait for each other: {' after '.join([*waiting, page.name])}")
            for earlier in self.before(page):
                visit(earlier, (*waiting, page.name))
            if page.notebook and page not in done:
                done.append(page)

        for page in sorted(self.pages, key=lambda p: p.after == ("all",)):
            visit(page, ())
        return tuple(done)


def load(root: Path) -> Project:
    """Read the settings and every page, and check the pages' headers and parameters.

    Raises
    ------
    AkpError
        One line for each page that will not do.
    """
    config = yaml.safe_load((root / "_config.yml").read_text("utf8"))
    toc = yaml.safe_load((root / "_toc.yml").read_text("utf8"))
    pages, wrong = [], []
    for name in listed(toc):
        try:
            pages.append(_page(root, name))
        except AkpError as error:
            wrong.append(str(error))
    if wrong:
        raise AkpError("\n".join(wrong))
    project = Project(root, config, toc, tuple(pages))
    project.running_order()
    return project


def listed(toc: object) -> Iterator[str]:
    """Yield every page that a table of contents names, in order."""
    if isinstance(toc, dict):
        for key in ("root", "file"):
            if key in toc:
                yield str(toc[key]).removesuffix(".md")
        for value in toc.values():
            if isinstance(value, list):
                yield from listed(value)
    elif isinstance(toc, list):
        for entry in toc:
            yield from listed(entry)


def _page(root: Path, name: str) -> Page:
    source = root / f"{name}.md"
    if not source.is_file():
        raise expected(f"the page {name}.md that _toc.yml names", "no such file", "write it or take it out")
    text = source.read_text("utf8")
    header = _header(text, name)
    if "kernelspec" not in header:
        if re.search(r"^(```+|:::+)\{code-cell\}", text, flags=re.MULTILINE):
            raise AkpError(f"{name}: has code cells but its header names no kernel; {HEADER}")
        return Page(name, source, text, notebook=False)
    form = (header.get("jupytext") or {}).get("text_representation") or {}
    if form.get("format_name") != "myst" or form.get("extension") != ".md":
        raise AkpError(f"{name}: its header names a kernel but not the format; {HEADER}")
    if header["kernelspec"].get("name") != "python3":
        raise expected(f"{name}: kernelspec name python3", repr(header["kernelspec"].get("name")))
    cells = [
        c for c in jupytext.reads(text, fmt="md:myst").cells if "parameters" in c.metadata.get("tags", ())
    ]
    if len(cells) > 1:
        raise AkpError(f"{name}: expected one cell tagged 'parameters', got {len(cells)}; join them")
    parameters = declared(cells[0].source, name) if cells else ()
    return Page(name, source, text, True, parameters, _after(header.get("akp"), name))


def _after(settings: object, name: str) -> tuple[str, ...]:
    if settings is None:
        return ()
    if not isinstance(settings, dict) or set(settings) != {"after"}:
        raise expected(f"{name}: header 'akp: {{after: [page, ...]}}'", repr(settings))
    after = settings["after"]
    return (after,) if isinstance(after, str) else tuple(map(str, after))


def _header(text: str, name: str) -> dict[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", text, flags=re.DOTALL)
    if match is None:
        return {}
    try:
        header = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        raise AkpError(f"{name}: its header is not YAML: {' '.join(str(error).split())}") from None
    return header if isinstance(header, dict) else {}


def declaring(pages: Sequence[Page], name: str) -> list[Page]:
    """Return the pages that declare a parameter of that name."""
    return [page for page in pages if any(parameter.name == name for parameter in page.parameters)]
