"""What the test promises about error rates, checked by simulation with fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.dispersion import (
    AnnaKarenina,
    anna_karenina_test,
    location_test,
    matched_comparison,
    permdisp,
)

SIMULATIONS = 400


def cloud(draw: np.random.Generator, members: int, dim: int, tails: float) -> np.ndarray:
    """Points with Gaussian (tails infinite) or multivariate t (tails degrees of freedom) distribution."""
    points = draw.standard_normal((members, dim))
    return points if np.isinf(tails) else points / np.sqrt(draw.chisquare(tails, (members, 1)) / tails)


def twins(draw: np.random.Generator, pairs: int, dim: int, tails: float) -> np.ndarray:
    """Happy models and stressed twins that share most of their deviation."""
    happy = cloud(draw, pairs, dim, tails)
    return np.concatenate([happy, 0.7 * happy + np.sqrt(0.51) * cloud(draw, pairs, dim, tails)])


def simulate(
    happy: int, unhappy: int, dim: int, tails: float, *, paired: bool, scale: float = 1.0, shift: float = 0.0
) -> list[AnnaKarenina]:
    draw = np.random.default_rng([happy, unhappy, dim, paired])
    is_unhappy = np.arange(happy + unhappy) >= happy
    pairs = np.tile(np.arange(happy), 2) if paired else None
    found = []
    for _ in range(SIMULATIONS):
        points = twins(draw, happy, dim, tails) if paired else cloud(draw, happy + unhappy, dim, tails)
        points[is_unhappy] = scale * points[is_unhappy] + shift
        d = cdist(points, points)
        found.append(anna_karenina_test(d, is_unhappy, paired=pairs, permutations=399, rng=draw))
    return found


def rejections(found: list[AnnaKarenina]) -> int:
    return sum(f.verdict != "none" for f in found)


FAR = 100.0
SETTINGS = [
    pytest.param(10, 10, 5, np.inf, False, id="10+10, 5 dimensions"),
    pytest.param(10, 10, 200, np.inf, False, id="10+10, 200 dimensions"),
    pytest.param(6, 20, 20, np.inf, False, id="6+20"),
    pytest.param(20, 6, 20, np.inf, False, id="20+6"),
    pytest.param(10, 10, 20, 3, False, id="10+10, heavy tails"),
    pytest.param(6, 6, 50, 3, False, id="6+6, heavy tails"),
    pytest.param(10, 10, 20, np.inf, True, id="10 pairs"),
    pytest.param(10, 10, 20, 5, True, id="10 pairs, heavy tails"),
]


@pytest.mark.parametrize(("happy", "unhappy", "dim", "tails", "paired"), SETTINGS)
def test_about_five_percent_rejections_without_a_difference(happy, unhappy, dim, tails, paired):
    """The unhappy cloud lies far away, so this also shows that location alone gives no verdict."""
    found = simulate(happy, unhappy, dim, tails, paired=paired, shift=FAR)
    least, most = stats.binom.interval(0.999, SIMULATIONS, 0.05)
    assert least <= rejections(found) <= most
    signs = [f.verdict for f in found if f.verdict != "none"]
    assert 0 < signs.count("AKP") < len(signs)


@pytest.mark.parametrize("scale", [2.0, 1.0])
@pytest.mark.parametrize(("happy", "unhappy", "dim", "tails", "paired"), SETTINGS[:4] + SETTINGS[6:])
def test_the_interval_covers_the_true_log_ratio(happy, unhappy, dim, tails, paired, scale):
    found = simulate(happy, unhappy, dim, tails, paired=paired, scale=scale)
    covered = sum(f.interval[0] <= np.log(scale) <= f.interval[1] for f in found)
    least, most = stats.binom.interval(0.999, SIMULATIONS, 0.95)
    assert least <= covered <= most


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("scale", "verdict"), [(1.5, "AKP"), (1 / 1.5, "anti-AKP")])
def test_a_difference_is_found_more_often_with_more_members(paired, scale, verdict):
    power = [
        np.mean([f.verdict == verdict for f in simulate(m, m, 8, np.inf, paired=paired, scale=scale)])
        for m in (6, 10, 20)
    ]
    assert power[0] < power[1] < power[2]
    assert power[2] > 0.95


@pytest.mark.parametrize("paired", [False, True])
def test_location_test_rejects_five_percent_without_a_difference(paired):
    draw = np.random.default_rng(17)
    is_unhappy = np.arange(20) >= 10
    pairs = np.tile(np.arange(10), 2) if paired else None
    rejected = 0
    for _ in range(SIMULATIONS):
        points = twins(draw, 10, 10, np.inf) if paired else cloud(draw, 20, 10, np.inf)
        d = cdist(points, points)
        rejected += location_test(d, is_unhappy, paired=pairs, permutations=199, rng=draw).p_value <= 0.05
    least, most = stats.binom.interval(0.999, SIMULATIONS, 0.05)
    assert least <= rejected <= most


@pytest.mark.parametrize("driven", [False, True])
def test_matched_models_are_told_apart_in_five_percent_at_most(driven):
    """The stressed models err more; spread follows the error, or nothing."""
    draw = np.random.default_rng(23)
    stressed = np.arange(40) >= 20
    rejected = 0
    for _ in range(SIMULATIONS // 2):
        errors = draw.standard_normal(40) + 0.5 * stressed
        points = cloud(draw, 40, 20, np.inf) * (np.exp(0.3 * errors)[:, None] if driven else 1)
        found = matched_comparison(cdist(points, points), errors, stressed, permutations=199, rng=draw)
        assert found.test is not None
        rejected += found.verdict != "none"
    assert rejected <= stats.binom.ppf(0.999, SIMULATIONS // 2, 0.05)


@pytest.mark.parametrize(
    ("sizes", "dim", "tails"),
    [
        ((6, 6), 20, np.inf),
        ((6, 6), 20, 3),
        ((10, 10), 2, np.inf),
        ((10, 10), 20, 3),
        ((6, 14), 200, np.inf),
        ((6, 6, 6), 20, 3),
    ],
)
def test_contributions_keep_the_level_of_permdisp_where_distances_do_not(sizes, dim, tails):
    """Families lie far apart."""
    draw = np.random.default_rng([*sizes, dim, int(min(tails, 99))])
    families = np.repeat(np.arange(len(sizes)), sizes)
    rejected = {"contributions": 0, "distances": 0}
    for _ in range(SIMULATIONS):
        points = cloud(draw, len(families), dim, tails)
        points[:, 0] += FAR * families
        d = cdist(points, points)
        for permute in rejected:
            found = permdisp(d, families, permute=permute, permutations=199, rng=draw)
            rejected[permute] += found.p_value <= 0.05
    least, most = stats.binom.interval(0.999, SIMULATIONS, 0.05)
    assert least <= rejected["contributions"] <= most
    assert rejected["distances"] > rejected["contributions"]
    if np.isfinite(tails) or len(set(sizes)) > 1:
        assert rejected["distances"] > most


@pytest.mark.parametrize(("members", "share"), [(6, 0.031), (8, 0.036)])
def test_small_gaussian_families_are_tested_as_cautiously_as_stated(members, share):
    """The figures in the docstring of `anna_karenina_test`."""
    found = simulate(members, members, 20, np.inf, paired=False)
    least, most = stats.binom.interval(0.999, SIMULATIONS, share)
    assert least <= rejections(found) <= most
