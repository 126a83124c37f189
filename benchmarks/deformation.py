"""A thousand images bent, one field each: our time over reading alone, and the reference's over ours.

Reading alone is torch's ``grid_sample`` at places that are there already. With ``--peers DIR`` the reference
implementation, a checkout of pcsl-epfl/diffeomorphism in ``DIR/src/diffeomorphism``, is called once for each
image, as its call for a batch bends all images alike; and both must read the same from the same field.
"""

from __future__ import annotations

import importlib.util
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from akp_core.deformation import Deformed, deform, temperature_range, warp
from benchmarks.machine import device_name
from benchmarks.measuring import NotHereError, Options, Result, interleave, interquartile, say

GOAL = 2.5
OVER_REFERENCE = {32: 40.0, 224: 3.0}
CUTOFFS = (3, 15)
SAME = 1e-4  # how far the two may read apart in images from 0 to 1
AT_ONCE = 3_000_000  # bytes of images that stay in the caches


def measure(options: Options) -> Result:
    """Time each side and cutoff, all by turns, at half of the highest temperature that the paper allows."""
    reference = None if options.peers is None else _reference(options.peers)
    count, sides = (4, (20, 24)) if options.tiny else (1000, tuple(OVER_REFERENCE))
    rows: dict[str, dict[str, Any]] = {}
    besides: dict[str, bool] = {}
    for side in sides:
        images = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(options.seed))
        for cutoff in CUTOFFS:
            name = f"{side} x {side}, cutoff {cutoff}"
            say(name)
            row = _case(images, cutoff, options, reference)
            rows[name] = row
            if reference is not None:
                goal = OVER_REFERENCE.get(side, 1.0)
                besides[f"{name}: at least {goal:g} times the reference"] = row["over_reference"] >= goal
                besides[f"{name}: both read the same"] = row["apart"] <= SAME
    worst = max(rows.values(), key=lambda row: float(row["ratio"]))
    return Result(
        "deformation",
        worst["ratio"],
        GOAL,
        "lower",
        worst["floor"],
        device_name(),
        worst["seconds"],
        interquartile(worst["samples"]),
        {"images": count, "threads": torch.get_num_threads(), "cases": rows},
        besides,
    )


def _case(images: Tensor, cutoff: int, options: Options, reference: ModuleType | None) -> dict[str, Any]:
    side = images.shape[-1]
    temperature = temperature_range(cutoff, side)[1] / 2
    draw = torch.Generator().manual_seed(options.seed)
    some = images[: len(images) if side < 100 else max(1, len(images) // 10)]

    def ours() -> Deformed:
        return deform(images, cutoff=cutoff, temperature=temperature, generator=draw)

    def theirs() -> None:
        assert reference is not None
        for image in some:
            reference.deform(image, temperature, cutoff)

    bent = ours()
    grid = _grid(bent.fields)
    step = max(1, AT_ONCE // (images[0].numel() * images.element_size()))

    def reading() -> None:
        for some_images, places in zip(images.split(step), grid.split(step), strict=True):
            _read(some_images, places)

    sides: dict[str, Callable[[], None]] = {
        "ours": lambda: _run(ours),
        "with folds": lambda: _run(lambda: ours().folded),
        "reading": reading,
        "copy": lambda: _run(images.clone),
    }
    if reference is not None:
        sides["reference"] = theirs
    for work in sides.values():
        work()
    samples = interleave(sides, 2 if options.tiny else 5 if side > 100 else 15)
    median = {name: statistics.median(taken) for name, taken in samples.items()}
    row: dict[str, Any] = {
        "seconds": median["ours"],
        "floor": median["reading"],
        "ratio": median["ours"] / median["reading"],
        "over_copy": median["ours"] / median["copy"],
        "with_folds": median["with folds"],
        "samples": samples["ours"],
    }
    if reference is not None:
        seconds = median["reference"] * len(images) / len(some)
        row |= {"reference": seconds, "reference_images": len(some)}
        row |= {
            "over_reference": seconds / median["ours"],
            "apart": _apart(images[:4], bent.fields[:4], reference),
        }
        say(f"  {row['over_reference']:.1f} times the reference, {row['over_copy']:.1f} copies")
    return row


def _run(work: Callable[[], Any]) -> None:
    work()


def _grid(fields: Tensor) -> Tensor:
    h, w = fields.shape[2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
    pixel = torch.tensor([2 / (w - 1), 2 / (h - 1)])
    return (torch.stack([x, y], dim=2) - fields.flip(1).permute(0, 2, 3, 1) * pixel).contiguous()


def _read(images: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _apart(images: Tensor, fields: Tensor, reference: ModuleType) -> float:
    theirs = [reference.remap(i, f[1], f[0], "linear") for i, f in zip(images, fields, strict=True)]
    return float((torch.stack(theirs) - warp(images, fields)).abs().max())


def _reference(peers: Path) -> ModuleType:
    file = peers / "src" / "diffeomorphism" / "diff.py"
    if not file.is_file():
        raise NotHereError(f"no {file}; put there a checkout of pcsl-epfl/diffeomorphism")
    spec = importlib.util.spec_from_file_location("diffeomorphism_reference", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    warnings.filterwarnings("ignore", message="torch.meshgrid", category=UserWarning)
    return module
