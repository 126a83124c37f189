"""Slots: the places of a network that apply whichever activation they currently hold."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from akp_core import palette
from akp_core.errors import unknown_name


class Slot(nn.Module):
    """A place in a network that applies the activation it currently holds, never in place.

    Parameters
    ----------
    name : str
        A name of `akp_core.palette.ACTIVATIONS`.

    Raises
    ------
    AkpError
        For an unknown activation.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.activation = palette.activation(name)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the held activation to a tensor of any shape."""
        return self.activation.function(x)

    def extra_repr(self) -> str:
        """Show the held activation where torch prints the network."""
        return self.activation.name


def slots(model: nn.Module) -> dict[str, Slot]:
    """Find every slot of a network, by its qualified name, in order; a shared slot has its first name."""
    return {name: part for name, part in model.named_modules() if isinstance(part, Slot)}


def swap(model: nn.Module, activations: Mapping[str, str | palette.Activation]) -> None:
    """Replace the activation that each named slot holds, in place; weights are not touched.

    Parameters
    ----------
    model : nn.Module
        A network with slots.
    activations : mapping of str to str or Activation
        Slot name to the activation, or its registered name.

    Raises
    ------
    AkpError
        For a slot the network does not have, or an unknown activation; nothing is swapped then.
    """
    places = slots(model)
    for name in activations:
        if name not in places:
            raise unknown_name("slot", name, places)
    chosen = {
        name: to if isinstance(to, palette.Activation) else palette.activation(to)
        for name, to in activations.items()
    }
    for name, entry in chosen.items():
        places[name].activation = entry
