"""Writes the result table and picture of README.md from the book that was printed last.

What lies between the two marks in README.md is made here and nowhere else, so no number in it is typed.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pandas as pd

from akp_book.build import COLD
from akp_core.errors import AkpError

BEGIN, END = "<!-- made by `akp readme` -->", "<!-- end -->"
PAGE = "book/experiments/principle"
TAP = "features"
FILE = re.compile(r'download=\\"verdicts.csv\\" href=\\"data:text/csv;charset=utf-8,([^"\\]+)')


def table(cells: pd.DataFrame, record: dict[str, Any], cold_seconds: float) -> str:
    """Set the verdicts at one tap as a Markdown table, with a line on what made them.

    Parameters
    ----------
    cells : DataFrame
        From `akp_core.judgement.judge`.
    record : dict
        The ``run.json`` of the printed book.
    cold_seconds : float
        What a build took that found no page to keep, environment and printing included.
    """
    here = cells[cells["tap"] == TAP]
    control = here["control_error"].iloc[0]
    lines = [
        f"| stress @ onset | test error (control {control:.1%}) "
        "| dispersion, stressed / control (interval) | p | verdict |",
        "|---|---|---|---|---|",
    ]
    for row in here.itertuples():
        spread = f"{row.ratio:.2f} ({row.low:.2f} to {row.high:.2f})"
        lines.append(f"| {row.family} | {row.error:.1%} | {spread} | {row.p_value:.3f} | {row.verdict} |")
    page = next(p for p in record["pages"] if p["page"] == PAGE)
    members = page["parameters"]["members"]["value"]
    total, minutes = members * (len(here) + 1), cold_seconds / 60
    versions, machine = record["versions"], record["machine"]
    lines += [
        "",
        f"{total} networks, {members} a family, at the input of the read-out; whole book {minutes:.1f} min "
        f"on {machine['cores']} cores ({machine['device']}), torch {versions['torch']}. *no prediction*: "
        "the errors of the two families cannot be told apart.",
    ]
    return "\n".join(lines)


def write(root: Path, build: Path) -> Path:
    """Put the table and the picture of the last build into README.md; returns its path.

    Raises
    ------
    AkpError
        When no book was printed there, or README.md has lost its marks.
    """
    from akp_core import charts

    source, log, cold = build / "src" / f"{PAGE}.ipynb", build / "html" / "run.json", build / COLD
    if not (source.exists() and log.exists()):
        raise AkpError(f"expected a printed book in {build}, found none; run 'akp book' first")
    if not cold.exists():
        raise AkpError(f"expected a book of which no page was kept, as its time is told; empty {build} first")
    readme = root / "README.md"
    before, begin, rest = readme.read_text("utf8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise AkpError(f"expected the marks {BEGIN} and {END} in README.md; put them back")
    found = FILE.search(source.read_text("utf8"))
    if found is None:
        raise AkpError(f"expected the page {PAGE} to offer verdicts.csv, found none; see page.download")
    cells = pd.read_csv(io.StringIO(unquote(found[1])), keep_default_na=False, na_values=[""])
    picture = root / "book" / "figures" / "verdicts.svg"
    picture.parent.mkdir(exist_ok=True)
    chart = charts.dispersions(cells[cells["tap"] == TAP]).configure(background="white")
    chart.save(picture)
    made = table(cells, json.loads(log.read_text("utf8")), json.loads(cold.read_text("utf8"))["seconds"])
    readme.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", "utf8")
    return readme
