"""Who is happy: which of two families generalises better, beyond the luck of networks and patients.

Settled before any representation is looked at, on images that no representation is compared on. There are
three definitions: by test error, by the gap between test and training error, and by test loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch.nn.functional import cross_entropy

from akp_core.datasets import Split
from akp_core.dispersion.expanded import expanded_ends
from akp_core.dispersion.inference import check_level
from akp_core.errors import unknown_name
from akp_core.outcome import Population
from akp_core.probes import evaluated, standardise
from akp_core.study import CONTROL

BY = {"error": "test error", "gap": "generalisation gap", "loss": "test loss"}
"""What a family is happy by, and how to call it."""

RESAMPLES = 4999
Groups = tuple[Float64[np.ndarray, "m g"], Float64[np.ndarray, "m g"], Float64[np.ndarray, " g"]]
"""Wrong images of a stressed family, of its twins, and the images of each group."""
Happier = Literal["control", "stressed", "neither"]


@dataclass(frozen=True)
class Difference:
    """How much worse a stressed family generalises than its unstressed twins.

    Attributes
    ----------
    stressed, control : float
        Means of what happiness is defined by: test errors in [0, 1], gaps in [-1, 1], or losses from 0.
    difference : float
        Stressed minus control.
    interval : tuple of float
    happier : {"control", "stressed", "neither"}
        The family with the lower mean if the interval leaves out zero. ``neither`` means that the two
        cannot be told apart, not that they are equal.
    """

    stressed: float
    control: float
    difference: float
    interval: tuple[float, float]
    happier: Happier


def _grouped(split: Split) -> tuple[Float64[np.ndarray, " g"], Int64[np.ndarray, " n"]]:
    """Images of each group, and the number of each image's group."""
    _, where, images = np.unique(split.groups.numpy(), return_inverse=True, return_counts=True)
    return images.astype(float), where


def _by_family(
    population: Population, values: Float64[np.ndarray, "m n"], where: Int64[np.ndarray, " n"]
) -> dict[str, Float64[np.ndarray, "m g"]]:
    """Sums over the images of each group, family by family."""
    members = population.study.members
    sums = values @ np.eye(int(where.max()) + 1)[where]
    names = [family.name for family in population.study.families]
    return {name: sums[k * members : (k + 1) * members] for k, name in enumerate(names)}


def wrong_by_group(population: Population, split: str = "test") -> dict[str, Float64[np.ndarray, "m g"]]:
    """Count every network's wrong images in every group (a patient, a slide), family by family."""
    part = evaluated(population.study.data, split)
    wrong = population.predictions(split).numpy() != part.labels.numpy()
    return _by_family(population, wrong.astype(float), _grouped(part)[1])


def loss_by_group(population: Population) -> dict[str, Float64[np.ndarray, "m g"]]:
    """Sum every network's cross-entropy over the test images of every group, family by family.

    An image on which a network has no finite loss, since it diverged, counts as much as the worst loss that
    any other network of the population has there, and at least as much as not knowing: log(classes).

    Notes
    -----
    Cost: every network is rebuilt and goes through the test images once.
    """
    data = population.study.data
    images, labels = standardise(data, data.test.images), data.test.labels
    rows = []
    for family, member in population.rows:
        model = population.network(family, member)
        with torch.no_grad():
            logits = torch.cat([model(part) for part in torch.split(images, 256)]).double()
        rows.append(cross_entropy(logits, labels, reduction="none"))
    losses = torch.stack(rows)
    bad = ~losses.isfinite()
    worst = losses.masked_fill(bad, 0.0).amax(dim=0).clamp(min=float(np.log(data.classes)))
    return _by_family(population, torch.where(bad, worst, losses).numpy(), _grouped(data.test)[1])


def compare(
    stressed: Float64[np.ndarray, "m g"],
    control: Float64[np.ndarray, "m g"],
    images: Float64[np.ndarray, " g"],
    *,
    less: Groups | None = None,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Difference:
    """Compare the errors of two families of twins, with networks and groups both resampled.

    The percentile interval of the two-way bootstrap (Owen 2007, *The pigeonhole bootstrap*): the claim is
    about other networks and other patients, so both count as drawn. A stressed network is resampled
    together with its twin.

    Parameters
    ----------
    stressed, control : (m, g) float
        Wrong images of member m in group g, or the sum of another badness over them; row i of both are
        twins.
    images : (g,) float
        Test images of each group.
    less : tuple of three arrays, optional
        The same three of the training images, for the gap: their share is subtracted. Their groups are
        drawn apart from the test groups, the networks are the same draw.
    level : float
        The interval holds with confidence ``1 - level``.
    rng : numpy.random.Generator

    Returns
    -------
    Difference

    Notes
    -----
    Cautious where chance errors of single images dominate (Owen). Where networks dominate and are few the
    plain percentiles are not: of differences that are 0 on average, 13 to 17 % were called one with 4
    networks and 5 to 10 % with 10. So the ends are widened (`akp_core.dispersion.expanded.expanded_tail`),
    which gives 2 to 5.5 % with 10 or 12.

    Cost: `RESAMPLES` x m x g multiplications.
    """
    level, members = check_level(level), len(stressed)
    networks = rng.multinomial(members, np.full(members, 1 / members), size=RESAMPLES)
    means, resampled = _shares((stressed, control, images), networks, rng)
    if less is not None:
        fitted, drawn = _shares(less, networks, rng)
        means, resampled = means - fitted, resampled - drawn
    low, high = (float(end) for end in expanded_ends(resampled, members, level))
    happier: Happier = "control" if low > 0 else "stressed" if high < 0 else "neither"
    return Difference(float(means[0]), float(means[1]), float(means[2]), (low, high), happier)


def _shares(
    counts: Groups, networks: Int64[np.ndarray, "r m"], rng: np.random.Generator
) -> tuple[Float64[np.ndarray, " 3"], Float64[np.ndarray, " r"]]:
    """Means an image of stressed, control and their difference; and the difference with groups redrawn."""
    stressed, control, images = counts
    members, groups = stressed.shape
    more = stressed - control
    patients = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    resampled = ((networks @ more) * patients).sum(axis=1) / (members * (patients @ images))
    total = members * images.sum()
    return np.array([c.sum() / total for c in (stressed, control, more)]), resampled


def errors(
    population: Population, *, by: str = "error", level: float = 0.05, rng: np.random.Generator
) -> dict[str, Difference]:
    """Compare every stressed family of a population with the control.

    Parameters
    ----------
    population : Population
    by : {"error", "gap", "loss"}
        What happiness is: a low test error, a low test less training error, or a low test loss.
    level, rng
        As for `compare`.

    Raises
    ------
    AkpError
        For an unknown definition.
    """
    if by not in BY:
        raise unknown_name("definition of happiness", by, BY)
    bad = loss_by_group(population) if by == "loss" else wrong_by_group(population)
    fitted = wrong_by_group(population, "train") if by == "gap" else None
    data = population.study.data
    images, fit_images = (_grouped(evaluated(data, split))[0] for split in ("test", "train"))
    return {
        name: compare(
            counts,
            bad[CONTROL],
            images,
            less=None if fitted is None else (fitted[name], fitted[CONTROL], fit_images),
            level=level,
            rng=rng,
        )
        for name, counts in bad.items()
        if name != CONTROL
    }
