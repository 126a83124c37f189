"""Where a number came from: the run key of a page, the versions, the commit, the machine."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from akp_book.page import data_root
from akp_book.pages import Page
from akp_book.parameters import Value

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas", "altair", "jupyter-book")
PRESS = (
    "page.py",
    "record.py",
    "clean.py",
    "execute.py",
    "parameters.py",
    "declarations.py",
    "commands.py",
    "exercises.py",
    "quoted.py",
)
"""The modules of the press that a page's content depends on."""


def digest(*parts: bytes | str) -> str:
    """Hash parts, each with its length so that none runs into the next."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()


def files_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Hash named files by name and content."""
    return digest(*(piece for name, path in sorted(files) for piece in (name, path.read_bytes())))


def sources_digest() -> str:
    """Hash what computes the pages: all of ``akp_core`` and the part of the press that shapes them."""
    found: list[tuple[str, Path]] = []
    for package, wanted in (("akp_core", None), ("akp_book", PRESS)):
        spec = importlib.util.find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else Path()
        for path in folder.rglob("*.py"):
            name = path.relative_to(folder).as_posix()
            if wanted is None or name in wanted:
                found.append((f"{package}/{name}", path))
    return files_digest(found)


def run_key(
    page: Page, values: Mapping[str, Value], root: Path, earlier: Iterable[str], circumstances: str = ""
) -> str:
    """Hash everything that a page's outcome depends on.

    Parameters
    ----------
    page : Page
        Its text counts.
    values : mapping of str to Value
        Its parameters count, and the content of any file that one of them names, here or under `data_root`.
    root : Path
        Where ``requirements.txt`` lies and relative paths start.
    earlier : iterable of str
        Keys of the pages it runs after.
    circumstances : str
        Anything else it reports, as the last page does.
    """
    pins = root / "requirements.txt"
    said = [v for v in values.values() if isinstance(v, str) and v and len(v) < 1024]
    named = [base / v for base in (root, data_root()) for v in said]
    return digest(
        page.text,
        json.dumps(values, sort_keys=True),
        *(_content(path) for path in named if path.exists()),
        sources_digest(),
        pins.read_bytes() if pins.is_file() else b"",
        json.dumps([versions(), machine()["device"]], sort_keys=True),
        *earlier,
        circumstances,
    )[:16]


def _content(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    inside = sorted(path.rglob("*")) if path.is_dir() else []
    return digest(*(f"{p.relative_to(path)} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in inside))


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def machine() -> dict[str, str | int]:
    """Return the device's name, the processors open to this process, the memory and the system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "device": _device(),
        "cores": cores,
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _device() -> str:
    if shutil.which("nvidia-smi"):  # torch takes seconds to import: only where there may be a GPU
        code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
        name = _output([sys.executable, "-c", code])
        if name:
            return name
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text("utf8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit(root: Path) -> dict[str, str | bool]:
    """Return the commit of the book's folder, empty outside git, and whether files differ from it."""
    name = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    changed = bool(name) and bool(_output(["git", "-C", str(root), "status", "--porcelain"]))
    return {"commit": name, "changed": changed}


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
