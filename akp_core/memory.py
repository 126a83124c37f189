"""Keeps the memory that a training step frees for the next step.

By default glibc hands large blocks back to the system at once and asks for them anew, and every page of a new
block is filled with zeros at its first touch. A step frees and asks for all its activations, so that this
can cost a third of its time.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # the numbers of mallopt(3)
LARGEST = 2**30


@cache
def keep_freed_memory() -> bool:
    """Ask the C library to keep what is freed, for the rest of this process; computes nothing otherwise.

    Returns
    -------
    bool
        Whether it has been told to; False where it is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    # older ones refuse more than 32 MiB; to set the other alone would end their adapting, for the worse
    mapped = any(library.mallopt(_MMAP_THRESHOLD, size) for size in (LARGEST, 2**25))
    return bool(mapped and library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
