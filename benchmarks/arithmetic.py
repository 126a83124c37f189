"""What one training step must compute and move, whatever computes it: the floor of its time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from akp_core.networks import Architecture
from akp_core.seeds import generator

VIEWS = (nn.Identity, nn.Flatten)  # layers that move nothing


@dataclass(frozen=True)
class Step:
    """One training step of one network: arithmetic in FLOP, memory traffic in bytes."""

    flops: float
    bytes: float

    def floor(self, rates: Mapping[str, float], precision: str) -> float:
        """Least seconds of the step: the larger of arithmetic and traffic at the machine's rates."""
        return max(self.flops / rates[precision], self.bytes / rates["copy"])


def step_of(
    network: Architecture, shape: tuple[int, int, int], classes: int, batch: int, *, bf16: bool
) -> Step:
    """Count what one step of Adam on one batch takes.

    FLOP are those of all matrix products and convolutions, forward and backward, as
    `torch.utils.flop_counter` counts them. The traffic supposes one kernel a layer and direction that reads
    and writes each of its operands once: forward its input and output, backward the output's gradient, the
    saved input and the input's gradient; and for each weight two reads (forward, backward), the written
    gradient, and the optimiser's four reads and three writes in float32. Kernels that fuse layers can move
    less, and additions between layers are not counted, so the floor is not exact, only low.

    Parameters
    ----------
    network : Architecture
    shape, classes, batch
        Of the images.
    bf16 : bool
        Whether layers compute under bfloat16 autocast.
    """
    model = network.build(shape, classes, generator(0, "weights")).train()
    moved = 0.0

    def count(_layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        size = output.element_size()
        read, written = inputs[0].numel() * size, output.numel() * size
        moved += 2 * (read + written) + (read if inputs[0].requires_grad else 0)

    leaves = [layer for layer in model.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(count) for layer in leaves if not isinstance(layer, VIEWS)]
    images, labels = torch.zeros(batch, *shape), torch.zeros(batch, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
    for handle in handles:
        handle.remove()
    weights = sum(p.numel() for p in model.parameters())
    return Step(float(counter.get_total_flops()), moved + weights * 4 * (2 + 1 + 4 + 3))
