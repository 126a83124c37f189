"""The stability of whatever can be called on images: a network, or all its taps at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Required, TypedDict, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor

from akp_core.deformation.deformed import deform
from akp_core.deformation.noise import Match, matched_noise
from akp_core.deformation.reading import check_images
from akp_core.deformation.stability import How, Stability, stability
from akp_core.errors import expected, whole_number

Images = Float[Tensor, "n c h w"]
Taps = Mapping[str, Tensor]


class Settings(TypedDict, total=False):
    """The keywords of `stability_of`."""

    cutoff: int
    displacement: float | None
    temperature: float | None
    generator: Required[torch.Generator]
    match: Match
    how: How
    groups: Sequence[object] | Tensor | None
    repeats: int
    batch: int | None
    draws: int
    level: float


@overload
def stability_of(
    function: Callable[[Tensor], Tensor], images: Images, **settings: Unpack[Settings]
) -> Stability: ...
@overload
def stability_of(
    function: Callable[[Tensor], Taps], images: Images, **settings: Unpack[Settings]
) -> dict[str, Stability]: ...
def stability_of(
    function: Callable[[Tensor], Tensor | Taps],
    images: Images,
    *,
    cutoff: int = 3,
    displacement: float | None = None,
    temperature: float | None = None,
    generator: torch.Generator,
    match: Match = "each",
    how: How = "mean",
    groups: Sequence[object] | Tensor | None = None,
    repeats: int = 1,
    batch: int | None = None,
    draws: int = 999,
    level: float = 0.05,
) -> Stability | dict[str, Stability]:
    """Stability of a network, or any function of images, to deformations relative to noise.

    Parameters
    ----------
    function : callable
        From images to activations, or to a mapping of activations by the name of a tap; first axis images. A
        network must be in evaluation mode.
    images : (n, c, h, w) tensor, float32 or float64
    cutoff, displacement, temperature
        As for `deform`; cutoff 3 and a displacement of 1 pixel are the papers' setting.
    generator : torch.Generator
        On the CPU; draws fields, noise and then the intervals' images.
    match : {"each", "mean"}
        As for `matched_noise`.
    how : {"mean", "median"}
    groups : (n,) labels, optional
        As for `stability`.
    repeats : int
        Deformations, and noises, of each image.
    batch : int, optional
        Call the function on so many images at once; all when not given. It changes no draw.
    draws : int
        Of groups of images for the intervals, at least 99; 0 for no intervals.
    level : float

    Returns
    -------
    Stability, or dict of str to Stability
        As the function gives a tensor or a mapping. All taps have the same fields, noise and draws.

    Raises
    ------
    AkpError
        As `deform`, `matched_noise` and `stability`; if the function gives something else.

    Notes
    -----
    Cost: 1 + 2 repeats calls of the function on all images; the activations of all are kept until the end.
    """
    check_images(images)
    repeats = whole_number("repeats", repeats, 1)
    batch = len(images) if batch is None else whole_number("batch", batch, 1)

    def activations(given: Tensor) -> Tensor | dict[str, Tensor]:
        with torch.no_grad():
            parts = [function(part) for part in torch.split(given, batch)]
        if isinstance(parts[0], Mapping) and parts[0]:
            return {tap: torch.cat([part[tap] for part in parts]) for tap in parts[0]}  # type: ignore[index]
        if isinstance(parts[0], Tensor):
            return torch.cat(parts)  # type: ignore[arg-type]
        raise expected("a function that gives a tensor, or tensors by tap", type(parts[0]).__name__)

    clean = activations(images)
    bent, noisy = [], []
    for _ in range(repeats):
        one = deform(
            images, cutoff=cutoff, displacement=displacement, temperature=temperature, generator=generator
        )
        bent.append(activations(one.images))
        noisy.append(activations(matched_noise(images, one, generator=generator, match=match)))
    state = generator.get_state()

    def of(clean: Tensor, bent: list[Tensor], noisy: list[Tensor]) -> Stability:
        generator.set_state(state)
        drawn = generator if draws else None
        return stability(
            clean, bent, noisy, how=how, groups=groups, generator=drawn, draws=draws or 999, level=level
        )

    if isinstance(clean, Tensor):
        return of(clean, bent, noisy)  # type: ignore[arg-type]
    taps = clean.items()
    return {tap: of(v, *([one[tap] for one in many] for many in (bent, noisy))) for tap, v in taps}  # type: ignore[index]
