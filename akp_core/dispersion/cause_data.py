"""What the regression on three causes reads: log contributions to dispersion, causes and clusters."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from akp_core.dispersion.contributions import pseudo_values
from akp_core.dispersion.geometry import (
    Array,
    as_numpy,
    distance_to_centroid,
    family_codes,
    squared_distances,
)
from akp_core.dispersion.inference import LEAST_MEMBERS
from akp_core.errors import expected

_TIE = 1e-9


def log_contributions(
    distances: Array, families: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Distances to the own centroid (NaN: no representation), log contributions, and how many are floored."""
    delta = distance_to_centroid(distances, families)
    squared, usable = squared_distances(distances)
    names, codes = family_codes(families, len(delta))
    plain, exact = np.square(delta), np.ones(len(delta))
    for code, name in enumerate(names):
        members = np.flatnonzero((codes == code) & usable)
        if len(members) < LEAST_MEMBERS:
            raise expected(
                f"at least {LEAST_MEMBERS} usable models in family {name!r}", str(len(members)), "add members"
            )
        exact[members] = pseudo_values(squared[np.ix_(members, members)])
        on_it = members[plain[members] <= _TIE**2 * plain[members].max()]
        if len(on_it):
            raise expected(
                "models apart from their family's centroid",
                f"model {int(on_it[0])} exactly on it",
                "identical models have no log contribution: leave copies out",
            )
    low = usable & (exact < plain / 2)
    return delta, np.log(np.where(usable, np.where(low, plain / 2, exact), 1.0)), int(low.sum())


def read_causes(
    distances: Array,
    stressed: Array,
    columns: dict[str, Array],
    clusters: Array | None,
    families: Array | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], int]:
    """Causes (usable models, 3), log squared contributions, cluster codes, and how many were floored."""
    mask = as_numpy(stressed)
    if mask.ndim != 1 or mask.dtype != np.bool_:
        raise expected("one boolean for each model in stressed", f"{mask.dtype} of shape {mask.shape}")
    delta, contribution, floored = log_contributions(distances, mask if families is None else families)
    usable = ~np.isnan(delta)
    if mask.shape != delta.shape:
        raise expected(f"one boolean for each of the {len(delta)} models in stressed", f"shape {mask.shape}")
    causes = [mask.astype(np.float64)]
    for name, values in columns.items():
        column = as_numpy(values)
        if column.shape != delta.shape or column.dtype.kind not in "fiub":
            raise expected(
                f"one number for each of the {len(delta)} models in {name}",
                f"{column.dtype} of shape {column.shape}",
            )
        causes.append(column.astype(np.float64))
    codes = np.arange(len(delta)) if clusters is None else as_numpy(clusters)
    if codes.shape != delta.shape or codes.dtype.kind not in "iu":
        raise expected(
            f"one member number for each of the {len(delta)} models in clusters",
            f"{codes.dtype} of shape {codes.shape}",
        )
    x = np.stack(causes, axis=1)[usable]
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        i, j = (int(k) for k in bad[0])
        raise expected(
            "finite errors and amounts of training for every model with a representation",
            f"{x[i, j]} for model {int(np.flatnonzero(usable)[i])}",
        )
    x[:, 2] *= -1
    return x, contribution[usable], np.unique(codes[usable], return_inverse=True)[1], floored
