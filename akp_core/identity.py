"""Names code and values by what they are, for keys under which results are kept.

Code is named by the hash of its source, or of its compiled form where there is no source (what was typed at a
prompt), together with the plain values it depends on: those it closes over, its defaults and the globals it
reads. Functions that it merely calls are named by their own source and not followed further.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor


def identity_of(function: Callable[..., Any]) -> str:
    """Hash a function by what it does, so that a stored result does not outlive a changed function."""
    return sha256(code_text(function))[:16]


def sha256(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def code_text(function: Any) -> str:
    """The source of a function and the plain values it depends on: closed over, defaults, globals, fields."""
    if isinstance(function, functools.partial):
        return f"{code_text(function.func)}\n{plain_text([*function.args, function.keywords])}"
    if isinstance(function, FunctionType):
        held = [cell.cell_contents for cell in function.__closure__ or ()]
        read = {k: function.__globals__[k] for k in _names(function.__code__) if k in function.__globals__}
        given = [held, function.__defaults__, function.__kwdefaults__, read]
        return f"{source_text(function)}\n{plain_text(given)}"
    if inspect.isclass(function) or inspect.isbuiltin(function):
        return source_text(function)
    owner = getattr(function, "__self__", function)
    own = plain_text(getattr(owner, "__dict__", {}))
    return f"{source_text(type(owner))}\n{getattr(function, '__name__', '')}\n{own}"


def _names(code: CodeType) -> list[str]:
    """Names that code reads, those in its comprehensions and inner functions included, each once."""
    inner = [_names(one) for one in code.co_consts if isinstance(one, CodeType)]
    return list(dict.fromkeys([*code.co_names, *(name for names in inner for name in names)]))


def source_text(thing: Any) -> str:
    """The source of a function or class, or what stands for it where there is none."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        pass
    if inspect.isclass(thing):
        return "\n".join(
            f"{k} {source_text(v)}" for k, v in sorted(vars(thing).items()) if inspect.isfunction(v)
        )
    code = getattr(thing, "__code__", None)
    return _compiled(code) if isinstance(code, CodeType) else plain_text(thing)


def _compiled(code: CodeType) -> str:
    inner = [_compiled(c) if isinstance(c, CodeType) else plain_text(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {inner}"


def plain_text(value: Any) -> str:
    """A text for a value that is the same in every process: no address, no order of a set."""
    if isinstance(value, Tensor | np.ndarray):
        raw = tensor_bytes(value) if isinstance(value, Tensor) else np.ascontiguousarray(value).tobytes()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(raw).hexdigest()}"
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.dtype | torch.device):
        return repr(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {plain_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(plain_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(plain_text, value))}]"
    if inspect.isfunction(value) or inspect.isclass(value):
        return f"{value.__qualname__} {sha256(source_text(value))}"
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return f"{type(value).__qualname__} {plain_text(held)}"
    return str(getattr(value, "__qualname__", f"a {type(value).__qualname__}"))


def tensor_bytes(value: Tensor) -> bytes:
    """The bytes of a tensor's elements, in order."""
    return bytes(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
