"""When each family was stressed, when it was looked at, and what it got wrong each time.

A *press* is a stress that lasts to the end of training, a *pulse* one that is undone before (Bender, Case and
Gilpin 1984). Time after a stress counts from the end of a pulse and from the onset of a press, so that
families which were stressed at different times can be compared after equal time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64

from akp_core.errors import AkpError
from akp_core.outcome import Population
from akp_core.stress import step_of
from akp_core.study import Family

Kind = Literal["press", "pulse"]


@dataclass(frozen=True)
class Course:
    """The times of one stressed family, in steps.

    Attributes
    ----------
    family : str
        Name of the family.
    row : int
        Which family of the study it is; 0 is the control.
    stress : str
        What was done, without when and how long: ``tanh``, ``loss: hinge``.
    dose : float
        Share of the new function, or of the disturbance; 1 where there is none.
    kind : {"press", "pulse"}
    share : float
        The onset as a share of training.
    onset, end : int
        Steps at which it set in and was undone; the end of a press is that of training.
    since : int
        The step from which time is counted: the end of a pulse, the onset of a press.
    """

    family: str
    row: int
    stress: str
    dose: float
    kind: Kind
    share: float
    onset: int
    end: int

    @property
    def since(self) -> int:
        """The step from which time is counted."""
        return self.end if self.kind == "pulse" else self.onset


def courses(population: Population) -> tuple[Course, ...]:
    """The times of every stressed family, in the study's order.

    Raises
    ------
    AkpError
        If the study has no stress.
    """
    families = population.study.families
    found = tuple(_course(population, row, family) for row, family in enumerate(families) if family.stress)
    if not found:
        raise AkpError("expected a study with at least one stress, got only the control; add a stress")
    return found


def _course(population: Population, row: int, family: Family) -> Course:
    stress, steps = family.stress, population.study.steps
    assert stress is not None
    whole = replace(
        stress, onset=0.0, end=1.0, dose=1.0 if stress.kind in ("activation", "loss") else stress.dose
    )
    return Course(
        family=family.name,
        row=row,
        stress=whole.name,
        dose=1.0 if stress.dose is None else stress.dose,
        kind="press" if stress.end == 1 else "pulse",
        share=stress.onset,
        onset=step_of(stress.onset, steps),
        end=step_of(stress.end, steps),
    )


def nearest_look(steps: tuple[int, ...], wanted: int, *, after: int) -> int:
    """The look nearest to a step among those at or after another, the earlier one of two equally near."""
    return min((s for s in steps if s >= after), key=lambda s: (abs(s - wanted), s))


def wrong_over_time(
    population: Population, steps: tuple[int, ...]
) -> dict[str, Float64[np.ndarray, "l m g"]]:
    """Count every network's wrong test images in every group (a patient, a slide) at several looks.

    Parameters
    ----------
    population : Population
    steps : tuple of int
        From `looks`.

    Returns
    -------
    dict of str to (looks, members, groups) float64
        The answers of a diverged network count as wrong, as in `akp_core.happiness.wrong_by_group`.

    Raises
    ------
    AkpError
        For a step at which some network was not looked at.

    Notes
    -----
    Cost: reads the predictions of each network once.
    """
    test, members = population.study.data.test, population.study.members
    groups, where = np.unique(test.groups.numpy(), return_inverse=True)
    belongs, labels = np.eye(len(groups))[where], test.labels.numpy()
    out = {family.name: np.zeros((len(steps), members, len(groups))) for family in population.study.families}
    for family, member in population.rows:
        seen: dict[int, Float64[np.ndarray, " g"]] = {}
        for segment in population.tree.path(population.tree.leaves[family, member]):
            if not set(segment.probe_steps) & set(steps):
                continue
            name = "probe/prediction/test"
            predicted = population.store.record(segment.key, (name,))[name][0].numpy()
            wrong = (predicted != labels) @ belongs
            seen |= dict(zip(segment.probe_steps, wrong, strict=True))
        missing = [step for step in steps if step not in seen]
        if missing:
            raise AkpError(f"step {missing[0]} of {family!r} was not looked at; looked at: {sorted(seen)}")
        out[family][:, member] = [seen[step] for step in steps]
    return out


def images_by_group(population: Population) -> Float64[np.ndarray, " g"]:
    """Test images of each group, in the order of `wrong_over_time`."""
    return np.unique(population.study.data.test.groups.numpy(), return_counts=True)[1].astype(float)


def epochs(population: Population, steps: int | float) -> float:
    """A number of steps in epochs."""
    return float(steps * population.study.recipe.epochs / population.study.steps)


def named(course: Course) -> dict[str, str | float]:
    """The columns that name a family in every table of this room."""
    return {
        "family": course.family,
        "stress": course.stress,
        "kind": course.kind,
        "onset": course.share,
        "dose": course.dose,
    }
