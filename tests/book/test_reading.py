"""The printed book in a browser to which every other host is unknown, from a server and from the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from akp_book.offline import VEGA_LITE

pytestmark = pytest.mark.browser

EXPERIMENT = "book/experiments/principle"
MARKS = ".akp-live .mark-symbol path, .akp-live .mark-rect path, .akp-live .mark-line path, .akp-live .mark-arc path, .akp-live .mark-rule line, .akp-live .mark-area path, .akp-live .mark-text text, .akp-live .mark-image image"  # noqa: E501


def drawn(page: Page) -> list[str | None]:
    """Return the outlines of all marks of the first chart that has controls."""
    chart = page.locator(".akp-chart:has(.akp-controls :is(input, select))").first
    return chart.locator(".akp-live svg.marks").evaluate(
        "svg => [...svg.querySelectorAll('[class*=mark-] > *')].map(m => m.outerHTML)"
    )


def press_all(page: Page) -> None:
    """Give the first control that offers a choice real arrow keys."""
    control = page.locator(".akp-controls :is(input, select:has(option:nth-of-type(2)))").first
    control.focus()
    for _ in range(3):
        page.keyboard.press("ArrowDown" if control.evaluate("c => c.localName") == "select" else "ArrowRight")


def value_of(page: Page) -> list[Any]:
    """Return the state of every control on the page."""
    return page.locator(".akp-controls :is(input, select)").evaluate_all(
        "all => all.map(c => [c.value, c.checked])"
    )


def staged(book_html: Path, name: str) -> dict[str, Any] | None:
    path = book_html.parent / "src" / f"{name}.ipynb"
    return json.loads(path.read_text("utf8")) if path.is_file() else None


def test_page_is_whole(anywhere: Any, page_name: str, book_html: Path) -> None:
    page = anywhere.open(page_name)
    assert anywhere.wrong == []
    assert [url for url in anywhere.asked if not url.startswith((anywhere.address, "data:", "blob:"))] == []
    assert page.locator("article h1").count() == 1
    charts = page.locator(".akp-chart")
    notebook = staged(book_html, page_name)
    if notebook is not None:
        outputs = [
            o
            for c in notebook["cells"]
            for o in c.get("outputs", [])
            if set(VEGA_LITE) & set(o.get("data", {}))
        ]
        assert charts.count() == len(outputs), "a chart of the notebook is not on the page"
    for chart in charts.all():
        assert chart.locator(MARKS).count() > 0, "a chart has no mark"
        assert (chart.get_attribute("aria-label") or "").strip(), "a chart is not described"
    if page.locator("span.math, div.math").count():
        assert page.locator("mjx-container").count() > 0, "mathematics is not drawn"
        assert page.locator("mjx-merror").count() == 0, "mathematics has an error"
    assert page.locator(".akp-provenance").count() == 1


def test_nothing_is_fetched_from_outside(page_name: str, book_html: Path) -> None:
    markup = (book_html / f"{page_name}.html").read_text("utf8")
    markup = re.sub(r'<script type="application/json".*?</script>', "", markup, flags=re.DOTALL)
    loading = r'<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc="((?:https?:)?//[^"]*)"'
    assert re.findall(loading, markup) == []
    assert re.findall(r'<link\b[^>]*?\bhref="((?:https?:)?//[^"]*)"', markup) == []
    assert "unpkg.com" not in markup
    assert "jsdelivr" not in markup


def test_every_chart_page_has_one_bundle(book_html: Path, page_name: str) -> None:
    markup = (book_html / f"{page_name}.html").read_text("utf8")
    assert markup.count("offline/vega-bundle.js") == int('class="akp-chart"' in markup)


def test_dark_theme_keeps_the_chart_and_its_parameters(watched: Any) -> None:
    page = watched.open(EXPERIMENT)
    press_all(page)
    page.wait_for_timeout(400)
    values, count = value_of(page), len(drawn(page))
    watched.dark()
    assert value_of(page) == values
    assert len(drawn(page)) == count
    assert watched.wrong == []


def test_entry_page_leads_to_the_book(anywhere: Any) -> None:
    anywhere.page.goto(f"{anywhere.address}/index.html", wait_until="load")
    anywhere.page.wait_for_selector("article h1")
    assert anywhere.wrong == []
    record = anywhere.page.locator(".akp-provenance a").get_attribute("href")
    assert record is not None
    assert record.endswith("run.json")


def test_record_names_every_run_page(book_html: Path) -> None:
    record = json.loads((book_html / "run.json").read_text("utf8"))
    assert record["profile"] == "smoke"
    assert {"python", "torch", "altair"} <= set(record["versions"])
    assert record["build"]["peak_bytes"] > 0
    expect_run = {
        p.relative_to(book_html.parent / "src").with_suffix("").as_posix()
        for p in (book_html.parent / "src").rglob("*.ipynb")
    }
    assert {one["page"] for one in record["pages"]} == expect_run
    assert all(one["seconds"] > 0 and len(one["key"]) == 16 for one in record["pages"])


def test_what_is_wider_than_a_phone_fades_and_scrolls_to_its_end(watched: Any) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 800})
    watched.open(EXPERIMENT)
    wide = page.locator(":is(.akp-view, .akp-table-box, div.math).akp-more")
    wide.first.wait_for(timeout=10_000)
    boxes = page.locator(":is(.akp-view, .akp-table-box, div.math):not(.akp-more)")
    hidden = boxes.evaluate_all("all => all.filter(b => b.scrollWidth - b.clientWidth > 2).length")
    assert hidden == 0, "it says nowhere that there is more"
    box = wide.first
    assert box.evaluate("b => getComputedStyle(b).maskImage") != "none"
    assert box.evaluate("b => b.tabIndex") == 0
    box.evaluate("b => { window.akpBox = b; b.scrollLeft = b.scrollWidth; }")
    page.wait_for_function("() => !window.akpBox.classList.contains('akp-more')", timeout=10_000)


def test_on_a_phone_charts_are_redrawn_to_fit_and_on_a_wide_screen_again(watched: Any) -> None:
    page = watched.page
    over = "() => [...document.querySelectorAll('.akp-view')].map(v => v.scrollWidth - v.clientWidth)"
    ready = "() => [...document.querySelectorAll('.akp-chart')].every(c => c.dataset.ready === '1')"
    across = "() => document.querySelector('.akp-live svg').getBoundingClientRect().width"
    page.set_viewport_size({"width": 1280, "height": 800})
    watched.open(EXPERIMENT)
    page.wait_for_function(ready, timeout=30_000)
    before = page.evaluate(across)
    assert before > 390
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_function(f"() => ({across})() < 390", timeout=30_000)
    page.wait_for_function(ready, timeout=30_000)
    assert max(page.evaluate(over)) < 40
    words = page.locator(".akp-live svg .role-mark text tspan").all_inner_texts()
    assert words, "sentences beside the charts are broken into lines"
    page.set_viewport_size({"width": 1280, "height": 800})
    page.wait_for_function(f"() => ({across})() === {before}", timeout=30_000)


def test_a_formula_wider_than_a_phone_scrolls_in_its_sentence(watched: Any) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 800})
    watched.open("book/theory/geometry")
    page.locator("span.math.akp-wide.akp-more").first.wait_for(timeout=20_000)
    out = page.evaluate(
        "() => [...document.querySelectorAll('article span.math')].filter(f => "
        "f.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"
    )
    assert out == 0, "a formula is cut at the edge of the screen"
