"""Statement 7: the unbiased estimator of HSIC is an inner product, and what chance gives each CKA."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64

from akp_core.errors import expected
from akp_core.similarity.arrays import read
from akp_core.similarity.gram import Estimator, check_estimator, u_centre_, unit_gram


def hsic_1(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    r"""The unbiased estimator of HSIC as it was published, in float64.

    .. math:: \frac{1}{n(n-3)}\Bigl(\operatorname{tr} \tilde K \tilde L
              + \frac{\mathbf 1^\top \tilde K \mathbf 1\, \mathbf 1^\top \tilde L \mathbf 1}{(n-1)(n-2)}
              - \frac{2}{n-2} \mathbf 1^\top \tilde K \tilde L \mathbf 1\Bigr)

    Parameters
    ----------
    k, l : (n, n) symmetric real arrays
        Gram matrices of the same n >= 4 examples.

    Returns
    -------
    float

    Raises
    ------
    AkpError
        For anything else.

    References
    ----------
    Song et al. 2012, eq. 5.
    """
    k, l = _pair(k, l)  # noqa: E741
    n = len(k)
    for gram in (k, l):
        np.fill_diagonal(gram, 0)
    rows_k, rows_l = k.sum(axis=0), l.sum(axis=0)
    found = (k * l).sum() + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2)) - 2 * rows_k @ rows_l / (n - 2)
    return float(found / (n * (n - 3)))


def hsic_by_projection(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> float:  # noqa: E741
    r"""The same number as an inner product, :math:`\langle U(K), U(L) \rangle / (n(n-3))`.

    Parameters, errors: as `hsic_1`.

    References
    ----------
    Szekely and Rizzo 2014.
    """
    k, l = _pair(k, l)  # noqa: E741
    one, two = (u_centre_(torch.from_numpy(gram)) for gram in (k, l))
    return float((one * two).sum()) / (len(k) * (len(k) - 3))


def _pair(
    k: Float[np.ndarray, "n n"],
    l: Float[np.ndarray, "n n"],  # noqa: E741
) -> tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, "n n"]]:
    for gram in (k, l):
        square = isinstance(gram, np.ndarray) and gram.ndim == 2 and len(set(gram.shape)) == 1
        if not square or gram.dtype.kind not in "fiu" or len(gram) < 4 or gram.shape != k.shape:
            raise expected(
                "two Gram matrices of the same 4 or more examples", f"shapes {np.shape(k)} and {np.shape(l)}"
            )
        if not np.isfinite(gram).all() or not np.allclose(gram, gram.T, rtol=1e-9, atol=0):
            raise expected("finite symmetric Gram matrices", "one that is not")
    return k.astype(np.float64), l.astype(np.float64)


def chance_level(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n q"], *, estimator: Estimator = "unbiased"
) -> float:
    r"""The mean CKA over all n! orders of the examples of y, exactly.

    .. math:: \text{unbiased: } 0, \qquad \text{biased: } \frac{\sqrt{D_x D_y}}{n - 1}, \qquad
       D = \frac{(\operatorname{tr} C(K))^2}{\|C(K)\|^2}

    Parameters
    ----------
    x, y : (n, p) and (n, q) real arrays
    estimator : {"unbiased", "biased"}

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    AkpError
        As `akp_core.similarity.cka`.
    """
    check_estimator(estimator)
    units = [unit_gram(read(z, name), estimator) for z, name in ((x, "x"), (y, "y"))]
    if len(units[0]) != len(units[1]):
        raise expected(f"as many examples in y as in x ({len(units[0])})", str(len(units[1])))
    if estimator == "unbiased":
        return 0.0
    return float(units[0].trace() * units[1].trace()) / (len(units[0]) - 1)
