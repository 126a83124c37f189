"""Runs a study anywhere: lays out its tree, says what it costs, trains what is missing, reads the rest.

study = Study(load("nuclei"), stresses=(Stress("activation", "tanh"),), onsets=(0.25, 0.6))
population = run(study, store="store")
population.members            # one row a network
"""

from __future__ import annotations

import functools
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from pathlib import Path

import torch
from loky import ProcessPoolExecutor, cpu_count
from tqdm.auto import tqdm

from akp_core.cost import Cost, estimate
from akp_core.datasets import Dataset
from akp_core.errors import AkpError, expected
from akp_core.family import train
from akp_core.outcome import Population
from akp_core.store import Store
from akp_core.tree import Family, Segment, Study, Tree, grow

WORTH_PROCESSES = 15.0  # seconds of training below which starting processes costs more than it saves

__all__ = ["Cost", "Family", "Population", "Study", "cost", "run"]


def best_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def cost(
    study: Study, store: str | Path, *, device: torch.device | None = None, workers: int | None = None
) -> Cost:
    """Say what a run would take; trains nothing but a few timed steps.

    Parameters
    ----------
    study : Study
    store : path
        Where finished segments are kept.
    device : torch.device or None
        None means the best of this machine.
    workers : int or None
        Processes at once; None means one a core, or one on a GPU.

    Returns
    -------
    Cost
    """
    device = device or best_device()
    return estimate(study, grow(study, device), Store(store), device, workers or _workers(device))


def run(
    study: Study,
    *,
    store: str | Path = "akp-store",
    executor: Executor | None = None,
    device: torch.device | None = None,
    progress: bool = True,
) -> Population:
    """Train what the store does not hold yet, and return the whole population.

    The result has the same bits whether it comes from one call or from several that were killed, on any
    number of workers: every segment is determined by its key.

    Parameters
    ----------
    study : Study
    store : path
        Folder of finished segments; made if it is not there. On a cluster, one that all workers see.
    executor : concurrent.futures.Executor or None
        Where segments are trained; None means one single-thread process a core, or this process on a GPU
        and for work that would be over before the processes had started.
    device : torch.device or None
        None means the best of this machine.
    progress : bool
        Show the cost beforehand and a bar while training, on standard error.

    Returns
    -------
    Population

    Raises
    ------
    AkpError
        When the study cannot be laid out, or a stored file is damaged.
    """
    if not isinstance(study, Study):
        raise expected("a Study", repr(study), "Study(load('nuclei'), ...)")
    device = device or best_device()
    tree, shelf = grow(study, device), Store(store)
    missing = [key for key in tree.segments if key not in shelf]
    workers = _workers(device)
    price = estimate(study, tree, shelf, device, workers)
    if progress:
        tqdm.write(str(price), file=sys.stderr)
    if missing:
        data_file = _lay_out(study.data, shelf)
        short = price.seconds * workers < WORTH_PROCESSES
        with _executor(executor, 1 if short else min(workers, len(missing))) as pool:
            _train_all(tree, set(missing), shelf, data_file, device, pool, progress)
    return Population(study, tree, shelf)


def train_segment(segment: Segment, store: Path, data_file: Path, device: torch.device) -> float:
    """Train one segment and put it in the store; the unit of work of an executor.

    Idempotent: a segment already stored is left alone, one half done goes on from its checkpoint.

    Returns
    -------
    float
        Seconds of this process spent on it.
    """
    shelf = Store(store)
    if segment.key in shelf:
        return 0.0
    begin = time.perf_counter()
    data = _read(data_file)
    state, record = train(
        segment.setting.network,
        segment.setting.recipe,
        data,
        segment.seeds,
        segment.phase,
        taps=segment.setting.taps,
        probe_steps=segment.probe_steps,
        device=device,
        parent=None if segment.parent is None else shelf.state(segment.parent),
        resume=shelf.resume(segment.key),
        checkpoint=lambda state, record: shelf.checkpoint(segment.key, state, record),
    )
    seconds = time.perf_counter() - begin
    where = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    shelf.write(segment.key, state, record, {"spec": segment.spec, "seconds": seconds, "machine": where})
    return seconds


@functools.lru_cache(maxsize=2)
def _read(data_file: Path) -> Dataset:
    return Dataset.read(data_file)


def _lay_out(data: Dataset, shelf: Store) -> Path:
    """Put the data where workers can read it; a damaged copy is replaced."""
    path = shelf.root / "data" / f"{data.fingerprint}.safetensors"
    try:
        if path.exists() and Dataset.read(path).fingerprint == data.fingerprint:
            return path
    except AkpError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save(path)
    return path


def _workers(device: torch.device) -> int:
    return 1 if device.type == "cuda" else cpu_count()


@contextmanager
def _executor(given: Executor | None, workers: int) -> Iterator[Executor | None]:
    if given is not None or workers == 1:
        yield given
        return
    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _train_all(
    tree: Tree,
    missing: set[str],
    shelf: Store,
    data_file: Path,
    device: torch.device,
    pool: Executor | None,
    progress: bool,
) -> None:
    """Hand out every missing segment as soon as its parent is there."""
    children: dict[str | None, list[str]] = {}
    for key in missing:
        children.setdefault(tree.segments[key].parent, []).append(key)
    ready = [key for key in tree.segments if key in missing and tree.segments[key].parent not in missing]
    total = sum(tree.segments[key].steps for key in missing)
    pending: dict[Future[float], str] = {}
    with tqdm(total=total, unit="step", unit_scale=True, disable=not progress, desc="training") as bar:
        while ready or pending:
            if pool is None:
                done_keys = [ready.pop()]
                train_segment(tree.segments[done_keys[0]], shelf.root, data_file, device)
            else:
                for key in ready:
                    pending[pool.submit(train_segment, tree.segments[key], shelf.root, data_file, device)] = (
                        key
                    )
                ready = []
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                done_keys = [pending.pop(future) for future in done if future.result() >= 0]
            for key in done_keys:
                bar.update(tree.segments[key].steps)
                ready.extend(children.get(key, ()))
