"""Every chart with controls, driven by the keyboard in a real browser; eight of them answer a question."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.browser

MOST_BYTES = 300_000
"""Of one page: its words, pictures and data, without the scripts that all pages share."""
MOST_OF_REFERENCE = 1_000_000
"""The same of a page that is printed from docstrings."""
HOME = "book/classroom/explorers"
QUESTIONS = {
    "What does a swap do to the curve?": (
        "book/experiments/activation-swaps", "choose-a-swap", "Swap the activation to"),
    "Which stress makes families spread?": (
        "book/experiments/principle", "2-did-it-spread", "Look at"),
    "When does it hurt most?": ("book/experiments/when", "effect-against-onset", "Show"),
    "How biased is my CKA?": (
        "book/instruments/estimators", "how-biased-is-my-cka", "Directions in which features vary"),
    "What does a diffeomorphism do?": (
        "book/neighbours/deformation", "bend-it-yourself", "Typical displacement, pixels"),
    "Where do clones appear?": (
        "book/neighbours/clones", "the-number-of-clones-against-width", "Counted by"),
    "What is learnt first?": ("book/neighbours/agreement", "the-same-images-first", "Training done, %"),
    "How many models do I need?": (
        "book/instruments/honest-test", "how-many-networks-do-i-need", "Directions in which networks vary"),
}  # fmt: skip
"""Question, as the chart is titled: the page, the section, and a control that answers it."""

MARKS = "c => [...c.querySelectorAll('.akp-live g.role-mark > *')].map(m => m.outerHTML).sort().join('')"
MOVABLE = """c => c.localName === 'select' ? c.options.length > 1 : c.type === 'range' ? +c.max > +c.min
  : c.type === 'radio' ? c.checked && document.getElementsByName(c.name).length > 1 : true"""
KEYS = """c => c.localName === 'select'
    ? (c.selectedIndex < c.options.length - 1 ? ['ArrowDown', 'ArrowUp'] : ['ArrowUp', 'ArrowDown'])
  : c.type === 'range' && +c.value - c.min > c.max - c.value ? ['ArrowLeft', 'ArrowRight']
  : ['ArrowRight', 'ArrowLeft']"""
LABEL = "c => c.closest('.vega-bind').querySelector('.vega-bind-name').textContent.trim()"
STATE = "c => [...c.querySelectorAll('input, select')].map(i => i.value + i.checked).join()"


@dataclass
class Desk:
    """A browser page, and what its console said."""

    page: Page
    root: str
    said: list[str]

    def open(self, name: str) -> Page:
        """Go to a page, from the disk, and wait until its charts are drawn."""
        self.page.goto(f"{self.root}/{name}.html", wait_until="load")
        self.drawn()
        return self.page

    def drawn(self) -> None:
        """Wait until every chart is."""
        ready = "() => [...document.querySelectorAll('.akp-chart')].every(c => c.dataset.ready === '1')"
        self.page.wait_for_function(ready, timeout=30_000)


@pytest.fixture
def desk(browser: Browser, book_html: Path) -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    # mathematics has a test of its own; typesetting takes most of a page's time
    context.route("**/tex-svg-full.js", lambda r: r.fulfill(body="", content_type="text/javascript"))
    page, said = context.new_page(), []
    page.on("console", lambda m: said.append(m.text) if m.type in ("warning", "error") else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    yield Desk(page, book_html.resolve().as_uri(), said)
    context.close()


def moved(chart: Locator, control: Locator) -> None:
    """Press an arrow key on the control that has the focus until marks of its chart differ, and go back."""
    before, state, handle = chart.evaluate(MARKS), chart.evaluate(STATE), chart.element_handle()
    assert before, "the chart shows nothing to begin with"
    there, back = control.evaluate(KEYS)
    for _ in range(10 if control.get_attribute("type") == "range" else 1):
        chart.page.keyboard.press(there)
    assert chart.evaluate(STATE) != state, "the control did not move"
    chart.page.wait_for_function(f"([c, before]) => ({MARKS})(c) !== before", arg=[handle, before])
    for _ in range(10):
        if chart.evaluate(STATE) != state:
            chart.page.keyboard.press(back)
    chart.page.wait_for_function(f"([c, before]) => ({MARKS})(c) === before", arg=[handle, before])


def tabbed_to(page: Page, label: str) -> Locator:
    """Press Tab until the control of that name has the focus."""
    here = page.locator(".akp-controls :is(input, select):focus")
    for _ in range(40):
        page.keyboard.press("Tab")
        if here.count() and here.evaluate(LABEL) == label:
            return here
    raise AssertionError(f"Tab does not lead to a control called {label!r}")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_by_moving_a_control(desk: Desk, question: str) -> None:
    name, _, label = QUESTIONS[question]
    page = desk.open(HOME)
    page.locator(f"article tr:has-text('{question}') a").first.click()
    page.wait_for_url(f"**/{name}.html#*")
    desk.drawn()
    chart = page.locator(f".akp-chart:has(.role-title-text:has-text('{question}'))")
    assert chart.count() == 1, "no chart is titled with the question"
    control = tabbed_to(page, label)
    assert control.evaluate("(c, chart) => chart.contains(c)", chart.element_handle())
    moved(chart, control)
    assert desk.said == []


def test_every_explorer_answers_every_control(desk: Desk, page_name: str, book_html: Path) -> None:
    if '"bind"' not in (book_html / f"{page_name}.html").read_text("utf8"):
        return
    page = desk.open(page_name)
    charts = page.locator(".akp-chart:has(.akp-controls :is(input, select))")
    assert charts.count() > 0
    listed = (book_html / f"{HOME}.html").read_text("utf8")
    assert f"{page_name.removeprefix('book/').split('/')[-1]}.html#" in listed, f"{HOME} does not list it"
    for chart in charts.all():
        controls = chart.locator(".akp-controls :is(input, select)")
        free = [control for control in controls.all() if control.evaluate(MOVABLE)]
        for control in free:
            assert control.evaluate(LABEL), "a control has no name"
            control.focus()
            moved(chart, control)
        shown = chart.locator(".akp-live [role='graphics-document']")
        assert len(shown.get_attribute("aria-label") or "") > 40, "the live chart is not described"
    assert desk.said == []


def test_no_page_is_large(book_html: Path, page_name: str) -> None:
    size = (book_html / f"{page_name}.html").stat().st_size
    most = MOST_OF_REFERENCE if page_name.startswith("book/reference/api/") else MOST_BYTES
    assert size <= most, f"{page_name} has {size:,} bytes, {most:,} are the most"


def test_the_list_names_every_question(book_html: Path) -> None:
    text = (book_html.parent / "src" / f"{HOME}.md").read_text("utf8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    for question, (name, section, label) in QUESTIONS.items():
        (row,) = (line for line in rows if line.startswith(f"| {question} |"))
        assert re.search(rf"\(\.\./{name.removeprefix('book/')}\.(md|ipynb)#{section}\)", row)
        assert label.split(",")[0] in row
        assert len([cell for cell in row.split("|") if cell.strip()]) == 4
