"""Averaging layers run on drawn white images: D_f, G_f and their exponents, with intervals over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy import stats
from scipy.ndimage import correlate1d

from akp_core.dispersion.expanded import expanded_tail
from akp_core.errors import expected, whole_number
from akp_core.similarity.calibration import check_rng
from akp_core.theory.ornstein_uhlenbeck import number
from akp_core.theory.pooling import check_filter, sensitivity

Layers = Mapping[str, tuple[Sequence[float], int]]
"""Filter and stride of a stack of equal layers, under the name that a reader should see."""
QUANTITIES: Mapping[str, str] = {
    "shift": "D, a shift by one pixel",
    "noise": "G, noise",
    "rectified": "G, noise after a ReLU",
    "ratio": "R = D / G, noise after a ReLU",
}


def responses(
    weights: Sequence[float],
    stride: int,
    depth: int,
    *,
    size: int,
    images: int,
    dims: int = 1,
    rng: np.random.Generator,
) -> dict[str, Float64[np.ndarray, "N K"]]:
    """Squared changes of the output of each layer, for each of N white images.

    Parameters
    ----------
    weights, stride, depth
        As for `akp_core.theory.pooling.kernel`; depth at least 1.
    size : int
        Pixels along each axis of an image, on a circle: a multiple of stride to the depth, and at least
        twice the receptive field.
    images : int
        N, at least 4.
    dims : int
        1 or 2.
    rng : numpy.random.Generator

    Returns
    -------
    dict of str to (N, K) float64 array
        ``shift``, ``noise``, ``rectified``: sums over units of the squared change; ``between``: of the
        difference to another image, which normalises them.

    Raises
    ------
    AkpError
        As `kernel`; for a size that does not fit the layers.
    """
    h, stride = check_filter(weights), whole_number("stride", stride, 1)
    depth, dims = whole_number("depth", depth, 1), whole_number("dims", dims, 1, 2)
    size, images = whole_number("size", size, 2), whole_number("images", images, 4)
    check_rng(rng)
    field = 1 + (len(h) - 1) * sum(stride**i for i in range(depth))
    if size % stride**depth or size < 2 * field:
        need = f"a size that {stride}^{depth} divides and of at least {2 * field} pixels"
        raise expected(need, str(size), "use fewer layers or larger images")
    x = rng.standard_normal((images, *[size] * dims))
    eta = 2**0.5 * rng.standard_normal(x.shape)
    # All layers are linear, so a change of the input passes through them as an image does.
    parts = {
        "shift": np.roll(x, 1, axis=1) - x,
        "noise": eta,
        "rectified": np.maximum(eta, 0),
        # Its own other image for each: a neighbour's would tie the rows that the bootstrap takes for free.
        "between": rng.standard_normal(x.shape) - x,
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in parts}
    for _ in range(depth):
        for name, part in parts.items():
            for axis in range(1, dims + 1):
                part = correlate1d(part, h, axis=axis, mode="wrap")
                part = part[(slice(None),) * axis + (slice(None, None, stride),)]
            parts[name] = part
            found[name].append((part.reshape(images, -1) ** 2).sum(axis=1))
    return {name: np.stack(rows, axis=1) for name, rows in found.items()}


def depth_curves(
    layers: Layers,
    *,
    depths: Mapping[str, int],
    size: int,
    images: int,
    dims: int = 1,
    first: int = 2,
    level: float = 0.05,
    draws: int = 499,
    rng: np.random.Generator,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """D_f and G_f against depth, and their exponents in the receptive field, beside the exact ones.

    Parameters
    ----------
    layers : mapping of str to (filter, stride)
    depths : mapping of str to int
        Layers of each.
    size, images, dims
        As for `responses`.
    first : int
        The exponents leave out layers before this one; at most the least depth less one.
    level, draws
        Bootstrap intervals over images have confidence 1 - level.
    rng : numpy.random.Generator

    Returns
    -------
    curves : DataFrame
        ``layers, quantity, depth, width, exact, value, low, high``; width is the receptive field A.
    exponents : DataFrame
        ``layers, quantity, exact, value, low, high``: slope of log value against log A.

    Raises
    ------
    AkpError
        As `responses`; for a first layer that leaves fewer than two.
    """
    if not 0 < number("level", level, 0.0, 1.0) < 1:
        raise expected("level between 0 and 1", repr(level))
    first = whole_number("first", first, 1, min(depths[name] for name in layers) - 1)
    tails = [expanded_tail(images, level), 1 - expanded_tail(images, level)]
    curves, exponents = [], []
    for name, (weights, stride) in layers.items():
        drawn = responses(weights, stride, depths[name], size=size, images=images, dims=dims, rng=rng)
        counts = rng.multinomial(images, np.full(images, 1 / images), size=whole_number("draws", draws, 99))
        counts = np.concatenate([np.ones((1, images)), counts])
        means = {key: counts @ value for key, value in drawn.items()}
        values = {key: means[key] / means["between"] for key in ("shift", "noise", "rectified")}
        values["ratio"] = values["shift"] / values["rectified"]
        truth = [sensitivity(weights, stride, k + 1, dims=dims) for k in range(depths[name])]
        wide = np.array([one.width for one in truth])
        exact = {
            key: np.array([getattr(one, key) for one in truth]) for key in ("shift", "noise", "rectified")
        }
        exact["ratio"] = exact["shift"] / exact["rectified"]
        for key, label in QUANTITIES.items():
            low, high = np.quantile(values[key][1:], tails, axis=0)
            for k, due in enumerate(exact[key]):
                curves.append((name, label, k + 1, wide[k], due, values[key][0, k], low[k], high[k]))
            slopes = _slope(wide[first - 1 :], values[key][:, first - 1 :])
            due = _slope(wide[first - 1 :], exact[key][None, first - 1 :])[0]
            exponents.append((name, label, due, slopes[0], *np.quantile(slopes[1:], tails)))
    of = ["layers", "quantity"]
    return (
        pd.DataFrame(curves, columns=[*of, "depth", "width", "exact", "value", "low", "high"]),
        pd.DataFrame(exponents, columns=[*of, "exact", "value", "low", "high"]),
    )


def discrepancy(exponents: pd.DataFrame, images: int, level: float = 0.05) -> float:
    """How surprising the measured exponents are if the exact ones hold: Bonferroni's p over all of them.

    Parameters
    ----------
    exponents : DataFrame
        From `depth_curves`.
    images : int
        Of that call.
    level : float
        Of that call.

    Returns
    -------
    float
        In [0, 1].
    """
    reach = stats.t.ppf(1 - level / 2, images - 1)
    error = (exponents["high"] - exponents["low"]) / (2 * reach)
    t = ((exponents["value"] - exponents["exact"]).abs() / error).max()
    return min(1.0, 2 * len(exponents) * float(stats.t.sf(t, images - 1)))


def _slope(width: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares slope of the log of each row against the log of the width."""
    x = np.log(width) - np.log(width).mean()
    return np.log(values) @ x / (x @ x)


def waves(
    widths: Sequence[float],
    *,
    shift: float,
    wavelength: float,
    images: int,
    level: float = 0.05,
    draws: int = 499,
    rng: np.random.Generator,
) -> pd.DataFrame:
    r"""D_f of a Gaussian filter under a displacement that varies from place to place, a wave.

    .. math:: D_f \approx \frac12 \Bigl(\frac{\langle u^2 \rangle}{2 A^2} + \langle u'^2 \rangle\Bigr),
              \qquad u(y) = \sqrt2\, \delta \cos(2 \pi y / \Lambda + \varphi)

    Parameters
    ----------
    widths : sequence of float
        A, standard deviation of the filter, in pixels.
    shift : float
        delta, root mean square displacement; without a fold: below Lambda / (2 pi sqrt 2).
    wavelength : float
        Lambda, in pixels.
    images : int
        White images drawn for each width, each with a phase of its own; at least 4.
    level, draws
        Of the bootstrap interval over images.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        ``width, proved, shift only`` (what a rigid shift of the same size gives), ``value, low, high``.

    Raises
    ------
    AkpError
        For a displacement that folds the image, or a number out of its range.
    """
    delta, length = number("shift", shift, 1e-6), number("wavelength", wavelength, 1e-6)
    images = whole_number("images", images, 4)
    check_rng(rng)
    slope = 2 * np.pi * delta / length
    if slope * 2**0.5 >= 1:
        raise expected("a displacement that does not fold", f"a slope of {slope * 2**0.5:.2g}", "shift less")
    rows = []
    for width in (number("width", w, 1e-3) for w in widths):
        y = np.linspace(-7 * width - 2 * delta, 7 * width + 2 * delta, 801)
        phase = rng.uniform(0, 2 * np.pi, (images, 1))
        moved = y + 2**0.5 * delta * np.cos(2 * np.pi * y / length + phase)
        stretch = 1 - 2**0.5 * slope * np.sin(2 * np.pi * y / length + phase)
        plain = np.exp(-0.5 * (y / width) ** 2)
        change = np.exp(-0.5 * (moved / width) ** 2) * stretch - plain
        x, other = rng.standard_normal((2, images, len(y)))
        top, under = ((change * x).sum(axis=1)) ** 2, ((x - other) @ plain) ** 2
        counts = rng.multinomial(images, np.full(images, 1 / images), size=whole_number("draws", draws, 99))
        ends = np.quantile(
            (counts @ top) / (counts @ under),
            [expanded_tail(images, level), 1 - expanded_tail(images, level)],
        )
        rigid = delta**2 / (4 * width**2)
        rows.append((width, rigid + slope**2 / 2, rigid, top.mean() / under.mean(), *ends))
    return pd.DataFrame(rows, columns=["width", "proved", "shift only", "value", "low", "high"])
