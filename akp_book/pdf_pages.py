"""The printed pages of the book in one page, set for paper: no link leads nowhere, nothing is folded."""

from __future__ import annotations

import html
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urlsplit

from bs4 import BeautifulSoup, Tag

from akp_book.pages import Project
from akp_core.errors import expected

ASSETS = Path(__file__).with_name("assets")
STYLES = ("pygments.css", "sphinx-design.min.css", "proof.css", "offline/akp.css")
GONE = "a.headerlink, script, noscript, .akp-controls, .akp-download, .sd-summary-state-marker, button, input"
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
FIT = """\
function fit() {
  document.querySelectorAll("table, mjx-container[display] > svg").forEach(function (wide) {
    var room = wide.parentElement.clientWidth, width = wide.getBoundingClientRect().width;
    if (room && width > room) { wide.style.zoom = Math.max(0.4, room / width - 0.005); }
  });
}
"""


@dataclass(frozen=True)
class Chapter:
    """One page of the book.

    Attributes
    ----------
    name : str
        As in the table of contents.
    anchor : str
        Its place in the one page.
    title : str
        Its heading as text.
    part : str
        Caption of the part that it opens, empty for the others.
    level : int
        1 for a chapter of no part, 2 inside a part, 3 for a section of such a one.
    article : Tag
        What it says.
    """

    name: str
    anchor: str
    title: str
    part: str
    level: int
    article: Tag


def chapters(project: Project, folder: Path) -> list[Chapter]:
    """Read the printed pages, in the order of the table of contents.

    Parameters
    ----------
    project : Project
    folder : Path
        Of the printed HTML.

    Raises
    ------
    AkpError
        If a page was not printed, as when it was added since.
    """
    found = []
    for caption, names in parts(project.toc):
        for number, (name, depth) in enumerate(names):
            file = folder / f"{name}.html"
            article = _article(file)
            title = article.find("h1") if article is not None else None
            if article is None or not isinstance(title, Tag):
                raise expected(f"the page {name} in the printed book", f"none at {file}", "run 'akp book'")
            for link in title.select("a.headerlink"):
                link.decompose()
            told = " ".join(title.get_text().split())
            part = caption if number == 0 else ""
            found.append(Chapter(name, _anchor(name), told, part, depth + bool(caption), article))
    return found


def parts(toc: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Yield the caption of each part ("" for pages of none) with its pages, each with its depth from 1."""
    yield "", [(str(toc["root"]).removesuffix(".md"), 1), *_deep(toc, 1)]
    for part in toc.get("parts", ()):
        yield str(part.get("caption", "")), list(_deep(part, 1))


def _deep(entry: Mapping[str, Any], depth: int) -> Iterator[tuple[str, int]]:
    for inside in (*entry.get("chapters", ()), *entry.get("sections", ())):
        if "file" in inside:
            yield str(inside["file"]).removesuffix(".md"), depth
        yield from _deep(inside, depth + 1)


def assemble(
    project: Project, folder: Path, found: Sequence[Chapter], body: str, begins: Mapping[str, int]
) -> str:
    """Write the one page: title, contents, chapters.

    Parameters
    ----------
    project : Project
    folder : Path
        Of the printed HTML; styles and MathJax are read from it.
    found : sequence of Chapter
        From `chapters`.
    body : str
        From `set_for_paper`.
    begins : mapping of str to int
        Page that each chapter begins on, by its anchor; empty at first.
    """
    links = [f'<link rel="stylesheet" href="{(folder / "_static" / name).as_uri()}">' for name in STYLES]
    style = (ASSETS / "print.css").read_text("utf8")
    title = html.escape(str(project.config.get("title", "")))
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f"<title>{title}</title>{''.join(links)}<style>{style}</style>{_mathematics(folder, body)}</head>"
        f"<body>{_cover(project, folder)}{_contents(found, begins)}{body}</body></html>\n"
    )


def _mathematics(folder: Path, body: str) -> str:
    if 'class="math' not in body:
        return f'<script>{FIT}addEventListener("load", fit);</script>'
    ready = "startup: {pageReady: function () { return MathJax.startup.defaultPageReady().then(fit); }}"
    classes = 'processHtmlClass: "tex2jax_process|mathjax_process|math|output_area"'
    settings = (
        f"<script>{FIT}window.MathJax = {{options: {{{classes}, enableMenu: false}}, {ready}}};</script>"
    )
    source = (folder / "_static" / "offline" / "tex-svg-full.js").as_uri()
    return f'{settings}<script defer src="{source}"></script>'


def _cover(project: Project, folder: Path) -> str:
    record = json.loads((folder / "run.json").read_text("utf8"))
    made = [f"Profile {record['profile']}"]
    if record["commit"]:
        made.append(f"commit {record['commit'][:10]}{', changed since' if record['changed'] else ''}")
    made.append(f"printed on {record['build']['built_at'][:10]}" if "build" in record else "")
    title, author = (html.escape(str(project.config.get(key, ""))) for key in ("title", "author"))
    told = html.escape(" · ".join(filter(None, made)))
    return f'<div class="cover"><p class="title">{title}</p><p>{author}</p><p class="made">{told}</p></div>'


def _contents(found: Sequence[Chapter], begins: Mapping[str, int]) -> str:
    lines = []
    for chapter in found:
        if chapter.part:
            lines.append(f'<li class="of-part">{html.escape(chapter.part)}</li>')
        link = f'<a href="#{chapter.anchor}">{html.escape(chapter.title)}</a>'
        page = f'<span class="page">{begins.get(chapter.anchor, "")}</span>'
        lines.append(f'<li class="level-{chapter.level}">{link}<span class="leader"></span>{page}</li>')
    return f'<nav class="contents"><h1>Contents</h1><ul>{"".join(lines)}</ul></nav>'


def _article(file: Path) -> Tag | None:
    if not file.is_file():
        return None
    found = BeautifulSoup(file.read_text("utf8"), "html.parser").select_one("article.bd-article")
    if found is not None:
        for gone in found.select(GONE):
            gone.decompose()
    return found


def _anchor(name: str, inside: str = "") -> str:
    return f"{name.replace('/', '-')}{'--' + inside if inside else ''}"


def set_for_paper(found: Sequence[Chapter], folder: Path) -> str:
    """Return the chapters one after another, with anchors of their own; their articles are changed by it."""
    anchors = {chapter.name: chapter.anchor for chapter in found}
    return "".join(_chapter(chapter, folder, anchors) for chapter in found)


def _chapter(chapter: Chapter, folder: Path, anchors: Mapping[str, str]) -> str:
    article = chapter.article
    for svg in article.select(".akp-still svg"):
        for part in svg.select("[aria-roledescription], [role]"):  # the chart's description speaks for them
            del part["role"], part["aria-roledescription"], part["aria-label"]
    for tag in article.find_all(True):
        if tag.name in HEADINGS:
            tag.name = f"h{min(6, int(tag.name[1]) + chapter.level - 1)}"
        elif tag.name == "details":
            tag.name = "div"
        elif tag.name == "summary":
            tag.name, tag["class"] = "p", "unfolded"
        if tag.get("id") and tag.find_parent("svg") is None:
            tag["id"] = _anchor(chapter.name, str(tag["id"]))
        if tag.name == "a" and tag.get("href") is not None:
            _redirect(tag, chapter.name, anchors)
        source = str(tag.get("src", ""))
        if tag.name == "img" and not source.startswith("data:"):
            tag["src"] = (folder / posixpath.dirname(chapter.name) / source).resolve().as_uri()
    opening = f'<h1 class="part">{html.escape(chapter.part)}</h1>' if chapter.part else ""
    kind = "chapter opens-part" if chapter.part else "chapter"
    return f'{opening}<article class="{kind}" id="{chapter.anchor}">{article.decode_contents()}</article>'


def _redirect(link: Tag, page: str, anchors: Mapping[str, str]) -> None:
    """Point a link to its place in the one page; leave one to the world, and take out any other."""
    address, fragment = urldefrag(str(link["href"]))
    if urlsplit(address).scheme in ("http", "https", "mailto"):
        return
    goal = posixpath.normpath(posixpath.join(posixpath.dirname(page), address)) if address else f"{page}.html"
    name = goal.removesuffix(".html")
    if name in anchors:
        link["href"] = f"#{_anchor(name, fragment)}" if fragment else f"#{anchors[name]}"
    else:
        link.unwrap()
