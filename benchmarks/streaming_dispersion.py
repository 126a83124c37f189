"""Dispersion of up to ten thousand models without a matrix of their distances: time and memory against M.

Fingerprints of 512 images are made batch by batch and thrown away, as if read from a store; only our time
counts. The figure is the slope of log time against log M: 1 is linear.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from akp_core.dispersion import Centroid, anna_karenina_test, streamed_test
from akp_core.similarity import chordal_distance, similarity_of_fingerprints
from benchmarks.machine import device_name
from benchmarks.measuring import Options, Result, interquartile, peak_bytes, say

GOAL = 1.1
BATCH = 64
BYTES = 1.5e9  # memory beyond which it is not bounded


def measure(options: Options) -> Result:
    """Two passes over families of growing size, in fresh batches of 64 fingerprints."""
    examples = 16 if options.tiny else 512
    sizes = (64, 128) if options.tiny else (625, 1250, 2500, 5000, 10_000)
    width = examples * (examples - 1) // 2
    base = np.random.default_rng(0).standard_normal((BATCH, width), dtype=np.float32)
    shared = np.random.default_rng(1).standard_normal(width, dtype=np.float32)
    _time(sizes[0], base, shared)
    before = peak_bytes()
    samples = {m: [_time(m, base, shared) for _ in range(1 if m > 2500 else 3)] for m in sizes}
    grown = peak_bytes() - before
    seconds = {m: statistics.median(samples[m]) for m in sizes}
    slope = float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])
    for members, took in seconds.items():
        say(f"  M = {members}: {took:.2f} s, {1e3 * took / members:.3f} ms a model")
    bytes_read = 2 * sizes[-1] * width * 4
    besides = {f"no more than {BYTES / 1e9:g} GB more": grown <= BYTES}
    besides["the same verdict as from the matrix of distances"] = _agrees(base, shared)
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
            "gb_per_s": bytes_read / seconds[sizes[-1]] / 1e9,
        },
        besides,
    )


def _batch(index: int, base: np.ndarray, shared: np.ndarray, spread: float) -> np.ndarray:
    """Unit fingerprints about one direction, different in every batch."""
    rows = shared + np.float32(spread) * np.roll(base, 7919 * index, axis=1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _time(members: int, base: np.ndarray, shared: np.ndarray) -> float:
    """Seconds of both passes over so many models; making the fingerprints does not count."""
    took, centroid = 0.0, Centroid()
    for second_pass in (False, True):
        for index in range(-(-members // BATCH)):
            batch = _batch(index, base, shared, 0.5)[: members - index * BATCH]
            begin = time.perf_counter()
            if second_pass:
                centroid.distances(batch)
            else:
                centroid.add(batch)
            took += time.perf_counter() - begin
    assert centroid.members == members
    return took


def _agrees(base: np.ndarray, shared: np.ndarray) -> bool:
    happy, unhappy = _batch(0, base, shared, 0.5)[:20], _batch(1, base, shared, 0.7)[:20]
    distances = chordal_distance(similarity_of_fingerprints(np.concatenate([happy, unhappy])))
    whole = anna_karenina_test(distances, np.arange(40) >= 20, permutations=199, rng=np.random.default_rng(0))
    streamed = streamed_test([happy], [unhappy], permutations=199, rng=np.random.default_rng(0))
    same = whole.verdict == streamed.verdict and whole.p_value == streamed.p_value
    return same and abs(whole.effect - streamed.effect) < 1e-6
