"""The door of the similarity lenses: what comes in as NumPy or torch goes out as the same.

Inside, everything is a float64 torch tensor on the device it came from. Features are centred here, once,
before anything is multiplied: uncentred float32 Gram matrices of features with mean 10 lose every digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Real
from torch import Tensor

from akp_core.errors import AkpError, expected

Array: TypeAlias = np.ndarray | Tensor
A = TypeVar("A", np.ndarray, Tensor)
"""What comes in goes out: NumPy for NumPy, torch for torch."""

_ROUND_OFF = 4
"""Deviations up to this many units in the last place of the input's own dtype count as none."""


@dataclass(frozen=True)
class Features:
    """A representation that passed the door.

    Attributes
    ----------
    centred : Float[Tensor, "n p"]
        Float64, column means zero, largest magnitude 1 (so no scale over- or underflows its square).
    constant : bool
        Whether every feature is the same for all examples, up to round-off of the dtype that came.
    name : str
        What to call it in a message.
    """

    centred: Float[Tensor, "n p"]
    constant: bool
    name: str


def as_float64(x: Array, name: str) -> tuple[Tensor, float]:
    """Copy an array of real numbers to a float64 tensor; return it with the precision it came in."""
    if isinstance(x, Tensor):
        if x.is_complex():
            raise expected(f"real numbers in {name}", str(x.dtype))
        eps = torch.finfo(x.dtype).eps if x.is_floating_point() else torch.finfo(torch.float64).eps
        return x.detach().to(torch.float64, copy=True), eps
    if not isinstance(x, np.ndarray):
        raise expected(f"{name} as a NumPy array or a torch tensor", type(x).__name__)
    if x.dtype.kind not in "fiub":
        raise expected(f"real numbers in {name}", str(x.dtype))
    eps = float(np.finfo(x.dtype).eps) if x.dtype.kind == "f" else torch.finfo(torch.float64).eps
    return torch.from_numpy(np.array(x, dtype=np.float64)), max(eps, torch.finfo(torch.float64).eps)


def like(result: Tensor, original: A) -> A:
    """Give a result back as the kind of array that came: NumPy for NumPy, torch for torch."""
    if isinstance(original, Tensor):
        return result
    return result.numpy()


def non_finite_entries(x: Real[Array, "n p"]) -> int:
    """Count the entries that are NaN or infinite."""
    values, _ = as_float64(x, "x")
    return int((~torch.isfinite(values)).sum())


def read(x: Real[Array, "n p"], name: str) -> Features:
    """Check one representation and centre its features.

    Parameters
    ----------
    x : (n, p) array
        One row per example, any real dtype, any device.
    name : str
        What to call it in a message.

    Raises
    ------
    AkpError
        If it is not a two-dimensional array of finite real numbers with at least one feature.
    """
    values, eps = as_float64(x, name)
    if values.ndim != 2:
        raise expected(
            f"{name} as (examples, features)",
            f"an array of shape {tuple(values.shape)}",
            "for convolutional maps (n, c, h, w) flatten with reshape(n, -1), or take the spatial mean "
            "over h and w",
        )
    if values.shape[0] == 0 or values.shape[1] == 0:
        raise expected(f"at least one example and one feature in {name}", f"shape {tuple(values.shape)}")
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise AkpError(
            f"expected finite numbers in {name}, got {bad} non-finite of {values.numel()} entries; "
            "a diverged model has no CKA, leave it out and count it"
        )
    magnitude = values.abs().amax(dim=0)
    if float(magnitude.max()) > 0:
        values /= magnitude.max()
        magnitude = magnitude / magnitude.max()
    values -= values.mean(dim=0)
    deviation = values.abs().amax(dim=0)
    constant = bool((deviation <= _ROUND_OFF * eps * magnitude).all())
    if not constant:
        values /= deviation.max()
    return Features(values, constant, name)


def same_examples(first: Features, second: Features) -> None:
    """Refuse two representations of different numbers of examples."""
    n, m = first.centred.shape[0], second.centred.shape[0]
    if n != m:
        raise expected(
            f"as many examples in {second.name} as in {first.name} ({n})",
            str(m),
            "compare representations of the same examples in the same order",
        )
