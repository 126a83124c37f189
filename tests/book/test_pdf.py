"""The printed book as one PDF, from the smoke book and a real Chromium."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
import pytest
from bs4 import BeautifulSoup

from akp_book import pages
from akp_book.pdf import BROWSERS, find_browser, print_pdf
from akp_core.errors import AkpError

pytestmark = pytest.mark.browser
ROOT = Path(os.environ.get("AKP_TEST_BOOK") or Path(__file__).parents[2])
needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, BROWSERS)), reason="no Chromium: install it (Debian: chromium)"
)


@pytest.fixture(scope="session")
def pdf(book_html: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    words = ["pdf", "--out", str(book_html.parent), "--to", str(target)]
    command = [sys.executable, "-m", "akp_book.cli", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(target) in done.stdout
    return target


@pytest.fixture(scope="session")
def document(pdf: Path) -> Iterator[pypdfium2.PdfDocument]:
    with pypdfium2.PdfDocument(pdf) as opened:
        yield opened


@pytest.fixture(scope="session")
def sheets(document: pypdfium2.PdfDocument) -> list[str]:
    return [" ".join(page.get_textpage().get_text_range().split()) for page in document]


@pytest.fixture(scope="session")
def tags(document: pypdfium2.PdfDocument) -> list[tuple[str, str]]:
    """Return (type, alternative text) of every element of the PDF's structure."""
    found: list[tuple[str, str]] = []

    def text(read: Any, element: object) -> str:
        size = read(element, None, 0)
        buffer = ctypes.create_string_buffer(size)
        read(element, buffer, size)
        return buffer.raw.decode("utf-16-le").rstrip("\0")

    def walk(element: object) -> None:
        found.append(
            (
                text(pdfium.FPDF_StructElement_GetType, element),
                text(pdfium.FPDF_StructElement_GetAltText, element),
            )
        )
        for number in range(pdfium.FPDF_StructElement_CountChildren(element)):
            child = pdfium.FPDF_StructElement_GetChildAtIndex(element, number)
            if child:
                walk(child)

    for page in document:
        tree = pdfium.FPDF_StructTree_GetForPage(page.raw)
        for number in range(pdfium.FPDF_StructTree_CountChildren(tree)):
            walk(pdfium.FPDF_StructTree_GetChildAtIndex(tree, number))
        pdfium.FPDF_StructTree_Close(tree)
    return found


def chapters(html: Path) -> dict[str, BeautifulSoup]:
    found = {}
    for page in pages.load(ROOT).pages:
        soup = BeautifulSoup((html / f"{page.name}.html").read_text("utf8"), "html.parser").select_one(
            "article"
        )
        assert soup is not None
        for gone in soup.select("a.headerlink, script, svg, .math, .akp-download"):
            gone.decompose()
        found[page.name] = soup
    return found


@needs_browser
def test_every_page_is_there_with_its_text(book_html: Path, sheets: list[str]) -> None:
    whole = squeezed(" ".join(sheets))
    for name, article in chapters(book_html).items():
        title = article.find("h1")
        assert title is not None
        assert squeezed(title.get_text()) in whole, name
        told = [
            p.get_text() for p in article.find_all("p") if not p.find(True) and 40 < len(p.get_text()) < 150
        ]
        missing = [text for text in told if squeezed(text) not in whole]
        assert len(missing) <= len(told) / 4, (name, missing[:3])  # a sheet may end in the middle of one


def squeezed(text: str) -> str:
    """Leave letters and digits only: a line may break, a word may be hyphenated, anywhere."""
    return re.sub(r"[\W_]+", "", text)


@needs_browser
def test_answers_are_unfolded(book_html: Path, sheets: list[str]) -> None:
    whole = squeezed(" ".join(sheets))
    answers = [
        p.get_text()
        for article in chapters(book_html).values()
        for p in article.select("details p.sd-card-text, .admonition.dropdown p:not(.admonition-title)")
        if len(p.get_text()) > 40
    ]
    assert answers
    assert sum(squeezed(text)[:40] in whole for text in answers) > 0.9 * len(answers)


@needs_browser
def test_mathematics_is_drawn(sheets: list[str], book_html: Path) -> None:
    assert any(
        'class="math' in (book_html / f"{p.name}.html").read_text("utf8") for p in pages.load(ROOT).pages
    )
    whole = " ".join(sheets)
    assert re.findall(r"\\[()\[\]]|\\(?:frac|mathrm|lVert|Sigma|mathbb|begin|sqrt)\b", whole) == []


@needs_browser
def test_every_chart_is_a_described_figure(book_html: Path, tags: list[tuple[str, str]]) -> None:
    markup = [(book_html / f"{p.name}.html").read_text("utf8") for p in pages.load(ROOT).pages]
    charts = sum(text.count('class="akp-chart"') for text in markup)
    assert charts > 10
    described = [alt for kind, alt in tags if kind == "Figure" and alt]
    assert len(described) >= charts
    wanted = re.search(r'class="akp-still" role="img" aria-label="([^"&]{20,})', " ".join(markup))
    assert wanted is not None
    assert any(alt.startswith(wanted[1][:60]) for alt in described)


@needs_browser
def test_contents_tell_the_page_that_a_chapter_begins_on(
    document: pypdfium2.PdfDocument, sheets: list[str]
) -> None:
    book = pages.load(ROOT)
    marks = [(mark.get_title(), mark.get_dest()) for mark in document.get_toc()]
    begin, end = (dest.get_index() for title, dest in marks[:2] if dest is not None)
    assert marks[0][0] == "Contents"
    contents = "\n".join(map(squeezed, sheets[begin:end]))  # letters of a line may lie apart
    for page in book.pages:
        title = page.title.replace("`", "")
        begins = re.search(squeezed(title) + r"(\d+)", contents)
        assert begins is not None, title
        sheet = sheets[int(begins[1]) - 1]
        assert squeezed(title) in squeezed(sheet)[: len(squeezed(title)) + 60], (
            title,
            begins[1],
            sheet[:200],
        )
        assert sheet.endswith(f" {begins[1]}") or sheet.startswith(f"{begins[1]} "), "the sheet's own number"
    assert {"Contents", "Theory", "Experiments"} <= {title for title, _ in marks}


@needs_browser
def test_everything_fits_the_paper(document: pypdfium2.PdfDocument) -> None:
    for number, page in enumerate(document, 1):
        width, height = page.get_size()
        assert (round(width), round(height)) == (595, 842)
        text = page.get_textpage()
        right = max((text.get_charbox(n)[2] for n in range(text.count_chars())), default=0)
        assert right < width - 36, f"text runs into the margin of page {number}"
    contents = document[1].get_textpage()
    left = min(contents.get_charbox(n)[0] for n in range(contents.count_chars()))
    assert abs(left - 51) < 2, "something was too wide, so Chromium shrank the whole book"


def test_no_book_is_told(tmp_path: Path) -> None:
    with pytest.raises(AkpError, match=r"expected a printed book in .*html, got none; run 'akp book'"):
        print_pdf(pages.load(ROOT), tmp_path, tmp_path / "x.pdf")


def test_no_browser_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AkpError, match=r"a browser to print with \(nowhere\), got none; install it"):
        find_browser("nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("akp_book.pdf.MAC", tmp_path / "none")
    with pytest.raises(AkpError, match=r"browser to print with \(Chromium or Chrome on the path\), got none"):
        find_browser()


def test_a_page_that_was_not_printed_is_told(book_html: Path, tmp_path: Path) -> None:
    html = tmp_path / "html"
    html.mkdir()
    shutil.copy(book_html / "run.json", html)
    with pytest.raises(
        AkpError, match=r"expected the page \S+ in the printed book, got none at .*; run 'akp book'"
    ):
        print_pdf(pages.load(ROOT), tmp_path, tmp_path / "x.pdf", sys.executable)
