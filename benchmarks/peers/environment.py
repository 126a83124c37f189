"""The peers' environment: making it, knowing what is there, and asking one tool for a figure."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from akp_core.errors import AkpError, expected, unknown_name
from benchmarks.measuring import ROOT, NotHereError, last_object, say
from benchmarks.peers.tools import MATRIX, PAIR, TOOLS

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
CHECKOUTS = {
    "google": "google-research/google-research: only representation_similarity/Demo.ipynb",
    "anatome": "moskomule/anatome at 2212a8c4ff16",
    "diffeomorphism": "pcsl-epfl/diffeomorphism at 1d5fb9f",
    "netrep": "ahwillia/netrep at 0186b8a77ec1",
    "resi": "mklabunde/resi at 24ab9e5055c7",
}
"""Folder under DIR/src, and the GitHub repository that belongs there: what no package index carries."""


def interpreter(peers: Path) -> Path:
    """The Python of the peers' environment.

    Raises
    ------
    NotHereError
        If it has not been made.
    """
    found = peers / "env" / "bin" / "python"
    if not found.is_file():
        raise NotHereError(
            f"no environment in {peers}; make it with python -m benchmarks.peers prepare {peers}"
        )
    return found


def prepare(peers: Path) -> None:
    """Make the environment in ``peers/env`` from the pinned requirements, with uv where there is one.

    Raises
    ------
    AkpError
        If an installation fails.
    """
    peers.mkdir(parents=True, exist_ok=True)
    place = peers / "env"
    python = place / "bin" / "python"
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        if not python.exists():
            _run([uv, "venv", str(place), "--python", sys.executable])
        _run([uv, "pip", "install", "--python", str(python), "-r", str(REQUIREMENTS)])
    else:
        if not python.exists():
            venv.create(place, with_pip=True)
        _run([str(python), "-m", "pip", "install", "-r", str(REQUIREMENTS)])
    (peers / "src").mkdir(exist_ok=True)
    for folder, repository in missing(peers).items():
        say(f"{peers / 'src' / folder}: put there {repository}, or do without it")


def missing(peers: Path) -> dict[str, str]:
    """Checkouts that are not there yet: folder and repository."""
    return {name: what for name, what in CHECKOUTS.items() if not any((peers / "src" / name).glob("*"))}


def present(peers: Path, task: str) -> list[str]:
    """Names of the tools of a task whose checkout, if they need one, is there.

    Raises
    ------
    AkpError
        For a task that no tool has.
    """
    if task not in TOOLS:
        raise unknown_name("task", task, TOOLS)
    tools = PAIR | MATRIX if task == "matrix" else TOOLS[task]
    absent = missing(peers)
    return [name for name, tool in tools.items() if tool.checkout not in absent]


def ask(
    peers: Path,
    task: str,
    tool: str,
    arrays: Sequence[np.ndarray],
    *flags: object,
    threads: int | None = None,
    limit: float | None = None,
) -> dict[str, Any]:
    """Time one tool on arrays, in a fresh process of its environment.

    Parameters
    ----------
    peers : Path
    task, tool : str
        As in `benchmarks.peers.tools.TOOLS`; a tool of ``pair`` also does ``matrix``, by a sample of pairs.
    arrays : sequence of arrays
        What the task takes.
    flags
        Further words for the runner, such as ``"--repeats", 3``.
    threads : int, optional
        Of the numerical libraries; their own choice unless given.
    limit : float, optional
        Seconds after which it is given up.

    Returns
    -------
    dict
        ``seconds`` (median), ``samples``, ``grown_bytes``, and ``value`` or ``entries`` of a matrix.

    Raises
    ------
    AkpError
        If the tool is not there, fails, or takes longer than the limit; its last words are in the message.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    chosen = dict.fromkeys(names, str(threads)) if threads else {}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.npy" for index in range(len(arrays))]
        for path, array in zip(paths, arrays, strict=True):
            np.save(path, array)
        command = [interpreter(peers), "-m", "benchmarks.peers.runner", "--peers", peers.resolve()]
        command += ["--task", task, "--tool", tool, *flags, "--inputs", *paths]
        try:
            done = subprocess.run(
                list(map(str, command)),
                cwd=ROOT,
                env=os.environ | chosen,
                capture_output=True,
                text=True,
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            raise expected(f"{tool} to answer within {limit:g} s", "no answer") from None
    return last_object(tool, done.returncode, done.stdout, done.stderr)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    if done.returncode != 0:
        raise AkpError(f"expected {' '.join(command[:3])} to end well, got exit code {done.returncode}")
