"""Pages run side by side: at the same time, in the right order, and none is begun after a failure."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from akp_book import build, pages, record, running
from akp_core.errors import AkpError

HEADER = """---
jupytext: {{text_representation: {{extension: .md, format_name: myst}}}}
kernelspec: {{display_name: Python 3, language: python, name: python3}}
{more}---

# {title}

```{{code-cell}} python
{code}
```
"""
MEET = """import pathlib, time
pathlib.Path("{mine}").touch()
for _ in range(400):
    if pathlib.Path("{other}").exists(): break
    time.sleep(0.05)
else: raise SystemError("alone")"""
SEEN = """import json, os, pathlib
told = json.loads(pathlib.Path(os.environ["AKP_BUILD"], "record.json").read_text())
print([one["page"] for one in told["pages"]])"""


def project(root: Path, **code: str) -> pages.Project:
    """A book of pages with one cell each; a name that begins with ``last`` follows all others."""
    root.mkdir()
    (root / "_config.yml").write_text("title: Tiny\nauthor: A\nonly_build_toc_files: true\n")
    for name, text in code.items():
        more = "akp: {after: all}\n" if name.startswith("last") else ""
        (root / f"{name}.md").write_text(HEADER.format(more=more, title=name, code=text))
    first, *others = code
    chapters = "".join(f"  - file: {name}\n" for name in others)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: {first}\nchapters:\n{chapters}")
    (root / "tiny.yml").write_text("shared: {}\n")
    return pages.load(root)


def built(root: Path, book: pages.Project, jobs: int | None) -> build.Report:
    return build.build_book(book, str(root / "tiny.yml"), {}, root / "_build", jobs=jobs)


def test_two_pages_run_at_the_same_time_and_the_last_ones_see_all_others(tmp_path: Path) -> None:
    root = tmp_path / "book"
    meeting = {"one": MEET.format(mine="1", other="2"), "two": MEET.format(mine="2", other="1")}
    report = built(root, project(root, **meeting, last=SEEN, last_too=SEEN), jobs=2)
    told = {name: report_of(root, name) for name in ("last", "last_too")}
    assert told == dict.fromkeys(told, "['one', 'two']\n")
    assert [name for name, _, _ in report.parts] == ["one", "two", "last", "last_too", "printing"]
    assert report.seconds < sum(seconds for _, seconds, _ in report.parts)
    run = json.loads((root / "_build/html/run.json").read_text())
    assert [one["page"] for one in run["pages"]] == ["one", "two", "last", "last_too"]
    assert json.loads((root / "_build/cold.json").read_text())["seconds"] == run["build"]["seconds"]
    again = built(root, pages.load(root), jobs=1)
    assert {remark for _, _, remark in again.parts} == {"kept"}
    assert json.loads((root / "_build/cold.json").read_text())["seconds"] == run["build"]["seconds"]


def report_of(root: Path, name: str) -> str:
    (path,) = (root / "_build/pages").glob(f"{name}-*.ipynb")
    return str(json.loads(path.read_text())["cells"][-1]["outputs"][0]["text"][0])


def test_after_a_failure_no_page_is_begun_and_what_ran_is_kept(tmp_path: Path) -> None:
    root = tmp_path / "book"
    slow = "import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(4)"
    waits = "import pathlib, time\nwhile not pathlib.Path('begun').exists(): time.sleep(0.05)"
    book = project(root, slow=slow, wrong=f"{waits}\nraise ValueError('no')", never="open('never', 'w')")
    with pytest.raises(AkpError, match=r"wrong failed in code cell 1: ValueError: no"):
        built(root, book, jobs=2)
    assert not (root / "never").exists()
    assert [path.name.split("-")[0] for path in (root / "_build/pages").glob("*.ipynb")] == ["slow"]
    assert not (root / "_build/html").exists()


def test_jobs_that_are_none_are_told(tmp_path: Path) -> None:
    root = tmp_path / "book"
    with pytest.raises(AkpError, match="expected jobs as a whole number of at least 1, got 0"):
        built(root, project(root, one="1"), jobs=0)


def test_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "cpu_count", lambda: 64)
    assert running.side_by_side() <= running.AT_ONCE
    monkeypatch.setattr(running, "PAGE_BYTES", 2**60)
    assert running.side_by_side() == 1


def test_pages_that_follow_all_others_write_the_record_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, inside, most = running.write, [0], [0]

    def slowly(path: Path, content: Any) -> None:
        inside[0] += path.name == running.RECORD
        most[0] = max(most[0], inside[0])
        time.sleep(0.3 * (path.name == running.RECORD))
        really(path, content)
        inside[0] -= path.name == running.RECORD

    monkeypatch.setattr(running, "write", slowly)
    root = tmp_path / "book"
    built(root, project(root, one="1", last=SEEN, last_too=SEEN), jobs=2)
    assert most == [1]


def test_minutes_of_pages_that_were_run() -> None:
    spent = pd.Series({"a": 60.0, "b": 30.0})
    assert record.minutes(spent, ["a", "b", "prose"]) == "1.5"
    assert record.minutes(spent, ["prose"]) == "–"
