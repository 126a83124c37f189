"""Verdicts on claims: what a card says, and how the first page comes by all of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from akp_book import pages, profiles, verdicts
from akp_book.pages import Page
from akp_book.parameters import Typed
from akp_book.running import Run
from akp_book.verdicts import Verdict
from akp_core.errors import AkpError
from tests.unit.test_press import HEADER, cell, make

GOOD: dict[str, Any] = {
    "claim": "C2",
    "statement": "Less general networks vary more",
    "verdict": "anti-AKP",
    "tone": "no",
    "effect": "ratio of dispersions",
    "value": 0.5,
    "low": 0.25,
    "high": 0.75,
    "p_value": 0.004,
    "members": 10,
    "null": "networks permuted",
}


def test_a_card_says_all_that_was_found_and_carries_it() -> None:
    shown = verdicts.show(Verdict(**GOOD), Verdict("T1", "a < b", "holds", "yes", "bound", members="8 + 8"))
    bundle, beside = shown._repr_mimebundle_()
    assert str(bundle["text/plain"]).splitlines() == [
        "C2, Less general networks vary more: anti-AKP. "
        "ratio of dispersions: 0.5 (0.25 to 0.75); p = 0.004; 10 networks; null: networks permuted.",
        "T1, a < b: holds. bound; 8 + 8.",
    ]
    assert "a &lt; b" in str(bundle["text/html"])
    assert [Verdict(**v) for v in json.loads(json.dumps(beside[verdicts.KEY]))] == list(shown.verdicts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tone": "yess"}, "unknown tone of a verdict 'yess': did you mean 'yes'? valid: "),
        ({"claim": " "}, "expected words for the claim of a verdict, got ' '"),
        ({"value": float("nan")}, "expected a finite value or None in the verdict on C2, got nan"),
        ({"low": None}, "expected both ends of the interval in the verdict on C2, got one of them"),
        ({"low": 3.0, "high": 1.0}, "expected low below high in the verdict on C2, got 3 and 1"),
        ({"p_value": 1.5}, "expected p_value from 0 to 1 in the verdict on C2, got 1.5"),
    ],
)
def test_an_unfit_verdict_is_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(AkpError) as caught:
        Verdict(**GOOD | change)
    assert str(caught.value).startswith(said)


def test_only_verdicts_are_shown() -> None:
    with pytest.raises(AkpError, match=r"expected verdicts to show, got str; make each with"):
        verdicts.show("AKP")  # type: ignore[arg-type]


def test_nothing_is_collected_without_the_press(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(verdicts.EARLIER, raising=False)
    assert verdicts.collected() == []


JUDGES = HEADER.format(more="", title="Judges") + (
    "```{code-cell} python\n:tags: [parameters]\nvalue: float = 0.5  # the effect; from 0 to 1\n```\n"
    + cell(
        "from akp_book import verdicts\n"
        "verdicts.show(verdicts.Verdict('C2', 'They vary', 'AKP', 'yes', 'ratio', value))"
    )
)
COLLECTS = HEADER.format(more="akp:\n  after: [book/judges]\n", title="Collects") + cell(
    "from akp_book import verdicts\n"
    "print([(page, v.claim, v.value) for page, v in verdicts.collected()] or 'nothing yet')"
)


def test_the_first_page_collects_what_this_book_found_and_no_edition(tmp_path: Path) -> None:
    make(tmp_path, collects=COLLECTS, judges=JUDGES)
    (tmp_path / "book/intro.md").write_text("# Entry\n")
    project, profile, out = pages.load(tmp_path), str(tmp_path / "tiny.yml"), tmp_path / "_build"

    def ran(name: str, order: Sequence[Page], **options: str) -> str:
        """Run pages as a book and an edition do, but print nothing; return one of them."""
        asked = {option: Typed(value) for option, value in options.items()}
        of_all = Run(project, profile, profiles.settle(project, profile, asked), out)
        for page in order:
            of_all.page(page)
        return of_all.executed[name].read_text("utf8")

    judges = project.page("judges")
    assert "ratio: 0.5." in ran("book/judges", [judges])
    assert "ratio: 0.75." in ran("book/judges", [judges], value="0.75"), "an edition, the newest there is"
    assert "[('book/judges', 'C2', 0.5)]" in ran("book/collects", project.running_order())
    (tmp_path / "tiny.yml").write_text("shared: {value: 0.25}\n")
    assert "[('book/judges', 'C2', 0.25)]" in ran("book/collects", project.running_order())


def test_the_glance_links_every_verdict_to_its_page() -> None:
    found = [
        ("book/instruments/data", Verdict("T10", "late", "holds", "yes", "slope", -1)),
        ("book/instruments/data", Verdict("T9", "early", "holds", "yes", "slope", -1)),
        ("book/claim", Verdict(**GOOD)),
        ("book/claim", Verdict(**GOOD | {"verdict": "<none>", "tone": "open"})),
    ]
    shown = verdicts.glance(found, "book/claim")
    markup = shown._repr_html_()
    assert [line.split(",")[0] for line in repr(shown).splitlines()] == ["C2", "C2", "T9", "T10"]
    assert markup.count("<strong>C2</strong>") == 1, "a claim is named once"
    assert '<a href="instruments/data.html">The data</a>' in markup
    assert "&lt;none&gt;" in markup
