"""Runs pages, some side by side, and keeps those on which nothing that they depend on has changed."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_core.utils import ensure_event_loop
from loky import cpu_count
from tqdm import tqdm

from akp_book import provenance
from akp_book.execute import execute
from akp_book.pages import Page, Project
from akp_book.parameters import Value
from akp_book.record import NAME as RECORD

AT_ONCE = 2
"""Pages run side by side: while one draws its charts, another trains."""
PAGE_BYTES = 3 * 2**30
"""Memory that must be free for each of them."""


def side_by_side() -> int:
    """Return how many pages to run at once: `AT_ONCE`, as far as cores and free memory go."""
    return max(1, min(AT_ONCE, cpu_count(), psutil.virtual_memory().available // PAGE_BYTES))


class Run:
    """The pages run so far, by their keys, with the record that the last page reads.

    Attributes
    ----------
    executed : dict of str to Path
        The executed notebook of each page, by name.
    took : dict of str to (float, str)
        Seconds of each page, and whether it was kept.
    order : list of str
        The names of all pages that run, in the book's order.
    """

    def __init__(
        self,
        project: Project,
        profile: str,
        settled: Mapping[str, dict[str, Value]],
        out: Path,
        edition: str = "",
    ) -> None:
        self.executed: dict[str, Path] = {}
        self.took: dict[str, tuple[float, str]] = {}
        self._project, self._profile, self._settled, self._out = project, profile, settled, out
        self._edition = edition
        self.order = [page.name for page in project.running_order()]
        self._entries: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, str] = {}
        self._commit = provenance.commit(project.root)
        self._threads: int | None = None
        self._one_writer = threading.Lock()

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
            with self._one_writer:
                write(self._out / RECORD, self.record(whole=False))
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
            write(note, {"run_at": at, "seconds": outcome.seconds, "peak_bytes": outcome.peak_bytes})
        entry = json.loads(note.read_text("utf8"))
        self.took[page.name] = (0.0, "kept") if found else (entry["seconds"], "")
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
        told = [n for n in self.order if n in self._entries and (whole or n not in last)]
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


def _ready(project: Project, waiting: Sequence[Page], done: set[str]) -> list[Page]:
    return [page for page in waiting if {before.name for before in project.before(page)} <= done]


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a table as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf8")
    fresh.replace(path)
