"""The glossary names what the code has, links to what the book has, and can be searched by eye."""

from __future__ import annotations

import re
from pathlib import Path
from pydoc import locate

import pytest

from akp_book import pages, quoted

ROOT = Path(__file__).parents[2]
PATH = ROOT / "book/reference/glossary.md"
PAGES = pages.load(ROOT).pages
USED = re.compile(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`")


def entries() -> dict[str, str]:
    """Each definition by its terms, those that share one joined by a line break."""
    (block,) = [t for t in quoted.tokens(PATH.read_text("utf8")) if t.info.strip() == "{glossary}"]
    found: dict[str, str] = {}
    for part in block.content.strip("\n").split("\n\n"):
        lines = part.splitlines()
        terms = [line for line in lines if not line.startswith("  ")]
        found["\n".join(terms)] = " ".join(line.strip() for line in lines[len(terms) :])
    return found


ENTRIES = entries()
TERMS = [term for terms in ENTRIES for term in terms.splitlines()]


def in_code(name: str) -> bool:
    """Whether a dotted name is there: an object, or an annotated field or attribute of a class."""
    if locate(name) is not None:
        return True
    owner, _, part = name.rpartition(".")
    holder = locate(owner)
    return isinstance(holder, type) and any(
        part in vars(one).get("__annotations__", {}) for one in holder.__mro__
    )


def test_terms_are_sorted_and_each_is_there_once() -> None:
    assert [term.casefold() for term in TERMS] == sorted({term.casefold() for term in TERMS})
    assert len(TERMS) >= 50


@pytest.mark.parametrize("terms", ENTRIES)
def test_an_entry_says_what_where_and_how_it_is_called(terms: str) -> None:
    text = ENTRIES[terms]
    names = re.findall(r"`(akp_(?:core|book)\.[\w.]+)`", text)
    links = re.findall(r"\{doc\}`([^`]+)`", text)
    assert names
    assert links
    assert [name for name in names if not in_code(name)] == []
    shown = {page.source for page in PAGES}
    for link in links:
        page = (PATH.parent / f"{link}.md").resolve()
        assert page.is_file(), link
        assert page in shown, link
    said = re.split(r"\s(?:Symbol|Code):", text)[0]
    assert 1 <= len(re.findall(r"[.?:](?:\s|$)", said)) <= 5


def test_a_name_that_is_gone_is_seen() -> None:
    assert in_code("akp_core.stress.Stress.onset")
    assert not in_code("akp_core.stress.Stress.offset")
    assert not in_code("akp_core.strain.Stress")


def test_every_term_that_a_page_marks_is_explained() -> None:
    known = {term.casefold() for term in TERMS}
    used = [
        (page.name, term)
        for page in PAGES
        for term in USED.findall(page.text)
        if term.casefold() not in known
    ]
    assert used == []
    marking = {page.name for page in PAGES if USED.search(page.text)}
    assert "book/claim" in marking
    assert len(marking) >= 5
