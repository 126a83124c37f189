"""The command that makes a page again with other parameters, as a reader would copy it.

A printed page shows one such command with a parameter of its own, an edition the command that makes itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import yaml

from akp_book.parameters import Parameter, Value, show


def command(page: str, asked: Mapping[str, Value]) -> str:
    """Write the command that runs one page with the parameters asked for, quoted for a shell.

    Parameters
    ----------
    page : str
        Name of the page.
    asked : mapping of str to Value
        What is to differ from the page's own values.

    Returns
    -------
    str
        ``akp run book/experiments/when -p members=20 -p 'onsets=[0.1, 0.9]'``.
    """
    options = [f"-p {shlex.quote(f'{name}={written(value)}')}" for name, value in asked.items()]
    return " ".join(["akp run", shlex.quote(page), *options])


def written(value: Value) -> str:
    """Write a value so that `Parameter.parse` reads it back."""
    if isinstance(value, list | tuple):
        return str(yaml.safe_dump(list(value), default_flow_style=True, width=10**6)).strip()
    return "" if value == "" else show(value)


def example(page: str, parameters: Sequence[Parameter]) -> str:
    """Write a command that runs a page with one real parameter of it changed; none if nothing can be."""
    found = chosen(parameters)
    return command(page, {found[0].name: found[1]} if found else {})


def chosen(parameters: Sequence[Parameter]) -> tuple[Parameter, Value] | None:
    """Choose the parameter that an example changes, and to what.

    The number of networks goes first, then what changes the outcome most plainly, the seed last.
    """
    found = [(p, other) for p in parameters if (other := another(p)) is not None]
    return min(found, key=lambda pair: _rank(pair[0])) if found else None


def _rank(parameter: Parameter) -> int:
    if parameter.name == "members":
        return 0
    if parameter.name in ("seed", "seeds"):
        return 5
    number = parameter.item in ("int", "float") and not parameter.is_list
    if number and parameter.default:
        return 1
    return 2 if parameter.is_list else 3 if parameter.choices else 4


def another(parameter: Parameter) -> Value | None:
    """Return a value that a parameter accepts and that is not its default, or None if none is plain."""
    default = parameter.default
    if parameter.is_list:
        return list(default[:-1]) if len(default) > 1 else None
    if parameter.choices is not None:
        return next((choice for choice in parameter.choices if choice != default), None)
    if parameter.type == "bool":
        return not default
    if parameter.type == "str":
        return None
    for value in (default * 2, default / 2, default + 1, default - 1):
        whole = round(value) if parameter.type == "int" else float(f"{value:.3g}")
        low = parameter.low is None or whole >= parameter.low
        if whole != default and low and (parameter.high is None or whole <= parameter.high):
            return whole
    return None
