from __future__ import annotations

import dataclasses
from itertools import combinations, product

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import ortho_group

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
    assert found.p_value > 0.05
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


def centred_ratio(points: np.ndarray, unhappy: np.ndarray) -> float:
    """Squared distance of the centroids over V_u / n_u + V_h / n_h."""
    h, u = points[~unhappy], points[unhappy]
    chance = sum(np.trace(np.atleast_2d(np.cov(x.T))) / len(x) for x in (h, u))
    return float(((u.mean(0) - h.mean(0)) ** 2).sum() / chance)


@pytest.mark.parametrize(("happy", "unhappy"), [(4, 5), (5, 5), (6, 4)])
def test_the_p_value_counts_all_permutations_of_the_families(happy, unhappy):
    """With the error of the happy centroid left out of what chance shares, other p values come out."""
    for seed in range(6):
        points, mask = families(1.5, 2.0, happy=happy, unhappy=unhappy, dim=4, seed=seed)
        models = happy + unhappy
        null = [
            centred_ratio(points, np.isin(np.arange(models), chosen))
            for chosen in combinations(range(models), unhappy)
        ]
        extreme = np.sum(np.array(null) >= centred_ratio(points, mask) * (1 - 1e-9))
        found = flat(points, mask)
        assert found.p_value == pytest.approx(extreme / len(null), abs=1e-12)
        assert found.smallest_p == (2 if happy == unhappy else 1) / len(null)


def test_the_paired_p_value_counts_all_signs_of_displacements():
    points, unhappy = families(2.0, 1.5, happy=7, unhappy=7, dim=4)
    v = points[unhappy] - points[~unhappy]
    signs = np.array(list(product((1, -1), repeat=7)))
    sums = ((signs @ v) ** 2).sum(axis=1)
    found = flat(points, unhappy, paired=np.tile(np.arange(7), 2))
    assert found.p_value == np.mean(sums >= sums[0] * (1 - 1e-9))
    assert found.smallest_p == 2 / 2**7


@pytest.mark.parametrize("paired", [False, True])
def test_a_drawn_null_counts_what_was_observed(paired):
    points, unhappy = families(30.0, 1.0)
    pairs = np.tile(np.arange(12), 2) if paired else None
    for by in ("permutation", "rotation"):
        found = own_way(
            cdist(points, points), unhappy, paired=pairs, sphere=False, by=by, rotations=49, rng=rng()
        )
        assert (found.p_value, found.smallest_p) == (1 / 50, 1 / 50)


@pytest.mark.parametrize("paired", [False, True])
def test_rotations_turn_the_models_themselves(paired):
    """Null quantiles from rotated points: Haar rotations about the common mean, statistics afresh."""
    points, unhappy = families(0.5, 1.0, happy=5, unhappy=6 - paired, dim=3)
    pairs = np.tile(np.arange(5), 2) if paired else None
    found = own_way(
        cdist(points, points), unhappy, paired=pairs, sphere=False, by="rotation", rotations=4000, level=0.5,
        rng=rng(),
    )  # fmt: skip
    draw, models, slow = rng(1), len(points), []
    basis = np.linalg.svd(np.ones((1, models)))[2][1:]
    for _ in range(4000):
        if paired:
            v = ortho_group.rvs(5, random_state=draw) @ (points[unhappy] - points[~unhappy])
            own, mean = v.var(axis=0, ddof=1).sum(), (v.mean(0) ** 2).sum()
            slow.append(own / (mean - own / 5 + own))
            continue
        turned = basis.T @ (ortho_group.rvs(models - 1, random_state=draw) @ (basis @ points))
        u, h = turned[unhappy], turned[~unhappy]
        v_u, v_h = u.var(axis=0, ddof=1).sum(), h.var(axis=0, ddof=1).sum()
        shared = ((u.mean(0) - h.mean(0)) ** 2).sum() - v_u / 6 - v_h / 5
        slow.append(v_u / (shared + v_u))
    assert found.null == pytest.approx(np.quantile(slow, [0.25, 0.75]), rel=0.06)


def test_four_pairs_are_too_few_for_permutations_but_not_for_rotations():
    points, unhappy = families(30.0, 1.0, happy=4, unhappy=4)
    pairs = np.tile(np.arange(4), 2)
    whole, mixed = (flat(points, unhappy, paired=pairs, by=by) for by in ("permutation", "rotation"))
    assert (whole.p_value, whole.smallest_p, whole.verdict) == (1 / 8, 1 / 8, "undecided")
    assert mixed.p_value < 0.01
    assert mixed.verdict == "one way"


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("by", ["permutation", "rotation"])
@pytest.mark.parametrize("power", [-400, -250, -9, 1, 250, 398])
def test_no_scale_that_distances_may_have_changes_anything(power, by, paired):
    """2 to the 398 is 6e119; products of four distances left the range of float64 from 1e75 on."""
    points, unhappy = families(2.0, 1.5, happy=8, unhappy=8)
    d, pairs = cdist(points, points), np.tile(np.arange(8), 2) if paired else None
    how = {"paired": pairs, "sphere": False, "by": by, "rotations": 99}
    one = own_way(d, unhappy, rng=rng(), **how)
    other = own_way(np.ldexp(d, power), unhappy, rng=rng(), **how)
    assert finite(other)
    assert other.shared == pytest.approx(np.ldexp(one.shared, power), rel=1e-9)
    assert (other.verdict, other.p_value) == (one.verdict, one.p_value)
    for name in ("index", "interval", "null", "reach", "reach_interval", "dimension"):
        assert getattr(other, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    assert np.allclose(other.cosines, one.cosines, atol=1e-12)


def test_very_close_models_on_a_sphere_are_as_in_the_plane():
    """Similarities round to 1 there; distances do not."""
    points, unhappy = families(2.0, 1.5, happy=8, unhappy=8)
    d = 1e-30 * cdist(points, points)
    flat_, bent = (own_way(d, unhappy, sphere=sphere, rotations=99, rng=rng()) for sphere in (False, True))
    assert (bent.index, bent.p_value) == (pytest.approx(flat_.index, rel=1e-9), flat_.p_value)


def test_numbers_of_numpy_are_numbers():
    points, unhappy = families(2.0, 1.5)
    how = {"sphere": False}
    ours = own_way(cdist(points, points), unhappy, rotations=99, level=0.125, rng=rng(), **how)
    theirs = own_way(
        cdist(points, points), unhappy, rotations=np.int64(99), level=np.float32(0.125), rng=rng(), **how
    )
    assert (ours.p_value, ours.interval) == (theirs.p_value, theirs.interval)


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
        ({"rotations": 0}, "rotations as a whole number of at least 1"),
        ({"by": "rotations"}, "did you mean 'rotation'"),
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
