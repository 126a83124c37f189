from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from akp_core.charts.theory_width import detours, directions, rates
from akp_core.errors import AkpError
from akp_core.theory.directions import (
    cosine_law,
    direction_dimension,
    expected_cosine,
    huygens,
    limit_cosine,
    mean_cosine,
    mean_cosine_variance,
    sphere_cosine,
)
from akp_core.theory.random_directions import (
    bent,
    cosine_histograms,
    drawn_cosines,
    families,
    index_coverage,
    isotropic_quantile,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_huygens_adds_up_and_the_mean_cosine_is_the_mean():
    v = rng().normal(size=(6, 9)) + 1
    split = huygens(v)
    assert split.total == pytest.approx(split.shared + split.own, rel=1e-12)
    assert split.own == pytest.approx(v.var(axis=0).sum())
    u = v / np.linalg.norm(v, axis=1, keepdims=True)
    assert mean_cosine(v) == pytest.approx((u @ u.T)[np.triu_indices(6, 1)].mean(), abs=1e-12)
    assert mean_cosine(np.eye(4) - 1 / 4) == pytest.approx(-1 / 3)


@pytest.mark.parametrize("dimension", [2, 3, 10])
def test_the_law_of_a_cosine(dimension):
    law = cosine_law(dimension)
    assert law.mean() == pytest.approx(0, abs=1e-12)
    assert law.var() == pytest.approx(1 / dimension)
    seen = drawn_cosines([1.0] * dimension, 2, 3000, rng(dimension))
    assert stats.kstest(seen, law.cdf).pvalue > 0.001


@pytest.mark.parametrize("variances", [[1.0] * 12, [1 / k**2 for k in range(1, 13)]])
def test_the_variance_of_the_mean_cosine(variances):
    sample = rng(1).normal(size=(20_000, 12)) * np.sqrt(variances)
    d = direction_dimension(sample)
    assert d == pytest.approx(12, rel=0.02) if variances[1] == 1 else d < 4
    seen = drawn_cosines(variances, 5, 6000, rng(2))
    assert seen.mean() == pytest.approx(0, abs=4 * seen.std() / np.sqrt(6000))
    assert seen.var() == pytest.approx(mean_cosine_variance(5, d), rel=0.12)


@pytest.mark.parametrize(("happy", "dimension"), [(1, 1), (1, 3), (3, 8), (10, 40)])
def test_an_estimated_centroid_aligns_by_the_formula(happy, dimension):
    seen = drawn_cosines([1.0] * dimension, 2, 12_000, rng(happy), happy=happy)
    expected = expected_cosine(happy, dimension)
    assert seen.mean() == pytest.approx(expected, abs=4 * seen.std() / np.sqrt(12_000))
    rho = limit_cosine(happy)
    assert rho == pytest.approx(1 / (happy + 1))
    assert rho * dimension / (dimension + 1) <= expected <= rho


def test_the_limit_cosine_with_everything():
    assert limit_cosine(4, shared=2.0, ratio=3.0) == pytest.approx((2 + 0.25) / (2 + 3 + 0.25))
    wide = 40_000
    h = rng(3).normal(size=(4, wide)).mean(0)
    v = rng(4).normal(size=(2, wide)) * np.sqrt(3) + np.sqrt(2) - h
    assert mean_cosine(v) == pytest.approx(limit_cosine(4, shared=2.0, ratio=3.0), abs=0.02)


def test_the_sphere_bends_perpendicular_ways_together():
    found = bent(np.array([0.2, 1.0, np.sqrt(2)]), 40, 4000, rng(5))
    assert found == pytest.approx([sphere_cosine(d) for d in (0.2, 1.0, np.sqrt(2))], abs=0.005)
    assert sphere_cosine(np.sqrt(2)) == pytest.approx(0.5)


def test_the_isotropic_null_is_right_where_it_holds_and_wrong_where_it_does_not():
    cut = isotropic_quantile(6, 30, 0.05, 8000, rng(1))
    even = np.mean(drawn_cosines([1.0] * 30, 6, 4000, rng(7)) > cut)
    steep = np.mean(drawn_cosines([1 / k**2 for k in range(1, 31)], 6, 2000, rng(8)) > cut)
    assert 0.035 < even < 0.065
    assert steep > 0.15


def test_families_share_what_they_should_and_the_index_finds_it():
    points, unhappy = families(0.6, 400, 30, rng(9))
    v = points[unhappy]
    assert huygens(v).shared == pytest.approx(2.4, rel=0.1)
    assert huygens(v).total == pytest.approx(4, rel=0.1)
    indices, held = index_coverage(0.6, 20, 12, 60, rng(10))
    assert indices.mean() == pytest.approx(0.4, abs=0.05)
    assert held >= 50


def test_charts_are_described_and_refuse_what_is_missing():
    table = pd.DataFrame(cosine_histograms([0.0, 0.9], [3, 20], 8, rng(11), bins=10))
    assert len(table) == 40
    assert table.groupby(["shared", "dimension"])["part"].sum().to_numpy() == pytest.approx(1)
    drawn = directions(table)
    way = pd.DataFrame({"pair": "a, b", "share": [0.0, 1.0], "distance": "1 − CKA", "detour": [0.0, 0.0]})
    gap = {"layer": "relu", "estimator": "biased", "width": [8, 16], "gap": [0.1, 0.05], "low": [-1, 0.04]}
    rate = pd.DataFrame({**gap, "high": [0.2, 0.06], "leading": [0.1, 0.05], "bound": [0.4, np.nan]})
    for chart in (drawn, detours(way), rates(rate)):
        assert isinstance(chart, alt.TopLevelMixin)
        said = chart.to_dict()
        assert "Interactive chart" in said["description"]
        assert said["params"]
    for chart, frame in ((directions, table), (detours, way), (rates, rate)):
        with pytest.raises(AkpError, match="missing"):
            chart(frame.iloc[:, 1:])
        with pytest.raises(AkpError, match="at least one"):
            chart(frame.head(0))


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: huygens(np.ones(3)), "models"),
        (lambda: mean_cosine(np.zeros((3, 2))), "not zero"),
        (lambda: mean_cosine(np.ones((1, 2))), "2 rows"),
        (lambda: cosine_law(1), "dimension"),
        (lambda: mean_cosine_variance(1, 3), "members"),
        (lambda: mean_cosine_variance(3, 0.5), "dimension"),
        (lambda: expected_cosine(0, 3), "happy"),
        (lambda: limit_cosine(3, shared=-1), "shared"),
        (lambda: sphere_cosine(2), "chordal"),
        (lambda: drawn_cosines([1, -1], 3, 3, rng()), "variances"),
        (lambda: families(1.0, 3, 4, rng()), "share"),
        (lambda: isotropic_quantile(3, 3, 2.0, 100, rng()), "level"),
        (lambda: bent(np.array([1.6]), 3, 3, rng()), "chordal"),
    ],
)
def test_bad_input_gets_one_line(call, word):
    with pytest.raises(AkpError, match=word) as caught:
        call()
    assert "\n" not in str(caught.value)
