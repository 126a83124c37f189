"""Bytes, durations and counts in words."""

from __future__ import annotations

import math


def size(count: int) -> str:
    """Bytes in three digits: ``812 B``, ``3.1 MB``."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"


def clock(seconds: float) -> str:
    """A duration: ``0.4 s``, ``41 s``, ``2.3 min``, ``5.0 h``; ``an unknown time`` for NaN."""
    if math.isnan(seconds):
        return "an unknown time"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def quantity(count: int, what: str) -> str:
    """A count with its noun: ``1 segment``, ``1,000 segments``."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
