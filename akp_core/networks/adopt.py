"""Finding the activation modules of a network that is not ours, and making slots of them."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import activation as torchs

from akp_core.errors import AkpError
from akp_core.networks.slot import Slot, slots

PALETTE_NAMES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus",
}  # each at its default settings; nn.Identity is a placeholder far more often than an activation
_OVER_AN_AXIS = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}
_ELEMENTWISE = tuple(getattr(torchs, name) for name in torchs.__all__ if name not in _OVER_AN_AXIS)


def adopt(model: nn.Module) -> None:
    """Replace every activation module of a network by a slot that holds the same function.

    A module that stands in several places becomes one slot in all of them, and an activation that worked
    in place no longer does. Slots that the network has already stay. Functional calls such as ``F.relu``
    are no modules and stay as they are.

    Parameters
    ----------
    model : nn.Module
        Changed in place; its weights are not touched.

    Raises
    ------
    AkpError
        For an elementwise activation module whose function is not a registered one, as leaving it alone
        would make every swap a silent half; where there is no activation module at all.
    """
    places = {name: part for name, part in model.named_modules() if isinstance(part, _ELEMENTWISE)}
    made = {id(part): Slot(_palette_name(place, part)) for place, part in places.items()}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in made:
                setattr(parent, name, made[id(child)])
                if isinstance(parent, nn.TransformerEncoderLayer):
                    # else torch's fused path for inference would go on with the function it was built with
                    parent.activation_relu_or_gelu = 0
    if not slots(model):
        kinds = ", ".join(f"nn.{kind.__name__}" for kind in PALETTE_NAMES)
        raise AkpError(
            f"expected activation modules to make slots of ({kinds}, or akp_core.networks.Slot), found none "
            f"in {type(model).__name__}; a functional call such as F.relu(x) cannot be swapped: use a module"
        )


def _palette_name(place: str, part: nn.Module) -> str:
    """The registered activation that a module applies; its settings must be the default ones."""
    name = PALETTE_NAMES.get(type(part))
    if name is not None and _settings(part) == _settings(type(part)()):
        return name
    why = f"which is not the registered {name!r}" if name else "which has no registered counterpart"
    remedy = f"use nn.{type(part).__name__}() as it is by default" if name else "use one that has"
    raise AkpError(
        f"module {place!r} is {part!r}, {why}; {remedy}, or register its function in akp_core.palette and "
        f"put akp_core.networks.Slot(name) in its place"
    )


def _settings(part: nn.Module) -> dict[str, object]:
    return {k: v for k, v in vars(part).items() if not k.startswith("_") and k not in {"training", "inplace"}}
