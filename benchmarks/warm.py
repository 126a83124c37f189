"""What running the classroom study again costs, once the store holds it: no step, and a few seconds.

The study is trained once into a temporary store, two members of each family unless ``--full``. Then fresh
processes run it again, as a reader does who opens the page anew. Steps are counted twice: every call of an
optimiser in the process, and the steps of every segment that was written.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from akp_core.population import run
from benchmarks import classroom
from benchmarks.machine import CPU, device_name
from benchmarks.measuring import Options, Result, in_fresh_process, interquartile, say, watched

GOAL, GOAL_SECONDS = 0.0, 5.0


def measure(options: Options) -> Result:
    """Train the study once, then run it again in fresh processes."""
    with tempfile.TemporaryDirectory() as store:
        study = classroom.study(options)
        say(f"training {len(study.families)} families of {study.members} once")
        begin = time.perf_counter()
        population = run(study, store=store, device=CPU, progress=not options.tiny)
        cold = time.perf_counter() - begin
        whole = sum(segment.steps for segment in population.tree.segments.values())
        files = [path for path in Path(store).rglob("*.safetensors") if path.is_file()]
        begin = time.perf_counter()
        size = sum(len(path.read_bytes()) for path in files)
        floor = time.perf_counter() - begin
        again = []
        for turn in range(1 if options.tiny else 5):
            with watched(f"warm {turn + 1}"):
                again.append(in_fresh_process("benchmarks.warm", store, int(options.tiny), int(options.full)))
            say(f"  {again[-1]['seconds']:.2f} s, {again[-1]['steps']} steps")
    seconds = [one["seconds"] for one in again]
    return Result(
        "warm",
        max(one["steps"] for one in again) / whole,
        GOAL,
        "lower",
        floor,
        device_name(),
        statistics.median(seconds),
        interquartile(seconds),
        {
            "steps": max(one["steps"] for one in again),
            "steps_cold": whole,
            "seconds_cold": cold,
            "goal_seconds": GOAL_SECONDS,
            "process_seconds": statistics.median(one["process_seconds"] for one in again),
            "networks": len(population.rows),
            "bytes_stored": size,
        },
        {f"below {GOAL_SECONDS:g} seconds": statistics.median(seconds) < GOAL_SECONDS},
    )


def again(store: Path, options: Options) -> dict[str, float]:
    """Run the study again: seconds of the run and of what a page asks of it first, and steps taken."""
    begin, steps = time.perf_counter(), 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    handle = register_optimizer_step_post_hook(count)
    study = classroom.study(options)
    there = set(store.rglob("manifest.json"))
    start = time.perf_counter()
    population = run(study, store=store, device=CPU, progress=False)
    networks = len(population.members)
    distances: Tensor = population.distances("features")
    seconds = time.perf_counter() - start
    handle.remove()
    written = {path.parent.name for path in set(store.rglob("manifest.json")) - there}
    steps += sum(population.tree.segments[key].steps for key in written if key in population.tree.segments)
    assert distances.shape == (networks, networks)
    return {"seconds": seconds, "steps": steps, "process_seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    folder, tiny, full = sys.argv[1:]
    print(json.dumps(again(Path(folder), Options(tiny=tiny == "1", full=full == "1"))))
