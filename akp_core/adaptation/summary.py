"""One word for many verdicts: what more than half of the families say, or that they do not agree."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

MIXED, NOT_TESTABLE = "mixed", "not testable"


def majority(verdicts: Iterable[str]) -> str:
    """The verdict of more than half of the families that could be tested.

    Returns
    -------
    str
        That verdict; *mixed* where none has more than half, *not testable* where no family could be tested.
    """
    counts = pd.Series([v for v in verdicts if v != NOT_TESTABLE], dtype=object).value_counts()
    if counts.empty:
        return NOT_TESTABLE
    return str(counts.index[0]) if 2 * counts.iloc[0] > counts.sum() else MIXED


def tally(verdicts: Iterable[str]) -> str:
    """The verdicts with their numbers, the commonest first: ``7 own twin, 2 neither``."""
    counts = pd.Series(list(verdicts), dtype=object).value_counts()
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) or "none"
