"""What each stress did, against when it struck and in what dose: the table behind the dose-response chart."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float64

from akp_core.adaptation.courses import Course, epochs, images_by_group, named, wrong_over_time
from akp_core.adaptation.equal_time import by_onset, equal_time
from akp_core.adaptation.resampling import NetworksAndPatients
from akp_core.adaptation.seen import Seen
from akp_core.adaptation.twins import apart, complete, mean_with_interval
from akp_core.dispersion import anna_karenina_test
from akp_core.dispersion.anna_karenina import LEAST_MEMBERS
from akp_core.dispersion.inference import check_level
from akp_core.outcome import Population
from akp_core.study import CONTROL


def dose_response(population: Population, *, tap: str, level: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """Tabulate what each stress did to error and representation, against its onset and dose.

    Parameters
    ----------
    population : Population
    tap : str
        Where the distance to the twin is taken.
    level, seed
        Of the intervals.

    Returns
    -------
    DataFrame
        One row a family, ``quantity`` and ``when``: ``stress``, ``dose``, ``kind``, ``onset``, ``family``,
        ``lag`` (epochs after the pulse ended or the press set in), ``value``, ``low``, ``high``. Quantities:
        ``error`` above the twin's (over networks and patients); ``beyond lost time``, above the twin's of as
        many steps earlier as the stress had lasted, for pulses; ``apart``, the distance to the twin in units
        of that between two happy networks (over networks); ``dispersion``, stressed over control (jackknife;
        NaN for fewer than 4 pairs). ``when`` is *end of training* or *equal time*.
    """
    rng, steps = np.random.default_rng(seed), population.looks()
    seen: dict[int, Seen] = {}
    wrong, images = wrong_over_time(population, steps), images_by_group(population)
    draws = NetworksAndPatients(population.study.members, images, check_level(level), rng)
    rows = []
    for group in by_onset(population).values():
        equal = equal_time(population, group)
        for course, at in zip(group, equal.steps, strict=True):
            for when, step in (("end of training", population.study.steps), ("equal time", at)):
                base: dict[str, str | float] = named(course) | {"when": when}
                base["lag"] = epochs(population, step - course.since)
                if step not in seen:
                    seen[step] = Seen(population, tap, step)
                now = wrong[course.family][steps.index(step)]
                for quantity, twin in _twins(course, step, steps):
                    value, low, high = draws.mean(now - wrong[CONTROL][steps.index(twin)])
                    rows.append(base | {"quantity": quantity, "value": value, "low": low, "high": high})
                pairs = seen[step].pairs(course)
                value, low, high = mean_with_interval(apart(pairs), level)
                rows.append(base | {"quantity": "apart", "value": value, "low": low, "high": high})
                value, low, high = _spread(pairs, level, rng)
                rows.append(base | {"quantity": "dispersion", "value": value, "low": low, "high": high})
    return pd.DataFrame(rows)


def _spread(
    pairs: Float64[np.ndarray, "M M"], level: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Ratio of the dispersions of a stressed family and its twins, and its interval."""
    members = len(pairs) // 2
    if complete(pairs).sum() < LEAST_MEMBERS:
        return np.nan, np.nan, np.nan
    stressed, twin = np.arange(2 * members) >= members, np.tile(np.arange(members), 2)
    found = anna_karenina_test(pairs, stressed, paired=twin, permutations=1, level=level, rng=rng)
    low, high = np.exp(found.interval)
    return found.ratio, float(low), float(high)


def _twins(course: Course, step: int, steps: tuple[int, ...]) -> list[tuple[str, int]]:
    """The looks at the twin that a family is compared with: at the same step, and a pulse's length before."""
    earlier = step - (course.end - course.onset)
    near = min(steps, key=lambda s: abs(s - earlier))
    known = course.kind == "pulse" and abs(near - earlier) <= 1  # shares of training are rounded to steps
    return [("error", step), *([("beyond lost time", near)] if known else [])]
