"""The training images of a data set where they are trained on, and the order in which they are seen.

Images stay on the device for the whole training, standardised once, their channels last in memory; a
batch is one gather. Everything here is a pure function of the data, a seed and a place in training, so
no random state has to be carried over a fork or a resume, and a stressed member sees exactly the batches
of its unstressed twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from akp_core.datasets import Dataset
from akp_core.probes import standardise
from akp_core.recipe import Recipe
from akp_core.seeds import generator
from akp_core.stress import Phase


@dataclass(frozen=True, eq=False)
class Resident:
    """Training images on a device.

    Attributes
    ----------
    images : (n, h, w, c) float32
        Standardised, channels last.
    labels : (n,) int64
    shape : tuple of int
        ``(channels, height, width)`` of one image.
    classes : int
    fingerprint : str
        The data set's.
    """

    images: Float[Tensor, "n h w c"]
    labels: Int[Tensor, " n"]
    shape: tuple[int, int, int]
    classes: int
    fingerprint: str

    @classmethod
    def of(cls, data: Dataset, device: torch.device, *, first: int | None = None) -> Resident:
        """Put a data set's training images, or the first few of them, on a device."""
        images = standardise(data, data.train.images[:first]).to(device).permute(0, 2, 3, 1).contiguous()
        labels = data.train.labels[:first].to(device)
        return cls(images, labels, data.shape, data.classes, data.fingerprint)

    @property
    def device(self) -> torch.device:
        """Where the images lie."""
        return self.images.device

    def batch(self, index: Int[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """The images of one batch, channels last in memory."""
        return self.images.index_select(0, index).permute(0, 3, 1, 2)

    def labels_in(self, phase: Phase) -> Int[Tensor, " n"]:
        """The training labels in force in a phase; a disturbance of them is the same for all members."""
        labels = self.labels
        for disturbance, dose in phase.acting_on("labels"):
            stream = generator(0, disturbance.name, self.fingerprint)
            labels = disturbance.function(labels, self.classes, dose, stream)
        return labels


@lru_cache(maxsize=1)
def resident(data: Dataset, device: torch.device) -> Resident:
    """`Resident.of` all training images; the latest stay there for the next caller."""
    return Resident.of(data, device)


def order(seed: int, epoch: int, images: int) -> Int[Tensor, " n"]:
    """The order in which a member sees the training images in one epoch, (images,) int64."""
    return torch.randperm(images, generator=generator(seed, "order", epoch))


def epoch_of_batches(recipe: Recipe, seed: int, epoch: int, images: int) -> Int[Tensor, "steps b"]:
    """The images of every step of an epoch; those left over by the last full batch are not in it."""
    steps = recipe.steps_per_epoch(images)
    return order(seed, epoch, images)[: steps * recipe.batch].view(steps, recipe.batch)
