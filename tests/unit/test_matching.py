"""Matched accuracy: do stressed models of equal error differ in dispersion?"""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from akp_core.dispersion.matching import matched_comparison
from akp_core.errors import AkpError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def population(spread: np.ndarray, *, dim: int = 12, seed: int = 0) -> np.ndarray:
    points = spread[:, None] * rng(seed).standard_normal((len(spread), dim))
    return cdist(points, points)


ERRORS = np.concatenate([0.1 + 0.02 * np.arange(20), 0.3 + 0.02 * np.arange(20)])
STRESSED = np.arange(40) >= 20


def matched(spread: np.ndarray, **options):
    options = {"errors": ERRORS, "unhappy": STRESSED, "permutations": 999, "rng": rng(), **options}
    return matched_comparison(population(spread), options.pop("errors"), options.pop("unhappy"), **options)


def test_matched_sets_are_equal_in_error_and_use_every_model_once():
    found = matched(np.ones(40), caliper=0.01)
    assert found.pairs.shape == (10, 2)
    assert STRESSED[found.pairs[:, 0]].all()
    assert not STRESSED[found.pairs[:, 1]].any()
    assert len(np.unique(found.pairs)) == 20
    gaps = np.abs(np.diff(ERRORS[found.pairs], axis=1))
    assert found.largest_difference == gaps.max() <= 0.01
    assert found.imbalance_before == pytest.approx(0.2 / np.std(ERRORS[:20], ddof=1))
    assert abs(found.imbalance_after) < 0.1
    assert found.unmatched == (10, 10)


def test_dispersion_that_follows_error_alone_vanishes_when_errors_are_matched():
    found = matched(ERRORS**2)
    assert matched(ERRORS**2, caliper=10.0).verdict == "AKP"
    assert found.verdict == "none"
    assert found.test is not None
    assert abs(found.test.effect) < 0.3


def test_dispersion_that_follows_stress_stays():
    found = matched(np.where(STRESSED, 2.0, 1.0))
    assert found.verdict == "AKP"
    assert found.test.effect == pytest.approx(np.log(2), abs=0.3)


def test_the_assignment_is_the_best_of_all():
    for seed in range(20):
        draw = rng(seed)
        errors = draw.random(10)
        found = matched_comparison(
            population(np.ones(10)), errors, np.arange(10) >= 5, caliper=0.2, permutations=9, rng=rng()
        )
        best = (0, 0.0)
        for order in permutations(range(5)):
            gaps = np.abs(errors[5:] - errors[list(order)])
            best = min(best, (-int((gaps <= 0.2).sum()), float(gaps[gaps <= 0.2].sum())))
        gaps = np.abs(np.diff(errors[found.pairs], axis=1))
        assert (-len(gaps), float(gaps.sum())) == pytest.approx(best)


def test_a_control_member_serves_at_one_checkpoint_only():
    """Six members at four checkpoints each: the early ones err as much as the stressed models."""
    errors = np.concatenate([np.tile([0.8, 0.6, 0.4, 0.2], 6), np.full(8, 0.6)])
    unit = np.concatenate([np.repeat(np.arange(6), 4), np.arange(8)])
    found = matched_comparison(
        population(np.ones(32)),
        errors,
        np.arange(32) >= 24,
        unit=unit,
        caliper=0.05,
        permutations=99,
        rng=rng(),
    )
    assert len(found.pairs) == 6
    assert np.array_equal(np.sort(unit[found.pairs[:, 1]]), np.arange(6))
    assert (errors[found.pairs[:, 1]] == 0.6).all()
    assert found.unmatched == (0, 2)


def test_families_without_overlap_are_not_comparable():
    errors = np.where(STRESSED, 0.9, 0.1) + 0.01 * rng().random(40)
    found = matched(np.ones(40), errors=errors)
    assert found.verdict == "not comparable"
    assert found.test is None
    assert "only 0 of 20" in found.reason
    assert "control 0.1 to 0.109, stressed 0.9" in found.reason
    assert found.pairs.shape == (0, 2)
    assert found.overlap[1][0] == errors[20:].min()
    numbers = [found.imbalance_before, found.imbalance_after, found.largest_difference, found.caliper]
    assert np.isfinite(numbers).all()


def test_equal_errors_match_everybody_and_different_constants_nobody():
    same = matched(np.ones(40), errors=np.full(40, 0.3))
    assert (len(same.pairs), same.imbalance_before) == (20, 0.0)
    apart = matched(np.ones(40), errors=np.where(STRESSED, 0.4, 0.3))
    assert (apart.verdict, apart.imbalance_before) == ("not comparable", np.inf)


def test_a_diverged_model_may_have_no_error():
    errors, d = ERRORS.copy(), population(np.ones(40))
    errors[30] = np.nan
    d[30], d[:, 30] = np.nan, np.nan
    found = matched_comparison(
        torch.from_numpy(d), torch.from_numpy(errors), torch.from_numpy(STRESSED), permutations=99, rng=rng()
    )
    assert found.excluded == (0, 1)
    assert 30 not in found.pairs


def test_matching_takes_numpy_numbers():
    plain = matched(np.ones(40), caliper=0.5, permutations=200, level=0.25)
    found = matched(np.ones(40), caliper=np.float32(0.5), permutations=np.uint8(200), level=np.float32(0.25))
    assert found.test == plain.test


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": np.where(np.arange(40) == 3, np.nan, ERRORS)}, "finite error .* nan for model 3"),
        ({"errors": ERRORS[:9]}, "one error for each of the 40"),
        ({"unhappy": ERRORS}, "one boolean for each"),
        ({"unhappy": np.arange(40) >= 39}, "at least 2 usable stressed"),
        ({"unit": ERRORS}, "one member number"),
        ({"caliper": -1.0}, "caliper as a number of 0 or more"),
        ({"caliper": float("nan")}, "caliper as a number of 0 or more"),
        ({"level": 0.0}, "level as a probability"),
    ],
)
def test_matching_refuses_a_bad_request_in_one_line(change, message):
    with pytest.raises(AkpError, match=message):
        matched(np.ones(40), **change)


def test_more_pairs_come_before_closer_pairs():
    """One perfect pair would leave the other two models without a partner."""
    errors, unhappy = np.array([0.0, 0.19, 0.19, 0.38]), np.arange(4) >= 2
    found = matched_comparison(
        population(np.ones(4)), errors, unhappy, caliper=0.2, permutations=9, rng=rng()
    )
    assert found.pairs.tolist() == [[2, 0], [3, 1]]
    assert "only 2 of 2" in found.reason
