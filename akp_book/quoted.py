"""The commands ``akp ...`` that prose quotes, read from the pages and checked against the real thing.

A command in a book outlives the option that it names, and the reader is the first to find out. So every
command is taken from the text as a reader would copy it and goes through what the shell, click and the press
would do with it, short of running: the words, the options, the page, every parameter's name, type and range.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import click
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.front_matter import front_matter_plugin

from akp_book import profiles
from akp_book.pages import Project
from akp_core.errors import AkpError, expected, unknown_name

PLACEHOLDERS = ("PAGE", "NAME", "A", "B", "FOLDER", "NAME=VALUE", "...", "…", "mine.yml")
"""Words that stand for one of the reader's own; what they stand for cannot be checked."""

SHELLS = ("", "bash", "sh", "shell", "console", "text")
_MARKDOWN = MarkdownIt("commonmark").use(front_matter_plugin).use(colon_fence_plugin)
_FENCES = ("fence", "colon_fence", "code_block")
_OPTION = re.compile(r"\A(?:[ \t]*:[\w-]+:.*(?:\n|\Z))+")
_LOOP = re.compile(r"for\s.*?;\s*do\s+")
_VARIABLE = re.compile(r"\$\{?\w+")
_ENDS = re.compile(r"[();<>|&]+")


def tokens(text: str) -> list[Token]:
    """Parse Markdown whose directives may be fenced by backticks or by colons."""
    return _MARKDOWN.parse(text)


def directive(token: Token) -> tuple[str, str, str]:
    """Split a fenced block.

    Parameters
    ----------
    token : Token
        From `tokens`.

    Returns
    -------
    tuple of str
        Name of the directive or language, its title, its content without options.
    """
    name, _, title = token.info.strip().partition(" ")
    if not name.startswith("{"):
        return name, title.strip(), token.content
    return name.strip("{}"), title.strip(), _OPTION.sub("", token.content)


def commands(text: str, page: str = "") -> Iterator[list[str]]:
    """Yield every command ``akp`` that a text quotes, in code blocks and in the running text.

    Parameters
    ----------
    text : str
        Markdown.
    page : str
        Name of the page, to which options that are quoted alone (``-p members=20``) belong. Without it they
        are left out.

    Yields
    ------
    list of str
        The words after ``akp``, as a shell would pass them.
    """
    for token in tokens(text):
        if token.type in _FENCES:
            name, _, content = directive(token)
            if token.info.strip().startswith("{"):
                if name != "code-cell":
                    yield from commands(content, page)
            elif name in SHELLS:
                for line in content.replace("\\\n", " ").splitlines():
                    yield from _of_line(line)
        for child in token.children or ():
            if child.type == "code_inline":
                yield from _of_line(child.content)
                if page and child.content.startswith("-p "):
                    yield from _of_line(f"akp run {page} {child.content}")


def _of_line(line: str) -> Iterator[list[str]]:
    """Read one line of a shell, if ``akp`` is what it starts."""
    line = _LOOP.sub("", line.strip().lstrip("$!%").strip())
    if re.match(r"(\w+=\S*\s+)*([\w./-]*/)?akp(\s|$)", line) is None:
        return
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    try:
        words = list(reader)
    except ValueError as fault:
        raise expected("a command that a shell can read", f"{line!r} ({fault})") from None
    while PurePosixPath(words[0]).name != "akp":  # settings of the environment come first
        words.pop(0)
    end = next((k for k, word in enumerate(words) if _ENDS.fullmatch(word)), len(words))
    yield words[1:end]


def check(words: Sequence[str], project: Project) -> None:
    """Check a command as far as it can be checked without running it.

    Parameters
    ----------
    words : sequence of str
        After ``akp``. A command that is only named, with no words of its own, need only exist.
    project : Project
        The book, whose pages and parameters it may name.

    Raises
    ------
    AkpError
        If there is no such command or option, page, profile or parameter, or a value does not fit.
    """
    from akp_book.cli import main

    given = [word for word in words if word not in ("-h", "--help")]
    command: click.Command = main
    name = "akp"
    while isinstance(command, click.Group):
        if not given or given[0] in PLACEHOLDERS:
            return
        name = given.pop(0)
        if name not in command.commands:
            raise unknown_name("command of akp", name, command.commands)
        command = command.commands[name]
    given = _without_placeholders(given)
    if not given:
        return
    try:
        values = command.make_context(name, given).params
    except click.UsageError as fault:
        raise AkpError(f"akp {name}: {fault.format_message()}") from None
    page, profile = values.get("page"), values.get("profile")
    if profile is None or page in PLACEHOLDERS:
        return
    chosen = project.page(page) if page else None
    if name == "run" and chosen and (not chosen.notebook or chosen.after == ("all",)):
        raise expected("a page that can run alone", repr(chosen.name))
    only = chosen.name if chosen else None
    profile = profiles.DEFAULT if profile in PLACEHOLDERS else profile
    options = profiles.typed(values.get("options", ()))
    known = {one.name for page in ([chosen] if chosen else project.pages) for one in page.parameters}
    for option in [option for option, value in options.items() if _VARIABLE.search(value)]:
        if option not in known:
            raise unknown_name("parameter", option, known)
        del options[option]  # of a loop; its values are not read
    profiles.settle(project, profile, options, only=only)


def _without_placeholders(words: list[str]) -> list[str]:
    """Drop ``-p NAME=VALUE`` and dots that say that more may follow."""
    kept: list[str] = []
    for word in words:
        if word in ("NAME=VALUE", "...", "…"):
            if kept and kept[-1] == "-p":
                kept.pop()
        else:
            kept.append(word)
    return kept
