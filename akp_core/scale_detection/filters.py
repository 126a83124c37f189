"""Trained filters: how even they are, and which shape they take."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64
from scipy.fft import dctn
from scipy.special import binom

from akp_core.scale_detection.curves import PASSES, over_networks
from akp_core.scale_detection.fields import reach
from akp_core.scale_detection.network import Stack, Weights
from akp_core.scale_detection.training import Trained


def spectra(stack: Stack, weights: Weights) -> Float64[np.ndarray, "M k *F"]:
    r"""Share of each layer's filters in every mode of the grid's Laplacian; the first is the even filter.

    .. math:: s_q = \frac{\sum_{c, h} \langle \psi_q, w_{c h} \rangle^2}{\sum_{c, h} \lVert w_{c h} \rVert^2}

    with psi_q the eigenvectors of the Laplacian of the F^d places with open ends (cosines).

    Parameters
    ----------
    stack : Stack
    weights : Weights

    Returns
    -------
    (M, k, F[, F]) float64 array
        Sums to 1 over modes; NaN where a layer's weights are all 0. Random filters: 1 / F^d each on average.

    Notes
    -----
    Filters count by their squared norm, since training with a penalty leaves many near 0. Invariances: scale.
    """
    found = []
    for w in weights.layers:
        shape = (len(w), *[stack.filter] * stack.dims, -1)
        power = dctn(w.double().numpy().reshape(shape), axes=range(1, 1 + stack.dims), norm="ortho") ** 2
        power = power.sum(axis=-1)
        total = power.reshape(len(w), -1).sum(axis=1).reshape(-1, *[1] * stack.dims)
        found.append(np.divide(power, total, out=np.full_like(power, np.nan), where=total > 0))
    return np.stack(found, axis=1)


def shapes(trained: Trained, passes: float = PASSES, *, level: float = 0.05) -> pd.DataFrame:
    r"""Shape of the filters of each layer before and after training, over networks that learnt.

    .. math:: \frac{\sum_{c, h} \langle u, w_{c h} \rangle^2}{\sum_{c, h} \lVert w_{c h} \rVert^2}, \qquad
              u = \mathbf{1} / \sqrt{F} \text{ (even)}, \quad u \propto (1, 2, 1), \dots \text{ (binomial)}

    Parameters
    ----------
    trained : Trained
    passes : float
        As for `akp_core.scale_detection.curves.learnt`.
    level : float
        Intervals hold with confidence 1 - level.

    Returns
    -------
    DataFrame
        One row a layer and shape (binomial only for filters of 3 and more): ``layer, field, shape, trained,
        low, high, untrained, gain, gain_low, gain_high, random, networks``; gain is trained less untrained,
        network by network. Random weights have a share of 1 / F^d in any shape.

    Notes
    -----
    Without 3 networks that learnt, intervals are NaN; without one, all is.
    """
    counted = trained.test_error <= passes
    stack = trained.stack
    kinds = {"even": even_share, "binomial": binomial_share} if stack.filter > 2 else {"even": even_share}
    rows = []
    for shape, share in kinds.items():
        after, before = (share(stack, w)[counted] for w in (trained.after, trained.before))
        for k, field in enumerate(reach(stack)):
            found, gain = (over_networks(v[:, k], level) for v in (after, after - before))
            plain, blind = over_networks(before[:, k], level)[0], 1 / stack.filter**stack.dims
            rows.append((k + 1, field, shape, *found[:3], plain, *gain[:3], blind, found[3]))
    names = "layer field shape trained low high untrained gain gain_low gain_high random networks"
    return pd.DataFrame(rows, columns=names.split())


def even_share(stack: Stack, weights: Weights) -> Float64[np.ndarray, "M k"]:
    """Share of the even filter in each layer: the first mode of `spectra`."""
    return spectra(stack, weights).reshape(len(weights.beta), stack.depth, -1)[:, :, 0]


def binomial_share(stack: Stack, weights: Weights) -> Float64[np.ndarray, "M k"]:
    """Share of the binomial filter (1, 2, 1 for three places) in each layer; NaN where all weights are 0."""
    one = binom(stack.filter - 1, np.arange(stack.filter))
    u = one if stack.dims == 1 else np.outer(one, one).ravel()
    found = []
    for w in weights.layers:
        parts = w.double().numpy().reshape(len(w), len(u), -1)
        total = (parts**2).sum(axis=(1, 2))
        along = (np.einsum("mfx,f->mx", parts, u / np.sqrt(u @ u)) ** 2).sum(axis=1)
        found.append(np.divide(along, total, out=np.full_like(total, np.nan), where=total > 0))
    return np.stack(found, axis=1)
