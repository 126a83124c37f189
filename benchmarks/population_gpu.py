"""Every engine on a GPU against a plain eager loop, beside the floor that arithmetic and memory set.

Each candidate takes turns with the eager loop and is caught on its own, so that one that fails does not
stop the others; what no longer fits into the budget is listed as skipped. ``float32`` and ``bfloat16``
are what a recipe can ask for: the same bits again, no TF32. ``tf32`` allows both sides TF32 and any kernel,
which no study is trained with.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from akp_core.datasets import Dataset
from akp_core.engines import ENGINES
from akp_core.errors import expected
from akp_core.networks import Network
from akp_core.recipe import Recipe
from benchmarks.arithmetic import step_of
from benchmarks.machine import CPU, device_name, machine_rates, tf32, threads
from benchmarks.measuring import NotHereError, Options, Result, interleave, interquartile, say
from benchmarks.training import CLASSES, Eager, Ours, noise

SHARE = 0.5  # of the floor, which the best candidate should reach
RESERVE = 20.0  # seconds of the budget that the start of another candidate needs
PRECISIONS = ("float32", "bfloat16", "tf32")
ORDER = ("graphed", "vectorised", "loop")


@dataclass(frozen=True)
class Case:
    """A population to train.

    Attributes
    ----------
    goal : float
        Times the speed of the eager loop.
    """

    name: str
    options: Mapping[str, Any]
    shape: tuple[int, int, int]
    members: int
    batch: int
    goal: float


CASES = (
    Case("cnn", {"kind": "cnn", "width": 32, "depth": 3}, (3, 28, 28), 64, 128, 10.0),
    Case("resnet18", {"kind": "resnet18"}, (3, 32, 32), 16, 128, 4.0),
)
TINY = (
    Case("cnn", {"kind": "cnn", "width": 4, "depth": 2}, (3, 8, 8), 2, 8, 10.0),
    Case("resnet18", {"kind": "resnet18", "width": 2}, (3, 8, 8), 2, 8, 4.0),
)


def measure(options: Options) -> Result:
    """64 small CNNs and 16 ResNet-18, each engine in each precision."""
    cuda = torch.cuda.is_available()
    if not (cuda or options.tiny):
        raise NotHereError(
            "population_gpu needs a CUDA GPU, and this machine has none; --tiny runs it on the CPU"
        )
    device, stop = torch.device("cuda") if cuda else CPU, time.perf_counter() + options.budget
    rates = machine_rates(device, tiny=options.tiny)
    rates.setdefault("tf32", rates["float32"])
    cases = TINY if options.tiny else CASES
    with threads(1):  # what the host computes is small
        tables = {case.name: _case(case, device, rates, stop, tiny=options.tiny) for case in cases}
    best = {name: _best(table) for name, table in tables.items()}
    first = best["cnn"].get("float32")
    if first is None:
        reasons = {row.get("failed", "skipped") for row in tables["cnn"].values()}
        raise expected("a float32 candidate that runs", "; ".join(sorted(reasons)))
    details: dict[str, Any] = {}
    for case in cases:
        for precision, row in best[case.name].items():
            details[f"ratio_{case.name}_{precision}"] = row["ratio"]
            details[f"share_of_floor_{case.name}_{precision}"] = row["share_of_floor"]
        details[f"goal_{case.name}"] = case.goal
    details |= {"goal_share_of_floor": SHARE, "rates": rates, "candidates": tables}
    return Result(
        "population_gpu",
        first["ratio"],
        cases[0].goal,
        "higher",
        first["floor"],
        device_name(device),
        first["median_s"],
        first["spread"],
        details,
        {
            f"{case.name} at least {case.goal:g} times, and half of the floor": case.name in best
            and "float32" in best[case.name]
            and best[case.name]["float32"]["ratio"] >= case.goal
            and best[case.name]["float32"]["share_of_floor"] >= SHARE
            for case in cases
        },
    )


def _best(table: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The candidate with the highest ratio in each precision in which any ran."""
    best: dict[str, dict[str, Any]] = {}
    for row in table.values():
        if "ratio" in row and row["ratio"] > best.get(row["precision"], {"ratio": 0.0})["ratio"]:
            best[row["precision"]] = row
    return best


def _case(
    case: Case, device: torch.device, rates: Mapping[str, float], stop: float, *, tiny: bool
) -> dict[str, dict[str, Any]]:
    names = [(p, e) for p in PRECISIONS[: 3 if device.type == "cuda" else 2] for e in ORDER if e in ENGINES]
    rows: dict[str, dict[str, Any]] = {
        f"{engine}, {p}": {"engine": engine, "precision": p} for p, engine in names
    }
    say(f"{case.name}: {case.members} members, batch {case.batch}")
    try:
        network = Network(**case.options)
        data = noise(case.shape, case.batch * (4 if tiny else 50))
        plain = Eager(network, data, case.members, case.batch, device)
    except Exception as error:
        return {name: row | {"failed": _line(error)} for name, row in rows.items()}
    for name, row in rows.items():
        if stop - time.perf_counter() < RESERVE:
            row["skipped"] = "budget"
            continue
        try:
            row |= _candidate(plain, network, data, case, row["engine"], row["precision"], rates, tiny=tiny)
        except Exception as error:
            row["failed"] = _line(error)
            say(f"  {name}: failed: {row['failed']}")
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return rows


def _candidate(
    plain: Eager,
    network: Network,
    data: Dataset,
    case: Case,
    engine: str,
    precision: str,
    rates: Mapping[str, float],
    *,
    tiny: bool,
) -> dict[str, Any]:
    half = precision == "bfloat16"
    recipe = Recipe(batch=case.batch, precision="bfloat16" if half else "float32")
    seeds, rounded = range(case.members), precision == "tf32"
    ours = Ours(network, recipe, data, seeds, plain.device, engine, rounded=rounded)
    row = _against(plain, ours, precision, tiny=tiny)
    step = step_of(network, case.shape, CLASSES, case.batch, bf16=half)
    floor = case.members * step.floor(rates, precision)
    images, share = case.members * case.batch / row["median_s"], floor / row["median_s"]
    say(
        f"  {engine}, {precision}: {images:,.0f} members x images a second, {row['ratio']:.2f} x plain, "
        f"{share:.0%} of the floor"
    )
    return row | {"floor": floor, "share_of_floor": share, "images_per_second": images}


def _against(plain: Eager, ours: Ours, precision: str, *, tiny: bool) -> dict[str, Any]:
    """Seconds of one step of all members, by turns with the eager loop in the same TF32 setting."""
    begin = time.perf_counter()
    ours.train(3)
    first = time.perf_counter() - begin

    def loop(steps: int) -> None:
        with tf32(precision == "tf32"):
            plain.train(steps)

    count = {name: _enough(train, tiny=tiny) for name, train in (("plain", loop), ("ours", ours.train))}
    seconds = interleave(
        {
            "plain": functools.partial(loop, count["plain"]),
            "ours": functools.partial(ours.train, count["ours"]),
        },
        1 if tiny else 3,
    )
    each = {name: [s / count[name] for s in samples] for name, samples in seconds.items()}
    median = {name: statistics.median(samples) for name, samples in each.items()}
    return {
        "ratio": median["plain"] / median["ours"],
        "median_s": median["ours"],
        "spread": interquartile(each["ours"]),
        "plain_s": median["plain"],
        "first_steps_s": first,
    }


def _enough(train: Any, *, tiny: bool) -> int:
    """Steps that take about a second."""
    train(1)
    begin = time.perf_counter()
    train(2)
    seconds = (time.perf_counter() - begin) / 2
    return 2 if tiny else max(2, min(1000, round(1.0 / seconds)))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
