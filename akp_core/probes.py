"""What is recorded of a network when it is looked at: fingerprints, predictions and losses.

A probe keeps, for each tap, the fingerprint of the fixed probe images (`akp_core.similarity`), from
which every later comparison is one inner product, and the predicted class of each evaluation image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from akp_core import similarity
from akp_core.datasets import Dataset, Split
from akp_core.networks import representations

SPLITS = ("train", "validation", "test")
NO_PREDICTION = -1


def grid(epochs: int) -> tuple[int, ...]:
    """Epochs at which the unstressed training is probed and can be forked: 0, 1, 2, 4, ..., `epochs`."""
    powers = [2**k for k in range(epochs.bit_length()) if 2**k < epochs]
    return (0, *powers, epochs)


@dataclass(frozen=True)
class Eyes:
    """The images that every probe of a study looks at, standardised and on the device."""

    images: dict[str, Float[Tensor, "n c h w"]]
    labels: dict[str, Int[Tensor, " n"]]
    taps: tuple[str, ...]

    @classmethod
    def of(cls, data: Dataset, taps: Sequence[str], device: torch.device) -> Eyes:
        """Gather the evaluation and probe images of a data set."""
        parts = {split: evaluated(data, split) for split in SPLITS} | {"probe": data.probe}
        return cls(
            {name: standardise(data, part.images).to(device) for name, part in parts.items()},
            {name: part.labels.to(device) for name, part in parts.items()},
            tuple(taps),
        )


def evaluated(data: Dataset, split: str) -> Split:
    """The images of a split on which networks are evaluated, and their labels.

    Of the training images these are as many as there are test images, evenly spaced through them, so that
    the generalisation gap compares equal numbers and every patient is heard; of the others, all.
    """
    part: Split = getattr(data, split)
    if split != "train" or len(part) <= len(data.test):
        return part
    spread = torch.linspace(0, len(part) - 1, len(data.test)).round().long()
    return Split(part.images[spread], part.labels[spread], part.groups[spread])


def standardise(data: Dataset, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Images with the training images' mean and standard deviation of each channel taken out."""
    mean, std = (t.to(images.device)[:, None, None] for t in (data.channel_mean, data.channel_std))
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def look(model: nn.Module, eyes: Eyes) -> dict[str, Tensor]:
    """Look at one network.

    Parameters
    ----------
    model : nn.Module
    eyes : Eyes

    Returns
    -------
    dict of str to Tensor
        ``prediction/SPLIT`` (n,) int16, `NO_PREDICTION` where the logits are not finite;
        ``loss/SPLIT`` () float64, mean cross-entropy, infinite where the logits are not finite;
        ``fingerprint/TAP`` (k,) float32, NaN throughout, at every tap, for a network that is lost:
        constant at one of the taps, or not finite; ``finite`` () bool, whether every logit and tap is finite.
    """
    out: dict[str, Tensor] = {}
    finite = True
    for split in SPLITS:
        with torch.no_grad():
            logits = torch.cat([model(part) for part in torch.split(eyes.images[split], 256)])
        good = logits.isfinite().all(dim=1)
        finite = finite and bool(good.all())
        predicted = torch.where(good, logits.argmax(dim=1), NO_PREDICTION)
        out[f"prediction/{split}"] = predicted.to(torch.int16).cpu()
        entropy = torch.nn.functional.cross_entropy(logits.double(), eyes.labels[split])
        out[f"loss/{split}"] = torch.nan_to_num(entropy, nan=torch.inf).cpu()
    for tap, x in representations(model, eyes.images["probe"], eyes.taps).items():
        finite = finite and bool(x.isfinite().all())
        out[f"fingerprint/{tap}"] = _fingerprint_or_nan(x)
    out["finite"] = torch.tensor(finite)
    return (
        lost(out)
        if any(bool(v.isnan().any()) for k, v in out.items() if k.startswith("fingerprint/"))
        else out
    )


def lost(seen: dict[str, Tensor], *, diverged: bool = False) -> dict[str, Tensor]:
    """What was seen of a network that has no place among representations: no fingerprint at any tap.

    Of one that diverged no answer counts either: what is left of it depends on when it is looked at.
    """
    blank = {k: torch.full_like(v, torch.nan) for k, v in seen.items() if k.startswith("fingerprint/")}
    if diverged:
        answers = {
            k: torch.full_like(v, NO_PREDICTION) for k, v in seen.items() if k.startswith("prediction/")
        }
        losses = {k: torch.full_like(v, torch.inf) for k, v in seen.items() if k.startswith("loss/")}
        blank |= answers | losses | {"finite": torch.tensor(False)}
    return seen | blank


def _fingerprint_or_nan(x: Float[Tensor, "n p"]) -> Float[Tensor, " k"]:
    n = x.shape[0]
    if similarity.representation_fault(x) is not None:
        return torch.full((n * (n - 1) // 2,), torch.nan)
    return similarity.fingerprint(x).float().cpu()
