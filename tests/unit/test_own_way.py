from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from akp_core.dispersion.own_way import OwnWay, own_way
from akp_core.errors import AkpError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def families(
    shift: float, spread: float, *, happy: int = 12, unhappy: int = 12, dim: int = 30, seed: int = 0
):
    """Happy and unhappy points, the unhappy ones shifted in one direction and spread in all."""
    draw = rng(seed)
    h, u = draw.standard_normal((happy, dim)), spread * draw.standard_normal((unhappy, dim))
    u[:, 0] += shift
    return np.concatenate([h, u]), np.arange(happy + unhappy) >= happy


def flat(points: np.ndarray, unhappy: np.ndarray, **options) -> OwnWay:
    return own_way(cdist(points, points), unhappy, sphere=False, rng=rng(), rotations=999, **options)


def on_sphere(points: np.ndarray, height: float) -> np.ndarray:
    points = np.column_stack([np.full(len(points), height), points])
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_the_index_is_the_formula_on_explicit_points():
    points, unhappy = families(4.0, 1.5)
    found = flat(points, unhappy)
    h, u = points[~unhappy], points[unhappy]
    v = u - h.mean(0)
    error = np.trace(np.cov(h.T)) / len(h)
    shared = np.mean([v[i] @ v[j] for i in range(12) for j in range(12) if i != j]) - error
    total = np.mean((v**2).sum(1)) - error
    assert found.index == pytest.approx(1 - shared / total, abs=1e-12)
    assert found.shared == pytest.approx(np.sqrt(shared), abs=1e-12)
    assert found.reach == pytest.approx(np.sqrt(total / (12 * error)), abs=1e-12)
    lengths = np.linalg.norm(v, axis=1)
    assert np.allclose(found.cosines, v @ v.T / np.outer(lengths, lengths), atol=1e-12)
    assert np.array_equal(found.used, np.arange(12, 24))


def test_the_paired_index_is_the_formula_on_explicit_points():
    points, unhappy = families(4.0, 1.5)
    order = rng(3).permutation(12)
    found = flat(points, unhappy, paired=np.concatenate([np.arange(12), order]))
    v = np.empty((12, 30))
    v[order] = points[unhappy]
    v -= points[~unhappy]
    shared = np.mean([v[i] @ v[j] for i in range(12) for j in range(12) if i != j])
    assert found.index == pytest.approx(1 - shared / np.mean((v**2).sum(1)), abs=1e-12)
    assert found.paired


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(("shift", "spread", "verdict"), [(30.0, 1.0, "one way"), (0.0, 3.0, "own way")])
@pytest.mark.parametrize("sphere", [False, True])
def test_a_shift_is_one_way_and_a_spread_is_own_way(paired, shift, spread, verdict, sphere):
    points, unhappy = families(shift, spread)
    pairs = np.tile(np.arange(12), 2) if paired else None
    if sphere:
        points = on_sphere(points, 20.0)
    found = own_way(cdist(points, points), unhappy, paired=pairs, sphere=sphere, rotations=999, rng=rng())
    assert found.verdict == verdict
    assert found.interval[0] < found.index < found.interval[1]
    assert (found.p_value < 0.05) == (verdict == "one way")
    assert (found.null[0] <= found.index <= found.null[1]) == (verdict == "own way")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.verdict = "undecided"


@pytest.mark.parametrize("paired", [False, True])
def test_the_index_recovers_a_planted_share_without_bias(paired):
    """A quarter of the squared displacement is shared; the error of 5 happy models would add 60 % to it."""
    found = []
    for seed in range(200):
        draw = rng(seed)
        h, u = draw.standard_normal((5, 30)), draw.standard_normal((5, 30))
        u = h + u if paired else u
        u[:, 0] += np.sqrt(10.0)
        points = np.concatenate([h, u])
        pairs = np.tile(np.arange(5), 2) if paired else None
        found.append(flat(points, np.arange(10) >= 5, paired=pairs).index)
    assert np.mean(found) == pytest.approx(0.75, abs=0.03)  # unpaired and uncorrected: 0.65


def test_going_far_on_a_sphere_in_independent_directions_is_not_one_way():
    """At right angles to the centre every displacement shares half of itself: curvature, not direction."""
    draw = rng(1)
    h = on_sphere(0.02 * draw.standard_normal((12, 100)), 1.0)
    u = on_sphere(draw.standard_normal((12, 100)), 0.0)
    points, unhappy = np.concatenate([h, u]), np.arange(24) >= 12
    bent = own_way(cdist(points, points), unhappy, sphere=False, rotations=999, rng=rng())
    found = own_way(cdist(points, points), unhappy, rotations=999, rng=rng())
    assert bent.index == pytest.approx(0.5, abs=0.05)
    assert bent.p_value < 0.01
    assert found.index == pytest.approx(1.0, abs=0.05)
    assert found.verdict == "own way"


def test_models_no_different_from_happy_ones_stay_undecided():
    verdicts = [flat(*families(0.0, 1.0, seed=seed)).verdict for seed in range(20)]
    assert verdicts.count("undecided") >= 17


def test_opposing_ways_are_above_one():
    points, unhappy = families(0.0, 1.0)
    points[12:18], points[18:] = points[:6], points[:6]
    points[12:18, 0] += 50
    points[18:, 0] -= 50
    found = flat(points, unhappy)
    assert 1.02 < found.index < 12 / 11 + 0.02
    assert found.cosines[0, 1] > 0.9
    assert found.cosines[0, 6] < -0.9


def test_rotation_translation_and_scale_do_not_enter():
    points, unhappy = families(4.0, 1.5)
    turn = np.linalg.qr(rng(5).standard_normal((30, 30)))[0]
    one, other = flat(points, unhappy), flat(1e-6 * (points @ turn + 7), unhappy)
    assert other.index == pytest.approx(one.index, abs=1e-9)
    assert other.interval == pytest.approx(one.interval, abs=1e-6)
    assert other.p_value == one.p_value
    assert other.shared == pytest.approx(1e-6 * one.shared, rel=1e-6)
    torches = own_way(
        torch.from_numpy(cdist(points, points)),
        torch.from_numpy(unhappy),
        sphere=False,
        rotations=999,
        rng=rng(),
    )
    assert torches.index == one.index


def finite(found: OwnWay) -> bool:
    numbers = [found.index, *found.interval, found.p_value, *found.null, found.shared, found.reach,
               *found.reach_interval, found.dimension]  # fmt: skip
    return not np.isnan(numbers).any() and bool(np.isfinite(found.cosines).all())


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize(
    "case", ["nobody moved", "all to one place", "identical happy", "all identical", "a line"]
)
def test_degenerate_families_have_numbers_not_nan(case, paired):
    points, unhappy = families(5.0, 1.0, happy=6, unhappy=6)
    verdict = None
    if case == "nobody moved":
        points[6:], verdict = points[:6], "undecided" if paired else None
    elif case == "all to one place":
        points[6:] = points[6] + 30
        verdict = "one way"
    elif case == "identical happy":
        points[:6] = points[0]
    elif case == "all identical":
        points[:], verdict = points[0], "undecided"
    else:
        points[:, 1:] = 0
        verdict = "one way" if paired else None
        points[6:] += 100
    found = flat(points, unhappy, paired=np.tile(np.arange(6), 2) if paired else None)
    assert finite(found)
    assert verdict in (None, found.verdict)


def test_models_without_representation_or_twin_are_left_out_and_counted():
    points, unhappy = families(3.0, 1.0)
    d = cdist(points, points)
    d[[0, 20]] = np.nan
    d[:, [0, 20]] = np.nan
    found = own_way(d, unhappy, sphere=False, rotations=99, rng=rng())
    assert (found.members, found.excluded) == ((11, 11), (1, 1))
    kept = np.delete(np.arange(24), [0, 20])
    assert found.index == flat(points[kept], unhappy[kept]).index
    assert 20 not in found.used
    paired = own_way(d, unhappy, paired=np.tile(np.arange(12), 2), sphere=False, rotations=99, rng=rng())
    assert (paired.members, paired.unmatched) == ((10, 10), (1, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unhappy": np.arange(24) >= 21}, "at least 4 usable models in the unhappy family"),
        ({"unhappy": np.arange(24)}, "one boolean for each of the 24 models"),
        ({"paired": np.zeros(24, dtype=int)}, "each pair number at most once"),
        ({"sphere": True}, "give sphere=False"),
        ({"rotations": 0}, "whole number from 1"),
        ({"level": 1.0}, "level as a probability"),
        ({"rng": np.random}, "numpy.random.Generator"),
        ({"distances": np.ones((24, 24))}, "distance 0 of a model to itself"),
    ],
)
def test_a_bad_request_gets_one_clear_line(change, message):
    points, unhappy = families(3.0, 1.0)
    request = {
        "distances": cdist(points, points),
        "unhappy": unhappy,
        "sphere": False,
        "rng": rng(),
        **change,
    }
    with pytest.raises(AkpError, match=message) as caught:
        own_way(request.pop("distances"), request.pop("unhappy"), **request)
    assert "\n" not in str(caught.value)


def test_happy_models_with_nothing_in_common_have_no_centre_on_the_sphere():
    points = np.linalg.qr(rng().standard_normal((40, 24)))[0].T
    with pytest.raises(AkpError, match="something in common"):
        own_way(cdist(points, points), np.arange(24) >= 12, rng=rng())
