"""The activations and losses that a stress may choose, by name and with their known properties.

A hot-swap is only interpretable when the two functions are known: a bounded activation cannot blow
up, an even one erases the sign of its input, a loss that is not proper moves the target itself. So
each entry declares its properties beside its function, tests hold the declarations to the functions,
and the book prints the same table. A new entry is one ``register_*`` call, or one line of the tables below.

A swap of dose below 1 puts in a *mixture*, the weighted mean of two functions. Every function here runs
over a member axis (``torch.func.vmap``) and inside a captured CUDA graph: it reads no value on the host.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from akp_core.admission import admit_activation, admit_loss
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.identity import identity_of

Elementwise = Callable[[Tensor], Tensor]
PerExample = Callable[[Tensor, Tensor], Tensor]
Mixture = tuple[tuple[str, float], ...]
"""Names and weights, the weights in (0, 1] and of sum 1; one name alone has weight 1."""


@dataclass(frozen=True)
class Activation:
    """An elementwise function with the properties that matter when it is swapped in.

    Attributes
    ----------
    name : str
    function : callable
        Tensor of any shape to a tensor of the same shape; must not work in place, as taps read its input.
    bounded : bool
        Whether its range is bounded on both sides.
    monotone : bool
        Whether it never decreases.
    formula : str
        LaTeX, for the reader.
    """

    name: str
    function: Elementwise
    bounded: bool
    monotone: bool
    formula: str

    @cached_property
    def identity(self) -> str:
        """Hash of the function itself, so that a stored result never outlives a changed function."""
        return identity_of(self.function)


@dataclass(frozen=True)
class Loss:
    """A per-example classification loss with the properties that matter when it is swapped in.

    Attributes
    ----------
    name : str
    function : callable
        ``(logits (b, classes) float, labels (b,) int64) -> (b,)`` float, not averaged.
    proper : bool
        Whether its expected value is least where the output (the softmax of the logits, or the logits
        themselves) equals the true class probabilities; a swap between proper losses keeps the target.
    formula : str
        LaTeX for one example, with logits ``z``, label ``y``, probabilities ``p = softmax(z)``.
    """

    name: str
    function: PerExample
    proper: bool
    formula: str

    @cached_property
    def identity(self) -> str:
        """Hash of the function itself, so that a stored result never outlives a changed function."""
        return identity_of(self.function)


Entry = TypeVar("Entry", Activation, Loss)

ACTIVATIONS: dict[str, Activation] = {}
LOSSES: dict[str, Loss] = {}


def register_activation(entry: Activation) -> Activation:
    """Add an activation of the user's under its name, once it has been tried (`akp_core.admission`).

    A later entry of the same name takes the place of an earlier one, as when a cell is run again; what was
    trained with either stays apart, since the function is part of the key.

    Raises
    ------
    AkpError
        For the name of one that this library has, or a function that will not do.
    """
    if entry.name in BUILT_IN_ACTIVATIONS:
        raise AkpError(f"activation {entry.name!r} is already registered; choose another name")
    admit_activation(entry.name, entry.function, bounded=entry.bounded, monotone=entry.monotone)
    ACTIVATIONS[entry.name] = entry
    return entry


def register_loss(entry: Loss) -> Loss:
    """Add a loss of the user's under its name, once it has been tried (`akp_core.admission`).

    A later entry of the same name takes the place of an earlier one, as for `register_activation`.

    Raises
    ------
    AkpError
        For the name of one that this library has, or a function that will not do.
    """
    if entry.name in BUILT_IN_LOSSES:
        raise AkpError(f"loss {entry.name!r} is already registered; choose another name")
    admit_loss(entry.name, entry.function)
    LOSSES[entry.name] = entry
    return entry


def activation(name: str) -> Activation:
    """Look up an activation; an unknown name raises `AkpError` with the valid ones."""
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def loss(name: str) -> Loss:
    """Look up a loss; an unknown name raises `AkpError` with the valid ones."""
    if name not in LOSSES:
        raise unknown_name("loss", name, LOSSES)
    return LOSSES[name]


@dataclass(frozen=True)
class _Mixed:
    """The weighted mean of functions that take the same inputs."""

    parts: tuple[tuple[Activation | Loss, float], ...]

    def __call__(self, *inputs: Tensor) -> Tensor:
        """``sum_k weight_k function_k(inputs)``, the first part first."""
        return reduce(operator.add, (weight * entry.function(*inputs) for entry, weight in self.parts))

    def __repr__(self) -> str:
        """Name the functions by what they do, so that a mixture has an identity of its own."""
        return " + ".join(f"{weight!r} {entry.identity}" for entry, weight in self.parts)


def mixed_activation(mixture: Mixture) -> Activation:
    r"""Mix activations, :math:`f(x) = \sum_k w_k f_k(x)`.

    Parameters
    ----------
    mixture : tuple of (name, weight) pairs
        Weights in (0, 1] that sum to 1.

    Returns
    -------
    Activation
        Of one name alone, that very entry. A mixture counts as bounded, or monotone, where all its parts
        are; it may be so without.

    Raises
    ------
    AkpError
        For an unknown name, a name that stands twice, or weights that are none.
    """
    parts = _checked(mixture, "activation", activation)
    if len(parts) == 1:
        return parts[0][0]
    return Activation(
        " + ".join(f"{weight:.6g} {entry.name}" for entry, weight in parts),
        _Mixed(parts),
        all(entry.bounded for entry, _ in parts),
        all(entry.monotone for entry, _ in parts),
        " + ".join(rf"{weight:.6g}\left({entry.formula}\right)" for entry, weight in parts),
    )


def mixed_loss(mixture: Mixture) -> PerExample:
    r"""Mix losses, :math:`\ell(z, y) = \sum_k w_k \ell_k(z, y)`.

    Parameters
    ----------
    mixture : tuple of (name, weight) pairs
        Weights in (0, 1] that sum to 1.

    Returns
    -------
    callable
        ``(logits (b, classes) float, labels (b,) int64) -> (b,)`` float. Of one name alone, that very
        function. A mixture of two proper losses need not be proper, where they read the output differently.

    Raises
    ------
    AkpError
        For an unknown name, a name that stands twice, or weights that are none.
    """
    parts = _checked(mixture, "loss", loss)
    return parts[0][0].function if len(parts) == 1 else _Mixed(parts)


def _checked(
    mixture: Mixture, kind: str, entry_of: Callable[[str], Entry]
) -> tuple[tuple[Entry, float], ...]:
    try:
        pairs = [(name, weight) for name, weight in mixture]
    except (TypeError, ValueError):
        pairs = []
    if not pairs:
        raise expected(f"a mixture of one {kind} or more as pairs of a name and a weight", repr(mixture))
    entries = [entry_of(name) for name, _ in pairs]
    names = [entry.name for entry in entries]
    if len(set(names)) < len(names):
        raise expected(f"each {kind} of a mixture once", ", ".join(names), "add up the weights of a name")
    for name, weight in pairs:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
            raise expected(f"the weight of {name!r} above 0 and at most 1", repr(weight))
    total = math.fsum(weight for _, weight in pairs)
    if abs(total - 1) > 1e-9:
        raise expected("the weights of a mixture to sum to 1", f"{total:.6g}")
    return tuple((entry, float(weight)) for entry, (_, weight) in zip(entries, pairs, strict=True))


def _one_hot(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Bool[Tensor, "b c"]:
    # torch's own one_hot and multi_margin_loss read values on the host or have no member axis
    return labels[:, None] == torch.arange(logits.shape[1], device=labels.device)


def squared_error(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Mean over classes of the squared distance to the one-hot label, :math:`\frac1C\|z - e_y\|^2`."""
    return (logits - _one_hot(logits, labels).to(logits.dtype)).square().mean(dim=1)


def hinge(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Multi-class hinge :math:`\frac1C\sum_{c \ne y}\max(0, 1 - z_y + z_c)` (Weston and Watkins 1999)."""
    label = _one_hot(logits, labels)
    own = torch.where(label, logits, 0).sum(dim=1, keepdim=True)
    return torch.where(label, 0, torch.relu(1 - own + logits)).mean(dim=1)


def focal(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Focal loss :math:`-(1 - p_y)^2 \log p_y` (Lin et al. 2017, eq. 4, gamma = 2)."""
    log_p = -F.cross_entropy(logits, labels, reduction="none")
    return -(1 - log_p.exp()).square() * log_p


for _entry in (
    Activation("relu", torch.relu, False, True, r"\max(0, x)"),
    Activation("leaky_relu", F.leaky_relu, False, True, r"\max(0.01x, x)"),
    Activation("gelu", F.gelu, False, False, r"x\,\Phi(x)"),
    Activation("silu", F.silu, False, False, r"x / (1 + e^{-x})"),
    Activation("tanh", torch.tanh, True, True, r"\tanh x"),
    Activation("sigmoid", torch.sigmoid, True, True, r"1 / (1 + e^{-x})"),
    Activation("softplus", F.softplus, False, True, r"\log(1 + e^x)"),
    Activation("sine", torch.sin, True, False, r"\sin x"),
    Activation("identity", lambda x: x, False, True, "x"),
    Activation("square", torch.square, False, False, "x^2"),
):
    ACTIVATIONS[_entry.name] = _entry

for _loss in (
    Loss("cross_entropy", lambda z, y: F.cross_entropy(z, y, reduction="none"), True, r"-\log p_y"),
    Loss("squared_error", squared_error, True, r"\tfrac1C \lVert z - e_y \rVert^2"),
    Loss("hinge", hinge, False, r"\tfrac1C \sum_{c \ne y} \max(0, 1 - z_y + z_c)"),
    Loss("focal", focal, False, r"-(1 - p_y)^2 \log p_y"),
    Loss(
        "label_smoothing",
        lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
        False,
        r"-0.9 \log p_y - \tfrac{0.1}{C} \sum_c \log p_c",
    ),
):
    LOSSES[_loss.name] = _loss

BUILT_IN_ACTIVATIONS, BUILT_IN_LOSSES = frozenset(ACTIVATIONS), frozenset(LOSSES)
"""The names that this library starts with, in every process."""
