"""What determines a network that a user's factory builds, as plain data: its part of a segment's key.

Code is named by the hash of its source, or of its compiled form where there is no source (a class
typed at a prompt). What code cannot show is hashed beside it: the values that a factory closes over, the
settings of every module, and the tensors that do not depend on the seed, such as pretrained weights.
Functions that are merely called from there are not followed.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

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
    sources = sorted(f"{kind.__qualname__} {_sha256(_text(kind))}" for kind in classes)
    return {
        "structure": re.sub(r" at 0x[0-9a-f]+", "", repr(model)),
        "sources": [_sha256(_factory_text(factory)), *sources],
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
        sha.update(f"{name} {_plain(settings)}\n".encode())
    beside = dict(tensors(other))
    for name, value in tensors(model):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)} {value.requires_grad}\n".encode())
        if name in beside and torch.equal(value, beside[name]):
            sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _factory_text(factory: Any) -> str:
    """The source of a factory and the plain values it depends on: closed over, defaults, globals, fields."""
    if isinstance(factory, functools.partial):
        return f"{_factory_text(factory.func)}\n{_plain([*factory.args, factory.keywords])}"
    if isinstance(factory, FunctionType):
        held = [cell.cell_contents for cell in factory.__closure__ or ()]
        read = {k: factory.__globals__[k] for k in factory.__code__.co_names if k in factory.__globals__}
        given = [held, factory.__defaults__, factory.__kwdefaults__, read]
        return f"{_text(factory)}\n{_plain(given)}"
    if inspect.isclass(factory) or inspect.isbuiltin(factory):
        return _text(factory)
    owner = getattr(factory, "__self__", factory)
    return (
        f"{_text(type(owner))}\n{getattr(factory, '__name__', '')}\n{_plain(getattr(owner, '__dict__', {}))}"
    )


def _text(thing: Any) -> str:
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        pass
    if inspect.isclass(thing):
        return "\n".join(f"{k} {_text(v)}" for k, v in sorted(vars(thing).items()) if inspect.isfunction(v))
    code = getattr(thing, "__code__", None)
    return _compiled(code) if isinstance(code, CodeType) else _plain(thing)


def _compiled(code: CodeType) -> str:
    inner = [_compiled(c) if isinstance(c, CodeType) else _plain(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {inner}"


def _plain(value: Any) -> str:
    """A text for a value that is the same in every process: no address, no order of a set."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_plain(v)}' for k, v in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if inspect.isfunction(value) or inspect.isclass(value):
        return f"{value.__qualname__} {_sha256(_text(value))}"
    return getattr(value, "__qualname__", f"a {type(value).__qualname__}")
