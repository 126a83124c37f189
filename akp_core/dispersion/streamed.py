"""The Anna Karenina test of a population that is read batch by batch: no M x M matrix, time linear in M.

Both families are read twice: for their centroids (`akp_core.dispersion.centroid`), and for the distances to
them, which give every model's contribution.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from akp_core.dispersion.centroid import Centroid, Room, check_batch, those, unit_rows
from akp_core.dispersion.contributions import pseudo_values_about
from akp_core.dispersion.geometry import Array, check_resampling
from akp_core.dispersion.inference import AnnaKarenina, PerFamily, check_enough, check_level, infer
from akp_core.errors import expected

__all__ = ["Centroid", "streamed_test"]

Batches: TypeAlias = Array | Iterable[Array] | Callable[[], Iterable[Array]]

_BLOCK_ENTRIES = 1 << 22


def _read(family: Batches, name: str) -> Iterator[Array]:
    """The batches of a family, from the beginning."""
    if isinstance(family, np.ndarray | Tensor):
        if family.ndim != 2:
            raise expected(f"{name} fingerprints as (models, entries)", f"shape {tuple(family.shape)}")
        size = max(1, _BLOCK_ENTRIES // max(1, family.shape[1]))
        return (family[start : start + size] for start in range(0, len(family), size))
    batches = family() if callable(family) else family
    if not isinstance(batches, Iterable):
        raise expected(f"batches of {name} fingerprints", type(batches).__name__)
    if batches is family and isinstance(batches, Iterator):
        raise expected(
            f"{name} batches that can be read twice",
            f"a {type(family).__name__}, which is spent after one pass",
            "give a list, an array, or a function that returns a fresh iterator",
        )
    return iter(batches)


def _side_by_side(happy: Iterator[Array], unhappy: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Rows of two streams that belong together, whatever their batches."""
    sources: tuple[Iterator[Array], ...] = (happy, unhappy)
    rest: list[Array | None] = [None, None]
    while True:
        for side, source in enumerate(sources):
            while (held := rest[side]) is None or len(held) == 0:
                rest[side] = next(source, None)
                if (came := rest[side]) is None:
                    break
                check_batch(came, None)
        h, u = rest
        if h is None and u is None:
            return
        if h is None or u is None:
            raise expected(
                "as many unhappy as happy models, twins in the same order",
                f"more {'unhappy' if h is None else 'happy'} ones",
                "put a row of NaN where a twin is missing",
            )
        size = min(len(h), len(u))
        yield h[:size], u[:size]
        rest = [h[size:], u[size:]]


def _usable_rows(
    happy: Batches, unhappy: Batches, width: int | None, *, paired: bool
) -> Iterator[tuple[int, Tensor, int, int, Array]]:
    """Family, rows that enter, number excluded, number unmatched, batch: block by block."""
    rooms = (Room(), Room())
    if not paired:
        for side, (family, name) in enumerate(((happy, "happy"), (unhappy, "unhappy"))):
            for batch in _read(family, name):
                for rows, usable in unit_rows(batch, width, rooms[0]):
                    width = rows.shape[1]
                    yield side, those(rows, usable), int((~usable).sum()), 0, batch
        return
    for pair in _side_by_side(_read(happy, "happy"), _read(unhappy, "unhappy")):
        for halves in zip(*map(unit_rows, pair, (width, width), rooms), strict=True):
            width = halves[0][0].shape[1]
            both = halves[0][1].cpu() & halves[1][1].cpu()
            for side, (rows, usable) in enumerate(halves):
                gone = int((usable.cpu() & ~both).sum())
                yield side, those(rows, both.to(rows.device)), int((~usable).sum()), gone, pair[side]


def streamed_test(
    happy: Batches,
    unhappy: Batches,
    *,
    paired: bool = False,
    permutations: int = 9999,
    level: float = 0.05,
    rng: np.random.Generator,
) -> AnnaKarenina:
    r"""The Anna Karenina test of two families of any size, read twice, batch by batch.

    .. math:: \text{effect} = \tfrac12 \log \frac{V_u}{V_h}, \qquad V = \frac{1}{n-1} \sum_i |f_i - \bar f|^2

    Parameters
    ----------
    happy, unhappy : (n, k) array, or iterable of (b, k) arrays, or function returning such an iterable
        The fingerprints of each family, NumPy (a memory map, for instance) or torch, float32 or float64.
        They are read twice, so a generator will not do; a function that makes one will. A row of NaN marks
        a model without a representation; it is left out and counted.
    paired : bool
        Whether row i of the unhappy family is the stressed twin of row i of the happy one. A pair of which
        one has no representation is left out. The batches of the two families may differ in size.
    permutations, level, rng
        As for `anna_karenina_test`.

    Returns
    -------
    AnnaKarenina
        What `anna_karenina_test` gives for the chordal distances of these fingerprints, happy models in
        front; never NaN.

    Raises
    ------
    AkpError
        For batches that are not fingerprints, or cannot be read twice; fewer than 4 usable models in a
        family (or complete pairs); paired families of different length; an argument out of range.

    Notes
    -----
    It resolves more than the matrix does, where cosines hide distances below 1e-7: families may be as
    tight as the stored fingerprints distinguish. Invariances: as `anna_karenina_test`.

    Memory: a batch, a few vectors of k numbers, one number per model (permutations take their own share).
    Cost: two readings and :math:`10k` operations per model.

    References
    ----------
    Chan, Golub and LeVeque 1983 (updating a sum of squares); as `anna_karenina_test`.
    """
    permutations = check_resampling(permutations, rng)
    level = check_level(level)
    if not isinstance(paired, bool | np.bool_):
        raise expected("paired as True or False", repr(paired), "order the rows so that twins match")
    centroids = (Centroid(), Centroid())
    excluded, unmatched = [0, 0], [0, 0]
    for side, rows, missing, lonely, batch in _usable_rows(happy, unhappy, None, paired=paired):
        excluded[side] += missing
        unmatched[side] += lonely
        centroids[side].add_rows(rows, torch_came=isinstance(batch, Tensor))
    check_enough(
        PerFamily(*(centroid.members for centroid in centroids)),
        PerFamily(*(a + b for a, b in zip(excluded, unmatched, strict=True))),
    )
    squared: tuple[list[Float64[np.ndarray, " b"]], ...] = ([], [])
    width = len(centroids[0].mean)
    for side, rows, _, _, _ in _usable_rows(happy, unhappy, width, paired=paired):
        squared[side].append(centroids[side].squared(rows))
    away = [np.concatenate([np.empty(0), *parts]) for parts in squared]
    for name, centroid, found in zip(("happy", "unhappy"), centroids, away, strict=True):
        if len(found) != centroid.members:
            raise expected(
                f"{name} batches that give the same models on both passes",
                f"{centroid.members} usable, then {len(found)}",
                "give a list, an array, or a function that returns a fresh iterator",
            )
    return infer(
        pseudo_values_about(away[0]),
        pseudo_values_about(away[1]),
        excluded=PerFamily(*excluded),
        unmatched=PerFamily(*unmatched),
        paired=bool(paired),
        permutations=permutations,
        level=level,
        rng=rng,
    )
