"""Trains one family: members that share every function and differ only in their seeds.

Each member's training is a pure function of its seed and of the phases it goes through
(`akp_core.engines` has the arithmetic). This room adds what a family is looked at for: the curve of every
epoch, and the probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from akp_core import engines
from akp_core.datasets import Dataset
from akp_core.memory import keep_freed_memory
from akp_core.networks import Architecture
from akp_core.probes import Eyes, look, lost
from akp_core.recipe import Recipe
from akp_core.stress import Phase
from akp_core.threads import one_thread

ENGINE = "3"  # part of every segment's key: raise it whenever the same spec gives other bits
Tensors = dict[str, Tensor]


@dataclass
class State:
    """A block of members between two steps.

    Attributes
    ----------
    step : int
        Steps done.
    tensors : dict of str to Tensor
        What `akp_core.engines.Block.dump` gives; the first axis is the member.
    """

    step: int
    tensors: Tensors


def train(
    network: Architecture,
    recipe: Recipe,
    data: Dataset,
    seeds: Sequence[int],
    phase: Phase,
    *,
    taps: Sequence[str],
    probe_steps: Sequence[int],
    device: torch.device,
    engine: str = "loop",
    parent: State | None = None,
    resume: tuple[State, Tensors] | None = None,
    checkpoint: Callable[[State, Tensors], None] | None = None,
) -> tuple[State, Tensors]:
    """Train a block of members through one phase.

    Parameters
    ----------
    network, recipe, data
        What is trained, how, on what.
    seeds : sequence of int
        One a member.
    phase : Phase
        The stretch of training and the functions in force.
    taps : sequence of str
        Where representations are read.
    probe_steps : sequence of int
        Steps after which the members are looked at; those outside the phase are ignored. Step 0 belongs
        to the phase that starts the training.
    device : torch.device
    engine : str
        A name of `akp_core.engines.ENGINES`.
    parent : State or None
        The members at the start of the phase; None starts from new weights at step 0.
    resume : (State, dict) or None
        What an earlier `checkpoint` call received for this very phase.
    checkpoint : callable or None
        Called with the state and the record so far after every epoch.

    Returns
    -------
    State
        The members at the end of the phase.
    dict of str to Tensor
        The record; member axis first. ``curve/step`` (e,), ``curve/loss`` and ``curve/accuracy``
        (members, e) of the training batches up to that step; ``probe/step`` (p,) and every entry of
        `akp_core.probes.look` as ``probe/...`` (members, p, ...).

    Notes
    -----
    Cost: ``members * (phase.stop - phase.start)`` forward and backward passes of one batch, and one
    forward pass over the evaluation and probe images a probe. The result does not depend on how the
    phase is cut by checkpoints.
    """
    keep_freed_memory()
    there = torch.cuda.device(device) if device.type == "cuda" else nullcontext()
    with one_thread(flush_denormals=True), engines.reproducible(), there:
        resident = engines.resident(data, device)
        block = engines.block(engine, network, recipe, resident, seeds, phase)
        begin, record = resume or (parent or State(0, {}), {})
        if begin.tensors:
            block.restore(begin.tensors)
        block.enter(phase, reset=phase.reset_optimizer and resume is None)
        eyes = _eyes(data, tuple(taps), device)
        stops = _stops(phase, probe_steps, recipe.steps_per_epoch(len(data.train)))
        step = begin.step
        if step == 0 and phase.start == 0 and 0 in probe_steps and "probe/step" not in record:
            record = _append(record, 0, _seen(block, eyes, 0))
        for stop in (s for s in stops if s > step):
            record = _append_curve(record, stop, block.advance(step, stop))
            if stop in probe_steps:
                record = _append(record, stop, _seen(block, eyes, stop))
            step = stop
            if checkpoint is not None and step < phase.stop:
                checkpoint(State(step, block.dump()), record)
        return State(phase.stop, block.dump()), record


@lru_cache(maxsize=1)
def _eyes(data: Dataset, taps: tuple[str, ...], device: torch.device) -> Eyes:
    return Eyes.of(data, taps, device)


def _seen(block: engines.Block, eyes: Eyes, step: int) -> list[Tensors]:
    """Look at every member; one that diverged is lost, also where what is left of it happens to be finite."""
    seen = []
    for i, model in enumerate(block.models()):
        entry = look(model.eval(), eyes)
        if block.diverged[i] < 0 and not bool(entry["finite"]):
            block.lose(i, step)
        seen.append(lost(entry, diverged=True) if block.diverged[i] >= 0 else entry)
    return seen


def _stops(phase: Phase, probe_steps: Sequence[int], steps_per_epoch: int) -> list[int]:
    epochs = range(0, phase.stop + 1, steps_per_epoch)
    inside = {s for s in (*epochs, *probe_steps) if phase.start < s < phase.stop}
    return sorted(inside | {phase.stop})


def _append(record: Tensors, step: int, seen: Sequence[Tensors]) -> Tensors:
    new = {f"probe/{k}": torch.stack([entry[k] for entry in seen])[:, None] for k in seen[0]}
    return _joined(record, new | {"probe/step": torch.tensor([step])})


def _append_curve(record: Tensors, step: int, means: Sequence[tuple[float, float]]) -> Tensors:
    loss, accuracy = (
        torch.tensor(column, dtype=torch.float64)[:, None] for column in zip(*means, strict=True)
    )
    return _joined(
        record, {"curve/step": torch.tensor([step]), "curve/loss": loss, "curve/accuracy": accuracy}
    )


def _joined(record: Tensors, new: Tensors) -> Tensors:
    axis = {k: 0 if k.endswith("/step") else 1 for k in new}
    return record | {k: torch.cat([record[k], v], axis[k]) if k in record else v for k, v in new.items()}
