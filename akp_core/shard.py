"""Trains a shard: segments that differ only in their member, as one block; the unit of work of an executor.

A shard is idempotent. What the store holds is left alone, what another process is training is left to it,
and what was broken off goes on from its checkpoint. So a shard may be run twice, anywhere, in any company,
and a worker that dies costs at most an epoch.
"""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from akp_core.datasets import Dataset
from akp_core.errors import AkpError
from akp_core.family import State, train
from akp_core.store import Store
from akp_core.tree import Segment
from akp_core.vocabulary import Entry, learn

Tensors = dict[str, Tensor]
Block = list[tuple[Segment, tuple[State, Tensors] | None]]  # each with the checkpoint it goes on from

# threads of one process share torch's random streams, number of threads and captures
_ONE_AT_A_TIME = threading.Lock()


def train_shard(
    segments: Sequence[Segment],
    store: Path,
    data_file: Path,
    device: torch.device,
    tick: Callable[[int], Any] | None = None,
    words: Sequence[Entry] = (),
) -> tuple[str, ...]:
    """Train segments of one phase and put them in the store.

    Parameters
    ----------
    segments : sequence of Segment
        They share their setting, phase and probes; their parents are in the store.
    store, data_file : path
        Seen by this process under these names.
    device : torch.device
    tick : callable or None
        Told after every epoch how many steps have been taken since.
    words : sequence of Activation, Loss or Disturbance
        What the sender has registered besides this library's own (`akp_core.vocabulary.added`).

    Returns
    -------
    tuple of str
        Keys of the segments that are in the store now; the others are being trained by another process.

    Raises
    ------
    AkpError
        When a parent is missing or damaged, or the store cannot be written to.
    """
    learn(words)
    shelf = Store(store)
    with ExitStack() as locks, _ONE_AT_A_TIME:
        held = [s for s in segments if s.key not in shelf and locks.enter_context(shelf.lock(s.key))]
        # another process may have finished one between the look and the lock
        held = [s for s in held if s.key not in shelf]
        blocks = _in_step(held, shelf)
        while blocks:
            block = blocks.pop()
            if not _fits(block, shelf, data_file, device, tick):
                blocks += [block[: len(block) // 2], block[len(block) // 2 :]]
        return tuple(s.key for s in segments if s.key in shelf)


def _fits(
    block: Block, shelf: Store, data_file: Path, device: torch.device, tick: Callable[[int], Any] | None
) -> bool:
    """Train a block; False if the device's memory is too small for so many members at once."""
    try:
        _train_block(block, shelf, data_file, device, tick)
        return True
    except torch.OutOfMemoryError as error:
        if len(block) == 1:
            raise AkpError(
                f"the memory of {device} is too small for one member; use a smaller batch or network"
            ) from error
    torch.cuda.empty_cache()
    return False


def _in_step(segments: Iterable[Segment], shelf: Store) -> list[Block]:
    """Group segments by the step they go on from."""
    groups: dict[int, Block] = {}
    for segment in segments:
        kept = shelf.resume(segment.key)
        groups.setdefault(-1 if kept is None else kept[0].step, []).append((segment, kept))
    return list(groups.values())


def _train_block(
    block: Block, shelf: Store, data_file: Path, device: torch.device, tick: Callable[[int], Any] | None
) -> None:
    segments = [segment for segment, _ in block]
    first, kept = segments[0], [resume for _, resume in block if resume is not None]
    begin, done = time.perf_counter(), kept[0][0].step if kept else first.phase.start
    before = [shelf.spent(segment.key) if kept else 0.0 for segment in segments]

    def spent(i: int) -> float:
        return before[i] + (time.perf_counter() - begin) / len(segments)

    def checkpoint(state: State, record: Tensors) -> None:
        nonlocal done
        for i, segment in enumerate(segments):
            shelf.checkpoint(segment.key, _member_state(state, i), _member_record(record, i), spent(i))
        if tick is not None:
            tick((state.step - done) * len(segments))
        done = state.step

    parent = resume = None
    if kept:
        resume = _joined_states([s for s, _ in kept]), _joined_records([r for _, r in kept])
    elif first.parent is not None:
        parent = _joined_states([shelf.state(str(s.parent)) for s in segments])
    state, record = train(
        first.setting.network,
        first.setting.recipe,
        _read(data_file),
        [segment.seed for segment in segments],
        first.phase,
        taps=first.setting.taps,
        probe_steps=first.probe_steps,
        device=device,
        engine=first.setting.engine,
        parent=parent,
        resume=resume,
        checkpoint=checkpoint,
    )
    for i, segment in enumerate(segments):
        manifest = {"spec": segment.spec, "seconds": spent(i), "steps": segment.steps, "block": len(segments)}
        shelf.write(segment.key, _member_state(state, i), _member_record(record, i), manifest | _here(device))
    if tick is not None:
        tick((state.step - done) * len(segments))


def _here(device: torch.device) -> dict[str, Any]:
    cuda = device.type == "cuda"
    machine = torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine()
    return {"machine": machine, "finished": datetime.now(UTC).isoformat(timespec="seconds")}


@lru_cache(maxsize=1)
def _read(data_file: Path) -> Dataset:
    return Dataset.read(data_file)


def _member_state(state: State, i: int) -> State:
    return State(state.step, {k: v[i : i + 1] for k, v in state.tensors.items()})


def _member_record(record: Tensors, i: int) -> Tensors:
    return {k: v if k.endswith("/step") else v[i : i + 1] for k, v in record.items()}


def _joined_states(states: Sequence[State]) -> State:
    names = states[0].tensors
    # a member that diverged at its first step has no optimiser state, which is the same as zeros
    for state in states:
        names = names | state.tensors
    rows = [{k: state.tensors.get(k, torch.zeros_like(v)) for k, v in names.items()} for state in states]
    return State(states[0].step, {k: torch.cat([row[k] for row in rows]) for k in names})


def _joined_records(records: Sequence[Tensors]) -> Tensors:
    first = records[0]
    return {k: v if k.endswith("/step") else torch.cat([r[k] for r in records]) for k, v in first.items()}
