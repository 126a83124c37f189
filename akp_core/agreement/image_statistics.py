"""What can be read off an image before any network has seen it: five statistics of Pliushch et al. (2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.similarity.arrays import Array

LUMA = (0.2989, 0.5870, 0.1140)
"""Weights of red, green and blue in a grey image."""
NAMES: Mapping[str, str] = {
    "entropy": "mean local entropy",
    "segments": "number of segments",
    "edges": "mean edge strength",
    "dct_share": "share of DCT coefficients",
    "dct_largest": "largest DCT coefficient",
}
"""The statistics of `image_statistics` by column, and how to call each."""
"""What `image_statistics` gives, and how to call it."""


def image_statistics(
    images: Float[Array, "n c h w"],
    *,
    window: int = 10,
    grey_levels: int | None = 256,
    scale: float | None = None,
    sigma: float = 0.5,
    smallest: int | None = None,
    norm: float = 0.9998,
    names: tuple[str, ...] = tuple(NAMES),
) -> dict[str, Float64[np.ndarray, " n"]]:
    """Read statistics off images, of any side and number of channels.

    Parameters
    ----------
    images : (n, c, h, w) float array, NumPy or torch
        In [0, 1]. Three channels are weighed to grey as red, green and blue; any other number is averaged.
    window, grey_levels
        Of `local_entropy`.
    scale, sigma, smallest
        Of `segments`; None: what was published, brought to the size of the images.
    norm : float
        Of `dct_share`.
    names : tuple of str
        Which of `NAMES`.

    Returns
    -------
    dict of str to (n,) float64
        In the order of `names`.

    Raises
    ------
    AkpError
        For images of another shape or range, an unknown name or a parameter out of range.

    Notes
    -----
    Cost: one image at a time; about a millisecond each at 24 x 24, most of it the entropy.

    References
    ----------
    Pliushch et al. 2022: the five statistics, with a learnt edge detector in place of ours.
    """
    grey = as_grey(images)
    ways: dict[str, Callable[[np.ndarray], float]] = {
        "entropy": lambda x: local_entropy(x, window=window, grey_levels=grey_levels),
        "segments": lambda x: segments(x, scale=scale, sigma=sigma, smallest=smallest),
        "edges": edge_strength,
        "dct_share": lambda x: dct_share(x, norm=norm),
        "dct_largest": lambda x: float(np.abs(_dct(x)).max()),
    }
    for name in names:
        if name not in ways:
            raise unknown_name("image statistic", name, ways)
    return {name: np.array([ways[name](picture) for picture in grey]) for name in names}


def as_grey(images: Float[Array, "n c h w"]) -> Float64[np.ndarray, "n h w"]:
    """Grey images in [0, 1]; three channels count as red, green and blue, others are averaged.

    Raises
    ------
    AkpError
        For another shape, or values that are not from 0 to 1.
    """
    given = images.detach().cpu().numpy() if isinstance(images, Tensor) else np.asarray(images)
    if given.ndim != 4 or 0 in given.shape or given.dtype.kind != "f":
        raise expected("images as floats (n, c, h, w)", f"{given.dtype} of shape {given.shape}")
    if min(given.shape[2:]) < 3:
        raise expected("images of at least 3 x 3 pixels", f"{given.shape[2]} x {given.shape[3]}")
    if not (given.min() >= 0 and given.max() <= 1):
        raise expected(
            "images in [0, 1]", f"values from {given.min():g} to {given.max():g}", "give them unstandardised"
        )
    weights = np.array(LUMA) if given.shape[1] == 3 else np.full(given.shape[1], 1 / given.shape[1])
    return np.einsum("nchw,c->nhw", given.astype(np.float64), weights)


def local_entropy(
    picture: Float[np.ndarray, "h w"], *, window: int = 10, grey_levels: int | None = 256
) -> float:
    r"""Mean over all windows of the Shannon entropy of their grey values, in bits.

    .. math:: -\sum_v p_v \log_2 p_v

    with :math:`p_v` the share of the window's pixels of value v.

    Parameters
    ----------
    picture : (h, w) float array
        In [0, 1].
    window : int
        Side of a window, every position of it inside the picture; cut to the picture where that is smaller.
    grey_levels : int or None
        Values are rounded to so many evenly spaced levels. None takes them exactly, as the published code
        does: hardly two pixels of a rendered or averaged picture are then the same, and every textured
        window has the largest possible entropy.

    Returns
    -------
    float
        From 0 to the logarithm of the pixels in a window: 6.64 bits of 10 x 10.

    Raises
    ------
    AkpError
        For a window or levels out of range.

    Notes
    -----
    Cost: a sort of each window.
    """
    side = whole_number("window", window, 2)
    if grey_levels is not None:
        picture = np.rint(picture * (whole_number("grey_levels", grey_levels, 2) - 1))
    shape = (min(side, picture.shape[0]), min(side, picture.shape[1]))
    windows = np.lib.stride_tricks.sliding_window_view(picture, shape)
    total, rows = 0.0, windows.shape[0] * windows.shape[1]
    for strip in windows:
        values = np.sort(strip.reshape(len(strip), -1), axis=1)
        new = np.ones(values.shape, bool)
        new[:, 1:] = values[:, 1:] != values[:, :-1]
        starts = np.flatnonzero(new)
        count = np.diff(np.append(starts, new.size)) / values.shape[1]
        total -= float((count * np.log2(count)).sum())
    return max(0.0, total / rows)


def segments(
    picture: Float[np.ndarray, "h w"],
    *,
    scale: float | None = None,
    sigma: float = 0.5,
    smallest: int | None = None,
) -> float:
    """Number of segments of Felzenszwalb and Huttenlocher, by scikit-image.

    Parameters
    ----------
    picture : (h, w) float array
        In [0, 1].
    scale : float or None
        k of the paper, which compares grey values from 0 to 255: larger, larger segments. None: 500, the
        published value at 32 x 32 pixels, times the share that the picture is of so many pixels (at most 1).
    sigma : float
        Of the smoothing beforehand, in pixels.
    smallest : int or None
        Pixels of the smallest segment. None: 20 in the same proportion, at least 2.

    Returns
    -------
    float
        At least 1.

    Raises
    ------
    AkpError
        For a parameter out of range.

    References
    ----------
    Felzenszwalb and Huttenlocher 2004. The threshold k over the size of a segment makes k an area.
    """
    from skimage.segmentation import felzenszwalb

    share = min(1.0, picture.size / 32**2)
    k = 500 * share if scale is None else scale
    for name, value in (("scale", k), ("sigma", sigma)):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
            raise expected(f"{name} as a number of at least 0", repr(value))
    least = max(2, round(20 * share)) if smallest is None else whole_number("smallest", smallest, 1)
    return float(len(np.unique(felzenszwalb(picture, scale=k, sigma=sigma, min_size=least))))


def edge_strength(picture: Float[np.ndarray, "h w"]) -> float:
    """Mean over pixels of the gradient's magnitude by Farid's 5 x 5 filters, by scikit-image.

    In place of the learnt crisp-boundaries detector (MATLAB) of the paper: open, kept up, without weights of
    its own, and it turns with the image. The paper sums; the mean puts images of one size in the same order.

    References
    ----------
    Farid and Simoncelli 2004.
    """
    from skimage.filters import farid

    return float(farid(picture).mean())  # type: ignore[no-untyped-call]


def dct_share(picture: Float[np.ndarray, "h w"], *, norm: float = 0.9998) -> float:
    r"""Smallest share of the coefficients of the cosine transform that hold so much of the image's norm.

    .. math:: \frac1{hw} \min\Bigl\{j : \sum_{i \le j} d_{(i)}^2 \ge q^2 \sum_i d_i^2\Bigr\}

    with :math:`d_{(1)}, d_{(2)}, \dots` the coefficients of the orthonormal DCT, largest first.

    Parameters
    ----------
    picture : (h, w) float array
    norm : float
        q, in (0, 1].

    Returns
    -------
    float
        In [0, 1]; 0 for a black image.

    Raises
    ------
    AkpError
        For a norm out of range.
    """
    if isinstance(norm, bool) or not isinstance(norm, int | float) or not 0 < norm <= 1:
        raise expected("a share of the norm above 0 and at most 1", repr(norm))
    squares = np.sort(np.square(_dct(picture)).ravel())[::-1]
    held = np.cumsum(squares)
    if held[-1] == 0:
        return 0.0
    return float(1 + np.searchsorted(held, norm**2 * held[-1])) / squares.size


def _dct(picture: np.ndarray) -> np.ndarray:
    from scipy.fft import dctn

    if not np.isfinite(picture).all():
        raise AkpError("expected a picture of finite numbers, got others among them")
    return np.asarray(dctn(picture, norm="ortho"))
