"""Times one public implementation on given arrays, in the peers' environment; its last line is JSON.

``DIR/env/bin/python -m benchmarks.peers.runner --peers DIR --task pair --tool resi --inputs x.npy y.npy``

Imports and libraries' thread pools are paid for on a corner of the arrays. The first whole call gives the
value and the growth of memory, the next ones the seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.tools import MATRIX, PAIR, PERMDISP, TOOLS, Arrays, Call, scikit_bio

CORNER = 48
STATUS = Path("/proc/self/status")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 and a line on standard error for a tool that is not there."""
    asked = _parser().parse_args(arguments)
    arrays = [part for path in asked.inputs for part in _read(path)]
    by_pairs = asked.task == "matrix" and asked.tool not in MATRIX
    tools = PAIR if by_pairs else TOOLS[asked.task]
    if asked.tool not in tools:
        print(f"no tool {asked.tool!r} for {asked.task}; there are {', '.join(tools)}", file=sys.stderr)
        return 1
    tool = tools[asked.tool]
    load = tool.load
    if tools is PERMDISP:
        load = scikit_bio(asked.permutations, asked.axes, asked.centre)
    _quiet()
    try:
        call = load(asked.peers / "src")
    except (ImportError, FileNotFoundError) as error:
        print(f"{asked.tool} is not in {asked.peers}: {error}", file=sys.stderr)
        return 1
    if tools is not PERMDISP:
        call([array[:CORNER, :CORNER] for array in arrays[:2]])
    found = {"tool": asked.tool, "task": asked.task, "measures": tool.measures, "inputs": len(arrays)}
    if by_pairs:
        found |= _sampled(call, arrays, asked)
    else:
        found |= _timed(lambda: call(arrays), asked)
        value = np.asarray(found.pop("value"), dtype=np.float64)
        if asked.task == "matrix":
            found["entries"] = {f"{i},{j}": float(value[i, j]) for i, j in _pairs(len(arrays), asked)}
        else:
            found["value"] = value.item()
    print(json.dumps(found), flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.runner", description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder with env and src")
    parser.add_argument("--task", choices=tuple(TOOLS), required=True)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--inputs", type=Path, nargs="+", required=True, help=".npy; a 3-D one is several")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds after which no call is begun")
    parser.add_argument(
        "--pairs",
        type=int,
        default=20,
        help="entries of a matrix to report, and pairs to time where there is no call for all",
    )
    parser.add_argument("--seed", type=int, default=0, help="draws those entries")
    parser.add_argument("--permutations", type=int, default=999, help="of permdisp")
    parser.add_argument("--axes", type=int, help="of permdisp; default all")
    parser.add_argument("--centre", choices=("centroid", "median"), default="centroid")
    return parser


def _read(path: Path) -> list[np.ndarray]:
    stored = np.load(path)
    return list(stored) if stored.ndim == 3 else [stored]


def _pairs(members: int, asked: argparse.Namespace) -> list[tuple[int, int]]:
    """Distinct pairs i <= j, drawn with the seed."""
    every = [(i, j) for i in range(members) for j in range(i, members)]
    order = np.random.default_rng(asked.seed).permutation(len(every))
    return [every[index] for index in order[: asked.pairs]]


def _timed(work: Callable[[], Any], asked: argparse.Namespace) -> dict[str, Any]:
    before = _reset_peak()
    begin = time.perf_counter()
    value = work()
    first = time.perf_counter() - begin
    grown = _peak() - before
    seconds: list[float] = []
    while len(seconds) < asked.repeats and time.perf_counter() - begin + first < asked.budget:
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {
        "seconds": statistics.median(seconds or [first]),
        "samples": seconds,
        "first": first,
        "grown_bytes": grown,
        "value": value,
    }


def _sampled(call: Call, arrays: Arrays, asked: argparse.Namespace) -> dict[str, Any]:
    """A symmetric loop over all pairs, from the median of a sample of them."""
    total = len(arrays) * (len(arrays) + 1) // 2
    begin, grown = time.perf_counter(), 0
    seconds: list[float] = []
    entries: dict[str, float] = {}
    for i, j in _pairs(len(arrays), asked):
        before = _reset_peak()
        start = time.perf_counter()
        value = call([arrays[i], arrays[j]])
        seconds.append(time.perf_counter() - start)
        entries[f"{i},{j}"] = np.asarray(value, dtype=np.float64).item()
        grown = max(grown, _peak() - before)
        if time.perf_counter() - begin > asked.budget:
            break
    return {
        "seconds": statistics.median(seconds) * total,
        "samples": seconds,
        "sampled_pairs": len(seconds),
        "pairs": total,
        "grown_bytes": grown,
        "entries": entries,
    }


def _status(key: str) -> int:
    if STATUS.is_file():
        for line in STATUS.read_text("ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> int:
    """Forget the highest memory so far; return what is held now (0 where the kernel does not tell)."""
    if STATUS.is_file():
        STATUS.with_name("clear_refs").write_text("5", "ascii")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _quiet() -> None:
    """Progress bars and words on standard output would hide the line that counts."""
    os.environ.setdefault("TQDM_DISABLE", "1")


if __name__ == "__main__":
    sys.exit(main())
