"""The activations and losses that a stress may choose, by name and with their known properties.

A hot-swap is only interpretable when the two functions are known: a bounded activation cannot blow
up, an even one erases the sign of its input, a loss that is not proper moves the target itself. So
each entry declares its properties beside its function, tests hold the declarations to the functions,
and the book prints the same table. A new entry is one ``register_*`` call.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from akp_core.errors import AkpError, unknown_name

Elementwise = Callable[[Tensor], Tensor]
PerExample = Callable[[Tensor, Tensor], Tensor]


def _identity_of(function: Callable[..., Tensor]) -> str:
    """Name a function by what it does: its source where there is one, else its qualified name."""
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', repr(function))}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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

    @property
    def identity(self) -> str:
        """Hash of the function itself, so that a stored result never outlives a changed function."""
        return _identity_of(self.function)


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

    @property
    def identity(self) -> str:
        """Hash of the function itself, so that a stored result never outlives a changed function."""
        return _identity_of(self.function)


ACTIVATIONS: dict[str, Activation] = {}
LOSSES: dict[str, Loss] = {}


def register_activation(entry: Activation) -> Activation:
    """Add an activation under its name; a name already taken is an error."""
    if entry.name in ACTIVATIONS:
        raise AkpError(f"activation {entry.name!r} is already registered; choose another name")
    ACTIVATIONS[entry.name] = entry
    return entry


def register_loss(entry: Loss) -> Loss:
    """Add a loss under its name; a name already taken is an error."""
    if entry.name in LOSSES:
        raise AkpError(f"loss {entry.name!r} is already registered; choose another name")
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


def squared_error(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    r"""Mean over classes of the squared distance to the one-hot label, :math:`\frac1C\|z - e_y\|^2`."""
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return (logits - target).square().mean(dim=1)


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
    register_activation(_entry)

for _loss in (
    Loss("cross_entropy", lambda z, y: F.cross_entropy(z, y, reduction="none"), True, r"-\log p_y"),
    Loss("squared_error", squared_error, True, r"\tfrac1C \lVert z - e_y \rVert^2"),
    Loss(
        "hinge",
        lambda z, y: F.multi_margin_loss(z, y, reduction="none"),
        False,
        r"\tfrac1C \sum_{c \ne y} \max(0, 1 - z_y + z_c)",
    ),
    Loss("focal", focal, False, r"-(1 - p_y)^2 \log p_y"),
    Loss(
        "label_smoothing",
        lambda z, y: F.cross_entropy(z, y, reduction="none", label_smoothing=0.1),
        False,
        r"-0.9 \log p_y - \tfrac{0.1}{C} \sum_c \log p_c",
    ),
):
    register_loss(_loss)
