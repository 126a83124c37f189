"""A block of members trained as one computation over a member axis, with `torch.func`.

Weights are stacked member first; one `vmap` of one member's gradient gives all members' gradients, and
one elementwise optimiser over the stacks takes all members' steps. A block always has a whole number of
groups of `LANES` members; those that are missing are filled up with copies of the last one and thrown
away, so that a member goes through the same kernels, and has the same bits, in whichever company.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from akp_core.engines.objective import laid_out_as, new_optimizer, objective
from akp_core.engines.resident import Resident, epoch_of_batches
from akp_core.errors import AkpError
from akp_core.networks import Architecture, swap
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from akp_core.stress import Phase

LANES = 8
Tensors = dict[str, Tensor]


class Vectorised:
    """A block of members on a member axis.

    See `akp_core.engines.Block` for what a block can do.

    Raises
    ------
    AkpError
        For a network with buffers (such as the running statistics of batch normalisation) or draws of
        its own (dropout), which have no member axis.
    """

    def __init__(self, network: Architecture, recipe: Recipe, data: Resident, seeds: Sequence[int]) -> None:
        self.recipe, self.data, self.seeds = recipe, data, tuple(seeds)
        self.filled = (*seeds, *[seeds[-1]] * (-len(seeds) % LANES))
        models = [network.build(data.shape, data.classes, generator(s, "weights")) for s in self.filled]
        if network.draws or dict(models[0].named_buffers()):
            raise AkpError(
                "expected a network without buffers and draws for the engine 'vectorised', got "
                f"{network.spec['kind']!r}; choose the engine 'loop'"
            )
        stacked, _ = stack_module_state(models)
        self.template = models[0].to(data.device)
        trained = {name for name, p in models[0].named_parameters() if p.requires_grad}
        on_device = {name: p.detach().to(data.device) for name, p in stacked.items()}
        self.stacked = {name: nn.Parameter(p) for name, p in on_device.items() if name in trained}
        self.frozen = {name: p for name, p in on_device.items() if name not in trained}
        self.optimizer = new_optimizer(recipe, list(self.stacked.values()))
        self.steps_per_epoch = recipe.steps_per_epoch(len(data.labels))
        self.steps = recipe.epochs * self.steps_per_epoch
        self.lost = torch.full((len(self.filled),), -1, device=data.device)
        self._epoch, self._batches = -1, torch.empty(0)

    @property
    def diverged(self) -> list[int]:
        """Step at which each member's loss ceased to be finite, or -1."""
        return self.lost[: len(self.seeds)].tolist()

    def enter(self, phase: Phase, *, reset: bool) -> None:
        """Swap in the functions of a phase."""
        swap(self.template, phase.held())
        self.labels = self.data.labels_in(phase)
        self.on = {target: phase.acting_on(target) for target in ("rate", "images", "weights")}
        one = partial(_one, self.template, phase.loss_function(), self.recipe.precision)
        self.gradient = vmap(grad_and_value(one, has_aux=True))
        if reset:
            self.optimizer = new_optimizer(self.recipe, list(self.stacked.values()))

    def advance(self, start: int, stop: int) -> list[tuple[float, float]]:
        """Train from one step to another; mean loss and accuracy of each member over these batches."""
        total = torch.zeros(len(self.filled), dtype=torch.float64, device=self.data.device)
        right = torch.zeros(len(self.filled), dtype=torch.int64, device=self.data.device)
        for step in range(start, stop):
            loss, hits = self._step(step)
            self.lost = torch.where((self.lost < 0) & ~loss.isfinite(), step, self.lost)
            total, right = total + loss, right + hits
        seen = (stop - start) * self.recipe.batch
        means = zip((total / (stop - start)).tolist(), (right / seen).tolist(), strict=True)
        lost = self.diverged
        return [
            pair if at < 0 else (math.nan, math.nan)
            for pair, at in zip(list(means)[: len(lost)], lost, strict=True)
        ]

    def _step(self, step: int) -> tuple[Float[Tensor, " m"], Int[Tensor, " m"]]:
        batch = self._batch(step)
        lanes, size = batch.shape
        x = self.data.batch(batch.flatten()).reshape(lanes, size, *self.data.shape)
        for disturbance, dose in self.on["images"]:
            pairs = zip(x, self._streams(disturbance.name, step), strict=True)
            x = torch.stack([disturbance.function(one, dose, stream) for one, stream in pairs])
        gradients, (loss, right) = self.gradient(self._weights(step), self.frozen, x, self.labels[batch])
        rate = self.recipe.rate(step, self.steps)
        for disturbance, dose in self.on["rate"]:
            rate = disturbance.function(rate, dose)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for name, p in self.stacked.items():
            p.grad = laid_out_as(p, gradients[name])
        self.optimizer.step()
        return loss.detach(), right

    def _weights(self, step: int) -> Tensors:
        weights = {name: p.detach() for name, p in self.stacked.items()}
        for disturbance, dose in self.on["weights"]:
            streams = self._streams(disturbance.name, step)
            weights = {
                name: torch.stack(
                    [disturbance.function(one, dose, stream) for one, stream in zip(p, streams, strict=True)]
                )
                for name, p in weights.items()
            }
        return weights

    def _streams(self, name: str, step: int) -> list[torch.Generator]:
        return [generator(seed, name, step) for seed in self.filled]

    def _batch(self, step: int) -> Int[Tensor, "m b"]:
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            images = len(self.data.labels)
            orders = [epoch_of_batches(self.recipe, seed, epoch, images) for seed in self.filled]
            self._epoch, self._batches = epoch, torch.stack(orders).to(self.data.device)
        return self._batches[:, within]

    def lose(self, member: int, step: int) -> None:
        """Count a member as diverged from a step on."""
        self.lost[member] = step

    def models(self) -> Iterator[nn.Module]:
        """Each member's network, in turn, in one and the same module."""
        for i in range(len(self.seeds)):
            for name, p in self.template.named_parameters():
                p.data.copy_((self.stacked[name] if name in self.stacked else self.frozen[name])[i])
            yield self.template

    def dump(self) -> Tensors:
        """All members' tensors, member axis first, as `akp_core.engines.member.Loop` gives them."""
        count = len(self.seeds)
        out = {f"model/{name}": p.detach()[:count] for name, p in (self.stacked | self.frozen).items()}
        for name, p in self.stacked.items():
            for key, value in self.optimizer.state.get(p, {}).items():
                if isinstance(value, Tensor):
                    per_member = value.expand(count) if value.ndim == 0 else value[:count]
                    out[f"optimizer/{name}/{key}"] = per_member
        out["diverged"] = self.lost[:count]
        return {k: v.to("cpu", copy=True).contiguous() for k, v in out.items()}

    def restore(self, tensors: Tensors) -> None:
        """Put back what `dump` gave."""
        rows = torch.tensor([min(i, len(self.seeds) - 1) for i in range(len(self.filled))])
        for name, p in self.stacked.items():
            p.data.copy_(tensors[f"model/{name}"][rows])
            prefix = f"optimizer/{name}/"
            kept = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if kept:
                self.optimizer.state[p] = {
                    k: (v[0] if k == "step" else v[rows]).to(p.device, copy=True) for k, v in kept.items()
                }
        self.lost = tensors["diverged"][rows].to(self.data.device)


def _one(
    template: nn.Module,
    loss: object,
    precision: str,
    weights: Tensors,
    frozen: Tensors,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
) -> tuple[Tensor, Tensor]:
    """One member's objective as a function of its weights, for `torch.func`."""
    return objective(
        lambda x: functional_call(template, weights | frozen, (x,)),
        loss,  # type: ignore[arg-type]
        images,
        labels,
        precision,
    )
