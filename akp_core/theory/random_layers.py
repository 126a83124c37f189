"""Layers at initialisation, drawn twice: how much two seeds differ at each width, and how fast it falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import stats

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.palette import activation as palette_activation
from akp_core.similarity import both_estimators

Law = Literal["normal", "cauchy"]


def random_features(
    inputs: Float[np.ndarray, "n d"],
    width: int,
    activation: str,
    rng: np.random.Generator,
    *,
    depth: int = 1,
    law: Law = "normal",
    bottleneck: int = 0,
) -> Float64[np.ndarray, "n width"]:
    r"""Draw a network at initialisation and return its last layer's values.

    .. math:: z^{(l)} = \sigma\bigl(W^{(l)} z^{(l-1)}\bigr), \qquad
       W^{(l)}_{ij} \sim \sqrt{2 / m_{l-1}} \; \mathcal N(0, 1) \text{ or Cauchy}

    Parameters
    ----------
    inputs : (n, d) real array
        One row an image.
    width : int
        Units of every layer.
    activation : str
        A name of `akp_core.palette.ACTIVATIONS`.
    rng : numpy.random.Generator
    depth : int
        Number of layers.
    law : {"normal", "cauchy"}
        Of the weights.
    bottleneck : int
        Units of a first layer put before all others, 0 for none.

    Returns
    -------
    (n, width) float64

    Raises
    ------
    AkpError
        For inputs that are no (images, features) array, or an argument out of range.

    Notes
    -----
    Cost: :math:`n d m + (depth - 1) n m^2` operations.
    """
    if not isinstance(inputs, np.ndarray) or inputs.ndim != 2 or inputs.dtype.kind not in "fiu":
        raise expected("inputs as a real (images, features) array", type(inputs).__name__)
    if law not in get_args(Law):
        raise unknown_name("law of the weights", law, get_args(Law))
    if not isinstance(rng, np.random.Generator):
        raise expected("rng as a numpy.random.Generator", type(rng).__name__)
    width, depth = whole_number("width", width, 1), whole_number("depth", depth, 1)
    first = whole_number("bottleneck", bottleneck, 0)
    function = palette_activation(activation).function
    z = inputs.astype(np.float64)
    for units in ([first] if first else []) + [width] * depth:
        shape = (z.shape[1], units)
        weights = rng.standard_normal(shape) if law == "normal" else rng.standard_cauchy(shape)
        z = function(torch.from_numpy(z @ (weights * math.sqrt(2 / z.shape[1])))).numpy()
    return z


@dataclass(frozen=True, eq=False)
class Gaps:
    """1 - CKA of independent pairs of seeds at several widths.

    Attributes
    ----------
    widths : tuple of int
    biased, unbiased : (pairs, widths) float64
        In [0, 2]. A pair of which one layer is constant has no CKA and counts as 1: nothing in common.
    constant : int
        How many such pairs there were.
    """

    widths: tuple[int, ...]
    biased: Float64[np.ndarray, "p w"]
    unbiased: Float64[np.ndarray, "p w"]
    constant: int

    def of(self, estimator: str) -> Float64[np.ndarray, "p w"]:
        """The gaps of one estimator, by name."""
        if estimator not in ("biased", "unbiased"):
            raise unknown_name("estimator", estimator, ("biased", "unbiased"))
        return self.biased if estimator == "biased" else self.unbiased


def gaps(
    inputs: Float[np.ndarray, "n d"],
    widths: Sequence[int],
    activation: str,
    pairs: int,
    rng: np.random.Generator,
    *,
    depth: int = 1,
    law: Law = "normal",
    bottleneck: int = 0,
) -> Gaps:
    """Draw pairs of seeds at every width, each network once, and measure 1 - CKA of each pair.

    Parameters
    ----------
    inputs, activation, rng, depth, law, bottleneck
        As for `random_features`.
    widths : sequence of int
    pairs : int
        Independent pairs at each width, at least 2.

    Returns
    -------
    Gaps
        Pairs and widths share no network, so all entries are independent.

    Raises
    ------
    AkpError
        As `random_features`; for no widths or fewer than 2 pairs.
    """
    pairs = whole_number("pairs", pairs, 2)
    if not widths:
        raise expected("at least one width", "none")
    found = np.ones((2, pairs, len(widths)))
    constant = 0
    for at, width in enumerate(widths):
        for pair in range(pairs):
            two = [
                random_features(inputs, width, activation, rng, depth=depth, law=law, bottleneck=bottleneck)
                for _ in range(2)
            ]
            try:
                both = both_estimators(two)
            except AkpError:
                constant += 1
                continue
            found[:, pair, at] = [1 - matrix[0, 1] for matrix in both]
    return Gaps(tuple(int(w) for w in widths), found[0], found[1], constant)


def mean_interval(values: Float[np.ndarray, "p w"], *, level: float = 0.05) -> Float64[np.ndarray, "3 w"]:
    """Mean of every column with Student's interval: rows are mean, low and high; values are independent."""
    if values.ndim != 2 or len(values) < 2:
        raise expected("at least 2 rows of values", f"shape {values.shape}")
    mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / math.sqrt(len(values))
    wide = float(stats.t.ppf(1 - level / 2, len(values) - 1)) * error
    return np.stack([mean, mean - wide, mean + wide])


def slope(
    widths: Sequence[int], values: Float[np.ndarray, "p w"], *, level: float = 0.05
) -> tuple[float, float, float]:
    r"""Slope of log mean gap on log width by least squares, with a jackknife interval over rows.

    Parameters
    ----------
    widths : sequence of int
        At least two.
    values : (pairs, widths) float array
        Gaps; row p at different widths may share randomness, rows may not.
    level : float
        The interval has confidence 1 - level.

    Returns
    -------
    (float, float, float)
        Slope and interval; theory says that it tends to -1 as the widths grow.

    Raises
    ------
    AkpError
        For fewer than 2 different widths or 3 rows, or means of 0 or less, which have no logarithm.
    """
    if len(set(widths)) < 2 or np.shape(values)[1:] != (len(widths),) or len(values) < 3:
        raise expected("values of 3 rows and 2 widths or more", f"shape {np.shape(values)}")
    x = np.log(np.asarray(widths, dtype=np.float64))
    x -= x.mean()
    rows, total = len(values), values.sum(axis=0)
    means = np.vstack([total / rows, (total - values) / (rows - 1)])
    if not (means > 0).all():
        raise expected("mean gaps above 0", f"{means.min():.3g}", "draw more pairs or narrower layers")
    slopes = np.log(means) @ x / (x @ x)
    error = math.sqrt((rows - 1) ** 2 / rows * slopes[1:].var(ddof=1))
    wide = float(stats.t.ppf(1 - level / 2, rows - 1)) * error
    return float(slopes[0]), float(slopes[0] - wide), float(slopes[0] + wide)


def family_gaps(similarity: Float[np.ndarray, "M M"]) -> Float64[np.ndarray, " M"]:
    r"""Jackknife pseudo-values of a family's mean gap, so that pairs that share a network count honestly.

    .. math:: p_i = M \theta - (M - 1)\, \theta_{(i)}, \qquad \theta = 1 - \overline{\mathrm{CKA}}

    with :math:`\theta_{(i)}` the mean over pairs without network i. Their mean is :math:`\theta`; leaving one
    out gives :math:`\theta_{(i)}`, which is what `slope` and `mean_interval` do.

    Parameters
    ----------
    similarity : (M, M) real array
        CKA of all pairs of M >= 3 networks.

    Returns
    -------
    (M,) float64

    Raises
    ------
    AkpError
        For anything but such a matrix of finite numbers.
    """
    s = np.asarray(similarity, dtype=np.float64)
    if s.ndim != 2 or len(set(s.shape)) != 1 or len(s) < 3 or not np.isfinite(s).all():
        raise expected("finite similarities of 3 networks or more", f"shape {s.shape}")
    gap = 1 - s
    np.fill_diagonal(gap, 0)
    members, rows = len(s), gap.sum(axis=1)
    whole = rows.sum() / (members * (members - 1))
    without = (rows.sum() - 2 * rows) / ((members - 1) * (members - 2))
    return np.asarray(members * whole - (members - 1) * without)
