r"""Statement 8: what cosines between displacements say, and what they say by chance.

Displacements of models from a centroid split into what is shared and what is each one's own (Huygens). The
index and its test are `akp_core.dispersion.own_way`; here are the laws it rests on: of a cosine of random
directions, of the mean of many, of the bias by a centroid that is itself estimated, and by the sphere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy import special, stats

from akp_core.errors import expected, whole_number


@dataclass(frozen=True)
class Huygens:
    """The mean squared displacement of a family, split.

    Attributes
    ----------
    total : float
        Mean squared length.
    shared : float
        Squared length of the mean displacement: the move of the family.
    own : float
        Mean squared distance from the mean displacement: its spread.
    """

    total: float
    shared: float
    own: float


def huygens(displacements: Float[np.ndarray, "n k"]) -> Huygens:
    r"""Split the mean squared displacement of a family into what is shared and what is own.

    .. math:: \frac1n \sum_i |v_i|^2 = |\bar v|^2 + \frac1n \sum_i |v_i - \bar v|^2

    Parameters
    ----------
    displacements : (n, k) real array
        One row a model.

    Returns
    -------
    Huygens
        Each part computed by itself, in the unit of the displacements squared.

    Raises
    ------
    AkpError
        For anything but a finite matrix with at least one row.
    """
    v = _matrix(displacements, 1)
    mean = v.mean(axis=0)
    return Huygens(
        float(np.square(v).sum(axis=1).mean()),
        float(mean @ mean),
        float(np.square(v - mean).sum(axis=1).mean()),
    )


def _matrix(values: Float[np.ndarray, "n k"], least: int) -> Float64[np.ndarray, "n k"]:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2 or len(v) < least or v.shape[1] == 0 or not np.isfinite(v).all():
        raise expected(f"a finite (models, entries) array of {least} rows or more", f"shape {v.shape}")
    return v


def mean_cosine(displacements: Float[np.ndarray, "n k"]) -> float:
    r"""Mean of the cosines over all pairs of rows, from the length R of the sum of unit rows.

    .. math:: \bar c = \frac{R^2 - n}{n(n-1)} \ge -\frac{1}{n - 1}

    Parameters
    ----------
    displacements : (n, k) real array
        At least two rows, none zero.

    Returns
    -------
    float
        In [-1/(n-1), 1]: 1 if all go one way, 0 on average if each goes its own.

    Raises
    ------
    AkpError
        For fewer rows, or one that is zero and has no direction.
    """
    v = _matrix(displacements, 2)
    lengths = np.linalg.norm(v, axis=1)
    if not (lengths > 0).all():
        raise expected("displacements that are not zero", f"{int((lengths == 0).sum())} of {len(v)} zero")
    total = (v / lengths[:, None]).sum(axis=0)
    return float((total @ total - len(v)) / (len(v) * (len(v) - 1)))


def cosine_law(dimension: int) -> stats.rv_continuous:
    r"""The law of the cosine of two directions of which one is uniform.

    .. math:: f(c) \propto (1 - c^2)^{(d - 3) / 2}, \qquad -1 < c < 1

    Parameters
    ----------
    dimension : int
        d, at least 2.

    Returns
    -------
    frozen scipy distribution
        Mean 0, variance 1 / d.
    """
    half = (whole_number("dimension", dimension, 2) - 1) / 2
    return stats.beta(half, half, loc=-1, scale=2)


def mean_cosine_variance(members: int, dimension: float) -> float:
    r"""Variance of the mean cosine of n independent random directions, :math:`\frac{2}{n(n-1)D}`.

    Parameters
    ----------
    members : int
        n, at least 2.
    dimension : float
        D = 1 / tr Q^2, with Q the second moment of the directions; d where they are isotropic.

    Returns
    -------
    float
    """
    n = whole_number("members", members, 2)
    if not 1 <= dimension < np.inf:
        raise expected("a dimension of at least 1", repr(dimension))
    return 2 / (n * (n - 1) * float(dimension))


def direction_dimension(displacements: Float[np.ndarray, "n k"]) -> float:
    r"""D of random directions, from a sample: one over the mean squared cosine of different rows.

    .. math:: \frac1D = \operatorname{tr} Q^2 = \mathbb E \cos^2(v, w), \qquad
       Q = \mathbb E \frac{v v^\top}{|v|^2}

    Parameters
    ----------
    displacements : (n, k) real array
        Independent rows, at least two, none zero.

    Returns
    -------
    float
        From 1 (a line) to k (isotropic, up to sampling error).

    Raises
    ------
    AkpError
        As `mean_cosine`.
    """
    v = _matrix(displacements, 2)
    mean_cosine(v)  # refuses rows without a direction
    u = v / np.linalg.norm(v, axis=1, keepdims=True)
    second, n = u.T @ u / len(u), len(u)
    return float((n - 1) / (n * np.square(second).sum() - 1))


def expected_cosine(happy: int, dimension: int, *, ratio: float = 1.0) -> float:
    r"""Expected cosine of two displacements from the mean of n happy models, all isotropic Gaussian.

    .. math:: \mathbb E \cos = \rho\, \frac{2}{d} \Bigl(\frac{\Gamma(\frac{d+1}2)}{\Gamma(\frac d2)}\Bigr)^2
       {}_2F_1\bigl(\tfrac12, \tfrac12; \tfrac d2 + 1; \rho^2\bigr), \qquad
       \rho = \frac{1}{1 + r n}, \quad r = V_u / V_h,

    which lies in :math:`[\rho d / (d + 1), \rho]` and tends to :math:`\rho` as d grows.

    Parameters
    ----------
    happy : int
        n.
    dimension : int
        d.
    ratio : float
        r, above 0.

    Returns
    -------
    float
        Above 0: an estimated centroid makes independent models look aligned.

    References
    ----------
    Hotelling 1953 (the mean of a correlation coefficient).
    """
    d = whole_number("dimension", dimension, 1)
    rho = limit_cosine(happy, ratio=ratio)
    gain = 2 / d * np.exp(2 * (special.gammaln((d + 1) / 2) - special.gammaln(d / 2)))
    return float(rho * gain * special.hyp2f1(0.5, 0.5, d / 2 + 1, rho**2))


def limit_cosine(happy: int, *, shared: float = 0.0, ratio: float = 1.0) -> float:
    r"""Expected inner product of two displacements over their expected squared length, in any dimension.

    .. math:: \rho = \frac{S + V_h/n_h}{S + V_u + V_h/n_h}

    Parameters
    ----------
    happy : int
        n_h.
    shared : float
        S / V_h: the squared distance of the centroids, 0 or more.
    ratio : float
        V_u / V_h, above 0.

    Returns
    -------
    float
        In (0, 1).
    """
    n = whole_number("happy", happy, 1)
    if not 0 <= shared < np.inf or not 0 < ratio < np.inf:
        raise expected("shared of 0 or more and ratio above 0", f"{shared!r} and {ratio!r}")
    return float((shared + 1 / n) / (shared + ratio + 1 / n))


def sphere_cosine(distance: float) -> float:
    r"""Cosine of displacements in perpendicular directions on the sphere, :math:`d^2 / 4`.

    Parameters
    ----------
    distance : float
        Chordal distance of both models from the centre, in [0, sqrt 2].

    Returns
    -------
    float
        In [0, 1/2]: 1/2 where a model has nothing in common with the centre.
    """
    if not 0 <= distance <= np.sqrt(2) + 1e-12:
        raise expected("a chordal distance from 0 to √2", repr(distance))
    return float(distance) ** 2 / 4
