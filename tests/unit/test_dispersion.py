from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.dispersion import PerFamily, anna_karenina_test, distance_to_centroid, location_test
from akp_core.dispersion.contributions import contrast, pseudo_values
from akp_core.errors import AkpError
from akp_core.similarity import chordal_distance, fingerprint, pairwise


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def clouds(happy: int, unhappy: int, *, scale: float = 1.0, shift: float = 0.0, dim: int = 8, seed: int = 0):
    """Points, distances and the unhappy mask of two Gaussian families."""
    draw = rng(seed)
    points = draw.standard_normal((happy + unhappy, dim))
    points[happy:] = scale * points[happy:] + shift
    return points, cdist(points, points), np.arange(happy + unhappy) >= happy


def rms_ratio(points: np.ndarray, unhappy: np.ndarray) -> float:
    """Independent computation of the effect: log ratio of unbiased total variances, halved."""
    u, h = (np.trace(np.cov(points[m].T)) for m in (unhappy, ~unhappy))
    return float(np.log(u / h) / 2)


def without(distances: np.ndarray, *members: int) -> np.ndarray:
    """Mark members as having no representation."""
    d = distances.copy()
    d[list(members)] = np.nan
    d[:, list(members)] = np.nan
    return d


def test_distance_to_centroid_is_the_explicit_one_on_fingerprints():
    draw = rng(1)
    base = draw.standard_normal((16, 6))
    members = [base + (0.2 + 0.1 * (i > 4)) * draw.standard_normal((16, 6)) for i in range(12)]
    family = np.array(["happy"] * 5 + ["unhappy"] * 7)
    rows = np.stack([fingerprint(m) for m in members])
    explicit = np.empty(12)
    for name in ("happy", "unhappy"):
        inside = family == name
        n = inside.sum()
        explicit[inside] = np.linalg.norm(rows[inside] - rows[inside].mean(0), axis=1) * np.sqrt(n / (n - 1))
    d = chordal_distance(pairwise(members))
    assert np.allclose(distance_to_centroid(d, family), explicit, atol=1e-12)
    found = anna_karenina_test(d, family == "unhappy", rng=rng(), permutations=99)
    assert found.dispersion.happy == pytest.approx(np.sqrt((explicit[:5] ** 2).mean()), abs=1e-12)
    assert found.dispersion.unhappy == pytest.approx(np.sqrt((explicit[5:] ** 2).mean()), abs=1e-12)


def test_small_sample_correction_makes_unequal_families_comparable():
    squares = []
    for seed in range(400):
        _, d, unhappy = clouds(3, 30, seed=seed)
        delta = distance_to_centroid(d, unhappy) ** 2
        squares.append([delta[:3].mean(), delta[3:].mean()])
    means = np.mean(squares, axis=0)
    assert np.allclose(means, 8, rtol=0.05)  # the population value; uncorrected, the first would be 5.3


def test_distance_to_centroid_of_a_missing_member_is_nan():
    _, d, unhappy = clouds(5, 5)
    whole, partial = distance_to_centroid(d, unhappy), distance_to_centroid(without(d, 2), unhappy)
    assert np.isnan(partial[2])
    assert np.isfinite(np.delete(partial, 2)).all()
    assert np.array_equal(whole[5:], partial[5:])


@pytest.mark.parametrize(("scale", "verdict"), [(2.5, "AKP"), (0.4, "anti-AKP"), (1.0, "none")])
@pytest.mark.parametrize("paired", [False, True])
def test_a_planted_difference_is_found_both_ways(scale, verdict, paired):
    points, d, unhappy = clouds(10, 10, scale=scale, shift=3.0)
    pairs = np.tile(np.arange(10), 2) if paired else None
    found = anna_karenina_test(d, unhappy, paired=pairs, rng=rng())
    assert found.verdict == verdict
    assert found.effect == pytest.approx(rms_ratio(points, unhappy), abs=1e-12)
    assert found.ratio == pytest.approx(math.exp(found.effect))
    assert found.interval[0] < found.effect < found.interval[1]
    assert (found.p_value < 0.05) == (verdict != "none") == (not found.interval[0] < 0 < found.interval[1])
    assert found.members == PerFamily(10, 10)
    assert found.excluded == found.unmatched == PerFamily(0, 0)
    assert found.paired == paired
    assert found.level == 0.05
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.verdict = "AKP"


def test_from_representations_to_a_verdict():
    draw = rng(5)
    base = draw.standard_normal((64, 20))
    noise = np.where(np.arange(20) < 10, 0.3, 0.9)
    members = torch.from_numpy(
        np.stack(
            [(base + s * draw.standard_normal((64, 20))) @ draw.standard_normal((20, 20)) for s in noise]
        )
    ).to(torch.float32)
    found = anna_karenina_test(
        chordal_distance(pairwise(members)), torch.from_numpy(noise > 0.5), rng=rng(), permutations=999
    )
    assert found.verdict == "AKP"


@pytest.mark.parametrize("paired", [False, True])
def test_neither_location_nor_unit_enters(paired):
    points, d, unhappy = clouds(10, 10, scale=1.5)
    pairs = np.tile(np.arange(10), 2) if paired else None
    near = anna_karenina_test(d, unhappy, paired=pairs, rng=rng(), permutations=499)
    points[unhappy] += 1000.0
    far = anna_karenina_test(cdist(points, points), unhappy, paired=pairs, rng=rng(), permutations=499)
    assert far.effect == pytest.approx(near.effect, abs=1e-9)
    assert far.p_value == near.p_value
    scaled = anna_karenina_test(1e-3 * d, unhappy, paired=pairs, rng=rng(), permutations=499)
    assert scaled.p_value == near.p_value
    assert scaled.interval == pytest.approx(near.interval)


def test_swapping_the_families_mirrors_the_result():
    _, d, unhappy = clouds(8, 8, scale=1.5)  # 12870 distinct permutations
    one = anna_karenina_test(d, unhappy, rng=rng(), permutations=12870)
    other = anna_karenina_test(d, ~unhappy, rng=rng(1), permutations=12870)
    assert other.effect == pytest.approx(-one.effect)
    assert other.interval == pytest.approx((-one.interval[1], -one.interval[0]))
    assert other.p_value == pytest.approx(one.p_value)
    assert one.smallest_p == pytest.approx(2 / 12870)


def test_collapsed_and_diverged_members_are_left_out_and_counted():
    _, d, unhappy = clouds(10, 10, scale=2.0)
    gone = [0, 12, 15]
    kept = np.setdiff1d(np.arange(20), gone)
    found = anna_karenina_test(without(d, *gone), unhappy, rng=rng(), permutations=499)
    direct = anna_karenina_test(d[np.ix_(kept, kept)], unhappy[kept], rng=rng(), permutations=499)
    assert found.excluded == PerFamily(1, 2)
    assert found.members == PerFamily(9, 8)
    assert dataclasses.replace(found, excluded=PerFamily(0, 0)) == direct


def test_a_missing_twin_takes_its_twin_along():
    _, d, unhappy = clouds(10, 10)
    order = rng(3).permutation(20)
    pairs = np.tile(np.arange(10), 2)
    d, unhappy, pairs = without(d, 0, 12)[np.ix_(order, order)], unhappy[order], pairs[order]
    found = anna_karenina_test(d, unhappy, paired=pairs, rng=rng(), permutations=499)
    assert found.members == PerFamily(8, 8)
    assert found.excluded == PerFamily(1, 1)
    assert found.unmatched == PerFamily(1, 1)
    kept = ~np.isin(pairs, [0, 2])
    direct = anna_karenina_test(
        d[np.ix_(kept, kept)], unhappy[kept], paired=pairs[kept], rng=rng(), permutations=499
    )
    assert found.p_value == direct.p_value
    assert found.effect == pytest.approx(direct.effect)


def test_pairing_matters_and_follows_the_pair_numbers():
    draw = rng(4)
    widths = np.exp(0.8 * draw.standard_normal((10, 1)))
    happy = widths * draw.standard_normal((10, 50))
    points = np.concatenate([happy, 1.3 * happy + 0.02 * draw.standard_normal((10, 50))])
    d, unhappy, pairs = cdist(points, points), np.arange(20) >= 10, np.tile(np.arange(10), 2)
    paired = anna_karenina_test(d, unhappy, paired=pairs, rng=rng())
    assert paired.verdict == "AKP"
    assert paired.interval[0] > 0
    assert anna_karenina_test(d, unhappy, rng=rng()).verdict == "none"
    order = draw.permutation(20)
    shuffled = anna_karenina_test(d[np.ix_(order, order)], unhappy[order], paired=pairs[order], rng=rng())
    assert shuffled.p_value == paired.p_value
    assert shuffled.interval == pytest.approx(paired.interval)
    wrong = np.concatenate([np.arange(10), np.roll(np.arange(10), 1)])
    assert anna_karenina_test(d, unhappy, paired=wrong, rng=rng()).verdict == "none"


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_leaves_out_one_model_at_a_time(paired):
    points, d, unhappy = clouds(7, 7 if paired else 12, scale=1.5)

    def log_pseudo_values(x: np.ndarray) -> np.ndarray:
        n, whole = len(x), np.log(np.trace(np.cov(x.T)))
        left_out = [np.log(np.trace(np.cov(np.delete(x, i, axis=0).T))) for i in range(n)]
        return n * whole - (n - 1) * np.array(left_out)

    u, h = log_pseudo_values(points[unhappy]), log_pseudo_values(points[~unhappy])
    welch = (
        stats.ttest_rel(u, h).confidence_interval(0.9)
        if paired
        else stats.ttest_ind(u, h, equal_var=False).confidence_interval(0.9)
    )
    found = anna_karenina_test(
        d, unhappy, paired=np.tile(np.arange(7), 2) if paired else None, level=0.1, permutations=99, rng=rng()
    )
    assert found.interval[1] - found.interval[0] == pytest.approx((welch.high - welch.low) / 2)
    assert sum(found.interval) / 2 == pytest.approx(rms_ratio(points, unhappy))


@pytest.mark.parametrize("paired", [False, True])
def test_the_statistic_is_studentised(paired):
    draw = rng(2)
    shared = draw.standard_normal((4000, 300))
    happy, unhappy = (np.exp((shared + draw.standard_normal((4000, 300))) / 3) for _ in range(2))
    t = contrast(2 * unhappy, 2 * happy if paired else 2 * happy[::-1], paired=paired)
    assert t.std() == pytest.approx(1, abs=0.05)
    assert abs(t.mean()) < 0.1


@pytest.mark.parametrize(("pairs", "smallest"), [(4, 2 / 16), (5, 2 / 32), (6, 2 / 64)])
def test_too_few_pairs_for_a_verdict_is_said(pairs, smallest):
    _, d, unhappy = clouds(pairs, pairs, scale=100.0)
    found = anna_karenina_test(d, unhappy, paired=np.tile(np.arange(pairs), 2), rng=rng())
    assert found.smallest_p == smallest
    assert found.p_value == pytest.approx(smallest)
    assert found.verdict == ("AKP" if smallest < 0.05 else "none")


def test_few_random_permutations_bound_the_p_value():
    _, d, unhappy = clouds(10, 10, scale=100.0)
    found = anna_karenina_test(d, unhappy, permutations=9, rng=rng())
    assert found.smallest_p == found.p_value == pytest.approx(0.2)
    assert found.verdict == "none"


def test_level_moves_verdict_and_interval():
    _, d, unhappy = clouds(10, 10, scale=1.6)
    loose, strict = (anna_karenina_test(d, unhappy, level=a, rng=rng()) for a in (0.2, 1e-3))
    assert loose.p_value == strict.p_value
    assert (loose.verdict, strict.verdict) == ("AKP", "none")
    assert strict.interval[0] < loose.interval[0] < loose.interval[1] < strict.interval[1]


@pytest.mark.parametrize("paired", [None, np.tile(np.arange(8), 2)])
def test_identical_models_never_give_nan(paired):
    points, _, unhappy = clouds(8, 8)
    same = np.zeros_like(points)
    for spread, effect, verdict in (
        (same, 0.0, "none"),
        (np.where(unhappy[:, None], points, same), np.inf, "AKP"),
        (np.where(unhappy[:, None], same, points), -np.inf, "anti-AKP"),
    ):
        d = np.sqrt(((spread[:, None] - spread[None]) ** 2).sum(-1))
        found = anna_karenina_test(d, unhappy, paired=paired, rng=rng(), permutations=999)
        assert found.effect == effect
        assert found.ratio == np.exp(effect)
        assert np.sign(found.standardised) == np.sign(effect)
        assert found.verdict == verdict
        assert found.interval == (-np.inf, np.inf)
        assert found.p_value == 1 if verdict == "none" else found.p_value < 0.02
        assert not np.isnan(found.dispersion).any()


def test_one_odd_model_among_identical_ones_has_no_finite_interval():
    points, _, unhappy = clouds(6, 6)
    points[6:] = 0
    points[6] = 50.0
    found = anna_karenina_test(cdist(points, points), unhappy, rng=rng(), permutations=999)
    assert found.interval == (-np.inf, np.inf)
    assert np.isfinite(found.effect)
    assert found.verdict == "none"


def test_equidistant_models_have_no_spread_of_spread():
    d = np.where(np.eye(10, dtype=bool), 0, 1.0)
    d[5:, 5:] *= 3
    d[:5, 5:] = d[5:, :5] = 5
    found = anna_karenina_test(d, np.arange(10) >= 5, rng=rng())
    assert found.effect == pytest.approx(np.log(3))
    assert found.interval == pytest.approx((np.log(3), np.log(3)), abs=1e-6)
    assert found.p_value == pytest.approx(2 / 252)
    assert found.standardised == np.inf


def test_same_generator_same_result():
    _, d, unhappy = clouds(10, 12, scale=1.1)
    runs = [anna_karenina_test(d, unhappy, rng=rng(s), permutations=499) for s in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0].p_value != runs[2].p_value


@pytest.mark.parametrize("sizes", [(12, 12), (5, 9, 20)])
def test_agrees_with_scikit_bio(sizes):
    skbio = pytest.importorskip("skbio")
    from skbio.stats.distance import permanova, permdisp

    members = sum(sizes)
    points = rng(6).standard_normal((members, 15)) * np.repeat([1, 1.5, 2][: len(sizes)], sizes)[:, None]
    points += np.repeat([0, 0.3, 0.1][: len(sizes)], sizes)[:, None]
    d, labels = cdist(points, points), np.repeat(["a", "b", "c"][: len(sizes)], sizes)
    d = (d + d.T) / 2
    oracle = skbio.DistanceMatrix(d)
    ours = location_test(d, labels, permutations=1999, rng=rng())
    theirs = permanova(oracle, labels, permutations=1999, seed=1)
    assert ours.pseudo_f == pytest.approx(theirs["test statistic"], abs=1e-10)
    p, error = ours.p_value, np.sqrt(2 * 0.25 / 1999)
    assert abs(p - theirs["p-value"]) < 4 * error
    assert 0.001 < p < 0.999

    delta = distance_to_centroid(d, labels)
    groups = [delta[labels == g] * np.sqrt(1 - 1 / (labels == g).sum()) for g in np.unique(labels)]
    grand = np.concatenate(groups).mean()
    between = sum(len(g) * (g.mean() - grand) ** 2 for g in groups) / (len(groups) - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (members - len(groups))
    disp = permdisp(oracle, labels, test="centroid", permutations=0, dimensions=members - 1)
    assert between / within == pytest.approx(disp["test statistic"], rel=1e-8)


def test_location_is_found_and_r_squared_is_the_share():
    _, d, unhappy = clouds(10, 10, shift=1.0)
    found = location_test(d, unhappy, permutations=999, rng=rng())
    assert found.p_value == pytest.approx(0.001)
    assert found.pseudo_f == pytest.approx(18 * found.r_squared / (1 - found.r_squared))
    assert (found.members, found.excluded) == (20, 0)
    fewer = location_test(without(d, 3), unhappy, permutations=9, rng=rng())
    assert (fewer.members, fewer.excluded) == (19, 1)


def test_paired_location_permutes_inside_pairs():
    draw = rng(8)
    twin = 5 * draw.standard_normal((10, 6))
    points = np.concatenate([twin, twin + 1.0 + 0.1 * draw.standard_normal((10, 6))])
    d, unhappy, pairs = cdist(points, points), np.arange(20) >= 10, np.tile(np.arange(10), 2)
    order = draw.permutation(20)
    d, unhappy, pairs = d[np.ix_(order, order)], unhappy[order], pairs[order]
    assert location_test(d, unhappy, permutations=999, rng=rng()).p_value > 0.2
    assert location_test(d, unhappy, paired=pairs, permutations=999, rng=rng()).p_value < 0.01


def test_location_drops_and_counts_a_model_without_its_twin():
    _, d, unhappy = clouds(8, 8, shift=0.5)
    pairs = np.tile(np.arange(8), 2)
    gone, kept = without(d, 2), ~np.isin(pairs, 2)
    found = location_test(gone, unhappy, paired=pairs, permutations=199, rng=rng())
    direct = location_test(
        d[np.ix_(kept, kept)], unhappy[kept], paired=pairs[kept], permutations=199, rng=rng()
    )
    assert (found.members, found.excluded, found.unmatched) == (14, 1, 1)
    assert dataclasses.replace(found, excluded=0, unmatched=0) == direct
    families = np.repeat(["a", "b", "c"], 5)
    _, d, _ = clouds(10, 5)
    three = location_test(
        without(d, 3), families, paired=np.tile(np.arange(5), 3), permutations=99, rng=rng()
    )
    assert (three.members, three.unmatched) == (12, 2)
    nobody = np.concatenate([np.arange(8), np.r_[0, np.arange(8, 15)]])
    _, d, unhappy = clouds(8, 8)
    with pytest.raises(AkpError, match=r"family False, got 1 \(14 left out: no twin\)"):
        location_test(d, unhappy, paired=nobody, rng=rng())


@pytest.mark.parametrize(("sizes", "smallest"), [((3, 3), 2 / 20), ((2, 4), 1 / 15), ((10, 10), 1 / 1000)])
def test_the_least_p_of_location_is_said(sizes, smallest):
    _, d, unhappy = clouds(*sizes, shift=50.0)
    found = location_test(d, unhappy, permutations=999, rng=rng())
    assert found.smallest_p == pytest.approx(smallest)
    assert found.p_value == pytest.approx(smallest, abs=4 * np.sqrt(smallest / 999))


def test_the_least_p_of_paired_location_is_said():
    _, d, unhappy = clouds(5, 5, shift=50.0)
    found = location_test(d, unhappy, paired=np.tile(np.arange(5), 2), permutations=999, rng=rng())
    assert found.smallest_p == pytest.approx(2 / 32)
    assert found.p_value == pytest.approx(2 / 32, abs=0.03)


def test_numpy_numbers_are_numbers():
    _, d, unhappy = clouds(8, 8, scale=1.6)
    plain = anna_karenina_test(d, unhappy, permutations=200, level=0.25, rng=rng())
    found = anna_karenina_test(d, unhappy, permutations=np.uint8(200), level=np.float32(0.25), rng=rng())
    assert found == plain
    assert type(found.level) is float
    location = location_test(d, unhappy, permutations=np.uint8(255), rng=rng())
    assert location == location_test(d, unhappy, permutations=255, rng=rng())
    for wrong in (np.bool_(True), np.float64(9)):
        with pytest.raises(AkpError, match="permutations as a whole number"):
            anna_karenina_test(d, unhappy, permutations=wrong, rng=rng())
    with pytest.raises(AkpError, match="level as a probability"):
        anna_karenina_test(d, unhappy, level=np.float64("nan"), rng=rng())


def test_location_of_identical_models():
    unhappy = np.arange(8) >= 4
    none = location_test(np.zeros((8, 8)), unhappy, permutations=99, rng=rng())
    assert (none.pseudo_f, none.r_squared, none.p_value, none.omega_squared) == (0.0, 0.0, 1.0, 0.0)
    apart = location_test((unhappy[:, None] != unhappy[None]) * 2.0, unhappy, permutations=99, rng=rng())
    assert (apart.pseudo_f, apart.r_squared, apart.omega_squared) == (np.inf, 1.0, 1.0)
    assert apart.p_value < 0.1


def angles(rows: np.ndarray) -> np.ndarray:
    """Angular distances: a metric on the sphere, not Euclidean."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(np.eye(len(rows), dtype=bool), 0, np.arccos(np.clip(rows @ rows.T, -1, 1)))


def other_distances(kind: str, seed: int = 0) -> np.ndarray:
    """Distances of 9 happy and 12 unhappy models without a Euclidean centroid."""
    draw = rng(seed)
    rows = 1 + np.repeat([0.6, 1.2], [9, 12])[:, None] * draw.standard_normal((21, 5))
    if kind == "angle":
        return angles(rows)
    if kind == "1 - s":
        return 1 - np.cos(angles(rows))
    if kind == "manhattan":
        return cdist(rows, rows, "cityblock")
    d = draw.exponential(size=(21, 21)) ** 2  # not even a metric
    return np.where(np.eye(21, dtype=bool), 0, d + d.T)


OTHERS = ["angle", "1 - s", "manhattan", "no metric"]


@pytest.mark.parametrize("kind", OTHERS)
def test_contributions_leave_one_out_without_a_centroid(kind):
    d = other_distances(kind)[9:, 9:]

    def half_mean_square(square: np.ndarray) -> float:
        return float((square[np.triu_indices(len(square), 1)] ** 2).mean() / 2)

    left_out = [np.delete(np.delete(d, i, axis=0), i, axis=1) for i in range(12)]
    explicit = [12 * half_mean_square(d) - 11 * half_mean_square(rest) for rest in left_out]
    assert np.allclose(pseudo_values(d**2), explicit, rtol=1e-12)
    assert pseudo_values(d**2).mean() == pytest.approx(half_mean_square(d))


@pytest.mark.parametrize("kind", OTHERS)
def test_any_dissimilarity_has_an_effect_and_a_location(kind):
    d, unhappy = other_distances(kind), np.arange(21) >= 9
    found = anna_karenina_test(d, unhappy, permutations=999, rng=rng())
    mean_square = [(d[np.ix_(m, m)] ** 2).sum() / (m.sum() * (m.sum() - 1)) for m in (unhappy, ~unhappy)]
    assert found.effect == pytest.approx(np.log(mean_square[0] / mean_square[1]) / 2)
    assert found.dispersion == pytest.approx(np.sqrt(np.array(mean_square[::-1]) / 2))
    assert found.interval[0] < found.effect < found.interval[1]
    if kind != "no metric":
        assert found.verdict == "AKP"
    location = location_test(d, unhappy, permutations=99, rng=rng())
    total, within = (
        (d**2).sum() / 42,
        sum((d[np.ix_(m, m)] ** 2).sum() / m.sum() / 2 for m in (unhappy, ~unhappy)),
    )
    assert location.r_squared == pytest.approx((total - within) / total)
    assert location.pseudo_f == pytest.approx((total - within) / (within / 19))


def test_other_dissimilarities_are_not_embedded():
    """The matrices above have no Euclidean centroid: some refuse a distance to it, all have negative axes."""
    for kind in OTHERS:
        d = other_distances(kind)
        centring = np.eye(21) - 1 / 21
        assert np.linalg.eigvalsh(-centring @ d**2 @ centring / 2)[0] < -1e-4
    with pytest.raises(AkpError, match="Euclidean distances"):
        distance_to_centroid(other_distances("no metric"), np.arange(21) >= 9)


def test_a_negative_location_is_said_not_hidden():
    d = np.where(np.eye(12, dtype=bool), 0, 1.0)
    d[:6, 6:] = d[6:, :6] = 0.5  # nearer to the strangers than to the family
    found = location_test(d, np.arange(12) >= 6, permutations=99, rng=rng())
    assert found.r_squared < 0
    assert found.pseudo_f < 0
    assert found.p_value > 0.9


@pytest.mark.parametrize("paired", [False, True])
def test_standardised_is_the_difference_in_pooled_deviations(paired):
    _, d, unhappy = clouds(9, 9 if paired else 14, scale=1.4)
    found = anna_karenina_test(
        d, unhappy, paired=np.tile(np.arange(9), 2) if paired else None, permutations=9, rng=rng()
    )
    h, u = (pseudo_values(d[np.ix_(m, m)] ** 2) for m in (~unhappy, unhappy))
    n = len(h) + len(u) - 2
    pooled = np.sqrt(((len(h) - 1) * h.var(ddof=1) + (len(u) - 1) * u.var(ddof=1)) / n)
    about = 1 - 3 / (4 * (8 if paired else n) - 1)  # Hedges' approximation of the correction
    assert found.standardised == pytest.approx((u.mean() - h.mean()) / pooled * about, rel=3e-3)
    mirrored = anna_karenina_test(d, ~unhappy, permutations=9, rng=rng())
    assert paired or mirrored.standardised == pytest.approx(-found.standardised)


def test_omega_squared_is_the_share_without_its_bias():
    shares = [
        (f.r_squared, f.omega_squared)
        for f in (
            location_test(clouds(6, 9, seed=s)[1], np.arange(15) >= 6, permutations=1, rng=rng())
            for s in range(200)
        )
    ]
    raw, unbiased = np.mean(shares, axis=0)
    assert raw > 0.06
    assert abs(unbiased) < 0.005
    _, d, unhappy = clouds(10, 10, shift=1.0)
    found = location_test(d, unhappy, permutations=1, rng=rng())
    squares = distance_to_centroid(d, unhappy) ** 2 * 0.9
    within, total = squares.sum(), (d**2).sum() / 40
    known = (total - within - within / 18) / (total + within / 18)  # the textbook's definition
    assert found.omega_squared == pytest.approx(known)


_, D, U = clouds(6, 6)
ASYMMETRIC, NEGATIVE, HOLE, DIAGONAL = D.copy(), D.copy(), D.copy(), D + np.eye(12)
ASYMMETRIC[0, 1] += 1
NEGATIVE[2, 3] = NEGATIVE[3, 2] = -1
HOLE[1, 4] = HOLE[4, 1] = np.nan
STAR = np.where(np.eye(12, dtype=bool), 0, 2.0)  # a hub closer to everybody than a Euclidean point can be
STAR[0, 1:] = STAR[1:, 0] = 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: anna_karenina_test(D[:, :5], U, rng=rng()), r"square matrix of distances.*\(12, 5\)"),
        (lambda: anna_karenina_test(D.astype(str), U, rng=rng()), "square matrix of distances"),
        (lambda: anna_karenina_test(ASYMMETRIC, U, rng=rng()), r"symmetric matrix.*at \(0, 1\)"),
        (
            lambda: anna_karenina_test(NEGATIVE, U, rng=rng()),
            r"0 or more, got -1 at \(2, 3\).*not sim",
        ),
        (
            lambda: anna_karenina_test(DIAGONAL, U, rng=rng()),
            r"model to itself, got 1 at \(0, 0\)",
        ),
        (lambda: anna_karenina_test(HOLE, U, rng=rng()), "or NaN to every other.*nan between models 1 and 4"),
        (lambda: distance_to_centroid(STAR, U), "Euclidean distances.*chordal distance.*not 1 - s"),
        (lambda: anna_karenina_test(1e150 * D, U, rng=rng()), "from 1e-140 to 1e.140, got .*another unit"),
        (lambda: location_test(1e-150 * D, U, rng=rng()), "from 1e-140 to 1e.140, got .*another unit"),
        (lambda: anna_karenina_test(D, U[:5], rng=rng()), r"one boolean for each of the 12 models.*\(5,\)"),
        (lambda: anna_karenina_test(D, U.astype(float), rng=rng()), "one boolean.*float64.*threshold"),
        (
            lambda: anna_karenina_test(without(D, 0, 1, 2), U, rng=rng()),
            r"at least 4 usable models in the happy family, got 3 \(3 left out",
        ),
        (lambda: anna_karenina_test(D, np.arange(12) >= 9, rng=rng()), "in the unhappy family, got 3"),
        (
            lambda: anna_karenina_test(D, U, paired=np.arange(12), rng=rng()),
            r"at least 4 usable models in the happy family, got 0 \(6 left out",
        ),
        (
            lambda: anna_karenina_test(D, U, paired=np.arange(6), rng=rng()),
            r"one pair number.*\(6,\)",
        ),
        (lambda: anna_karenina_test(D, U, paired=np.arange(12) / 2, rng=rng()), "one pair number.*float64"),
        (
            lambda: anna_karenina_test(D, U, paired=np.zeros(12, dtype=int), rng=rng()),
            "pair number at most once in the happy family, got 6 times 0",
        ),
        (lambda: anna_karenina_test(D, U, permutations=0, rng=rng()), "whole number from 1, got 0"),
        (lambda: anna_karenina_test(D, U, level=5, rng=rng()), "probability between 0 and 1, got 5"),
        (lambda: anna_karenina_test(D, U, rng=3), "numpy.random.Generator, got int"),
        (lambda: distance_to_centroid(D, U[:4]), r"one family label for each of the 12.*\(4,\)"),
        (lambda: distance_to_centroid(D, np.arange(12) > 10), "at least 2 models.*family True, got 1"),
        (lambda: location_test(D, np.zeros(12), rng=rng()), "at least 2 families, got 1"),
        (lambda: location_test(D, np.arange(12) > 10, rng=rng()), "at least 2 models.*family True, got 1"),
        (lambda: location_test(D, U, paired=np.arange(12), rng=rng()), "pairs that join models of different"),
        (lambda: location_test(D, U, paired=np.arange(3), rng=rng()), "one pair number for each of the 12"),
        (
            lambda: location_test(D, np.array([None] * 6 + [1] * 6), rng=rng()),
            "family label for every model, got None for model 0",
        ),
        (lambda: location_test(D, U, permutations=True, rng=rng()), "whole number from 1, got True"),
        (lambda: location_test(D, U, rng=None), "numpy.random.Generator, got NoneType"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
