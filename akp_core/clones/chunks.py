"""Chunks of a layer, drawn so that one decomposition serves all their sizes; and what comes in is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float64, Int64, Real
from torch import Tensor

from akp_core.errors import AkpError, expected, whole_number

Array: TypeAlias = np.ndarray | Tensor
Generator: TypeAlias = np.random.Generator


def chunk_sizes(width: int, sizes: Sequence[int] | None = None) -> tuple[int, ...]:
    """Sizes of chunks: the powers of two below the width, and the width, unless others are asked for.

    Parameters
    ----------
    width : int
        Units of the layer, W.
    sizes : sequence of int, optional
        Each from 1 to W, each once.

    Returns
    -------
    tuple of int
        Ascending.

    Raises
    ------
    AkpError
        For a size outside 1 to W, one given twice, or none.

    References
    ----------
    Powers of two: Doimo et al. 2022, as in their published code.
    """
    width = whole_number("the width of a layer", width, 1)
    if sizes is None:
        return (*(2**k for k in range(width.bit_length()) if 2**k < width), width)
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray) or not len(sizes):
        raise expected("sizes of chunks as a list of whole numbers", repr(sizes))
    for size in sizes:
        if whole_number("a size of a chunk", size, 1) > width:
            raise expected(
                f"chunks of at most {width} units, the width of the layer",
                f"a size of {size}",
                "ask for less",
            )
    if len({int(size) for size in sizes}) < len(sizes):
        raise expected("each size of a chunk once", repr(list(sizes)))
    return tuple(sorted(int(size) for size in sizes))


def nested_chunks(width: int, chunks: int, generator: Generator) -> Int64[np.ndarray, "c w"]:
    """Draw orders of the units; the first w of an order are a chunk of w units.

    Every chunk is uniform without replacement. Chunks of one order are nested, those of different orders
    independent: so curves over sizes are smoother than with fresh draws, and as many sizes cost one
    decomposition.

    Parameters
    ----------
    width, chunks : int
    generator : numpy.random.Generator

    Returns
    -------
    (chunks, width) int64
        A permutation of the units in each row.
    """
    width, chunks = whole_number("width", width, 1), whole_number("chunks", chunks, 1)
    check_generator(generator)
    return generator.permuted(np.tile(np.arange(width), (chunks, 1)), axis=1)


def check_generator(generator: object) -> None:
    """Refuse a seed, or none, where a generator is wanted."""
    if not isinstance(generator, np.random.Generator):
        raise expected("a numpy.random.Generator", repr(generator), "give np.random.default_rng(seed)")


def as_activations(x: Real[Array, "n w"], name: str = "activations") -> Float64[np.ndarray, "n w"]:
    """Check activations and take the mean of each unit off.

    Parameters
    ----------
    x : (n, w) array
        One row an image, one column a unit; NumPy or torch, any real dtype, any device.
    name : str
        What to call it in a message.

    Returns
    -------
    (n, w) float64
        Column means zero.

    Raises
    ------
    AkpError
        For anything but finite real numbers in two dimensions, or units that are constant one and all.
    """
    values = as_table(x, name)
    values = values - values.mean(axis=0)
    if len(values) < 2 or not (varying(values)).any():
        raise expected(
            f"{name} in which at least one unit varies",
            f"{values.shape[1]} constant (dead) units over {len(values)} images",
            "a dead layer has no clones: leave the network out and count it",
        )
    return values


def as_table(x: Real[Array, "n w"], name: str) -> Float64[np.ndarray, "n w"]:
    """Check a table of finite real numbers and return it as a new float64 array."""
    if isinstance(x, Tensor) and not x.is_complex():
        x = x.detach().to(device="cpu", dtype=torch.float64).numpy()
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray) or x.dtype.kind not in "fiub":
        raise expected(f"{name} as a NumPy array or torch tensor of real numbers", type(x).__name__)
    if x.ndim != 2 or 0 in x.shape:
        raise expected(
            f"{name} as (images, units)",
            f"an array of shape {x.shape}",
            "of maps (n, c, h, w) take the spatial mean first, as the read-out does",
        )
    values = np.array(x, dtype=np.float64)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise AkpError(
            f"expected finite numbers in {name}, got {bad} non-finite of {values.size}; a diverged "
            "network has no clones, leave it out and count it"
        )
    return values


def varying(centred: Float64[np.ndarray, "n w"]) -> np.ndarray:
    """Which units are not constant: their deviations exceed what rounding the largest of all can give."""
    reach = np.abs(centred).max(axis=0)
    alive: np.ndarray = reach > 1e-9 * max(float(reach.max()), np.finfo(np.float64).tiny)
    return alive
