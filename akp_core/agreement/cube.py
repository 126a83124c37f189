"""The correctness cube: which network answers which image rightly, at which look.

Everything in this room is a function of it. Axes are networks x looks x images; a cube of one look is
``right[:, None]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from akp_core.errors import expected
from akp_core.similarity.arrays import Array


def as_cube(correct: Array, *, networks: int = 1) -> Bool[np.ndarray, "m t n"]:
    """Read a cube of truth values, or of zeros and ones.

    Parameters
    ----------
    correct : (m, t, n) bool or 0/1 array, NumPy or torch
    networks : int
        How many it needs at least.

    Returns
    -------
    (m, t, n) bool array

    Raises
    ------
    AkpError
        For another shape, an empty axis, too few networks or other values.
    """
    cube = _as_numpy(correct)
    if cube.ndim != 3 or 0 in cube.shape:
        raise expected(
            "a correctness cube of shape (networks, looks, images)",
            f"shape {cube.shape}",
            "for one look give right[:, None]",
        )
    if cube.dtype != np.bool_ and not (cube.dtype.kind in "iuf" and np.isin(cube, (0, 1)).all()):
        raise expected("truth values, or zeros and ones, in the cube", f"other values of type {cube.dtype}")
    if len(cube) < networks:
        raise expected(f"at least {networks} networks in the cube", str(len(cube)))
    return cube.astype(bool)


def as_steps(steps: Sequence[float] | Array, looks: int) -> Float64[np.ndarray, " t"]:
    """Read the times of the looks: finite, rising, at least 0, one a look.

    Raises
    ------
    AkpError
        For anything else.
    """
    times = _as_numpy(steps)
    if times.shape != (looks,) or times.dtype.kind not in "iuf":
        raise expected(f"the times of {looks} looks", f"{times.dtype} of shape {times.shape}")
    times = times.astype(np.float64)
    if not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) <= 0).any():
        raise expected("times of looks that rise from 0 or later", str(times.tolist()))
    return times


def as_parts(parts: Array | None, images: int, name: str) -> Int64[np.ndarray, " n"]:
    """Number the classes, or the groups, of the images from 0; None is one part for all.

    Parameters
    ----------
    parts : (n,) array of whole numbers or None
    images : int
        n.
    name : str
        ``classes`` or ``groups``, for the message.

    Raises
    ------
    AkpError
        If there is not one whole number an image.
    """
    if parts is None:
        return np.zeros(images, np.int64)
    given = _as_numpy(parts)
    if given.shape != (images,) or given.dtype.kind not in "iub":
        raise expected(
            f"{name} as {images} whole numbers, one an image", f"{given.dtype} of shape {given.shape}"
        )
    return np.unique(given, return_inverse=True)[1].astype(np.int64)


def accuracy(correct: Array) -> Float64[np.ndarray, "m t"]:
    """Share of the images that each network has right at each look, in [0, 1].

    Parameters
    ----------
    correct : (m, t, n) bool array
    """
    return as_cube(correct).mean(axis=2)


@dataclass(frozen=True, eq=False)
class Matched:
    """Networks brought to one accuracy, each at a time of its own.

    Attributes
    ----------
    right : (k, 1, n) bool array
        What those k networks that got there have right; a cube of one look.
    network : (k,) int array
        Their rows in the cube.
    look : (k,) int array
        The look at which each is taken.
    accuracy : (k,) float array
        Its accuracy there.
    missing : int
        Networks that never got there; they are left out and must be said.
    """

    right: Bool[np.ndarray, "k 1 n"]
    network: Int64[np.ndarray, " k"]
    look: Int64[np.ndarray, " k"]
    accuracy: Float64[np.ndarray, " k"]
    missing: int


def at_accuracy(correct: Array, level: float) -> Matched:
    """Take each network where it first reaches an accuracy: at that look or the one before, as is nearer.

    Agreement rises with accuracy by itself, so populations are compared where they are equally accurate and
    not after equally many epochs.

    Parameters
    ----------
    correct : (m, t, n) bool array
    level : float
        The accuracy wanted, in (0, 1).

    Returns
    -------
    Matched

    Raises
    ------
    AkpError
        For a level out of range.

    Notes
    -----
    A network that is above the level at the first look is taken there. How near the accuracies come depends
    on how often one looks; `Matched.accuracy` says it. Cost: one pass over the cube.
    """
    cube = as_cube(correct)
    if isinstance(level, bool) or not isinstance(level, int | float) or not 0 < level < 1:
        raise expected("an accuracy between 0 and 1", repr(level), "divide percentages by 100")
    shares = cube.mean(axis=2)
    reached = shares >= level
    network = np.flatnonzero(reached.any(axis=1))
    look = reached[network].argmax(axis=1)
    before = np.maximum(look - 1, 0)
    nearer = np.abs(shares[network, before] - level) < np.abs(shares[network, look] - level)
    look = np.where(nearer, before, look)
    return Matched(
        cube[network, look][:, None],
        network.astype(np.int64),
        look.astype(np.int64),
        shares[network, look],
        len(cube) - len(network),
    )


def check_size(size: int | None, networks: int) -> int:
    """How many networks must agree: a whole number from 2 to all of them, which None stands for.

    Raises
    ------
    AkpError
        For anything else.
    """
    if networks < 2:
        raise expected("at least 2 networks that may agree", str(networks))
    if size is None:
        return networks
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 2 <= size <= networks:
        raise expected(
            f"the number of networks that must agree as a whole number from 2 to {networks}", repr(size)
        )
    return int(size)


def _as_numpy(x: object) -> np.ndarray:
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
