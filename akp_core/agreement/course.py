"""One population while it learns: agreement look by look, and for 2, 3, ... networks at one accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64

from akp_core.agreement.cube import at_accuracy
from akp_core.agreement.intervals import agreement_intervals
from akp_core.agreement.true_positive import permutation_null, true_positive_agreement
from akp_core.errors import AkpError


@dataclass(frozen=True, eq=False)
class Course:
    """What a population had right while it learnt.

    Attributes
    ----------
    right : (m, t, n) bool array
        The correctness cube of the networks that were not lost.
    steps : (t,) float array
        Times of its looks.
    classes : (n,) int array
        What it was taught of each image.
    groups : (n,) int array
        What each image comes from.
    kind : str
        What sets it apart: ``reference``, ``architecture``, ``recipe``, ``labels``, ``stress``.
    twins : bool
        Whether network i shares its seed, thus its batches and perhaps its first weights, with network i of
        the reference.
    members : (m,) int array
        Numbers of the networks.
    lost : int
        Networks that diverged or collapsed: they are left out here.
    """

    right: Bool[np.ndarray, "m t n"]
    steps: Float64[np.ndarray, " t"]
    classes: Int64[np.ndarray, " n"]
    groups: Int64[np.ndarray, " n"]
    kind: str
    twins: bool
    members: Int64[np.ndarray, " m"]
    lost: int
    since: float = 0.0


def curve(
    course: Course,
    *,
    size: int,
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 199,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Agreement of one population at every look, beside bounds, chance and the permutation null.

    Parameters
    ----------
    course : Course
    size : int
        K.
    level, draws, permutations, rng
        As for `akp_core.agreement.agreement_intervals` and `akp_core.agreement.permutation_null`.

    Returns
    -------
    DataFrame
        One row a look: ``step``, ``training`` (share of it), ``accuracy`` (mean over networks), ``value``,
        ``low``, ``high``, ``lower``, ``upper``, ``chance``, ``null_low``, ``null_high``, ``p_value``,
        ``corrected``, ``corrected_low``, ``corrected_high``.

    Raises
    ------
    AkpError
        As those two.
    """
    how = {"size": size, "classes": course.classes}
    found = true_positive_agreement(course.right, **how)  # type: ignore[arg-type]
    whole, beyond = agreement_intervals(
        course.right,
        size=size,
        classes=course.classes,
        groups=course.groups,
        level=level,
        draws=draws,
        rng=rng,
    )
    null = permutation_null(
        course.right, size=size, classes=course.classes, permutations=permutations, level=level, rng=rng
    )
    return pd.DataFrame(
        {
            "step": course.steps,
            "training": course.steps / course.steps[-1],
            "accuracy": course.right.mean(axis=(0, 2)),
            "value": found.value,
            "low": whole.low,
            "high": whole.high,
            "lower": found.lower,
            "upper": found.upper,
            "chance": found.chance,
            "null_low": null.low,
            "null_high": null.high,
            "p_value": null.p_value,
            "corrected": found.corrected,
            "corrected_low": beyond.low,
            "corrected_high": beyond.high,
        }
    )


def by_size(course: Course, accuracy: float) -> pd.DataFrame:
    """Agreement of 2, 3, ... networks at one accuracy, and what chance gives.

    Parameters
    ----------
    course : Course
    accuracy : float

    Returns
    -------
    DataFrame
        One row a K: ``size``, ``value``, ``chance``, ``lower``, ``upper``, ``corrected``.

    Raises
    ------
    AkpError
        If fewer than two networks reach the accuracy.
    """
    matched = at_accuracy(course.right, accuracy)
    if len(matched.network) < 2:
        raise AkpError(
            f"expected at least two networks that reach accuracy {accuracy:g}, got {len(matched.network)}; "
            "ask for a lower one"
        )
    names = ("value", "chance", "lower", "upper", "corrected")
    rows = []
    for size in range(2, len(matched.network) + 1):
        found = true_positive_agreement(matched.right, size=size, classes=course.classes)
        rows.append({"size": size} | {name: float(getattr(found, name)[0]) for name in names})
    return pd.DataFrame(rows)
