"""The API reference: every public name, with its first sentence, its parameters and no raw markup."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book" / "reference" / "api").glob("*.md"))
ROOM_PAGES = [page for page in PAGES if "automodule::" in page.read_text("utf8")]
UNLISTED = {"charts", "live", "__main__", "durable", "memory", "threads"}
"""Drawing and plumbing: rooms that nobody calls from outside."""
RAW = (
    ".. math::",
    ":math:`",
    "``",
    ":class:",
    ":func:",
    ":ref:",
    "automodule",
    "Parameters\n---",
    "{eval-rst}",
)


def listed(page: Path) -> dict[str, list[str] | None]:
    """The modules of a page, each with the names that it is restricted to."""
    blocks = re.findall(r"automodule:: (\S+)\n   :members:([^\n]*)", page.read_text("utf8"))
    return {
        module: [n.strip() for n in names.split(",")] if names.strip() else None for module, names in blocks
    }


def public(module: ModuleType, names: list[str] | None) -> Iterator[tuple[str, Any]]:
    """The functions and classes that a module offers."""
    offered = names or getattr(module, "__all__", None)
    for name, thing in vars(module).items():
        kind = inspect.isfunction(thing) or inspect.isclass(thing)
        own = getattr(thing, "__module__", "") == module.__name__ and not name.startswith("_")
        if kind and (name in offered if offered is not None else own):
            yield name, thing


def plain(text: str) -> str:
    """Letters and digits alone: what is left of a text whatever its markup."""
    return re.sub(r"[\W_]+", "", text).lower()


def first_sentence(thing: Any) -> str:
    """The first sentence of a docstring, up to its first formula."""
    text = inspect.getdoc(thing) or ""
    return re.split(r":math:|(?<=[.?])\s|\n\n", text)[0]


@pytest.fixture(scope="module")
def printed(book_html: Path) -> dict[str, BeautifulSoup]:
    return {
        page.stem: BeautifulSoup(
            (book_html / "book" / "reference" / "api" / f"{page.stem}.html").read_text("utf8"), "html.parser"
        )
        for page in PAGES
    }


def test_every_room_has_a_page() -> None:
    rooms = {module.split(".")[1] for page in ROOM_PAGES for module in listed(page)}
    there = {p.stem if p.is_file() else p.name for p in (ROOT / "akp_core").iterdir()}
    there = {
        name
        for name in there
        if (ROOT / "akp_core" / f"{name}.py").exists() or (ROOT / "akp_core" / name / "__init__.py").exists()
    }
    assert there - {"__init__"} - rooms == UNLISTED


@pytest.mark.parametrize("page", ROOM_PAGES, ids=lambda page: page.stem)
def test_every_module_of_a_room_without_a_front_door_is_there(page: Path) -> None:
    for module in listed(page):
        folder = ROOT / Path(*module.split(".")[:-1])
        if module.count(".") == 2 and not hasattr(
            importlib.import_module(module.rpartition(".")[0]), "__all__"
        ):
            beside = {f"{module.rpartition('.')[0]}.{p.stem}" for p in folder.glob("*.py")}
            assert {name for name in beside if not name.endswith("__init__")} <= set(listed(page))


@pytest.mark.parametrize("page", ROOM_PAGES, ids=lambda page: page.stem)
def test_every_public_name_is_described(page: Path, printed: dict[str, BeautifulSoup]) -> None:
    soup, missing, count = printed[page.stem], [], 0
    for module_name, names in listed(page).items():
        module = importlib.import_module(module_name)
        for name, thing in public(module, names):
            count += 1
            heading = soup.find(id=f"{module_name}.{name}")
            if not isinstance(heading, Tag):
                missing.append(f"{module_name}.{name}")
                continue
            body = heading.find_next_sibling("dd")
            assert isinstance(body, Tag)
            assert plain(first_sentence(thing)) in plain(body.get_text()), (
                f"{name} says another first sentence"
            )
            if inspect.isfunction(thing):
                signature = heading.get_text()
                for parameter in inspect.signature(thing).parameters:
                    assert re.search(rf"\b{parameter}\b", signature), f"{name} is without {parameter}"
                if re.search(r"^Parameters\n---", inspect.getdoc(thing) or "", flags=re.MULTILINE):
                    fields = [dt.get_text() for dt in body.find_all("dt")]
                    assert any(field.startswith("Parameters") for field in fields), f"{name}: no parameters"
        for constant in (n for n in getattr(module, "__all__", ()) if n.isupper() and names is None):
            assert soup.find(id=re.compile(rf"^{module_name}\.(\w+\.)?{constant}$")), constant
    assert missing == []
    assert count > 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_raw_markup_is_left(page: Path, printed: dict[str, BeautifulSoup], book_html: Path) -> None:
    soup = printed[page.stem]
    article = soup.find("article")
    assert isinstance(article, Tag)
    for script in article.find_all("script"):
        script.decompose()
    text = article.get_text()
    assert [sign for sign in RAW if sign in text] == []
    assert article.find(class_=re.compile("system-message|problematic")) is None
    assert "undefined" not in " ".join(dt.get_text() for dt in article.find_all("dt"))
    assert not re.search(r"<(?:function|object|class|module|built-in|factory)\b[^>]*>", text), (
        "no Python text"
    )
    signatures = [dt.get_text() for dt in article.find_all("dt", class_="sig")]
    assert [one for one in signatures if "~akp_core" in one] == [], "a signature that Sphinx could not parse"
    assert [one[:60] for one in signatures if len(one) > 1500] == [], "a screen of noise"
    size = (book_html / "book" / "reference" / "api" / f"{page.stem}.html").stat().st_size
    assert size < 1_000_000, f"{size} bytes"


def test_names_lead_to_one_another(printed: dict[str, BeautifulSoup]) -> None:
    inward = [
        a["href"]
        for soup in printed.values()
        for a in soup.select("article a.reference.internal")
        if "#akp_core." in str(a["href"])
    ]
    assert len(inward) > 100


def test_the_search_knows_the_functions(book_html: Path) -> None:
    index = (book_html / "searchindex.js").read_text("utf8")
    for name in ("anna_karenina_test", "chordal_distance", "register_activation"):
        assert name in index
