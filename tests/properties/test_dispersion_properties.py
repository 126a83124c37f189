"""Whatever matrix comes: the right number or one clear line, never NaN and never a bare warning."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from akp_core.dispersion import anna_karenina_test, distance_to_centroid, location_test
from akp_core.dispersion.bootstrap import bootstrap_effect
from akp_core.dispersion.permdisp import permdisp
from akp_core.dispersion.streamed import streamed_test
from akp_core.errors import AkpError
from akp_core.similarity import chordal_distance, similarity_of_fingerprints

KINDS = ["euclidean", "squared", "cityblock", "any"]


@dataclasses.dataclass
class Case:
    """A population as a scientist may bring it."""

    distances: np.ndarray
    points: np.ndarray
    unhappy: np.ndarray
    missing: np.ndarray
    kind: str
    unit: float

    @property
    def counts(self) -> tuple[int, int]:
        return int((~self.unhappy & ~self.missing).sum()), int((self.unhappy & ~self.missing).sum())


@st.composite
def cases(draw: st.DrawFn) -> Case:
    happy, unhappy = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    unit = 10.0 ** draw(st.integers(-8, 8))
    points = rng.standard_normal((happy + unhappy, draw(st.integers(1, 12))))
    points[happy:] *= draw(st.sampled_from([1e-8, 0.5, 1.0, 3.0, 1e8]))
    for _ in range(draw(st.integers(0, 4))):  # duplicates
        points[rng.integers(len(points))] = points[rng.integers(len(points))]
    constant = draw(st.sampled_from(["none", "happy", "unhappy", "both"]))
    if constant in ("happy", "both"):
        points[:happy] = points[0]
    if constant in ("unhappy", "both"):
        points[happy:] = points[happy]
    kind = draw(st.sampled_from(KINDS))
    d = cdist(points, points, "cityblock" if kind == "cityblock" else "euclidean")
    if kind == "squared":
        d = d**2
    if kind == "any":
        d = d * np.exp(np.add(*[noise := rng.standard_normal(d.shape), noise.T]))
    d = unit * (d + d.T) / 2
    missing = rng.random(len(d)) < draw(st.sampled_from([0.0, 0.2]))
    d[missing] = np.nan
    d[:, missing] = np.nan
    return Case(d, points, np.arange(len(d)) >= happy, missing, kind, unit)


def numbers(value: object) -> list[float]:
    """Every number in a result, however nested."""
    if dataclasses.is_dataclass(value):
        return [n for field in dataclasses.fields(value) for n in numbers(getattr(value, field.name))]
    if isinstance(value, tuple | list):
        return [n for item in value for n in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def half_mean_square(d: np.ndarray) -> float:
    pairs = d[np.triu_indices(len(d), 1)]
    return float(np.square(pairs).mean() / 2)


@settings(deadline=None, max_examples=150)
@given(cases(), st.booleans())
def test_the_test_of_dispersion_gives_a_number_or_a_line(case: Case, paired: bool) -> None:
    pairs = None
    counts = case.counts
    if paired:
        happy = int((~case.unhappy).sum())
        pairs = np.concatenate([np.arange(happy), np.arange(len(case.unhappy) - happy)])
        both = set(pairs[~case.unhappy & ~case.missing]) & set(pairs[case.unhappy & ~case.missing])
        counts = (len(both), len(both))
    rng = np.random.default_rng(0)
    if min(counts) < 4:
        for call in (anna_karenina_test, bootstrap_effect):
            with pytest.raises(AkpError, match="at least 4 usable models"):
                call(case.distances, case.unhappy, paired=pairs, rng=rng)
        return
    found = anna_karenina_test(case.distances, case.unhappy, paired=pairs, permutations=49, rng=rng)
    boot = bootstrap_effect(case.distances, case.unhappy, paired=pairs, draws=100, rng=rng)
    assert not any(math.isnan(n) for n in numbers(found) + numbers(boot))
    assert 0 < found.p_value <= 1
    assert found.interval[0] <= found.effect <= found.interval[1] or found.interval == (-np.inf, np.inf)
    assert boot.effect == found.effect
    assert np.sign(found.standardised) in (0, np.sign(found.effect))
    if not paired:
        assert found.excluded == tuple(int((case.missing & m).sum()) for m in (~case.unhappy, case.unhappy))
        v = [
            half_mean_square(case.distances[np.ix_(m, m)])
            for m in (~case.unhappy & ~case.missing, case.unhappy & ~case.missing)
        ]
        assert found.dispersion == pytest.approx(np.sqrt(v), rel=1e-9, abs=0)
        with np.errstate(divide="ignore"):
            assert v[0] == v[1] or found.effect == pytest.approx(
                np.log(v[1] / v[0]) / 2 if v[0] else np.inf, abs=1e-9
            )


@settings(deadline=None, max_examples=100)
@given(cases(), st.sampled_from(["centroid", "median"]), st.sampled_from([None, 1, 3]), st.booleans())
def test_location_and_permdisp_give_a_number_or_a_line(
    case: Case, centre: str, axes: int | None, ours: bool
) -> None:
    rng = np.random.default_rng(0)
    if min(case.counts) < 2:
        with pytest.raises(AkpError, match="at least 2 models with a representation"):
            location_test(case.distances, case.unhappy, permutations=19, rng=rng)
    how = {"centre": centre, "axes": axes, "permute": "contributions" if ours else "distances"}
    if min(case.counts) < (4 if ours else 2):
        with pytest.raises(AkpError, match=f"at least {4 if ours else 2} models with a representation"):
            permdisp(case.distances, case.unhappy, **how, permutations=19, rng=rng)
        return
    location = location_test(case.distances, case.unhappy, permutations=19, rng=rng)
    spread = permdisp(case.distances, case.unhappy, **how, permutations=19, rng=rng)
    assert not any(math.isnan(n) for n in numbers(location) + numbers(spread))
    assert spread.members == location.members == sum(case.counts)
    assert spread.excluded == location.excluded == case.missing.sum()
    assert spread.f >= 0
    assert 0 < spread.p_value <= 1
    assert 0 < location.p_value <= 1
    assert np.array_equal(np.isnan(spread.distances), case.missing)
    assert location.r_squared <= 1
    assert location.omega_squared <= 1
    if case.kind == "euclidean":
        assert location.r_squared >= 0
        away = distance_to_centroid(case.distances, case.unhappy)
        assert np.array_equal(np.isnan(away), case.missing)


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(1, 5), st.sampled_from([np.float32, np.float64]))
def test_the_stream_agrees_with_the_matrix(case: Case, size: int, dtype: type) -> None:
    rows = case.points[:, :1] * 0 + 1.0
    rows = np.concatenate([rows, case.points / np.abs(case.points).max()], axis=1).astype(dtype)
    rows[case.missing] = np.nan
    families = [
        [part[start : start + size] for start in range(0, len(part), size)]
        for part in (rows[~case.unhappy], rows[case.unhappy])
    ]
    if min(case.counts) < 4:
        with pytest.raises(AkpError, match="at least 4 usable models"):
            streamed_test(*families, rng=np.random.default_rng(0))
        return
    found = streamed_test(*families, permutations=49, rng=np.random.default_rng(0))
    assert not any(math.isnan(n) for n in numbers(found))
    d = chordal_distance(similarity_of_fingerprints(rows))
    known = anna_karenina_test(d, case.unhappy, permutations=49, rng=np.random.default_rng(0))
    assert (found.members, found.excluded) == (known.members, known.excluded)
    assert found.dispersion == pytest.approx(known.dispersion, rel=1e-6, abs=2e-7)
    if min(known.dispersion) > 1e-3:
        assert found.p_value == known.p_value
        assert found.effect == pytest.approx(known.effect, abs=1e-8)
