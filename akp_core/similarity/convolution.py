"""What a feature map is as a representation: a choice, made here by name and never by default shape tricks.

A measure wants one row an example. A map (examples, channels, positions...) can be read in three ways, which
answer three questions, and values read under one of them cannot be set beside values read under another.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
from jaxtyping import Real
from torch import Tensor

from akp_core.errors import expected, unknown_name, whole_number
from akp_core.similarity.arrays import A

Positions: TypeAlias = Literal["flatten", "mean", "each"]


def check_positions(positions: str) -> None:
    """Refuse a policy that does not exist."""
    if positions not in get_args(Positions):
        raise unknown_name("policy for positions", positions, get_args(Positions))


def as_features(
    x: Real[A, "n ..."], *, positions: Positions = "flatten", channels: int = 1
) -> Real[A, "m p"]:
    r"""Read feature maps as a representation, one row an example, by a stated policy.

    For a map :math:`x_{i c s}` of example i, channel c and position s of S,

    .. math:: \text{flatten: } X_{i,(c,s)} = x_{ics}, \qquad
              \text{mean: } X_{i,c} = \tfrac1S \sum_s x_{ics}, \qquad
              \text{each: } X_{(i,s),c} = x_{ics} .

    Parameters
    ----------
    x : (n, c, l), (n, c, h, w) or (n, c, d, h, w) array, NumPy or torch
        Maps with the channels second; or (n, p), which passes unchanged under every policy.
    positions : {"flatten", "mean", "each"}
        ``flatten``: every channel at every position is a feature. ``mean``: a channel's spatial mean is a
        feature. ``each``: every position is an example of its own.
    channels : int
        The axis of the channels: 1, or the last one for tokens (n, tokens, d) and maps (n, h, w, c).

    Returns
    -------
    (n, c S), (n, c) or (n S, c) array of the kind that came
        In the order of the policy's name; a view of x where memory allows it. Features of ``flatten`` are
        ordered channel by channel, examples of ``each`` image by image. Means of whole numbers are float64.

    Raises
    ------
    AkpError
        For an unknown policy; an array of fewer than two axes or without an entry; an axis of channels that
        it does not have.

    Notes
    -----
    What each ignores: ``flatten`` nothing, so that a map moved by one pixel is another representation, and
    it takes maps of different sizes. ``mean`` ignores where in the image something is. ``each`` asks how
    alike the channels respond place by place: both sides must have equal positions, and as the positions of
    one image depend on one another, its n S rows are not so many independent examples: keep them together in
    a null or a bootstrap.

    Cost: none for a view, else one pass over x.

    References
    ----------
    Kornblith et al. 2019 flatten; Raghu et al. 2017 (SVCCA), section 2.1, take each position as an example.

    Examples
    --------
    >>> maps = np.zeros((10, 3, 4, 5))
    >>> [as_features(maps, positions=policy).shape for policy in ("flatten", "mean", "each")]
    [(10, 60), (10, 3), (200, 3)]
    """
    check_positions(positions)
    if not isinstance(x, np.ndarray | Tensor):
        raise expected("x as a NumPy array or a torch tensor", type(x).__name__)
    shape = tuple(x.shape)
    if len(shape) < 2 or math.prod(shape) == 0:
        raise expected("feature maps (n, c, h, w) or features (n, p), none of them empty", f"shape {shape}")
    axis = whole_number("channels, the axis of the channels,", channels, 1, len(shape) - 1)
    if len(shape) == 2:
        return x
    maps = x.movedim(axis, 1) if isinstance(x, Tensor) else np.moveaxis(x, axis, 1)
    if positions == "flatten":
        return maps.reshape(shape[0], -1)
    flat = maps.reshape(shape[0], shape[axis], -1)
    if positions == "mean":
        if isinstance(flat, Tensor):
            return (flat if flat.is_floating_point() else flat.double()).mean(dim=2)
        return flat.mean(axis=2)
    return flat.swapaxes(1, 2).reshape(-1, shape[axis])
