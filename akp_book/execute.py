"""Run one page with papermill, show how it goes, and say in a few lines why it failed if it did."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from akp_book.clean import cleaned
from akp_book.kernel import own_kernel
from akp_book.memory import PeakMemory
from akp_book.pages import Page
from akp_book.parameters import Value
from akp_book.verdicts import EARLIER
from akp_core.errors import AkpError

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
HEARTBEAT_SECONDS = 20.0


@dataclass(frozen=True)
class Outcome:
    """An executed and cleaned page with what it took."""

    notebook: nbformat.NotebookNode
    seconds: float
    peak_bytes: int


class Live:
    """Take a page's stderr: all of it to the log; bars and lines to the terminal, a heartbeat elsewhere.

    Parameters
    ----------
    log : file
        Where everything goes.
    bar : tqdm
        The page's progress bar.
    name : str
        Of the page, as another may be running beside it.
    """

    def __init__(self, log: IO[str], bar: tqdm[Any], name: str) -> None:
        self._log, self._bar, self._name = log, bar, name
        self._partial, self._last = "", time.monotonic()

    def write(self, text: str) -> None:
        """Take a piece of the stream; a carriage return means that the line is drawn over."""
        self._log.write(text)
        *lines, self._partial = (self._partial + ANSI.sub("", text)).split("\n")
        for line in lines:
            self._say(line.rsplit("\r", 1)[-1].rstrip())
        drawn = self._partial.rsplit("\r", 1)[-1].strip()
        if drawn and not self._bar.disable:
            self._bar.set_postfix_str(drawn[:60])
        elif drawn and time.monotonic() - self._last > HEARTBEAT_SECONDS:
            self._say(drawn)

    def _say(self, line: str) -> None:
        if line:
            self._last = time.monotonic()
            tqdm.write(f"    {self._name}: {line}", file=sys.stderr)

    def flush(self) -> None:
        """Write the log out."""
        self._log.flush()


def execute(
    page: Page,
    values: Mapping[str, Value],
    root: Path,
    out: Path,
    earlier: Mapping[str, Path] | None = None,
    threads: int | None = None,
) -> Outcome:
    """Run a page in a fresh kernel of this Python, from the project's root.

    Parameters
    ----------
    page : Page
        The page.
    values : mapping of str to Value
        All its parameters, checked.
    root : Path
        Working directory of the kernel.
    out : Path
        The build folder; the log goes to ``logs/``, a failed notebook to ``failed/``.
    earlier : mapping of str to Path, optional
        The executed notebooks of the pages that ran before it.
    threads : int, optional
        For its arithmetic, unless the environment says otherwise; None leaves that to the libraries.

    Returns
    -------
    Outcome
        The notebook without anything that differs from run to run.

    Raises
    ------
    AkpError
        If a cell fails or the kernel dies: the cell's head, the end of the traceback, where the rest lies.
    """
    work, logs = out / "work", out / "logs"
    for folder in (work, logs):
        folder.mkdir(parents=True, exist_ok=True)
    asked, ran, log_path = (
        work / f"{page.slug}.ipynb",
        work / f"{page.slug}.out.ipynb",
        logs / f"{page.slug}.log",
    )
    notebook = page.read()
    nbformat.write(notebook, asked)
    defaults = {p.name: p.default for p in page.parameters}
    logging.getLogger("papermill").setLevel(logging.ERROR)
    listed = work / f"{page.slug}.earlier.json"
    listed.write_text(
        json.dumps({name: str(path.absolute()) for name, path in (earlier or {}).items()}), "utf8"
    )
    environment = {"AKP_BOOK": "1", "AKP_BUILD": str(out), EARLIER: str(listed.absolute())}
    if threads is not None and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(threads)
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    start = time.perf_counter()
    quiet = not sys.stderr.isatty()
    with (
        log_path.open("w", encoding="utf8") as log,
        tqdm(total=cells, desc=f"  {page.name}", unit="cell", leave=False, disable=quiet) as bar,
        PeakMemory() as memory,
    ):
        try:
            done = papermill.execute_notebook(
                str(asked),
                str(ran),
                parameters={name: value for name, value in values.items() if value != defaults[name]},
                kernel_name="python3",
                progress_bar=False,
                cwd=str(root),
                stderr_file=Live(log, bar, page.name.rsplit("/", 1)[-1]),
                kernel_manager_class=own_kernel(log, environment),
                on_cell_executed=lambda **_: bar.update(1),
                request_save_on_cell_execute=False,
            )
        except PapermillExecutionError as error:
            raise AkpError(_told(page, error, _put_aside(ran, page, out))) from None
        except DeadKernelError:
            hint = "is there enough memory? its last words are in"
            raise AkpError(f"{page.name}: the kernel died; {hint} {log_path}") from None
    seconds = time.perf_counter() - start
    asked.unlink(missing_ok=True)
    ran.unlink(missing_ok=True)
    return Outcome(cleaned(done, page, values), seconds, memory.peak_bytes)


def _put_aside(ran: Path, page: Page, out: Path) -> Path:
    kept = out / "failed" / f"{page.slug}.ipynb"
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(ran, kept)
    return kept


def _told(page: Page, error: PapermillExecutionError, kept: Path) -> str:
    source = [line for line in error.source.splitlines() if line.strip()]
    trace = [line for part in error.traceback for line in ANSI.sub("", part).splitlines() if line.strip()]
    what = f"{error.ename}: {error.evalue}".strip().splitlines()[0]
    if error.ename == AkpError.__name__:  # says itself what was expected, what came and what to do
        return f"{page.name}: {error.evalue}"
    return "\n".join(
        [
            f"{page.name} failed in code cell {error.exec_count}: {what}",
            *(f"  | {line}" for line in source[:6]),
            *(["  | ..."] if len(source) > 6 else []),
            *(f"  > {line}" for line in trace[-8:]),
            f"the failed notebook is at {kept}; nothing was printed, the earlier book is as it was",
        ]
    )
