"""Where the names of points stand, so that they cover neither one another nor the points."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64


class Place(NamedTuple):
    """Where a name stands beside its point: how it is aligned there, and how many pixels from it."""

    align: Literal["left", "center", "right"]
    dx: float
    dy: float


PLACES = (
    Place("left", 7, -7),
    Place("right", -7, -7),
    Place("left", 7, 9),
    Place("right", -7, 9),
    Place("center", 0, -14),
    Place("center", 0, 15),
)
"""In the order of preference."""
_START = {"left": 0.0, "center": -0.5, "right": -1.0}
_WIDE, _HIGH, _POINT = 0.58, 1.1, 5.0


def places(
    x: Float64[np.ndarray, " n"],
    y: Float64[np.ndarray, " n"],
    names: Sequence[str],
    *,
    width: float,
    height: float,
    font: float,
) -> Int64[np.ndarray, " n"]:
    """Choose a place for each name, one name after another, the one where it covers least.

    Parameters
    ----------
    x, y : (n,) float64
        Pixels from the left and from the top.
    names : sequence of str
    width, height : float
        Pixels of the frame; what leaves it counts as covered.
    font : float
        Size of the letters in pixels; their width is an estimate.

    Returns
    -------
    (n,) int64
        Indices into `PLACES`.
    """
    taken = [(px - _POINT, py - _POINT, px + _POINT, py + _POINT) for px, py in zip(x, y, strict=True)]
    chosen = np.zeros(len(names), dtype=np.int64)
    for i, name in enumerate(names):
        long, tall = _WIDE * font * len(name), _HIGH * font
        boxes = []
        for place in PLACES:
            left, top = x[i] + place.dx + _START[place.align] * long, y[i] + place.dy - tall / 2
            boxes.append((left, top, left + long, top + tall))
        lost = [long * tall - _common(box, (0.0, 0.0, width, height)) for box in boxes]
        covered = [
            gone + sum(_common(box, other) for other in taken) for gone, box in zip(lost, boxes, strict=True)
        ]
        chosen[i] = int(np.argmin(covered))
        taken.append(boxes[chosen[i]])
    return chosen


def _common(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    """Area that two boxes (left, top, right, bottom) have in common."""
    across, down = (min(one[k + 2], two[k + 2]) - max(one[k], two[k]) for k in (0, 1))
    return max(0.0, across) * max(0.0, down)
