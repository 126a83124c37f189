"""Statement 3: the models of small excess risk lie in a small ball, and fill it in every direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from scipy.fft import idct
from scipy.linalg import helmert
from scipy.stats import t as student

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity.arrays import Array
from akp_core.theory.outputs import root_mean_square_bound, total_variation_bound
from akp_core.theory.probabilities import METRICS, Metric, not_negative, read_probabilities


def diameter_bound(
    excess: float | Float[np.ndarray, "*any"], metric: Metric = "root_mean_square", strength: float = 1.0
) -> Float64[np.ndarray, "*any"]:
    r"""The most that two models of excess risk at most :math:`\varepsilon` can be apart.

    .. math:: \mathrm{diam}_{1} \le \min\{1, 2 f(\varepsilon)\}, \qquad
              \mathrm{diam}_{2} \le 2\sqrt{\varepsilon/\lambda}

    Parameters
    ----------
    excess : float or array
        From 0 to infinity. For ``total_variation`` in nats, of cross-entropy.
    metric : {"total_variation", "root_mean_square"}
    strength : float
        :math:`\lambda` of the loss, for ``root_mean_square``.

    Returns
    -------
    float64 array
        At least 0; never falls as the excess grows.

    Raises
    ------
    AkpError
        For an unknown metric or an excess below 0.
    """
    if metric not in METRICS:
        raise unknown_name("metric", metric, METRICS)
    if metric == "total_variation":
        return total_variation_bound(excess, excess)
    return root_mean_square_bound(excess, excess, strength)


def largest_attained(truth: Float[Array, "n K"]) -> float:
    r"""The excess cross-entropy up to which `orthogonal_models` exist, :math:`\eta/8`.

    Parameters
    ----------
    truth : (n, K) float array, NumPy or torch
        :math:`\eta` is its smallest entry.

    Returns
    -------
    float
        At least 0; 0 for a law that calls a class impossible.
    """
    return float(read_probabilities(truth, "truth").min()) / 8


def orthogonal_models(
    truth: Float[Array, "n K"], excess: float, directions: int
) -> Float64[np.ndarray, "M n K"]:
    r"""Models of excess cross-entropy at most :math:`\varepsilon`, each wrong in a direction of its own.

    .. math:: q_j^{\pm} = p \pm \sqrt{\eta\,\varepsilon}\;v_j, \qquad j = 1, \dots, m \le n(K - 1)

    with :math:`v_j(x) = \phi_a(x)\,w_b`: cosines :math:`\phi_a` over the items times an orthonormal basis
    :math:`w_b` of the directions in which classes sum to 0.

    Parameters
    ----------
    truth : (n, K) float array, NumPy or torch
        Its smallest entry :math:`\eta` must be above 0.
    excess : float
        :math:`\varepsilon`, above 0 and at most `largest_attained`.
    directions : int
        m, from 1 to n (K - 1).

    Returns
    -------
    (2m, n, K) float64
        Probabilities, :math:`q_1^+, q_1^-, q_2^+, \dots`. Each is :math:`\sqrt{\eta\varepsilon}` from the
        truth in root mean square, opposite ones twice that from one another, all others
        :math:`\sqrt2` times that.

    Raises
    ------
    AkpError
        For an excess or a number of directions out of range.

    Notes
    -----
    Cost: mnK, and as much memory.
    """
    law = read_probabilities(truth, "truth")
    items, classes = law.shape
    whole_number("directions", directions, 1, items * (classes - 1))
    limit = largest_attained(law)
    if not isinstance(excess, int | float) or not 0 < excess <= limit * (1 + 1e-9):
        do = "smooth the law: no probability may be 0" if limit == 0 else ""
        raise expected(
            f"an excess above 0 and at most {limit:.4g}, an eighth of the smallest probability",
            repr(excess),
            do,
        )
    across = helmert(classes)
    waves = -(-directions // (classes - 1))
    over = idct(np.eye(items)[:waves], axis=1, norm="ortho") * np.sqrt(items)
    basis = np.einsum("an,bk->abnk", over, across).reshape(-1, items, classes)[:directions]
    step = np.sqrt(8 * limit * excess) * basis
    return np.stack([law + step, law - step], axis=1).reshape(-1, items, classes)


@dataclass(frozen=True)
class Exponent:
    """A power law fitted to families, with a jackknife interval over their members.

    Attributes
    ----------
    slope, low, high : float
        The exponent and the ends of its 95 % interval.
    prefactor : float
        What the distance would be at excess 1.
    """

    slope: float
    low: float
    high: float
    prefactor: float


def measured_exponent(excess: Float[np.ndarray, "T M"], distances: Float[np.ndarray, "T M M"]) -> Exponent:
    r"""How the mean distance of a family's members grows with their mean excess risk, as a power.

    The slope of :math:`\log\bar D_t` against :math:`\log\bar\varepsilon_t` by least squares over T families
    of the same M members; the interval leaves out one member at a time from all families.

    Parameters
    ----------
    excess : (T, M) float
        Positive and finite.
    distances : (T, M, M) float
        Between the members' outputs, from `output_distances`.

    Returns
    -------
    Exponent

    Raises
    ------
    AkpError
        For fewer than two families or four members, shapes that do not fit, or nothing that varies.

    Notes
    -----
    Invariances: units of the distance leave the slope. Cost: :math:`TM^3`.
    """
    eps, far = not_negative(excess, "excess risk"), not_negative(distances, "distances")
    if eps.ndim != 2 or far.shape != (*eps.shape, eps.shape[-1]) or len(eps) < 2 or eps.shape[1] < 4:
        raise expected(
            "excess (T, M) and distances (T, M, M) with T > 1 and M > 3", f"{eps.shape}, {far.shape}"
        )
    members = eps.shape[1]

    def fit(kept: np.ndarray) -> tuple[float, float]:
        levels = eps[:, kept].mean(axis=1)
        spread = far[:, kept][:, :, kept].sum(axis=(1, 2)) / (len(kept) * (len(kept) - 1))
        if not np.isfinite(levels).all() or levels.min() <= 0 or spread.min() <= 0 or np.ptp(levels) == 0:
            raise AkpError("expected families of finite, positive and different excess whose members differ")
        slope, start = np.polyfit(np.log(levels), np.log(spread), 1)
        return float(slope), float(np.exp(start))

    everyone = np.arange(members)
    slope, prefactor = fit(everyone)
    left_out = np.array([fit(np.delete(everyone, i))[0] for i in everyone])
    error = np.sqrt((members - 1) / members * np.square(left_out - left_out.mean()).sum())
    margin = float(student.ppf(0.975, members - 1) * error)
    return Exponent(slope, slope - margin, slope + margin, prefactor)
