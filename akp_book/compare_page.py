"""The comparison of two editions as one HTML file, which needs no other file and no network."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import vl_convert

from akp_book.compare import Both, Choice, Comparison, Figure
from akp_book.compare_sources import Source
from akp_book.compare_tables import Overlay, Row, Table, difference, overlay
from akp_book.offline import ASSETS, chart_markup, still
from akp_book.parameters import show
from akp_book.verdicts import Verdict
from akp_book.verdicts import show as cards

T = TypeVar("T")
THEME = """\
(function () {
  var root = document.documentElement, asked = window.matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = asked ? "dark" : "light";
  document.addEventListener("DOMContentLoaded", function () {
    var button = document.getElementById("theme");
    function say() { button.textContent = root.dataset.theme === "dark" ? "Light theme" : "Dark theme"; }
    button.hidden = false;
    button.addEventListener("click", function () {
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark"; say();
    });
    say();
  });
})();"""
TITLES = {
    "verdicts": "Verdicts",
    "numbers": "Numbers in the text",
    "tables": "Tables",
    "sentences": "Sentences",
    "figures": "Figures",
}


def render(found: Comparison, file: Path) -> str:
    """Write the page.

    Parameters
    ----------
    found : Comparison
    file : Path
        Where it will lie, for the links to the two printed editions.

    Returns
    -------
    str
        HTML with its styles, scripts, charts and pictures inside.
    """
    title = f"{found.a.name} and {found.b.name}: two editions of {found.a.title}"
    parts = [_head(found, file), _parameters(found.parameters)]
    if found.same:
        parts.append("<p><strong>Nothing that the two show differs.</strong></p>")
    parts += [
        _kind("verdicts", found.verdicts, "".join(map(_verdict, found.verdicts))),
        _kind("numbers", found.numbers, _numbers([one for one in found.numbers if not one.same])),
        _kind("tables", found.tables, "".join(_table(one) for one in found.tables if not one.same)),
        _kind("sentences", found.sentences, "".join(_sentence(o) for o in found.sentences if not o.same)),
        _kind("figures", found.figures, "".join(_figure(one) for one in found.figures if not one.same)),
    ]
    parts.append(_made(found.made))
    body = "".join(parts)
    charts = _scripts() if 'class="akp-chart"' in body else ""
    style = (ASSETS / "akp.css").read_text("utf8") + (ASSETS / "compare.css").read_text("utf8")
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{style}</style><script>{THEME}</script></head>"
        f'<body><a class="skip" href="#main">Skip to the comparison</a>{body}</main>{charts}</body></html>\n'
    )


def _head(found: Comparison, file: Path) -> str:
    def of(letter: str, source: Source) -> str:
        link = html.escape(os.path.relpath(source.printed, file.parent).replace(os.sep, "/"))
        name = html.escape(source.name)
        return f'<p class="side side-{letter.lower()}"><b>{letter}</b> <a href="{link}">{name}</a></p>'

    inside = [("parameters", "Parameters"), *((k, TITLES[k]) for k, pairs in found.shown.items() if pairs)]
    links = " ".join(
        f'<a href="#{name}">{text}</a>' for name, text in [*inside, ("made", "How they were made")]
    )
    return (
        f'<header><div class="top"><p class="of">Two editions of <code>{html.escape(found.a.page)}</code></p>'
        f'<button id="theme" type="button" hidden></button></div><h1>{html.escape(found.a.title)}</h1>'
        f'<div class="pair">{of("A", found.a)}{of("B", found.b)}</div>'
        f'<nav aria-label="Contents">{links}</nav></header><main id="main">'
    )


def _section(name: str, title: str, inside: str) -> str:
    return f'<section id="{name}"><h2>{title}</h2>{inside}</section>'


def _kind(name: str, pairs: Sequence[Both[T]], inside: str) -> str:
    differing = sum(not one.same for one in pairs)
    count = f"{differing} of {len(pairs)} differ." if differing else f"{len(pairs)}, all equal."
    return _section(name, TITLES[name], f"<p>{count}</p>{inside}") if pairs else ""


def _parameters(choices: Sequence[Choice]) -> str:
    changed = [c for c in choices if not c.same]
    equal = [c for c in choices if c.same]
    heads = ("parameter", "A", "B", "default")
    rows = [(c.name, _value(c.a), _value(c.b), _value(c.default)) for c in changed]
    told = _grid(heads, rows, "Parameters that differ") if rows else "<p>None differs.</p>"
    if equal:
        rest = _grid(
            ("parameter", "both", "default"), [(c.name, _value(c.a), _value(c.default)) for c in equal]
        )
        told += f"<details><summary>{len(equal)} the same in both</summary>{rest}</details>"
    return _section("parameters", "Parameters", told)


def _value(value: object) -> str:
    return "(no such parameter)" if value is None else show(value)


def _verdict(one: Both[Verdict]) -> str:
    sides = [cards(v)._repr_html_() if v else "<p>No such verdict.</p>" for v in (one.a, one.b)]
    told = "The same in both." if one.same else ""
    if one.a and one.b and one.a.value is not None and one.b.value is not None and not one.same:
        change = difference(f"{one.a.value:.6g}", f"{one.b.value:.6g}") or "0"
        told = f"Effect, B minus A: {change}."
    if one.a and one.b and one.a.verdict != one.b.verdict:
        told += f" The verdict changes: {one.a.verdict} in A, {one.b.verdict} in B."
    return f"<h3>{html.escape(one.place)}</h3>{_pair(*sides)}<p>{html.escape(told.strip())}</p>"


def _numbers(pairs: Sequence[Both[str]]) -> str:
    rows = [(p.place, p.a or "–", p.b or "–", difference(p.a or "", p.b or "")) for p in pairs]
    return _grid(("number", "A", "B", "B minus A"), rows, "Numbers that differ") if rows else ""


def _table(one: Both[Table]) -> str:
    over = overlay(one.a, one.b) if one.a and one.b else None
    head = f"<h3>{html.escape(one.place)}</h3>"
    if over is None:
        sides = [
            _grid(t.columns, t.rows, one.place) if t else "<p>No such table.</p>" for t in (one.a, one.b)
        ]
        return head + _pair(*sides)
    return f"{head}<p>{over.differing} of {len(over.rows)} rows differ.</p>{_overlaid(over, one.place)}"


def _overlaid(over: Overlay, name: str) -> str:
    lines = []
    for a, b in over.rows:
        only = "" if a and b else " (A only)" if a else " (B only)"
        cells = []
        for place in range(len(over.columns)):
            first, second = a[place] if a else "", b[place] if b else ""
            text = html.escape(first or second)
            if a and b and first != second:
                change = difference(first, second)
                text = (
                    f'<span class="a"><i>A</i> {html.escape(first)}</span><span class="b"><i>B</i> '
                    f"{html.escape(second)}</span>"
                    + (f'<span class="change">{change}</span>' if change else "")
                )
            cells.append(f"<td>{text}{only if place == 0 else ''}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in over.columns)
    return _box(f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>", name)


def _sentence(one: Both[str]) -> str:
    sides = [
        f'<p class="said">{html.escape(t)}</p>' if t else "<p>Nothing there.</p>" for t in (one.a, one.b)
    ]
    return f"<h3>{html.escape(one.place)}</h3>{_pair(*sides)}"


def _figure(one: Both[Figure]) -> str:
    return f"<h3>{html.escape(one.place)}</h3>{_pair(*(_drawn(figure) for figure in (one.a, one.b)))}"


def _drawn(figure: Figure | None) -> str:
    if figure is None:
        return "<p>No such figure.</p>"
    if figure.spec is not None:
        return chart_markup(figure.spec, figure.description, still(figure.spec))
    kind, content = figure.picture
    if kind == "image/svg+xml":
        return f'<div role="img" aria-label="{html.escape(figure.description, quote=True)}">{content}</div>'
    source = f"data:{kind};base64,{''.join(content.split())}"
    return f'<img alt="{html.escape(figure.description, quote=True)}" src="{source}">'


def _made(pairs: Sequence[Both[str]]) -> str:
    rows = [(one.place, one.a or "–", one.b or "–") for one in pairs]
    return _section("made", "How they were made", _grid(("", "A", "B"), rows, "How the two were made"))


def _pair(a: str, b: str) -> str:
    return (
        f'<div class="pair"><div class="side side-a"><b>A</b>{a}</div>'
        f'<div class="side side-b"><b>B</b>{b}</div></div>'
    )


def _grid(columns: Sequence[str], rows: Sequence[Row], name: str = "") -> str:
    heads = "".join(f'<th scope="col">{html.escape(c)}</th>' if c else "<td></td>" for c in columns)
    lines = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return _box(f"<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table>", name)


def _box(table: str, name: str) -> str:
    label = f' role="region" aria-label="{html.escape(name, quote=True)}"' if name else ""
    return f'<div class="box" tabindex="0"{label}>{table}</div>'


def _scripts() -> str:
    bundle = "(function(){" + vl_convert.javascript_bundle() + "})();"  # type: ignore[call-arg]
    config = json.dumps(json.loads((ASSETS / "chart-config.json").read_text("utf8")))
    ours = (ASSETS / "akp-charts.js").read_text("utf8")
    every = (bundle, f"window.akpChartConfig = {config};", ours)
    return "".join(
        f"<script>{text.replace('</script', '<' + chr(92) + '/script')}</script>" for text in every
    )
