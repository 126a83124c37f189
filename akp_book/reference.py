"""A Sphinx extension that prints the reference of the library from its docstrings, without noise.

Sphinx's own autodoc and napoleon do the work. Habits of theirs are corrected: a default that is no Python
text makes a signature unreadable, a property's first sentence is taken for its type where it has a colon, a
line that begins with a letter and a full stop becomes a list, and every field of a tuple is called one.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_BEFORE_NAPOLEON = 400
_ENUMERATOR = re.compile(r"^(\s*)((?:[A-Za-z]|[ivxlcdm]+)\.(?:\s|$))")
_ONE_LINERS = ("attribute", "data", "property")


def _signature(
    app: Sphinx,  # noqa: ARG001
    what: str,  # noqa: ARG001
    name: str,  # noqa: ARG001
    thing: Any,  # noqa: ARG001
    options: Any,  # noqa: ARG001
    arguments: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Write a default that is made anew for each object as ``...``, which Sphinx can parse."""
    return arguments.replace("<factory>", "...") if arguments else arguments, returns


def _sentence(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001
    """Let a sentence stay a sentence: if it is short, and where napoleon looks for a type."""
    lines[:] = [_ENUMERATOR.sub(r"\1\\\2", line) for line in lines]
    if what in _ONE_LINERS:
        lines[:0] = ["..", ""]


def _skipped(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:  # noqa: ARG001
    """Leave out what Python itself says of the fields of a named tuple; None leaves the rest as it is."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    for extension in ("sphinx.ext.autodoc", "sphinx.ext.napoleon"):
        app.setup_extension(extension)
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-skip-member", _skipped)
    app.connect("autodoc-process-docstring", _sentence, priority=_BEFORE_NAPOLEON)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
