"""Calling a user's factory: a new network each time, with weights that follow from a seed alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from akp_core.errors import expected
from akp_core.networks.origin import tensors


def refuse_arguments(build: Any) -> None:
    """Raise `AkpError` unless something can be called without arguments; a network itself cannot be meant."""
    if isinstance(build, nn.Module) or not callable(build):
        raise expected(
            "a factory without arguments that builds the network", type(build).__name__, "give lambda: Net()"
        )
    try:
        inspect.signature(build).bind()
    except TypeError as fault:
        raise expected(
            "a factory without arguments", f"one with a {fault}", "give lambda: Net(...)"
        ) from None
    except ValueError:
        pass  # a built-in without a signature


def drawn(factory: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Call a factory with torch's global CPU stream seeded; the stream is put back, no GPU is touched.

    Raises
    ------
    AkpError
        If it gives no network, lazy shapes, or nothing to train.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = factory()
    if not isinstance(model, nn.Module):
        raise expected("the factory to give an nn.Module", type(model).__name__)
    for name, value in tensors(model):
        if is_lazy(value):
            raise expected("a network whose shapes are all known", f"the lazy {name!r}", "give its sizes")
    if not any(p.requires_grad for p in model.parameters()):
        raise expected("a network with weights to train", f"{type(model).__name__} without any")
    return model


def refuse_shared(model: nn.Module, again: nn.Module) -> None:
    """Raise `AkpError` where two calls with one seed gave shared weights, or weights that differ."""
    parts = {id(m) for m in model.modules() if m._parameters or m._buffers}
    places = {p.untyped_storage().data_ptr() for p in model.parameters() if p.numel()}
    if any(id(m) in parts for m in again.modules()) or any(
        p.untyped_storage().data_ptr() in places for p in again.parameters()
    ):
        raise expected(
            "a new network on each call of the factory", "weights that two calls share", "build it inside"
        )
    beside = dict(tensors(again))
    for name, value in tensors(model):
        if name not in beside or not torch.equal(value, beside[name]):
            raise expected(
                "weights that follow from torch's random stream alone",
                f"another {name!r} from the same seed",
                "draw with torch, and leave nothing unset",
            )
