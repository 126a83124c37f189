"""Whole states of the unstressed family, kept along training, so that a stress can be set in at any frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from akp_core.live.track import Tensors

KEPT_BYTES: Final = 128 * 2**20
"""What the kept states may take; fewer are kept where each is larger."""


class Kept:
    """States by step: of every frame if they fit, else of every few frames and of those in use.

    Parameters
    ----------
    start : list of dict of str to Tensor
        The members before training, one dict each.
    frames : sequence of int
        Steps at which states are offered, ascending.
    moments : int
        How many tensors the optimiser holds beside each weight.

    Notes
    -----
    Memory: `KEPT_BYTES`, and one state for each step in use.
    """

    def __init__(self, start: list[Tensors], frames: Sequence[int], moments: int) -> None:
        self.states: dict[int, list[Tensors]] = {0: start}
        self._frames = frames
        size = sum(tensor.numel() * tensor.element_size() for member in start for tensor in member.values())
        self.stride = -(-len(frames) * size * (1 + moments) // KEPT_BYTES)

    def keep(self, step: int, state: list[Tensors], used: set[int]) -> None:
        """Keep the state at a step, and let those go that are neither at a stride nor in use."""
        self.states[step] = state
        for number, frame in enumerate(self._frames):
            if number % self.stride and frame not in used | {0, step}:
                self.states.pop(frame, None)

    def before(self, step: int) -> tuple[int, list[Tensors] | None]:
        """Return the last kept step up to `step` and its state; None stands for the start of training."""
        last = max(kept for kept in self.states if kept <= step)
        return last, self.states[last] if last else None
