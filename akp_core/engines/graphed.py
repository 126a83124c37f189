"""A block of members as one captured CUDA graph, with a branch for each member.

The members stay plain modules and may hold any function; what is captured is one training step of all of
them, from the gather of their batches to the optimiser, on parallel streams. A replay is one launch: the
step reads its place in training from counters on the device, so the host does nothing in between but
replay. A phase is captured anew, since its functions are other ones. Whatever draws fresh numbers in a
step is not for a graph; `akp_core.engines.block` gives it to `Loop`.

Without a GPU the same step runs uncaptured, so that its arithmetic is tested anywhere; the capture itself
has not been run yet.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from akp_core.engines.member import Loop
from akp_core.engines.objective import laid_out_as, new_optimizer, objective
from akp_core.engines.resident import Resident, epoch_of_batches
from akp_core.networks import Architecture
from akp_core.recipe import Recipe
from akp_core.stress import Phase

BRANCHES = 32


class Graphed(Loop):
    """A block of members in one captured graph.

    See `akp_core.engines.Block` for what a block can do.
    """

    def __init__(self, network: Architecture, recipe: Recipe, data: Resident, seeds: Sequence[int]) -> None:
        super().__init__(network, recipe, data, seeds)
        self.recipe, self.data = recipe, data
        first = self.members[0]
        self.steps, self.steps_per_epoch = first.steps, first.steps_per_epoch
        count, device = len(self.members), data.device
        self._rate = torch.zeros((), device=device)
        self._rates = torch.zeros(self.steps, device=device)
        self._within = torch.zeros(1, dtype=torch.int64, device=device)
        self._step = torch.zeros(1, dtype=torch.int64, device=device)
        self._batches = torch.zeros(
            count, self.steps_per_epoch, recipe.batch, dtype=torch.int64, device=device
        )
        self._loss = torch.zeros(count, dtype=torch.float64, device=device)
        self._right = torch.zeros(count, dtype=torch.int64, device=device)
        self._lost = torch.full((count,), -1, device=device)
        branches = min(BRANCHES, count) if self._cuda else 0
        self._streams = [torch.cuda.Stream(device) for _ in range(branches)]  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._share_one_optimizer()

    @property
    def _cuda(self) -> bool:
        return self.data.device.type == "cuda"

    def _share_one_optimizer(self) -> None:
        """One fused optimiser for all members, whose state is there from the start and never moves."""
        self._parameters = [member.trained for member in self.members]
        together = [p for parameters in self._parameters for p in parameters]
        self.optimizer = new_optimizer(self.recipe, together, rate=self._rate)
        for p in together:
            if self.recipe.optimizer == "sgd":
                self.optimizer.state[p] = {"momentum_buffer": torch.zeros_like(p)}
            else:
                moments = {"exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
                self.optimizer.state[p] = {"step": torch.zeros((), device=p.device)} | moments
        for member in self.members:
            member.optimizer = self.optimizer

    def enter(self, phase: Phase, *, reset: bool) -> None:
        """Swap in the functions of a phase; what was captured is forgotten."""
        super().enter(phase, reset=False)
        if reset:
            self._share_one_optimizer()
        rates = [self.members[0].rate(step) for step in range(self.steps)]
        self._rates.copy_(torch.tensor(rates))
        self._lost.copy_(torch.tensor(self.diverged))
        self._graph = None

    def advance(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Train from one step to another; mean loss and accuracy of each member over these batches."""
        for member in self.members:
            member.model.train()
        self._loss.zero_()
        self._right.zero_()
        step = start
        while step < stop:
            epoch, within = divmod(step, self.steps_per_epoch)
            count = min(stop - step, self.steps_per_epoch - within)
            self._lay_out(epoch, within)
            if self._cuda and self._graph is None:
                self._capture()
            for _ in range(count):
                self._all_members() if self._graph is None else self._graph.replay()
            step += count
        for member, at in zip(self.members, self._lost.tolist(), strict=True):
            member.diverged = at
        loss = (self._loss / (stop - start)).tolist()
        accuracy = (self._right / ((stop - start) * self.recipe.batch)).tolist()
        lost = math.nan, math.nan
        pairs = zip(loss, accuracy, strict=True)
        return [pair if m.diverged < 0 else lost for pair, m in zip(pairs, self.members, strict=True)]

    def lose(self, member: int, step: int) -> None:
        """Count a member as diverged from a step on."""
        super().lose(member, step)
        self._lost[member] = step

    def _lay_out(self, epoch: int, within: int) -> None:
        """Put an epoch's batches and one's place in it where the step reads them."""
        images = len(self.data.labels)
        for row, member in zip(self._batches, self.members, strict=True):
            row.copy_(epoch_of_batches(self.recipe, member.seed, epoch, images))
        self._within.fill_(within)
        self._step.fill_(epoch * self.steps_per_epoch + within)

    def _all_members(self) -> None:
        """One training step of every member; touches the host nowhere, so that it can be captured."""
        self._rate.copy_(self._rates.index_select(0, self._step)[0])
        for stream in self._streams:
            stream.wait_stream(torch.cuda.current_stream(self.data.device))
        for k in range(len(self.members)):
            with self._branch(k):
                self._one_member(k)
        for stream in self._streams:
            torch.cuda.current_stream(self.data.device).wait_stream(stream)
        self.optimizer.step()
        self._within.add_(1)
        self._step.add_(1)

    def _branch(self, k: int) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._streams[k % len(self._streams)]) if self._streams else nullcontext()

    def _one_member(self, k: int) -> None:
        member, parameters = self.members[k], self._parameters[k]
        batch = self._batches[k].index_select(0, self._within)[0]
        x, y = self.data.batch(batch), member.labels[batch]
        mean, right = objective(member.model, member.loss, x, y, self.recipe.precision)
        # not backward(): its accumulation nodes remember the stream they were made on
        gradients = torch.autograd.grad(mean, parameters, allow_unused=True)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = None if gradient is None else laid_out_as(p, gradient)
        mean = mean.detach()
        first = (self._lost[k] < 0) & ~mean.isfinite()
        self._lost[k].copy_(torch.where(first, self._step[0], self._lost[k]))
        self._loss[k].add_(mean)
        self._right[k].add_(right)

    def _capture(self) -> None:
        """Capture a step, after a few that warm the device up."""
        device = self.data.device
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side), warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*capturable=True.*")  # true of these steps, and meant
            self._warm_up()
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._all_members()

    def _warm_up(self, steps: int = 3) -> None:
        """Take the coming step a few times over and undo it each time."""
        moving = self._moving()
        kept = [t.detach().clone() for t in moving]
        for _ in range(steps):
            self._all_members()
            with torch.no_grad():
                for tensor, before in zip(moving, kept, strict=True):
                    tensor.copy_(before)
        self.optimizer.zero_grad(set_to_none=True)

    def _moving(self) -> list[Tensor]:
        """Every tensor that a step writes to."""
        state = [t for entry in self.optimizer.state.values() for t in entry.values()]
        buffers = [b for member in self.members for b in member.buffers.values()]
        counters = [self._within, self._step, self._lost, self._loss, self._right]
        weights = [p for part in self._parameters for p in part]
        return weights + state + buffers + counters
