"""The engine on a CPU against a plain eager loop over the same small CNNs.

Ours: single-thread processes, one a core, each with its share of the members, as `akp_core.population.run`
spreads them. The plain loop has all threads in one process. Both are timed while they train and do nothing
else: members x images per second.
"""

from __future__ import annotations

import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from loky import ProcessPoolExecutor, cpu_count

from akp_core.datasets import Dataset
from akp_core.networks import Network
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from benchmarks.arithmetic import step_of
from benchmarks.machine import CPU, best_seconds, device_name, machine_rates
from benchmarks.measuring import Options, Result, interleave, interquartile, say
from benchmarks.training import CLASSES, Eager, Ours, noise

GOAL, GOAL_BF16 = 1.6, 2.3
SHAPE = (3, 28, 28)
READY = 1.0  # seconds that workers have to set up before they start together


def measure(options: Options) -> Result:
    """Eight CNNs of width 32 and depth 3 on 28 x 28 images of three channels, batch 128."""
    tiny = options.tiny
    network = Network(width=4, depth=2) if tiny else Network(width=32, depth=3)
    members, batch, steps, repeats = (2, 16, 3, 1) if tiny else (8, 128, 24, 5)
    data = noise(SHAPE, batch * 10)
    rates = machine_rates(tiny=tiny)
    step = step_of(network, SHAPE, CLASSES, batch, bf16=False)
    images = members * steps * batch
    native, why = native_bf16(network, batch)
    say(f"bf16: {why}")
    workers = min(cpu_count(), members)
    plain = Eager(network, data, members, batch)
    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "data.safetensors"
            data.save(file)

            def ours(precision: str) -> Callable[[], float]:
                recipe = Recipe(batch=batch, precision=precision)
                return functools.partial(_spread, pool, workers, file, network, recipe, members, steps)

            sides: dict[str, Callable[[], float | None]] = {"plain": functools.partial(plain.train, steps)}
            sides["float32"] = ours("float32")
            if native or tiny:
                sides["bfloat16"] = ours("bfloat16")
            say("warming up")
            interleave(sides | {"plain": functools.partial(plain.train, 1)}, 1)
            seconds = interleave(sides, repeats)
    finally:
        pool.shutdown(wait=True, kill_workers=True)
    median = {name: statistics.median(samples) for name, samples in seconds.items()}
    ratio = {name: median["plain"] / median[name] for name in median}
    flops = step.flops * members * steps
    share = {
        name: flops / s / rates["bfloat16" if name == "bfloat16" else "float32"] for name, s in median.items()
    }
    for name in median:
        say(
            f"{name:10s} {images / median[name]:10,.0f} members x images a second, "
            f"{ratio[name]:.2f} x plain, {share[name]:.0%} of the matrix-product rate"
        )
    return Result(
        "population",
        ratio["float32"],
        GOAL,
        "higher",
        flops / rates["float32"],
        device_name(),
        median["float32"],
        interquartile(seconds["float32"]),
        {
            "ratio_bf16": ratio.get("bfloat16"),
            "goal_bf16": GOAL_BF16,
            "bf16": why,
            "floor_bf16": flops / rates["bfloat16"],
            "images_per_second": {name: images / s for name, s in median.items()},
            "share_of_product_rate": share,
            "rates": rates,
            "samples": seconds,
            "members": members,
            "workers": workers,
            "flops_per_image": step.flops / batch,
        },
    )


def _spread(
    pool: ProcessPoolExecutor,
    workers: int,
    file: Path,
    network: Network,
    recipe: Recipe,
    members: int,
    steps: int,
) -> float:
    """Seconds from the first worker's first timed step to the last worker's last one."""
    begin = time.monotonic() + READY
    shares = [list(range(members))[w::workers] for w in range(workers)]
    tasks = [pool.submit(_block, file, network, recipe, share, steps, begin) for share in shares]
    begins, ends, processes = zip(*(task.result() for task in tasks), strict=True)
    if len(set(processes)) < workers:
        say("  one process took the work of two: doubtful")
    return float(max(ends) - min(begins))


def _block(
    file: Path, network: Network, recipe: Recipe, seeds: list[int], steps: int, begin: float
) -> tuple[float, float, int]:
    """Begin and end of the timed steps, by the clock that all processes share, and the process."""
    ours = Ours(network, recipe, _read(file), seeds)
    ours.train(1)
    time.sleep(max(0.0, begin - time.monotonic()))
    start = time.monotonic()
    ours.train(steps)
    return start, time.monotonic(), os.getpid()


@functools.lru_cache(maxsize=1)
def _read(file: Path) -> Dataset:
    return Dataset.read(file)


def native_bf16(network: Network, batch: int) -> tuple[bool, str]:
    """Whether this CPU computes in bfloat16, by its flags and by one training step in each precision."""
    flags = torch.cpu.get_capabilities()
    names = [name for name in ("avx512_bf16", "amx_bf16", "amx_tile", "bf16") if flags.get(name)]
    model = network.build(SHAPE, CLASSES, generator(0, "weights")).to(memory_format=torch.channels_last)
    x = torch.zeros(batch, *SHAPE).contiguous(memory_format=torch.channels_last)
    y = torch.zeros(batch, dtype=torch.int64)

    def once(enabled: bool) -> None:
        with torch.autocast(CPU.type, dtype=torch.bfloat16, enabled=enabled):
            logits = model(x)
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]

    single, half = (best_seconds(functools.partial(once, enabled), repeats=3) for enabled in (False, True))
    native = bool(names) and half < single
    return native, f"{', '.join(names) or 'no flag'}; a step takes {half / single:.2f} of float32's"
