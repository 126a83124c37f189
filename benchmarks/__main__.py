"""Runs benchmarks: ``python -m benchmarks [NAME ...]``; each ends with one line of JSON."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

from akp_core.errors import AkpError, unknown_name, whole_number
from benchmarks.measuring import FOREIGN, ROOT, NotHereError, Options, Result, doubtful, say

NAMES = {
    "population": "members x images per second on a CPU, over a plain eager loop",
    "population_gpu": "the same on a GPU, every engine, beside the floor",
    "forking": "the forked classroom study over training each family from scratch",
    "warm": "training steps of running the classroom study again",
    "scale": "disk and memory for a thousand members",
    "cka_matrix": "all pairs of 50 and of 200 representations, over the floor and beside public tools",
    "cka_pair": "one pair of four shapes, over the floor and beside public tools",
    "cka_stream": "minibatch CKA of 50 representations in one pass, over the floor",
    "cka_layers": "the layer by layer map of two ResNet-18, over their forward passes",
    "streaming_dispersion": "slope of time against the number of models, up to 10,000",
    "permdisp": "PERMDISP of 200 models, over scikit-bio's",
    "deformation": "1,000 images bent, a field each, over the public reference, beside a plain copy",
    "clones": "chunk curves of a 512-wide layer, over a ridge a chunk and the floor",
    "kills": "runs killed at random moments that resume to the same bits",
}
NOT_HERE, MISSED = 3, 4  # exit codes


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line names; without a name, everything, each in a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; default all")
    parser.add_argument("--list", action="store_true", help="say what there is")
    parser.add_argument(
        "--tiny", action="store_true", help="seconds each: proves that it runs, measures nothing"
    )
    parser.add_argument("--full", action="store_true", help="all members of the classroom study, not two")
    parser.add_argument("--budget", type=float, default=480.0, help="seconds for population_gpu [480]")
    parser.add_argument("--points", type=int, default=500, help="kill points of kills [500]")
    parser.add_argument("--seed", type=int, default=0, help="seed of the kill points [0]")
    parser.add_argument("--peers", type=Path, help="folder of public tools (python -m benchmarks.peers)")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{name:21s} {what}" for name, what in NAMES.items()))
        return 0
    try:
        for name in chosen.names:
            if name not in NAMES:
                raise unknown_name("benchmark", name, NAMES)
        whole_number("points", chosen.points, 1)
        if len(chosen.names) == 1:
            options = Options(
                chosen.tiny, chosen.full, chosen.budget, chosen.points, chosen.seed, chosen.peers
            )
            return 0 if _one(chosen.names[0], options) or chosen.tiny else MISSED
    except AkpError as error:
        say(f"benchmarks: {error}")
        return NOT_HERE if isinstance(error, NotHereError) else 1
    flags = [part for part in (arguments or sys.argv[1:]) if part not in chosen.names]
    codes = [_apart(name, flags) for name in chosen.names or NAMES]
    return int(any(code not in (0, NOT_HERE) for code in codes))


def _one(name: str, options: Options) -> bool:
    FOREIGN.clear()
    say(f"{name}: {NAMES[name]}" + (" (tiny: the figures mean nothing)" if options.tiny else ""))
    result: Result = importlib.import_module(f"benchmarks.{name}").measure(options)
    if doubtful():
        say(f"warning: other processes were busy during {len(doubtful())} samples: {'; '.join(doubtful())}")
    for goal, reached in result.besides.items():
        say(f"{goal}: {'yes' if reached else 'no'}")
    verdict = "met" if result.met else "missed"
    say(f"{name}: {result.ratio:.3g}, goal {result.goal:g} or {result.better}: {verdict}")
    print(result.line(), flush=True)
    return result.met


def _apart(name: str, flags: list[str]) -> int:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", name, *flags], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
