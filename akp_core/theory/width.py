r"""Statement 4: the insides of wide layers converge, with the exact leading constant and explicit bounds.

A layer of m units that are drawn independently has the centred Gram matrix :math:`K_m = \frac1m \sum_k A_k`,
a mean of m independent matrices :math:`A_k = L(z_k z_k^\top)`, with :math:`z_k` the values of unit k on the n
images and L the centring of biased or the U-centring of unbiased CKA. Everything here follows from that one
line. With :math:`A = \mathbb E A_k`, :math:`v = \mathbb E\|A_k - A\|^2 / \|A\|^2` and

.. math:: c = \frac{\mathbb E\|A_k\|^2 - \mathbb E\langle A_k, A\rangle^2 / \|A\|^2}{\|A\|^2} \le v,

two seeds have :math:`m\,\mathbb E[1 - \mathrm{CKA}] \to c` and, at every width,
:math:`\mathbb E[1 - \mathrm{CKA}] \le 4v/m`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy import stats

from akp_core.errors import expected, whole_number
from akp_core.similarity.gram import Estimator, check_estimator, u_centre_

_LEAST_IMAGES = {"biased": 2, "unbiased": 4}


@dataclass(frozen=True)
class LayerConstants:
    """What decides how fast a layer's Gram matrix settles.

    Attributes
    ----------
    leading : float
        c: limit of m E[1 - CKA] of two seeds.
    interval : (float, float)
        Of c, at 95 %, by the jackknife over groups of units.
    variance : float
        v: total variance of one unit's matrix over the squared norm of the mean; c plus the part along A.
    scale : float
        Norm of A, in the unit of the features squared.
    """

    leading: float
    interval: tuple[float, float]
    variance: float
    scale: float


def check_features(features: Float[np.ndarray, "n m"], estimator: str) -> Float64[np.ndarray, "n m"]:
    """Return the values of units (columns) on images (rows) in float64, centred; refuse what are none."""
    check_estimator(estimator)
    if not isinstance(features, np.ndarray) or features.ndim != 2 or features.dtype.kind not in "fiu":
        raise expected("features as a real (images, units) array", type(features).__name__)
    if features.shape[0] < _LEAST_IMAGES[estimator]:
        raise expected(f"at least {_LEAST_IMAGES[estimator]} images", str(features.shape[0]))
    values = features.astype(np.float64)
    if not np.isfinite(values).all():
        raise expected("finite features", f"{int((~np.isfinite(values)).sum())} non-finite entries")
    centred: Float64[np.ndarray, "n m"] = values - values.mean(axis=0)
    return centred


def squared_norms(h: Float64[np.ndarray, "n m"], estimator: str) -> Float64[np.ndarray, " m"]:
    r"""Squared norm of every unit's own matrix, without forming it.

    .. math:: \|H z z^\top H\|^2 = q^2, \qquad
       \|U(z z^\top)\|^2 = \frac{n^2 - 3n + 3}{(n-1)(n-2)}\, q^2 - \frac{n}{n-2} \sum_i h_i^4,
       \qquad h = Hz, \; q = \|h\|^2 .

    Parameters
    ----------
    h : (n, m) float64
        Centred values.
    estimator : {"biased", "unbiased"}

    Returns
    -------
    (m,) float64
        0 or more.
    """
    n, q = len(h), np.square(h).sum(axis=0)
    if estimator == "biased":
        return np.asarray(q**2)
    found = q**2 * (n * n - 3 * n + 3) / ((n - 1) * (n - 2)) - (h**4).sum(axis=0) * n / (n - 2)
    return np.asarray(np.maximum(found, 0.0))


def layer_constants(
    features: Float[np.ndarray, "n m"], *, estimator: Estimator = "unbiased", groups: int = 20
) -> LayerConstants:
    r"""Estimate the constants of a layer from many of its units.

    Parameters
    ----------
    features : (n, m) real array
        Values of m independent units on n images: a wide sample, thousands for 1 %.
    estimator : {"unbiased", "biased"}
        Which CKA.
    groups : int
        Groups of units for the jackknife, from 4 to m / 2.

    Returns
    -------
    LayerConstants
        c corrected for the bias of order 1/m that an estimated mean gives.

    Raises
    ------
    AkpError
        For features that are none, too few units, or a mean Gram matrix of zero, which has no CKA.

    Notes
    -----
    Invariances: rotation of the images' order, scale and shift of all features.

    Cost: :math:`n^2 m` operations for each group.
    """
    h = check_features(features, estimator)
    groups = whole_number("groups", groups, 4)
    if h.shape[1] < 2 * groups:
        raise expected(f"at least {2 * groups} units for {groups} groups", str(h.shape[1]))
    own = squared_norms(h, estimator)
    parts = np.array_split(np.arange(h.shape[1]), groups)
    grams = np.stack([h[:, part] @ h[:, part].T for part in parts])

    def constants(left_out: int | None) -> tuple[float, float, float]:
        keep = np.ones(h.shape[1], dtype=bool)
        total = grams.sum(axis=0)
        if left_out is not None:
            keep[parts[left_out]] = False
            total = total - grams[left_out]
        size = float(np.linalg.norm(total))
        mean = centre(total / keep.sum(), estimator)
        square = float((mean**2).sum())
        if not math.sqrt(square) * keep.sum() > 1e-9 * size:
            raise expected("units with a mean Gram matrix that is not constant", "zero up to round-off")
        along = np.einsum("im,im->m", h[:, keep], mean @ h[:, keep])
        leading = (own[keep].mean() - (along**2).mean() / square) / square
        return float(leading), float(own[keep].mean() / square - 1), math.sqrt(square)

    whole = constants(None)
    left = np.array([constants(k) for k in range(groups)])
    leading, variance = groups * np.array(whole[:2]) - (groups - 1) * left[:, :2].mean(axis=0)
    error = math.sqrt((groups - 1) ** 2 / groups * left[:, 0].var(ddof=1))
    wide = float(stats.t.ppf(0.975, groups - 1)) * error
    return LayerConstants(float(leading), (leading - wide, leading + wide), float(variance), whole[2])


def centre(gram: Float64[np.ndarray, "n n"], estimator: str) -> Float64[np.ndarray, "n n"]:
    """L of a Gram matrix: doubly centred (biased) or U-centred (unbiased)."""
    if estimator == "unbiased":
        return np.asarray(u_centre_(torch.from_numpy(gram.copy())).numpy())
    rows = gram.mean(axis=0)
    return np.asarray(gram - rows[:, None] - rows[None, :] + rows.mean())


def linear_constant(
    covariance: Float[np.ndarray, "n n"], *, estimator: Estimator = "unbiased"
) -> LayerConstants:
    r"""The constants of a linear layer with Gaussian weights, in closed form (Isserlis).

    .. math:: \mathbb E\|A_k\|^2 = \alpha\,[(\operatorname{tr} C)^2 + 2\|C\|^2] - 3\beta \textstyle\sum_i
       C_{ii}^2, \qquad \mathbb E\langle A_k, A\rangle^2 = \langle A, C\rangle^2 + 2 \operatorname{tr} (AC)^2

    with C the doubly centred covariance and A = L(C); biased :math:`\alpha = 1, \beta = 0`; unbiased
    :math:`\alpha = \frac{n^2-3n+3}{(n-1)(n-2)}, \beta = \frac{n}{n-2}`.

    Parameters
    ----------
    covariance : (n, n) real array
        Of a unit's values on n images, such as :math:`X X^\top` up to a factor.
    estimator : {"unbiased", "biased"}

    Returns
    -------
    LayerConstants
        Exact, with an interval of width zero.

    Raises
    ------
    AkpError
        For a matrix that is not square, or is constant.
    """
    if not isinstance(covariance, np.ndarray) or covariance.ndim != 2 or len(set(covariance.shape)) != 1:
        raise expected("a square covariance matrix", f"shape {np.shape(covariance)}")
    check_features(covariance, estimator)
    n, C = len(covariance), centre(covariance.astype(np.float64), "biased")
    A = C if estimator == "biased" else centre(C, estimator)
    square = float((A**2).sum())
    if not square > 1e-18 * float(np.square(covariance, dtype=np.float64).sum()):
        raise expected("a covariance that differs between images", "one that is constant")
    alpha, beta = 1.0, 0.0
    if estimator == "unbiased":
        alpha, beta = (n * n - 3 * n + 3) / ((n - 1) * (n - 2)), n / (n - 2)
    own = alpha * (np.trace(C) ** 2 + 2 * (C**2).sum()) - 3 * beta * (np.diag(C) ** 2).sum()
    along = float((A * C).sum()) ** 2 + 2 * float(np.trace(A @ C @ A @ C))
    leading = float((own - along / square) / square)
    return LayerConstants(leading, (leading, leading), float(own / square - 1), math.sqrt(square))
