"""Stresses that raise the error are judged against those that do not, and the answer can go either way."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from akp_core.dispersion.expanded import expanded_tail
from akp_core.happiness import compare
from akp_core.trend import spearman, trend


def networks(
    slope: float, *, stresses: int = 8, onsets: int = 2, members: int = 6, seed: int = 0, alike: float = 0.05
) -> pd.DataFrame:
    """Stresses whose dispersion goes with their error by a planted slope; their onsets are near-copies."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(stresses):
        own = rng.standard_normal(2)
        for o in range(onsets):
            error = (
                0.3 + 0.02 * k * (slope != 0) + 0.02 * own[0] * (slope == 0) + 0.001 * rng.standard_normal()
            )
            spread = np.exp(slope * k / stresses + 0.2 * own[1] + alike * rng.standard_normal())
            distances = spread * (1 + 0.1 * rng.standard_normal(members))
            rows += [
                ("features", f"stress {k}", f"stress {k} @ {o}", m, error, d) for m, d in enumerate(distances)
            ]
    return pd.DataFrame(rows, columns=["tap", "stress", "family", "member", "test_error", "distance"])


@pytest.mark.parametrize(("slope", "verdict"), [(4.0, "AKP"), (-4.0, "anti-AKP"), (0.0, "none")])
def test_a_planted_trend_is_found_with_its_sign(slope: float, verdict: str) -> None:
    found = trend(networks(slope), "features", permutations=999)
    assert found.verdict == verdict
    assert found.stresses == 8
    low, high = found.interval
    assert low <= found.rho <= high
    assert (low > 0) == (verdict == "AKP")
    assert (high < 0) == (verdict == "anti-AKP")


def test_no_trend_is_found_about_as_often_as_the_level_says_though_onsets_are_near_copies() -> None:
    hits = [trend(networks(0.0, seed=s), "features", permutations=199).verdict != "none" for s in range(300)]
    assert 4 <= sum(hits) <= 28  # the 99.9 % binomial interval around 5 % of 300


def test_a_trend_is_the_same_for_the_same_seed() -> None:
    table = networks(0.5)
    assert trend(table, "features", seed=3) == trend(table, "features", seed=3)


def test_families_with_too_few_members_left_are_not_counted() -> None:
    table = networks(1.5)
    few = table.groupby("family").cumcount() > 2
    table.loc[(table["stress"] == "stress 0") & few, "distance"] = np.nan
    assert trend(table, "features", permutations=99).stresses == 7
    assert trend(networks(1.0, stresses=3), "features").verdict == "not testable"


def test_four_stresses_cannot_give_a_p_value_below_five_per_cent() -> None:
    found = trend(networks(4.0, stresses=4), "features")
    assert (found.rho, found.p_value) == (pytest.approx(1), pytest.approx(2 / 24))
    assert found.verdict == "not testable"
    assert trend(networks(4.0, stresses=4), "features", level=0.1).verdict == "AKP"


def test_a_rank_correlation_with_something_unknown_is_unknown() -> None:
    assert np.isnan(spearman(np.array([1.0, np.nan, 3.0, 4.0]), np.arange(4.0)))
    assert spearman(np.ones(4), np.arange(4.0)) == 0


def test_stresses_of_one_dispersion_have_no_trend() -> None:
    table = networks(0.0).assign(distance=1.0)
    found = trend(table, "features", permutations=99)
    assert (found.rho, found.verdict, found.p_value) == (0.0, "none", 1.0)


def counts(
    rate: float, *, members: int = 10, groups: int = 40, images: int = 10, seed: int = 0
) -> np.ndarray:
    return np.random.default_rng(seed).binomial(images, rate, size=(members, groups)).astype(float)


def test_the_happier_family_is_the_one_that_errs_less_beyond_doubt() -> None:
    images = np.full(40, 10.0)

    def judged(rate: float, seed: int = 1):
        return compare(counts(rate, seed=seed), counts(0.2), images, rng=np.random.default_rng(0))

    assert judged(0.3).happier == "control"
    assert judged(0.1).happier == "stressed"
    assert judged(0.2).happier == "neither"
    same = compare(counts(0.2), counts(0.2), images, rng=np.random.default_rng(0))
    assert (same.happier, same.difference, same.interval) == ("neither", 0.0, (0.0, 0.0))
    worse = judged(0.3)
    assert worse.interval[0] < worse.difference < worse.interval[1]
    assert worse.stressed - worse.control == pytest.approx(worse.difference)


def test_a_difference_that_one_patient_makes_does_not_settle_who_is_happy() -> None:
    control = counts(0.2)
    stressed = control.copy()
    stressed[:, 0] = 10
    found = compare(stressed, control, np.full(40, 10.0), rng=np.random.default_rng(0))
    assert found.difference > 0.01
    assert found.happier == "neither"


def test_neither_is_overturned_by_chance_no_more_often_than_the_level_allows() -> None:
    """Patients differ in how hard they are, networks in how good they are; no family is the better one."""
    hits = 0
    for s in range(200):
        rng = np.random.default_rng(s)
        hard = rng.beta(1, 4, size=40)
        stressed, control = (
            rng.binomial(10, (hard + 0.03 * rng.standard_normal((10, 1))).clip(0, 1)).astype(float)
            for _ in range(2)
        )
        hits += compare(stressed, control, np.full(40, 10.0), rng=rng).happier != "neither"
    assert hits <= 21


def test_few_networks_that_differ_only_by_chance_are_seldom_called_happier() -> None:
    rng, images = np.random.default_rng(0), np.full(20, 50.0)

    def called(ends: float, studies: int = 300) -> float:
        found = 0
        for _ in range(studies):
            shift = rng.normal(0, 0.05, size=(6, 1))
            control = rng.binomial(50, 0.2, size=(6, 20)).astype(float)
            stressed = control + 50 * shift
            low, high = compare(stressed, control, images, level=ends, rng=rng).interval
            found += not low <= 0 <= high
        return found / studies

    assert called(0.05) < 0.085, "binomial(300, 0.05) exceeds it less than once in a hundred runs"
    plain = 2 * norm.cdf(t.ppf(0.025, 5) * np.sqrt(6 / 5))
    assert expanded_tail(6, 0.05) == pytest.approx(plain / 2)
    assert expanded_tail(1, 0.05) == 0.025
    assert expanded_tail(10_000, 0.05) == pytest.approx(0.025, rel=1e-3)
