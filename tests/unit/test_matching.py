"""Separating the causes of dispersion: matched accuracy, and the regression on three causes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from akp_core.dispersion.causes import three_causes
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


def caused(b: tuple[float, float, float], *, members: int = 40, seed: int = 0, **options):
    """A population whose log variances follow stress, error and lack of training with coefficients b."""
    draw = rng(seed)
    stressed = np.arange(2 * members) >= members
    errors = 0.5 * stressed + 0.5 * draw.standard_normal(2 * members)
    trained = -0.5 * stressed - 0.3 * errors + 0.5 * draw.standard_normal(2 * members)
    d = population(np.exp((b[0] * stressed + b[1] * errors - b[2] * trained) / 2), dim=40, seed=seed + 1)
    arguments = {"stressed": stressed, "errors": errors, "trained": trained, **options}
    return three_causes(
        d, arguments.pop("stressed"), arguments.pop("errors"), arguments.pop("trained"),
        permutations=999, rng=rng(), **arguments,
    )  # fmt: skip


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_cause_at_work_is_found_and_no_other(which):
    b = tuple(1.0 if j == which else 0.0 for j in range(3))
    found = caused(b)
    for j, cause in enumerate((found.stressed, found.less_accurate, found.less_trained)):
        assert cause.coefficient == pytest.approx(b[j], abs=0.2)
        assert (cause.p_value < 0.01) == (j == which)
        assert (cause.interval[0] > 0) == (j == which)
        assert cause.interval[0] < cause.standardised < cause.interval[1]
        assert 0 <= cause.last <= found.r_squared
        assert cause.alone <= found.r_squared + 1e-12
        assert cause.inflation > 1
    assert found.common == pytest.approx(
        found.r_squared - found.stressed.last - found.less_accurate.last - found.less_trained.last
    )


def test_the_regression_is_least_squares_on_the_stated_contributions():
    stressed = np.arange(24) >= 12
    errors, trained = rng(1).random(24), rng(2).random(24)
    points = rng(3).standard_normal((24, 50))
    found = three_causes(cdist(points, points), stressed, errors, trained, permutations=99, rng=rng())
    y = np.empty(24)
    for mine in (stressed, ~stressed):
        square = ((points[mine] - points[mine].mean(0)) ** 2).sum(1)
        y[mine] = np.log(12 / 10 * square - square.sum() / (11 * 10))
    design = np.column_stack([np.ones(24), stressed, errors, -trained])
    beta, (rest,) = np.linalg.lstsq(design, y, rcond=None)[:2]
    got = [found.stressed, found.less_accurate, found.less_trained]
    assert [c.coefficient for c in got] == pytest.approx(beta[1:], abs=1e-10)
    assert [c.standardised for c in got] == pytest.approx(
        beta[1:] * design[:, 1:].std(0) / y.std(), abs=1e-10
    )
    assert found.r_squared == pytest.approx(1 - rest / (24 * y.var()), abs=1e-10)
    assert found.stressed.alone == pytest.approx(np.corrcoef(stressed, y)[0, 1] ** 2, abs=1e-10)
    together = 1 - 1 / found.stressed.inflation
    other = np.column_stack([np.ones(24), errors, trained])
    left = stressed - other @ np.linalg.lstsq(other, stressed, rcond=None)[0]
    assert together == pytest.approx(1 - left.var() / stressed.var(), abs=1e-10)
    assert (found.floored, found.clusters, found.models) == (0, 24, 24)


def test_stress_does_not_take_over_the_spread_of_other_causes():
    """With plain distances to the centroid the coefficient of stress is 0.2 on average here."""
    found = [caused((0.0, 1.0, 1.0), members=10, seed=seed) for seed in range(60)]
    assert np.mean([f.stressed.coefficient for f in found]) == pytest.approx(0, abs=0.12)
    assert np.mean([f.less_accurate.coefficient for f in found]) == pytest.approx(1, abs=0.12)


def test_clusters_widen_what_only_looks_like_many_models():
    """Every member stands there five times, nearly unchanged."""
    draw = rng(4)
    stressed, errors, trained = np.arange(20) >= 10, draw.random(20), draw.random(20)
    points = draw.standard_normal((20, 30)) * np.exp(draw.standard_normal((20, 1)) / 2)
    copies = np.repeat(points, 5, axis=0) + 1e-3 * draw.standard_normal((100, 30))
    unit = np.repeat(np.arange(20), 5)
    arguments = (cdist(copies, copies), np.repeat(stressed, 5), np.repeat(errors, 5), np.repeat(trained, 5))
    blind = three_causes(*arguments, permutations=199, rng=rng()).stressed
    aware = three_causes(*arguments, clusters=unit, permutations=199, rng=rng()).stressed
    assert aware.standardised == blind.standardised
    assert np.diff(aware.interval) > 1.8 * np.diff(blind.interval)


def test_a_model_without_representation_is_left_out():
    draw = rng(6)
    d, stressed, errors = population(np.ones(20)), np.arange(20) >= 10, draw.random(20)
    trained = draw.random(20)
    d[4], d[:, 4], errors[4] = np.nan, np.nan, np.nan
    found = three_causes(d, stressed, errors, trained, permutations=99, rng=rng())
    assert (found.models, found.excluded) == (19, 1)
    kept = np.delete(np.arange(20), 4)
    again = three_causes(
        d[np.ix_(kept, kept)], stressed[kept], errors[kept], trained[kept], permutations=99, rng=rng()
    )
    assert again.stressed == found.stressed


LINE = np.linspace(0, 1, 80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"errors": np.where(np.arange(80) >= 40, 0.9, 0.1)}, "wholly determined by"),
        ({"errors": LINE, "trained": -3 * LINE + 1}, "can be told apart, got 'less (accurate|trained)'"),
        ({"errors": np.full(80, 0.3)}, "differ in the cause 'less accurate'"),
        ({"stressed": np.zeros(80, dtype=bool)}, "differ in the cause 'stressed'"),
        ({"stressed": np.zeros(80)}, "one boolean for each model"),
        ({"errors": LINE[:7]}, "one number for each of the 80 models in errors"),
        ({"trained": np.where(LINE == 0, np.inf, LINE)}, "finite errors and amounts .* inf for model 0"),
        ({"clusters": np.arange(80) % 5}, "at least 6 independent members"),
        ({"clusters": LINE}, "one member number"),
        ({"families": np.arange(80) // 3}, "at least 4 usable models in family"),
        ({"level": 5}, "level as a probability"),
        ({"errors": np.where(np.arange(80) == 7, 1.0, 0.1)}, "when any one member is left out"),
    ],
)
def test_the_regression_refuses_a_bad_request_in_one_line(change, message):
    with pytest.raises(AkpError, match=message) as caught:
        caused((0.0, 0.0, 0.0), **change)
    assert "\n" not in str(caught.value)


def test_identical_models_have_no_log_contribution():
    with pytest.raises(AkpError, match="exactly on it"):
        three_causes(np.zeros((20, 20)), np.arange(20) >= 10, LINE[:20], LINE[:20] ** 2, rng=rng())


def test_more_pairs_come_before_closer_pairs():
    """One perfect pair would leave the other two models without a partner."""
    errors, unhappy = np.array([0.0, 0.19, 0.19, 0.38]), np.arange(4) >= 2
    found = matched_comparison(
        population(np.ones(4)), errors, unhappy, caliper=0.2, permutations=9, rng=rng()
    )
    assert found.pairs.tolist() == [[2, 0], [3, 1]]
    assert "only 2 of 2" in found.reason
