"""The regression of dispersion on three causes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from akp_core.dispersion.causes import three_causes
from akp_core.dispersion.clustered import sign_flips, wild_p_value
from akp_core.errors import AkpError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def population(spread: np.ndarray, *, dim: int = 12, seed: int = 0) -> np.ndarray:
    points = spread[:, None] * rng(seed).standard_normal((len(spread), dim))
    return cdist(points, points)


def caused(b: tuple[float, float, float], *, members: int = 40, seed: int = 0, **options):
    """A population whose log variances follow stress, error and lack of training with coefficients b."""
    draw = rng(seed)
    stressed = np.arange(2 * members) >= members
    errors = 0.5 * stressed + 0.5 * draw.standard_normal(2 * members)
    trained = -0.5 * stressed - 0.3 * errors + 0.5 * draw.standard_normal(2 * members)
    d = population(np.exp((b[0] * stressed + b[1] * errors - b[2] * trained) / 2), dim=40, seed=seed + 1)
    arguments = {"stressed": stressed, "errors": errors, "trained": trained, "permutations": 999, **options}
    return three_causes(
        d, arguments.pop("stressed"), arguments.pop("errors"), arguments.pop("trained"),
        rng=rng(), **arguments,
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


def slow_statistic(x: np.ndarray, others: np.ndarray, y: np.ndarray, codes: np.ndarray) -> float:
    """|t| of x with the cluster-robust (CR0) error, from one full regression."""
    design = np.column_stack([x, others, np.ones(len(y))])
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ y
    scores = [design[codes == c].T @ (y - design @ beta)[codes == c] for c in np.unique(codes)]
    return float(abs(beta[0]) / np.sqrt((inverse @ sum(np.outer(s, s) for s in scores) @ inverse)[0, 0]))


@pytest.mark.parametrize("exact", [True, False])
def test_the_wild_bootstrap_flips_restricted_residuals_by_whole_clusters(exact):
    """Against full regressions of outcomes built one by one."""
    draw, codes = rng(2), np.repeat(np.arange(7), 3)
    x, others = draw.standard_normal(21), draw.standard_normal((21, 2))
    y = 0.5 * x + others.sum(axis=1) + draw.standard_normal(7)[codes] + draw.standard_normal(21)
    signs, all_of_them = sign_flips(7, 128 if exact else 50, rng(3))
    assert all_of_them == exact
    design = np.column_stack([others, np.ones(21)])
    fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    observed = slow_statistic(x, others, y, codes)
    null = [slow_statistic(x, others, fitted + s[codes] * (y - fitted), codes) for s in signs]
    extreme = int((np.array(null) >= observed * (1 - 1e-9)).sum())
    wanted = extreme / 128 if exact else (1 + extreme) / 51
    assert 0.02 < wanted < 0.9
    assert wild_p_value(x, others, y, codes, signs, exact=exact) == pytest.approx(wanted, abs=1e-12)


def test_signs_are_fair_independent_and_complete():
    every, exact = sign_flips(6, 64, rng())
    assert exact
    assert {tuple(row) for row in every.tolist()} == set(product((-1.0, 1.0), repeat=6))
    some, exact = sign_flips(6, 63, rng())
    assert not exact
    assert some.shape == (63, 6)
    many = sign_flips(30, 20_000, rng())[0]
    assert set(np.unique(many)) == {-1.0, 1.0}
    assert np.abs(many.T @ many / len(many) - np.eye(30)).max() < 0.04
    assert np.abs(many.mean(axis=0)).max() < 0.04


def test_a_drawn_bootstrap_counts_what_was_observed():
    """No draw is as extreme: p is 1 / (1 + draws), never 0."""
    strong = [caused((0.0, 4.0, 0.0), permutations=n).less_accurate.p_value for n in (19, 199)]
    assert strong == [1 / 20, 1 / 200]
    assert caused((0.0, 4.0, 0.0), permutations=19).smallest_p == 1 / 20


def test_numbers_of_numpy_are_numbers():
    ours = caused((0.0, 1.0, 0.0), level=0.125, permutations=99)
    theirs = caused((0.0, 1.0, 0.0), level=np.float32(0.125), permutations=np.int64(99))
    assert ours == theirs
