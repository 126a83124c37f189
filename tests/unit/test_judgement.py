"""Families that err more are judged against families that err less, and the answer can go either way."""

import numpy as np
import pandas as pd
import pytest

from akp_core.errors import AkpError
from akp_core.judgement import _errors
from akp_core.trend import trend


def networks(slope: float, *, families: int = 12, members: int = 6, seed: int = 0) -> pd.DataFrame:
    """Families whose dispersion goes with their error by a planted slope."""
    rng = np.random.default_rng(seed)
    rows = []
    for k in range(families):
        error = 0.1 + 0.02 * k
        spread = np.exp(slope * k / families + 0.1 * rng.standard_normal())
        for _ in range(members):
            distance = spread * (1 + 0.2 * rng.standard_normal())
            rows.append(("features", f"family {k}", error + 0.005 * rng.standard_normal(), distance))
    return pd.DataFrame(rows, columns=["tap", "family", "test_error", "distance"])


@pytest.mark.parametrize(("slope", "verdict"), [(1.5, "AKP"), (-1.5, "anti-AKP"), (0.0, "none")])
def test_a_planted_trend_is_found_with_its_sign(slope: float, verdict: str) -> None:
    found = trend(networks(slope), "features", permutations=999)
    assert found.verdict == verdict
    assert found.families == 12
    low, high = found.interval
    assert low <= found.rho <= high
    assert (low > 0) == (verdict == "AKP")
    assert (high < 0) == (verdict == "anti-AKP")


def test_no_trend_is_found_about_as_often_as_the_level_says() -> None:
    hits = [trend(networks(0.0, seed=s), "features", permutations=199).verdict != "none" for s in range(200)]
    assert 2 <= sum(hits) <= 20  # the 99.9 % binomial interval around 5 % of 200 is 2 to 21


def test_a_trend_is_the_same_for_the_same_seed() -> None:
    table = networks(0.5)
    assert trend(table, "features", seed=3) == trend(table, "features", seed=3)


def test_families_with_too_few_members_left_are_not_counted() -> None:
    table = networks(1.5)
    table.loc[(table["family"] == "family 0") & (table.groupby("family").cumcount() > 2), "distance"] = np.nan
    assert trend(table, "features", permutations=99).families == 11
    with pytest.raises(
        AkpError, match="expected at least 4 families with 4 members left at 'features', got 3"
    ):
        trend(networks(1.0, families=3), "features")


def test_families_of_one_dispersion_have_no_trend() -> None:
    table = networks(0.0).assign(distance=1.0)
    found = trend(table, "features", permutations=99)
    assert (found.rho, found.verdict, found.p_value) == (0.0, "none", 1.0)


def test_the_happier_family_is_the_one_that_errs_less_beyond_doubt() -> None:
    rng = np.random.default_rng(0)
    control = 0.1 + 0.01 * rng.standard_normal(10)
    worse = _errors(control + 0.05 + 0.01 * rng.standard_normal(10), control, 0.05)
    better = _errors(control - 0.05 + 0.01 * rng.standard_normal(10), control, 0.05)
    alike = _errors(control + 0.01 * rng.standard_normal(10), control, 0.05)
    same = _errors(control, control, 0.05)
    assert [case["happier"] for case in (worse, better, alike, same)] == [
        "control",
        "stressed",
        "neither",
        "neither",
    ]
    assert worse["error_low"] < worse["error_difference"] < worse["error_high"]
    assert same["error_low"] == same["error_high"] == 0
