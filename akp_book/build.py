"""From settled parameters to a printed book: run what changed, stage only when all of it ran, then print."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from akp_book import editions, printing, profiles, provenance
from akp_book.memory import PeakMemory
from akp_book.pages import Page, Project
from akp_book.parameters import Typed, Value, show
from akp_book.running import Run, side_by_side, write
from akp_core.errors import expected, whole_number

COLD = "cold.json"
"""What the last build took that had no page to keep, in the build folder."""


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
    start = time.perf_counter()
    printing.check_tool()
    jobs = side_by_side() if jobs is None else whole_number("jobs", jobs, 1)
    run = Run(project, profile, profiles.settle(project, profile, options), out)
    with PeakMemory() as memory:
        run.all_pages(jobs)
        printed = _print(project, run, out, out)
    installed = [] if install_seconds is None else [("environment", install_seconds, "")]
    seconds = time.perf_counter() - start + (install_seconds or 0.0)
    report = Report(out / "html" / "index.html", [*installed, *_parts(run), printed], seconds)
    build = _noted(report, memory.peak_bytes)
    if not any(part["kept"] for part in build["parts"]):
        write(out / COLD, build)
    write(out / "html" / printing.RECORD, {**run.record(), "build": build})
    return report


def build_edition(
    project: Project, page: Page, profile: str, options: Mapping[str, Typed], out: Path, name: str | None
) -> Report:
    """Run one page and print it alone to ``out/editions/NAME/html``.

    Raises
    ------
    AkpError
        If the page has nothing to run, the name will not do as a folder's, or anything fails.
    """
    start = time.perf_counter()
    printing.check_tool()
    if not page.notebook or page.after == ("all",):
        why = "tells of the whole book; use 'akp book'" if page.notebook else "has no code"
        raise expected("a page that can run alone", f"{page.name!r}, which {why}")
    settled = profiles.settle(project, profile, options, only=page.name)
    name = name or _edition_name(page, profile, {option: settled[page.name][option] for option in options})
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum() or name.startswith("."):
        raise expected("an edition name of letters, digits, '-', '_' and '.'", repr(name))
    run, home = Run(project, profile, settled, out, name), out / editions.FOLDER / name
    with PeakMemory() as memory:
        run.page(page)
        printed = _print(project, run, out, home, page, name)
    report = Report(home / "html" / "index.html", [*_parts(run), printed], time.perf_counter() - start)
    write(home / "html" / printing.RECORD, {**run.record(), "build": _noted(report, memory.peak_bytes)})
    return report


def _print(
    project: Project, run: Run, out: Path, home: Path, only: Page | None = None, edition: str = ""
) -> tuple[str, float, str]:
    """Print what was run to ``home/html``; returns the part of the report that this was."""
    start, record, html = time.perf_counter(), run.record(), home / "html"
    banner = editions.banner(edition, only, record, html, out) if only else ""
    printed = printing.print_book(
        project, run.executed, record, home / "src", html, out / "logs", only, banner
    )
    return "printing", time.perf_counter() - start, "" if printed else "kept"


def _parts(run: Run) -> list[tuple[str, float, str]]:
    return [(name, *run.took[name]) for name in run.order if name in run.took]


def _noted(report: Report, peak_bytes: int) -> dict[str, Any]:
    """Return what ``run.json`` says of this very build."""
    parts = [{"part": name, "seconds": s, "kept": remark == "kept"} for name, s, remark in report.parts]
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"built_at": now, "parts": parts, "seconds": report.seconds, "peak_bytes": peak_bytes}


def _edition_name(page: Page, profile: str, asked: Mapping[str, Value]) -> str:
    """Name an edition after what was asked; a long name is cut and told apart by its hash."""
    told = [page.name.rsplit("/", 1)[-1], *([] if profile == profiles.DEFAULT else [Path(profile).stem])]
    told += [f"{name}-{show(value)}" for name, value in sorted(asked.items())]
    whole = "-".join(told).replace(", ", "-")
    plain = "".join(c if c.isalnum() or c in "-_." else "-" for c in whole).strip("-.")
    return plain if len(plain) <= 60 else f"{plain[:52].rstrip('-.')}-{provenance.digest(whole)[:7]}"
