"""Two editions of a page side by side: a tiny real book, real kernels, the real commands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from akp_book import compare_text, pages
from akp_book.compare import Comparison, compare
from akp_book.compare_sources import pair
from akp_book.compare_tables import Table, difference, number, overlay, tables
from akp_core.errors import AkpError

HEADER = """---
jupytext: {text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
---

# Trial of %s

"""
TRIAL = """```{code-cell} python
:tags: [parameters]
members: int = 4  # networks in each family; from 2 to 9
share: float = 0.5  # of the whole; from 0 to 1
```

```{code-cell} python
:tags: [remove-cell]
from akp_book import page, verdicts
page.begin()
import altair as alt, pandas as pd
from IPython.display import Markdown
from myst_nb import glue
glue("families", 2 * members, display=False)
glue("fixed", "always", display=False)
```

## Rows

{glue:text}`families` families.

```{code-cell} python
page.table(pd.DataFrame({"to": ["tanh", "sine"], "share": [share, 1.0], "n": [3, 3]}))
```

```{code-cell} python
page.table(pd.DataFrame({"member": list(range(members)), "same": 1}))
```

## Charts

```{code-cell} python
alt.Chart(pd.DataFrame({"x": [share, 1.0]})).mark_point().encode(x="x").properties(description="Shares.")
```

```{code-cell} python
alt.Chart(pd.DataFrame({"x": [1, 2]})).mark_point().encode(x="x").properties(description="One and two.")
```

```{code-cell} python
Markdown(f"The share is **{share}** & <more>.")
```

```{code-cell} python
verdicts.show(
    verdicts.Verdict(claim="C1", statement="Shares are large", verdict="yes" if share > 0.4 else "no",
                     tone="yes" if share > 0.4 else "no", effect="share", value=share, low=0.0, high=1.0),
    verdicts.Verdict(claim="C2", statement="Nothing moves", verdict="none", tone="open", effect="none seen"),
)
```
"""


class Book:
    def __init__(self, root: Path) -> None:
        self.root, self.out = root, root / "_build"
        root.mkdir()
        (root / "_config.yml").write_text(
            "title: Tiny\nauthor: A\nsphinx: {extra_extensions: [akp_book.offline], "
            "config: {html_context: {default_mode: auto}, mathjax_path: offline/tex-svg-full.js}}\n"
        )
        (root / "_toc.yml").write_text(
            "format: jb-book\nroot: intro\nchapters: [{file: trial}, {file: other}]\n"
        )
        (root / "intro.md").write_text("# Entry\n")
        (root / "trial.md").write_text(HEADER % "shares" + TRIAL)
        (root / "other.md").write_text(HEADER % "others" + TRIAL)

    def akp(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "akp_book.cli", *words]
        return subprocess.run(
            command, cwd=self.root, capture_output=True, text=True, check=False, timeout=180
        )

    def compared(self, a: str, b: str) -> Comparison:
        return compare(*pair(pages.load(self.root), self.out, a, b))


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Book:
    made = Book(tmp_path_factory.mktemp("compare") / "book")
    asked = [
        ["book"],
        ["run", "trial", "-p", "share=0.25", "-p", "members=6", "--name", "quarter"],
        ["run", "trial", "--name", "plain"],
        ["run", "other", "--name", "elsewhere"],
    ]
    for words in asked:
        done = made.akp(*words)
        assert done.returncode == 0, done.stderr
    return made


def page_of(done: subprocess.CompletedProcess[str]) -> Path:
    return Path(done.stdout.strip().splitlines()[-1].removeprefix("side by side: "))


def test_an_edition_says_what_it_is_and_leads_back(book: Book) -> None:
    page = book.out / "editions/quarter/html/trial.html"
    shown = page.read_text("utf8")
    top = shown[shown.index("<h1>") : shown.index("Parameters of this build")]
    text = re.sub(r"<[^>]+>", "", top)
    assert "Edition quarter" in text
    assert "Edition of trial with the profile classroom, changed: members=6, share=0.25." in " ".join(
        text.split()
    )
    assert "akp run trial -p members=6 -p share=0.25" in " ".join(text.split())
    back = re.search(r'class="akp-back" href="([^"]+)"', top)
    assert back is not None
    assert (page.parent / back[1]).resolve() == book.out / "html/trial.html"
    assert "(edition quarter)</title>" in shown
    assert json.loads((book.out / "editions/quarter/html/run.json").read_text())["edition"] == "quarter"
    plain = (book.out / "editions/plain/html/trial.html").read_text("utf8")
    assert "nothing changed" in plain
    assert "akp-edition" not in (book.out / "html/trial.html").read_text("utf8")


def test_the_pages_command_runs_and_the_table_marks_it(book: Book) -> None:
    shown = (book.out / "html/trial.html").read_text("utf8")
    heads = re.findall(r'<th class="head"><p>(\w+)</p>', shown)
    assert heads[:6] == ["Name", "Type", "Value", "Default", "Allowed", "Meaning"]
    text = re.sub(r"<[^>]+>", "", shown)
    command = next(line for line in text.splitlines() if line.startswith("akp run trial"))
    assert command == "akp run trial -p members=8"
    done = book.akp(*command.split()[1:], "--name", "copied")
    assert done.returncode == 0, done.stderr
    marked = (book.out / "editions/copied/html/trial.html").read_text("utf8")
    assert "<strong>8</strong> (changed)" in marked
    assert "1 of 2 changed" in marked


def test_model_tells_what_differs(book: Book) -> None:
    found = book.compared("quarter", "trial")
    assert (found.a.name, found.b.name, found.a.page) == ("quarter", "the book", "trial")
    assert {(c.name, c.a, c.b, c.default) for c in found.parameters if not c.same} == {
        ("members", 6, 4, 4),
        ("share", 0.25, 0.5, 0.5),
    }
    assert {p.place: (p.a, p.b) for p in found.numbers} == {
        "families": ("12", "8"),
        "fixed": ("always", "always"),
    }
    assert [(p.place, p.same) for p in found.tables] == [("Rows", False), ("Rows", False)]
    assert [(p.place, p.same) for p in found.figures] == [("Charts", False), ("Charts", True)]
    assert [p.same for p in found.sentences] == [False]
    shown = {p.place.split()[0]: p for p in found.verdicts}
    assert shown["C2"].same
    assert shown["C1"].a is not None
    assert shown["C1"].b is not None
    assert (shown["C1"].a.verdict, shown["C1"].b.verdict) == ("no", "yes")


def test_command_prints_and_writes_a_page_that_needs_nothing_else(book: Book) -> None:
    done = book.akp("compare", "quarter", "trial")
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "parameters: 2 of 2 differ" in told
    assert "share A 0.25 B 0.5 default 0.5" in told
    assert "verdicts: 1 of 2 differs" in told
    assert "A no. share: 0.25 (0 to 1)." in told
    assert "families A 12 B 8 -4" in told
    assert "figures: 1 of 2 differs" in told
    file = page_of(done)
    assert file == book.out / "compare/quarter--the-book.html"
    markup = file.read_text("utf8")
    assert markup.count('class="akp-chart"') == 2, "the chart that differs, twice; not the equal one"
    assert markup.count("<svg") >= 2, "drawn before any script runs"
    outside = re.sub(r"<script.*?</script>", "", markup, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?!#|data:|\.\./)([^"]*)"', outside) == []
    assert "@import" not in outside
    links = re.findall(r'href="(\.\./[^"]+)"', outside)
    assert len(links) == 2
    assert all((file.parent / link).is_file() for link in links)
    assert "The share is **0.25** &amp; &lt;more&gt;." in outside
    assert '<i>A</i> 0.250</span><span class="b"><i>B</i> 0.500</span><span class="change">+0.25' in outside
    assert outside.count("(A only)") == 2, "members 4 and 5"
    assert "The verdict changes: no in A, yes in B." in outside
    Balanced().check(outside)


class Balanced(HTMLParser):
    """Fails at a tag that is not closed, or closed twice."""

    def check(self, markup: str) -> None:
        self.open: list[str] = []
        self.feed(markup)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag not in ("meta", "link", "img", "input", "br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_equal_editions_are_said_to_be_equal(book: Book) -> None:
    done = book.akp("compare", "plain", "trial")
    assert done.returncode == 0, done.stderr
    assert "parameters: 2, all equal" in done.stdout
    assert (
        "the very same run: 2 verdicts, 2 numbers, 2 tables, 1 sentence, 2 figures, all equal" in done.stdout
    )
    shown = page_of(done).read_text("utf8")
    assert "Nothing that the two show differs." in shown
    assert 'class="akp-chart"' not in shown


def test_a_folder_that_was_sent_can_be_compared(book: Book, tmp_path: Path) -> None:
    sent = shutil.copytree(book.out / "editions/quarter", tmp_path / "from-a-friend")
    for folder in (sent, sent / "html"):
        done = book.akp("compare", str(folder), "plain", "--to", str(tmp_path / "x.html"))
        assert done.returncode == 0, done.stderr
        assert "A  from-a-friend" in done.stdout
        assert page_of(done) == tmp_path / "x.html"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quarte", "plain"], "unknown edition 'quarte': did you mean 'quarter'? editions here: "),
        (["plain", "triel"], "unknown edition 'triel': did you mean 'trial'? editions here: "),
        (
            ["plain", "plain"],
            "expected two editions, got 'plain' and 'plain', which are the same one; editions here",
        ),
        (["trial", "trial.md"], "expected two editions, got 'trial' and 'trial.md', which are the same one"),
        (
            ["plain", "elsewhere"],
            "expected two editions of one page, got 'plain' of trial and 'elsewhere' of other",
        ),
        (["plain", "."], "expected a folder with a printed edition, got '.', which holds no run.json"),
        (["plain", "intro"], "expected a run of intro in "),
        (["plain", "trial", "--out", "none"], "unknown edition 'plain': did you mean "),
    ],
)
def test_bad_request_is_one_line(book: Book, words: list[str], said: str) -> None:
    done = book.akp("compare", *words)
    assert done.returncode == 1
    if "--out" not in words:
        assert done.stderr.startswith(f"akp: {said}"), done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_no_book_is_told(book: Book, tmp_path: Path) -> None:
    shutil.copytree(book.out / "editions", tmp_path / "editions")
    with pytest.raises(
        AkpError, match=r"expected the book's own run of trial, got no printed book .*; run 'akp book'"
    ):
        pair(pages.load(book.root), tmp_path, "plain", "trial")


@pytest.mark.browser
def test_page_works_in_a_browser_without_a_network(book: Book) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium: install it (Debian: chromium)")
    file, wrong = page_of(book.akp("compare", "quarter", "trial")), []
    with playwright.sync_playwright() as running:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = running.chromium.launch(executable_path=chromium, args=arguments)
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("requestfailed", lambda r: wrong.append(r.url))
        page.goto(file.as_uri())
        ready = "[...document.querySelectorAll('.akp-chart')].every(c => c.dataset.ready === '1')"
        page.wait_for_function(ready)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 1, "wider than a phone"
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.focus("#theme")
        page.keyboard.press("Enter")
        page.wait_for_function(ready)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        browser.close()
    assert wrong == []


# No kernel from here on.


def grid(columns: str, *rows: str) -> Table:
    return Table(tuple(columns.split()), tuple(tuple(row.split()) for row in rows))


def test_rows_are_known_by_as_many_columns_as_it_takes() -> None:
    a = grid("to onset p", "tanh 0.25 0.1", "tanh 0.75 0.2")
    b = grid("to onset p", "tanh 0.75 0.3", "sine 0.25 0.4")
    found = overlay(a, b)
    assert found is not None
    assert found.rows == (
        (("tanh", "0.25", "0.1"), None),
        (("tanh", "0.75", "0.2"), ("tanh", "0.75", "0.3")),
        (None, ("sine", "0.25", "0.4")),
    )
    assert found.differing == 3


def test_rows_of_results_are_taken_in_order() -> None:
    found = overlay(grid("error n", "0.1 3", "0.2 3"), grid("error n", "0.3 3", "0.2001 3"))
    assert found is not None
    assert [a and a[0] for a, _ in found.rows] == ["0.1", "0.2"]
    assert overlay(grid("x", "1", "2"), grid("x", "3")) is None
    assert overlay(grid("x", "1"), grid("y", "1")) is None
    assert overlay(grid("x y", "1 1", "1 1"), grid("x y", "1 1", "1 2")) is not None


@pytest.mark.parametrize(
    ("a", "b", "change"),
    [
        ("0.5", "0.25", "-0.25"),
        ("1,000", "1,500", "+500"),
        ("10%", "12%", "+2"),
        ("none", "0.5", ""),
        ("1", "1", ""),
        ("nan", "1", ""),
    ],
)
def test_numbers_have_a_difference_and_words_have_none(a: str, b: str, change: str) -> None:
    assert difference(a, b) == change


def test_tables_are_read_from_markup() -> None:
    markup = "<p>x</p><table><tr><th>a</th><th>b c</th></tr><tr><td> 1 </td><td><b>2</b>%</td></tr></table>"
    (found,) = tables(markup)
    assert found == Table(("a", "b c"), (("1", "2 %"),))
    assert number("−2 %") == -2


def test_what_only_one_edition_shows_is_told(book: Book) -> None:
    found = book.compared("quarter", "plain")
    a = next(p for p in found.verdicts if p.place.startswith("C1"))
    lonely = Comparison(
        found.a, found.b, found.parameters, found.made, (type(a)(a.place, a.a, None),), (), (), (), ()
    )
    assert "    B  (no such verdict)" in compare_text.lines(lonely)
