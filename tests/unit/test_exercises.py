"""Every chapter's exercises have one form, and every command that the book quotes could be typed today."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from akp_book import pages, quoted
from akp_book.exercises import Exercise, exercises, runs
from akp_core.errors import AkpError

ROOT = Path(__file__).parents[2]
PROJECT = pages.load(ROOT)
PARTS = ("instruments", "theory", "experiments", "neighbours")
CHAPTERS = [
    page for page in PROJECT.pages if page.name.split("/")[1] in PARTS or page.name.endswith("/live-lab")
]
PROSE = [*sorted((ROOT / "book").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FOUND = {page.name: exercises(page.name, page.text) for page in CHAPTERS}
RUNS = [one for found in FOUND.values() for one in found if one.commands]

GOOD = """:::{admonition} Exercise 1. Needs a run: about 2 minutes
:class: tip
Predict, then run

```bash
.venv/bin/akp run book/experiments/when \\
  -p members=4
```
:::
:::{dropdown} Answer
Read it so.
:::
"""


@pytest.mark.parametrize("name", FOUND)
def test_a_chapter_has_two_exercises_or_more_with_folded_answers(name: str) -> None:
    assert len(FOUND[name]) >= 2
    assert all(one.question and one.answer for one in FOUND[name])


@pytest.mark.parametrize("page", CHAPTERS, ids=lambda page: page.name)
def test_exercises_end_a_page(page: pages.Page) -> None:
    headings = [line for line in page.text.splitlines() if line.startswith("## ")]
    assert headings[-1] == "## Exercises"
    behind = page.text.split("## Exercises")[1]
    assert "{code-cell}" not in behind
    assert behind.count("{dropdown}") == len(FOUND[page.name])


def test_three_exercises_or_more_need_a_run_and_most_pages_of_experiments_have_one() -> None:
    assert len(RUNS) >= 3
    there = [page.name for page in CHAPTERS if "/experiments/" in page.name]
    assert len({one.page for one in RUNS} & set(there)) > len(there) / 2


@pytest.mark.parametrize("one", RUNS, ids=lambda one: f"{one.page}-{one.number}")
def test_an_exercise_runs_the_page_that_it_is_on(one: Exercise) -> None:
    assert {words[1] for words in one.commands} == {one.page}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_quoted_command_could_be_typed(path: Path) -> None:
    name = path.relative_to(ROOT).with_suffix("").as_posix()
    page = name if any(one.name == name and one.parameters for one in PROJECT.pages) else ""
    for words in quoted.commands(path.read_text("utf8"), page):
        quoted.check(words, PROJECT)


def test_commands_are_found_wherever_they_stand() -> None:
    text = (
        "Try `akp run\nprinciple -p seed=1`, or `-p seed=2`; not `akp_core`.\n\n"
        "```\nmake book\nAKP_DATA=x .venv/bin/akp parameters when  # all of them\n```\n\n"
        "```bash\nfor s in 1 2; do akp run data -p seed=$s; done\n```\n\n"
        "1. In a list:\n\n   ```bash\n   $ akp run data \\\n     -p 'fields=1' | tee log\n   ```\n\n"
        "```{code-cell} python\nakp = 1\n```\n\n" + GOOD
    )
    assert list(quoted.commands(text, "book/experiments/principle")) == [
        ["run", "principle", "-p", "seed=1"],
        ["run", "book/experiments/principle", "-p", "seed=2"],
        ["parameters", "when"],
        ["run", "data", "-p", "seed=$s"],
        ["run", "data", "-p", "fields=1"],
        ["run", "book/experiments/when", "-p", "members=4"],
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run book/experiments/principel", "did you mean"),
        ("run principle -p membres=4", "membres"),
        ("run principle -p members=three", "an integer"),
        ("run principle -p members=1", "from 4 to 200"),
        ("run principle -p activations=[tanhh]", "tanh"),
        ("run principle --prophile smoke", "prophile"),
        ("run principle --profile smok", "smoke"),
        ("run book/colophon", "run alone"),
        ("runn principle", "run"),
        ("store prun", "prune"),
        ("book -p membres=4", "membres"),
        ("live --network resnet", "cnn"),
        ("run principle -p sead=$seed", "did you mean 'seed'"),
    ],
)
def test_a_stale_command_is_refused(line: str, said: str) -> None:
    with pytest.raises(AkpError, match=said):
        quoted.check(line.split(), PROJECT)


@pytest.mark.parametrize(
    "line",
    [
        "run",
        "live --help",
        "run PAGE -p ...",
        "run principle -p NAME=VALUE",
        "run bring-your-own -p happy=A -p unhappy=B",
        "run principle -p seed=$seed",
        "book --profile mine.yml",
        "store list",
        "book --profile smoke --out _build/x",
        "data fetch cifar10",
    ],
)
def test_what_may_be_quoted(line: str) -> None:
    quoted.check(line.split(), PROJECT)


def test_an_unclosed_quote_is_one_line() -> None:
    with pytest.raises(AkpError, match="that a shell can read"):
        list(quoted.commands("```bash\nakp run data -p 'fields=1\n```\n"))


def test_an_exercise_is_read_whole() -> None:
    (one,) = exercises("book/x", GOOD)
    assert one.commands == (("run", "book/experiments/when", "-p", "members=4"),)
    assert (one.number, one.needs, one.answer) == (1, "about 2 minutes", "Read it so.")


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ("Exercise 1", "Exercise 2", "number them from 1"),
        ("Exercise 1.", "Exercise I.", "another title"),
        (":class: tip\n", "", "another class"),
        (". Needs a run: about 2 minutes", "", "a command"),
        ("about 2 minutes", "for a while", "for a while"),
        ("```bash", "```python", "no command"),
        (":::{dropdown} Answer", "Some words.\n\n:::{dropdown} Answer", "followed by its answer"),
        ("{dropdown} Answer", "{note}", "followed by its answer"),
    ],
)
def test_another_form_is_refused(was: str, becomes: str, said: str) -> None:
    with pytest.raises(AkpError, match=said):
        exercises("book/x", GOOD.replace(was, becomes))


def test_the_teachers_table_has_every_run_with_what_its_page_took() -> None:
    took = pd.Series({RUNS[0].page: 83.4})
    shown = runs(PROJECT, "book/classroom/teaching", took)
    lines = repr(shown).splitlines()
    assert len(lines) == sum(len(one.commands) for one in RUNS)
    assert lines[0].endswith("; 83 s")
    assert lines[-1].endswith("not known")
    markup = shown._repr_html_()
    assert markup.count("#exercises") == len(lines)
    assert 'href="../experiments/principle.html#exercises"' in markup


def test_commands_of_the_teachers_table_can_be_copied() -> None:
    shown = repr(runs(PROJECT, "book/classroom/teaching", pd.Series(dtype=float)))
    typed = "\n".join(line.split(": ", 1)[1].split("; ")[0] for line in shown.splitlines())
    copied = [tuple(words) for words in quoted.commands(f"```bash\n{typed}\n```")]
    assert copied == [words for one in RUNS for words in one.commands]
