"""What the machine itself can do: its name, its rates of arithmetic and of memory, and how they are read."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import say

CPU = torch.device("cpu")


def device_name(device: torch.device = CPU) -> str:
    """The name of a GPU, or of the processor with the cores that this process may use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text("utf8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {_cores()} cores"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let matrix products and convolutions on a GPU round their float32 inputs to TF32, or not."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = allowed
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def best_seconds(work: Callable[[], Any], device: torch.device = CPU, repeats: int = 5) -> float:
    """The least seconds of several runs after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        synchronise(device)
        begin = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def product_rate(dtype: torch.dtype, device: torch.device = CPU, *, tiny: bool = False) -> float:
    """FLOP a second of a large square matrix product, on the threads now set: the best of five."""
    n = 256 if tiny else 8192 if device.type == "cuda" else 3072
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    return 2 * n**3 / best_seconds(lambda: a @ b, device)


def convolution_rate(dtype: torch.dtype, *, tiny: bool = False) -> float:
    """FLOP a second of a 3 x 3 convolution, channels last, on the threads now set: the best of five.

    Its library may know the processor better than that of the matrix product does.
    """
    n, channels, side = (2, 16, 14) if tiny else (64, 256, 14)
    x = torch.randn(n, channels, side, side).to(dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(channels, channels, 3, 3).to(dtype).contiguous(memory_format=torch.channels_last)
    flops = 2 * n * channels**2 * side**2 * 9
    return flops / best_seconds(lambda: torch.conv2d(x, w, padding=1))


def copy_rate(device: torch.device = CPU, *, tiny: bool = False) -> float:
    """Bytes a second of a large copy, what is read and what is written counted both: the best of five."""
    n = 2**20 if tiny else 2**28 if device.type == "cuda" else 2**26
    source, target = torch.ones(n, device=device), torch.empty(n, device=device)
    return 2 * 4 * n / best_seconds(lambda: target.copy_(source), device)


def machine_rates(device: torch.device = CPU, *, tiny: bool = False) -> dict[str, float]:
    """Rates of the machine, in FLOP and bytes a second.

    Returns
    -------
    dict of str to float
        ``float32``, ``bfloat16`` (matrix products) and ``copy``; on a CPU also both with ``_1_thread`` and
        with ``_convolution``, on a GPU also ``tf32``.
    """
    rates: dict[str, float] = {}
    with tf32(False):
        for dtype in (torch.float32, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            rates[name] = product_rate(dtype, device, tiny=tiny)
            if device.type == "cpu":
                rates[f"{name}_convolution"] = convolution_rate(dtype, tiny=tiny)
                with threads(1):
                    rates[f"{name}_1_thread"] = product_rate(dtype, device, tiny=tiny)
    if device.type == "cuda":
        with tf32(True):
            rates["tf32"] = product_rate(torch.float32, device, tiny=tiny)
    rates["copy"] = copy_rate(device, tiny=tiny)
    say("machine: " + ", ".join(f"{name} {rate / 1e9:,.1f} G/s" for name, rate in rates.items()))
    return rates
