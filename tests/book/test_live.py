"""The live lab in a real browser with a real kernel: trained, swapped in mid-training, wound back, saved."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from akp_core.live.choice import Choice
from akp_core.live.recording import recorded
from akp_core.live.view import View
from akp_core.stress import swaps

pytestmark = [pytest.mark.browser, pytest.mark.slow]
for needed in ("voila", "anywidget"):
    pytest.importorskip(needed)

ROOT = Path(__file__).parents[2]
LAB = ".akp-live[data-ready='1']"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the lab as a teacher does, with small images, and stop it with Ctrl-C."""
    port, out = free_port(), tmp_path_factory.mktemp("live")
    command = [sys.executable, "-m", "akp_book.cli", "live", "--no-browser", f"--port={port}", f"--out={out}"]
    command += ["--dataset=digits", "--members=3", "--epochs=12"]
    with (out / "log").open("w") as log:
        running = subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(600):
            assert running.poll() is None, (out / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(address + "voila/static/voila.js"):
                break
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(running.pid, signal.SIGINT)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


class Watcher:
    """A page of the lab, and everything that went wrong on it or left this machine."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.wrong = page, []
        page.on("pageerror", lambda e: self.wrong.append(f"page error: {e}"))
        page.on("console", lambda m: self.wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("request", lambda r: self.wrong.append(r.url) if self._outside(r.url) else None)
        page.goto(address, timeout=120_000)
        page.wait_for_selector(LAB, timeout=120_000)

    @staticmethod
    def _outside(url: str) -> bool:
        return not url.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))

    def press(self, name: str) -> None:
        """Press a button with the keyboard."""
        button = self.page.get_by_role("button", name=name, exact=True)
        button.focus()
        self.page.keyboard.press("Enter")

    def data(self, name: str) -> str:
        """What the lab says of itself: its clock, its families, how often it has drawn."""
        return str(self.page.locator(LAB).get_attribute(f"data-{name}"))

    def row(self, start: str) -> dict[str, str]:
        """The row of the table that begins with a name."""
        heads = self.page.locator(f"{LAB} thead th").all_inner_texts()
        row = self.page.locator(f"{LAB} tbody tr").filter(has=self.page.locator(f"th:text('{start}')"))
        return dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))

    def until(self, wanted: str, seconds: float = 60) -> None:
        """Wait for a condition on the lab, in JavaScript; ``lab`` is its data."""
        code = f'() => {{ const lab = document.querySelector("{LAB}").dataset; return {wanted}; }}'
        self.page.wait_for_function(code, timeout=1000 * seconds)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()


def test_a_lesson(lab: str, page: Page) -> None:
    seen = Watcher(page, lab)
    seen.press("Play")
    seen.until("Number(lab.clock) >= 20")
    begin = time.perf_counter()
    seen.press("Swap now: A")
    expect(page.locator(f"{LAB} tbody")).to_contain_text("A: tanh", timeout=30_000)
    assert time.perf_counter() - begin < 10  # within a second where nothing else runs
    drawn, clock = int(seen.data("drawn")), int(seen.data("clock"))
    page.wait_for_timeout(3000)
    assert int(seen.data("drawn")) - drawn >= 3
    assert int(seen.data("clock")) > clock
    seen.press("Pause")
    page.wait_for_timeout(1500)
    still = seen.data("clock")
    page.wait_for_timeout(1000)
    assert seen.data("clock") == still
    marks = page.locator(".akp-of-map svg .mark-symbol path[aria-roledescription='point']")
    assert marks.count() == 6

    seen.press("To the fork of A")
    seen.until(f"Number(lab.clock) < {still}")
    page.get_by_label("swap to").nth(1).select_option("loss:hinge")
    seen.press("Swap now: B")
    seen.until("lab.families === 'control A B'")
    page.get_by_label("Pace").select_option("0")
    seen.press("Play")
    expect(page.locator(f"{LAB} .akp-status")).to_contain_text("Training is over", timeout=120_000)
    page.wait_for_timeout(1500)
    assert marks.count() == 9
    for place in "AB":
        again(seen, place)

    page.locator("#akp-step").focus()
    page.keyboard.press("ArrowLeft")
    steps = int(re.findall(r"of (\d+)", page.locator("output").inner_text())[0])
    seen.until(f"Number(lab.clock) < {steps}")
    assert seen.wrong == []


def again(seen: Watcher, place: str) -> None:
    """Train a saved stress once more: the numbers on the screen are those."""
    words = shlex.split(seen.page.locator(f"#akp-command-{place}").input_value())
    values = {name: yaml.safe_load(value) for name, value in (word.split("=", 1) for word in words[4::2])}
    names = ("dataset", "network", "tap", "members", "epochs", "side", "fields", "seed")
    choice = Choice.of({name: values[name] for name in names})
    (stress,) = swaps(values["activations"], values["losses"])
    session = recorded(choice.study(), [stress.at(values["onsets"][0])], frames=4)
    row, shown = View(session).curves()[-1], seen.row(f"{place}: ")
    assert shown["wrong answers, %"] == f"{row['error']:.1f}"
    assert shown["CKA to the twin"] == f"{row['cka']:.3f}"
    assert shown["spread"] == f"{row['spread']:.3f}"


def test_a_closed_window_loses_nothing(lab: str, page: Page) -> None:
    seen = Watcher(page, lab)
    seen.until("lab.families === 'control A B'", 120)
    assert page.locator("#akp-command-A").input_value().startswith("akp run book/classroom/live-lab")
    assert seen.wrong == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_control_has_a_name_and_every_chart_a_description(
    lab: str, browser: Browser, theme: str
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=theme)  # type: ignore[arg-type]
    seen = Watcher(context.new_page(), lab)
    unnamed = seen.page.evaluate(
        """() => [...document.querySelectorAll(".akp-live button, .akp-live select, .akp-live input")]
        .filter((c) => !(c.textContent || "").trim() && !(c.labels || []).length && !c.ariaLabel).length"""
    )
    assert unnamed == 0
    charts = seen.page.locator(".akp-live [role='graphics-document']")
    assert charts.count() == 5
    for chart in charts.all():
        assert len(str(chart.get_attribute("aria-label"))) > 40
    assert seen.data("theme") == theme
    wide = seen.page.evaluate("document.querySelector('.akp-live').scrollWidth > window.innerWidth")
    assert not wide
    context.close()
