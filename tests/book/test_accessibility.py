"""An accessibility audit of every page in both themes, by axe-core."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")
LEAST = 4.5
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]
"""The rules whose answer a theme may change."""
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


def violations(page: Page, rules: list[str]) -> list[str]:
    """Return the grave faults that axe-core finds by some of its rules, or sets of rules, a line each."""
    options = {"resultTypes": ["violations"], "runOnly": rules}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {node['target']} {node['html'][:120]}"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


def faint(page: Page) -> list[str]:
    """Return our own texts and the charts' that are too faint to be read; axe-core skips text in pictures."""
    ours = ".akp-card p, .akp-controls :is(label, span, select), .akp-provenance, .text_html :is(dt, td, th)"
    roles = ("axis-label", "axis-title", "legend-label", "title-text")
    charts = ", ".join(f".akp-live .role-{role} text" for role in roles)
    found = page.locator(f"{ours}, {charts}").evaluate_all(CONTRAST)
    return [f"{text}: {ratio}" for text, ratio in found if ratio < LEAST]


def too_wide(page: Page) -> list[str]:
    """Return what does not fit a phone: the page, a chart's box, or a box that scrolls out of reach."""
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    said = [f"the page is {wide} px wider than a phone"] if wide > 1 else []
    for view in page.locator(".akp-view").all():
        if not view.evaluate("v => v.getBoundingClientRect().right <= innerWidth + 1"):
            said.append("a chart's box is wider than a phone")
        overflows = view.evaluate("v => v.scrollWidth > v.clientWidth + 1")
        if overflows and view.get_attribute("tabindex") != "0":
            said.append("a chart that scrolls is out of the keyboard's reach")
    return said


def test_page_can_be_read_by_everybody(watched: Any, page_name: str) -> None:
    page = watched.open(page_name)
    assert violations(page, RULES) == []
    assert faint(page) == []
    watched.dark()
    assert violations(page, COLOURS) == []
    assert faint(page) == []
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(300)
    assert too_wide(page) == []


def test_axe_sees_a_fault(watched: Any) -> None:
    page = watched.open("book/references")
    faults = '<img src="data:,"><button></button>'
    page.evaluate("f => document.querySelector('article').insertAdjacentHTML('beforeend', f)", faults)
    assert {line.split()[0] for line in violations(page, RULES)} == {"image-alt", "button-name"}
