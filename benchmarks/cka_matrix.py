"""All pairs of M representations: our time over the floor, and beside public tools.

The floor is the arithmetic of the Gram route, both symmetries used, at the machine's measured rate of matrix
products; centring, scaling and the sums themselves are not in it. With ``--peers DIR`` public tools do the
same in their own environment; one without a call for all pairs is timed on a sample of pairs, times their
number.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from akp_core.errors import AkpError
from akp_core.similarity import both_estimators, pairwise
from benchmarks.machine import device_name
from benchmarks.measuring import (
    Options,
    Result,
    in_fresh_process,
    interleave,
    interquartile,
    peak_bytes,
    say,
    watched,
)
from benchmarks.peers.environment import ask, interpreter, present
from benchmarks.peers.tools import MATRIX
from benchmarks.representations import fastest_rate, gram_flops, related

GOAL = 1.4
TIMES_FASTER = {"netrep": 25.0, "rsatoolbox": 25.0, "torch-cka": 400.0}
FASTEST = 6.0


def measure(options: Options) -> Result:
    """Time M = 50 and M = 200 by turns with the machine's own rate, then the tools that are there."""
    if options.peers is not None:
        interpreter(options.peers)
    examples, width = (64, 16) if options.tiny else (2000, 512)
    sizes = (4, 6) if options.tiny else (50, 200)
    rows: dict[int, dict[str, Any]] = {}
    besides: dict[str, bool] = {}
    for members in sizes:
        features = related(members, examples, width)
        rate = fastest_rate(tiny=options.tiny)
        floor = gram_flops(examples, [width] * members) / rate
        pairwise(features)
        samples = interleave(
            {
                "biased": lambda: _run(lambda: pairwise(features, estimator="biased")),  # noqa: B023
                "unbiased": lambda: _run(lambda: pairwise(features)),  # noqa: B023
                "both": lambda: _run(lambda: both_estimators(features)),  # noqa: B023
            },
            2 if options.tiny else 7,
        )
        rate = max(rate, fastest_rate(tiny=options.tiny))
        floor = min(floor, gram_flops(examples, [width] * members) / rate)
        ours = statistics.median(samples["biased"] + samples["unbiased"])
        grown = in_fresh_process("benchmarks.cka_matrix", members, examples, width)["grown_bytes"]
        say(f"M = {members}: {ours:.3f} s, {ours / floor:.2f} times the floor, {grown / 2**20:.0f} MiB more")
        rows[members] = {"seconds": ours, "floor": floor, "ratio": ours / floor, "grown_bytes": grown}
        rows[members] |= {"gflops": rate / 1e9, "samples": samples}
        if options.peers is not None:
            rows[members]["peers"] = _peers(options, features, ours, grown, besides)
    besides |= {f"M = {m} within {GOAL} of the floor": row["ratio"] <= GOAL for m, row in rows.items()}
    first = rows[sizes[0]]
    return Result(
        "cka_matrix",
        first["ratio"],
        GOAL,
        "lower",
        first["floor"],
        device_name(),
        first["seconds"],
        interquartile(first["samples"]["biased"] + first["samples"]["unbiased"]),
        {"examples": examples, "width": width, "sizes": {str(m): row for m, row in rows.items()}},
        besides,
    )


def _run(work: Any) -> None:
    work()


def _peers(
    options: Options, features: list[Any], ours: float, grown: float, besides: dict[str, bool]
) -> dict[str, Any]:
    """Seconds and memory of every tool on the same representations."""
    assert options.peers is not None
    members, found = len(features), {}
    for tool in _worth_asking(options.peers, members):
        with watched(tool):
            try:
                found[tool] = ask(
                    options.peers,
                    "matrix",
                    tool,
                    features,
                    "--repeats",
                    3,
                    "--pairs",
                    5,
                    "--budget",
                    60,
                    limit=150,
                )
            except AkpError as fault:
                say(f"  {tool}: {fault}")
                found[tool] = {"fault": str(fault)}
                continue
        took, more = found[tool]["seconds"], found[tool]["grown_bytes"] / 2**20
        say(f"  {tool}: {took:.2f} s, {took / ours:.0f} times ours, {more:.0f} MiB more")
    timed = {tool: row["seconds"] / ours for tool, row in found.items() if "seconds" in row}
    if timed:
        first = min(timed, key=timed.__getitem__)
        besides[f"M = {members}: {FASTEST:g} times faster than {first}, the fastest"] = (
            timed[first] >= FASTEST
        )
        for tool, times in TIMES_FASTER.items():
            if tool in timed:
                besides[f"M = {members}: {times:g} times faster than {tool}"] = timed[tool] >= times
        whole = [row["grown_bytes"] for tool, row in found.items() if tool in MATRIX and "grown_bytes" in row]
        if whole:
            besides[f"M = {members}: less memory than any tool of whole matrices"] = grown < min(whole)
    return found


def _worth_asking(peers: Path, members: int) -> list[str]:
    """Every tool for few members; for many those with a call for all pairs and those with a goal."""
    there = present(peers, "matrix")
    return there if members <= 50 else [tool for tool in there if tool in MATRIX or tool in TIMES_FASTER]


def grown(members: int, examples: int, width: int) -> dict[str, float]:
    """Peak memory that one call adds, in this process."""
    features = related(members, examples, width)
    pairwise(features[:2])
    before = peak_bytes()
    begin = time.perf_counter()
    pairwise(features)
    return {"grown_bytes": peak_bytes() - before, "seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    print(json.dumps(grown(*map(int, sys.argv[1:4]))))
