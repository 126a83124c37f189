"""Public implementations beside ours: ``python -m benchmarks.peers prepare DIR``, then ``... check DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from akp_core.errors import AkpError
from benchmarks.measuring import say
from benchmarks.peers.environment import ask, interpreter, missing, prepare, present
from benchmarks.peers.tools import TOOLS


def main(arguments: list[str] | None = None) -> int:
    """Make the environment, or run every tool in it once on small arrays."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("what", choices=("prepare", "check"))
    parser.add_argument("folder", type=Path, metavar="DIR", help="env is made in it, checkouts belong in src")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.what == "prepare":
            prepare(chosen.folder)
            return 0
        interpreter(chosen.folder)
        return check(chosen.folder)
    except AkpError as error:
        say(f"benchmarks.peers: {error}")
        return 1


def check(peers: Path) -> int:
    """Run every tool of every task once on small arrays; say its value, or why there is none."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((120, 4))
    members = [
        (shared @ rng.standard_normal((4, 24)) + rng.standard_normal((120, 24))).astype(np.float32)
        for _ in range(3)
    ]
    points = rng.standard_normal((20, 5)) * np.repeat([1, 3], 10)[:, None]
    distances = np.sqrt(np.square(points[:, None] - points[None]).sum(axis=2))
    inputs = {"pair": members[:2], "matrix": members, "permdisp": [distances, np.repeat([0, 1], 10)]}
    failed = 0
    for task in TOOLS:
        for tool in [name for name in TOOLS[task] if name in present(peers, task)]:
            try:
                found = ask(peers, task, tool, inputs[task], "--repeats", 2, threads=1)
            except AkpError as error:
                failed += 1
                print(f"{task:9s} {tool:24s} {error}")
                continue
            value = found.get("value", found.get("entries", {}).get("0,1"))
            print(
                f"{task:9s} {tool:24s} {found['measures']:9s} {value:.6f} {1e3 * found['seconds']:9.3f} ms "
                f"{found['grown_bytes'] / 2**20:6.1f} MiB"
            )
    for folder, repository in missing(peers).items():
        print(f"not there: src/{folder} ({repository})")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
