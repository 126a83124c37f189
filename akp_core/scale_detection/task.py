"""The task: do two points lie nearer to each other than a scale? All pairs, their labels, balanced draws.

In one dimension as in the authors' public code: on a circle, a pair is near (+1) at a distance below
``scale - gap`` and far (-1) from ``scale + gap`` on; or near if both points lie in one block. In two
dimensions the gap is halved: below ``scale - gap / 2``, and from ``scale + gap / 2`` on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.theory.ornstein_uhlenbeck import number

Rule = Literal["distance", "block"]
Norm = Literal["euclidean", "max"]
MOST_PAIRS = 5_000_000


class Pairs(NamedTuple):
    """Pairs of active pixels with their labels.

    Attributes
    ----------
    places : (n, 2, d) int64 tensor
        Two points of d coordinates.
    labels : (n,) float32 tensor
        +1 near, -1 far.
    """

    places: Int64[Tensor, "n 2 d"]
    labels: Float32[Tensor, " n"]


@dataclass(frozen=True)
class ScaleTask:
    r"""Two active pixels in an empty image: near or far?

    .. math:: y = +1 \text{ if } \lVert p - q \rVert < \xi - g, \qquad
              y = -1 \text{ if } \lVert p - q \rVert \ge \xi + g

    with g = gap in one dimension and gap / 2 in two; pairs between are left out. With ``rule="block"``
    instead y = +1 if both points lie in one block of side xi, and no pair is left out.

    Attributes
    ----------
    side : int
        Sites of the circle, or pixels along a side of the image; at least 4.
    scale : float
        xi. For blocks a whole number that divides the side, below it.
    gap : float
        At least 0; 0 for blocks.
    dims : int
        1 or 2.
    rule : {"distance", "block"}
        The authors' tasks 1 and 2; in two dimensions blocks of half the side are their quadrants.
    norm : {"euclidean", "max"}
        Of distances in two dimensions.
    periodic : bool or None
        Whether the image has no border. None: in one dimension it has none, in two it has.

    Raises
    ------
    AkpError
        For a bad number or name; where a class would be empty; above five million pairs.

    Notes
    -----
    Points are unordered and distinct, on all pixels. The authors' two-dimensional code draws coordinates
    without replacement, so that pixels on the diagonal never occur there; here they do. The pixels are
    sqrt(side / 2) bright in one dimension (mean square 1), side^2 / 2 in two (mean 1), as theirs.
    Cost: all pairs are listed once: side^(2 d) / 2.

    References
    ----------
    Tomasini et al. 2022 and the public code of its authors (scale_detection_1d, diffeo-sota).
    """

    side: int
    scale: float
    gap: float = 0.0
    dims: int = 1
    rule: Rule = "distance"
    norm: Norm = "euclidean"
    periodic: bool | None = None

    def __post_init__(self) -> None:
        whole_number("side", self.side, 4)
        whole_number("dims", self.dims, 1, 2)
        if self.rule not in get_args(Rule):
            raise unknown_name("rule", self.rule, get_args(Rule))
        if self.norm not in get_args(Norm):
            raise unknown_name("norm", self.norm, get_args(Norm))
        number("scale", self.scale, 1)
        number("gap", self.gap, 0)
        if not isinstance(self.periodic, bool | None):
            raise expected("periodic as True, False or None", repr(self.periodic))
        sites = self.side**self.dims
        if sites * (sites - 1) // 2 > MOST_PAIRS:
            raise expected(f"a side with at most {MOST_PAIRS:,} pairs of pixels", f"side {self.side}")
        if self.rule == "block" and (self.scale % 1 or self.side % self.scale or self.scale >= self.side):
            raise expected(f"blocks of a scale that divides the side {self.side}", f"{self.scale:g}")
        if self.rule == "block" and self.gap:
            raise expected("gap 0 for blocks, which leave no pair out", f"{self.gap:g}")
        near = int((self.all_pairs.labels > 0).sum())
        if not 0 < near < len(self.all_pairs.labels):
            raise AkpError(
                f"expected pairs of both classes, got {near} near and {len(self.all_pairs.labels) - near} "
                f"far; choose another scale or gap for side {self.side}"
            )

    @property
    def wraps(self) -> bool:
        """Whether the image has no border."""
        return self.dims == 1 if self.periodic is None else self.periodic

    @property
    def pixel(self) -> float:
        """Brightness of an active pixel."""
        return (self.side / 2) ** 0.5 if self.dims == 1 else self.side**2 / 2

    def distance(self, places: Int64[Tensor, "n 2 d"]) -> Float32[Tensor, " n"]:
        """Distance of the two points of each pair, across the border where there is none."""
        apart = (places[:, 0] - places[:, 1]).abs()
        if self.wraps:
            apart = torch.minimum(apart, self.side - apart)
        return apart.amax(1).float() if self.norm == "max" else apart.square().sum(1).float().sqrt()

    def together(self, places: Int64[Tensor, "n 2 d"]) -> Bool[Tensor, " n"]:
        """Whether both points of each pair lie in one block of side xi."""
        block = places // int(self.scale)
        return (block[:, 0] == block[:, 1]).all(1)

    @cached_property
    def all_pairs(self) -> Pairs:
        """Every pair that has a label, in a fixed order."""
        sites = torch.arange(self.side**self.dims)
        first, second = torch.triu_indices(len(sites), len(sites), 1)
        both = torch.stack([sites[first], sites[second]], 1)
        places = both[..., None] if self.dims == 1 else torch.stack([both // self.side, both % self.side], -1)
        if self.rule == "block":
            return Pairs(places, 2 * self.together(places).float() - 1)
        reach, apart = (self.gap if self.dims == 1 else self.gap / 2), self.distance(places)
        near, far = apart < self.scale - reach, apart >= self.scale + reach
        kept = near | far
        return Pairs(places[kept], 2 * near[kept].float() - 1)

    def draw(self, train: int, test: int, generator: torch.Generator) -> tuple[Pairs, Pairs]:
        """Draw disjoint, balanced sets of pairs, shuffled.

        Parameters
        ----------
        train, test : int
            Pairs in each set; even, at least 2.
        generator : torch.Generator

        Returns
        -------
        train, test : Pairs

        Raises
        ------
        AkpError
            For an odd number, or more pairs than a class holds.
        """
        check_generator(generator)
        sizes = [whole_number(name, size, 2) for name, size in (("train", train), ("test", test))]
        if sizes[0] % 2 or sizes[1] % 2:
            raise expected("even numbers of train and test pairs, half of each class", f"{train} and {test}")
        labels = self.all_pairs.labels
        classes = [torch.nonzero(labels == sign).squeeze(1) for sign in (1, -1)]
        most = 2 * min(map(len, classes))
        if sum(sizes) > most:
            raise expected(f"at most {most} train and test pairs together", str(sum(sizes)))
        classes = [c[torch.randperm(len(c), generator=generator)] for c in classes]
        found, start = [], 0
        for size in sizes:
            chosen = torch.cat([c[start : start + size // 2] for c in classes])
            chosen = chosen[torch.randperm(size, generator=generator)]
            found.append(Pairs(self.all_pairs.places[chosen], labels[chosen]))
            start += size // 2
        return found[0], found[1]


def check_generator(generator: torch.Generator) -> None:
    """Refuse anything but an explicit generator."""
    if not isinstance(generator, torch.Generator):
        raise expected(
            "a torch.Generator", type(generator).__name__, "use akp_core.seeds.generator(seed, name)"
        )
