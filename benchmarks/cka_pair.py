"""Two representations of several shapes: our time over the floor, and over the best public tool.

The floor is the arithmetic of the cheaper route at the machine's measured rate of matrix products. With
``--peers DIR`` every public tool does the same pair in its own environment, and the goal that counts is that
we never take more than 1.2 times as long as the best of them.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from akp_core.errors import AkpError
from akp_core.similarity import cka
from benchmarks.machine import device_name
from benchmarks.measuring import Options, Result, interquartile, say, watched
from benchmarks.peers.environment import ask, interpreter, present
from benchmarks.representations import Features, cross_flops, fastest_rate, gram_flops, related

SHAPES = ((1000, 512), (10_000, 512), (2000, 8192), (512, 65_536))
GOAL, GOAL_BEST = 2.0, 1.2
SLOW = 25.0  # seconds, its imports included, after which a tool is given up


def measure(options: Options) -> Result:
    """Time each shape, the tools between two halves of our own samples."""
    if options.peers is not None:
        interpreter(options.peers)
    shapes = ((64, 8), (16, 64)) if options.tiny else SHAPES
    rows: dict[str, dict[str, Any]] = {}
    besides: dict[str, bool] = {}
    for n, p in shapes:
        x, y = related(2, n, p)
        rate = fastest_rate(tiny=options.tiny)
        floor = min(gram_flops(n, (p, p)), cross_flops(n, (p, p))) / rate
        samples = _samples(x, y, options)
        peers = _peers(options, x, y)
        samples += _samples(x, y, options)
        ours = statistics.median(samples)
        row: dict[str, Any] = {"seconds": ours, "floor": floor, "ratio": ours / floor, "samples": samples}
        say(f"{n} x {p}: {1e3 * ours:.1f} ms, {ours / floor:.2f} times the floor")
        timed = {tool: found["seconds"] for tool, found in peers.items() if "seconds" in found}
        if timed:
            best = min(timed, key=timed.__getitem__)
            row |= {"peers": peers, "best": best, "over_best": ours / timed[best]}
            say(f"  the best tool, {best}: {1e3 * timed[best]:.1f} ms; ours over it {ours / timed[best]:.2f}")
            besides[f"{n} x {p}: within {GOAL_BEST} of the best tool"] = ours <= GOAL_BEST * timed[best]
        rows[f"{n}x{p}"] = row
    worst = max(rows.values(), key=lambda row: float(row["ratio"]))
    return Result(
        "cka_pair",
        worst["ratio"],
        GOAL,
        "lower",
        worst["floor"],
        device_name(),
        worst["seconds"],
        interquartile(worst["samples"]),
        {"shapes": rows},
        besides,
    )


def _samples(x: Features, y: Features, options: Options) -> list[float]:
    seconds = []
    for _ in range(3 if options.tiny else 6):
        for estimator in ("biased", "unbiased"):
            begin = time.perf_counter()
            cka(x, y, estimator=estimator)
            seconds.append(time.perf_counter() - begin)
    return seconds[2:]


def _peers(options: Options, x: Features, y: Features) -> dict[str, Any]:
    if options.peers is None:
        return {}
    found: dict[str, Any] = {}
    for tool in present(options.peers, "pair"):
        with watched(tool):
            try:
                found[tool] = ask(
                    options.peers, "pair", tool, [x, y], "--repeats", 7, "--budget", 6, limit=SLOW
                )
            except AkpError as fault:
                found[tool] = {"fault": str(fault)}
        said = found[tool].get("seconds")
        say(f"  {tool}: " + (f"{1e3 * said:.1f} ms" if said else found[tool]["fault"]))
    return found
