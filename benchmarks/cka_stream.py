"""Minibatch CKA of a population in one pass: our time over the arithmetic floor of the same batches."""

from __future__ import annotations

import statistics

from akp_core.similarity import MinibatchCKA
from benchmarks.machine import device_name
from benchmarks.measuring import Options, Result, interleave, interquartile
from benchmarks.representations import fastest_rate, gram_flops, related

GOAL = 2.0


def measure(options: Options) -> Result:
    """Forty batches of 256 examples from 50 representations of width 512."""
    members, examples, width, count = (4, 16, 8, 3) if options.tiny else (50, 256, 512, 40)
    pool = [related(members, examples, width, seed=seed) for seed in range(2)]
    before = fastest_rate(tiny=options.tiny)

    def stream() -> None:
        sums = MinibatchCKA()
        for batch in range(count):
            sums.add(pool[batch % 2])
        sums.result()

    stream()
    samples = interleave({"minibatches": stream}, 2 if options.tiny else 9)["minibatches"]
    rate = max(before, fastest_rate(tiny=options.tiny))
    floor = count * gram_flops(examples, [width] * members) / rate
    ours = statistics.median(samples)
    return Result(
        "cka_stream",
        ours / floor,
        GOAL,
        "lower",
        floor,
        device_name(),
        ours,
        interquartile(samples),
        {"members": members, "batch": examples, "width": width, "batches": count, "gflops": rate / 1e9},
    )
