"""Is the test honest? Studies of which the truth is known, judged by every test.

The whole path is walked, features to similarity to distance to verdict. Where both families follow one law
(`akp_core.simulation.laws`) every rejection is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float64
from loky import ProcessPoolExecutor, cpu_count
from scipy import stats

from akp_core.dispersion import (
    anna_karenina_test,
    location_test,
    matched_comparison,
    own_way,
    permdisp,
    streamed_test,
    three_causes,
    two_way_interval,
)
from akp_core.dispersion.inference import LEAST_MEMBERS
from akp_core.errors import unknown_name, whole_number
from akp_core.similarity import MEASURES, chordal_distance, fingerprint
from akp_core.simulation.batched import VARIANTS, similarities
from akp_core.simulation.laws import SETTINGS, SIGNALS, Setting, Shape, features
from akp_core.threads import one_thread

_SELDOM = {
    "permdisp": 2,
    "distances": 2,
    "own way": 2,
    "location twins": 2,
    "own way twins": 2,
    "unequal": 5,
    "matched": 10,
    "causes": 10,
    "streamed": 10,
    **dict.fromkeys(VARIANTS, 5),
}
"""What costs most judges, and a variant is judged, only every so-manieth study."""
_BATCH = 25
_NAMES = (*MEASURES, *VARIANTS)


Trial = tuple[str, str, int, float, float]


def _trials(distances: Float64[np.ndarray, "M M"], measure: str, shape: Shape, study: int) -> list[Trial]:
    """Every test on one study: measure, test, study, p value, and whether the interval covers 0."""
    m, number = shape.members, _NAMES.index(measure)
    rng = np.random.default_rng([shape.seed, study, number, 1])
    independent, twins = distances[: 2 * m, : 2 * m], np.r_[0:m, 2 * m : 3 * m]
    unhappy, pair = np.arange(2 * m) >= m, np.tile(np.arange(m), 2)
    how: dict[str, Any] = {"permutations": shape.permutations, "rng": rng}
    judged = {"level": shape.level, **how}
    turns: dict[str, Any] = {"rotations": shape.permutations, "level": shape.level, "rng": rng}
    found: list[tuple[str, float, float]] = []
    stressed, some = distances[np.ix_(twins, twins)], m + max(LEAST_MEMBERS, m // 2)

    def due(name: str) -> bool:
        return study % _SELDOM[name] == 0

    for name, d, paired, wanted in (
        ("dispersion", independent, None, True),
        ("twins", stressed, pair, True),
        ("unequal", distances[:some, :some], None, due("unequal")),
    ):
        if wanted:
            test = anna_karenina_test(d, unhappy[: len(d)], paired=paired, **judged)
            found.append((name, test.p_value, float(test.interval[0] <= 0 <= test.interval[1])))
    found.append(("location", location_test(independent, unhappy, **how).p_value, np.nan))
    if due("location twins"):
        paired_p = location_test(stressed, unhappy, paired=pair, **how).p_value
        found.append(("location twins", paired_p, np.nan))
    if due("permdisp"):
        found.append(("permdisp", permdisp(independent, unhappy, **how).p_value, np.nan))
    if due("distances"):
        usual = permdisp(independent, unhappy, permute="distances", **how)
        found.append(("distances", usual.p_value, np.nan))
    euclidean = measure in VARIANTS or MEASURES[measure].distance == "euclidean"
    if euclidean and due("own way"):
        found.append(("own way", own_way(independent, unhappy, **turns).p_value, np.nan))
    if euclidean and due("own way twins"):
        alone = own_way(stressed, unhappy, paired=pair, **turns)
        found.append(("own way twins", alone.p_value, np.nan))
    errors, trained = rng.random((2, 2 * m))
    if due("matched"):
        matched = matched_comparison(independent, errors, unhappy, caliper=0.25, **judged)
        found.append(("matched", matched.test.p_value if matched.test else np.nan, np.nan))
    if euclidean and due("causes"):
        causes = three_causes(independent, unhappy, errors, trained, **judged)
        found.append(("causes", causes.stressed.p_value, np.nan))
    return [(measure, name, study, p, covers) for name, p, covers in found]


def _over_pairs(
    distances: Float64[np.ndarray, "S M M"], measure: str, shape: Shape, studies: Sequence[int]
) -> list[Trial]:
    """What not to do: distances of pairs taken for independent, and compared by a t test."""
    m, (i, j) = shape.members, np.triu_indices(shape.members, 1)
    p = stats.ttest_ind(distances[:, i, j], distances[:, m + i, m + j], axis=1).pvalue
    return [(measure, "pairs", study, float(value), np.nan) for study, value in zip(studies, p, strict=True)]


def _of_fingerprints(x: Float64[np.ndarray, "M n p"], shape: Shape, study: int) -> list[Trial]:
    """What works on fingerprints, never on a matrix of distances: for unbiased CKA alone."""
    rng = np.random.default_rng([shape.seed, study, 0, 2])
    m = shape.members
    rows = np.stack([fingerprint(one) for one in x[: 2 * m]])
    both = two_way_interval(rows, np.arange(2 * m) >= m, level=shape.level, draws=10, rng=rng)
    test = streamed_test(rows[:m], rows[m:], permutations=shape.permutations, level=shape.level, rng=rng)
    covers = (float(found.interval[0] <= 0 <= found.interval[1]) for found in (both, test))
    return [
        ("cka", "two-way", study, np.nan, next(covers)),
        ("cka", "streamed", study, test.p_value, next(covers)),
    ]


def _batch(setting: Setting, measures: Sequence[str], shape: Shape, studies: range) -> list[Trial]:
    with one_thread():
        seen = np.stack([features(setting, shape, study) for study in studies])
        found: list[Trial] = []
        for measure in measures:
            which = [k for k, study in enumerate(studies) if study % _SELDOM.get(measure, 1) == 0]
            if not which:
                continue
            distances = np.stack([chordal_distance(one) for one in similarities(seen[which], measure)])
            some = [studies[k] for k in which]
            for study, one in zip(some, distances, strict=True):
                found += _trials(one, measure, shape, study)
            found += _over_pairs(distances, measure, shape, some)
        if "cka" in measures:
            for study, x in zip(studies, seen, strict=True):
                if study % _SELDOM["streamed"] == 0:
                    found += _of_fingerprints(x, shape, study)
        return found


@contextmanager
def _mapping(workers: int) -> Iterator[Callable[..., Iterable[list[Trial]]]]:
    if workers == 1:
        yield map
        return
    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})
    try:
        yield pool.map
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def simulate(
    settings: Mapping[str, int],
    measures: Iterable[str] = tuple(MEASURES),
    *,
    members: int = 8,
    examples: int = 32,
    width: int = 6,
    permutations: int = 199,
    level: float = 0.05,
    seed: int = 0,
    workers: int | None = None,
) -> pd.DataFrame:
    """Simulate studies and let every test judge each of them.

    Parameters
    ----------
    settings : mapping of str to int
        Names in `SETTINGS`, and how many studies to simulate in each, for every measure. Study k has the same
        random numbers in all settings. What costs most judges every second, fifth or tenth study only.
    measures : iterable of str
        Names in `akp_core.similarity.MEASURES` or in `akp_core.simulation.batched.VARIANTS`. Study k has the
        same representations for each; variants judge every fifth study.
    members : int
        Models in each family; at least 6.
    examples, width : int
        Of a representation; at least 12 examples, and 4 of them for each feature.
    permutations : int
        Of each test, at least 19; 199 makes 0.05 a value that p can take.
    level : float
        The intervals have confidence 1 - level.
    seed : int
        Of everything: the same one gives the same table, whatever the number of workers.
    workers : int, optional
        Processes; default: one a core, or this one alone for fewer than 200 studies.

    Returns
    -------
    DataFrame
        One row for each judgement: ``setting``, ``measure``, ``test`` (a name in `TESTS`, or ``two-way``),
        ``study``, ``p_value``, and ``covers``, 1 where the interval of the effect holds 0 and else 0. NaN
        where a judgement has none, or where too few models could be matched. The tests *own way* and
        *causes* run only for measures whose distance is Euclidean.

    Raises
    ------
    AkpError
        For an unknown setting or measure, or an argument out of range.

    Notes
    -----
    The tests are the library's own, called as a reader calls them. The similarities are those of
    `akp_core.simulation.batched`, which are `pairwise`'s.

    Cost: a few milliseconds for each study and measure on one core.
    """
    measures = list(measures)
    for kind, names, known in (("setting", list(settings), SETTINGS), ("measure", measures, _NAMES)):
        for name in names:
            if name not in known:
                raise unknown_name(kind, name, known)
    shape = Shape(
        members=whole_number("members", members, 6),
        examples=whole_number("examples", examples, 12),
        width=whole_number("width", width, SIGNALS, max(SIGNALS, examples // 4)),
        permutations=whole_number("permutations", permutations, 19),
        level=level,
        seed=whole_number("seed", seed, 0),
    )
    batches = [
        (name, range(start, min(start + _BATCH, studies)))
        for name, studies in settings.items()
        for start in range(0, whole_number(f"studies in setting {name!r}", studies, 1), _BATCH)
    ]
    if workers is None:
        workers = int(cpu_count()) if sum(settings.values()) >= 200 else 1
    with _mapping(min(whole_number("workers", workers, 1), len(batches) or 1)) as apply:
        laws = [SETTINGS[name] for name, _ in batches]
        done = apply(_batch, laws, repeat(measures), repeat(shape), [studies for _, studies in batches])
        rows = [(name, *trial) for (name, _), trials in zip(batches, done, strict=True) for trial in trials]
    return pd.DataFrame(rows, columns=["setting", "measure", "test", "study", "p_value", "covers"])
