"""One exception type and one way of wording it: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from numbers import Integral


class AkpError(ValueError):
    """A request that cannot be met, said in one line that a reader can act on."""


def unknown_name(kind: str, got: object, valid: Iterable[str]) -> AkpError:
    """Build the error for a name that is not registered, with the nearest valid one.

    Parameters
    ----------
    kind : str
        What the name should have named, such as ``"activation"``.
    got : object
        What came.
    valid : iterable of str
        Every name that would have been accepted.

    Returns
    -------
    AkpError
        ``unknown activation 'rleu': did you mean 'relu'? valid: gelu, relu, tanh``.
    """
    names = sorted(valid)
    near = difflib.get_close_matches(str(got), names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return AkpError(f"unknown {kind} {got!r}:{hint} valid: {', '.join(names) or 'none'}")


def expected(what: str, got: object, do: str = "") -> AkpError:
    """Build the error for a value of the wrong kind: ``expected WHAT, got GOT; DO``."""
    return AkpError(f"expected {what}, got {got}" + (f"; {do}" if do else ""))


def whole_number(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return a value that must be a whole number within bounds; a truth value is not one.

    Parameters
    ----------
    name : str
        What it is, for the message.
    value : object
        What came.
    low : int
    high : int or None
        The bounds, both allowed; None means no upper one.

    Raises
    ------
    AkpError
        If it is anything else.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool)
    if not (fits and low <= int(value) and (high is None or int(value) <= high)):  # type: ignore[call-overload]
        span = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise expected(f"{name} as a whole number {span}", repr(value))
    return int(value)  # type: ignore[call-overload]
