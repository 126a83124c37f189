r"""Means over all groups of K networks, exactly and without listing them.

The mean over subsets S of size K of a product is an elementary symmetric polynomial,

.. math:: \frac{1}{\sum_S \prod_{k\in S} w_k} \sum_{|S| = K} \prod_{k \in S} w_k v_k
          = \frac{e_K(w_1 v_1, \dots, w_m v_m)}{e_K(w_1, \dots, w_m)},

computed one network at a time. A weight above 1 stands for a network drawn more than once by a bootstrap;
no subset holds a network twice, as a network agrees with itself.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def symmetric(values: Float[np.ndarray, "m ..."], size: int) -> Float64[np.ndarray, "*rest"]:
    r"""Return the elementary symmetric polynomial :math:`e_K` over the first axis.

    Parameters
    ----------
    values : (m, ...) float array
        At least 0.
    size : int
        K, from 1 to m.

    Notes
    -----
    Cost: m K operations an entry.
    """
    values = np.asarray(values, np.float64)
    sums = np.zeros((size + 1, *values.shape[1:]))
    sums[0] = 1
    for k, value in enumerate(values):
        for j in range(min(k + 1, size), 0, -1):
            sums[j] += value * sums[j - 1]
    return sums[size]


def mean_product(
    values: Float[np.ndarray, "m ..."], size: int, weights: Float[np.ndarray, "m ..."] | None = None
) -> Float64[np.ndarray, "*rest"]:
    """Mean over all subsets of so many networks of the product of their values.

    Parameters
    ----------
    values : (m, ...) float array
        At least 0.
    size : int
    weights : (m, ...) float array or None
        Above 0; must broadcast against the values. None: all alike.

    Returns
    -------
    (...) float64
    """
    weights = np.ones((len(values),) + (1,) * (values.ndim - 1)) if weights is None else weights
    return symmetric(weights * values, size) / symmetric(weights, size)


def mean_extremes(
    values: Float[np.ndarray, "m ..."], size: int
) -> tuple[Float64[np.ndarray, "*rest"], Float64[np.ndarray, "*rest"]]:
    """Means over all subsets of so many networks of their smallest and of their largest value.

    Parameters
    ----------
    values : (m, ...) float array
    size : int

    Returns
    -------
    smallest, largest : (...) float64

    Notes
    -----
    The i-th smallest of m is the smallest of a share C(m - i, K - 1) / C(m, K) of the subsets. Cost: a sort.
    """
    from scipy.special import comb

    members = len(values)
    later = np.arange(members - 1, -1, -1)
    share = (comb(later, size - 1) / comb(members, size)).reshape(-1, *(1,) * (values.ndim - 1))
    rising = np.sort(values, axis=0)
    return (share * rising).sum(axis=0), (share[::-1] * rising).sum(axis=0)
