"""Every link of the printed book leads somewhere: to a file of it and, where it says so, a place there."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

pytestmark = pytest.mark.browser  # it needs no browser, but the printed book
REFERRING = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}
UNLINKED = ("search.html", "genindex.html", "py-modindex.html", "prf-prf.html")
"""Reached by the search box; Sphinx's own lists, which the theme links to from nowhere."""


@functools.cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text("utf8"), "html.parser")


@functools.cache
def places(path: Path) -> frozenset[str]:
    return frozenset(str(tag.get("id") or tag.get("name")) for tag in soup(path).select("[id], a[name]"))


def goals(path: Path) -> list[str]:
    """Return all that a page refers to."""
    return [
        str(tag[at]) for kind, at in REFERRING.items() for tag in soup(path).find_all(kind, attrs={at: True})
    ]


def fault(path: Path, goal: str) -> str:
    """Say what is wrong with a reference of a page; nothing for a good one."""
    split = urlsplit(goal)
    if split.scheme in ("data", "mailto") or goal in ("#", ""):
        return ""
    if split.scheme or split.netloc:
        return "" if split.scheme == "https" and "." in split.netloc else f"{goal}: expected an https address"
    file = (path.parent / unquote(split.path)).resolve() if split.path else path
    if not file.is_file():
        return f"{goal}: no such file"
    fragment = unquote(split.fragment)
    if fragment and file.suffix == ".html" and fragment not in places(file):
        return f"{goal}: no such place on that page"
    return ""


def test_links_of_a_page_lead_somewhere(book_html: Path, page_name: str) -> None:
    path = book_html / f"{page_name}.html"
    assert [said for goal in goals(path) if (said := fault(path, goal))] == []


def test_every_page_is_reached_from_the_first(book_html: Path) -> None:
    first = book_html / "index.html"
    reached, waiting = set(), [next(book_html.glob("book/claim.html"))]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        near = (urlsplit(goal).path for goal in goals(path) if not urlsplit(goal).scheme)
        waiting += [
            goal
            for part in near
            if part.endswith(".html") and (goal := (path.parent / part).resolve()).is_file()
        ]
    lonely = {p for p in book_html.rglob("*.html") if p.name not in UNLINKED} - reached - {first}
    lonely = {p for p in lonely if "_static" not in p.parts}
    assert sorted(str(p.relative_to(book_html)) for p in lonely) == []


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    page.write_text('<p id="here"><a href="other.html#there">x</a></p>')
    other.write_text('<h1 id="there">x</h1>')
    assert fault(page, "other.html#there") == ""
    assert fault(page, "#here") == ""
    assert "no such place" in fault(page, "other.html#nowhere")
    assert "no such file" in fault(page, "none.html")
    assert "https" in fault(page, "http://example.org")


def test_search_finds_a_term(anywhere: Any) -> None:
    page = anywhere.page
    page.goto(f"{anywhere.address}/search.html?q=centroid", wait_until="load")
    page.wait_for_selector("#search-results li a", timeout=30_000)
    assert page.locator("#search-results li a").count() > 1
    # from the disk a browser refuses to fetch the pages for excerpts; their titles and links are there
    assert anywhere.address.startswith("file:") or anywhere.wrong == []
