"""The streamed test of up to ten thousand models without a matrix of distances: time and memory against M.

Whole `streamed_test`: both passes over two families of fingerprints of 512 images, and the permutations. The
fingerprints come from a small pool of batches, over and over, as making ten thousand of them would take
longer than testing them. The figure is the slope of log time against log M: 1 is linear.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil

from akp_core.dispersion import AnnaKarenina, anna_karenina_test, streamed_test
from akp_core.similarity import chordal_distance, similarity_of_fingerprints
from benchmarks.machine import device_name
from benchmarks.measuring import Options, Result, interquartile, peak_bytes, say

GOAL = 1.1
BATCH, POOL = 64, 4
BYTES = 5e8  # memory beyond which it is not bounded: of one batch in float64, seven
PERMUTATIONS = 999

Family = Callable[[], Iterator[np.ndarray]]


def measure(options: Options) -> Result:
    """Tests of families of growing size, in batches of 64 fingerprints in float32."""
    examples = 16 if options.tiny else 512
    sizes = (64, 128) if options.tiny else (625, 1250, 2500, 5000, 10_000)
    width = examples * (examples - 1) // 2
    pool = _pool(width)
    before = psutil.Process().memory_info().rss
    _time(sizes[0], pool)
    samples = {m: [_time(m, pool) for _ in range(1 if m > 2500 else 3)] for m in sizes}
    grown = peak_bytes() - before
    seconds = {m: statistics.median(samples[m]) for m in sizes}
    slope = float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])
    for members, took in seconds.items():
        say(f"  M = {members}: {took:.2f} s, {1e3 * took / members:.3f} ms a model")
    bytes_read = 2 * sizes[-1] * width * 4
    besides = {f"no more than {BYTES / 1e9:g} GB more": grown <= BYTES}
    besides["the same verdict as from the matrix of distances"] = _agrees(pool)
    return Result(
        "streaming_dispersion",
        slope,
        GOAL,
        "lower",
        None,
        device_name(),
        seconds[sizes[-1]],
        interquartile(samples[sizes[0]]),
        {
            "seconds": {str(m): s for m, s in seconds.items()},
            "grown_bytes": grown,
            "examples": examples,
            "permutations": PERMUTATIONS,
            "gb_per_s": bytes_read / seconds[sizes[-1]] / 1e9,
        },
        besides,
    )


def _pool(width: int) -> list[np.ndarray]:
    """Batches of unit fingerprints about one direction, the odd ones wider spread."""
    shared = np.random.default_rng(1).standard_normal(width, dtype=np.float32)
    pool = []
    for index in range(POOL):
        rows = np.random.default_rng([2, index]).standard_normal((BATCH, width), dtype=np.float32)
        rows *= np.float32((0.5, 0.7)[index % 2])
        rows += shared
        for row in rows:
            row /= np.linalg.norm(row)
        pool.append(rows)
    return pool


def _family(members: int, batches: list[np.ndarray]) -> Family:
    """A family that is read anew each time, from its batches in turn."""

    def read() -> Iterator[np.ndarray]:
        for index, start in enumerate(range(0, members, BATCH)):
            yield batches[index % len(batches)][: members - start]

    return read


def _test(members: int, pool: list[np.ndarray]) -> AnnaKarenina:
    happy, unhappy = _family(members - members // 2, pool[::2]), _family(members // 2, pool[1::2])
    return streamed_test(happy, unhappy, permutations=PERMUTATIONS, rng=np.random.default_rng(0))


def _time(members: int, pool: list[np.ndarray]) -> float:
    """Seconds of the test of so many models."""
    begin = time.perf_counter()
    found = _test(members, pool)
    took = time.perf_counter() - begin
    assert sum(found.members) == members
    return took


def _agrees(pool: list[np.ndarray]) -> bool:
    streamed = _test(40, pool)
    distances = chordal_distance(similarity_of_fingerprints(np.concatenate([pool[0][:20], pool[1][:20]])))
    rng = np.random.default_rng(0)
    whole = anna_karenina_test(distances, np.arange(40) >= 20, permutations=PERMUTATIONS, rng=rng)
    same = whole.verdict == streamed.verdict and whole.p_value == streamed.p_value
    return same and abs(whole.effect - streamed.effect) < 1e-6
