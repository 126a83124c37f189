"""How often a chunk of a layer answers wrongly when only its columns of the trained read-out are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Real
from torch import Tensor

from akp_core.clones.chunks import Array, Generator, as_table, chunk_sizes, nested_chunks
from akp_core.errors import expected


@dataclass(frozen=True)
class ChunkErrors:
    """Errors of chunks of each size.

    Attributes
    ----------
    sizes : (s,) int64
        Units in a chunk, w.
    error : (s,) float64
        Share of wrong answers, mean over chunks, in [0, 1].
    each : (c, s) float64
        The same of every chunk.
    chunks : int
    """

    sizes: Int64[np.ndarray, " s"]
    error: Float64[np.ndarray, " s"]
    each: Float64[np.ndarray, "c s"]
    chunks: int


def chunk_errors(
    activations: Real[Array, "n w"],
    weight: Real[Array, "k w"],
    bias: Real[Array, " k"] | None,
    labels: Real[Array, " n"],
    *,
    sizes: Sequence[int] | None = None,
    chunks: int = 100,
    generator: Generator,
) -> ChunkErrors:
    r"""Error of random chunks with the trained read-out.

    .. math:: \hat y_S(x) = \arg\max_k \Bigl( b_k + \sum_{j \in S} V_{kj} x_j \Bigr),

    without training the read-out again and without a factor W / w, as published. The bias is whole: it has
    more of a say the smaller the chunk.

    Parameters
    ----------
    activations : (n, W) array
        Input of the read-out, not centred.
    weight : (k, W) array
        The read-out V.
    bias : (k,) array or None
    labels : (n,) whole numbers
        From 0 to k - 1.
    sizes : sequence of int, optional
        As for `chunk_sizes`.
    chunks : int
        Chunks of each size; published: 100.
    generator : numpy.random.Generator

    Returns
    -------
    ChunkErrors

    Raises
    ------
    AkpError
        For arrays that do not fit together, are not finite, or labels that are no classes.

    Notes
    -----
    Invariances: a common positive scale of activations and bias; the order of units (in law). A tie goes to
    the first of the classes.

    Cost: 2 c n W k, all sizes together, as logits of nested chunks are running sums.

    References
    ----------
    Doimo, Glielmo, Goldt & Laio 2022, and their published code.
    """
    x, v, b, y = read_out(activations, weight, bias, labels)
    n, width = x.shape
    wanted = np.array(chunk_sizes(width, sizes))
    columns, starts = np.ascontiguousarray(x.T, dtype=np.float32), (0, *wanted[:-1])
    rows, right = v.astype(np.float32), np.empty((chunks, len(wanted)))
    for c, order in enumerate(nested_chunks(width, chunks, generator)):
        logits = np.repeat(b.astype(np.float32)[:, None], n, axis=1)
        for s, (begin, end) in enumerate(zip(starts, wanted, strict=True)):
            units = order[begin:end]
            logits += rows[:, units] @ columns[units]
            right[c, s] = np.mean(logits.argmax(axis=0) == y)
    return ChunkErrors(wanted, 1 - right.mean(axis=0), 1 - right, chunks)


def read_out(
    activations: Real[Array, "n w"],
    weight: Real[Array, "k w"],
    bias: Real[Array, " k"] | None,
    labels: Real[Array, " n"],
) -> tuple[
    Float64[np.ndarray, "n w"], Float64[np.ndarray, "k w"], Float64[np.ndarray, " k"], Int64[np.ndarray, " n"]
]:
    """Check that activations, read-out and labels fit together; scaled so that float32 holds products."""
    x, v = as_table(activations, "activations"), as_table(weight, "the read-out's weight")
    if v.shape[1] != x.shape[1]:
        raise expected(
            f"a read-out of shape (classes, {x.shape[1]}), a column for each unit",
            str(v.shape),
            "give nn.Linear.weight as it is, of the layer that the activations go into",
        )
    b = np.zeros(len(v)) if bias is None else as_table(_column(bias), "the read-out's bias")[:, 0]
    y = np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if len(b) != len(v):
        raise expected(f"a bias for each of {len(v)} classes", str(len(b)))
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise expected(f"labels as {len(x)} whole numbers, one an image", f"{y.dtype} of shape {y.shape}")
    if y.min() < 0 or y.max() >= len(v):
        raise expected(f"labels from 0 to {len(v) - 1}", f"{y.min()} to {y.max()}")
    reach = float(np.abs(x).max()) or 1.0
    return x / reach, v, b / reach, y.astype(np.int64)


def _column(bias: Array) -> Array:
    return bias[:, None] if getattr(bias, "ndim", 0) == 1 else bias
