"""From settled parameters to a printed book: run what changed, stage only when all of it ran, then print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_core.utils import ensure_event_loop
from loky import cpu_count
from tqdm import tqdm

from akp_book import editions, printing, profiles, provenance
from akp_book.execute import execute
from akp_book.memory import PeakMemory
from akp_book.pages import Page, Project
from akp_book.parameters import Typed, Value, show
from akp_book.record import NAME as RECORD
from akp_core.errors import expected, whole_number

AT_ONCE = 2
"""Pages run side by side: while one draws its charts, another trains."""
PAGE_BYTES = 3 * 2**30
"""Memory that must be free for each of them."""
COLD = "cold.json"


@dataclass
class Report:
    """What a build did: where the book is, the seconds of each part, and those that went by in all."""

    index: Path
    parts: list[tuple[str, float, str]] = field(default_factory=list)
    """Name, seconds, remark. Parts that ran side by side add up to more than the whole."""
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """Return the parts as an aligned table, with the time of the whole and the book's place."""
        rows = [*self.parts, ("in all", self.seconds, "")]
        width = max(len(name) for name, _, _ in rows)
        table = [f"  {name:<{width}}  {took:8.1f} s  {remark}".rstrip() for name, took, remark in rows]
        return [*table, "", f"The book: {self.index}"]


def build_book(
    project: Project,
    profile: str,
    options: Mapping[str, Typed],
    out: Path,
    install_seconds: float | None = None,
    jobs: int | None = None,
) -> Report:
    """Run every page that changed and print the book to ``out/html``.

    Parameters
    ----------
    project : Project
        The book.
    profile : str
        Name of a parameter profile, or a file.
    options : mapping of str to Typed
        Values from the command line, for every page that declares the name.
    out : Path
        The build folder.
    install_seconds : float, optional
        What the installation of the environment took, for the report.
    jobs : int, optional
        Pages run side by side; None means `AT_ONCE`, fewer where cores or free memory are short.

    Raises
    ------
    AkpError
        If anything does not hold; then ``out/html`` is as it was, and nothing is staged.
    """
    printing.check_tool()
    settled = profiles.settle(project, profile, options)
    jobs = side_by_side() if jobs is None else whole_number("jobs", jobs, 1)
    run = _Run(project, profile, settled, out, install_seconds=install_seconds)
    with PeakMemory() as memory:
        run.all_pages(jobs)
        run.print(out)
    return run.report(out / "html", memory.peak_bytes)


def build_edition(
    project: Project, page: Page, profile: str, options: Mapping[str, Typed], out: Path, name: str | None
) -> Report:
    """Run one page and print it alone to ``out/editions/NAME/html``.

    Raises
    ------
    AkpError
        If the page has nothing to run, the name will not do as a folder's, or anything fails.
    """
    printing.check_tool()
    if not page.notebook or page.after == ("all",):
        why = "tells of the whole book; use 'akp book'" if page.notebook else "has no code"
        raise expected("a page that can run alone", f"{page.name!r}, which {why}")
    settled = profiles.settle(project, profile, options, only=page.name)
    name = name or _edition_name(page, profile, {option: settled[page.name][option] for option in options})
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise expected("an edition name of letters, digits, '-', '_' and '.'", repr(name))
    run, home = _Run(project, profile, settled, out, name), out / editions.FOLDER / name
    with PeakMemory() as memory:
        run.page(page)
        run.print(home, only=page)
    return run.report(home / "html", memory.peak_bytes)


def side_by_side() -> int:
    """Return how many pages to run at once: `AT_ONCE`, as far as cores and free memory go."""
    return max(1, min(AT_ONCE, cpu_count(), psutil.virtual_memory().available // PAGE_BYTES))


def _edition_name(page: Page, profile: str, asked: Mapping[str, Value]) -> str:
    """Name an edition after what was asked; a long name is cut and told apart by its hash."""
    told = [page.name.rsplit("/", 1)[-1], *([] if profile == profiles.DEFAULT else [Path(profile).stem])]
    told += [f"{name}-{show(value)}" for name, value in sorted(asked.items())]
    whole = "-".join(told).replace(", ", "-")
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in whole).strip("-.")
    return plain if len(plain) <= 60 else f"{plain[:52].rstrip('-.')}-{provenance.digest(whole)[:7]}"


class _Run:
    """The pages run so far, by their keys, with the record that the last page reads."""

    def __init__(
        self,
        project: Project,
        profile: str,
        settled: Mapping[str, dict[str, Value]],
        out: Path,
        edition: str = "",
        install_seconds: float | None = None,
    ) -> None:
        self._start, self._before = time.perf_counter(), install_seconds
        self.executed: dict[str, Path] = {}
        self._project, self._profile, self._settled, self._out = project, profile, settled, out
        self._edition, self._printed = edition, ("printing", 0.0, "")
        self._order = [page.name for page in project.running_order()]
        self._took: dict[str, tuple[float, str]] = {}
        self._entries: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._commit = provenance.commit(project.root)
        self._threads: int | None = None

    def key(self, page: Page) -> str:
        """Return the run key of a page; those of the pages before it count."""
        if page.name not in self._keys:
            last = page.after == ("all",)
            circumstances = json.dumps(self.record(whole=False), sort_keys=True) if last else ""
            earlier = [self.key(p) for p in self._project.before(page)]
            values = self._settled[page.name]
            self._keys[page.name] = provenance.run_key(
                page, values, self._project.root, earlier, circumstances
            )
        return self._keys[page.name]

    def all_pages(self, jobs: int) -> None:
        """Run all pages, some side by side, none before those that it follows.

        After a failure no other page is begun, and what runs is run to its end and kept.
        """
        if jobs > 1:  # more threads than cores wait for one another, and threads wait by spinning
            self._threads = max(1, cpu_count() // jobs)
        waiting, done = list(self._project.running_order()), set[str]()
        running: dict[Future[None], Page] = {}
        failure: BaseException | None = None
        with ThreadPoolExecutor(jobs, "akp-page") as pool:
            while running or (waiting and failure is None):
                for page in _ready(self._project, waiting, done)[: jobs - len(running)]:
                    waiting.remove(page)
                    running[pool.submit(self._in_thread, page)] = page
                try:
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt:
                    for process in psutil.Process().children(recursive=True):
                        process.terminate()
                    raise
                for future in finished:
                    done.add(running.pop(future).name)
                    failure = failure or future.exception()
                waiting = [] if failure else waiting
        if failure is not None:
            raise failure

    def _in_thread(self, page: Page) -> None:
        """Run a page, and close the event loop that the kernel's client keeps for this thread."""
        loop = ensure_event_loop()
        try:
            self.page(page)
        finally:
            loop.close()

    def page(self, page: Page) -> None:
        """Run a page, or keep it if nothing that it depends on has changed."""
        if page.after == ("all",):
            _write(self._out / RECORD, self.record(whole=False))
        kept = self._out / "pages" / f"{page.slug}-{self.key(page)}.ipynb"
        note = kept.with_suffix(".json")
        values = self._settled[page.name]
        found = kept.is_file() and note.is_file()
        if not found:
            _say(f"running {page.name} ...")
            outcome = execute(page, values, self._project.root, self._out, self._earlier(page), self._threads)
            kept.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(outcome.notebook, kept)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            _write(note, {"run_at": at, "seconds": outcome.seconds, "peak_bytes": outcome.peak_bytes})
        entry = json.loads(note.read_text("utf8"))
        self._took[page.name] = (0.0, "kept") if found else (entry["seconds"], "")
        defaults = {p.name: p.default for p in page.parameters}
        both = {n: {"value": v, "default": defaults[n]} for n, v in values.items()}
        self._entries[page.name] = {"page": page.name, "key": self.key(page), "parameters": both, **entry}
        self.executed[page.name] = kept

    def _earlier(self, page: Page) -> dict[str, Path]:
        """Return the notebooks of the pages before it, as far as they have been run."""
        kept = {
            p.name: self._out / "pages" / f"{p.slug}-{self.key(p)}.ipynb" for p in self._project.before(page)
        }
        return {name: path for name, path in kept.items() if path.is_file()}

    def record(self, *, whole: bool = True) -> dict[str, Any]:
        """Return what is known so far, of the pages that follow all others only if it is to be `whole`.

        It is the same whether pages were run or kept, and in whatever order.
        """
        last = {page.name for page in self._project.pages if page.after == ("all",)}
        told = [n for n in self._order if n in self._entries and (whole or n not in last)]
        entries = [self._entries[name] for name in told]
        seeds = {
            entry["page"]: value["value"]
            for entry in entries
            for name, value in entry["parameters"].items()
            if name in ("seed", "seeds")
        }
        return {
            "profile": Path(self._profile).stem,
            **({"edition": self._edition} if self._edition else {}),
            **self._commit,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "seeds": seeds,
            "pages": entries,
        }

    def print(self, home: Path, only: Page | None = None) -> None:
        """Print what was run to ``home/html``."""
        start, record, html = time.perf_counter(), self.record(), home / "html"
        banner = editions.banner(self._edition, only, record, html, self._out) if only else ""
        printed = printing.print_book(
            self._project, self.executed, record, home / "src", html, self._out / "logs", only, banner
        )
        self._printed = ("printing", time.perf_counter() - start, "" if printed else "kept")

    def report(self, html: Path, peak_bytes: int) -> Report:
        """Write ``run.json``, the record and what this very build took, and tell it."""
        pages = [(name, *self._took[name]) for name in self._order if name in self._took]
        install = [] if self._before is None else [("environment", self._before, "")]
        parts = [*install, *pages, self._printed]
        seconds = time.perf_counter() - self._start + (self._before or 0.0)
        took = [{"part": name, "seconds": s, "kept": remark == "kept"} for name, s, remark in parts]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        build = {"built_at": now, "parts": took, "seconds": seconds, "peak_bytes": peak_bytes}
        if not any(part["kept"] for part in took) and not self._edition:
            _write(self._out / COLD, build)
        _write(html / printing.RECORD, {**self.record(), "build": build})
        return Report(html / "index.html", parts, seconds)


def _ready(project: Project, waiting: Sequence[Page], done: set[str]) -> list[Page]:
    return [page for page in waiting if {before.name for before in project.before(page)} <= done]


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf8")
    fresh.replace(path)
