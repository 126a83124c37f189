"""One member in mid-training: a plain module, its optimiser and its place in the data.

The block of an engine that trains its members one after the other (`Loop`) is the fastest on a CPU: there
each member's weights and activations stay in the cache, which any vectorisation over members loses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from akp_core.engines.objective import new_optimizer, objective
from akp_core.engines.resident import Resident, epoch_of_batches
from akp_core.networks import Architecture, swap
from akp_core.recipe import Recipe
from akp_core.seeds import derive, generator
from akp_core.stress import Phase

Tensors = dict[str, Tensor]


class Member:
    """One network with its optimiser.

    Parameters
    ----------
    network : Architecture
    recipe : Recipe
    data : Resident
    seed : int
        Determines the first weights, the order of images and every disturbance's draws.
    """

    def __init__(self, network: Architecture, recipe: Recipe, data: Resident, seed: int) -> None:
        self.recipe, self.data, self.seed = recipe, data, seed
        model = network.build(data.shape, data.classes, generator(seed, "weights")).to(data.device)
        self.model = model.to(memory_format=torch.channels_last)
        self.named = dict(self.model.named_parameters())
        self.trained = [p for p in self.named.values() if p.requires_grad]
        self.buffers = dict(self.model.named_buffers())
        self.draws = network.draws
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.labels))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.diverged = -1
        self.optimizer = new_optimizer(recipe, self.trained)
        self._epoch, self._batches = -1, torch.empty(0)

    def enter(self, phase: Phase, *, reset: bool) -> None:
        """Swap in the functions of a phase; forget the optimiser's state where asked."""
        swap(self.model, phase.held())
        self.loss, self.labels = phase.loss_function(), self.data.labels_in(phase)
        self.on = {target: phase.acting_on(target) for target in ("rate", "images", "weights")}
        if reset:
            self.optimizer = new_optimizer(self.recipe, self.trained)

    def step(self, step: int) -> tuple[float, int]:
        """One step of training; returns its loss and how many images it got right.

        A loss that is not finite ends the member's training: its weights stay as they are.
        """
        batch = self._batch(step)
        x, y = self.data.batch(batch), self.labels[batch]
        for disturbance, dose in self.on["images"]:
            x = disturbance.function(x, dose, generator(self.seed, disturbance.name, step))
        if self.draws:
            torch.default_generator.manual_seed(derive(self.seed, "draws", step))
            if self.data.device.type == "cuda":
                torch.cuda.manual_seed(derive(self.seed, "draws", step))
        with self._disturbed(step):
            mean, right = objective(self.model, self.loss, x, y, self.recipe.precision)
            value = float(mean.detach())
            if not math.isfinite(value):
                self.diverged = step
                return math.nan, 0
            self.optimizer.zero_grad(set_to_none=True)
            mean.backward()  # type: ignore[no-untyped-call]
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step)
        self.optimizer.step()
        return value, int(right)

    def rate(self, step: int) -> float:
        """The learning rate of one step, disturbances included."""
        rate = self.recipe.rate(step, self.steps)
        for disturbance, dose in self.on["rate"]:
            rate = disturbance.function(rate, dose)
        return rate

    def _batch(self, step: int) -> Tensor:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            batches = epoch_of_batches(self.recipe, self.seed, epoch, len(self.data.labels))
            self._epoch, self._batches = epoch, batches.to(self.data.device)
        return self._batches[within]

    @contextmanager
    def _disturbed(self, step: int) -> Iterator[None]:
        """Compute at disturbed weights; the clean ones are back afterwards, whatever happens."""
        if not self.on["weights"]:
            yield
            return
        clean = [p.detach().clone() for p in self.trained]
        for disturbance, dose in self.on["weights"]:
            stream = generator(self.seed, disturbance.name, step)
            for p in self.trained:
                p.data.copy_(disturbance.function(p.data, dose, stream))
        try:
            yield
        finally:
            for p, before in zip(self.trained, clean, strict=True):
                p.data.copy_(before)

    def dump(self) -> Tensors:
        """The member's weights, buffers and optimiser state, copied to the CPU."""
        out = {f"model/{name}": p.detach() for name, p in self.named.items()}
        out |= {f"buffer/{name}": b for name, b in self.buffers.items()}
        for name, p in self.named.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):
                    out[f"optimizer/{name}/{key}"] = value
        copied = {k: v.to("cpu", copy=True).contiguous() for k, v in out.items()}
        return copied | {"diverged": torch.tensor(self.diverged)}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `dump` gave."""
        for name, b in self.buffers.items():
            b.copy_(tensors[f"buffer/{name}"])
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


class Loop:
    """A block of members trained one after the other.

    See `akp_core.engines.Block` for what a block can do.
    """

    def __init__(self, network: Architecture, recipe: Recipe, data: Resident, seeds: Sequence[int]) -> None:
        self.members = [Member(network, recipe, data, seed) for seed in seeds]

    @property
    def diverged(self) -> list[int]:
        """Step at which each member's loss ceased to be finite, or -1."""
        return [member.diverged for member in self.members]

    def enter(self, phase: Phase, *, reset: bool) -> None:
        """Swap in the functions of a phase."""
        for member in self.members:
            member.enter(phase, reset=reset)

    def advance(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Train from one step to another; mean loss and accuracy of each member over these batches."""
        return [_advance(member, start, stop) for member in self.members]

    def lose(self, member: int, step: int) -> None:
        """Count a member as diverged from a step on."""
        self.members[member].diverged = step

    def models(self) -> Iterator[nn.Module]:
        """Each member's network, in turn."""
        for member in self.members:
            yield member.model

    def dump(self) -> Tensors:
        """All members' tensors, member axis first."""
        dumps = [member.dump() for member in self.members]
        # a member that diverged at its first step has no optimiser state, which is the same as zeros
        like = {name: value for dump in reversed(dumps) for name, value in dump.items()}
        rows = [{name: dump.get(name, torch.zeros_like(v)) for name, v in like.items()} for dump in dumps]
        return {name: torch.stack([row[name] for row in rows]) for name in like}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `dump` gave."""
        for i, member in enumerate(self.members):
            member.restore({k: v[i] for k, v in tensors.items()})


def _advance(member: Member, start: int, stop: int) -> tuple[float, float]:
    member.model.train()
    total, right = 0.0, 0
    # a user's network may draw from torch's own streams; they are the caller's again afterwards
    devices = [member.data.device] if member.data.device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=member.draws):
        for step in range(start, stop):
            if member.diverged >= 0:
                return math.nan, math.nan
            loss, hits = member.step(step)
            total, right = total + loss, right + hits
    if member.diverged >= 0:
        return math.nan, math.nan
    return total / (stop - start), right / ((stop - start) * member.recipe.batch)
