"""What to permute in PERMDISP: clouds of points without a difference, judged by either scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType
from typing import NamedTuple, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.spatial.distance import cdist

from akp_core.dispersion import permdisp
from akp_core.dispersion.permdisp import Permute
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.simulation.verdicts import judged_shares
from akp_core.threads import one_thread

_APART = 100.0


class Law(NamedTuple):
    """How the points of both families are drawn, each family about a place of its own."""

    title: str
    dimensions: int
    draw: Callable[[np.random.Generator, tuple[int, int]], Float64[np.ndarray, "m d"]]


def _gaussian(rng: np.random.Generator, shape: tuple[int, int]) -> Float64[np.ndarray, "m d"]:
    return rng.standard_normal(shape)


def _wild(rng: np.random.Generator, shape: tuple[int, int]) -> Float64[np.ndarray, "m d"]:
    return rng.standard_normal(shape) / np.sqrt(rng.chisquare(3, (shape[0], 1)) / 3)


def _skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Float64[np.ndarray, "m d"]:
    return rng.exponential(size=shape)


def _shell(rng: np.random.Generator, shape: tuple[int, int]) -> Float64[np.ndarray, "m d"]:
    points = rng.standard_normal(shape)
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


LAWS: MappingProxyType[str, Law] = MappingProxyType(
    {
        "few": Law("Gaussian, 2 directions", 2, _gaussian),
        "gaussian": Law("Gaussian, 20 directions", 20, _gaussian),
        "many": Law("Gaussian, 200 directions", 200, _gaussian),
        "wild": Law("t (3), 20 directions", 20, _wild),
        "skewed": Law("exponential, 5 directions", 5, _skewed),
        "shell": Law("all equally far out, 20 directions", 20, _shell),
    }
)
"""Every law by name.

:meta hide-value:
"""


def permdisp_sizes(
    laws: Iterable[str] = tuple(LAWS),
    families: Sequence[tuple[int, int]] = ((6, 6), (10, 10), (6, 14)),
    *,
    simulations: int = 400,
    permutations: int = 199,
    level: float = 0.05,
    together: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """How often PERMDISP finds a difference where there is none, by what it permutes.

    Parameters
    ----------
    laws : iterable of str
        Names in `LAWS`. Both families follow the same law, about places far apart.
    families : sequence of (int, int)
        Models in the two families, each at least 4.
    simulations : int
        Of each law and pair of families.
    permutations : int
        Of each test; 199 makes 0.05 a value that p can take.
    level, together : float
        As in `akp_core.simulation.verdicts.sizes`.
    seed : int
        Of everything.

    Returns
    -------
    DataFrame
        One row for each law, pair of families and scheme (``permute``, in `permdisp`'s words): ``happy``,
        ``unhappy``, ``simulations``, ``count``, ``share``, ``low``, ``high`` and ``verdict``, as in `sizes`.

    Raises
    ------
    AkpError
        For an unknown law, families that are too small, or an argument out of range.

    Notes
    -----
    Cost: about a millisecond for each simulation and scheme.
    """
    laws = list(laws)
    for name in laws:
        if name not in LAWS:
            raise unknown_name("law", name, LAWS)
    simulations = whole_number("simulations", simulations, 1)
    seed = whole_number("seed", seed, 0)
    if not laws or not families:
        raise expected("at least one law and one pair of families", f"{len(laws)} and {len(families)}")
    rows = []
    with one_thread():
        for number, name in enumerate(LAWS):
            for happy, unhappy in families if name in laws else ():
                rng = np.random.default_rng([seed, number, happy, unhappy])
                found = _rejections(LAWS[name], happy, unhappy, simulations, permutations, level, rng)
                rows += [(name, happy, unhappy, scheme, simulations, n) for scheme, n in found.items()]
    counts = pd.DataFrame(rows, columns=["law", "happy", "unhappy", "permute", "simulations", "count"])
    return judged_shares(counts, level, ("cautious", "honest", "too eager"), together)


def _rejections(
    law: Law,
    happy: int,
    unhappy: int,
    simulations: int,
    permutations: int,
    level: float,
    rng: np.random.Generator,
) -> dict[Permute, int]:
    """How many of the simulations each scheme rejects."""
    is_unhappy = np.arange(happy + unhappy) >= happy
    schemes: tuple[Permute, ...] = get_args(Permute)
    found = dict.fromkeys(schemes, 0)
    for _ in range(simulations):
        points = law.draw(rng, (len(is_unhappy), law.dimensions))
        points[:, 0] += _APART * is_unhappy
        distances = cdist(points, points)
        for scheme in schemes:
            judged = permdisp(distances, is_unhappy, permute=scheme, permutations=permutations, rng=rng)
            found[scheme] += judged.p_value <= level * (1 + 1e-12)
    return found
