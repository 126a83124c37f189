"""The layer by layer map of two ResNet-18: our time over that of their two forward passes."""

from __future__ import annotations

import statistics

import torch
import torchvision  # type: ignore[import-untyped]

from akp_core.layers import layer_map
from benchmarks.machine import device_name
from benchmarks.measuring import Options, Result, interleave, interquartile

GOAL = 2.0


def measure(options: Options) -> Result:
    """All modules of both, 512 images of 32 x 32 in batches of 128, by turns with the passes alone."""
    images, batch = (16, 8) if options.tiny else (512, 128)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        first, second = (torchvision.models.resnet18(num_classes=10).eval() for _ in range(2))
        batches = torch.split(torch.randn(images, 3, 32, 32), batch)

    def passes() -> None:
        with torch.no_grad():
            for part in batches:
                first(part)
                second(part)

    def whole() -> None:
        shapes.append(list(layer_map(first, second, batches).similarity.shape))

    shapes: list[list[int]] = []
    whole()
    passes()
    samples = interleave({"passes": passes, "map": whole}, 2 if options.tiny else 9)
    ours, floor = statistics.median(samples["map"]), statistics.median(samples["passes"])
    return Result(
        "cka_layers",
        ours / floor,
        GOAL,
        "lower",
        floor,
        device_name(),
        ours,
        interquartile(samples["map"]),
        {"layers": shapes[0], "images": images, "samples": samples},
    )
