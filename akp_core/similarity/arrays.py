"""The door of the similarity lenses: what comes in as NumPy or torch goes out as the same.

Inside, everything is a float64 torch tensor on the device it came from. Features are centred here, once,
before anything is multiplied: uncentred float32 Gram matrices of features with mean 10 lose every digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
_FAR_FROM_ZERO = {torch.float32: 1e-4, torch.float64: 1e-12}
"""Variance over squared mean below which centring in the dtype itself would lose digits."""
_ROOM = {torch.float32: 1e5, torch.float64: 1e60}
"""Root mean square beyond which, or below whose inverse, fourth powers could over- or underflow."""


@dataclass(frozen=True)
class Features:
    """A representation that passed the door.

    Attributes
    ----------
    centred : Float[Tensor, "n p"]
        Column means zero. Of `read`: float64, largest magnitude 1 (so no scale over- or underflows its
        square). Of `admit`: float32 or float64, as came, scaled only where it must be.
    scale : float
        What the features were divided by.
    noise : float
        Norm that rounding the features in their own dtype can give to a Gram matrix off its diagonal.
    constant : bool
        Whether every feature is the same for all examples, up to round-off of the dtype that came.
    name : str
        What to call it in a message.
    """

    centred: Float[Tensor, "n p"]
    scale: float
    noise: float
    constant: bool
    name: str


def as_float64(x: Array, name: str) -> tuple[Tensor, float]:
    """Copy an array of real numbers to a float64 tensor; return it with the precision it came in."""
    if isinstance(x, Tensor):
        if x.is_complex() or x.is_quantized:
            raise expected(f"real numbers in {name}", str(x.dtype))
        if x.layout != torch.strided or x.is_meta:
            raise expected(f"{name} as a dense tensor with data", f"{x.layout} on {x.device}")
        eps = torch.finfo(x.dtype).eps if x.is_floating_point() else torch.finfo(torch.float64).eps
        return x.detach().to(torch.float64, copy=True), eps
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
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
    scale = float(magnitude.max()) or 1.0
    values /= scale
    rounded = torch.linalg.vecdot(values, values)
    values -= values.mean(dim=0)
    deviation = values.abs().amax(dim=0)
    constant = bool((deviation <= _ROUND_OFF * eps * magnitude / scale).all())
    if not constant:
        scale *= float(deviation.max())
        values /= deviation.max()
        rounded /= deviation.max() ** 2
    squares = torch.linalg.vecdot(values, values)
    pairs = float(rounded.sum() * squares.sum() - rounded @ squares) / values.shape[1]
    return Features(values, scale, _ROUND_OFF * eps * max(0.0, pairs) ** 0.5, constant, name)


def admit(x: Real[Array, "n p"], name: str) -> Features:
    """Check one representation and centre its features in the precision that it came in.

    As `read`, but float32 and less stay float32, at the cost of three passes over the array. What would
    lose digits in float32 (features far from zero, huge or tiny) is centred and scaled in float64 first.
    """
    whole = x.detach() if isinstance(x, Tensor) else x
    if isinstance(whole, Tensor) and whole.dtype in (torch.float16, torch.bfloat16):
        whole = whole.float()
    dense = isinstance(whole, Tensor) and whole.layout == torch.strided and not whole.is_neg()
    if isinstance(whole, Tensor) and dense and whole.device.type == "cpu" and whole.dtype in _ROOM:
        whole = whole.numpy()
    centred: Tensor | None = None
    if isinstance(whole, Tensor) and whole.is_cuda and whole.dtype in _ROOM and dense and whole.ndim == 2:
        mean = whole.mean(dim=0)
        centred = _second_pass(whole - mean, float(mean.square().sum(dtype=torch.float64)))
    elif (
        type(whole) is np.ndarray
        and whole.ndim == 2
        and whole.size
        and whole.dtype in (np.float32, np.float64)
    ):
        ones = np.full(len(whole), 1 / len(whole), dtype=whole.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            middle = ones @ whole
            deviations = torch.from_numpy(whole - middle)
            centred = _second_pass(deviations, float(np.vdot(middle, middle)))
    if centred is not None:
        return Features(centred, 1.0, 0.0, False, name)
    features = read(x, name)
    single = str(x.dtype).removeprefix("torch.") in ("bfloat16", "float16", "float32")
    return replace(features, centred=features.centred.float()) if single else features


def _second_pass(centred: Float[Tensor, "n p"], mean_square: float) -> Float[Tensor, "n p"] | None:
    """Take out what rounding of a large mean left; None where the dtype itself cannot hold the result."""
    spread = float(_rows_squared(centred).sum(dtype=torch.float64))
    passes = passes_needed(centred.dtype, spread, mean_square, centred.shape)
    if passes == 2:
        centred -= centred.mean(dim=0)
    return centred if passes else None


def passes_needed(dtype: torch.dtype, spread: float, mean_square: float, shape: Sequence[int]) -> int:
    """How often (n, p) features must have their means taken out in their own dtype; 0: it cannot hold them.

    ``spread`` is the sum of squares after one pass, ``mean_square`` that of the means.
    """
    n, p = shape
    room = _ROOM[dtype]
    if not 1 / room**2 < spread / (n * p) < room**2 or not mean_square < np.inf:
        return 0
    if spread < _FAR_FROM_ZERO[dtype] * n * mean_square:
        return 0
    return 2 if spread < 0.1 * n * mean_square else 1


def _rows_squared(x: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    if x.device.type != "cpu":
        return torch.linalg.vecdot(x, x)
    rows = x.numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        return torch.from_numpy(np.vecdot(rows, rows))


def same_examples(first: Features, second: Features) -> None:
    """Refuse two representations of different numbers of examples."""
    n, m = first.centred.shape[0], second.centred.shape[0]
    if n != m:
        raise expected(
            f"as many examples in {second.name} as in {first.name} ({n})",
            str(m),
            "compare representations of the same examples in the same order",
        )
