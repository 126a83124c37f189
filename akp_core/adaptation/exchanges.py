"""What chance would give: twins dealt out anew, and twins that change places."""

from __future__ import annotations

from itertools import permutations as orders
from math import factorial

import numpy as np
from jaxtyping import Float64

_TIE = 1e-12


def reached_share(values: Float64[np.ndarray, " p"], seen: float, scale: float, *, whole: bool) -> float:
    """Share of values that reach what was seen; what was seen is one more where they are a sample.

    Differences below round-off of the scale do not count; ``whole`` says that the values are all there are.
    """
    count = int((values >= seen - _TIE * scale).sum())
    return count / len(values) if whole else (1 + count) / (1 + len(values))


def dealt_out(
    squared: Float64[np.ndarray, "M M"], permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often twins dealt out anew are as near as the own ones, and the least p.

    Given are squared distances between n unstressed networks, first, and their n stressed twins.
    """
    n = len(squared) // 2
    across = squared[n:, :n]
    whole = n <= 8 and factorial(n) <= permutations
    if whole:
        dealt = np.array(list(orders(range(n))))
    else:
        dealt = rng.permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)
    nearer = -across[np.arange(n), dealt].sum(axis=1)
    least = 1 / factorial(n) if whole else 1 / (1 + permutations)
    return reached_share(nearer, -float(np.trace(across)), float(across.sum()), whole=whole), least


def exchanged(
    squared: Float64[np.ndarray, "M M"], permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """How often the stressed are as far outside after twins have changed places, and the least p."""
    n = len(squared) // 2
    whole = 2**n <= permutations
    if whole:
        swap = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    else:
        swap = rng.integers(0, 2, size=(permutations, n)).astype(float)
    off = ~np.eye(n, dtype=bool)
    cc, fc, ff = (np.where(off, part, 0.0) for part in (squared[:n, :n], squared[n:, :n], squared[n:, n:]))
    stay = 1 - swap

    def both(
        left: Float64[np.ndarray, "p n"],
        matrix: Float64[np.ndarray, "n n"],
        right: Float64[np.ndarray, "p n"],
    ) -> Float64[np.ndarray, " p"]:
        return np.asarray(((left @ matrix) * right).sum(axis=1))

    # x is what counts as stressed after the exchange, y as unstressed
    xy = both(stay, fc, stay) + both(stay, ff, swap) + both(swap, cc, stay) + both(swap, fc.T, swap)
    yy = both(stay, cc, stay) + 2 * both(swap, fc, stay) + both(swap, ff, swap)
    seen = float(fc.sum() - cc.sum())
    least = 0.5**n if whole else 1 / (1 + permutations)
    return reached_share(xy - yy, seen, float(squared.sum()), whole=whole), least
