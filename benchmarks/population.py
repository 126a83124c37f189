"""The engine on a CPU against a plain eager loop over the same small CNNs.

Ours: single-thread processes, one a core, each with its share of the members, as `akp_core.population.run`
spreads them. The plain loop has all threads in one process, a fresh one each round: what its allocator
does with freed memory differs from process to process, and with it its pace by a third. Both are timed while
they train and do nothing else: members x images per second.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from loky import ProcessPoolExecutor, cpu_count

from akp_core.datasets import Dataset
from akp_core.networks import Network
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from benchmarks.arithmetic import step_of
from benchmarks.machine import CPU, best_seconds, device_name, machine_rates
from benchmarks.measuring import Options, Result, in_fresh_process, interleave, interquartile, say
from benchmarks.training import CLASSES, Eager, Ours, noise

GOAL, GOAL_BF16 = 1.6, 2.3
READY = 1.0  # seconds that workers have to set up before they start together


@dataclass(frozen=True)
class Case:
    """Networks and images to train them on."""

    network: Network
    shape: tuple[int, int, int]
    batch: int
    steps: int


# the book's own networks give the ratio; wide ones, whose kernels fill two threads better, stand beside it
BOOK = Case(Network(), (1, 32, 32), 64, 100)
WIDE = Case(Network(width=32, depth=3), (3, 28, 28), 128, 24)
TINY = Case(Network(width=4, depth=2), (3, 28, 28), 16, 3)


def measure(options: Options) -> Result:
    """Eight CNNs: the book's (width 16, 32 x 32, batch 64), and wide ones (32, 28 x 28 x 3, batch 128)."""
    rates = machine_rates(tiny=options.tiny)
    members, repeats = (2, 1) if options.tiny else (8, 5)
    cases = {"book": TINY} if options.tiny else {"book": BOOK, "wide": WIDE}
    seen = {name: _measure(name, case, members, repeats, rates, options) for name, case in cases.items()}
    book = seen["book"]
    details = {"goal_bf16": GOAL_BF16, "rates": rates, "members": members, "cases": seen}
    ratio = book["ratio"].get("bfloat16")
    details |= {"ratio_bf16": ratio, "bf16": book["bf16"]}
    return Result(
        "population",
        book["ratio"]["float32"],
        GOAL,
        "higher",
        book["floor"]["float32"],
        device_name(),
        book["median"]["float32"],
        interquartile(book["samples"]["float32"]),
        details,
        {f"bfloat16 at least {GOAL_BF16} times": ratio >= GOAL_BF16} if ratio and book["native"] else {},
    )


def _measure(
    name: str, case: Case, members: int, repeats: int, rates: dict[str, float], options: Options
) -> dict[str, Any]:
    """Train one case by turns, plain and by the engine in both precisions."""
    data = noise(case.shape, case.batch * 10)
    step = step_of(case.network, case.shape, CLASSES, case.batch, bf16=False)
    images, flops = members * case.steps * case.batch, step.flops * members * case.steps
    native, why = native_bf16(case)
    say(f"{name}: {case.network}, batch {case.batch}; bf16: {why}")
    workers = min(cpu_count(), members)
    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.safetensors"
            data.save(file)

            def ours(precision: str) -> Callable[[], float]:
                return functools.partial(_spread, pool, workers, file, case, precision, members)

            plain = functools.partial(_plain, file, case, members)
            sides: dict[str, Callable[[], float | None]] = {"plain": plain, "float32": ours("float32")}
            if native or options.tiny:
                sides["bfloat16"] = ours("bfloat16")
            say("warming up")
            for side in [name for name in sides if name != "plain"]:
                sides[side]()
            samples = interleave(sides, repeats)
    finally:
        pool.shutdown(wait=True, kill_workers=True)
    median = {side: statistics.median(seconds) for side, seconds in samples.items()}
    ratio = {side: median["plain"] / median[side] for side in median}
    of = {side: "bfloat16" if side == "bfloat16" else "float32" for side in median}
    floor = {side: flops / max(rates[of[side]], rates[f"{of[side]}_convolution"]) for side in median}
    share = {side: flops / median[side] / rates[of[side]] for side in median}
    for side in median:
        say(
            f"{side:10s} {images / median[side]:10,.0f} members x images a second, "
            f"{ratio[side]:.2f} x plain, "
            f"{share[side]:.0%} of the matrix-product rate, {floor[side] / median[side]:.0%} of the floor"
        )
    return {
        "ratio": ratio,
        "median": median,
        "floor": floor,
        "images_per_second": {side: images / seconds for side, seconds in median.items()},
        "share_of_product_rate": share,
        "flops_per_image": step.flops / case.batch,
        "samples": samples,
        "workers": workers,
        "bf16": why,
        "native": native,
    }


def _plain(file: Path, case: Case, members: int) -> float:
    """Seconds of the plain loop in a fresh process."""
    sizes = case.network.width, case.network.depth, members, case.batch, case.steps
    return float(in_fresh_process("benchmarks.population", file, *sizes)["seconds"])


def _spread(
    pool: ProcessPoolExecutor, workers: int, file: Path, case: Case, precision: str, members: int
) -> float:
    """Seconds from the first worker's first timed step to the last worker's last one."""
    begin = time.monotonic() + READY
    shares = [list(range(members))[w::workers] for w in range(workers)]
    tasks = [pool.submit(_block, file, case, precision, share, begin) for share in shares]
    begins, ends, processes = zip(*(task.result() for task in tasks), strict=True)
    if len(set(processes)) < workers:
        say("  one process took the work of two: doubtful")
    return float(max(ends) - min(begins))


def _block(
    file: Path, case: Case, precision: str, seeds: list[int], begin: float
) -> tuple[float, float, int]:
    """Begin and end of the timed steps, by the clock that all processes share, and the process."""
    ours = Ours(case.network, Recipe(batch=case.batch, precision=precision), _read(file), seeds)
    ours.train(1)
    time.sleep(max(0.0, begin - time.monotonic()))
    start = time.monotonic()
    ours.train(case.steps)
    return start, time.monotonic(), os.getpid()


@functools.lru_cache(maxsize=1)
def _read(file: Path) -> Dataset:
    return Dataset.read(file)


def native_bf16(case: Case) -> tuple[bool, str]:
    """Whether this CPU computes in bfloat16, by its flags and by one training step in each precision."""
    flags = torch.cpu.get_capabilities()
    names = [name for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16") if flags.get(name)]
    model = case.network.build(case.shape, CLASSES, generator(0, "weights")).to(
        memory_format=torch.channels_last
    )
    x = torch.zeros(case.batch, *case.shape).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(case.batch, dtype=torch.int64)

    def once(enabled: bool) -> None:
        with torch.autocast(CPU.type, dtype=torch.bfloat16, enabled=enabled):
            logits = model(x)
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]

    single, half = (best_seconds(functools.partial(once, enabled), repeats=3) for enabled in (False, True))
    native = bool(names) and half < single
    return native, f"{', '.join(names) or 'no flag'}; a step takes {half / single:.2f} of float32's"


if __name__ == "__main__":
    data = Dataset.read(Path(sys.argv[1]))
    width, depth, count, images, how_many = map(int, sys.argv[2:])
    loop = Eager(Network(width=width, depth=depth), data, count, images)
    loop.train(1)
    start = time.perf_counter()
    loop.train(how_many)
    print(json.dumps({"seconds": time.perf_counter() - start}))
