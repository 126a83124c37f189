"""How trained networks bear a small deformation, against noise of the same size: D_f, G_f and R_f of each.

::

    population = run(study)
    stability(population)                                                  # every network, every tap
    stability(population, families=["control"], steps=population.kept())   # in the course of training
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from akp_core import deformation
from akp_core.datasets import Dataset
from akp_core.errors import expected, unknown_name, whole_number
from akp_core.networks import representations
from akp_core.outcome import Population
from akp_core.probes import standardise
from akp_core.seeds import derive, generator

QUANTITIES = ("D", "G", "R")
LEAST_RESAMPLES = 99
Change = Callable[[nn.Module], nn.Module]
Seen = tuple[Float[Tensor, "n p"], Sequence[Float[Tensor, "n p"]], Sequence[Float[Tensor, "n p"]]]


@dataclass(frozen=True, eq=False)
class Trial:
    """The images that every network is tried on: as they are, deformed, and with noise of the same size.

    Attributes
    ----------
    clean : (n, c, h, w) float
        Standardised as networks expect them.
    deformed, noisy : (k, n, c, h, w) float
        k deformations of each image, each with its own field, and k noises of the same norms.
    groups : (n,) int64
        Where each image comes from, such as its patient.
    folded : int
        How many of the k n fields fold the image over itself; such an image is bent, not only moved.
    """

    clean: Float[Tensor, "n c h w"]
    deformed: Float[Tensor, "k n c h w"]
    noisy: Float[Tensor, "k n c h w"]
    groups: Int64[Tensor, " n"]
    folded: int

    def seen(self, model: nn.Module, taps: Sequence[str]) -> dict[str, Seen]:
        """What a network makes of clean, deformed and noisy images at each tap, a row an image."""
        k, n = self.deformed.shape[:2]
        everything = torch.cat([self.clean, self.deformed.flatten(0, 1), self.noisy.flatten(0, 1)])
        found: dict[str, Seen] = {}
        for tap, x in representations(model, everything, taps).items():
            clean, *changed = torch.split(x, n)
            found[tap] = (clean, changed[:k], changed[k:])
        return found


def trial(
    data: Dataset,
    *,
    images: int | None = 128,
    cutoff: int = 3,
    displacement: float | None = None,
    draws: int = 1,
    match: Literal["each", "mean"] = "each",
    seed: int = 0,
) -> Trial:
    """Draw the deformed and the noisy test images on which networks are compared.

    Parameters
    ----------
    data : Dataset
    images : int or None
        How many, evenly spaced through the test images, so that every patient is heard; at least 4. None,
        or more than there are: all.
    cutoff : int
        Highest frequency of the fields (`akp_core.deformation.fields`).
    displacement : float or None
        Typical displacement in pixels; None means 1.
    draws : int
        Fields, and noises, for each image.
    match : {"each", "mean"}
        Whether each noise has the norm of its own image's deformation, or all have the mean of them.
    seed : int
        Other seeds draw other fields and other noise; the images stay.

    Returns
    -------
    Trial

    Raises
    ------
    AkpError
        As `akp_core.deformation.deform`; for too few images, or counts out of range.

    Notes
    -----
    Images are standardised first and deformed then, and noise is matched to what networks see. Bending
    commutes with standardising, as every new pixel is a weighted mean of old ones with weights of sum 1.
    """
    test, draws = data.test.images, whole_number("draws", draws, 1)
    wanted = len(test) if images is None else min(whole_number("images", images, 4), len(test))
    if wanted < 4:
        raise expected("at least 4 test images", str(wanted))
    whole_number("seed", seed, 0)
    spread = torch.linspace(0, len(test) - 1, wanted).round().long()
    clean = standardise(data, test[spread]).contiguous()
    repeated = clean.repeat(draws, 1, 1, 1)
    bent = deformation.deform(
        repeated, cutoff=cutoff, displacement=displacement, generator=generator(seed, "stability", "fields")
    )
    noisy = deformation.matched_noise(
        repeated, bent.images, generator=generator(seed, "stability", "noise"), match=match
    )
    shape = (draws, *clean.shape)
    groups = data.test.groups[spread]
    return Trial(clean, bent.images.reshape(shape), noisy.reshape(shape), groups, int(bent.folded.sum()))


def stability(
    population: Population,
    *,
    taps: Sequence[str] | None = None,
    steps: Iterable[int] | None = None,
    families: Sequence[str] | None = None,
    images: int | None = 128,
    cutoff: int = 3,
    displacement: float | None = None,
    draws: int = 1,
    how: Literal["mean", "median"] = "mean",
    match: Literal["each", "mean"] = "each",
    resamples: int = 999,
    level: float = 0.05,
    seed: int = 0,
    change: Change | None = None,
) -> pd.DataFrame:
    r"""D_f, G_f and R_f of every network at every tap, on one set of deformed and noisy test images.

    .. math:: D_f = \frac{\langle \lVert f(\tau x) - f(x) \rVert^2 \rangle}
                         {\langle \lVert f(x) - f(x') \rVert^2 \rangle}, \qquad
              G_f = \frac{\langle \lVert f(x + \eta) - f(x) \rVert^2 \rangle}
                         {\langle \lVert f(x) - f(x') \rVert^2 \rangle}, \qquad R_f = \frac{D_f}{G_f}

    Parameters
    ----------
    population : Population
    taps : sequence of str or None
        None means those of the study.
    steps : iterable of int or None
        Steps at which the weights are kept (`Population.kept`), 0 for the untrained networks. None means
        the end of training.
    families : sequence of str or None
        None means all.
    images, cutoff, displacement, draws, match, seed
        As for `trial`. The same images, fields and noises for every network, tap and step, so that
        differences between networks are paired.
    how : {"mean", "median"}
        Over images (`akp_core.deformation.stability`).
    resamples : int
        Of the images, whole patients at once, for the intervals; 0 for none. Else at least 99.
    level : float
        Intervals over images have confidence 1 - level, in (0, 0.5].
    change : callable or None
        Applied to each network, which is a fresh copy, before it is measured.

    Returns
    -------
    DataFrame
        One row a network, step and tap, in the order of ``population.rows``: ``family``, ``member``,
        ``step``, ``epoch``, ``tap``; ``D``, ``G``, ``R``, each positive and with ``_low`` and ``_high``;
        ``images``; ``why``, empty, or why the row has no numbers: that some activation is not finite (a
        network that diverged), or all are the same (one that collapsed).

    Raises
    ------
    AkpError
        As `trial` and `akp_core.deformation.stability`; for an unknown family or tap, or a step at which
        weights were not kept.

    Notes
    -----
    Invariances: R_f is unchanged when a representation is moved, rotated or scaled.

    Cost: forward passes of (2 draws + 1) n images a network and step, and the intervals.

    References
    ----------
    Petrini et al. 2021, arXiv:2105.02468 (R_f); Tomasini et al. 2022, arXiv:2210.01506 (D and G by layer).
    """
    names, wanted = chosen(population, taps, families)
    at = [population.study.steps] if steps is None else [whole_number("step", s, 0) for s in steps]
    whole_number("resamples", resamples, 0)
    if not at:
        raise expected("at least one step", "none", "leave out steps for the end of training")
    shown = trial(
        population.study.data,
        images=images,
        cutoff=cutoff,
        displacement=displacement,
        draws=draws,
        match=match,
        seed=seed,
    )
    rows = []
    for family, member, step, model in networks(population, wanted, at):
        altered = model if change is None else change(model)
        place = {"family": family, "member": member, "step": step}
        for row in measured(altered, names, shown, how=how, resamples=resamples, level=level, seed=seed):
            rows.append(place | row)
    table = pd.DataFrame(rows)
    epochs = table["step"] * (population.study.recipe.epochs / population.study.steps)
    table.insert(3, "epoch", epochs)
    return table


def measured(
    model: nn.Module,
    taps: Sequence[str],
    shown: Trial,
    *,
    how: Literal["mean", "median"] = "mean",
    resamples: int = 999,
    level: float = 0.05,
    seed: int = 0,
) -> Iterator[dict[str, object]]:
    """D_f, G_f and R_f of one network at each tap, as the columns of `stability`.

    Parameters
    ----------
    model : nn.Module
        In evaluation mode; any whose parts have names.
    taps : sequence of str
    shown : Trial
    how, resamples, level, seed
        As for `stability`.

    Yields
    ------
    dict
        A row for each tap, with NaN and a reason in ``why`` where there is no number.
    """
    groups = shown.groups if bool((shown.groups != shown.groups[0]).any()) else None
    for tap, (clean, bent, noisy) in shown.seen(model, taps).items():
        stream = torch.Generator().manual_seed(derive(seed, "stability", "resamples")) if resamples else None
        found = deformation.stability(
            clean,
            bent,
            noisy,
            how=how,
            groups=groups,
            level=level,
            generator=stream,
            draws=resamples or LEAST_RESAMPLES,
        )
        row: dict[str, object] = {"tap": tap}
        for name, estimate in zip(QUANTITIES, (found.d_f, found.g_f, found.r_f), strict=True):
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        yield row | {"images": len(clean), "why": found.why}


def chosen(
    population: Population, taps: Sequence[str] | None, families: Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The taps and the families that are asked for, or all of them."""
    known = [family.name for family in population.study.families]
    for what, given in (("families", families), ("taps", taps)):
        if isinstance(given, str) or (given is not None and not len(given)):
            raise expected(f"{what} as a list of at least one name", repr(given))
    wanted = list(known if families is None else families)
    for family in wanted:
        if family not in known:
            raise unknown_name("family", family, known)
    names = list((population.study.taps or ()) if taps is None else taps)
    for tap in names:
        if tap not in population.study.network.taps:
            raise unknown_name("tap", tap, population.study.network.taps)
    return names, wanted


def networks(
    population: Population, families: Sequence[str], steps: Sequence[int]
) -> Iterator[tuple[str, int, int, nn.Module]]:
    """Every network of some families at some steps, one after the other: family, member, step, network."""
    for family in families:
        for member in range(population.study.members):
            for step in steps:
                yield family, member, step, population.network(family, member, step=step)
