"""Regression on models that come in clusters: shares explained, cluster jackknife, wild cluster bootstrap."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from akp_core.errors import expected

_TIE = 1e-9


def explained(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Share of the variance of standardised y that the columns of standardised x explain."""
    if x.shape[1] == 0:
        return 0.0
    rest = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return min(max(1 - float(rest @ rest) / float(y @ y), 0.0), 1.0)


def _sum_by_cluster(values: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums over the rows of each cluster."""
    total = np.zeros((int(codes.max()) + 1, *values.shape[1:]))
    np.add.at(total, codes, values)
    return total


def jackknife_error(
    x: NDArray[np.float64], y: NDArray[np.float64], codes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Standard errors of all coefficients (constant last) by leaving out one cluster at a time."""
    design = np.column_stack([x, np.ones(len(y))])
    beta = np.linalg.lstsq(design, y, rcond=None)[0]
    clusters = int(codes.max()) + 1
    moved = np.empty((clusters, design.shape[1]))
    for cluster in range(clusters):
        kept = codes != cluster
        if np.linalg.matrix_rank(design[kept]) < design.shape[1]:
            raise expected(
                "causes that vary within what is left when any one member is left out",
                f"a design that rests on cluster number {cluster} alone",
                "add members",
            )
        moved[cluster] = np.linalg.lstsq(design[kept], y[kept], rcond=None)[0] - beta
    return np.sqrt((clusters - 1) / clusters * np.square(moved).sum(axis=0))


def sign_flips(clusters: int, draws: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], bool]:
    """Signs for every cluster, a draw each row, and whether these are all there are."""
    if clusters < 63 and 2**clusters <= draws:
        return np.array(list(product((-1.0, 1.0), repeat=clusters))), True
    return rng.choice(np.array([-1.0, 1.0]), size=(draws, clusters)), False


def wild_p_value(
    x: NDArray[np.float64],
    others: NDArray[np.float64],
    y: NDArray[np.float64],
    codes: NDArray[np.int64],
    signs: NDArray[np.float64],
    *,
    exact: bool,
) -> float:
    """P value that x adds nothing to the others: residuals without it, signs flipped by cluster."""
    design = np.column_stack([others, np.ones(len(y))])
    basis = np.linalg.qr(design)[0]
    direction = x - basis @ (basis.T @ x)
    full = np.column_stack([basis, direction / np.linalg.norm(direction)])
    restricted = y - basis @ (basis.T @ y)

    def statistic(errors: NDArray[np.float64]) -> NDArray[np.float64]:
        slope = direction @ errors
        rest = errors - full @ (full.T @ errors)
        scores = _sum_by_cluster(direction[:, None] * rest, codes)
        deviation = np.sqrt(np.square(scores).sum(axis=0))
        return np.abs(slope) / np.maximum(deviation, np.finfo(float).tiny)

    observed = float(statistic(restricted[:, None])[0])
    null = statistic(restricted[:, None] * signs.T[codes])
    extreme = int((null >= observed * (1 - _TIE)).sum())
    return extreme / len(signs) if exact else (1 + extreme) / (1 + len(signs))
