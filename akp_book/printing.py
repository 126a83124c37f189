"""Stage the executed pages and let Jupyter Book 1.x print them; put the result in place if it is whole."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import nbformat
import yaml

from akp_book import editions, export, provenance
from akp_book.pages import Page, Project
from akp_core.errors import AkpError, expected

RECORD = "run.json"
KEY = ".akp-key"
SKIPPED = ("_build", ".ipynb_checkpoints", "__pycache__", "jupyter_execute")
OUTWARD = re.compile(
    r"\[(myst\.xref_\w+|ref\.\w+)\]|undefined label|label '.*' not found|equation not found"
    r"|term not in glossary"
)
"""Warnings about what lies on the pages that a one-page edition leaves out."""


def check_tool() -> None:
    """Refuse any Jupyter Book but 1.x: 2.x reads other settings, prints nothing and still reports success.

    Raises
    ------
    AkpError
        If the version is another.
    """
    version = importlib.metadata.version("jupyter-book")
    if not version.startswith("1."):
        raise expected("jupyter-book 1.x", version, "install the pinned requirements.txt")


def print_book(
    project: Project,
    executed: Mapping[str, Path],
    record: Mapping[str, Any],
    src: Path,
    html: Path,
    logs: Path,
    only: Page | None = None,
    banner: str = "",
) -> bool:
    """Print the book, or one page of it, unless what is in place was printed from the very same.

    Parameters
    ----------
    project : Project
        The book.
    executed : mapping of str to Path
        The executed notebook of each page that has one.
    record : mapping
        For the footers.
    src : Path
        Where to stage; it is replaced.
    html : Path
        Where the book goes; it is replaced once the new one is whole.
    logs : Path
        Where Jupyter Book's words go.
    only : Page, optional
        Print this page alone.
    banner : str
        Markdown for below the title of that page.

    Returns
    -------
    bool
        False if the book in place was kept.

    Raises
    ------
    AkpError
        If Jupyter Book warns of anything; `html` is then as it was.
    """
    _stage(project, executed, record, src, only, banner)
    key = _key(src)
    if (html / KEY).is_file() and (html / KEY).read_text("utf8") == key:
        return False
    fresh = src.with_name("next")
    shutil.rmtree(fresh, ignore_errors=True)
    log = logs / f"printing{'-' + only.slug if only else ''}.log"
    _jupyter_book(src, fresh, log, forgiven=OUTWARD if only else None)
    printed = fresh / "_build" / "html"
    entry = printed / "index.html"
    markup = entry.read_text("utf8")
    if markup.startswith(
        "<meta"
    ):  # it only forwards to the first page; with no icon the browser asks for one
        entry.write_text(f'<link rel="icon" href="data:,">\n{markup}', "utf8")
    (printed / KEY).write_text(key, "utf8")
    _put_in_place(printed, html)
    shutil.rmtree(fresh, ignore_errors=True)
    return True


def _stage(
    project: Project,
    executed: Mapping[str, Path],
    record: Mapping[str, Any],
    src: Path,
    only: Page | None,
    banner: str,
) -> None:
    fresh = src.with_name("src.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    config, toc = _settings(project, only, str(record.get("edition", "")))
    named = [config.get("logo"), config["html"].get("favicon"), *(config.get("bibtex_bibfiles") or [])]
    tops = {page.name.split("/")[0] for page in project.pages if "/" in page.name}
    files = {path for top in tops for path in _files(project.root / top)}
    files |= {project.root / str(name) for name in named if name}
    files |= {page.source for page in project.pages}
    files -= {page.source for page in project.pages if page.notebook}
    for path in sorted(files):
        goal = fresh / path.relative_to(project.root)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, goal)
    values = {one["page"]: {n: p["value"] for n, p in one["parameters"].items()} for one in record["pages"]}
    for name, path in executed.items():
        notebook = nbformat.read(path, as_version=4)
        notebook = export.offered(notebook, project.page(name), values[name])
        if only is not None and name == only.name:
            notebook = editions.marked(notebook, banner)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                source = relinked(cell.source, name, executed)
                cell.source = source if only is None else unlinked(source, name)
        goal = fresh / f"{name}.ipynb"
        goal.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, goal)
    for page in project.pages:
        if not page.notebook:
            (fresh / f"{page.name}.md").write_text(relinked(page.text, page.name, executed), "utf8")
    # key order matters to Jupyter Book (it is the load order of scripts)
    (fresh / "_config.yml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), "utf8")
    (fresh / "_toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False, allow_unicode=True), "utf8")
    (fresh / RECORD).write_text(json.dumps(record), "utf8")
    shutil.rmtree(src, ignore_errors=True)
    fresh.rename(src)


def relinked(text: str, page: str, executed: Collection[str]) -> str:
    """Point the links of a page to the executed notebooks, which end otherwise than the pages do."""

    def fitting(match: re.Match[str]) -> str:
        goal = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[1]))
        return f"]({match[1]}.ipynb{match[2] or ''})" if goal in executed else match[0]

    return re.sub(r"\]\(([^()\s:#]+)\.md(#[^()\s]*)?\)", fitting, text)


def unlinked(text: str, page: str) -> str:
    """Turn links to other pages into plain words: an edition has this one alone."""

    def fitting(match: re.Match[str]) -> str:
        goal = posixpath.normpath(posixpath.join(posixpath.dirname(page), match[2]))
        return match[0] if goal == page else match[1]

    return re.sub(r"\[([^\[\]]*)\]\(([^()\s:#]+)\.(?:md|ipynb)(?:#[^()\s]*)?\)", fitting, text)


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".ipynb" and not any(part in SKIPPED for part in path.parts)
    ]


def _settings(project: Project, only: Page | None, edition: str) -> tuple[dict[str, Any], dict[str, Any]]:
    config = copy.deepcopy(project.config)
    config["execute"] = {"execute_notebooks": "off"}
    config["only_build_toc_files"] = True
    config.setdefault("html", {})
    if only is None:
        return config, project.toc
    config["title"] = f"{config.get('title', '')} (edition {edition})"
    cited = [{"file": page.name} for page in project.pages if "{bibliography}" in page.text and page != only]
    return config, {"format": "jb-book", "root": only.name} | ({"chapters": cited} if cited else {})


def _key(src: Path) -> str:
    """Hash all that the printed book depends on: what is staged, the printing code, the versions."""
    here = Path(__file__).parent
    code = [here / "offline.py", here / "reference.py", Path(__file__), *(here / "assets").iterdir()]
    staged = ((path.relative_to(src).as_posix(), path) for path in src.rglob("*") if path.is_file())
    names = ("sphinx", "sphinx-book-theme", "myst-nb", "vl-convert-python", "sphinx-proof")
    versions = [importlib.metadata.version(name) for name in names]
    return provenance.digest(
        provenance.files_digest(staged),
        provenance.files_digest((p.name, p) for p in code),
        provenance.sources_digest(),  # the reference is printed from the library's docstrings
        *versions,
    )


def _jupyter_book(src: Path, fresh: Path, log: Path, forgiven: re.Pattern[str] | None) -> None:
    main = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    strict = [] if forgiven else ["-W", "--keep-going"]
    options = ["build", *strict, "--path-output", str(fresh), str(src)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf8") as file:
        done = subprocess.run(
            [sys.executable, "-c", main, *options],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "ignore"},
            check=False,
        )
    said = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text("utf8", errors="replace")).splitlines()
    faults = [line.replace(f"{src}/", "") for line in said if "WARNING: " in line or "ERROR: " in line]
    faults = [line for line in faults if forgiven is None or not forgiven.search(line)]
    whole = (fresh / "_build" / "html" / "index.html").is_file()
    if done.returncode or not whole or (forgiven and faults):
        shown = [f"  {line}" for line in (faults or said[-10:])[:20]]
        raise AkpError(
            "\n".join(
                ["the book could not be printed; the earlier one is as it was", *shown, f"  all of it: {log}"]
            )
        )


def _put_in_place(printed: Path, html: Path) -> None:
    old = html.with_name(html.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    html.parent.mkdir(parents=True, exist_ok=True)
    if html.exists():
        html.rename(old)
    printed.rename(html)
    shutil.rmtree(old, ignore_errors=True)
