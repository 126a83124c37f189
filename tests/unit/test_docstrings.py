"""Every public function, class and method of the core says what it is, and names parameters that it has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "akp_core"
MODULES = sorted(path.relative_to(CORE).as_posix() for path in CORE.rglob("*.py"))
HEADINGS = {
    "Attributes",
    "Examples",
    "Notes",
    "Parameters",
    "Raises",
    "References",
    "Returns",
    "See Also",
    "Warns",
    "Yields",
}
Definition = ast.FunctionDef | ast.ClassDef


def public(tree: ast.Module) -> Iterator[tuple[str, Definition]]:
    """Functions and classes of a module, and their methods, by name; an overload is none of its own."""
    for node in tree.body:
        if not isinstance(node, Definition) or node.name.startswith("_") or _overload(node):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if (
                    isinstance(inner, ast.FunctionDef)
                    and not inner.name.startswith("_")
                    and not _overload(inner)
                ):
                    yield f"{node.name}.{inner.name}", inner


def _overload(node: Definition) -> bool:
    return any("overload" in ast.unparse(decorator) for decorator in node.decorator_list)


def sections(text: str) -> dict[str, list[str]]:
    """The lines of each section of a NumPy docstring."""
    lines, found = text.splitlines(), {}
    starts = [k for k in range(len(lines) - 1) if lines[k].strip() and re.fullmatch(r"-{3,}", lines[k + 1])]
    for start, stop in pairwise([*starts, len(lines)]):
        found[lines[start]] = lines[start + 2 : stop]
    return found


def described(lines: list[str]) -> list[str]:
    """The names of a list of parameters: ``x, y : type`` is two."""
    entries = [line for line in lines if line and not line.startswith(" ")]
    named = [name.strip() for line in entries for name in re.split(r"\s+:(?:\s|$)", line)[0].split(",")]
    return [name.lstrip("*") for name in named]


def accepted(node: Definition) -> set[str]:
    """The arguments of a function, or of a class: those of its ``__init__``, else its fields."""
    if isinstance(node, ast.FunctionDef):
        given = node.args
        extra = [given.vararg, given.kwarg]
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *(one for one in extra if one)]
        return {one.arg for one in every}
    makers = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    if makers:
        return accepted(makers[0])
    return {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_docstring(module: str) -> None:
    tree = ast.parse((CORE / module).read_text("utf8"))
    assert ast.get_docstring(tree), f"{module} does not say what it is"
    silent = [name for name, node in public(tree) if not (ast.get_docstring(node) or "").strip()]
    assert silent == []


@pytest.mark.parametrize("module", MODULES)
def test_a_docstring_has_known_headings_and_names_parameters_that_exist(module: str) -> None:
    wrong = []
    for name, node in public(ast.parse((CORE / module).read_text("utf8"))):
        parts = sections(ast.get_docstring(node) or "")
        wrong += [f"{name}: the heading {heading!r}" for heading in parts if heading not in HEADINGS]
        unknown = set(described(parts.get("Parameters", []))) - accepted(node)
        wrong += [f"{name}: the parameter {one!r}" for one in sorted(unknown)]
    assert wrong == []


def test_a_docstring_of_a_function_that_takes_arrays_says_more_than_a_line() -> None:
    """A described parameter list leaves none out: half a list is worse than none."""
    half = []
    for module in MODULES:
        for name, node in public(ast.parse((CORE / module).read_text("utf8"))):
            parts = sections(ast.get_docstring(node) or "")
            if isinstance(node, ast.FunctionDef) and "Parameters" in parts:
                missing = accepted(node) - set(described(parts["Parameters"])) - {"self", "cls"}
                half += [f"{module}: {name} leaves out {sorted(missing)}"] if missing else []
    assert half == []
