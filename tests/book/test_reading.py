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
CONTRAST = """
nodes => {
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = c => { const m = c.match(/[\\d.]+/g); return m ? m.map(Number) : [0, 0, 0, 0]; };
  const light = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
  const behind = n => { for (; n; n = n.parentElement) { const c = parse(getComputedStyle(n).backgroundColor);
    if (c.length === 3 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  return nodes.filter(n => n.textContent.trim() && n.getClientRects().length).map(n => {
    const style = getComputedStyle(n), svg = n instanceof SVGElement;
    const ink = light(parse(svg ? style.fill : style.color)), paper = light(behind(n));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    return [n.textContent.trim().slice(0, 40), Math.round(ratio * 100) / 100];
  });
}
"""


def switch_to_dark(page: Page) -> None:
    """Press the theme switch of the page, as a reader does, until it says dark."""
    for _ in range(3):
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator("button.theme-switch-button:visible").first.click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.wait_for_function(
        "() => [...document.querySelectorAll('.akp-chart')].every(c => c.dataset.ready === '1')",
        timeout=30_000,
    )


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


def test_page_is_whole(watched: Any, page_name: str, book_html: Path) -> None:
    page = watched.open(page_name)
    assert watched.wrong == []
    assert [url for url in watched.asked if not url.startswith((watched.address, "data:", "blob:"))] == []
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


def test_controls_answer_the_keyboard(watched: Any) -> None:
    page = watched.open(EXPERIMENT)
    before, values = drawn(page), value_of(page)
    press_all(page)
    page.wait_for_timeout(600)
    assert value_of(page) != values, "the control did not move"
    assert drawn(page) != before, "the marks did not change"
    assert len(drawn(page)) > 0
    assert watched.wrong == []


def test_dark_theme_keeps_the_chart_and_its_parameters(watched: Any) -> None:
    page = watched.open(EXPERIMENT)
    press_all(page)
    page.wait_for_timeout(400)
    values, count = value_of(page), len(drawn(page))
    switch_to_dark(page)
    assert value_of(page) == values
    assert len(drawn(page)) == count
    assert watched.wrong == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(watched: Any, page_name: str, theme: str) -> None:
    page = watched.open(page_name)
    if theme == "dark":
        switch_to_dark(page)
        page.wait_for_timeout(400)
    ours = ".akp-card p, .akp-controls :is(label, span, select), .akp-provenance, .text_html :is(dt, td, th)"
    charts = ".akp-live .role-axis-label text, .akp-live .role-axis-title text, .akp-live .role-legend-label text, .akp-live .role-title-text text"  # noqa: E501
    faint = [found for found in page.locator(f"{ours}, {charts}").evaluate_all(CONTRAST) if found[1] < 4.5]
    assert faint == []


def test_phone_scrolls_the_chart_not_the_page(watched: Any, page_name: str) -> None:
    watched.page.set_viewport_size({"width": 390, "height": 800})
    page = watched.open(page_name)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 1, f"the page is {wide} px wider than a phone"
    for view in page.locator(".akp-view").all():
        fits = view.evaluate("v => v.getBoundingClientRect().right <= innerWidth + 1")
        assert fits, "a chart's box is wider than a phone"
        overflows = view.evaluate("v => v.scrollWidth > v.clientWidth + 1")
        assert not overflows or view.get_attribute("tabindex") == "0", (
            "a chart that scrolls is out of the keyboard's reach"
        )


def test_entry_page_leads_to_the_book(watched: Any) -> None:
    watched.page.goto(f"{watched.address}/index.html", wait_until="load")
    watched.page.wait_for_selector("article h1")
    assert watched.wrong == []
    record = watched.page.locator(".akp-provenance a").get_attribute("href")
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
