"""One CPU thread for a while: for small kernels faster than many, and the same bits on every machine.

Threads that wait for one another at every small kernel can take forty times as long on a busy machine, and
a sum cut into as many pieces as there are threads differs in its last bits from machine to machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(*, flush_denormals: bool = False) -> Iterator[None]:
    """Compute on one thread, then put the caller's number of threads back.

    Parameters
    ----------
    flush_denormals : bool
        Also take numbers too small for the normal format as zero, which processors handle much faster.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if flush_denormals:
        torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if flush_denormals:
            torch.set_flush_denormal(False)
