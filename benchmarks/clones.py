"""Chunk curves of a layer of 512 units: seconds, over a ridge a chunk as published; floor: the products.

Both sides draw as many chunks as published (40 for regressions) of ten sizes. The plain loop is timed with
two chunks of each size and scaled, as its chunks do not share anything; the measured share is in the details.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from akp_core.clones import chunk_errors, chunk_regression, chunk_sizes, nested_chunks
from benchmarks.machine import device_name, product_rate
from benchmarks.measuring import Options, Result, interleave, interquartile

GOAL, SECONDS = 20.0, 30.0
CHUNKS, LOOPED = 40, 2


def plain_loop(x: np.ndarray, orders: np.ndarray) -> dict[int, tuple[float, float]]:
    """R^2 and residual correlation of each chunk by a ridge of its own: the published definition."""
    n, width = x.shape
    off = ~np.eye(width, dtype=bool)
    found = {}
    for size in chunk_sizes(width):
        told, shared = [], []
        for order in orders:
            chunk = x[:, order[:size]]
            said = Ridge(alpha=1e-8).fit(chunk, x).predict(chunk)
            told.append(r2_score(x, said, multioutput="variance_weighted"))
            rest = (x - said) / (np.sqrt(np.square(x - said).mean(axis=0)) + 1e-8)
            shared.append(np.abs(rest.T @ rest / n)[off].mean() if size < width else 0.0)
        found[size] = float(np.mean(told)), float(np.mean(shared))
    return found


def measure(options: Options) -> Result:
    """Our curves, in sample as published, and the loop, by turns; ours with out-of-sample R^2 beside."""
    n, width, classes = (400, 32, 3) if options.tiny else (10_000, 512, 10)
    draw = np.random.default_rng(options.seed)
    low = np.maximum(draw.standard_normal((n, width // 4)) @ draw.standard_normal((width // 4, width)), 0)
    x = low + 0.1 * draw.standard_normal((n, width))
    weight, labels = draw.standard_normal((classes, width)), draw.integers(0, classes, n)
    orders = nested_chunks(width, LOOPED, np.random.default_rng(1))
    seen: dict[str, Any] = {}

    def ours() -> None:
        seen["ours"] = chunk_regression(x, chunks=CHUNKS, held_out=False, generator=np.random.default_rng(1))

    def loop() -> None:
        seen["loop"] = plain_loop(x, orders)

    def everything() -> None:
        chunk_regression(x, chunks=CHUNKS, generator=np.random.default_rng(1))
        chunk_errors(x, weight, None, labels, generator=np.random.default_rng(1))

    samples = interleave({"ours": ours, "loop": loop, "everything": everything}, 2 if options.tiny else 3)
    median = {name: statistics.median(taken) for name, taken in samples.items()}
    same = chunk_regression(x, chunks=LOOPED, held_out=False, generator=np.random.default_rng(1))
    told = np.array([seen["loop"][size][0] for size in same.sizes])
    scaled = median["loop"] * CHUNKS / LOOPED
    # one Gram matrix, a third of a cube for each factor, half of one for what is left of the residuals
    flops = 2 * n * width**2 + CHUNKS * (width**3 / 3 + width**3 / 2)
    return Result(
        "clones",
        scaled / median["ours"],
        GOAL,
        "higher",
        flops / product_rate(torch.float64, tiny=options.tiny),
        device_name(),
        median["ours"],
        interquartile(samples["ours"]),
        {
            "loop_s": scaled,
            "loop_measured_share": LOOPED / CHUNKS,
            "everything_s": median["everything"],
            "images": n,
            "width": width,
            "chunks": CHUNKS,
        },
        {
            "the same R^2 as a ridge a chunk": bool(np.abs(told - same.r_squared).max() < 1e-6),
            f"all curves, errors and out of sample among them, within {SECONDS:g} s": bool(
                median["everything"] < SECONDS
            ),
        },
    )
