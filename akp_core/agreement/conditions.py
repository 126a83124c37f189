"""Several populations under one question: do networks agree as much, and on the same order, in each?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from akp_core.agreement.course import Course
from akp_core.agreement.cube import as_parts, at_accuracy
from akp_core.agreement.intervals import image_weights, network_weights, redrawn
from akp_core.agreement.learning_time import learning_times
from akp_core.agreement.orders import orders_between
from akp_core.agreement.true_positive import permutation_null, true_positive_agreement
from akp_core.dispersion.expanded import expanded_ends
from akp_core.errors import AkpError, unknown_name


def at_equal_accuracy(
    courses: Mapping[str, Course],
    accuracy: float,
    *,
    size: int,
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 999,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Agreement of every population where its networks are equally accurate, beside that of the reference.

    Parameters
    ----------
    courses : mapping of str to Course
        The first is the reference. A population of other images than the reference's is compared as a whole
        and not image by image.
    accuracy : float
        Each network is taken where it first reaches it (`akp_core.agreement.at_accuracy`), a stressed one
        after the stress set in.
    size : int
        K, the same for all.
    level : float
        Intervals of ``corrected`` hold with confidence 1 - level, those of ``difference`` with that for all
        of them together (Bonferroni).
    draws, permutations, rng
        As for `curve`.

    Returns
    -------
    DataFrame
        One row a population: ``condition``, ``kind``, ``accuracy`` (wanted), ``reached`` (mean of the
        networks taken), ``networks``, ``missing`` (never as accurate), ``lost``, ``value``, ``chance``,
        ``upper``, ``corrected``, ``low``, ``high``, ``p_value`` (permutation null), ``difference`` from the
        reference in corrected agreement, ``difference_low``, ``difference_high``, and ``why`` where there are
        too few networks to say anything (then NaN).

    Raises
    ------
    AkpError
        For no populations, or as the functions it calls.
    """
    if not courses:
        raise AkpError("expected at least one population to compare, got none")
    first, reference = next(iter(courses.items()))
    rows: list[dict[str, object]] = []
    drawn: dict[str, tuple[np.ndarray, float, int]] = {}
    tests = max(1, len(courses) - 1)
    shared = image_weights(as_parts(reference.groups, len(reference.groups), "groups"), draws, rng)
    for name, course in courses.items():
        row: dict[str, object] = {
            "condition": name,
            "kind": course.kind,
            "accuracy": accuracy,
            "networks": 0,
            "missing": 0,
            "lost": course.lost,
        }
        if not len(course.right):
            rows.append(row | {"why": f"all {course.lost} networks were lost"})
            continue
        matched = at_accuracy(course.right[:, course.steps >= course.since], accuracy)
        row |= {"networks": len(matched.network), "missing": matched.missing}
        if len(matched.network):
            row["reached"] = float(matched.accuracy.mean())
        if len(matched.network) < size:
            row["why"] = f"{len(matched.network)} networks reached {accuracy:g}; {size} must"
            rows.append(row)
            continue
        parts, belongs = (as_parts(x, len(x), "images") for x in (course.classes, course.groups))
        found = true_positive_agreement(matched.right, size=size, classes=parts)
        null = permutation_null(
            matched.right, size=size, classes=parts, permutations=permutations, level=level, rng=rng
        )
        networks = network_weights(len(matched.network), draws, rng)
        images = shared if _same_images(course, reference) else image_weights(belongs, draws, rng)
        values = redrawn(matched.right, networks, images, size, parts).corrected[:, 0]
        drawn[name] = values, float(found.corrected[0]), len(matched.network)
        low, high = expanded_ends(values[:, None], len(matched.network), level, within=(-np.inf, 1))
        row |= {
            "value": float(found.value[0]),
            "chance": float(found.chance[0]),
            "upper": float(found.upper[0]),
            "corrected": float(found.corrected[0]),
            "low": float(low[0]),
            "high": float(high[0]),
            "p_value": float(null.p_value[0]),
        }
        if name != first and first in drawn:
            fewer = min(len(matched.network), drawn[first][2])
            apart = expanded_ends((values - drawn[first][0])[:, None], fewer, level / tests)
            row |= {
                "difference": drawn[name][1] - drawn[first][1],
                "difference_low": float(apart[0][0]),
                "difference_high": float(apart[1][0]),
            }
        rows.append(row)
    columns = [
        *(
            "condition",
            "kind",
            "accuracy",
            "reached",
            "networks",
            "missing",
            "lost",
            "value",
            "chance",
            "upper",
        ),
        *("corrected", "low", "high", "p_value", "difference", "difference_low", "difference_high", "why"),
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


def orders_beside(
    courses: Mapping[str, Course],
    *,
    how: str = "settled",
    level: float = 0.05,
    draws: int = 499,
    permutations: int = 999,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """Compare the order in which every population learns the images with that of the reference.

    Parameters
    ----------
    courses : mapping of str to Course
        The first is the reference; all of the same images.
    how : str
        As for `akp_core.agreement.learning_times`.
    level : float
        The intervals hold with this confidence for all of them together (Bonferroni).
    draws, permutations, rng
        As for `akp_core.agreement.orders_between`.

    Returns
    -------
    DataFrame
        One row a population but the reference: ``condition``, ``kind``, ``networks``, ``never`` (mean share
        of the images that a network never learnt), ``across``, ``within`` (its own), ``reference``,
        ``value``, ``low``, ``high``, ``p_value`` as in `akp_core.agreement.OrdersBetween`, and ``why`` where
        there is none.

    Raises
    ------
    AkpError
        For other images, or as the functions it calls.

    Notes
    -----
    Ranks are taken within the classes of the reference.
    """
    if len(courses) < 2:
        raise AkpError("expected a reference and at least one population beside it")
    (_, reference), *others = courses.items()
    times = learning_times(reference.right, reference.steps, how=how)
    rows = []
    for name, course in others:
        if not _same_images(course, reference):
            raise AkpError(f"expected the images of the reference in {name!r}, got others; leave it out")
        row: dict[str, object] = {"condition": name, "kind": course.kind}
        if not len(course.right):
            rows.append(row | {"why": f"all {course.lost} networks were lost"})
            continue
        own = learning_times(course.right, course.steps, how=how)
        row["never"] = float(own.never.mean())
        first, second = times.time, own.time
        if course.twins:
            both = np.intersect1d(reference.members, course.members)
            first, second = (t[np.isin(c.members, both)] for t, c in ((first, reference), (second, course)))
        try:
            found = orders_between(
                first,
                second,
                twins=course.twins,
                classes=reference.classes,
                groups=reference.groups,
                level=level / len(others),
                draws=draws,
                permutations=permutations,
                rng=rng,
            )
        except AkpError as fault:
            rows.append(row | {"why": str(fault)})
            continue
        row |= {
            "networks": found.networks,
            "across": found.across,
            "within": found.second,
            "reference": found.first,
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "p_value": found.p_value,
        }
        if np.isnan(found.low):
            row["why"] = "its networks, or the reference's, may have no order in common"
        rows.append(row)
    columns = [
        *("condition", "kind", "networks", "never", "across", "within", "reference", "value", "low", "high"),
        *("p_value", "why"),
    ]
    return pd.DataFrame(rows).reindex(columns=columns)


def of_kind(courses: Mapping[str, Course], *kinds: str) -> dict[str, Course]:
    """The populations of these kinds, in their order.

    Raises
    ------
    AkpError
        For a kind that none has.
    """
    for kind in kinds:
        if kind not in {course.kind for course in courses.values()}:
            raise unknown_name("kind of population", kind, {course.kind for course in courses.values()})
    return {name: course for name, course in courses.items() if course.kind in kinds}


def _same_images(course: Course, reference: Course) -> bool:
    return course.groups.shape == reference.groups.shape and bool((course.groups == reference.groups).all())
