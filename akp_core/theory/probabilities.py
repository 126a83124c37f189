"""Class probabilities of the same items by several models, and two distances between them.

The population of a theorem is the list of items: every mean runs over items of equal weight.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float64
from scipy.spatial.distance import pdist, squareform

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.similarity.arrays import Array, as_float64

Metric = Literal["total_variation", "root_mean_square"]
METRICS: tuple[str, ...] = get_args(Metric)
_ROUND_OFF = 1e-4
"""How far from 1 float32 probabilities may sum."""


def read_numbers(x: Array, name: str, axes: str) -> Float64[np.ndarray, "*any"]:
    """Check finite real numbers with the axes named, such as ``"items classes"``; two classes at least.

    Parameters
    ----------
    x : array, NumPy or torch
    name : str
        What to call it in a message.
    axes : str
        Names of its axes, the last one the classes.

    Raises
    ------
    AkpError
        If an axis is missing or empty, there is one class alone, or an entry is not finite.
    """
    values = as_float64(x, name)[0].cpu().numpy()
    if values.ndim != len(axes.split()) or values.size == 0 or values.shape[-1] < 2:
        what = f"{name} as ({axes.replace(' ', ', ')}) with two classes or more"
        raise expected(what, f"shape {values.shape}")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise expected(
            f"finite numbers in {name}", f"{bad} non-finite", "leave diverged models out, count them"
        )
    return values


def read_probabilities(x: Array, name: str, axes: str = "items classes") -> Float64[np.ndarray, "*any"]:
    """Check class probabilities, and let them sum to 1 in float64.

    Parameters
    ----------
    x : array, NumPy or torch
        At least 0; sums to 1 over the last axis, to within 0.0001.
    name : str
        What to call it in a message.
    axes : str
        Names of its axes, the last one the classes.

    Raises
    ------
    AkpError
        If it is none of that.
    """
    values = read_numbers(x, name, axes)
    sums = values.sum(axis=-1, keepdims=True)
    if values.min() < 0 or np.abs(sums - 1).max() > _ROUND_OFF:
        came = f"entries from {values.min():.4g} and sums from {sums.min():.4g} to {sums.max():.4g}"
        raise expected(f"{name} as probabilities that sum to 1 over classes", came, "take the softmax first")
    return values / sums


def same_shape(first: Float64[np.ndarray, "*any"], second: Float64[np.ndarray, "*any"], names: str) -> None:
    """Refuse outputs of other items or other classes."""
    if first.shape[-2:] != second.shape[-2:]:
        came = f"{first.shape[-2:]} and {second.shape[-2:]}"
        raise expected(f"{names} for the same items and classes", came)


def output_distances(
    outputs: Float[Array, "M n K"], metric: Metric = "root_mean_square"
) -> Float64[np.ndarray, "M M"]:
    r"""Distances between the outputs of every two models.

    .. math:: D_1(i, j) = \frac1n\sum_x \tfrac12\lVert q_i(x) - q_j(x)\rVert_1, \qquad
              D_2(i, j) = \Bigl(\frac1n\sum_x \lVert q_i(x) - q_j(x)\rVert_2^2\Bigr)^{1/2}

    Parameters
    ----------
    outputs : (M, n, K) float array, NumPy or torch
        Outputs of M models for n items; any real numbers.
    metric : {"total_variation", "root_mean_square"}
        :math:`D_1` or :math:`D_2`.

    Returns
    -------
    (M, M) float64
        Symmetric, exactly 0 on the diagonal. Of probabilities, :math:`D_1` lies in [0, 1] and :math:`D_2` in
        :math:`[0, \sqrt2]`.

    Raises
    ------
    AkpError
        If the outputs are not finite numbers of that shape, or the metric has another name.

    Notes
    -----
    Invariances: the same shift of all models; the same order of items or classes. Cost: :math:`M^2nK`.
    """
    values = read_numbers(outputs, "outputs", "models items classes")
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    items = values.shape[1]
    flat = values.reshape(len(values), -1)
    if metric == "total_variation":
        return squareform(pdist(flat, "cityblock")) / (2 * items)
    return squareform(pdist(flat, "euclidean")) / np.sqrt(items)


def not_negative(value: object, name: str) -> Float64[np.ndarray, "*any"]:
    """Read numbers from 0 to infinity, infinity included; anything else is an `AkpError`."""
    try:
        values = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise expected(f"{name} as numbers", repr(value)) from None
    if values.size == 0 or not bool((values >= 0).all()):
        raise AkpError(f"expected {name} of at least 0, got {values.tolist()!r}")
    return values
