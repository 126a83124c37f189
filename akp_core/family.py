"""Trains one family: members that share every function and differ only in their seeds.

Each member's training is a pure function of its seed and of the phases it goes through. The order of
its images is drawn anew for every epoch from ``(seed, epoch)``, so no random state has to be carried
over a fork or a resume, and a stressed member sees exactly the batches of its unstressed twin.

On a CPU the members of a block are trained one after the other on one thread, in channels-last
layout, which is faster there than any vectorisation over members; more members run in more processes
(`akp_core.population`). One thread also makes the bits independent of the machine's load.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from akp_core import palette
from akp_core.datasets import Dataset
from akp_core.networks import Network, swap
from akp_core.probes import Eyes, look, lost, standardise
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from akp_core.stress import Phase
from akp_core.threads import one_thread

ENGINE = "2"  # part of every segment's key: raise it whenever the same spec gives other bits
Tensors = dict[str, Tensor]


@dataclass
class State:
    """A block of members between two steps.

    Attributes
    ----------
    step : int
        Steps done.
    tensors : dict of str to Tensor
        Weights (``model/...``), optimiser state (``optimizer/...``) and ``diverged`` (int64, the step at
        which a member's loss ceased to be finite, or -1); the first axis is the member.
    """

    step: int
    tensors: Tensors


def order(seed: int, epoch: int, images: int) -> Tensor:
    """The order in which a member sees the training images in one epoch, (images,) int64."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


class Trainer:
    """One member in mid-training: a plain module, its optimiser and its place in the data."""

    def __init__(
        self, network: Network, recipe: Recipe, data: Dataset, seed: int, device: torch.device
    ) -> None:
        self.recipe, self.seed, self.device = recipe, seed, device
        model = network.build(data.shape, data.classes, generator(seed, "weights")).to(device)
        self.model = model.to(memory_format=torch.channels_last)
        self.named = dict(self.model.named_parameters())
        self.optimizer = self._new_optimizer()
        self.images = len(data.train)
        self.steps_per_epoch = recipe.steps_per_epoch(self.images)
        self.steps = recipe.epochs * self.steps_per_epoch
        self.diverged = -1
        self._epoch, self._order = -1, torch.empty(0)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        r = self.recipe
        options: dict[str, Any] = {"lr": r.learning_rate, "weight_decay": r.weight_decay, "fused": True}
        if r.optimizer == "adam":
            return torch.optim.Adam(self.named.values(), **options)
        return torch.optim.SGD(self.named.values(), momentum=0.9, **options)

    def enter(self, phase: Phase) -> None:
        """Swap in the functions of a phase; forget the optimiser's state if the phase says so."""
        swap(self.model, dict(phase.activations))
        self.loss = palette.loss(phase.loss).function
        if phase.reset_optimizer:
            self.optimizer = self._new_optimizer()

    def advance(self, images: Tensor, labels: Tensor, start: int, stop: int) -> tuple[float, float]:
        """Train from one step to another; returns the mean loss and accuracy over these batches."""
        self.model.train()
        total, right = 0.0, 0
        for step in range(start, stop):
            if self.diverged >= 0:
                return math.nan, math.nan
            batch = self._batch(step)
            x = images[batch].contiguous(memory_format=torch.channels_last)
            logits, y = self.model(x), labels[batch]
            loss = self.loss(logits, y).mean()
            value = loss.detach().item()
            if not math.isfinite(value):
                self.diverged = step
                return math.nan, math.nan
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.rate(step, self.steps)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            total += value
            right += int((logits.detach().argmax(dim=1) == y).sum())
        return total / (stop - start), right / ((stop - start) * self.recipe.batch)

    def _batch(self, step: int) -> Tensor:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, order(self.seed, epoch, self.images).to(self.device)
        return self._order[within * self.recipe.batch : (within + 1) * self.recipe.batch]

    def dump(self) -> Tensors:
        """The member's weights and optimiser state, copied to the CPU."""
        out = {f"model/{name}": p.detach() for name, p in self.named.items()}
        for name, p in self.named.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):
                    out[f"optimizer/{name}/{key}"] = value
        copied = {k: v.to("cpu", copy=True).contiguous() for k, v in out.items()}
        return copied | {"diverged": torch.tensor(self.diverged)}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `dump` gave."""
        for name, p in self.named.items():
            p.data.copy_(tensors[f"model/{name}"])
            prefix = f"optimizer/{name}/"
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if kept:
                self.optimizer.state[p] = {
                    k: (v.to(p.device, copy=True) if v.ndim == 0 else torch.empty_like(p).copy_(v))
                    for k, v in kept.items()
                }
        self.diverged = int(tensors["diverged"])


def train(
    network: Network,
    recipe: Recipe,
    data: Dataset,
    seeds: Sequence[int],
    phase: Phase,
    *,
    taps: Sequence[str],
    probe_steps: Sequence[int],
    device: torch.device,
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
    with one_thread(flush_denormals=True):
        members = [Trainer(network, recipe, data, seed, device) for seed in seeds]
        begin, record = resume or (parent or State(0, {}), {})
        if begin.tensors:
            for i, member in enumerate(members):
                member.restore({k: v[i] for k, v in begin.tensors.items()})
        for member in members:
            member.enter(phase if resume is None else _without_reset(phase))
        eyes = Eyes.of(data, taps, device)
        images, labels = standardise(data, data.train.images).to(device), data.train.labels.to(device)
        stops = _stops(phase, probe_steps, members[0].steps_per_epoch)
        step = begin.step
        if step == 0 and phase.start == 0 and 0 in probe_steps and "probe/step" not in record:
            record = _append(record, 0, [_seen(member, eyes, 0) for member in members])
        for stop in (s for s in stops if s > step):
            means = [member.advance(images, labels, step, stop) for member in members]
            record = _append_curve(record, stop, means)
            if stop in probe_steps:
                record = _append(record, stop, [_seen(member, eyes, stop) for member in members])
            step = stop
            if checkpoint is not None and step < phase.stop:
                checkpoint(_state(step, members), record)
        return _state(phase.stop, members), record


def _seen(member: Trainer, eyes: Eyes, step: int) -> Tensors:
    """Look at a member; one that diverged is lost, also where what is left of it happens to be finite."""
    entry = look(member.model.eval(), eyes)
    if member.diverged < 0 and not bool(entry["finite"]):
        member.diverged = step
    return lost(entry, diverged=True) if member.diverged >= 0 else entry


def _without_reset(phase: Phase) -> Phase:
    return Phase(phase.start, phase.stop, phase.activations, phase.loss)


def _stops(phase: Phase, probe_steps: Sequence[int], steps_per_epoch: int) -> list[int]:
    epochs = range(0, phase.stop + 1, steps_per_epoch)
    inside = {s for s in (*epochs, *probe_steps) if phase.start < s < phase.stop}
    return sorted(inside | {phase.stop})


def _state(step: int, members: Sequence[Trainer]) -> State:
    dumps = [member.dump() for member in members]
    # a member that diverged at its first step has no optimiser state, which is the same as zeros
    like = {name: value for dump in reversed(dumps) for name, value in dump.items()}
    rows = [{name: dump.get(name, torch.zeros_like(value)) for name, value in like.items()} for dump in dumps]
    return State(step, {name: torch.stack([row[name] for row in rows]) for name in like})


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
