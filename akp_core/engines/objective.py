"""What every engine computes at every step: one member's loss on one batch, and its optimiser.

The engines differ in how many members they take at once, never in this arithmetic, so that a member
trained in a block is the member trained alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from akp_core.palette import PerExample
from akp_core.recipe import Recipe

MOMENTUM = 0.9


def objective(
    forward: Callable[[Tensor], Tensor],
    loss: PerExample,
    images: Float[Tensor, "b c h w"],
    labels: Int[Tensor, " b"],
    precision: str,
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    r"""Mean loss :math:`\frac1b\sum_i \ell(z_i, y_i)` of a batch, and how many it gets right.

    In ``bfloat16`` the network is evaluated under autocast (weights, their gradients and the loss stay in
    float32); nothing else changes.
    """
    if precision == "bfloat16":
        # the cache of cast weights would outlive the step inside a captured graph
        with torch.autocast(images.device.type, torch.bfloat16, cache_enabled=False):
            logits = forward(images)
        logits = logits.float()
    else:
        logits = forward(images)
    right = (logits.detach().argmax(dim=1) == labels).sum()
    return loss(logits, labels).mean(), right


def new_optimizer(
    recipe: Recipe, parameters: list[nn.Parameter], *, rate: Tensor | None = None
) -> torch.optim.Optimizer:
    """The recipe's optimiser, fused over all parameters; elementwise, so it never mixes members.

    Parameters
    ----------
    recipe : Recipe
    parameters : list of nn.Parameter
    rate : () float32 tensor or None
        Where a captured step reads its learning rate from; None takes plain numbers.
    """
    options: dict[str, Any] = {"weight_decay": recipe.weight_decay, "fused": True}
    options["lr"] = recipe.learning_rate if rate is None else rate
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=MOMENTUM, **options)
    capturable = rate is not None and rate.is_cuda
    return torch.optim.Adam(parameters, capturable=capturable, **options)


def laid_out_as(weight: Tensor, gradient: Tensor) -> Tensor:
    """A gradient with the strides of its weight, as fused optimisers silently take it to have."""
    if gradient.stride() == weight.stride():
        return gradient
    return torch.empty_like(weight).copy_(gradient)


@contextmanager
def reproducible() -> Iterator[None]:
    """On a GPU, let cuDNN choose only kernels that give the same bits again, and round nothing to TF32."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.deterministic, cudnn.benchmark = True, False
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
