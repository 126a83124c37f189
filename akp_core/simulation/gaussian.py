r"""A pair of Gaussian representations whose similarities are known without an example being drawn.

Direction j of x and direction j of y have variance :math:`\lambda_j = j^{-a}` and correlation r, and are
independent of all others. So every population value is a sum over directions, and neither the width nor the
decay a moves it: only an estimator's error depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np
from jaxtyping import Float, Float64

from akp_core.errors import expected, unknown_name, whole_number
from akp_core.similarity import MEASURES
from akp_core.similarity.calibration import check_rng

NEIGHBOURS = 10
"""As `mutual_neighbours` has them by default."""


def population_cka(
    sigma_xx: Float[np.ndarray, "p p"], sigma_yy: Float[np.ndarray, "q q"], sigma_xy: Float[np.ndarray, "p q"]
) -> float:
    r"""Linear CKA of infinitely many examples, from the covariances of their features.

    .. math:: \mathrm{CKA} = \frac{\|\Sigma_{xy}\|_F^2}{\|\Sigma_{xx}\|_F\,\|\Sigma_{yy}\|_F}

    Parameters
    ----------
    sigma_xx, sigma_yy : (p, p) and (q, q) float
        Covariance of the features of x, and of y.
    sigma_xy : (p, q) float
        Covariance of each feature of x with each of y.

    Returns
    -------
    float
        In [0, 1]. 1: the same geometry; 0: no feature of x is correlated with one of y.

    Raises
    ------
    AkpError
        If the shapes do not fit, a number is not finite, or a representation does not vary.

    Notes
    -----
    Invariances: rotation of either, shift, isotropic scale. Cost: :math:`p^2 + q^2 + pq`.

    References
    ----------
    Kornblith et al. 2019, eq. 3, in the limit of many examples.
    """
    matrices = [np.asarray(m, dtype=np.float64) for m in (sigma_xx, sigma_yy, sigma_xy)]
    shapes = [m.shape for m in matrices]
    if len(shapes[2]) != 2 or shapes[0] != (shapes[2][0],) * 2 or shapes[1] != (shapes[2][1],) * 2:
        raise expected("covariances of shapes (p, p), (q, q) and (p, q)", ", ".join(map(str, shapes)))
    if not all(np.isfinite(m).all() for m in matrices):
        raise expected("finite covariances", "some that are not")
    # Scaling keeps the squares from over- or underflowing.
    scales = [np.abs(m).max(initial=0) for m in matrices[:2]]
    if not all(scales):
        raise expected("representations that vary", "a covariance matrix of zeros")
    xx, yy = (m / s for m, s in zip(matrices[:2], scales, strict=True))
    xy = matrices[2] / (scales[0] ** 0.5) / (scales[1] ** 0.5)
    return float((xy**2).sum() / (np.linalg.norm(xx) * np.linalg.norm(yy)))


@dataclass(frozen=True)
class GaussianPair:
    r"""Two Gaussian representations of one width with the population CKA that one asks for.

    .. math:: x_j = \sqrt{\lambda_j}\, u_j, \qquad
              y_j = \sqrt{\lambda_j}\,\bigl(r u_j + \sqrt{1 - r^2}\, v_j\bigr), \qquad
              \lambda_j = j^{-a}, \quad r = \sqrt{\mathrm{CKA}}

    with u and v independent standard normal.

    Attributes
    ----------
    width : int
        Features of each, at least 1.
    cka : float
        The population CKA, in [0, 1]; 0 makes the two independent, 1 equal.
    decay : float
        How fast variance falls over the directions; 0: all alike.

    Raises
    ------
    AkpError
        For a width below 1, a CKA outside [0, 1], or a decay that is negative or not finite.
    """

    width: int
    cka: float
    decay: float = 0.5

    def __post_init__(self) -> None:
        whole_number("width", self.width, 1)
        for name, value, high in (("cka", self.cka, 1.0), ("decay", self.decay, float("inf"))):
            real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not real or not 0 <= value <= high or not isfinite(value):
                raise expected(
                    f"{name} as a number " + ("from 0 to 1" if high == 1 else "of at least 0"), repr(value)
                )

    @property
    def variances(self) -> Float64[np.ndarray, " p"]:
        r"""The variance of each direction, :math:`\lambda_j`."""
        found: np.ndarray = np.arange(1, self.width + 1, dtype=np.float64) ** -float(self.decay)
        return found

    @property
    def directions(self) -> float:
        r"""Directions in which features vary, :math:`d = (\operatorname{tr}\Sigma)^2/\|\Sigma\|_F^2`."""
        return float(self.variances.sum() ** 2 / (self.variances**2).sum())

    def biased_cka(self, examples: int) -> float:
        r"""What the biased estimator of CKA says on average, to first order: a ratio of two exact means.

        .. math:: \frac{\mathbb E \|X^\top Y\|_F^2}{\mathbb E \|X^\top X\|_F^2}
                  = \frac{n \, \mathrm{CKA} + d}{n + d}

        Parameters
        ----------
        examples : int
            Their number n, at least 2. X and Y are centred.

        Returns
        -------
        float
            From CKA up to 1: near 1 where directions outnumber examples, whatever is true.

        Raises
        ------
        AkpError
            For fewer than two examples.

        Notes
        -----
        By Isserlis' theorem, with n - 1 independent rows after centring. The mean of the ratio differs from
        the ratio of the means by terms of order 1/n.
        """
        n = whole_number("examples", examples, 2)
        return (n * self.cka + self.directions) / (n + self.directions)

    def covariances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The (p, p) covariances of x, of y, and of x with y."""
        own = np.diag(self.variances)
        return own, own.copy(), self.cka**0.5 * own

    def draw(
        self, examples: int, rng: np.random.Generator
    ) -> tuple[Float64[np.ndarray, "n p"], Float64[np.ndarray, "n p"]]:
        """Draw the representations of some examples.

        Parameters
        ----------
        examples : int
            Their number n, at least 1.
        rng : numpy.random.Generator

        Returns
        -------
        x, y : (n, p) float64 arrays

        Raises
        ------
        AkpError
            For a number of examples below 1, or an rng that is not a generator.
        """
        whole_number("examples", examples, 1)
        check_rng(rng)
        u, v = rng.standard_normal((2, examples, self.width))
        root = self.variances**0.5
        return u * root, (self.cka**0.5 * u + (1 - self.cka) ** 0.5 * v) * root

    def known(self, measure: str, examples: int) -> float | None:
        r"""What a measure would say without error, where that is known.

        Parameters
        ----------
        measure : str
            A name in `akp_core.similarity.MEASURES`.
        examples : int
            Only mutual neighbours depend on their number.

        Returns
        -------
        float or None
            CKA: :math:`r^2`. Procrustes, SVCCA, PWCCA: r, as the nuclear norm of the cross-covariance is r
            times a trace, and all canonical correlations are r. For independent representations RSA: 0, and
            mutual neighbours: k/(n - 1), the exact mean under exchangeable examples; otherwise unknown.

        Raises
        ------
        AkpError
            For a measure that does not exist.
        """
        if measure not in MEASURES:
            raise unknown_name("measure", measure, MEASURES)
        if measure == "cka":
            return population_cka(*self.covariances())
        if measure in ("procrustes", "svcca", "pwcca"):
            return float(self.cka) ** 0.5
        if self.cka > 0:
            return None
        return NEIGHBOURS / (examples - 1) if measure == "mutual_neighbours" else 0.0
