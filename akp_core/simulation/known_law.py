"""Labels whose law is known at every item, and families of small networks trained on them.

With the law known, the excess risk of a network is a number, not an estimate. Inputs are a mixture of
Gaussian clusters, each of one class, so the posterior has a formula and no straight boundary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from akp_core.errors import AkpError, expected, whole_number
from akp_core.palette import loss as loss_of
from akp_core.similarity.arrays import Array
from akp_core.theory.agreement import OneHidden


@dataclass(frozen=True, eq=False)
class KnownLaw:
    r"""Equally likely Gaussian clusters of unit covariance, each with a class of its own or shared.

    .. math:: p_k(x) = (1 - \nu)\frac{\sum_{j: c_j = k} e^{-\lVert x - \mu_j\rVert^2/2}}
              {\sum_j e^{-\lVert x-\mu_j\rVert^2/2}} + \frac{\nu}{K}

    Attributes
    ----------
    means : (J, d) float64
    owners : (J,) int64
        Class of each cluster, 0 to K - 1.
    noise : float
        Share of labels drawn uniformly over the classes instead, in [0, 1]. At 1 the law is constant.
    """

    means: Float64[np.ndarray, "J d"]
    owners: Int64[np.ndarray, " J"]
    noise: float = 0.1

    @property
    def classes(self) -> int:
        """K."""
        return int(self.owners.max()) + 1

    def posterior(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n K"]:
        """Probability of each class at each item; at least ``noise / K``."""
        scores = x @ self.means.T - np.square(self.means).sum(axis=1) / 2
        scores = log_softmax(scores, axis=1)
        clean = np.stack(
            [logsumexp(scores[:, self.owners == k], axis=1) for k in range(self.classes)], axis=1
        )
        return np.asarray((1 - self.noise) * np.exp(clean) + self.noise / self.classes)

    def draw(
        self, items: int, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, "n d"], Int64[np.ndarray, " n"]]:
        """Draw items and their labels."""
        whole_number("items", items, 1)
        chosen = rng.integers(len(self.means), size=items)
        x = self.means[chosen] + rng.standard_normal((items, self.means.shape[1]))
        below = rng.random(items)[:, None] > self.posterior(x).cumsum(axis=1)
        return x, np.minimum(below.sum(axis=1), self.classes - 1).astype(np.int64)


def mixture(
    classes: int,
    rng: np.random.Generator,
    *,
    dimensions: int = 6,
    clusters: int = 2,
    radius: float = 2.5,
    noise: float = 0.1,
) -> KnownLaw:
    """Place clusters at random on a sphere.

    Parameters
    ----------
    classes : int
        At least 2.
    rng : numpy.random.Generator
    dimensions : int
        Of the inputs, at least 2.
    clusters : int
        Of each class, at least 1.
    radius : float
        Of the sphere, in standard deviations of a cluster, at least 0. The larger, the surer the labels.
    noise : float
        Share of labels without a cause, in [0, 1].

    Raises
    ------
    AkpError
        For a value out of range.
    """
    whole_number("classes", classes, 2)
    whole_number("dimensions", dimensions, 2)
    whole_number("clusters", clusters, 1)
    if not 0 <= noise <= 1 or not 0 <= radius < np.inf:
        raise expected("noise from 0 to 1 and a radius of at least 0", f"{noise!r} and {radius!r}")
    means = rng.standard_normal((classes * clusters, dimensions))
    means *= radius / np.linalg.norm(means, axis=1, keepdims=True)
    return KnownLaw(means, np.tile(np.arange(classes), clusters), float(noise))


@dataclass(frozen=True, eq=False)
class Trained:
    """A family of networks with one hidden layer, looked at while they trained.

    Attributes
    ----------
    steps : tuple of int
        When they were looked at; the first is 0, the last the end.
    logits : (T, M, n, K) float32
        For the items that they were looked at on.
    networks : tuple of M OneHidden
        At the end.
    """

    steps: tuple[int, ...]
    logits: Float32[np.ndarray, "T M n K"]
    networks: tuple[OneHidden, ...]


def train(
    x: Float[Array, "n d"],
    y: Int64[Array, " n"],
    look: Float[Array, "m d"],
    *,
    generator: torch.Generator,
    schedule: Sequence[tuple[str, int]] = (("cross_entropy", 512),),
    members: int = 12,
    width: int = 48,
    batch: int = 64,
    rate: float = 3e-3,
) -> Trained:
    """Train a family that shares data and differs in first weights and batches; Adam, the rate falling to 0.

    Parameters
    ----------
    x, y : (n, d) float and (n,) int64, NumPy or torch
        Items and labels from 0 on.
    look : (m, d) float
        Items on which the networks are looked at, at every power of two of steps, swap and end.
    generator : torch.Generator
        The same state gives the same first weights and batches, whatever the schedule.
    schedule : sequence of (loss, steps)
        Names of the palette, one after the other: two entries are a hot-swap. The optimiser keeps its state.
    members, width, batch : int
    rate : float
        Step size at the start.

    Raises
    ------
    AkpError
        For an unknown loss, a value out of range, or networks that diverge.
    """
    whole_number("members", members, 1)
    whole_number("width", width, 1)
    whole_number("batch", batch, 1)
    for name, count in schedule:
        loss_of(name)
        whole_number("steps of " + name, count, 1)
    items, labels = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.int64)
    seen = torch.as_tensor(look, dtype=torch.float32)
    total, classes = sum(count for _, count in schedule), int(labels.max()) + 1
    weights = _first_weights(members, items.shape[1], width, classes, generator)
    adam = torch.optim.Adam(weights, lr=rate)
    slope = torch.optim.lr_scheduler.CosineAnnealingLR(adam, total)
    ends = np.cumsum([count for _, count in schedule]).tolist()
    looks = sorted({0, *ends, *(2**k for k in range(3, total.bit_length()) if 2**k <= total)})
    kept = []
    for step in range(total + 1):
        if step in looks:
            with torch.no_grad():
                kept.append(_forward(weights, seen.expand(members, -1, -1)).numpy())
        if step == total:
            break
        chosen = torch.randint(len(items), (members, batch), generator=generator)
        name = schedule[next(k for k, end in enumerate(ends) if step < end)][0]
        z = _forward(weights, items[chosen]).flatten(0, 1)
        adam.zero_grad()
        value = loss_of(name).function(z, labels[chosen].flatten()).sum() / batch
        value.backward()  # type: ignore[no-untyped-call]
        adam.step()
        slope.step()
    logits = np.stack(kept)
    if not np.isfinite(logits).all():
        raise AkpError(f"expected networks that train, got some that diverged; lower the rate of {rate:g}")
    w, b, v, c = (one.detach().double().numpy() for one in weights)
    return Trained(tuple(looks), logits, tuple(OneHidden(w[i], b[i], v[i], c[i]) for i in range(members)))


def _first_weights(
    members: int, inputs: int, width: int, classes: int, generator: torch.Generator
) -> list[Float[Tensor, "*any"]]:
    """He's scale inside, small read-outs, zero biases."""
    drawn = [
        torch.randn(members, width, inputs, generator=generator) * (2 / inputs) ** 0.5,
        torch.zeros(members, width),
        torch.randn(members, classes, width, generator=generator) * width**-0.5,
        torch.zeros(members, classes),
    ]
    return [one.requires_grad_() for one in drawn]


def _forward(weights: Sequence[Float[Tensor, "*any"]], x: Float[Tensor, "M b d"]) -> Float[Tensor, "M b K"]:
    w, b, v, c = weights
    return torch.relu(x @ w.mT + b[:, None]) @ v.mT + c[:, None]
