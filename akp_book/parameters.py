"""What may be chosen when a page is run, and what may not.

A page declares its parameters in one cell tagged ``parameters``, as annotated assignments whose trailing
comment is documentation and constraint at once::

    members: int = 10  # members in each family; from 4 to 200
    onsets: list[float] = [0.25, 0.6]  # when a stress sets in; each from 0 to 1
    dataset: str = "nuclei"  # which images; one of nuclei, digits, arrays

papermill only warns of an unknown name and passes any value through, so names, types and ranges are checked
here, before anything runs. ``declarations`` reads the cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from akp_core.errors import AkpError, expected, unknown_name

Value: TypeAlias = Any
"""A YAML scalar, or a list of them, of the type that its parameter declares."""

KINDS: dict[str, str] = {"int": "an integer", "float": "a number", "bool": "true or false", "str": "text"}
TYPES: tuple[str, ...] = (*KINDS, "list[int]", "list[float]", "list[str]")


@dataclass(frozen=True)
class Parameter:
    """One choice a page offers: its type, default, meaning and the values it accepts.

    Parameters
    ----------
    name : str
        Name of the variable in the page.
    type : str
        One of ``TYPES``.
    default : Value
        Used when nothing else is given.
    help : str
        One clause that says what it is.
    low, high : float, optional
        Inclusive bounds of the value, or of each item of a list.
    choices : tuple, optional
        The only values (or items) accepted.
    """

    name: str
    type: str
    default: Value
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[Value, ...] | None = None

    @property
    def item(self) -> str:
        """Type of the value, or of one item of it if it is a list."""
        return self.type.removeprefix("list[").removesuffix("]")

    @property
    def is_list(self) -> bool:
        """Whether the value is a list."""
        return self.type.startswith("list[")

    @property
    def allowed(self) -> str:
        """The constraint in words, empty if every value of the type will do."""
        each = "each " if self.is_list else ""
        if self.choices is not None:
            return f"{each}one of {', '.join(map(show, self.choices))}"
        if self.low is not None and self.high is not None:
            return f"{each}from {show(self.low)} to {show(self.high)}"
        if self.low is not None:
            return f"{each}at least {show(self.low)}"
        return f"{each}at most {show(self.high)}" if self.high is not None else ""

    def parse(self, text: str) -> Value:
        """Read a value typed on a command line: text as it stands, anything else as YAML.

        Raises
        ------
        AkpError
            If the value is of another type, out of range, or not one of the choices.
        """
        if self.type == "str":
            return self.check(text)
        try:
            return self.check(yaml.safe_load(text))
        except yaml.YAMLError:
            return self.check(text)

    def check(self, value: object) -> Value:
        """Return the value in the declared type, or say in one line why it will not do.

        A whole number is accepted for a float; a truth value is never a number.

        Raises
        ------
        AkpError
            If the value is of another type, out of range, not one of the choices, or a list with a
            repeated item.
        """
        if not self.is_list:
            return self._check_item(value)
        if not isinstance(value, list | tuple):
            example = f"write -p {self.name}='[{show(value)}]'"
            raise expected(f"a list for parameter {self.name!r}", show(value), example)
        items = [self._check_item(item) for item in value]
        twice = [item for k, item in enumerate(items) if item in items[:k]]
        if twice:
            raise expected(f"each item of parameter {self.name!r} once", f"{show(twice[0])} twice")
        return items

    def _check_item(self, value: object) -> Value:
        kind = self.item
        if kind == "float" and isinstance(value, str) and re.fullmatch(r"[-+]?\d+\.?\d*[eE][-+]?\d+", value):
            value = float(value)  # YAML 1.1 reads 1e-3 as text
        sorts = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
        if not isinstance(value, sorts[kind]) or (isinstance(value, bool) and kind != "bool"):
            where = f"each item of parameter {self.name!r}" if self.is_list else f"parameter {self.name!r}"
            raise expected(f"{KINDS[kind]} for {where}", repr(value), f"its default is {show(self.default)}")
        if kind == "float" and isinstance(value, int | float):
            value = float(value)
            if not math.isfinite(value):
                raise expected(f"a finite number for parameter {self.name!r}", value)
        if self.choices is not None and value not in self.choices:
            raise unknown_name(f"value of parameter {self.name!r},", value, map(str, self.choices))
        if isinstance(value, int | float) and not isinstance(value, bool):
            too_low = self.low is not None and value < self.low
            if too_low or (self.high is not None and value > self.high):
                raise expected(f"parameter {self.name!r} {self.allowed}", show(value))
        return value


def show(value: Value) -> str:
    """Write a value as a reader would type it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 1e15
        return f"{value:.0f}" if whole else f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(show, value)) or "(none)"
    return "(none)" if value == "" else str(value)


def check_all(parameters: Sequence[Parameter], given: Mapping[str, object], page: str) -> dict[str, Value]:
    """Check every given value and fill in the defaults.

    Parameters
    ----------
    parameters : sequence of Parameter
        What the page declares.
    given : mapping of str to object
        Values; a ``Typed`` one comes from a command line and is parsed first.
    page : str
        Name of the page, for messages.

    Returns
    -------
    dict
        Every declared parameter, in order of declaration.

    Raises
    ------
    AkpError
        One line for each thing wrong.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values = {name: parameter.default for name, parameter in known.items()}
    wrong: list[str] = []
    for name, value in given.items():
        try:
            if name not in known:
                raise unknown_name("parameter", name, known)
            values[name] = known[name].parse(value) if isinstance(value, Typed) else known[name].check(value)
        except AkpError as error:
            wrong.append(f"{page}: {error}")
    if wrong:
        raise AkpError("\n".join(wrong))
    return values


class Typed(str):
    """A value as it was typed after ``-p name=``, not parsed yet."""

    __slots__ = ()


def table(parameters: Sequence[Parameter], values: Mapping[str, Value], command: str = "") -> str:
    """Write the Markdown table "Parameters of this build" that a page shows in place of its cell.

    Parameters
    ----------
    parameters : sequence of Parameter
        What the page declares.
    values : mapping of str to Value
        What it ran with; a value that is not the default is set in bold type.
    command : str
        A command to copy that runs the page with other values, for below the table.
    """
    changed = [p.name for p in parameters if values[p.name] != p.default]
    state = "as the page declares them" if not changed else f"{len(changed)} of {len(parameters)} changed"
    rows = ["| Name | Type | Value | Default | Allowed | Meaning |", f"|{' --- |' * 6}"]
    for p in parameters:
        value = _cell(show(values[p.name]))
        value = f"**{value}** (changed)" if p.name in changed else value
        rest = map(_cell, (show(p.default), p.allowed, p.help))
        rows.append(f"| {' | '.join([f'`{p.name}`', _cell(p.type), value, *rest])} |")
    told = ["", "To run this page with other values:", "", "```bash", command, "```"] if command else []
    head = [f"````{{dropdown}} Parameters of this build: {state}", ":class-container: akp-parameters", ""]
    return "\n".join([*head, *rows, *told, "````"])


def _cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|$])", r"\\\1", text)
