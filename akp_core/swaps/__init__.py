"""Hot-swaps seen one by one: what each function is, and what swapping it in did."""

from __future__ import annotations

from akp_core.swaps.effects import Kind, courses, goes_with, moved, of_kind
from akp_core.swaps.functions import properties_of_activations, targets_of_losses

__all__ = [
    "Kind",
    "courses",
    "goes_with",
    "moved",
    "of_kind",
    "properties_of_activations",
    "targets_of_losses",
]
