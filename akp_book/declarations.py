"""Read the parameters that a page declares.

``papermill.inspect_notebook`` passes over lines that it cannot read. Here such a line is an error of the
page, hence ``ast`` for the assignment and ``tokenize`` for the comment behind it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize

from akp_book.parameters import TYPES, Parameter, Value
from akp_core.errors import AkpError, expected, unknown_name

FORMS = "'from A to B', 'at least A', 'at most B' or 'one of a, b, c' (for a list, 'each ...')"


def declared(source: str, page: str) -> tuple[Parameter, ...]:
    """Read the parameters that a page's ``parameters`` cell declares.

    Parameters
    ----------
    source : str
        Text of the cell.
    page : str
        Name of the page, for messages.

    Raises
    ------
    AkpError
        If a line is anything but ``name: TYPE = VALUE  # meaning; constraint``, or breaks its own constraint.
    """
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise AkpError(
            f"{page}: its parameters cell is not Python: {error.msg}, line {error.lineno}"
        ) from None
    comments = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and source.splitlines()[token.start[0] - 1].strip()[0] != "#"
    }
    found: list[Parameter] = []
    for line in lines:
        try:
            found.append(_declaration(line, comments.get(line.end_lineno or line.lineno, "")))
        except AkpError as error:
            raise AkpError(f"{page}: parameters cell, line {line.lineno}: {error}") from None
        if found[-1].name in {p.name for p in found[:-1]}:
            raise AkpError(
                f"{page}: parameters cell, line {line.lineno}: {found[-1].name!r} is declared twice"
            )
    return tuple(found)


def _declaration(line: ast.stmt, comment: str) -> Parameter:
    shape = "'name: TYPE = VALUE  # meaning; constraint'"
    if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
        raise expected(shape, repr(ast.unparse(line)), f"TYPE is one of {', '.join(TYPES)}")
    kind = ast.unparse(line.annotation)
    if kind not in TYPES:
        raise unknown_name("type", kind, TYPES)
    if not comment:
        raise expected(f"a comment that says what {line.target.id!r} is", "none", f"write {shape}")
    meaning, _, constraint = comment.rpartition(";") if ";" in comment else (comment, "", "")
    try:
        default = ast.literal_eval(line.value)
    except ValueError:
        raise expected("a literal value", repr(ast.unparse(line.value))) from None
    low, high, choices = _constraint(constraint.strip(), kind)
    parameter = Parameter(line.target.id, kind, default, meaning.strip(), low, high, choices)
    return Parameter(line.target.id, kind, parameter.check(default), meaning.strip(), low, high, choices)


def _constraint(text: str, kind: str) -> tuple[float | None, float | None, tuple[Value, ...] | None]:
    if not text:
        return None, None, None
    item = kind.removeprefix("list[").removesuffix("]")
    words = text.removeprefix("each ").strip()
    number = r"([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)"
    patterns = {"one": r"one of (.+)", "both": f"from {number} to {number}"}
    patterns |= {"low": f"at least {number}", "high": f"at most {number}"}
    cast = {"int": float, "float": float, "str": str, "bool": str}[item]
    for form, pattern in patterns.items():
        match = re.fullmatch(pattern, words)
        if match is None:
            continue
        if form == "one" and item in ("str", "int", "float"):
            convert = int if item == "int" else cast
            return None, None, tuple(convert(part.strip()) for part in match[1].split(","))
        if form != "one" and item in ("int", "float"):
            if form == "both":
                return float(match[1]), float(match[2]), None
            return (float(match[1]), None, None) if form == "low" else (None, float(match[1]), None)
    raise expected(f"a constraint such as {FORMS} after the last ';'", repr(text), f"type {kind}")
