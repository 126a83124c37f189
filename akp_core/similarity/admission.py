"""What a measure of similarity must be before it is registered: its claims, tried once on small arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float64

from akp_core.errors import AkpError, expected

if TYPE_CHECKING:
    from akp_core.similarity.measures import Measure

Rows = Float64[np.ndarray, "n p"]
_JOINT = "joint permutation of examples"
_EXAMPLES, _WIDTH, _SLACK = 40, 5, 1e-5


def admit(measure: Measure) -> None:
    """Raise `AkpError` unless a measure keeps every word of its declaration on two related representations.

    Tried are the value of a representation with itself, the bounds, symmetry, NumPy against torch, and each
    invariance that is declared. What is not declared may be ignored or seen.
    """
    rng = np.random.default_rng(0)
    n = max(_EXAMPLES, measure.least_examples)
    x = rng.standard_normal((n, _WIDTH))
    y = x @ rng.standard_normal((_WIDTH, _WIDTH)) + rng.standard_normal((n, _WIDTH))
    what, (low, high) = f"measure {measure.name!r}", measure.bounds
    value = _value(measure, x, y)
    if not low - _SLACK <= value <= high + _SLACK:
        raise expected(f"{what} from {low:g} to {high:g}, as declared", f"{value:.4g}")
    itself = _value(measure, x, x)
    if abs(itself - high) > _SLACK:
        raise expected(f"{what} to be {high:g} of a representation with itself", f"{itself:.4g}")
    if measure.symmetric and abs(_value(measure, y, x) - value) > _SLACK:
        raise expected(f"{what} to be symmetric, as declared", "another value for (y, x) than for (x, y)")
    for name in sorted(measure.ignores):
        if name not in (_JOINT, *_CHANGES):
            raise expected(
                f"each invariance of {what} as one of {', '.join([_JOINT, *_CHANGES])}", repr(name)
            )
        order = rng.permutation(n)
        if name == _JOINT:
            found = [_value(measure, x[order], y[order])]
        else:
            change = _CHANGES[name]
            found = [_value(measure, change(x, rng), y), _value(measure, x, change(y, rng))]
        worst = max(found, key=lambda one: abs(one - value))
        if abs(worst - value) > _SLACK:
            raise expected(
                f"{what} to ignore {name}, as declared",
                f"{worst:.4g} instead of {value:.4g}",
                "take it out of ignores",
            )


def _value(measure: Measure, x: Rows, y: Rows) -> float:
    what = f"measure {measure.name!r}"
    try:
        value = measure.function(x, y)
        there = measure.function(torch.from_numpy(x), torch.from_numpy(y))
    except AkpError:
        raise
    # a user's function may raise anything
    except Exception as fault:
        said = (str(fault).splitlines() or [""])[0]
        raise AkpError(f"{what} cannot be used: {type(fault).__name__}: {said}") from fault
    if not isinstance(value, float) or not isinstance(there, float) or abs(value - there) > _SLACK:
        raise expected(
            f"one number (float) of {what}, the same for NumPy and torch", f"{value!r} and {there!r}"
        )
    return value


def _rotation(rng: np.random.Generator) -> Rows:
    return np.linalg.qr(rng.standard_normal((_WIDTH, _WIDTH)))[0]


_CHANGES: dict[str, Callable[[Rows, np.random.Generator], Rows]] = {
    "permutation of features": lambda x, rng: x[:, rng.permutation(_WIDTH)],
    "translation": lambda x, rng: x + 3 * rng.standard_normal(_WIDTH),
    "isotropic scaling": lambda x, _: 3 * x,
    "orthogonal": lambda x, rng: x @ _rotation(rng),
    "per-feature scaling": lambda x, rng: x * rng.uniform(0.2, 5, _WIDTH),
    "invertible linear": lambda x, rng: x @ (_rotation(rng) * rng.uniform(0.2, 5, _WIDTH)) @ _rotation(rng),
}
