r"""The formulas that public tools have got wrong, for showing what that does to a number.

Never for use: `akp_core.similarity.cka` is the right one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from akp_core.errors import expected


def flawed_cka(
    x: Float[np.ndarray, "n p"],
    y: Float[np.ndarray, "n q"],
    *,
    epsilon: float = 0.0,
    root: bool = True,
    clamp: bool = False,
) -> float:
    r"""CKA from textbook :math:`\mathrm{HSIC}_1`, in the precision that came and without centring first.

    .. math:: \mathrm{HSIC}_1(K, L) = \frac{1}{n(n-3)}\Bigl(\operatorname{tr} \tilde K \tilde L
              + \frac{\mathbf 1^\top \tilde K \mathbf 1\, \mathbf 1^\top \tilde L \mathbf 1}{(n-1)(n-2)}
              - \frac{2}{n-2} \mathbf 1^\top \tilde K \tilde L \mathbf 1\Bigr)

    with :math:`\tilde K` the Gram matrix of the features as they came, its diagonal set to zero. As algebra
    this is right; as arithmetic the three terms grow with the fourth power of the features' mean while their
    difference does not.

    Parameters
    ----------
    x, y : (n, p) and (n, q) float arrays
        Products and sums are taken in their own dtype.
    epsilon : float
        Added under the root of the denominator "for stability".
    root : bool
        False leaves the root of the denominator out.
    clamp : bool
        Cut the result to [0, 1].

    Returns
    -------
    float
        Whatever comes out: any number, or NaN, as for n < 4 or a negative value under the root.

    Raises
    ------
    AkpError
        If x and y are not two floating (examples, features) arrays of as many examples.

    References
    ----------
    Song et al. 2012, eq. 5.
    """
    for name, values in (("x", x), ("y", y)):
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind != "f":
            raise expected(f"{name} as a floating (examples, features) array", type(values).__name__)
    if len(x) != len(y):
        raise expected(f"as many examples in y as in x ({len(x)})", str(len(y)))
    with np.errstate(all="ignore"):
        k, l = (z @ z.T for z in (x, y))  # noqa: E741
        for gram in (k, l):
            np.fill_diagonal(gram, 0)
        below = _hsic_1(k, k) * _hsic_1(l, l) + x.dtype.type(epsilon)
        value = float(_hsic_1(k, l) / (np.sqrt(below) if root else below))
    return float(np.clip(value, 0, 1)) if clamp else value


def _hsic_1(k: Float[np.ndarray, "n n"], l: Float[np.ndarray, "n n"]) -> np.floating:  # noqa: E741
    n = k.dtype.type(len(k))
    product = k @ l
    found: np.floating = np.trace(product) + k.sum() * l.sum() / ((n - 1) * (n - 2))
    return (found - 2 * product.sum() / (n - 2)) / (n * (n - 3))
