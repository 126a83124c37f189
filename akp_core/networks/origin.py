"""What determines a network that a user's factory builds, as plain data: its part of a segment's key.

Code is named by the hash of its source, or of its compiled form where there is no source (a class
typed at a prompt). What code cannot show is hashed beside it: the values that a factory closes over, the
settings of every module, and the tensors that do not depend on the seed, such as pretrained weights.
Functions that are merely called from there are not followed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from akp_core.identity import code_text, plain_text, sha256, source_text, tensor_bytes

_TORCHS_OR_OURS = {"torch", "builtins", "abc", "typing", "akp_core"}


def origin(factory: Callable[[], nn.Module], model: nn.Module, other: nn.Module) -> dict[str, Any]:
    """Name all that determines what a factory builds.

    Parameters
    ----------
    factory : callable
    model, other : nn.Module
        What it built from two seeds.

    Returns
    -------
    dict
        ``structure`` as torch prints it; ``sources``, SHA-256 of the factory and then of each class that is
        not torch's; ``constants``, SHA-256 of settings, shapes and the tensors that are equal in both.
    """
    classes = {
        kind
        for part in model.modules()
        for kind in type(part).__mro__
        if kind.__module__.split(".")[0] not in _TORCHS_OR_OURS
    }
    # by what they are, not by where: a script is another module when it is run than when it is imported
    sources = sorted(f"{kind.__qualname__} {sha256(source_text(kind))}" for kind in classes)
    return {
        "structure": re.sub(r" at 0x[0-9a-f]+", "", repr(model)),
        "sources": [sha256(code_text(factory)), *sources],
        "constants": _constants(model, other),
    }


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every weight and buffer of a network by its name, also the buffers that it does not save."""
    yield from model.named_parameters()
    yield from model.named_buffers()


def _constants(model: nn.Module, other: nn.Module) -> str:
    sha = hashlib.sha256()
    own = vars(nn.Module())
    for name, part in model.named_modules():
        settings = {k: v for k, v in vars(part).items() if k not in own}
        sha.update(f"{name} {plain_text(settings)}\n".encode())
    beside = dict(tensors(other))
    for name, value in tensors(model):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)} {value.requires_grad}\n".encode())
        if name in beside and torch.equal(value, beside[name]):
            sha.update(tensor_bytes(value))
    return sha.hexdigest()
