"""Runs a study anywhere: lays out its tree, says what it costs, trains what is missing, reads the rest.

::

    study = Study(load("nuclei"), stresses=(Stress("activation", "tanh"),), onsets=(0.25, 0.6))
    population = run(study, store="store")
    population.members            # one row a network
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import Executor
from pathlib import Path

import torch
from loky import cpu_count
from tqdm.auto import tqdm

from akp_core import engines
from akp_core.amounts import clock
from akp_core.cost import Cost, estimate
from akp_core.datasets import Dataset
from akp_core.durable import refusals
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.networks import Network, Own
from akp_core.outcome import Population
from akp_core.schedule import complete
from akp_core.store import Store
from akp_core.study import Family, Study
from akp_core.tree import Tree, grow

DEVICES = ("cpu", "cuda")

__all__ = ["Cost", "Family", "Network", "Own", "Population", "Study", "cost", "run", "train_part"]


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cost(
    study: Study,
    store: str | Path,
    *,
    executor: Executor | None = None,
    device: torch.device | str | None = None,
    engine: str | None = None,
) -> Cost:
    """Say what a run would take; trains nothing but a few timed steps.

    Parameters
    ----------
    study, store, executor, device, engine
        As for `run`.

    Returns
    -------
    Cost
    """
    where, engine = _where(device, engine)
    tree, workers = grow(study, where, engine), _workers(executor, where)
    return estimate(study, tree, Store(store), where, engine, workers, own=executor is None)


def run(
    study: Study,
    *,
    store: str | Path = "akp-store",
    executor: Executor | None = None,
    device: torch.device | str | None = None,
    engine: str | None = None,
    progress: bool = True,
) -> Population:
    """Train what the store does not hold yet, and return the whole population.

    The result has the same bits whether it comes from one call or from several that were killed, on any
    number of workers: every segment is determined by its key. Two runs may share a store; each trains what
    the other is not training.

    Parameters
    ----------
    study : Study
    store : path
        Folder of finished segments; made if it is not there. On a cluster, one that all workers see.
    executor : concurrent.futures.Executor or None
        Where segments are trained; None means one single-thread process a core, or this process on a GPU
        and for work that would be over before the processes had started.
    device : torch.device, str or None
        Where each worker trains; None means the best of this machine.
    engine : str or None
        A name of `akp_core.engines.ENGINES`; None means ``loop`` on a CPU and ``graphed`` on a GPU.
    progress : bool
        Show the cost beforehand, a bar while training and the true cost after, on standard error.

    Returns
    -------
    Population

    Raises
    ------
    AkpError
        When the study cannot be laid out, a stored file is damaged, or the store cannot be written to.
    """
    if not isinstance(study, Study):
        raise expected("a Study", repr(study), "Study(load('nuclei'), ...)")
    where, engine = _where(device, engine)
    tree = grow(study, where, engine)
    _complete(study, tree, Store(store), executor, where, engine, progress)
    return Population(study, tree, Store(store))


def train_part(
    study: Study,
    part: int,
    parts: int,
    *,
    store: str | Path,
    executor: Executor | None = None,
    device: torch.device | str | None = None,
    engine: str | None = None,
    progress: bool = True,
) -> None:
    """Train every ``parts``-th member of a study, from member ``part`` on, and nothing else.

    A member's segments depend on no other member's, so the parts need no word with one another: they can
    be the tasks of an array of jobs. `run` then finds all in the store.

    Parameters
    ----------
    study : Study
    part, parts : int
        ``0 <= part < parts``.
    store, executor, device, engine, progress
        As for `run`.
    """
    whole_number("parts", parts, 1)
    whole_number("part", part, 0, parts - 1)
    where, engine = _where(device, engine)
    tree = grow(study, where, engine, range(part, study.members, parts))
    _complete(study, tree, Store(store), executor, where, engine, progress)


def _where(device: torch.device | str | None, engine: str | None) -> tuple[torch.device, str]:
    try:
        where = best_device() if device is None else torch.device(device)
    except RuntimeError:
        raise unknown_name("device", device, DEVICES) from None
    if where.type not in DEVICES:
        raise unknown_name("device", str(device), DEVICES)
    engine = engines.default(where) if engine is None else engine
    if engine not in engines.ENGINES:
        raise unknown_name("engine", engine, engines.ENGINES)
    return where, engine


def _complete(
    study: Study,
    tree: Tree,
    shelf: Store,
    executor: Executor | None,
    device: torch.device,
    engine: str,
    progress: bool,
) -> None:
    """Train what is missing of a tree."""
    workers = _workers(executor, device)
    price = estimate(study, tree, shelf, device, engine, workers, own=executor is None)
    if progress:
        tqdm.write(str(price), file=sys.stderr)
    if price.steps == 0:
        return
    begin, data_file = time.perf_counter(), _lay_out(study.data, shelf)
    if executor is None and device.type == "cuda" and not torch.cuda.is_available():
        raise expected(
            "a device of this machine to train on", str(device), "pass an executor whose workers have it"
        )
    processes = min(price.workers or 1, price.segments - price.stored)
    with tqdm(total=price.steps, unit="step", unit_scale=True, disable=not progress, desc="training") as bar:
        complete(tree, shelf, data_file, device, executor, processes=processes, tick=bar.update)
    if progress:
        took = time.perf_counter() - begin
        tqdm.write(f"took {clock(took)}, estimated {clock(price.seconds)}", file=sys.stderr)


def _lay_out(data: Dataset, shelf: Store) -> Path:
    """Put the data where workers can read it; a damaged copy is replaced."""
    path = shelf.root.absolute() / "data" / f"{data.fingerprint}.safetensors"
    try:
        if path.exists() and Dataset.read(path).fingerprint == data.fingerprint:
            return path
    except AkpError:
        pass
    with refusals(f"the store {shelf.root}", 0):
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save(path)
    return path


def _workers(executor: Executor | None, device: torch.device) -> int | None:
    """Shards trained at once; None where an executor does not say."""
    if executor is None:
        return 1 if device.type == "cuda" else cpu_count()
    if hasattr(executor, "_client"):
        return sum(executor._client.nthreads().values()) or None
    return getattr(executor, "_max_workers", None)
