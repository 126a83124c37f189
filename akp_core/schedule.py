"""Hands out the missing segments of a tree as shards, each as soon as its parents are there.

The order of training follows from the tree alone, and every result is determined by its key, so a
schedule decides when something is trained, never what comes out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import PicklingError
from queue import Empty, SimpleQueue
from typing import Any

import torch
from loky import ProcessPoolExecutor

from akp_core.errors import AkpError
from akp_core.shard import train_shard
from akp_core.store import DamagedError, Store
from akp_core.tree import Segment, Tree
from akp_core.vocabulary import added

PATIENCE = 0.5  # seconds between two looks at a segment that another process is training
TOGETHER = {"loop": 1, "vectorised": 64, "graphed": 64}  # members in one shard
ATTEMPTS = 3  # before giving up on a machine that keeps killing workers, or on a disk that keeps losing files


def complete(
    tree: Tree,
    shelf: Store,
    data_file: Path,
    device: torch.device,
    executor: Executor | None,
    *,
    processes: int,
    tick: Callable[[int], Any],
) -> None:
    """Train every segment of a tree that the store does not hold.

    Parameters
    ----------
    tree : Tree
    shelf : Store
    data_file : path
    device : torch.device
    executor : Executor or None
        None means so many ``processes`` of this machine, or this process if one is enough. A pool of ours
        whose worker is killed is replaced by a new one. A segment that turns out to be damaged is trained
        again.
    processes : int
    tick : callable
        Told how many steps have been taken.

    Raises
    ------
    AkpError
        When the workers keep being killed, or what a worker raised.
    """
    for left in range(ATTEMPTS - 1, -1, -1):
        try:
            with _pool(executor, processes) as pool:
                _Schedule(tree, shelf, data_file, device, tick).follow(pool)
            return
        except DamagedError:
            if left == 0:
                raise
        except (PicklingError, AttributeError, TypeError) as error:
            if "pickle" not in str(error):
                raise
            raise AkpError(
                f"the study cannot be sent to this executor's workers ({error}); define its functions in a "
                "module that they can import, or use an executor of loky's or Dask's"
            ) from error
        except BrokenExecutor as error:
            if executor is not None or left == 0:
                raise AkpError(
                    "a worker process was killed (out of memory?); what is finished is in the store: run "
                    "again, with fewer workers if it goes on"
                ) from error


@contextmanager
def _pool(given: Executor | None, processes: int) -> Iterator[Executor | None]:
    if given is not None or processes == 1:
        yield given
        return
    pool = ProcessPoolExecutor(processes, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, kill_workers=True)


class _Schedule:
    def __init__(
        self, tree: Tree, shelf: Store, data_file: Path, device: torch.device, tick: Callable[[int], Any]
    ) -> None:
        self.tree, self.tick = tree, tick
        self.work = shelf.root.absolute(), data_file, device
        self.left = {key for key in tree.segments if key not in shelf}
        self.ready = [s for s in tree.segments.values() if s.key in self.left and s.parent not in self.left]
        self.elsewhere: list[Segment] = []
        self.words = added()
        self.children: dict[str | None, list[Segment]] = {}
        for segment in tree.segments.values():
            if segment.key in self.left:
                self.children.setdefault(segment.parent, []).append(segment)

    def follow(self, pool: Executor | None) -> None:
        """Hand out shards until nothing is left."""
        while self.left:
            if pool is None:
                self._here()
            else:
                self._in(pool)
            if self.elsewhere:
                time.sleep(PATIENCE)
                self.ready, self.elsewhere = self.elsewhere, []

    def _here(self) -> None:
        while self.ready:
            *others, shard = _shards(self.ready)
            self.ready = [segment for other in others for segment in other]
            self._done(shard, train_shard(shard, *self.work, self.tick))

    def _in(self, pool: Executor) -> None:
        shards: dict[Future[tuple[str, ...]], tuple[Segment, ...]] = {}
        ended: SimpleQueue[Future[tuple[str, ...]]] = SimpleQueue()
        again = time.monotonic() + PATIENCE
        try:
            while self.ready or shards:
                for shard in _shards(self.ready):
                    future = pool.submit(train_shard, shard, *self.work, words=self.words)
                    shards[future] = shard
                    future.add_done_callback(ended.put)
                self.ready = []
                with suppress(Empty):
                    future = ended.get(timeout=PATIENCE if self.elsewhere else None)
                    shard, keys = shards.pop(future), future.result()
                    self.tick(sum(s.steps for s in shard if s.key in keys))
                    self._done(shard, keys)
                if self.elsewhere and time.monotonic() > again:
                    self.ready, self.elsewhere = self.ready + self.elsewhere, []
                    again = time.monotonic() + PATIENCE
        except Exception as error:
            # what Dask raises when a task's workers have died too often; its name is all we can know of it
            if type(error).__name__ == "KilledWorker":
                raise BrokenExecutor(str(error)) from error
            raise
        finally:
            for future in shards:
                future.cancel()

    def _done(self, shard: Iterable[Segment], keys: Iterable[str]) -> None:
        finished = set(keys)
        self.left -= finished
        for segment in shard:
            if segment.key in finished:
                self.ready += self.children.get(segment.key, ())
            else:
                self.elsewhere.append(segment)


def _shards(segments: Iterable[Segment]) -> list[tuple[Segment, ...]]:
    """Segments that can be trained as one block, at most so many of them in each."""
    alike: dict[tuple[object, ...], list[Segment]] = {}
    for segment in segments:
        alike.setdefault((segment.phase, segment.probe_steps), []).append(segment)
    shards = []
    for group in alike.values():
        together = TOGETHER[group[0].setting.engine]
        shards += [tuple(group[k : k + together]) for k in range(0, len(group), together)]
    return shards
