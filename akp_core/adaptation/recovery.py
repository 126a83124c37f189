"""Did the error recover, and how fast did error and representation come back?

*Resistance* is how little a stress displaces, *resilience* how fast the displacement goes (Pimm 1984). Both
are read beside the twin at the same step: the displacement of the error is a network's error less its
twin's, that of the representation its distance to its twin in units of the distance between two happy
networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float64

from akp_core.adaptation.courses import (
    Course,
    courses,
    epochs,
    images_by_group,
    named,
    nearest_look,
    wrong_over_time,
)
from akp_core.adaptation.half_life import half_life
from akp_core.adaptation.places import check_margin
from akp_core.adaptation.resampling import NetworksAndPatients
from akp_core.adaptation.seen import Seen
from akp_core.adaptation.states import chosen_taps
from akp_core.adaptation.twins import apart
from akp_core.dispersion.inference import check_level
from akp_core.outcome import Population
from akp_core.study import CONTROL

RECOVERED, WORSE, UNDECIDED = "recovered", "worse", "undecided"
ERROR = "test error"


def error_curves(population: Population, *, level: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Follow how much more each stressed family errs than its twins, look by look.

    Returns
    -------
    DataFrame
        One row a family and look from its onset on: the columns that name the family, ``step``, ``epoch``,
        ``since``, ``error``, ``twin_error``, ``excess`` and its interval ``low`` to ``high`` over networks
        and patients (`NetworksAndPatients`), all as shares in [-1, 1].
    """
    rng, steps = np.random.default_rng(seed), population.looks()
    wrong, images = wrong_over_time(population, steps), images_by_group(population)
    draws = NetworksAndPatients(population.study.members, images, check_level(level), rng)
    total, rows = population.study.members * images.sum(), []
    for course in courses(population):
        for k, step in enumerate(steps):
            if step < course.onset:
                continue
            now, twin = wrong[course.family][k], wrong[CONTROL][k]
            excess, low, high = draws.mean(now - twin)
            rows.append(
                named(course)
                | {"step": step, "epoch": epochs(population, step)}
                | {"since": epochs(population, step - course.since)}
                | {"error": float(now.sum() / total), "twin_error": float(twin.sum() / total)}
                | {"excess": excess, "low": low, "high": high}
            )
    return pd.DataFrame(rows)


def recoveries(
    population: Population,
    curves: pd.DataFrame,
    *,
    taps: Sequence[str] | None = None,
    error_margin: float = 0.02,
    level: float = 0.05,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Tabulate resistance and resilience of every pulsed family, in error and in representation.

    .. math:: \text{recovered}(\tau) = 1 - \bar D(\tau) / \bar D(0)

    Parameters
    ----------
    population : Population
    curves : DataFrame
        From `error_curves`.
    taps : sequence of str or None
        None means all.
    error_margin : float
        The error has recovered if the whole interval of its excess lies below this.
    level, seed
        Of the half-lives' intervals.

    Returns
    -------
    DataFrame
        One row a pulsed family and ``what`` (test error, or a tap): ``displaced`` at the end of the pulse
        (shares of images, or units of the happy distance), ``left`` at the end of training, ``recovered``
        (share; NaN where nothing was displaced), ``half_life``, ``half_low``, ``half_high`` and ``watched``
        in epochs, and ``return``, the state of `akp_core.adaptation.half_life.HalfLife`. For the error also
        ``outcome``: *recovered* (within the margin), *worse* (the interval lies above zero, and not within
        the margin) or *undecided*. A press is never over, so it has no row.

    Notes
    -----
    The end of a pulse is the first look at or after it. The representation has ``displaced`` above zero
    unless every network is its twin, as a distance is never negative.
    """
    check_margin(error_margin)
    level, rng, steps = check_level(level), np.random.default_rng(seed), population.looks()
    pulsed = [course for course in courses(population) if course.kind == "pulse"]
    wrong, images = wrong_over_time(population, steps), float(images_by_group(population).sum())
    ends = curves.sort_values("step").groupby("family").last()
    rows = []
    for course in pulsed:
        after = _after(course, steps)
        excess = (wrong[course.family] - wrong[CONTROL]).sum(axis=2).T / images
        displaced = excess[:, [steps.index(step) for step in after]]
        row = _row(population, course, ERROR, displaced, after, level, rng)
        low, high = (float(ends[column][course.family]) for column in ("low", "high"))
        rows.append(row | {"outcome": _outcome(low, high, error_margin)})
    for tap in chosen_taps(population, taps):
        seen = {
            step: Seen(population, tap, step)
            for step in sorted({step for course in pulsed for step in _after(course, steps)})
        }
        for course in pulsed:
            after = _after(course, steps)
            displaced = np.array([apart(seen[step].pairs(course)) for step in after]).T
            rows.append(_row(population, course, tap, displaced, after, level, rng) | {"outcome": ""})
    return pd.DataFrame(rows)


def _after(course: Course, steps: tuple[int, ...]) -> tuple[int, ...]:
    """The looks from the end of a pulse on."""
    first = nearest_look(steps, course.end, after=course.end)
    return tuple(step for step in steps if step >= first)


def _outcome(low: float, high: float, margin: float) -> str:
    if high < margin:
        return RECOVERED
    return WORSE if low > 0 else UNDECIDED


def _row(
    population: Population,
    course: Course,
    what: str,
    displaced: Float64[np.ndarray, "m l"],
    after: tuple[int, ...],
    level: float,
    rng: np.random.Generator,
) -> dict[str, str | float]:
    times = np.array([epochs(population, step - after[0]) for step in after])
    whole = displaced[~np.isnan(displaced).any(axis=1)]
    first, last = (float(whole[:, k].mean()) if len(whole) else np.nan for k in (0, -1))
    found = half_life(displaced, times, level=level, rng=rng)
    return named(course) | {
        "what": what,
        "networks": len(whole),
        "displaced": first,
        "left": last,
        "recovered": 1 - last / first if first > 0 and found.state != "nothing to recover" else np.nan,
        "half_life": found.half_life,
        "half_low": found.low,
        "half_high": found.high,
        "watched": found.watched,
        "return": found.state,
    }
