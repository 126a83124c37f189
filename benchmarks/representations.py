"""Synthetic representations to compare, and the least time in which a machine could compare them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import CPU, best_seconds, product_rate

Features = NDArray[np.float32]


def related(members: int, examples: int, width: int, *, offset: float = 0.5, seed: int = 0) -> list[Features]:
    """Rectified features that share 32 directions, shifted away from zero: (examples, width) float32 each."""
    draw = np.random.default_rng(seed)
    shared = draw.standard_normal((examples, 32), dtype=np.float32)
    found = []
    for member in range(members):
        x = shared @ draw.standard_normal((32, width), dtype=np.float32) / 6
        x += draw.standard_normal((examples, width), dtype=np.float32) * np.float32(0.3 + member % 50 / 50)
        found.append(np.maximum(x, 0) + np.float32(offset))
    return found


def fastest_rate(*, tiny: bool = False) -> float:
    """FLOP a second of a float32 matrix product by the faster of the two libraries here."""
    n = 256 if tiny else 3072
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal((n, n), dtype=np.float32) for _ in range(2))
    return max(2 * n**3 / best_seconds(lambda: a @ b), product_rate(torch.float32, CPU, tiny=tiny))


def gram_flops(examples: int, widths: Sequence[int]) -> float:
    """FLOP of all CKA by Gram matrices, with both symmetries used."""
    return examples**2 * sum(widths) + len(widths) ** 2 * examples**2 / 2


def cross_flops(examples: int, widths: Sequence[int]) -> float:
    """FLOP of all CKA by cross-covariances, with the symmetry used."""
    return examples * float(sum(widths)) ** 2
