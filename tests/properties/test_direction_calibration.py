"""Size, coverage and safety of the tests of direction and of causes, by simulation with fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.dispersion.causes import three_causes
from akp_core.dispersion.own_way import own_way
from akp_core.dispersion.power import power
from akp_core.errors import AkpError

SIMULATIONS = 300


def inside(count: int, probability: float) -> bool:
    least, most = stats.binom.interval(0.999, SIMULATIONS, probability)
    return bool(least <= count <= most)


def cloud(draw: np.random.Generator, members: int, spectrum: np.ndarray, tails: float) -> np.ndarray:
    points = draw.standard_normal((members, len(spectrum))) * np.sqrt(spectrum)
    return points if np.isinf(tails) else points / np.sqrt(draw.chisquare(tails, (members, 1)) / tails)


ROUND, STRETCHED = np.ones(20), 1 / np.arange(1, 51)
SETTINGS = [
    pytest.param(10, 10, ROUND, np.inf, 1.0, id="10+10"),
    pytest.param(6, 20, ROUND, np.inf, 2.0, id="6+20, twice as wide"),
    pytest.param(10, 10, STRETCHED, np.inf, 1.0, id="10+10, few directions"),
    pytest.param(10, 10, np.ones(200), 3, 1.0, id="10+10, heavy tails"),
]


@pytest.mark.parametrize("sphere", [False, True])
@pytest.mark.parametrize(("happy", "unhappy", "spectrum", "tails", "width"), SETTINGS)
def test_independent_directions_are_called_shared_five_times_in_a_hundred(
    happy, unhappy, spectrum, tails, width, sphere
):
    for paired in (False, True) if happy == unhappy else (False,):
        draw, rejected, covered = np.random.default_rng([happy, paired]), 0, 0
        pairs = np.tile(np.arange(happy), 2) if paired else None
        for _ in range(SIMULATIONS):
            h, u = cloud(draw, happy, spectrum, tails), width * cloud(draw, unhappy, spectrum, tails)
            points = np.concatenate([h, u + h if paired else u])
            if sphere:
                points = np.column_stack([np.full(len(points), 1.5 * np.sqrt(spectrum.sum())), points])
                points /= np.linalg.norm(points, axis=1, keepdims=True)
            found = own_way(
                cdist(points, points), np.arange(happy + unhappy) >= happy, paired=pairs, sphere=sphere,
                rotations=199, rng=draw,
            )  # fmt: skip
            rejected += found.p_value <= 0.05
            covered += found.interval[0] <= 1 <= found.interval[1]
        assert inside(rejected, 0.05)
        assert covered >= stats.binom.ppf(0.0005, SIMULATIONS, 0.95)


@pytest.mark.parametrize(("members", "paired", "by"), [(6, False, "permutation"), (4, True, "rotation")])
def test_few_models_in_few_directions_keep_even_a_strict_level(members, paired, by):
    """Random directions in one effective dimension gave 4 % at a nominal 1 % here."""
    draw, studies, p_values = np.random.default_rng(21), 1000, []
    pairs = np.tile(np.arange(members), 2) if paired else None
    for _ in range(studies):
        points = cloud(draw, 2 * members, STRETCHED, np.inf)
        found = own_way(
            cdist(points, points), np.arange(2 * members) >= members, paired=pairs, sphere=False, by=by,
            rotations=199, rng=draw,
        )  # fmt: skip
        p_values.append(found.p_value)
    for level in (0.05, 0.01):
        least, most = stats.binom.interval(0.999, studies, level)
        assert least <= np.sum(np.array(p_values) <= level) <= most


def test_models_far_out_on_the_sphere_are_not_called_shifted():
    """20 unhappy models four times as wide: without the pull of the centroid, 15 % at a nominal 5 %."""
    draw, rejected = np.random.default_rng(3), 0
    for _ in range(SIMULATIONS):
        points = draw.standard_normal((26, 20)) * np.where(np.arange(26) >= 6, 4.0, 1.0)[:, None]
        points = np.column_stack([np.full(26, np.sqrt(20)), points])
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        found = own_way(cdist(points, points), np.arange(26) >= 6, rotations=199, rng=draw)
        rejected += found.p_value <= 0.05
    assert inside(rejected, 0.05)


@pytest.mark.parametrize(
    ("happy", "unhappy", "alike"),
    [(3.0, 3.0, 0.3), (0.5, 2.5, 0.0), (2.5, 0.5, 0.5)],
    ids=["alike", "out", "in"],
)
def test_twins_on_the_sphere_keep_the_level_wherever_their_families_lie(happy, unhappy, alike):
    """Directions about one pole. Seen from the happy centroid alone: 0, 1 and 100 % at a nominal 5 %."""
    draw, rejected = np.random.default_rng(8), 0
    pairs = np.tile(np.arange(10), 2)
    for _ in range(SIMULATIONS):
        h, u = draw.standard_normal((2, 10, 50)) / np.sqrt(50)
        points = np.concatenate([happy * h, unhappy * (alike * h + np.sqrt(1 - alike**2) * u)])
        points[:, 0] += 1
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        found = own_way(
            cdist(points, points),
            np.arange(20) >= 10,
            paired=pairs,
            rotations=199,
            rng=draw,
        )
        rejected += found.p_value <= 0.05
    assert inside(rejected, 0.045)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_covers_a_planted_share(share, paired):
    draw, covered = np.random.default_rng(3), 0
    pairs = np.tile(np.arange(10), 2) if paired else None
    for _ in range(SIMULATIONS):
        h, u = cloud(draw, 10, ROUND, np.inf), cloud(draw, 10, ROUND, np.inf)
        u = u + h if paired else u
        u[:, 0] += np.sqrt(share / (1 - share) * 20)
        points = np.concatenate([h, u])
        found = own_way(
            cdist(points, points), np.arange(20) >= 10, paired=pairs, sphere=False, rotations=9, rng=draw
        )
        covered += found.interval[0] <= 1 - share <= found.interval[1]
    assert inside(covered, 0.95)


@pytest.mark.parametrize("twins", [False, True])
@pytest.mark.parametrize("at_work", [(0.0, 0.0, 0.0), (0.0, 1.0, 1.0), (1.0, 0.0, 1.0)])
def test_an_absent_cause_is_found_five_times_in_a_hundred(at_work, twins):
    draw, stressed = np.random.default_rng(11), np.arange(20) >= 10
    rejected, covered = np.zeros(3), np.zeros(3)
    for _ in range(SIMULATIONS):
        errors = 0.5 * stressed + 0.5 * draw.standard_normal(20)
        trained = -0.5 * stressed - 0.3 * errors + 0.5 * draw.standard_normal(20)
        points = draw.standard_normal((20, 10))
        if twins:
            points[10:] = 0.7 * points[:10] + np.sqrt(0.51) * points[10:]
        log_variance = at_work[0] * stressed + at_work[1] * errors - at_work[2] * trained
        points *= np.exp(log_variance / 2)[:, None]
        found = three_causes(
            cdist(points, points), stressed, errors, trained,
            clusters=np.tile(np.arange(10), 2) if twins else None, permutations=199, rng=draw,
        )  # fmt: skip
        for j, cause in enumerate((found.stressed, found.less_accurate, found.less_trained)):
            rejected[j] += cause.p_value <= 0.05
            truth = at_work[j] * cause.standardised / cause.coefficient
            covered[j] += cause.interval[0] <= truth <= cause.interval[1]
    for j in range(3):
        assert at_work[j] or inside(int(rejected[j]), 0.05)
        assert covered[j] >= stats.binom.ppf(0.0005, SIMULATIONS, 0.95)


@settings(deadline=None, max_examples=60)
@given(
    happy=st.integers(1, 9), unhappy=st.integers(1, 9), dim=st.integers(1, 12), scale=st.floats(-120, 118),
    copies=st.integers(0, 9), missing=st.integers(0, 3), paired=st.booleans(), seed=st.integers(0, 999),
    by=st.sampled_from(["permutation", "rotation"]),
)  # fmt: skip
def test_own_way_gives_numbers_or_one_clear_line(
    happy, unhappy, dim, scale, copies, missing, paired, seed, by
):
    draw = np.random.default_rng(seed)
    models = happy + unhappy
    points = 10.0**scale * draw.standard_normal((models, dim))
    points[: min(copies, models)] = points[0]
    d = cdist(points, points)
    gone = draw.permutation(models)[:missing]
    d[gone], d[:, gone] = np.nan, np.nan
    is_unhappy = np.arange(models) >= happy
    pairs = np.where(is_unhappy, np.arange(models) - happy, np.arange(models)) if paired else None
    try:
        found = own_way(d, is_unhappy, paired=pairs, sphere=False, by=by, rotations=19, rng=draw)
    except AkpError as error:
        message, found = str(error), None
    if found is None:
        assert "\n" not in message
        return
    numbers = [found.index, *found.interval, found.p_value, *found.null, found.shared, found.reach,
               *found.reach_interval, found.dimension]  # fmt: skip
    assert not np.isnan(numbers).any()
    assert np.isfinite(found.cosines).all()
    assert found.interval[0] <= found.index <= found.interval[1]
    assert 0 < found.p_value <= 1


@settings(deadline=None, max_examples=25)
@given(
    ratio=st.floats(1e-9, 1e9),
    members=st.integers(4, 30),
    dimension=st.floats(1, 2000),
    seed=st.integers(0, 99),
    paired=st.booleans(),
    correlation=st.floats(0, 0.99),
)
def test_power_is_a_share_inside_its_interval(ratio, members, dimension, seed, paired, correlation):
    found = power(
        ratio,
        members,
        dimension=dimension,
        paired=paired,
        correlation=correlation,
        simulations=40,
        permutations=99,
        rng=np.random.default_rng(seed),
    )
    assert found.power == 0 or found.smallest_p < 0.05
    assert 0 <= found.interval[0] <= found.power <= found.interval[1] <= 1
