"""One exception type and one way of wording it: what was expected, what came, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
