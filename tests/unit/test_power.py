from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.dispersion import anna_karenina_test
from akp_core.dispersion.contributions import contrast, pseudo_values
from akp_core.dispersion.power import effective_dimension, members_needed, power
from akp_core.dispersion.simulated import contrasts, simulated_families, simulated_p_values
from akp_core.errors import AkpError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cloud(members: int, dim: int, seed: int = 0, tails: float = np.inf) -> np.ndarray:
    draw = rng(seed)
    points = draw.standard_normal((members, dim))
    if np.isfinite(tails):
        points /= np.sqrt(draw.chisquare(tails, (members, 1)) / tails)
    return cdist(points, points)


def test_the_vectorised_test_is_the_anna_karenina_test():
    """Five members a family: all 252 assignments are used by both, so p values agree exactly."""
    contributions, expected = ([], []), []
    for seed in range(8):
        d = cloud(10, 6, seed) * np.where(np.arange(10) >= 5, 1.5, 1.0)[:, None]
        d = (d + d.T) / 2
        for k, family in enumerate((slice(5), slice(5, 10))):
            contributions[k].append(pseudo_values(d[family, family] ** 2))
        expected.append(anna_karenina_test(d, np.arange(10) >= 5, permutations=999, rng=rng()).p_value)
    h, u = np.array(contributions[0]), np.array(contributions[1])
    assert np.allclose(simulated_p_values(h, u, 999, rng()), expected, rtol=1e-12)


def test_the_vectorised_statistic_is_the_contrast_for_any_assignment():
    pooled, chosen = rng(1).random((3, 12)), rng(2).permuted(np.tile(np.arange(12), (7, 1)), axis=1)
    mask = np.zeros((7, 12))
    np.put_along_axis(mask, chosen[:, :6], 1, axis=1)
    explicit = contrast(pooled[:, chosen[:, :6]], pooled[:, chosen[:, 6:]])
    assert np.allclose(contrasts(pooled[:, :6], pooled[:, 6:], mask, paired=False), explicit, rtol=1e-9)


def test_the_vectorised_paired_statistic_is_the_contrast_for_any_swap():
    u, h = rng(1).random((3, 6)), rng(2).random((3, 6))
    swap = rng(3).random((7, 6)) < 0.5
    explicit = contrast(
        np.where(swap, h[:, None], u[:, None]), np.where(swap, u[:, None], h[:, None]), paired=True
    )
    assert np.allclose(contrasts(u, h, swap.astype(float), paired=True), explicit, rtol=1e-9)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("ratio", [1.0, 16.0, 64.0, 1e4])
def test_p_is_never_less_than_all_permutations_allow(ratio, paired):
    """Means taken as what the other family leaves of the whole gave p below 2 / 70 from a ratio of 16 on."""
    for seed in range(4):
        h, u = simulated_families(4, ratio, 0.5 * paired, None, 10, 500, rng(seed))
        least = 2 / 16 if paired else 2 / 70
        p = simulated_p_values(h, u, 999, rng(), paired=paired)
        assert p.min() >= least * (1 - 1e-12)
        assert ratio < 10 or paired or np.mean(p < 1.01 * least) > 0.99


@pytest.mark.parametrize("paired", [False, True])
def test_drawn_permutations_count_what_was_observed(paired):
    h, u = simulated_families(12, 64.0, 0.5 * paired, None, 50, 20, rng())
    assert np.allclose(simulated_p_values(h, u, 99, rng(), paired=paired), 2 / 100)


def test_the_paired_p_value_is_that_of_the_paired_test():
    contributions, wanted = ([], []), []
    for seed in range(8):
        points = rng(seed).standard_normal((14, 6))
        points[7:] = 1.4 * (points[:7] + 0.8 * points[7:])
        d = cdist(points, points)
        for k, family in enumerate((slice(7), slice(7, 14))):
            contributions[k].append(pseudo_values(d[family, family] ** 2))
        twins = np.tile(np.arange(7), 2)
        found = anna_karenina_test(d, np.arange(14) >= 7, paired=twins, permutations=999, rng=rng())
        wanted.append(found.p_value)
    h, u = np.array(contributions[0]), np.array(contributions[1])
    assert np.allclose(simulated_p_values(h, u, 999, rng(), paired=True), wanted, rtol=1e-12)


def test_paired_power_is_that_of_the_whole_paired_test():
    draw, found, twins = rng(7), 0, np.tile(np.arange(8), 2)
    for _ in range(300):
        points = draw.standard_normal((16, 10))
        points[8:] = 1.5 * (0.7 * points[:8] + np.sqrt(0.51) * points[8:])
        d = cdist(points, points)
        judged = anna_karenina_test(d, np.arange(16) >= 8, paired=twins, permutations=299, rng=draw)
        found += judged.verdict == "AKP"
    simulated = power(1.5, 8, dimension=10, paired=True, correlation=0.7, permutations=299, rng=rng())
    assert stats.binomtest(found, 300, simulated.power).pvalue > 0.001


def test_twins_give_power_the_more_the_more_alike_they_are():
    how = {"dimension": 10, "paired": True}
    found = [power(1.4, 12, correlation=c, rng=rng(), **how).power for c in (0.0, 0.5, 0.8, 0.95)]
    assert (np.diff(found) > 0).all()
    size = power(1.0, 12, correlation=0.8, simulations=2000, permutations=199, rng=rng(), **how)
    assert stats.binom.ppf(0.0005, 2000, 0.02) <= 2000 * size.power <= stats.binom.ppf(0.9995, 2000, 0.05)
    needed = members_needed(1.4, correlation=0.8, rng=rng(), **how)
    assert needed.members < members_needed(1.4, dimension=10, rng=rng()).members
    assert (needed.paired, needed.correlation) == (True, 0.8)


def test_a_level_out_of_reach_has_no_power_and_says_why():
    five, six = (power(8.0, n, dimension=50, paired=True, rng=rng()) for n in (5, 6))
    assert (five.power, five.interval, five.smallest_p) == (0.0, (0.0, 0.0), 2 / 32)
    assert six.power > 0.9
    assert six.smallest_p == 2 / 64
    four = power(64.0, 4, dimension=50, level=0.01, rng=rng())
    assert (four.power, four.smallest_p) == (0.0, 2 / 70)
    assert members_needed(8.0, dimension=50, paired=True, rng=rng()).members == 6
    with pytest.raises(AkpError, match=r"at least 40 permutations for a p below 0.05, got 39"):
        power(2.0, 8, dimension=5, permutations=39, rng=rng())
    assert power(2.0, 8, dimension=5, permutations=40, simulations=50, rng=rng()).power > 0


def test_numbers_of_numpy_are_numbers():
    ours = power(1.5, 6, dimension=5.0, level=0.05, simulations=50, permutations=99, rng=rng())
    theirs = power(
        np.float32(1.5), np.int64(6), dimension=np.float64(5), level=np.float64(0.05),
        simulations=np.int32(50), permutations=np.int64(99), rng=rng(),
    )  # fmt: skip
    assert ours == theirs
    assert (
        members_needed(np.float32(3), power=np.float32(0.75), dimension=np.int64(20), rng=rng()).members < 9
    )


def test_power_is_that_of_the_whole_test_on_points():
    draw, found = rng(7), 0
    for _ in range(300):
        points = draw.standard_normal((16, 10)) * np.where(np.arange(16) >= 8, 1.5, 1.0)[:, None]
        d = cdist(points, points)
        found += anna_karenina_test(d, np.arange(16) >= 8, permutations=299, rng=draw).verdict == "AKP"
    simulated = power(1.5, 8, dimension=10, permutations=299, rng=rng())
    assert stats.binomtest(found, 300, simulated.power).pvalue > 0.001


def test_power_grows_with_members_and_with_the_ratio():
    by_members = [power(1.4, n, dimension=10, rng=rng()).power for n in (4, 6, 8, 12, 16, 24, 40)]
    by_ratio = [power(r, 10, dimension=10, rng=rng()).power for r in (1.0, 1.15, 1.3, 1.5, 2.0)]
    by_dimension = [power(1.3, 10, dimension=d, rng=rng()).power for d in (2, 5, 15, 60)]
    for curve in (by_members, by_ratio, by_dimension):
        assert (np.diff(curve) > 0).all()
    assert by_members[-1] > 0.99
    assert power(1 / 1.5, 10, dimension=10, rng=rng()).power == pytest.approx(by_ratio[3], abs=0.05)


@pytest.mark.parametrize("source", ["dimension", "pilot", "heavy pilot"])
def test_a_ratio_of_one_gives_the_size(source):
    of = (
        {"dimension": 10.0}
        if source == "dimension"
        else {"pilot": cloud(12, 20, 3, 3 if "heavy" in source else np.inf)}
    )
    found = power(1.0, 10, simulations=2000, permutations=199, rng=rng(), **of)
    assert stats.binom.ppf(0.0005, 2000, 0.02) <= 2000 * found.power <= stats.binom.ppf(0.9995, 2000, 0.05)
    assert found.interval[0] < found.power < found.interval[1]


def test_a_heavy_tailed_pilot_has_less_power():
    light = power(1.4, 12, pilot=cloud(30, 30, 1), rng=rng())
    heavy = power(1.4, 12, pilot=cloud(30, 30, 1, tails=3), rng=rng())
    assert heavy.interval[1] < light.interval[0]


def test_the_interval_is_clopper_and_pearson():
    found = power(3.0, 20, dimension=50, simulations=100, permutations=99, rng=rng())
    assert found.power == 1.0
    assert found.interval == pytest.approx((0.025 ** (1 / 100), 1.0))


@pytest.mark.parametrize(("ratio", "d"), [(1.5, 10), (1.3, 40), (1 / 1.5, 10), (3.0, 100)])
def test_members_needed_is_the_least_that_reaches_the_power(ratio, d):
    found = members_needed(ratio, dimension=d, rng=rng(3))
    seed = int(rng(3).integers(2**63))
    assert found.power >= 0.8
    assert found == power(ratio, found.members, dimension=d, rng=rng(seed))
    if found.members > 4:
        assert power(ratio, found.members - 1, dimension=d, rng=rng(seed)).power < 0.8
    first_guess = 1 + (stats.norm.ppf([0.975, 0.8]).sum() / np.log(ratio)) ** 2 / d
    assert first_guess - 1 <= found.members <= 1.5 * first_guess + 4


def test_members_needed_says_when_there_are_not_enough():
    with pytest.raises(AkpError, match="with at most 10 members, got 0"):
        members_needed(1.05, dimension=5, most=10, simulations=200, permutations=99, rng=rng())


@pytest.mark.parametrize(("members", "dim"), [(8, 5), (10, 50), (20, 20)])
def test_effective_dimension_is_not_bounded_by_the_members(members, dim):
    found = [effective_dimension(cloud(members, dim, seed)) for seed in range(300)]
    assert np.median(found) == pytest.approx(dim, rel=0.08)


def test_effective_dimension_of_known_shapes():
    line = np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0)))
    assert effective_dimension(line) == pytest.approx(1.0, abs=0.35)
    assert effective_dimension(1 - np.eye(8)) == np.inf
    spectrum = 1 / np.arange(1, 41)
    truth = spectrum.sum() ** 2 / (spectrum**2).sum()
    found = []
    for seed in range(200):
        points = rng(seed).standard_normal((20, 40)) * np.sqrt(spectrum)
        found.append(effective_dimension(1e-8 * cdist(points, points)))
    assert np.median(found) == pytest.approx(truth, rel=0.1)
    d = cloud(9, 5)
    missing = np.pad(d, (0, 1), constant_values=np.nan)
    assert effective_dimension(missing) == pytest.approx(effective_dimension(d))


def test_traces_are_averages_over_all_quadruples():
    """Independent, slow computation of both U-statistics."""
    from itertools import permutations

    from akp_core.dispersion.dimension import squared_trace, trace_of_square

    x = rng(5).standard_normal((6, 3))
    quads = list(permutations(range(6), 4))
    square = np.mean([((x[i] - x[j]) @ (x[k] - x[m])) ** 2 / 4 for i, j, k, m in quads])
    trace = np.mean([((x[i] - x[j]) ** 2).sum() * ((x[k] - x[m]) ** 2).sum() / 4 for i, j, k, m in quads])
    q = cdist(x, x, "sqeuclidean")
    assert trace_of_square(q) == pytest.approx(square)
    assert squared_trace(q) == pytest.approx(trace)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dimension": None}, "either dimension or pilot, got neither"),
        ({"pilot": cloud(6, 3)}, "either dimension or pilot, got both"),
        ({"dimension": 0.5}, "dimension as a number of at least 1"),
        ({"dimension": float("nan")}, "dimension as a number of at least 1"),
        ({"dimension": None, "pilot": cloud(3, 3)}, "at least 4 usable models"),
        ({"dimension": None, "pilot": np.zeros((6, 6))}, "models that differ"),
        ({"ratio": 0}, "ratio as a number above 0"),
        ({"ratio": float("nan")}, "ratio as a number above 0"),
        ({"members": 3}, "members as a whole number of at least 4"),
        ({"ratio": True}, "ratio as a number above 0"),
        ({"paired": 1}, "paired as True or False"),
        ({"paired": True, "correlation": 1.0}, "correlation as a number from 0 to 0.99"),
        ({"correlation": float("nan")}, "correlation as a number from 0 to 0.99"),
        ({"permutations": 2.5}, "permutations as a whole number"),
        ({"simulations": 0}, "simulations as a whole number"),
        ({"level": 1}, "level as a probability"),
        ({"rng": 0}, "numpy.random.Generator"),
    ],
)
def test_power_refuses_a_bad_request_in_one_line(change, message):
    request = {"ratio": 1.5, "members": 8, "dimension": 5, "rng": rng(), **change}
    with pytest.raises(AkpError, match=message):
        power(request.pop("ratio"), request.pop("members"), **request)


@pytest.mark.parametrize(
    ("ratio", "wanted", "message"), [(1, 0.8, "other than 1"), (1.5, 1.0, "power as a number")]
)
def test_members_needed_refuses_a_bad_request(ratio, wanted, message):
    with pytest.raises(AkpError, match=message):
        members_needed(ratio, power=wanted, dimension=5, rng=rng())
