"""A page as a plain notebook: run by papermill's own command from another folder."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from akp_book import commands, export, pages
from akp_book.declarations import declared
from akp_book.parameters import Typed, check_all, show
from akp_core.errors import AkpError

ROOT = Path(__file__).parents[2]
PAPERMILL = Path(sys.executable).with_name("papermill")
HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
%s---

# Light

"""
LIGHT = """```{code-cell} python
:tags: [parameters]
members: int = 10  # networks in each family; from 4 to 200
onsets: list[float] = [0.25, 0.75]  # when, as a share; each from 0 to 1
path: str = ""  # your folder, for dataset=folder and dataset=arrays
```

```{code-cell} python
from akp_book import page
page.begin()
import altair as alt, pandas as pd
print("here", page.root(), "members", members, "onsets", onsets)
alt.Chart(pd.DataFrame({"x": onsets})).mark_point().encode(x="x").properties(description="Onsets.")
```
"""


@pytest.fixture(autouse=True)
def back_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back from the folder that a notebook's set-up changes to."""
    monkeypatch.chdir(Path.cwd())


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export") / "book"
    root.mkdir()
    (root / "_config.yml").write_text("title: Light\nauthor: A\n")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: intro\nchapters: [{file: light}, {file: bare}, {file: gathers}]\n"
    )
    (root / "intro.md").write_text("# Entry\n")
    (root / "light.md").write_text(HEADER % "" + LIGHT)
    (root / "bare.md").write_text(HEADER % "" + "```{code-cell} python\n1\n```\n")
    (root / "gathers.md").write_text(HEADER % "akp: {after: all}\n" + LIGHT)
    return root


def akp(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "akp_book.cli", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def papermill(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    assert PAPERMILL.is_file(), "papermill's command is not beside this Python"
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("AKP_", "PYTEST"))}
    return subprocess.run(
        [str(PAPERMILL), *words],
        cwd=folder,
        env=plain,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def exported(book: Path) -> Path:
    done = akp(book, "notebook", "light", "-p", "members=6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "wrote light.ipynb"
    return book / "light.ipynb"


def test_papermill_lists_every_parameter_with_its_type_and_meaning(book: Path, exported: Path) -> None:
    told = papermill(book, "--help-notebook", exported.name)
    assert told.returncode == 0, told.stderr
    found = " ".join(told.stdout.split())
    assert "members: int (default 6) networks in each family; from 4 to 200" in found
    assert "onsets: list[float] (default [0.25, 0.75]) when, as a share; each from 0 to 1" in found
    assert 'path: str (default "") your folder, for dataset folder and dataset arrays' in found
    assert "Unable to parse" not in told.stderr


def test_papermill_runs_it_from_another_folder(book: Path, exported: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    done = papermill(away, str(exported), "out.ipynb", "-p", "members", "4", "-p", "onsets", "[0.5, 1]")
    assert done.returncode == 0, done.stderr[-3000:]
    ran = nbformat.read(away / "out.ipynb", as_version=4)
    text = [o for c in ran.cells for o in c.get("outputs", ()) if o.get("name") == "stdout"]
    assert text[0].text == f"here {book} members 4 onsets [0.5, 1.0]\n"
    pictures = [
        o.data for c in ran.cells for o in c.get("outputs", ()) if "image/svg+xml" in o.get("data", {})
    ]
    assert len(pictures) == 1, "a chart that Lab can show"
    assert pictures[0]["image/svg+xml"].startswith("<svg")


def test_the_command_that_was_printed_runs(book: Path, exported: Path, tmp_path: Path) -> None:  # noqa: ARG001
    told = akp(book, "notebook", "light", "--to", str(tmp_path / "mine.ipynb")).stdout.splitlines()
    words = shlex.split(told[-1].partition(":")[2])
    done = subprocess.run(
        words, cwd=book, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "members 20" in (tmp_path / "mine.out.ipynb").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "membrs", "4"], "light: unknown parameter 'membrs': did you mean 'members'?"),
        (["-p", "members", "3"], "light: expected parameter 'members' from 4 to 200, got 3"),
        (["-p", "onsets", "0.5"], "light: expected a list for parameter 'onsets', got 0.5"),
    ],
)
def test_papermill_stops_at_a_value_that_will_not_do(
    exported: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = papermill(tmp_path, str(exported), "out.ipynb", *words)
    assert done.returncode != 0
    assert done.stderr.strip().splitlines()[-1].startswith(f"AkpError: {said}")


def test_a_printed_download_runs_in_the_books_folder_and_says_so_elsewhere(
    book: Path, tmp_path: Path
) -> None:
    done = akp(book, "run", "light", "-p", "members=5", "--name", "five")
    assert done.returncode == 0, done.stderr
    download = book / "_build/editions/five/html/_sources/light.ipynb"
    told = nbformat.read(download, as_version=4)
    assert str(book) not in download.read_text().replace(f"here {book} members", ""), (
        "no path of this machine"
    )
    assert sum("injected-parameters" in c.metadata.get("tags", ()) for c in told.cells) == 0
    inside = papermill(book, str(download), str(tmp_path / "again.ipynb"))
    assert inside.returncode == 0, inside.stderr[-3000:]
    assert "members 5" in (tmp_path / "again.ipynb").read_text(), "what the edition ran with is the default"
    outside = papermill(tmp_path, str(download), "out.ipynb")
    assert outside.returncode != 0
    last = outside.stderr.strip().splitlines()[-1]
    assert last.startswith(f"AkpError: expected to run in the book's folder, got {tmp_path}; change to it")
    moved = papermill(tmp_path, str(download), "out.ipynb", "--cwd", str(book))
    assert moved.returncode == 0, moved.stderr[-3000:]


def test_another_python_is_told_which_to_use(exported: Path, tmp_path: Path) -> None:
    setup = next(c for c in nbformat.read(exported, as_version=4).cells if "settle" in c.source)
    code = tmp_path / "cell.py"
    code.write_text(setup.source)
    bare = [sys.executable, "-S", "-I", str(code)]  # without its packages
    done = subprocess.run(bare, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (
        done.stderr.strip().splitlines()[-1].startswith("RuntimeError: expected the book's own Python, got ")
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["intro"], "expected a page that runs by itself, got 'intro', which has no code"),
        (["gathers"], "expected a page that runs by itself, got 'gathers', which gathers what other pages"),
        (["ligt"], "unknown page 'ligt': did you mean 'light'?"),
        (["light", "-p", "members=3"], "light: expected parameter 'members' from 4 to 200, got 3"),
        (["light"], "expected a new file, got "),
        (["light", "--to", "x.txt"], "expected a file name that ends in .ipynb, got "),
        (["light", "--to", "none/x.ipynb"], "expected a folder to write to, got "),
    ],
)
def test_bad_request_is_one_line(book: Path, exported: Path, words: list[str], said: str) -> None:  # noqa: ARG001
    done = akp(book, "notebook", *words)
    assert done.returncode == 1
    assert done.stderr.startswith(f"akp: {said}"), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_page_without_parameters_is_exported_as_it_is(book: Path) -> None:
    made = export.notebook(pages.load(book).page("bare"), {}, book)
    assert [c.source for c in made.cells if c.cell_type == "code"] == ["1"]


# No kernel from here on.


def given(**changes: Any) -> dict[str, Any]:
    return {"members": 4, "onsets": [0.5], "path": "", "In": ["", "1", "2"], **changes}


def test_settle_finds_the_book_and_the_types(
    book: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export.settle("light", given(onsets="[0.5]", PAPERMILL_INPUT_PATH="x"), str(book)) == {
        "members": 4,
        "onsets": [0.5],
        "path": "",
    }
    assert Path.cwd() == book
    export.settle("light", given(rest=1, In=[""] * 9), str(book))  # run once more in the middle of a session


@pytest.mark.parametrize(
    ("changes", "gone", "said"),
    [
        ({"rest": 1}, "", "unknown parameter 'rest'"),
        ({"members": "4"}, "", "expected an integer for parameter 'members', got '4'"),
        ({}, "onsets", "light has the parameter 'onsets' and this notebook has not; export it again"),
    ],
)
def test_settle_refuses(
    book: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], gone: str, said: str
) -> None:
    monkeypatch.chdir(book)
    values = given(**changes)
    values.pop(gone, None)
    with pytest.raises(AkpError, match=said):
        export.settle("light", values, str(book))


def test_a_book_that_was_moved_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AkpError, match=r"got .* \(/gone, where it was made, is gone\); change to it"):
        export.settle("light", given(), "/gone")


def test_declarations_keep_type_and_value() -> None:
    source = (
        'a: str = "x\\"y"  # text; one of x, x"y\nb: bool = True  # yes\nc: list[str] = ["p=q"]  # names\n'
    )
    parameters = declared(source, "p")
    values = {p.name: p.default for p in parameters}
    written = export.declaration(parameters, values)
    assert {p.name: p.default for p in declared(written, "p")} == values
    assert [p.type for p in declared(written, "p")] == ["str", "bool", "list[str]"]


def test_every_page_of_the_book_is_exported_and_offers_a_command_that_its_parameters_accept() -> None:
    offered = 0
    for page in pages.load(ROOT).pages:
        if not page.parameters:
            continue
        offered += 1
        values = {p.name: p.default for p in page.parameters}
        cell = export.declaration(page.parameters, values)
        assert {p.name: p.default for p in declared(cell, page.name)} == values, page.name
        assert all(line.count("=") == 1 for line in cell.splitlines()), (
            f"{page.name}: papermill cannot read a line"
        )
        words = shlex.split(commands.example(page.name, page.parameters))
        assert words[:4] == ["akp", "run", page.name, "-p"], page.name
        name, _, text = words[4].partition("=")
        changed = check_all(page.parameters, {name: Typed(text)}, page.name)
        assert changed != values, page.name
    assert offered > 20


def test_the_command_reads_back_to_the_same_values() -> None:
    source = (
        "a: list[float] = [0.5]  # x\nb: list[str] = ['t']  # x\nc: str = 's'  # x\nd: bool = False  # x\n"
        "e: float = 0.5  # x\nf: int = 2  # x\n"
    )
    parameters = declared(source, "p")
    asked = {"a": [1e-5, 2.0], "b": ["cnn 4x1", "it's"], "c": "a b=$x", "d": True, "e": 1e-7, "f": 9}
    words = shlex.split(commands.command("p", asked))
    given = dict(word.partition("=")[::2] for word in words[4::2])
    assert check_all(parameters, {n: Typed(t) for n, t in given.items()}, "p") == asked


def test_whole_bounds_are_shown_whole() -> None:
    assert [show(v) for v in (2147483647.0, 0.25, 1e-05, 3.0)] == ["2147483647", "0.25", "1e-05", "3"]


def test_stored_notebooks_are_plain_json(exported: Path) -> None:
    found = json.loads(exported.read_text())
    assert found["metadata"]["kernelspec"]["name"] == "python3"
    assert "akp" not in found["metadata"]
    assert all(not c.get("outputs") for c in found["cells"])
    assert shutil.which("papermill") or PAPERMILL.is_file()
