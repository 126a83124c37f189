"""Families that met one stress at different times, looked at after equal time."""

from __future__ import annotations

from dataclasses import dataclass

from akp_core.adaptation.courses import Course, courses, nearest_look
from akp_core.outcome import Population

Groups = dict[tuple[str, float, str], list[Course]]


@dataclass(frozen=True)
class Equal:
    """Looks at which families of different onsets have had equal time.

    Attributes
    ----------
    steps : tuple of int
        One look for each course.
    lags : tuple of int
        Steps since the end of the pulse (the onset of the press) at that look; equal but for rounding.
    """

    steps: tuple[int, ...]
    lags: tuple[int, ...]


def equal_time(population: Population, group: list[Course]) -> Equal:
    """The looks nearest to the longest time after the stress that every family of a group has had."""
    steps, end = population.looks(), population.study.steps
    longest = min(end - course.since for course in group)
    found = tuple(nearest_look(steps, c.since + longest, after=c.since) for c in group)
    return Equal(found, tuple(step - c.since for step, c in zip(found, group, strict=True)))


def by_onset(population: Population) -> Groups:
    """The courses of each stress, dose and kind, in the order of their onsets."""
    groups: Groups = {}
    for course in courses(population):
        groups.setdefault((course.stress, course.dose, course.kind), []).append(course)
    return {key: sorted(group, key=lambda c: c.onset) for key, group in groups.items()}
