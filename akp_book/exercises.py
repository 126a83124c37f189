"""The exercises of the pages: what each asks, what its folded answer says, and which runs it needs.

All have one form, so that a reader knows where the answer is, and a teacher what a class will cost::

    :::{admonition} Exercise 2. Needs a run: about a minute
    :class: tip
    Predict ..., then run: (a code block with the command)
    :::
    :::{dropdown} Answer
    How to read the outcome, whichever way it goes.
    :::
"""

from __future__ import annotations

import html
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from markdown_it.token import Token

from akp_book import quoted
from akp_book.page import Shown
from akp_book.pages import Project
from akp_core.errors import expected

RUN = re.compile(r"^Needs a run: (less than a minute|about (a|\d+) minutes?)$")
LAB = "In the live lab"
WRAP = "display: block; min-width: 30em; white-space: normal"
FORM = ":::{admonition} Exercise 1, with ':class: tip'"


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    page : str
        Name of the page.
    number : int
        Counted from 1 on each page.
    needs : str
        ``about a minute`` and the like where it needs a run, ``In the live lab``, or empty.
    question, answer : str
        Markdown.
    commands : tuple of tuple of str
        What to run: the words after ``akp``.
    """

    page: str
    number: int
    needs: str
    question: str
    answer: str
    commands: tuple[tuple[str, ...], ...] = ()


def exercises(page: str, text: str) -> tuple[Exercise, ...]:
    """Read the exercises of a page, and check their form.

    Parameters
    ----------
    page : str
        Its name.
    text : str
        Its Markdown.

    Raises
    ------
    AkpError
        For an exercise out of order, without the class ``tip`` or without an answer right behind it; for one
        with a command that is not marked as needing a run, or the reverse.
    """
    found: list[Exercise] = []
    blocks = [token for token in quoted.tokens(text) if token.type != "inline"]
    for k, token in enumerate(blocks):
        if token.type not in ("fence", "colon_fence"):
            continue
        name, title, question = quoted.directive(token)
        if name != "admonition" or not title.startswith("Exercise"):
            continue
        where = f"{page}, {title!r}"
        number, needs = _title(where, title)
        if number != len(found) + 1:
            raise expected(f"{where} to be exercise {len(found) + 1}", str(number), "number them from 1")
        if not re.search(r"^:class: tip$", token.content, flags=re.MULTILINE):
            raise expected(f"{where} in the form {FORM}", "another class")
        commands = tuple(tuple(words) for words in quoted.commands(question) if words[:1] == ["run"])
        if bool(commands) != bool(needs and needs != LAB):
            came = "a command" if commands else "no command"
            raise expected(f"{where} to say 'Needs a run: about a minute' exactly if it has one", came)
        answer = _answer(blocks[k + 1]) if k + 1 < len(blocks) else ""
        if not answer:
            raise expected(f"{where} followed by its answer", "none", "write :::{dropdown} Answer behind it")
        found.append(Exercise(page, number, needs, question.strip(), answer, commands))
    return tuple(found)


def _title(where: str, title: str) -> tuple[int, str]:
    match = re.fullmatch(r"Exercise(?: (\d+))?(?:\. (.+))?", title)
    if match is None:
        raise expected(f"{where} in the form {FORM}", "another title")
    number = int(match[1] or 1)  # the only one of a page needs none
    if match[2] in (None, LAB):
        return number, match[2] or ""
    run = RUN.fullmatch(match[2])
    if run is None:
        raise expected(f"{where} to say 'Needs a run: about 2 minutes' or {LAB!r}", repr(match[2]))
    return number, run[1]


def _answer(token: Token) -> str:
    """The content of a folded answer; empty for any other block."""
    if token.type not in ("fence", "colon_fence"):
        return ""
    name, title, content = quoted.directive(token)
    return content.strip() if (name, title) == ("dropdown", "Answer") else ""


def runs(project: Project, here: str, seconds: pd.Series) -> Shown:
    """Show every exercise of the book that needs a run, with what its page took as a measure.

    Parameters
    ----------
    project : Project
        The book.
    here : str
        Name of the page that shows the table, for the links.
    seconds : Series
        What each page took in this build, by its name; empty if that is not known.
    """
    rows, told = [], []
    for page in project.pages:
        for one in exercises(page.name, page.text):
            for words in one.commands:
                link = f"{os.path.relpath(page.name, Path(here).parent)}.html#exercises"
                took = f"{seconds[page.name]:.0f} s" if page.name in seconds else "not known"
                typed = " ".join(["akp", *map(_typed, words)])
                where = f'<a href="{html.escape(link)}">{html.escape(page.title)}</a>, {one.number}'
                code = f'<code style="{WRAP}">{html.escape(typed)}</code>'
                cells = (where + code, one.needs, took)
                rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
                told.append(f"{page.title}, {one.number}: {typed}; {one.needs}; {took}")
    head = "".join(f"<th>{name}</th>" for name in ("exercise and command", "it says", "its page took"))
    table = f'<table class="dataframe akp-table"><thead><tr>{head}</tr></thead>'
    table += f"<tbody>{''.join(rows)}</tbody></table>"
    return Shown(f'<div class="akp-table-box" tabindex="0">{table}</div>', "\n".join(told))


def _typed(word: str) -> str:
    """Quote a word for a shell; a list keeps its name outside the quotes."""
    name, sign, value = word.partition("=")
    plain = re.fullmatch(r"[\w./-]*", value) is not None
    return word if plain or not sign else f"{name}='{value}'"
