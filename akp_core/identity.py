"""Names a function by what it does, for keys under which results are kept."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any


def identity_of(function: Callable[..., Any]) -> str:
    """Hash a function by what it does, so that a stored result never outlives a changed function.

    The hash is of the source with its defaults and the values that it closes over; of a partial function,
    of the whole one with the arguments filled in; of what has no source, of its qualified name.
    """
    if isinstance(function, partial):
        inside = [identity_of(function.func), *function.args, *sorted(function.keywords.items())]
    else:
        cells = getattr(function, "__closure__", None) or ()
        inside = [function, *(cell.cell_contents for cell in cells)]
        inside += getattr(function, "__defaults__", None) or ()
    text = " ".join(_source_of(value) if callable(value) else repr(value) for value in inside)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _source_of(function: Callable[..., Any]) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
