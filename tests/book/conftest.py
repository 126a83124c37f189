"""The real book, printed once by the command with profile smoke, and a browser that knows no other host."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Error, Page, Playwright, sync_playwright

from akp_book import pages

ROOT = Path(os.environ.get("AKP_TEST_BOOK") or Path(__file__).parents[2])
PROJECT = pages.load(ROOT) if (ROOT / "_toc.yml").is_file() else None
NAMES = [page.name for page in PROJECT.pages] if PROJECT else []
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give ``page_name`` every page of the table of contents."""
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", NAMES)


@pytest.fixture(scope="session")
def book_html() -> Path:
    """Print the whole book as a user does, into a folder of its own; once for all processes of one run."""
    out, run = ROOT / "_build" / "smoke", os.environ.get("PYTEST_XDIST_TESTRUNUID", "")
    command = [sys.executable, "-m", "akp_book.cli", "book", "--profile", "smoke", "--out", str(out)]
    told = out.with_name("smoke-of-run")
    told.parent.mkdir(exist_ok=True)
    with FileLock(f"{told}.lock"):
        if run and told.is_file() and told.read_text() == run:
            return out / "html"
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        told.write_text(run)
    return out / "html"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def served(book_html: Path) -> Iterator[str]:
    """Serve the book on a free port of this machine."""
    handler = functools.partial(_Quiet, directory=str(book_html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session", params=["http", "file"])
def address(request: pytest.FixtureRequest) -> str:
    """Return where the book is read from: a server, and then the disk."""
    if request.param == "http":
        return str(request.getfixturevalue("served"))
    return (request.getfixturevalue("book_html")).resolve().as_uri()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    """Start Playwright. Its event loop would be in the way of other folders' tests, so it ends with these."""
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Start Debian's Chromium, or Playwright's own. Without either: skip here, fail in CI."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    try:
        started = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
    except Error as error:
        reason = f"no Chromium: install it (Debian: chromium). {str(error).splitlines()[0]}"
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(reason)
        pytest.skip(reason)
    yield started
    started.close()


class Watched:
    """A browser page with everything that went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.wrong: list[str] = []
        self.asked: list[str] = []
        page.on("requestfailed", lambda r: self.wrong.append(f"failed: {r.url}"))
        page.on("response", lambda r: self.wrong.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
        page.on("pageerror", lambda e: self.wrong.append(f"page error: {e}"))
        page.on("console", lambda m: self.wrong.append(f"console: {m.text}") if m.type == "error" else None)
        page.on("request", lambda r: self.asked.append(r.url))

    def open(self, name: str) -> Page:
        """Go to a page and wait until its charts and its mathematics are drawn."""
        self.page.goto(f"{self.address}/{name}.html", wait_until="load")
        self._charts()
        if self.page.locator("span.math, div.math").count():
            self.page.wait_for_selector("mjx-container", state="attached", timeout=30_000)
        return self.page

    def dark(self) -> None:
        """Press the theme switch, as a reader does, until it says dark and the charts have followed."""
        theme = "document.documentElement.dataset.theme"
        for _ in range(3):
            if self.page.evaluate(theme) == "dark":
                break
            self.page.locator("button.theme-switch-button:visible").first.click()
        assert self.page.evaluate(theme) == "dark"
        self._charts()
        self.page.mouse.move(0, 0)
        self.page.evaluate("document.activeElement.blur()")
        self.page.wait_for_function("() => !document.querySelector('.tooltip')", timeout=30_000)
        self.page.wait_for_timeout(400)
        done = "() => document.getAnimations().every(one => one.playState !== 'running')"
        self.page.wait_for_function(done, timeout=30_000)  # colours fade over

    def _charts(self) -> None:
        drawn = "() => [...document.querySelectorAll('.akp-chart')].every(c => c.dataset.ready === '1')"
        self.page.wait_for_function(drawn, timeout=30_000)


def _fresh(browser: Browser, address: str) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield Watched(context.new_page(), address)
    context.close()


@pytest.fixture
def watched(browser: Browser, served: str) -> Iterator[Watched]:
    """Open a fresh page in the light theme, from a server."""
    yield from _fresh(browser, served)


@pytest.fixture
def anywhere(browser: Browser, address: str) -> Iterator[Watched]:
    """Open a fresh page in the light theme, from a server and then from the disk."""
    yield from _fresh(browser, address)
