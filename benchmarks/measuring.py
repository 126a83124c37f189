"""How a figure is taken: both sides by turns, medians, and what else the machine was doing.

A ratio is only worth printing when both of its sides ran in the same minutes on the same machine. So the
sides take turns, and every sample knows how many cores other processes used meanwhile.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from akp_core.errors import AkpError, expected

ROOT = Path(__file__).resolve().parent.parent
NOISY = 0.25  # cores of foreign load above which a sample is doubtful


class NotHereError(AkpError):
    """A benchmark that this machine cannot run, in one line."""


@dataclass(frozen=True)
class Options:
    """What the command line asks of a benchmark.

    Attributes
    ----------
    tiny : bool
        Everything shrunk to seconds: proves that the benchmark runs, and measures nothing.
    full : bool
        The whole of what is measured by a declared fraction otherwise.
    budget : float
        Seconds after which `population_gpu` starts no further candidate.
    points : int
        Kill points of `kills`.
    seed : int
    peers : Path or None
        Folder with the environment of public tools (`benchmarks.peers`); None leaves them out.
    """

    tiny: bool = False
    full: bool = False
    budget: float = 480.0
    points: int = 500
    seed: int = 0
    peers: Path | None = None


@dataclass(frozen=True)
class Result:
    """What one benchmark found.

    Attributes
    ----------
    name : str
    ratio, goal : float
        The figure that the goal speaks of, and the goal.
    better : {"higher", "lower"}
        Which way the ratio should go.
    floor : float or None
        The least seconds that `median_s` could be on this machine; None where no such bound is known.
    device : str
    median_s, spread : float
        Median and interquartile range of the seconds of our side.
    details : dict
        Whatever else was measured; representable in JSON.
    besides : dict of str to bool
        Further goals in words, and whether each is reached.
    """

    name: str
    ratio: float
    goal: float
    better: str
    floor: float | None
    device: str
    median_s: float
    spread: float
    details: dict[str, Any] = field(default_factory=dict)
    besides: dict[str, bool] = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether the goal is reached, and every further one."""
        reached = self.ratio >= self.goal if self.better == "higher" else self.ratio <= self.goal
        return reached and all(self.besides.values())

    def line(self) -> str:
        """One line of JSON, the keys that every benchmark has first, its own after them."""
        own = ("name", "ratio", "goal", "floor", "device", "median_s", "spread")
        content = {key: getattr(self, key) for key in own} | {"versions": versions()}
        return json.dumps(
            _rounded(
                content | {"better": self.better, "met": self.met, "besides": self.besides} | self.details
            )
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, Mapping):
        return {str(key): _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def say(text: str) -> None:
    """Tell a reader how far it is, on standard error."""
    print(text, file=sys.stderr, flush=True)


def interquartile(samples: Sequence[float]) -> float:
    """Distance between the first and the third quartile (linear interpolation); 0 for a single sample."""
    if len(samples) < 2:
        return 0.0
    first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
    return third - first


def interleave(sides: Mapping[str, Callable[[], float | None]], repeats: int) -> dict[str, list[float]]:
    """Measure several sides by turns.

    Parameters
    ----------
    sides : mapping of str to callable
        Each runs its work once; it returns the seconds that count, or None if all of them do.
    repeats : int
        Rounds; each measures every side once, in the given order.

    Returns
    -------
    dict of str to list of float
        Seconds of each side, one a round.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(1, repeats + 1):
        for name, work in sides.items():
            with watched(f"{name} {turn}") as load:
                begin = time.perf_counter()
                own = work()
                seconds = time.perf_counter() - begin if own is None else own
            samples[name].append(seconds)
            noisy = f"  (others used {load['cores']:.2f} cores: doubtful)" if load["cores"] > NOISY else ""
            say(f"  {turn}/{repeats} {name:20s} {seconds:9.3f} s{noisy}")
    return samples


@contextmanager
def watched(what: str) -> Iterator[dict[str, float]]:
    """Measure how many cores other processes used meanwhile: ``cores`` of what is yielded, at the end."""
    load = {"cores": 0.0}
    busy, own, begin = _busy(), _own(), time.perf_counter()
    yield load
    wall = max(1e-6, time.perf_counter() - begin)
    load["cores"] = max(0.0, ((_busy() - busy) - (_own() - own)) / wall)
    # Ticks are counted in hundredths of a second, so that a shorter stretch says nothing.
    if wall < 0.2:
        load["cores"] = 0.0
    FOREIGN.append((what, load["cores"]))


FOREIGN: list[tuple[str, float]] = []
"""Each watched stretch, and the cores that others used during it."""


def _busy() -> float:
    times = psutil.cpu_times()
    resting = times.idle + getattr(times, "iowait", 0.0)
    # Guest time is counted in user time already.
    return float(sum(times) - resting - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0))


def _own() -> float:
    here = psutil.Process()
    total = sum(here.cpu_times()[:4])
    for child in here.children(recursive=True):
        try:
            total += sum(child.cpu_times()[:4])
        except psutil.Error:
            continue
    return float(total)


def doubtful() -> list[str]:
    """Name the watched stretches during which others used more than `NOISY` cores."""
    return [f"{what}: {cores:.2f} cores" for what, cores in FOREIGN if cores > NOISY]


def versions() -> dict[str, str]:
    """Versions that the figures depend on."""
    packages = ("torch", "numpy", "anna-karenina-principle")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def peak_bytes() -> int:
    """The most memory that this process has held at once, in bytes.

    Read from the kernel's account of this very program where there is one: ``ru_maxrss`` of a fresh process
    starts at the peak of the process that started it.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text("ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_fresh_process(module: str, *arguments: object) -> dict[str, Any]:
    """Run ``python -m MODULE ARGUMENTS`` as a user would, and read the JSON object on its last line.

    Raises
    ------
    AkpError
        If it fails; its last words are in the message.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return last_object(module, done.returncode, done.stdout, done.stderr)


def last_object(what: str, code: int, out: str, error: str) -> dict[str, Any]:
    """Read the JSON object on the last line of a finished process; one that failed is an `AkpError`."""
    if code != 0 or not out.strip():
        words = (error.strip() or "no word").splitlines()[-1]
        raise expected(f"{what} to end well", f"exit code {code}: {words}")
    return dict(json.loads(out.strip().splitlines()[-1]))
