"""What a function must be before it is registered: tried once on small numbers, refused in one line.

A function that will not do would else be found out in the middle of training, in another process and in
torch's words. Tried are the promises that training relies on: the shape of what comes out, an input left as
it was, the same numbers from the same numbers (results are kept under a key that knows the code and no
chance), and a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from akp_core.errors import AkpError, expected

_ROUNDING = 1e-6


def admit_activation(
    name: str, function: Callable[[Tensor], Tensor], *, bounded: bool, monotone: bool
) -> None:
    """Raise `AkpError` unless a function works element by element, has a gradient and keeps its word.

    Parameters
    ----------
    name : str
        For the message.
    function : callable
        Tensor of any shape to a tensor of the same shape.
    bounded, monotone : bool
        What is declared of it; refused where the numbers tried tell otherwise.
    """
    what = f"activation {name!r}"
    x = torch.linspace(-4, 4, 48)
    y = _tried(what, function, x)
    _like(what, y, x)
    for shape in ((6, 8), (2, 3, 2, 4)):
        if not torch.allclose(_tried(what, function, x.reshape(shape)).reshape(-1), y, atol=_ROUNDING):
            raise expected(
                f"{what} to treat each number by itself",
                f"other values for shape {shape}",
                "reduce over no axis",
            )
    _gradient(what, function, x)
    if monotone and float(y.diff().min()) < -_ROUNDING:
        raise expected(f"{what} to be monotone, as declared", "one that decreases", "declare monotone=False")
    far = _tried(what, function, torch.tensor([-1e12, 1e12])).abs().max()
    if bounded and not float(far) < 1e5:
        raise expected(f"{what} to be bounded, as declared", f"{float(far):.3g}", "declare bounded=False")


def admit_loss(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Raise `AkpError` unless a function gives one number an example, from that example, with a gradient."""
    what = f"loss {name!r}"
    logits, labels = torch.linspace(-2, 3, 18).sin().reshape(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    values = _tried(what, lambda z: function(z, labels.clone()), logits)
    if not isinstance(values, Tensor) or tuple(values.shape) != (6,):
        raise expected(f"{what} to give one number an example, (6,) for 6", _shape(values), "do not average")
    _finite(what, values)
    part = _tried(what, lambda z: function(z, labels[:2].clone()), logits[:2])
    if not torch.allclose(part, values[:2], atol=_ROUNDING):
        raise expected(f"{what} of an example to depend on it alone", "another value in a smaller batch")
    _gradient(what, lambda z: function(z, labels), logits)


def admit_disturbance(
    name: str, target: str, function: Callable[..., Any], *, neutral: float, other: float
) -> None:
    """Raise `AkpError` unless a function keeps shapes, draws from its generator alone and has a neutral dose.

    Parameters
    ----------
    name, target : str
        Of the disturbance; the target says what the function takes.
    function : callable
    neutral, other : float
        The dose that changes nothing, and another one that is allowed.
    """
    what = f"disturbance {name!r}"
    if target == "rate":
        for dose in (neutral, other):
            rate = _called(what, partial(function, 0.125, dose))
            if not isinstance(rate, int | float) or not isfinite(rate) or (dose == neutral and rate != 0.125):
                do = f"return the rate itself at dose {neutral:g}"
                raise expected(f"{what} to turn a rate of 0.125 into a rate", repr(rate), do)
        return
    given = {"labels": torch.arange(12) % 3, "images": torch.linspace(-2, 2, 3072).reshape(4, 3, 16, 16)}
    value = given.get(target, torch.linspace(-1, 1, 15).reshape(5, 3))
    classes = (3,) if target == "labels" else ()
    for dose in (neutral, other):
        changed = _tried(what, _dosed(function, *classes, dose), value)
        _like(what, changed, value)
        if target == "labels" and not 0 <= int(changed.min()) <= int(changed.max()) < 3:
            raise expected(f"{what} to give labels from 0 to 2 for 3 classes", str(changed.unique().tolist()))
        if dose == neutral and not torch.equal(changed, value):
            do = f"return what came at dose {neutral:g}"
            raise expected(f"{what} to change nothing at its neutral dose", "other numbers", do)


def _dosed(function: Callable[..., Any], *between: float) -> Callable[[Tensor], Any]:
    """A disturbance as a function of what it disturbs, with the same draws on each call."""
    return lambda x: function(x, *between, torch.Generator().manual_seed(0))


def _called(what: str, call: Callable[[], Any]) -> Any:
    """The result of a call; whatever it raises becomes one line."""
    try:
        with torch.random.fork_rng(devices=[]):
            return call()
    except AkpError:
        raise
    # a user's function may raise anything
    except Exception as fault:
        said = (str(fault).splitlines() or [""])[0]
        raise AkpError(f"{what} cannot be used: {type(fault).__name__}: {said}") from fault


def _tried(what: str, function: Callable[[Tensor], Any], x: Tensor) -> Any:
    """What a function makes of a tensor; refuse one that changes it, or gives something else again."""
    given = x.clone()
    first, again = _called(what, lambda: (function(given), function(given)))
    if not torch.equal(given, x):
        raise expected(
            f"{what} to leave its input as it is", "one that works in place", "return a new tensor"
        )
    if isinstance(first, Tensor) and not torch.equal(first.nan_to_num(), again.nan_to_num()):
        raise expected(
            f"{what} to give the same numbers for the same input",
            "others the second time",
            "draw from no random stream but a generator that is passed in",
        )
    return first


def _like(what: str, made: object, given: Tensor) -> None:
    if not isinstance(made, Tensor) or made.shape != given.shape or made.dtype != given.dtype:
        raise expected(f"{what} to give {_shape(given)} for {_shape(given)}", _shape(made))
    _finite(what, made)


def _finite(what: str, made: Tensor) -> None:
    if not bool(torch.isfinite(made).all()):
        raise expected(f"finite numbers of {what} for inputs of ordinary size", "nan or inf")


def _gradient(what: str, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    leaf = x.clone().requires_grad_()

    def slope() -> Tensor:
        total = function(leaf).sum()
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        return torch.zeros_like(x) if leaf.grad is None else leaf.grad

    found = _called(what, slope)
    if not bool(torch.isfinite(found).all()) or not bool(found.any()):
        came = "0 everywhere" if not found.any() else "nan or inf"
        raise expected(f"a gradient through {what} that is finite and not 0", came, "use torch's functions")


def _shape(made: object) -> str:
    if not isinstance(made, Tensor):
        return type(made).__name__
    return f"{str(made.dtype).removeprefix('torch.')} {tuple(made.shape)}"
