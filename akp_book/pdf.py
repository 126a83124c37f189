"""The printed book as one PDF: the pages of the last build, set for paper, drawn by Chromium.

The pages are taken as they were printed, so the PDF says what the screen says. Chromium runs twice: the first
PDF tells on which sheet each chapter begins, and the second has these numbers in its table of contents.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2

from akp_book.pages import Project
from akp_book.pdf_pages import Chapter, assemble, chapters, set_for_paper
from akp_core.durable import refusals
from akp_core.errors import AkpError, expected

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
    "--virtual-time-budget=60000",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Printed:
    """How many pages came out, and what it took."""

    pages: int
    seconds: float


def print_pdf(project: Project, out: Path, target: Path, chromium: str | None = None) -> Printed:
    """Print the last book of a build folder to one PDF.

    Parameters
    ----------
    project : Project
        The book, for its title and its table of contents.
    out : Path
        The build folder.
    target : Path
        The file; it is replaced once the new one is whole.
    chromium : str, optional
        The browser to print with.

    Raises
    ------
    AkpError
        If no book was printed, a page of it is missing, there is no browser, or the browser fails.
    """
    start = time.perf_counter()
    html = out / "html"
    if not (html / "run.json").is_file():
        raise expected(f"a printed book in {html}", "none", "run 'akp book'")
    browser = find_browser(chromium)
    found = chapters(project, html)
    body = set_for_paper(found, html)
    with tempfile.TemporaryDirectory(prefix="akp-pdf-") as work:
        page, fresh = Path(work, "book.html"), Path(work, "book.pdf")
        page.write_text(assemble(project, html, found, body, {}), "utf8")
        _chromium(browser, page, fresh)
        begins = first_pages(fresh, found)
        page.write_text(assemble(project, html, found, body, begins), "utf8")
        _chromium(browser, page, fresh)
        with pypdfium2.PdfDocument(fresh) as document:
            count = len(document)
        with refusals(f"the file {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(fresh, target.with_name(target.name + ".new"))
            target.with_name(target.name + ".new").replace(target)
    return Printed(count, time.perf_counter() - start)


def find_browser(asked: str | None = None) -> str:
    """Return the path of the browser asked for, or of the first that is there.

    Raises
    ------
    AkpError
        If there is none.
    """
    names = (asked,) if asked else (*BROWSERS, str(MAC))
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        sought = f"a browser to print with ({asked or 'Chromium or Chrome on the path'})"
        raise expected(sought, "none", "install it (Debian: chromium) or give --chromium")
    return found


def first_pages(pdf: Path, found: Sequence[Chapter]) -> dict[str, int]:
    """Return the page that each chapter begins on, counted from 1, by the chapter's anchor.

    Raises
    ------
    AkpError
        If the PDF's outline is not the book's.
    """
    with pypdfium2.PdfDocument(pdf) as document:
        marks = [
            (" ".join(mark.get_title().split()), mark.level + 1, dest.get_index())
            for mark in document.get_toc()
            if (dest := mark.get_dest()) is not None
        ]
    begins: dict[str, int] = {}
    rest = iter(marks)
    for chapter in found:
        wanted = (chapter.title, chapter.level)
        page = next((index for title, level, index in rest if (title, level) == wanted), None)
        if page is None:
            told = f"the chapter {chapter.title!r} in the outline of the PDF"
            raise expected(told, "none", "is Chromium older than version 128?")
        begins[chapter.anchor] = page + 1
    return begins


def _chromium(browser: str, page: Path, pdf: Path) -> None:
    root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    profile = f"--user-data-dir={pdf.parent / 'profile'}"
    command = [browser, *ARGUMENTS, *root, profile, f"--print-to-pdf={pdf}", page.as_uri()]
    pdf.unlink(missing_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AkpError(f"{browser} did not print the book in {PATIENCE_SECONDS} seconds") from None
    if done.returncode or not pdf.is_file():
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise AkpError(f"{browser} could not print the book (exit {done.returncode}): {last}")
