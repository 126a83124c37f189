"""What the bandwidth of a Gaussian kernel does to CKA: with no relation, a linear and a nonlinear one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from akp_core.errors import expected, whole_number
from akp_core.similarity import cka
from akp_core.similarity.calibration import check_rng
from akp_core.similarity.gram import Estimator
from akp_core.simulation.gaussian import GaussianPair
from akp_core.simulation.precision import summary
from akp_core.threads import one_thread

RELATIONS = ("independent", "half", "square")


def bandwidths(
    fractions: Sequence[float], *, examples: int, width: int, repeats: int, rng: np.random.Generator
) -> pd.DataFrame:
    r"""CKA with the linear kernel, and with Gaussian kernels from narrow to wide, by both estimators.

    The relations are independence; a linear one of population linear CKA 0.5; and :math:`y_j = x_j^2`, which
    leaves no correlation at all, so that its population linear CKA is 0.

    Parameters
    ----------
    fractions : sequence of float
        Bandwidths as multiples of the median distance.
    examples : int
        Of each draw, at least 4.
    width : int
        Features, at least 1.
    repeats : int
        Draws of each relation, at least 2; every kernel sees the same.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        Columns ``kernel`` ("linear" or "rbf"), ``fraction`` (NaN for linear), ``estimator``, ``relation``,
        and ``value``, ``low``, ``high``: the mean over the draws and its 95 % interval.

    Raises
    ------
    AkpError
        For no fraction, one that is not above 0, or a number too small.

    Notes
    -----
    Cost: six calls of `cka` a kernel and draw.
    """
    whole_number("examples", examples, 4)
    whole_number("repeats", repeats, 2)
    check_rng(rng)
    if not len(fractions):
        raise expected("at least one fraction", "none")
    nothing, half = (GaussianPair(width, truth, decay=0) for truth in (0.0, 0.5))
    draws: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {relation: [] for relation in RELATIONS}
    for _ in range(repeats):
        draws["independent"].append(nothing.draw(examples, rng))
        draws["half"].append(half.draw(examples, rng))
        z, _unused = nothing.draw(examples, rng)
        draws["square"].append((z, z**2))
    rows = []
    with one_thread():
        for fraction in (None, *fractions):
            for estimator in get_args(Estimator):
                for relation, pairs in draws.items():
                    values = [
                        cka(x, y, estimator=estimator)
                        if fraction is None
                        else cka(x, y, estimator=estimator, kernel="rbf", fraction=fraction)
                        for x, y in pairs
                    ]
                    mean = summary(np.array(values)).iloc[0]
                    kernel = "linear" if fraction is None else "rbf"
                    seen = (mean["value"], mean["low"], mean["high"])
                    rows.append((kernel, fraction, estimator, relation, *seen))
    columns = ["kernel", "fraction", "estimator", "relation", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).astype({"fraction": float})
