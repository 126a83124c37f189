"""One chain of runs that are killed, resumed and compared: forks of one process that has imported torch.

The process stays on one thread, for forking is only safe before another has started; it checks that.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path

import psutil
import torch

from akp_core.datasets import load
from akp_core.errors import AkpError, expected
from akp_core.networks import Network
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from akp_core.store import Store
from akp_core.stress import Stress
from akp_core.tree import grow
from benchmarks.forking import identical
from benchmarks.machine import CPU

BEYOND = 1.05  # kills reach this far, in durations of an unbroken run


@dataclass
class Summary:
    """What became of the kill points.

    Attributes
    ----------
    points : int
    before, during, after : int
        Kills before anything was kept, after some of it and before all of it was, and after all of it.
    checkpointed : int
        Kills that left a checkpoint of a half-trained segment.
    writing : int
        Kills that left a file half written.
    resumed : int
        Runs that were started again and came to their end.
    equal : int
        Of these, the ones with the bits of the unbroken run in every segment.
    faults : list of str
        One line for each other one.
    seconds : list of float
        Of each point, the kill and the resumption.
    """

    points: int = 0
    before: int = 0
    during: int = 0
    after: int = 0
    checkpointed: int = 0
    writing: int = 0
    resumed: int = 0
    equal: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __add__(self, other: Summary) -> Summary:
        return Summary(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def study() -> Study:
    """A study of every kind of segment: trunk, stub, press, pulse, reset; each with checkpoints inside."""
    return Study(
        load("digits"),
        stresses=(
            Stress("activation", "tanh", optimizer="reset"),
            Stress("loss", "hinge", end=0.5),
        ),
        onsets=(0.3,),
        members=1,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=4, batch=128),
        taps=("features",),
    )


def chain(folder: Path, points: int, seed: int, first: int, chains: int) -> Summary:
    """Go through every `chains`-th kill point from the first on, in forks of this process."""
    torch.set_num_threads(1)
    # a first optimiser imports much of torch: once here, not in every child
    torch.optim.Adam([torch.zeros(1, requires_grad=True)], fused=True).zero_grad()
    what = study()
    total = len(grow(what, CPU).segments)
    alone = psutil.Process().num_threads()
    if alone != 1:
        raise expected("one thread before forking", f"{alone}", "start the chain in a process of its own")
    unbroken = folder / f"unbroken-{first}"
    durations = []
    trials = [folder / f"trial-{first}-{k}" for k in range(3)]
    for store in (*trials, unbroken):
        begin = time.perf_counter()
        if _ended(_forked(partial(_finish, what, store))) != 0:
            raise AkpError("the unbroken run failed; its traceback is above")
        durations.append(time.perf_counter() - begin)
    for store in trials:
        shutil.rmtree(store)
    moments = (torch.arange(points) + torch.rand(points, generator=generator(seed, "kills"))) / points
    found = Summary()
    for point in range(first, points, chains):
        begin, store = time.perf_counter(), folder / f"point-{point}"
        delay = float(moments[point]) * BEYOND * min(durations[1:])
        _kill(what, store, delay)
        _classify(found, store, total)
        code = _ended(_forked(partial(_resume, what, store, unbroken)))
        found.points += 1
        found.resumed += code in (0, 1)
        found.equal += code == 0
        if code == 0:
            shutil.rmtree(store, ignore_errors=True)
        else:
            meaning = "other bits" if code == 1 else f"no end (code {code})"
            found.faults.append(f"point {point}, killed after {delay:.3f} s: {meaning}; see {store.name}")
        found.seconds.append(time.perf_counter() - begin)
    return found


def _forked(work: Callable[[], int]) -> int:
    """Start a child that does the work and ends with the code it returns; returns the child's number."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    code = 2
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _finish(what: Study, store: Path) -> int:
    run(what, store=store, device=CPU, progress=False)
    return 0


def _resume(what: Study, store: Path, unbroken: Path) -> int:
    """Run a killed study to its end: 0 if every segment has the bits of the unbroken run, else 1."""
    population = run(what, store=store, device=CPU, progress=False)
    good = Store(unbroken)
    for key in population.tree.segments:
        a, b = population.store.state(key), good.state(key)
        same = a.step == b.step and identical(a.tensors, b.tensors)
        if not (same and identical(population.store.record(key), good.record(key))):
            return 1
    return 0


def _kill(what: Study, store: Path, delay: float) -> None:
    """Start a run in a child and kill the child so many seconds after it has begun."""
    ready, begun = os.pipe()

    def work() -> int:
        os.write(begun, b"!")
        return _finish(what, store)

    child = _forked(work)
    os.read(ready, 1)
    os.close(ready)
    os.close(begun)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _classify(found: Summary, store: Path, total: int) -> None:
    kept = len([*Store(store).keys()])
    checkpoints = [path for path in (store / "partial").glob("*") if path.is_file()]
    found.checkpointed += bool(checkpoints)
    found.writing += any((store / "scratch").glob("*")) or any((store / "data").glob(".*.part"))
    found.before += not kept and not checkpoints
    found.after += kept == total
    found.during += kept < total and bool(kept or checkpoints)


if __name__ == "__main__":
    place, *numbers = sys.argv[1:]
    try:
        print(json.dumps(asdict(chain(Path(place), *map(int, numbers)))))
    except AkpError as error:
        sys.exit(str(error))
