"""Runs killed with SIGKILL at random moments, resumed, and compared bit for bit with the unbroken run.

The moments are drawn from a seed and spread over the whole of a run, from before its first step to after its
last file. Two chains work side by side, processes of their own that fork a child for every run
(`benchmarks.kill_chain`), so that a point costs a fraction of a second.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from akp_core.errors import whole_number
from benchmarks.kill_chain import Summary
from benchmarks.machine import device_name
from benchmarks.measuring import ROOT, Options, Result, interquartile, last_object, say

GOAL = 1.0
CHAINS = 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def measure(options: Options) -> Result:
    """Kill and resume, two chains side by side."""
    points = 4 if options.tiny else options.points
    folder = tempfile.mkdtemp()
    found = kill_points(points, options.seed, folder)
    if found.faults:
        say(f"what went wrong is kept in {folder}:\n" + "\n".join(found.faults))
    else:
        shutil.rmtree(folder)
    say(
        f"killed before anything was kept {found.before}, during {found.during}, after {found.after}; "
        f"left a checkpoint {found.checkpointed}, a file half written {found.writing}; "
        f"resumed {found.resumed}, equal {found.equal}"
    )
    return Result(
        "kills",
        found.equal / found.points,
        GOAL,
        "higher",
        None,
        device_name(),
        statistics.median(found.seconds),
        interquartile(found.seconds),
        {name: value for name, value in asdict(found).items() if name != "seconds"} | {"seed": options.seed},
    )


def kill_points(points: int, seed: int, folder: str | Path) -> Summary:
    """Kill a small study at so many random moments, resume it each time, and compare.

    Parameters
    ----------
    points : int
    seed : int
        Of the moments; the study is always the same.
    folder : path
        Stores of points that went wrong stay there, the others are removed.

    Returns
    -------
    Summary

    Raises
    ------
    AkpError
        If a chain of processes itself fails.
    """
    points = whole_number("points", points, 1)
    where, module = str(Path(folder).resolve()), "benchmarks.kill_chain"
    each = min(CHAINS, points)
    chains = [
        subprocess.Popen(
            [sys.executable, "-m", module, where, *map(str, (points, seed, first, each))],
            cwd=ROOT,
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for first in range(each)
    ]
    total, ends = Summary(), []
    try:
        ends = [process.communicate() for process in chains]
    finally:
        for process in chains:
            process.kill()
            process.wait()
    for process, (out, error) in zip(chains, ends, strict=True):
        total += Summary(**last_object("a chain of kills", process.returncode, out, error))
    return total
