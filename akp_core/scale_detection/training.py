"""Training on the task: hinge loss and a penalty on weights, plain gradient descent on small batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from torch import Tensor

from akp_core.errors import AkpError, expected, whole_number
from akp_core.scale_detection.images import render
from akp_core.scale_detection.network import Stack, Weights, forward, initial
from akp_core.scale_detection.task import Pairs, ScaleTask
from akp_core.seeds import generator
from akp_core.theory.ornstein_uhlenbeck import number
from akp_core.threads import one_thread


@dataclass(frozen=True)
class Descent:
    r"""How networks are trained.

    .. math:: L = \bigl\langle \max(0, 1 - y\,o) \bigr\rangle + \frac{\lambda}{H k} \sum_l \lVert w_l \rVert^2

    Attributes
    ----------
    epochs : int
        Passes over the training pairs.
    rate : float
        Learning rate; times the width H under a mean-field read-out, whose gradients are as much smaller.
    ridge : float
        lambda.
    batch : int
        Pairs in a step.

    Raises
    ------
    AkpError
        For a number out of its range.

    Notes
    -----
    The authors use rate 0.01, ridge 0.01 and batch 8 with H = 1000, and train 500 times as long as it takes
    to fit the training pairs.
    """

    epochs: int = 100
    rate: float = 0.02
    ridge: float = 0.01
    batch: int = 16

    def __post_init__(self) -> None:
        whole_number("epochs", self.epochs, 1)
        whole_number("batch", self.batch, 1)
        if not number("rate", self.rate, 0):
            raise expected("a rate above 0", repr(self.rate))
        number("ridge", self.ridge, 0)


@dataclass(frozen=True)
class Trained:
    """A population of networks on one task, before and after training.

    Attributes
    ----------
    task : ScaleTask
    stack : Stack
    test : Pairs
        Unseen in training, half of each class.
    before, after : Weights
        Of M networks.
    train_error, test_error : (M,) float64 arrays
        Share of pairs answered wrongly, in [0, 1]; an output of 0 is wrong. NaN for a diverged network.
    diverged : (M,) bool array
        Whether a weight or an output is not finite.
    """

    task: ScaleTask
    stack: Stack
    test: Pairs
    before: Weights
    after: Weights
    train_error: Float64[np.ndarray, " M"]
    test_error: Float64[np.ndarray, " M"]
    diverged: Bool[np.ndarray, " M"]


def train(
    task: ScaleTask,
    stack: Stack,
    descent: Descent,
    *,
    members: int,
    pairs: int,
    test: int,
    seed: int,
) -> Trained:
    """Train a population of networks on one task; all see the same pairs, each in an order of its own.

    Parameters
    ----------
    task : ScaleTask
    stack : Stack
        Of the dimensions of the task.
    descent : Descent
    members : int
        Networks, at least 1.
    pairs, test : int
        Training and test pairs, even.
    seed : int
        Of the pairs, the initial weights and the orders.

    Returns
    -------
    Trained

    Raises
    ------
    AkpError
        For a stack that does not fit the images, or as `ScaleTask.draw`.

    Notes
    -----
    Cost: all members advance together, on one thread. On 2-dimensional images of 16 pixels and more most
    of it is the first two layers.
    """
    if stack.dims != task.dims:
        raise expected(f"a stack of {task.dims} dimensions, as the task has", str(stack.dims))
    if stack.padding == "circular" and not task.wraps:
        raise AkpError("a circular padding joins opposite borders, which this task keeps apart; use zeros")
    stack.check(task.side)
    drawn, unseen = task.draw(pairs, test, generator(seed, "scale detection", "pairs"))
    before = initial(stack, members, seed)
    images = render(task, drawn.places)
    with one_thread(flush_denormals=True):
        after = _descend(stack, descent, before, images, drawn.labels, seed)
        finite = torch.stack([torch.isfinite(w).flatten(1).all(1) for w in after.all()]).all(0).numpy()
        errors = []
        for found, labels in ((images, drawn.labels), (render(task, unseen.places), unseen.labels)):
            wrong = _errors(stack, after, found, labels)
            finite &= np.isfinite(wrong)
            errors.append(wrong)
    train_error, test_error = (np.where(finite, error, np.nan) for error in errors)
    return Trained(task, stack, unseen, before, after, train_error, test_error, ~finite)


def _descend(
    stack: Stack,
    descent: Descent,
    start: Weights,
    images: Float32[Tensor, "P 1 *side"],
    labels: Float32[Tensor, " P"],
    seed: int,
) -> Weights:
    members = len(start.beta)
    weights = Weights(
        tuple(w.clone().requires_grad_() for w in start.layers),
        tuple(b.clone().requires_grad_(stack.bias) for b in start.biases),
        start.beta.clone().requires_grad_(),
        start.beta0.clone().requires_grad_(),
    )
    trained = [w for w in weights.all() if w.requires_grad]
    rate = descent.rate * (stack.width if stack.readout == "mean_field" else 1)
    optimiser = torch.optim.SGD(trained, lr=rate, foreach=True)
    streams = [generator(seed, "scale detection", "order", m) for m in range(members)]
    penalty = descent.ridge / (stack.width * stack.depth)
    for _ in range(descent.epochs):
        orders = torch.stack([torch.randperm(len(images), generator=stream) for stream in streams])
        for chosen in torch.split(orders, descent.batch, dim=1):
            optimiser.zero_grad(set_to_none=True)
            _, outputs = forward(stack, weights, images[chosen])
            # The sum over members: their gradients do not mix.
            loss = (1 - labels[chosen] * outputs).relu().mean(1).sum()
            if penalty:
                loss = loss + penalty * sum(w.square().sum() for w in weights.layers)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return Weights(
        tuple(w.detach() for w in weights.layers),
        tuple(b.detach() for b in weights.biases),
        weights.beta.detach(),
        weights.beta0.detach(),
    )


@torch.no_grad()
def _errors(
    stack: Stack, weights: Weights, images: Float32[Tensor, "n 1 *side"], labels: Float32[Tensor, " n"]
) -> Float64[np.ndarray, " M"]:
    """Share of wrong answers; NaN where an output is not finite."""
    found = []
    for part, due in zip(torch.split(images, 256), torch.split(labels, 256), strict=True):
        outputs = forward(stack, weights, part[None])[1]
        found.append(torch.where(outputs.isfinite(), (outputs * due <= 0).double(), torch.nan))
    return torch.cat(found, 1).mean(1).numpy()
