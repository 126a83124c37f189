"""Whether a thousand members fit: memory of the plan and of a run, and disk, against the number of networks.

The plan of the classroom study at three taps is laid out for 10, 100 and 1,000 members, and a small study is
run for 4, 16 and 64, each in a fresh process that reports the most memory it held. What a run holds at once
must not depend on how many networks it trains. Bytes on disk are predicted by `akp_core.population.cost`
and held against those really written for a few members; per network they are constant, so that this is the
linear bound.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from akp_core.datasets import load
from akp_core.networks import Network
from akp_core.population import Study, cost, run
from akp_core.recipe import Recipe
from akp_core.store import digest
from akp_core.stress import Stress
from akp_core.tree import grow
from benchmarks import classroom
from benchmarks.machine import CPU, best_seconds, device_name
from benchmarks.measuring import Options, Result, in_fresh_process, interquartile, peak_bytes, say

GOAL = 1.05
TAPS = 3


def measure(options: Options) -> Result:
    """Plan, run and write studies of growing size."""
    planned, trained, repeats = ((2, 4), (1, 4), 1) if options.tiny else ((10, 100, 1000), (4, 16, 64), 3)
    plans = {n: [fresh("plan", n, options) for _ in range(repeats)] for n in planned}
    for n, plan in plans.items():
        say(f"  plan of {n} members: {plan[0]['networks']} networks, {middle(plan, 'seconds'):.3f} s")
    # by turns, as the sides of any other ratio
    peaks: dict[int, list[dict[str, Any]]] = {n: [] for n in trained}
    for _ in range(repeats):
        for n in trained:
            peaks[n].append(fresh("peak", n, options))
            say(f"  run of {n} members: at most {peaks[n][-1]['peak'] / 2**20:.0f} MiB")
    few, most = trained[0], trained[-1]
    wide = peaks[most][0]["networks"] - peaks[few][0]["networks"]
    written = disk(1 if options.tiny else 2, tiny=options.tiny)
    seconds = [plan["seconds"] for plan in plans[planned[-1]]]
    last = plans[planned[-1]][0]
    bound = last["predicted_bytes"] / last["networks"]
    say(
        f"  disk: {written['predicted'] / 1e6:.2f} MB predicted, {written['written'] / 1e6:.2f} MB written; "
        f"{bound / 1e6:.3f} MB a network"
    )
    return Result(
        "scale",
        middle(peaks[most], "peak") / middle(peaks[few], "peak"),
        GOAL,
        "lower",
        last["floor"],
        device_name(),
        statistics.median(seconds),
        interquartile(seconds),
        {
            "members_planned": planned[-1],
            "networks_planned": last["networks"],
            "segments_planned": last["segments"],
            "plan_seconds": {n: middle(plan, "seconds") for n, plan in plans.items()},
            "plan_bytes_per_network": {
                n: middle(p, "allocated") / p[0]["networks"] for n, p in plans.items()
            },
            "plan_process_peak": {n: middle(plan, "peak") for n, plan in plans.items()},
            "disk_bytes_per_network": {
                n: p[0]["predicted_bytes"] / p[0]["networks"] for n, p in plans.items()
            },
            "disk_bytes_planned": last["predicted_bytes"],
            "disk_written_over_predicted": written["written"] / written["predicted"],
            "run_peak": {n: middle(peak, "peak") for n, peak in peaks.items()},
            "run_peak_kb_per_network": (middle(peaks[most], "peak") - middle(peaks[few], "peak"))
            / wide
            / 1e3,
            "read_peak": {n: middle(peak, "read_peak") for n, peak in peaks.items()},
        },
        {"disk within a tenth of the bound": abs(written["written"] / written["predicted"] - 1) < 0.1},
    )


def fresh(part: str, members: int, options: Options) -> dict[str, Any]:
    """Measure one part in a process of its own."""
    return in_fresh_process("benchmarks.scale", part, members, int(options.tiny))


def middle(samples: list[dict[str, Any]], key: str) -> float:
    """Median of one entry over repeated measurements."""
    return float(statistics.median(sample[key] for sample in samples))


def large(members: int, *, tiny: bool) -> Study:
    """The classroom study with so many members and three taps."""
    whole = classroom.study(Options(tiny=tiny), members=members)
    return replace(whole, taps=(whole.taps or ())[:TAPS])


def small(members: int) -> Study:
    """A study of which one member takes a fraction of a second."""
    return Study(
        load("digits"),
        stresses=(Stress("activation", "tanh"),),
        onsets=(0.5,),
        members=members,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=2, batch=128),
    )


def plan(members: int, *, tiny: bool) -> dict[str, float]:
    """Seconds and memory of laying out the tree, and the disk that the run would take."""
    study = large(members, tiny=tiny)
    grow(replace(study, members=1), CPU)
    begin = time.perf_counter()
    tree = grow(study, CPU)
    seconds, peak = time.perf_counter() - begin, peak_bytes()
    spec = next(iter(tree.segments.values())).spec
    floor = best_seconds(lambda: digest(spec)) * len(tree.segments)
    with tempfile.TemporaryDirectory() as store:
        predicted = cost(study, store, device=CPU).bytes
    del tree
    tracemalloc.start()
    tree = grow(study, CPU)
    allocated = tracemalloc.get_traced_memory()[1]
    return {
        "seconds": seconds,
        "peak": peak,
        "allocated": allocated,
        "floor": floor,
        "predicted_bytes": predicted,
        "segments": len(tree.segments),
        "networks": members * len(study.families),
    }


def peak(members: int, *, tiny: bool) -> dict[str, float]:  # noqa: ARG001
    """The most memory that a run holds, and that reading its tables holds after it."""
    study = small(members)
    with tempfile.TemporaryDirectory() as store, ThreadPoolExecutor(1) as here:
        population = run(study, store=store, executor=here, device=CPU, progress=False)
        trained = peak_bytes()
        networks = len(population.members)
        population.distances("features")
    return {"peak": trained, "read_peak": peak_bytes(), "networks": networks}


def disk(members: int, *, tiny: bool) -> dict[str, float]:
    """Bytes predicted before a run and found in the store after it."""
    study = large(members, tiny=tiny)
    if not tiny:
        study = replace(study, stresses=study.stresses[:1])
    with tempfile.TemporaryDirectory() as store:
        predicted = cost(study, store, device=CPU).bytes
        run(study, store=store, device=CPU, progress=False)
        segments = (Path(store) / "segments").rglob("*")
        return {"predicted": predicted, "written": sum(p.stat().st_size for p in segments if p.is_file())}


PARTS: dict[str, Callable[..., dict[str, float]]] = {"plan": plan, "peak": peak}

if __name__ == "__main__":
    part, count, shrunk = sys.argv[1:]
    print(json.dumps(PARTS[part](int(count), tiny=shrunk == "1")))
