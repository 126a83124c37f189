"""How a member is trained when nothing disturbs it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from akp_core import palette
from akp_core.errors import AkpError, expected, unknown_name, whole_number

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Recipe:
    """How a member is trained when nothing disturbs it.

    Attributes
    ----------
    epochs : int
        Passes over the training images; the images left over by the last full batch of an epoch wait
        for the next epoch's order.
    batch : int
        Images a step.
    optimizer : {"adam", "sgd"}
        ``sgd`` has momentum 0.9.
    learning_rate, weight_decay : float
    loss : str
        A name of `akp_core.palette.LOSSES`.
    schedule : {"constant", "cosine"}
        ``cosine``: ``lr * (1 + cos(pi * step / steps)) / 2``.
    precision : {"float32", "bfloat16"}
        What the network computes in while it trains. ``bfloat16`` keeps weights, losses and optimiser in
        float32 and needs a processor that has the format, else it is slower; networks are looked at in
        float32 either way.

    Raises
    ------
    AkpError
        For an unknown name or a number out of range.
    """

    epochs: int = 8
    batch: int = 64
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    loss: str = "cross_entropy"
    schedule: str = "constant"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        palette.loss(self.loss)
        for name in ("epochs", "batch"):
            whole_number(name, getattr(self, name), 1)
        if not (_number(self.learning_rate) and self.learning_rate > 0):
            raise expected("a learning rate above 0", repr(self.learning_rate))
        if not (_number(self.weight_decay) and self.weight_decay >= 0):
            raise expected("a weight decay of at least 0", repr(self.weight_decay))

    def steps_per_epoch(self, images: int) -> int:
        """Full batches in one pass over so many images."""
        if images < self.batch:
            raise AkpError(f"expected at least one batch of {self.batch} training images, got {images}")
        return images // self.batch

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of one step of a training of so many steps."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * (1 + math.cos(math.pi * step / steps)) / 2


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
