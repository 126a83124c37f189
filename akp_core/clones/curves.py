"""All chunk curves of one layer, as one tidy table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Real, Shaped

from akp_core.clones.chunks import Array, Generator
from akp_core.clones.errors import chunk_errors
from akp_core.clones.regression import RIDGE, Regression, chunk_regression


@dataclass(frozen=True)
class ChunkCurves:
    """What chunks of each size of one layer do and tell.

    Attributes
    ----------
    table : DataFrame
        One row a size: ``size``, ``test_error``, ``train_error`` (NaN where no training images were given),
        ``r_squared``, ``out_of_sample``, ``correlation``, ``others`` (see `akp_core.clones.Regression`).
    width : int
    dead : int
        Units that are the same for all test images.
    """

    table: pd.DataFrame
    width: int
    dead: int


def chunk_curves(
    activations: Real[Array, "n w"],
    weight: Real[Array, "k w"],
    bias: Real[Array, " k"] | None,
    labels: Real[Array, " n"],
    *,
    train: tuple[Real[Array, "m w"], Real[Array, " m"]] | None = None,
    groups: Shaped[Array, " n"] | None = None,
    sizes: Sequence[int] | None = None,
    error_chunks: int = 100,
    chunks: int = 40,
    ridge: float = RIDGE,
    held_out: bool = True,
    generator: Generator,
) -> ChunkCurves:
    """Measure error, R^2 and residual correlation of chunks of every size of one layer.

    Parameters
    ----------
    activations, weight, bias, labels
        Of the test images, as for `chunk_errors`.
    train : (activations, labels), optional
        The same of training images, for the chunks' training error.
    groups, chunks, ridge, held_out
        As for `chunk_regression`, which sees the test images only.
    sizes : sequence of int, optional
        As for `chunk_sizes`.
    error_chunks : int
        Chunks of each size that errors are averaged over.
    generator : numpy.random.Generator

    Returns
    -------
    ChunkCurves

    Raises
    ------
    AkpError
        As `chunk_errors` and `chunk_regression` do.

    Notes
    -----
    Cost: as the two together; a layer of 512 units and 10,000 images takes seconds on one core.

    References
    ----------
    Doimo, Glielmo, Goldt & Laio 2022.
    """
    told: Regression = chunk_regression(
        activations,
        sizes=sizes,
        chunks=chunks,
        ridge=ridge,
        groups=groups,
        held_out=held_out,
        generator=generator,
    )
    given = {"sizes": sizes, "chunks": error_chunks, "generator": generator}
    test = chunk_errors(activations, weight, bias, labels, **given)  # type: ignore[arg-type]
    fitted = np.full(len(told.sizes), np.nan)
    if train is not None:
        fitted = chunk_errors(train[0], weight, bias, train[1], **given).error  # type: ignore[arg-type]
    table = pd.DataFrame(
        {
            "size": told.sizes,
            "test_error": test.error,
            "train_error": fitted,
            "r_squared": told.r_squared,
            "out_of_sample": told.out_of_sample,
            "correlation": told.correlation,
            "others": told.others,
        }
    )
    return ChunkCurves(table, int(np.shape(activations)[1]), told.dead)
