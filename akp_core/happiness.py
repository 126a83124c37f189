"""Who is happy: which of two families errs less on held-out images, beyond the luck of networks and patients.

Settled before any representation is looked at, on images that no representation is compared on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from akp_core.outcome import Population
from akp_core.study import CONTROL

RESAMPLES = 4999
Happier = Literal["control", "stressed", "neither"]


@dataclass(frozen=True)
class Difference:
    """How much more a stressed family errs than its unstressed twins.

    Attributes
    ----------
    stressed, control : float
        Mean test errors, in [0, 1].
    difference : float
        Stressed minus control.
    interval : tuple of float
    happier : {"control", "stressed", "neither"}
        The family with the lower error if the interval leaves out zero. ``neither`` means that the errors
        cannot be told apart, not that they are equal.
    """

    stressed: float
    control: float
    difference: float
    interval: tuple[float, float]
    happier: Happier


def wrong_by_group(population: Population) -> dict[str, Float64[np.ndarray, "m g"]]:
    """Count every network's wrong test images in every group (a patient, a slide), family by family."""
    test, members = population.study.data.test, population.study.members
    groups, where = np.unique(test.groups.numpy(), return_inverse=True)
    wrong = (population.predictions("test").numpy() != test.labels.numpy()) @ np.eye(len(groups))[where]
    names = [family.name for family in population.study.families]
    return {name: wrong[k * members : (k + 1) * members] for k, name in enumerate(names)}


def compare(
    stressed: Float64[np.ndarray, "m g"],
    control: Float64[np.ndarray, "m g"],
    images: Float64[np.ndarray, " g"],
    *,
    level: float = 0.05,
    rng: np.random.Generator,
) -> Difference:
    """Compare the errors of two families of twins, with networks and groups both resampled.

    The percentile interval of the two-way bootstrap (Owen 2007, *The pigeonhole bootstrap*), which is
    conservative: the claim is about other networks and other patients, so both count as drawn. A stressed
    network is resampled together with its twin.

    Parameters
    ----------
    stressed, control : (m, g) float
        Wrong images of member m in group g; row i of both are twins.
    images : (g,) float
        Test images of each group.
    level : float
        The interval holds with confidence ``1 - level``.
    rng : numpy.random.Generator

    Returns
    -------
    Difference

    Notes
    -----
    Cost: `RESAMPLES` x m x g multiplications.
    """
    members, groups = stressed.shape
    more = stressed - control
    networks = rng.multinomial(members, np.full(members, 1 / members), size=RESAMPLES)
    patients = rng.multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES)
    resampled = ((networks @ more) * patients).sum(axis=1) / (members * (patients @ images))
    low, high = (float(q) for q in np.quantile(resampled, [level / 2, 1 - level / 2]))
    total = members * images.sum()
    happier: Happier = "control" if low > 0 else "stressed" if high < 0 else "neither"
    means = [float(counts.sum() / total) for counts in (stressed, control, more)]
    return Difference(means[0], means[1], means[2], (low, high), happier)


def errors(population: Population, *, level: float = 0.05, rng: np.random.Generator) -> dict[str, Difference]:
    """Compare every stressed family of a population with the control."""
    wrong = wrong_by_group(population)
    images = np.unique(population.study.data.test.groups.numpy(), return_counts=True)[1].astype(float)
    return {
        name: compare(counts, wrong[CONTROL], images, level=level, rng=rng)
        for name, counts in wrong.items()
        if name != CONTROL
    }
