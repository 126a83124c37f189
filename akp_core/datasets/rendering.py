"""From nuclei with known outlines to grey pictures: the optics, and nothing about patients.

A *scene* is a square field of view, `FIELD` length units wide, holding up to K nuclei. It is described in
physical units, so one scene can be pictured at any number of pixels. A nucleus with centre (x, y) and mean
radius R covers the points at distance d <= r(theta) from its centre, where

    r(theta) = R (1 + Re sum_{k=FIRST}^{LAST} C_k exp(i k theta)),    never below 0.3 R.

The modes have no constant term, so the mean of r over the angle is exactly R. A picture is made by absorption
(dark nuclei on a light ground; where nuclei overlap, their transmissions multiply):

    T = product over nuclei of  1 - cover . (A . rim + t . g)         cover in [0, 1], one pixel wide edge
    I = light(x, y) . T, blurred by the focus, plus sensor noise, clamped to [0, 1], rounded to 8 bits

with A the mean absorption of the nucleus, t the standard deviation of its chromatin, g the scene's smooth
grain (unit variance), and `rim` the slightly denser chromatin below the nuclear membrane.

The pixel arithmetic uses only +, -, x, /, square root, comparison and rounding, each in its own kernel. IEEE
754 fixes the result of each, so a picture does not depend on how many are rendered at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from akp_core.threads import one_thread

FIELD = 96.0
"""Width of the field of view, in the table's length unit: at 96 pixels, one pixel is one unit."""
FIRST, LAST = 2, 14
"""Lowest and highest contour mode. Mode 1 would only move the centre."""
GRAIN_PITCH = 4.0
"""Distance between the nodes of the chromatin grain, in length units."""
GRAIN_NODES = int(FIELD / GRAIN_PITCH) + 1
FOCUS = (0.5, 2.5)
"""Standard deviation of the blur, in length units: sharpest and most defocused."""
CHUNK_VALUES = 1 << 17
"""Values a temporary array may hold; chosen so that the working set stays in the cache of one core."""


@dataclass(frozen=True, eq=False)
class Scene:
    """n fields of view with k nucleus slots each; an empty slot has absorption and chromatin 0.

    Parameters
    ----------
    x, y : float32, shape (n, k)
        Centres of the nuclei, in length units from the corner of the field.
    radius : float32, shape (n, k)
        Mean radius R, in length units, > 0.
    modes_re, modes_im : float32, shape (n, k, LAST - FIRST + 1)
        Real and imaginary parts of the relative contour modes C_k.
    absorption : float32, shape (n, k)
        Mean absorption A, in [0, 1].
    chromatin : float32, shape (n, k)
        Standard deviation t of the absorption inside the nucleus.
    grain : float32, shape (n, GRAIN_NODES, GRAIN_NODES)
        Independent standard normal values at the nodes of the grain.
    light : float32, shape (n, 4)
        Brightness of the empty ground, its slope along x and along y, and its fall towards the corners.
    focus : float32, shape (n,)
        Standard deviation of the blur, in length units, within `FOCUS`.
    """

    x: Float[Tensor, "n k"]
    y: Float[Tensor, "n k"]
    radius: Float[Tensor, "n k"]
    modes_re: Float[Tensor, "n k m"]
    modes_im: Float[Tensor, "n k m"]
    absorption: Float[Tensor, "n k"]
    chromatin: Float[Tensor, "n k"]
    grain: Float[Tensor, "n g g"]
    light: Float[Tensor, "n 4"]
    focus: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: slice | Int64[Tensor, " m"]) -> Scene:
        """The same scene, restricted to some of its fields of view."""
        return Scene(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def render(
    scene: Scene, noise: Float[Tensor, "n side side"], *, chunk: int | None = None
) -> Float[Tensor, "n side side"]:
    """Picture every field of view of a scene.

    Parameters
    ----------
    scene : Scene
        The fields of view.
    noise : float32, shape (n, side, side)
        What the sensor adds to each pixel; its shape sets the number of pixels.
    chunk : int, optional
        Fields of view rendered at once; by default as many as fit the cache.

    Returns
    -------
    float32, shape (n, side, side)
        Grey values in [0, 1], multiples of 1/255; 0 is black.

    Notes
    -----
    Bit-identical for every `chunk`.

    Cost: O(n k side^2 (LAST - FIRST)) time; `CHUNK_VALUES` values for each of about ten temporary arrays.
    """
    n, side = noise.shape[0], noise.shape[-1]
    step = chunk or max(1, CHUNK_VALUES // (scene.x.shape[1] * side * side))
    pictures = torch.empty_like(noise)
    with one_thread():
        for start in range(0, n, step):
            part = slice(start, start + step)
            pictures[part] = _expose(scene[part], noise[part])
    return pictures


def _expose(scene: Scene, noise: Float[Tensor, "n s s"]) -> Float[Tensor, "n s s"]:
    side = noise.shape[-1]
    # Pixel centres, built in float64 and rounded once.
    at = ((torch.arange(side, dtype=torch.float64) + 0.5) * (FIELD / side)).float()
    through = _transmission(scene, at)
    u = at / (FIELD / 2) - 1.0
    across, down = u[None, None, :], u[None, :, None]
    ground, slope_x, slope_y, fall = (scene.light[:, i, None, None] for i in range(4))
    light = ground + slope_x * across + slope_y * down - fall * (across * across + down * down)
    picture = _blur(light * through, scene.focus * (side / FIELD), FOCUS[1] * side / FIELD)
    return (picture + noise).clamp(0.0, 1.0).mul(255.0).round().div(255.0)


def _transmission(scene: Scene, at: Float[Tensor, " s"]) -> Float[Tensor, "n s s"]:
    def slot(values: Float[Tensor, "n k"]) -> Float[Tensor, "k n 1 1"]:
        return values.T[:, :, None, None]

    dx, dy = at[None, None, None, :] - slot(scene.x), at[None, None, :, None] - slot(scene.y)
    distance = (dx * dx + dy * dy + 1e-6).sqrt()
    radius = slot(scene.radius)
    outline = radius * (1.0 + _series(dx / distance, dy / distance, scene)).clamp(min=0.3)
    pixel = FIELD / len(at)
    cover = ((outline - distance) / pixel + 0.5).clamp(0.0, 1.0)
    rim = (distance / outline).clamp(0.0, 1.0)
    rim = 0.9 + 0.3 * (rim * rim * rim * rim)
    grain = _grain(scene.grain, at)[None]
    return (1.0 - cover * (slot(scene.absorption) * rim + slot(scene.chromatin) * grain)).prod(dim=0)


def _series(
    cos: Float[Tensor, "k n s s"], sin: Float[Tensor, "k n s s"], scene: Scene
) -> Float[Tensor, "k n s s"]:
    """Re sum_k C_k (cos + i sin)^k by Horner's rule: no trigonometric function is called on a pixel."""
    a = scene.modes_re.permute(2, 1, 0)[..., None, None]
    b = scene.modes_im.permute(2, 1, 0)[..., None, None]
    re, im = cos * a[-1] - sin * b[-1], sin * a[-1] + cos * b[-1]
    for i in range(len(a) - 2, -1, -1):
        re, im = re + a[i], im + b[i]
        re, im = re * cos - im * sin, re * sin + im * cos
    for _ in range(FIRST - 2):
        re, im = re * cos - im * sin, re * sin + im * cos
    return re * cos - im * sin


def _grain(nodes: Float[Tensor, "n g g"], at: Float[Tensor, " s"]) -> Float[Tensor, "n s s"]:
    """The node values, interpolated linearly along both axes and scaled to unit mean variance."""
    place = at / GRAIN_PITCH
    low = place.floor()
    w, left = place - low, low.long()
    rows = nodes[:, left] * (1.0 - w)[:, None] + nodes[:, left + 1] * w[:, None]
    # The mean over a cell of w^2 + (1 - w)^2 is 2/3 along each axis.
    return (rows[:, :, left] * (1.0 - w) + rows[:, :, left + 1] * w) * 1.5


def _blur(
    picture: Float[Tensor, "n s s"], sigma: Float[Tensor, " n"], largest: float
) -> Float[Tensor, "n s s"]:
    """Blur each picture by its own sigma, in pixels: repeated averages of three, of exactly that variance."""
    # One pass with weights (w/2, 1 - w, w/2) adds the variance w; w <= 1/2 where sigma is largest.
    passes = max(1, math.ceil(2.0 * largest * largest))
    w = (sigma * sigma / passes)[:, None, None]
    for _ in range(passes):
        for axis in (1, 2):
            edge = picture.shape[axis] - 1
            before = torch.cat([picture.narrow(axis, 0, 1), picture.narrow(axis, 0, edge)], dim=axis)
            after = torch.cat([picture.narrow(axis, 1, edge), picture.narrow(axis, edge, 1)], dim=axis)
            picture = picture + w * ((before + after) * 0.5 - picture)
    return picture
