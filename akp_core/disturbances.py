"""The disturbances that a stress may choose besides a swap, by name, each with one number: its dose.

A disturbance leaves every function of the network alone and acts on something else that training reads:
the learning rate, the training labels, the training images or the weights. At its neutral dose it returns
what came, bit for bit. A new entry is one ``register_disturbance`` call.

Random numbers come from the generator alone, are drawn on the CPU and then moved, so that a disturbance
is the same on every device; and they are drawn before the dose is looked at, so that two doses of one
stream differ in strength only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import floor, inf, isfinite, isinf, nan
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from akp_core.admission import admit_disturbance
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.identity import identity_of

TARGETS = ("rate", "labels", "images", "weights")
_TAKEN = ("none", "activation", "loss")


@dataclass(frozen=True)
class Disturbance:
    """Something that training reads, changed by a function of one dose.

    Attributes
    ----------
    name : str
    target : {"rate", "labels", "images", "weights"}
        What it acts on, and with that what its function takes and when it is called:

        - ``rate``: ``(rate, dose) -> rate``, at each step.
        - ``labels``: ``(labels (n,) int64, classes, dose, generator) -> (n,) int64``, once, to all training
          labels and with the same result for all members.
        - ``images``: ``(images (b, c, h, w) float, dose, generator) -> (b, c, h, w)``, to each training
          batch, afresh.
        - ``weights``: ``(weight, dose, generator) -> weight``, to each tensor at each step. The gradient is
          taken at the disturbed weights and applied to the clean ones.
    function : callable
        Must not work in place; draws from the generator, which is on the CPU, and from nothing else.
    neutral : float
        The dose that changes nothing.
    low, high : float
        The doses allowed, both ends included; `high` may be infinite, a dose may not.
    meaning : str
        What a dose is, in words, for the reader.
    formula : str
        LaTeX with dose ``d``, for the reader.
    """

    name: str
    target: str
    function: Callable[..., Any]
    neutral: float
    low: float
    high: float
    meaning: str
    formula: str

    @cached_property
    def identity(self) -> str:
        """Hash of the function itself, so that a stored result never outlives a changed function."""
        return f"{self.target} {identity_of(self.function)}"

    @property
    def range(self) -> str:
        """The doses allowed, in words: ``from 0 to 1``, ``from 0 up``."""
        if isinf(self.high):
            return f"from {self.low:g} up"
        return f"from {self.low:g} to {self.high:g}"

    @property
    def other_dose(self) -> float:
        """A dose that is allowed and not neutral: an end of the range, or one more than neutral."""
        ends = (end for end in (self.high, self.low) if isfinite(end) and end != self.neutral)
        return next(ends, self.neutral + 1)

    def checked(self, dose: object) -> float:
        """Return a dose as a float; what is not a finite number in the range raises `AkpError`."""
        fits = isinstance(dose, int | float) and not isinstance(dose, bool)
        value = float(dose) if fits else nan  # type: ignore[arg-type]
        if not (self.low <= value <= self.high and isfinite(value)):
            raise expected(f"a dose of {self.name} {self.range}", repr(dose), f"the dose is {self.meaning}")
        return value


DISTURBANCES: dict[str, Disturbance] = {}


def register_disturbance(entry: Disturbance) -> Disturbance:
    """Add a disturbance of the user's under its name, once it has been tried (`akp_core.admission`).

    A later entry of the same name takes the place of an earlier one, as when a cell is run again.

    Raises
    ------
    AkpError
        For the name of one that this library has, an unknown target, a neutral dose outside the range, or a
        function that will not do.
    """
    if entry.name in BUILT_IN_DISTURBANCES or entry.name in _TAKEN:
        raise AkpError(f"disturbance {entry.name!r} is already registered; choose another name")
    if entry.target not in TARGETS:
        raise unknown_name("target of a disturbance", entry.target, TARGETS)
    entry.checked(entry.neutral)
    admit_disturbance(entry.name, entry.target, entry.function, neutral=entry.neutral, other=entry.other_dose)
    DISTURBANCES[entry.name] = entry
    return entry


def disturbance(name: str) -> Disturbance:
    """Look up a disturbance; an unknown name raises `AkpError` with the valid ones."""
    if name not in DISTURBANCES:
        raise unknown_name("disturbance", name, DISTURBANCES)
    return DISTURBANCES[name]


def jolt(rate: float, dose: float) -> float:
    r"""Learning rate times the dose, :math:`\eta' = d\,\eta`."""
    return rate * dose


def random_labels(
    labels: Int[Tensor, " n"], classes: int, dose: float, generator: Generator
) -> Int[Tensor, " n"]:
    r"""Replace a share of the labels by another class, each other class as likely (Zhang et al. 2017).

    Exactly :math:`\lfloor dn + 1/2 \rfloor` labels are wrong. They are the first of one random order, and
    each has its wrong class from before: what is wrong at a dose is wrong in the same way at every larger
    one.

    Parameters
    ----------
    labels : (n,) int64
        From 0 to ``classes - 1``.
    classes : int
    dose : float
        Share of wrong labels, from 0 to 1.
    generator : torch.Generator

    Returns
    -------
    (n,) int64

    Raises
    ------
    AkpError
        For fewer than two classes, as there is then no other.
    """
    if classes < 2:
        raise expected("at least 2 classes to replace a label by another", classes)
    order = torch.randperm(len(labels), generator=generator)
    away = torch.randint(1, classes, (len(labels),), generator=generator)
    away[order[floor(dose * len(labels) + 0.5) :]] = 0
    return (labels + away.to(labels)) % classes


def weight_noise(
    weight: Float[Tensor, " *shape"], dose: float, generator: Generator
) -> Float[Tensor, " *shape"]:
    r"""Gaussian noise relative to the tensor, :math:`w' = w + d\,\mathrm{rms}(w)\,\varepsilon`.

    After An (1996) and Graves (2011); in units of the tensor's root mean square, so that one dose means the
    same in every layer. A tensor of zeros, such as a new bias, stays as it is. The gradient passes through
    unchanged, since the scale counts as a constant.
    """
    noise = torch.randn(weight.shape, generator=generator)
    if dose == 0:
        return weight
    scale = dose * weight.detach().square().mean().sqrt()
    return weight + scale * noise.to(weight)


def input_noise(
    images: Float[Tensor, "b c h w"], dose: float, generator: Generator
) -> Float[Tensor, "b c h w"]:
    r"""Gaussian noise on every pixel, :math:`x' = x + d\,\varepsilon` (Bishop 1995).

    Images are standardised, so the dose is in standard deviations of the training pixels.
    """
    noise = torch.randn(images.shape, generator=generator)
    return images + dose * noise.to(images) if dose != 0 else images


def occlusion(
    images: Float[Tensor, "b c h w"], dose: float, generator: Generator
) -> Float[Tensor, "b c h w"]:
    r"""Set one random square of each image to 0, the mean (cutout; DeVries and Taylor 2017).

    The side is the dose times the image's shorter side, rounded to a pixel. The square lies wholly within
    the image, each place as likely, so that every image loses the same area; the original lets it overhang.
    """
    height, width = images.shape[-2:]
    side = floor(dose * min(height, width) + 0.5)
    place = torch.rand(2, len(images), 1, generator=generator, dtype=torch.float64)
    top = (place[0] * (height - side + 1)).long()
    left = (place[1] * (width - side + 1)).long()
    y, x = torch.arange(height), torch.arange(width)
    rows, columns = (top <= y) & (y < top + side), (left <= x) & (x < left + side)
    covered = rows[:, None, :, None] & columns[:, None, None, :]
    return images.masked_fill(covered.to(images.device), 0.0)


for _entry in (
    Disturbance("learning_rate", "rate", jolt, 1, 1e-4, 1e4, "a factor of the rate", r"d\,\eta"),
    Disturbance("label_noise", "labels", random_labels, 0, 0, 1, "a share of the labels", r"y' \ne y"),
    Disturbance("weight_noise", "weights", weight_noise, 0, 0, inf, "in rms of the tensor", r"w + d\,s_w\xi"),
    Disturbance("input_noise", "images", input_noise, 0, 0, inf, "in sd of the pixels", r"x + d\,\xi"),
    Disturbance("occlusion", "images", occlusion, 0, 0, 1, "a share of the side", r"(1 - m)\,x"),
):
    DISTURBANCES[_entry.name] = _entry

BUILT_IN_DISTURBANCES = frozenset(DISTURBANCES)
"""The names that this library starts with, in every process."""
