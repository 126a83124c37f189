"""Whom did stressed networks return to: their own twins, the family of happy ones, or neither?

Tests place each family at the end of training (`akp_core.adaptation.places`); their p-values are
corrected for the number of families, tap by tap (Benjamini and Hochberg 1995), and one rule makes a verdict
of them:

- *own twin*: shown to be inside the family, and less than half as far from the own twin as from the others;
- *family*: shown to be inside, and more than half as far from the own twin as from the others;
- *inside*: shown to be inside, but not with whom;
- *neither*: not shown to be inside, and shown to be outside;
- *undecided*: none of these can be shown; *not testable*: fewer than 4 pairs of twins have a representation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from akp_core.adaptation.courses import courses, epochs, named
from akp_core.adaptation.places import place, whereabouts
from akp_core.adaptation.seen import Seen
from akp_core.adaptation.twins import apart, mean_with_interval
from akp_core.dispersion.false_discoveries import q_values
from akp_core.errors import unknown_name
from akp_core.outcome import Population

OWN_TWIN, FAMILY, INSIDE, NEITHER, UNDECIDED, NOT_TESTABLE = (
    "own twin",
    "family",
    "inside",
    "neither",
    "undecided",
    "not testable",
)
STATES = (OWN_TWIN, FAMILY, INSIDE, NEITHER, UNDECIDED, NOT_TESTABLE)
"""What `end_states` may say of a family, in this order."""
_TESTS = ("inside", "twin", "strangers", "outside")


def chosen_taps(population: Population, taps: Sequence[str] | None) -> tuple[str, ...]:
    """The taps asked for, or all; one that the study does not have is refused."""
    known = population.study.taps or ()
    for tap in taps or ():
        if tap not in known:
            raise unknown_name("tap", tap, known)
    return tuple(taps) if taps else known


def end_states(
    population: Population,
    *,
    taps: Sequence[str] | None = None,
    margin: float = 0.1,
    level: float = 0.05,
    permutations: int = 9999,
    seed: int = 0,
) -> pd.DataFrame:
    """Place every stressed family at the end of training, tap by tap.

    Parameters
    ----------
    population : Population
    taps : sequence of str or None
        None means all.
    margin, level, permutations
        As for `akp_core.adaptation.places.place`; the level decides the verdicts.
    seed : int

    Returns
    -------
    DataFrame
        One row a family and tap: ``family``, ``stress``, ``kind``, ``onset``, ``dose``, ``tap``, the fields
        of `Place`, a ``q_...`` for each ``p_...`` (corrected over the families of the tap) and
        ``state``, one of `STATES`.

    Raises
    ------
    AkpError
        For an unknown tap, a study without a stress, or arguments out of range.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for tap in chosen_taps(population, taps):
        seen = Seen(population, tap)
        for course in courses(population):
            found = place(
                seen.pairs(course),
                margin=margin,
                level=level,
                permutations=permutations,
                rng=rng,
            )
            rows.append(named(course) | {"tap": tap} | asdict(found))
    table = pd.DataFrame(rows)
    for name in (*_TESTS, "near"):
        table[f"q_{name}"] = q_values(table[f"p_{name}"], table["tap"])
    table["state"] = [
        state(inside, twin, strangers, outside, level)
        for inside, twin, strangers, outside in zip(*(table[f"q_{name}"] for name in _TESTS), strict=True)
    ]
    return table


def state(q_inside: float, q_twin: float, q_strangers: float, q_outside: float, level: float) -> str:
    """The verdict on one family from its corrected p-values: the rule of this module's head."""
    if np.isnan(q_inside):
        return NOT_TESTABLE
    if q_inside < level:
        return OWN_TWIN if q_twin < level else FAMILY if q_strangers < level else INSIDE
    return NEITHER if q_outside < level else UNDECIDED


def timeline(
    population: Population, *, taps: Sequence[str] | None = None, level: float = 0.05
) -> pd.DataFrame:
    """Follow every stressed family from its onset to the end of training, tap by tap and look by look.

    Parameters
    ----------
    population : Population
    taps : sequence of str or None
        None means all.
    level : float

    Returns
    -------
    DataFrame
        One row a family, tap and look: ``family``, ``stress``, ``kind``, ``onset``, ``dose``, ``tap``,
        ``step``, ``epoch``, ``since`` (epochs since a pulse ended or a press set in; negative during a
        pulse), and the fields of `Place` but its p-values. ``apart`` is the mean distance to the own twin
        over that of two happy networks at the same step, with ``apart_low`` and ``apart_high`` (Student's
        t).

    Notes
    -----
    Cost: reads every fingerprint once.
    """
    rows = []
    everyone = courses(population)
    for tap in chosen_taps(population, taps):
        for step in population.looks():
            now = [course for course in everyone if step >= course.onset]
            if not now:
                continue
            seen = Seen(population, tap, step)
            for course in now:
                pairs = seen.pairs(course)
                when = {"tap": tap, "step": step, "epoch": epochs(population, step)}
                when["since"] = epochs(population, step - course.since)
                found = asdict(whereabouts(pairs, level=level))
                mean = mean_with_interval(apart(pairs), level)
                found = {k: v for k, v in found.items() if not k.startswith(("p_", "smallest"))}
                rows.append(
                    named(course)
                    | when
                    | found
                    | dict(zip(("apart", "apart_low", "apart_high"), mean, strict=True))
                )
    return pd.DataFrame(rows)
