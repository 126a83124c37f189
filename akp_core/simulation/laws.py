r"""The laws that simulated studies follow: two families, and twins of one of them.

Model i of a family sees

.. math:: X_i = Z W_i + \sigma g_i E_i ,

the same signal Z of the n examples through its own random map :math:`W_i`, and its own noise. A stressed
twin shares half the variance of its happy twin's map and noise. Where families are *apart*, a quarter of the
examples trade places for the unhappy one: it then lies elsewhere, but what holds within it does not change,
as every measure ignores the order of the examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

TESTS: MappingProxyType[str, str] = MappingProxyType(
    {
        "dispersion": "Anna Karenina test",
        "twins": "Anna Karenina test, twins",
        "unequal": "Anna Karenina test, half the unhappy",
        "streamed": "Anna Karenina test, streamed",
        "location": "location (PERMANOVA)",
        "location twins": "location, twins",
        "own way": "own way",
        "own way twins": "own way, twins",
        "matched": "matched error",
        "causes": "three causes: stressed",
        "permdisp": "PERMDISP, contributions permuted",
        "distances": "PERMDISP, distances permuted",
        "pairs": "t test over pairs",
    }
)
"""Every test by the name that tables use, and what a reader calls it."""

_OF_PLACE = frozenset({"location", "location twins", "own way", "own way twins"})

SIGNALS, _NOISE, _SHARED = 3, 0.5, 0.5


@dataclass(frozen=True)
class Setting:
    r"""A law for both families.

    Attributes
    ----------
    title : str
    tails : float
        Degrees of freedom of the models' noise: :math:`g_i^2 = \nu / \chi^2_\nu`; infinite for all alike.
    apart : bool
        Whether the unhappy family lies elsewhere.
    wider : float
        Noise of the unhappy over that of the happy.
    true : frozenset of str
        The tests whose null hypothesis does not hold here; for all others a rejection is false.
    """

    title: str
    tails: float = np.inf
    apart: bool = False
    wider: float = 1.0
    true: frozenset[str] = frozenset()


SETTINGS: MappingProxyType[str, Setting] = MappingProxyType(
    {
        "even": Setting("even noise"),
        "heavy": Setting("a few wild models", tails=2.0),
        "apart": Setting("families apart", apart=True, true=_OF_PLACE),
        "wider": Setting("unhappy noise doubled", wider=2.0, true=frozenset(TESTS)),
    }
)
"""Every setting by name."""


@dataclass(frozen=True)
class Shape:
    """How large a study is, and how it is tested."""

    members: int
    examples: int
    width: int
    permutations: int
    level: float
    seed: int


def features(setting: Setting, shape: Shape, study: int) -> Float64[np.ndarray, "M n p"]:
    """Representations of happy models, unhappy models, and stressed twins of the happy ones."""
    rng = np.random.default_rng([shape.seed, study])
    m, n, p = shape.members, shape.examples, shape.width
    signal = rng.standard_normal((n, SIGNALS))
    maps, noise = rng.standard_normal((3 * m, SIGNALS, p)), rng.standard_normal((3 * m, n, p))
    for drawn in (maps, noise):
        drawn[2 * m :] = np.sqrt(_SHARED) * drawn[:m] + np.sqrt(1 - _SHARED) * drawn[2 * m :]
    size = np.where(np.arange(3 * m) < m, 1.0, setting.wider)
    if np.isfinite(setting.tails):
        size = size * np.sqrt(setting.tails / rng.chisquare(setting.tails, 3 * m))
    x: NDArray[np.float64] = signal @ maps + _NOISE * np.sqrt(SIGNALS) * size[:, None, None] * noise
    if setting.apart:
        x[m:, : n // 4] = np.roll(x[m:, : n // 4], 1, axis=1)
    return x
