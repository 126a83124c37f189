"""What the press wrote down about the runs, for the page that tells how the book was made.

Everything here also works with no record, as under a plain ``jupyter-book build .``: then the tables are
empty and the sentence says how to make one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from akp_book import page
from akp_book.parameters import show

NAME = "record.json"
NONE = (
    "There is no record of the runs: this page was not built by `akp book`, which writes down parameters, "
    "versions, commit, machine and times."
)


def read() -> dict[str, Any]:
    """Return the record of the runs before this page, empty if there is none.

    A plain ``jupyter-book build .`` has none, even if an earlier ``akp book`` left one of its own.
    """
    path = page.build_folder() / NAME
    told = ("AKP_BOOK" in os.environ or page.live()) and path.is_file()
    return json.loads(path.read_text("utf8")) if told else {}


def sentence() -> str:
    """Say in Markdown with which profile, from which commit, where and in what time the pages were run."""
    found = read()
    if not found:
        return NONE
    source = f"commit `{found['commit'][:10]}`" if found["commit"] else "files outside version control"
    source += ", with uncommitted changes" if found["changed"] else ""
    spent = sum(one["seconds"] for one in found["pages"])
    peak = max((one["peak_bytes"] for one in found["pages"]), default=0)
    where = found["machine"]
    return (
        f"The pages before this one were run with the profile **{found['profile']}** from {source}, on "
        f"{where['device']} with {where['cores']} cores open to it, in times that add up to {_time(spent)} "
        f"(some run side by side) and at most {peak / 2**30:.1f} GiB of memory."
    )


def pages() -> pd.DataFrame:
    """Return one row for each page that was run: key, date, seconds, memory."""
    rows = [
        {
            "page": one["page"],
            "run key": one["key"][:8],
            "run at (UTC)": one["run_at"][:16].replace("T", " "),
            "seconds": round(one["seconds"], 1),
            "memory (MiB)": round(one["peak_bytes"] / 2**20),
        }
        for one in read().get("pages", [])
    ]
    return pd.DataFrame(rows, columns=["page", "run key", "run at (UTC)", "seconds", "memory (MiB)"])


def minutes(seconds: pd.Series[float], names: Sequence[str]) -> str:
    """Write what some pages took together, in minutes; a dash if none of them was run."""
    known = seconds.reindex(list(names)).dropna()
    return f"{known.sum() / 60:.1f}" if len(known) else "–"


def parameters() -> pd.DataFrame:
    """Return one row for each parameter of each page: value, default, whether they differ."""
    rows = [
        {
            "page": one["page"],
            "parameter": name,
            "value": show(parameter["value"]),
            "default": show(parameter["default"]),
            "changed": parameter["value"] != parameter["default"],
        }
        for one in read().get("pages", [])
        for name, parameter in one["parameters"].items()
    ]
    return pd.DataFrame(rows, columns=["page", "parameter", "value", "default", "changed"])


def versions() -> pd.DataFrame:
    """Return one row for each package that a result may depend on."""
    found = read().get("versions", {})
    return pd.DataFrame({"package": list(found), "version": list(found.values())})


def machine() -> pd.DataFrame:
    """Return what is known of the machine, one row each."""
    found = dict(read().get("machine", {}))
    if found:
        found["memory"] = f"{found.pop('memory_bytes') / 2**30:.0f} GiB"
    return pd.DataFrame({"property": list(found), "value": [str(value) for value in found.values()]})


def _time(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.1f} minutes"
