"""From settled parameters to a printed book: run what changed, stage only when all of it ran, then print."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from akp_book import printing, profiles, provenance
from akp_book.execute import execute
from akp_book.memory import PeakMemory
from akp_book.pages import Page, Project
from akp_book.parameters import Typed, Value, show
from akp_book.record import NAME as RECORD
from akp_core.errors import expected


@dataclass
class Report:
    """What a build did: where the book is, and the seconds that each part took."""

    index: Path
    parts: list[tuple[str, float, str]] = field(default_factory=list)
    """Name, seconds, remark."""

    def lines(self) -> list[str]:
        """Return the parts as an aligned table, with their sum and the book's place."""
        rows = [*self.parts, ("in all", sum(seconds for _, seconds, _ in self.parts), "")]
        width = max(len(name) for name, _, _ in rows)
        table = [f"  {name:<{width}}  {took:8.1f} s  {remark}".rstrip() for name, took, remark in rows]
        return [*table, "", f"The book: {self.index}"]


def build_book(
    project: Project,
    profile: str,
    options: Mapping[str, Typed],
    out: Path,
    install_seconds: float | None = None,
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

    Raises
    ------
    AkpError
        If anything does not hold; then ``out/html`` is as it was, and nothing is staged.
    """
    printing.check_tool()
    settled = profiles.settle(project, profile, options)
    parts = [] if install_seconds is None else [("environment", install_seconds, "")]
    run = _Run(project, profile, settled, out, parts)
    with PeakMemory() as memory:
        for page in project.running_order():
            run.page(page)
        run.print(out)
    run.write(out / "html" / printing.RECORD, memory.peak_bytes)
    return Report(out / "html" / "index.html", parts)


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
    parts: list[tuple[str, float, str]] = []
    run, home = _Run(project, profile, settled, out, parts), out / "editions" / name
    with PeakMemory() as memory:
        run.page(page)
        run.print(home, only=page)
    run.write(home / "html" / printing.RECORD, memory.peak_bytes)
    return Report(home / "html" / "index.html", parts)


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
        parts: list[tuple[str, float, str]],
    ) -> None:
        self.executed: dict[str, Path] = {}
        self._project, self._profile, self._settled, self._out = project, profile, settled, out
        self._parts = parts
        self._entries: list[dict[str, Any]] = []
        self._keys: dict[str, str] = {}
        self._commit = provenance.commit(project.root)

    def key(self, page: Page) -> str:
        """Return the run key of a page; those of the pages before it count."""
        if page.name not in self._keys:
            last = page.after == ("all",)
            circumstances = json.dumps(self.record(), sort_keys=True) if last else ""
            earlier = [self.key(p) for p in self._project.before(page)]
            values = self._settled[page.name]
            self._keys[page.name] = provenance.run_key(
                page, values, self._project.root, earlier, circumstances
            )
        return self._keys[page.name]

    def page(self, page: Page) -> None:
        """Run a page, or keep it if nothing that it depends on has changed."""
        if page.after == ("all",):
            _write(self._out / RECORD, self.record())
        kept = self._out / "pages" / f"{page.slug}-{self.key(page)}.ipynb"
        note = kept.with_suffix(".json")
        values = self._settled[page.name]
        found = kept.is_file() and note.is_file()
        if not found:
            _say(f"running {page.name} ...")
            outcome = execute(page, values, self._project.root, self._out, self._earlier(page))
            kept.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(outcome.notebook, kept)
            at = datetime.now(UTC).isoformat(timespec="seconds")
            _write(note, {"run_at": at, "seconds": outcome.seconds, "peak_bytes": outcome.peak_bytes})
        entry = json.loads(note.read_text("utf8"))
        self._parts.append((page.name, 0.0 if found else entry["seconds"], "kept" if found else ""))
        defaults = {p.name: p.default for p in page.parameters}
        both = {n: {"value": v, "default": defaults[n]} for n, v in values.items()}
        self._entries.append({"page": page.name, "key": self.key(page), "parameters": both, **entry})
        self.executed[page.name] = kept

    def _earlier(self, page: Page) -> dict[str, Path]:
        """Return the notebooks of the pages before it, as far as they have been run."""
        kept = {
            p.name: self._out / "pages" / f"{p.slug}-{self.key(p)}.ipynb" for p in self._project.before(page)
        }
        return {name: path for name, path in kept.items() if path.is_file()}

    def record(self) -> dict[str, Any]:
        """Return what is known so far; it is the same whether pages were run or kept."""
        seeds = {
            entry["page"]: value["value"]
            for entry in self._entries
            for name, value in entry["parameters"].items()
            if name in ("seed", "seeds")
        }
        return {
            "profile": Path(self._profile).stem,
            **self._commit,
            "versions": provenance.versions(),
            "machine": provenance.machine(),
            "seeds": seeds,
            "pages": list(self._entries),
        }

    def print(self, home: Path, only: Page | None = None) -> None:
        """Print what was run to ``home/html``."""
        start = time.perf_counter()
        printed = printing.print_book(
            self._project, self.executed, self.record(), home / "src", home / "html", self._out / "logs", only
        )
        self._parts.append(("printing", time.perf_counter() - start, "" if printed else "kept"))

    def write(self, path: Path, peak_bytes: int) -> None:
        """Write ``run.json``: the record, and what this very build took."""
        took = [{"part": name, "seconds": s, "kept": remark == "kept"} for name, s, remark in self._parts]
        total = sum(seconds for _, seconds, _ in self._parts)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        build = {"built_at": now, "parts": took, "seconds": total, "peak_bytes": peak_bytes}
        _write(path, {**self.record(), "build": build})


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stderr)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(content, indent=1) + "\n", "utf8")
    fresh.replace(path)
