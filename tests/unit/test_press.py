"""The press on a tiny real book: real kernels, real Jupyter Book, real failures."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pandas as pd
import pytest
from IPython.display import Markdown

import akp_core
from akp_book import cli, page, pages, profiles, readme, record
from akp_book.build import _edition_name
from akp_book.clean import cleaned
from akp_book.declarations import declared
from akp_book.execute import execute
from akp_book.offline import VegaLite, chart_markup, still
from akp_book.parameters import Parameter, Typed, check_all, table
from akp_book.printing import check_tool, relinked
from akp_core.errors import AkpError

HEADER = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
{more}---

# {title}

"""
CONFIG = """title: Tiny
author: A
only_build_toc_files: true
bibtex_bibfiles: [book/all.bib]
execute: {execute_notebooks: cache}
sphinx:
  extra_extensions: [akp_book.offline]
  config:
    html_context: {default_mode: auto}
    mathjax_path: offline/tex-svg-full.js
"""
EXPERIMENT = """See [the entry](intro.md) and {cite:t}`gower1966`.

```{code-cell} python
:tags: [parameters]
share: float = 0.5  # of the whole; from 0 to 1
seed: int = 3  # root of all seeds
```

```{code-cell} python
import pathlib, sys
runs = pathlib.Path("runs.txt")
runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
print(f"cost: {0} seconds", file=sys.stderr)
print(f"share is {share}")
```
"""


CITED = "@misc{gower1966, author = {Gower, John}, title = {Distance Properties}, year = {1966}}\n"


def cell(code: str) -> str:
    return f"```{{code-cell}} python\n{code}\n```\n"


def make(root: Path, **files: str) -> Path:
    """Write a book of an entry page in prose, one experiment, and a last page."""
    (root / "book").mkdir(parents=True)
    (root / "tiny.yml").write_text("shared: {}\n")
    (root / "_config.yml").write_text(CONFIG)
    (root / "book/all.bib").write_text(CITED)
    chapters = "".join(f"  - file: book/{name}\n" for name in files)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/intro\nchapters:\n{chapters}")
    (root / "book/intro.md").write_text("# Entry\n\nGo to [the experiment](experiment.md).\n")
    for name, text in files.items():
        (root / f"book/{name}.md").write_text(text)
    return root


def experiment(body: str = EXPERIMENT, more: str = "") -> str:
    return HEADER.format(more=more, title="Experiment") + body


LAST = HEADER.format(more="akp:\n  after: all\n", title="Last") + cell(
    "from akp_book import record\nprint(record.sentence())\nrecord.parameters()"
)


class Book:
    """A tiny book and the command run in its folder, with a copy of the library that may be changed."""

    def __init__(self, root: Path) -> None:
        sources = "# References\n\n```{bibliography}\n```\n"
        self.root = make(root / "book", experiment=experiment(), last=LAST, references=sources)
        self.library = root / "library"
        shutil.copytree(Path(akp_core.__file__).parent, self.library / "akp_core")

    def akp(self, *words: str) -> subprocess.CompletedProcess[str]:
        ahead = os.pathsep.join([str(self.library), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": ahead.rstrip(os.pathsep)}
        profile = [] if "--profile" in words else ["--profile", "tiny.yml"]
        command = [sys.executable, "-m", "akp_book.cli", *words, *profile]
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    @property
    def runs(self) -> int:
        return len((self.root / "runs.txt").read_text())

    def state(self) -> dict[str, tuple[int, int]]:
        """Return inode and time of all that is staged or printed, apart from the record of the last build."""
        found = [p for part in ("html", "src") for p in (self.root / "_build" / part).rglob("*")]
        return {
            str(p): (p.stat().st_ino, p.stat().st_mtime_ns)
            for p in found
            if p.is_file() and p.name != "run.json"
        }


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    made = Book(tmp_path_factory.mktemp("press"))
    done = made.akp("book", "--install-seconds", "4")
    assert done.returncode == 0, done.stderr
    assert "environment" in done.stdout
    assert f"The book: {made.root}/_build/html/index.html" in done.stdout
    assert "cost: 0 seconds" in done.stderr, "what the page says of its cost reaches the terminal"
    return made


def html(book: Book, name: str) -> str:
    return (book.root / f"_build/html/book/{name}.html").read_text("utf8")


def test_book_shows_parameters_results_and_origin(book: Book) -> None:
    shown = html(book, "experiment")
    assert "share is 0.5" in shown
    assert "Parameters of this build: as the page declares them" in shown
    assert "of the whole" in shown
    assert "cost: 0 seconds" not in shown, "stderr stays out of the page"
    assert 'class="akp-provenance"' in shown
    assert "Profile tiny" in html(book, "intro")
    assert 'rel="icon"' in (book.root / "_build/html/index.html").read_text("utf8"), (
        "else the browser asks for one"
    )
    assert 'href="intro.html"' in shown
    assert 'href="experiment.html"' in html(book, "intro")
    found = json.loads((book.root / "_build/html/run.json").read_text())
    assert found["seeds"] == {"book/experiment": 3}
    assert [one["page"] for one in found["pages"]] == ["book/experiment", "book/last"]
    assert found["build"]["peak_bytes"] > 50e6
    assert "run with the profile tiny" in html(book, "last").replace("**", "")
    assert "sphinx-thebe.js" not in shown
    assert "THEBE_JS_URL" not in shown
    assert "vega" not in shown, "a page without a chart carries no chart library"


def test_nothing_changed_keeps_everything(book: Book) -> None:
    runs, before = book.runs, (book.root / "_build/html/book/experiment.html").stat()
    done = book.akp("book")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("kept") == 3
    after = (book.root / "_build/html/book/experiment.html").stat()
    assert (book.runs, after.st_ino, after.st_mtime_ns) == (runs, before.st_ino, before.st_mtime_ns)


def test_parameter_reruns_only_what_it_changes_in_an_edition(book: Book) -> None:
    runs, before = book.runs, book.state()
    done = book.akp("run", "experiment", "-p", "share=0.25")
    assert done.returncode == 0, done.stderr
    shown = book.root / "_build/editions/experiment-tiny-share-0.25/html"
    assert f"The book: {shown}/index.html" in done.stdout
    text = (shown / "book/experiment.html").read_text("utf8")
    assert "share is 0.25" in text
    assert "1 of 2 changed" in text
    assert 'href="references.html#' in text, "what an edition cites can be looked up in it"
    assert "Distance properties" in (shown / "book/references.html").read_text("utf8")
    assert book.runs == runs + 1
    assert book.state() == before, "the book itself is untouched"


def test_changed_source_reruns(book: Book) -> None:
    runs = book.runs
    source = book.library / "akp_core/errors.py"
    text = source.read_text()
    source.write_text(text + "\n# changed\n")
    try:
        assert book.akp("run", "experiment", "--name", "again").returncode == 0
        assert book.runs == runs + 1
    finally:
        source.write_text(text)


def test_editions_of_other_parameters_have_other_names() -> None:
    page = pages.Page("book/experiments/principle", Path("page.md"), "", True, (), ())
    asked = [{"members": n, "activations": [*"abcdefghijklmnopqrstuvwxyz"]} for n in (8, 9)]
    names = [_edition_name(page, profiles.DEFAULT, one) for one in (*asked, {}, {"path": "../a b/c.npz"})]
    names.append(_edition_name(page, "smoke", {}))
    assert len(set(names)) == 5
    assert names[2:] == ["principle", "principle-path-..-a-b-c.npz", "principle-smoke"]
    assert all(len(name) <= 60 and "/" not in name for name in names)


def test_an_answer_of_the_core_on_a_page_is_one_line(book: Book) -> None:
    page = book.root / "book/experiment.md"
    text = page.read_text()
    page.write_text(text + "\n" + cell("from akp_core.palette import activation\nactivation('rleu')"))
    try:
        done = book.akp("run", "experiment")
    finally:
        page.write_text(text)
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if not line.startswith("running")]
    assert told[0].strip() == "experiment: cost: 0 seconds"
    assert len(told) == 2
    assert "akp: book/experiment: unknown activation 'rleu': did you mean 'relu'? valid: gelu" in told[1]


def test_failing_page_leaves_the_book_as_it_was(book: Book) -> None:
    before, page = book.state(), book.root / "book/experiment.md"
    text = page.read_text()
    page.write_text(text + "\n" + cell("rest = share - 0.5\nprint(1 / rest)"))
    try:
        done = book.akp("book")
    finally:
        page.write_text(text)
    assert done.returncode == 1
    assert (
        "akp: book/experiment failed in code cell 3: ZeroDivisionError: float division by zero" in done.stderr
    )
    assert "| rest = share - 0.5" in done.stderr
    assert "> ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr.replace("Traceback (most recent call last)\n", "")
    assert (book.root / "_build/failed/book.experiment.ipynb").is_file()
    assert book.state() == before
    assert "papermill" not in (done.stdout + done.stderr).lower()


def test_warning_of_the_printer_leaves_the_book_as_it_was(book: Book) -> None:
    before = {path: where for path, where in book.state().items() if "/html/" in path}
    page = book.root / "book/intro.md"
    text = page.read_text()
    page.write_text(text + "\n[nowhere](nowhere.md)\n")
    try:
        done = book.akp("book")
    finally:
        page.write_text(text)
    assert done.returncode == 1
    assert "could not be printed" in done.stderr
    assert "nowhere.md" in done.stderr
    assert {path: where for path, where in book.state().items() if "/html/" in path} == before


def test_chart_without_description_is_refused(tmp_path: Path) -> None:
    chart = "from akp_book import page\npage.begin()\nimport altair as alt, pandas as pd\n"
    chart += "alt.Chart(pd.DataFrame({'x': [1, 2]})).mark_point().encode(x='x')"
    made = Book.__new__(Book)
    made.root, made.library = make(tmp_path, experiment=experiment(cell(chart))), tmp_path / "none"
    done = made.akp("book")
    assert done.returncode == 1
    assert "chart without a description" in done.stderr


def test_chart_is_a_described_picture_with_its_specification() -> None:
    rows = [{"x": 1, "t": "</script>"}, {"x": 2, "t": "b"}]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": 'Two "points".',
        "data": {"values": rows},
        "mark": {"type": "point", "clip": True},
        "encoding": {"x": {"field": "x", "type": "quantitative"}},
    }
    data = SimpleNamespace(mime_type="application/vnd.vegalite.v6+json", content=spec, line=1)
    (node,) = VegaLite.handle_mime(None, data, False) or ()
    markup = node.astext()
    assert markup.count('aria-label="Two &quot;points&quot;."') >= 2
    assert markup.count("</script>") == 1, "data must not end the script"
    held = re.search(r'class="akp-spec">(.*?)</script>', markup)
    assert held is not None
    assert json.loads(held[1]) == spec
    names = re.findall(r'id="([^"]+)"', markup)
    assert names
    assert all(f"url(#{name})" in markup for name in names)
    assert still(spec) == still(spec), "the same chart is the same bytes"
    other = chart_markup(spec, "", still({**spec, "data": {"values": rows[:1]}}))
    assert not set(names) & set(re.findall(r'id="([^"]+)"', other)), "pictures on a page share no identifier"
    assert VegaLite.handle_mime(None, SimpleNamespace(mime_type="text/html"), False) is None


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    styled = cell("import pandas as pd\npd.DataFrame({'a': [1]}).style")
    root = make(tmp_path, experiment=experiment(EXPERIMENT + styled))
    page = pages.load(root).page("experiment")
    first, second = (execute(page, {"share": 1.0, "seed": 3}, root, tmp_path / name) for name in ("a", "b"))
    assert json.dumps(first.notebook) == json.dumps(second.notebook)
    assert [c.metadata.get("tags") for c in first.notebook.cells if "parameters" in str(c.metadata)] == [
        ["parameters", "remove-input"],
        ["injected-parameters", "remove-input"],
    ]
    assert "1 of 2 changed" in str(first.notebook)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ["run", "experimnt"],
            1,
            "unknown page 'experimnt': did you mean 'experiment'? valid: experiment, intro, last",
        ),
        (["run", "intro"], 1, "expected a page that can run alone, got 'book/intro', which has no code"),
        (
            ["run", "experiment", "-p", "shar=1"],
            1,
            "book/experiment: unknown parameter 'shar': did you mean 'share'?",
        ),
        (
            ["run", "experiment", "-p", "share=2"],
            1,
            "book/experiment: expected parameter 'share' from 0 to 1, got 2",
        ),
        (["run", "experiment", "-p", "share"], 1, "expected -p name=value, got 'share'"),
        (["run", "experiment", "--name", "../x"], 1, "expected an edition name"),
        (["book", "-p", "sed=1"], 1, "unknown parameter 'sed': did you mean 'seed'? valid: seed, share"),
        (["book", "--profile", "clasroom"], 1, "unknown profile 'clasroom': did you mean 'classroom'?"),
        (["book", "--ou", "x"], 2, "No such option"),
        (["book", "--out", "runs.txt"], 1, "expected a folder to build in, got the file"),
    ],
)
def test_bad_request_is_one_line(
    book: Book,
    words: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = book.state()
    monkeypatch.chdir(book.root)
    with pytest.raises(SystemExit) as stopped:
        cli.main(words if "--profile" in words else [*words, "--profile", "tiny.yml"])
    told = capsys.readouterr().err
    assert stopped.value.code == code
    assert said in told
    assert len(told.strip().splitlines()) == 1
    assert told.startswith("akp: ")
    assert book.state() == before


def test_the_readme_takes_its_table_from_the_printed_page(tmp_path: Path) -> None:
    cells = pd.DataFrame(
        [("tanh @ 25%", t, 0.2, 0.1, 0.5, 0.25, 0.75, 0.01, "anti-AKP") for t in ("block1", "features")],
        columns=["family", "tap", "error", "control_error", "ratio", "low", "high", "p_value", "verdict"],
    )
    build = tmp_path / "_build"
    (build / "html").mkdir(parents=True)
    source = build / "src" / f"{readme.PAGE}.ipynb"
    source.parent.mkdir(parents=True)
    shown = nbformat.v4.new_output(
        "display_data", data={"text/html": page.download(cells, "verdicts.csv")._repr_html_()}
    )
    cell_ = nbformat.v4.new_code_cell("", outputs=[shown])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell_]), source)
    entry = {"page": readme.PAGE, "parameters": {"members": {"value": 7}}, "seconds": 90.0}
    run = {"pages": [entry], "versions": {"torch": "9"}, "machine": {"cores": 3, "device": "box"}}
    (build / "html/run.json").write_text(json.dumps(run))
    (build / "cold.json").write_text(json.dumps({"seconds": 90.0}))
    target = tmp_path / "README.md"
    target.write_text(f"before\n{readme.BEGIN}\nstale words\n{readme.END}\nafter\n")
    (tmp_path / "book").mkdir()
    readme.write(tmp_path, build)
    text = target.read_text()
    assert "| tanh @ 25% | 20.0% | 0.50 (0.25 to 0.75) | 0.010 | anti-AKP |" in text
    assert "14 networks, 7 a family" in text
    assert "whole book 1.5 min on 3 cores" in text
    assert "stale" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert (tmp_path / "book/figures/verdicts.svg").read_text().startswith("<svg")
    target.write_text("no marks")
    with pytest.raises(AkpError, match=r"expected the marks .* in README\.md"):
        readme.write(tmp_path, build)
    (build / "cold.json").unlink()
    with pytest.raises(AkpError, match="expected a book of which no page was kept"):
        readme.write(tmp_path, build)
    with pytest.raises(AkpError, match=r"expected a printed book in .*nowhere, found none; run"):
        readme.write(tmp_path, tmp_path / "nowhere")


def test_other_jupyter_book_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.1.7")
    with pytest.raises(
        AkpError, match=r"expected jupyter-book 1.x, got 2.1.7; install the pinned requirements.txt"
    ):
        check_tool()


def test_parameters_are_listed(book: Book) -> None:
    done = book.akp("parameters")
    assert done.returncode == 0
    assert "share: float = 0.5  # of the whole; from 0 to 1" in done.stdout


# The rest starts no kernel.


def project(tmp_path: Path, **files: str) -> pages.Project:
    return pages.load(make(tmp_path / "b", **(files or {"experiment": experiment()})))


def test_profile_reaches_the_pages_that_declare_the_name(tmp_path: Path) -> None:
    file = tmp_path / "own.yml"
    file.write_text("shared: {share: 0.75}\npages: {experiment: {seed: 9}}\n")
    found = profiles.settle(project(tmp_path), str(file), {"share": Typed("1")})
    assert found["book/experiment"] == {"share": 1.0, "seed": 9}
    assert found["book/intro"] == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shared: {shar: 1}", "unknown shared parameter 'shar': did you mean 'share'"),
        ("pages: {experimnt: {share: 1}}", "unknown page 'experimnt': did you mean 'experiment'"),
        ("pages: {experiment: {qq: 1}}", "book/experiment: unknown parameter 'qq'"),
        ("shard: {q: 1}", "unknown section of profile .* 'shard': did you mean 'shared'"),
        ("shared: {share: much}", "expected a number for parameter 'share', got 'much'"),
        ("shared: [1]", "to hold 'shared:' and 'pages:' tables"),
    ],
)
def test_profile_with_a_fault_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "own.yml"
    file.write_text(text)
    with pytest.raises(AkpError, match=said):
        profiles.settle(project(tmp_path), str(file), {})


def test_shipped_profiles_are_read() -> None:
    assert profiles.names() == ["classroom", "grid", "paper", "published", "smoke"]
    for name in profiles.names():
        assert set(profiles.load(name)) == {"shared", "pages"}


DECLARED = declared(
    "members: int = 10  # members in each family; from 4 to 200\n"
    "onsets: list[float] = [0.25, 0.6]  # when a stress sets in, as a share; each from 0 to 1\n"
    "dataset: str = 'nuclei'  # which images; one of nuclei, digits, arrays\n"
    "rate: float = 0.05  # learning rate; at least 1e-5\n"
    "reset: bool = False  # forget the optimiser\n"
    "# a line of its own\n"
    "widths: list[int] = [8]  # sizes; each one of 8, 16\n"
    "path: str = ''  # a file of your own for dataset=arrays\n",
    "p",
)


def test_declarations_are_read() -> None:
    assert DECLARED[0] == Parameter("members", "int", 10, "members in each family", 4, 200)
    assert [p.allowed for p in DECLARED] == [
        "from 4 to 200",
        "each from 0 to 1",
        "one of nuclei, digits, arrays",
        "at least 1e-05",
        "",
        "each one of 8, 16",
        "",
    ]


def test_values_are_read_in_their_type() -> None:
    typed = {
        "rate": "1e-3",
        "onsets": "[0, 1e-1]",
        "dataset": "digits",
        "reset": "true",
        "path": "10",
        "widths": "[16]",
    }
    values = check_all(DECLARED, {name: Typed(text) for name, text in typed.items()}, "p")
    assert values == {
        "members": 10,
        "rate": 1e-3,
        "onsets": [0.0, 0.1],
        "dataset": "digits",
        "reset": True,
        "path": "10",
        "widths": [16],
    }
    assert isinstance(check_all(DECLARED, {"rate": 1}, "p")["rate"], float)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "member",
            "4",
            "unknown parameter 'member': did you mean 'members'? valid: dataset, members, onsets",
        ),
        ("members", "true", "expected an integer for parameter 'members', got True; its default is 10"),
        ("members", "4.5", "expected an integer for parameter 'members', got 4.5"),
        ("members", "3", "expected parameter 'members' from 4 to 200, got 3"),
        ("members", "201", "expected parameter 'members' from 4 to 200, got 201"),
        ("members", "[", "expected an integer for parameter 'members', got '['"),
        ("rate", "0", "expected parameter 'rate' at least 1e-05, got 0"),
        ("rate", ".nan", "expected a finite number for parameter 'rate', got nan"),
        ("reset", "1", "expected true or false for parameter 'reset', got 1"),
        ("dataset", "nucli", "unknown value of parameter 'dataset', 'nucli': did you mean 'nuclei'?"),
        ("onsets", "0.3", "expected a list for parameter 'onsets', got 0.3; write -p onsets='[0.3]'"),
        ("onsets", "[0.3, 2]", "expected parameter 'onsets' each from 0 to 1, got 2"),
        ("onsets", "[a]", "expected a number for each item of parameter 'onsets', got 'a'"),
        ("onsets", "[0.3, 0.3]", "expected each item of parameter 'onsets' once, got 0.3 twice"),
        ("widths", "[9]", "unknown value of parameter 'widths', 9"),
    ],
)
def test_unfit_value_is_told_in_one_line(name: str, value: str, said: str) -> None:
    with pytest.raises(AkpError) as caught:
        check_all(DECLARED, {name: Typed(value)}, "page")
    assert str(caught.value).startswith(f"page: {said}")
    assert "\n" not in str(caught.value)


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(AkpError) as caught:
        check_all(DECLARED, {"members": Typed("1"), "rat": Typed("1")}, "p")
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("n = 3  # how many", "expected 'name: TYPE = VALUE"),
        ("n: int = 3", "expected a comment that says what 'n' is"),
        ("n: number = 3  # how many", "unknown type 'number'"),
        ("n: int = 3  # how many; form 4 to 5", "expected a constraint such as"),
        ("n: int = 3  # how many; from 4 to 5", "expected parameter 'n' from 4 to 5, got 3"),
        ("n: int = 'x'  # how many", "expected an integer for parameter 'n'"),
        ("n: int = f(3)  # how many", "expected a literal value"),
        ("n: str = 'x'  # text; at least 3", "expected a constraint such as .* got 'at least 3'"),
        ("n: int = 3  # a\nn: int = 4  # b", "'n' is declared twice"),
        ("import os", "expected 'name: TYPE = VALUE"),
        ("n: int =", "is not Python"),
    ],
)
def test_unclear_declaration_is_an_error_of_the_page(line: str, said: str) -> None:
    with pytest.raises(AkpError, match=said) as caught:
        declared(line, "page")
    assert str(caught.value).startswith("page: ")


def test_table_marks_what_was_changed() -> None:
    written = table(DECLARED, check_all(DECLARED, {"members": 20}, "p"))
    assert "1 of 7 changed" in written
    assert "| `members` | int | **20** (changed) | 10 | from 4 to 200 | members in each family |" in written


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# A\n\n" + cell("1"), "has code cells but its header names no kernel"),
        ("---\nkernelspec: {name: python3}\n---\n# A\n", "names a kernel but not the format"),
        (experiment().replace("name: python3", "name: julia"), "kernelspec name python3, got 'julia'"),
        (experiment(EXPERIMENT * 2), "one cell tagged 'parameters', got 2"),
        (experiment(more="akp: {afetr: all}\n"), "header 'akp: {after"),
        (experiment(more="akp: {after: [experimnt]}\n"), "unknown page 'experimnt'"),
        (experiment(more="akp: {after: [experiment]}\n"), "pages wait for each other"),
        ("---\na: [\n---\n# A\n", "its header is not YAML"),
    ],
)
def test_page_with_a_fault_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(AkpError, match=said):
        project(tmp_path, experiment=text)


def test_missing_page_is_told(tmp_path: Path) -> None:
    root = make(tmp_path / "b", experiment=experiment())
    (root / "book/experiment.md").unlink()
    with pytest.raises(AkpError, match=r"the page book/experiment.md that _toc.yml names, got no such file"):
        pages.load(root)


def test_pages_run_after_those_they_follow(tmp_path: Path) -> None:
    first = experiment(more="akp:\n  after: [book/experiment]\n")
    found = project(tmp_path, last=LAST, summary=first, experiment=experiment())
    assert [p.name for p in found.running_order()] == ["book/experiment", "book/summary", "book/last"]


def test_links_follow_the_pages_that_were_run() -> None:
    text = "[a](../x/run.md#part) [b](prose.md) [c](run.md) `x`"
    executed = ["book/x/run", "book/y/run"]
    assert (
        relinked(text, "book/y/here", executed) == "[a](../x/run.ipynb#part) [b](prose.md) [c](run.ipynb) `x`"
    )


def test_record_speaks_when_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKP_BUILD", str(tmp_path))
    assert record.read() == {}
    assert "There is no record of the runs" in record.sentence()
    for frame in (record.pages(), record.parameters(), record.versions(), record.machine()):
        assert len(frame) == 0
        assert len(frame.columns) >= 2


def test_charts_are_stored_for_the_book_and_live_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from akp_book import page

    for name in (*page.LIVE_FRONT_ENDS, "AKP_BOOK", "SERVER_SOFTWARE"):
        monkeypatch.delenv(name, raising=False)
    assert not page.live()
    monkeypatch.setenv("JPY_SESSION_NAME", "x.ipynb")
    assert page.live()
    monkeypatch.setenv("AKP_BOOK", "1")
    assert not page.live()


def test_a_table_tells_small_numbers_and_zeros_apart() -> None:
    from akp_book import page

    frame = pd.DataFrame({"p": [0.0412, 4e-06, 0.0], "effect": [-0.0001, -1e-17, 2.0]})
    shown: Any = page.table(frame)
    cells = re.findall(r"<td>(.*?)</td>", shown._repr_html_())
    assert cells == ["0.041", "-1e-04", "4e-06", "0.000", "0.000", "2.000"]


def test_an_empty_sentence_is_not_shown() -> None:
    empty, full = Markdown(""), Markdown("A *sentence*.")
    cell = nbformat.v4.new_code_cell(
        outputs=[
            nbformat.v4.new_output("display_data", data={"text/plain": repr(one), "text/markdown": one.data})
            for one in (empty, full)
        ]
    )
    of = pages.Page("book/page", Path("page.md"), "", True)
    done = cleaned(nbformat.v4.new_notebook(cells=[cell]), of, {})
    assert [output.data["text/markdown"] for output in done.cells[0].outputs] == ["A *sentence*."]


def test_cards_escape_and_have_text() -> None:
    from akp_book import page

    shown: Any = page.cards(page.card("AKP", "a < b", label="tap", tone="yes"))
    assert "a &lt; b" in shown._repr_html_()
    assert repr(shown) == "tap: AKP. a < b"
