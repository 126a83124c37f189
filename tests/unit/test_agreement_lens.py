"""The lens of agreement on cubes made by hand, and every refusal in its words."""

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats

from akp_core import agreement
from akp_core.agreement import (
    agreement_intervals,
    at_accuracy,
    learning_times,
    order_agreement,
    orders_between,
    permutation_null,
    true_positive_agreement,
)
from akp_core.agreement.intervals import redrawn
from akp_core.agreement.learning_time import examples
from akp_core.agreement.ranks import Orders, kendall
from akp_core.agreement.subsets import mean_extremes, mean_product, symmetric
from akp_core.dispersion.expanded import expanded_ends, expanded_tail
from akp_core.errors import AkpError

# Three images, three networks, three epochs: the worked example of Pliushch et al. 2022.
WORKED = np.array(
    [
        [[1, 0, 0], [1, 0, 0], [1, 1, 1]],
        [[0, 1, 0], [1, 1, 0], [1, 1, 0]],
        [[0, 0, 0], [1, 1, 0], [1, 1, 0]],
    ],
    bool,
)


def cube(m: int = 6, t: int = 5, n: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((m, t, n)) < 0.7


def test_the_worked_example_of_the_paper() -> None:
    found = true_positive_agreement(WORKED)
    np.testing.assert_allclose(agreement.accuracy(WORKED).mean(axis=0), [2 / 9, 5 / 9, 7 / 9])
    np.testing.assert_allclose(found.value, [0, 1 / 2, 2 / 3])
    np.testing.assert_allclose(found.lower, [0, 0, 1 / 3])
    assert found.size == found.networks == 3


def test_images_that_all_have_wrong_alike_do_not_count() -> None:
    right = np.zeros((3, 1, 10), bool)
    right[:, :, :2] = True
    assert true_positive_agreement(right).value == [1.0]


def test_where_nobody_is_right_agreement_is_zero_and_says_so() -> None:
    found = true_positive_agreement(np.zeros((3, 2, 5), bool))
    assert found.value.tolist() == found.any_right.tolist() == found.upper.tolist() == [0, 0]
    assert found.chance.tolist() == found.corrected.tolist() == [0, 0]


def test_where_all_are_right_of_all_nothing_is_left_to_agree_on() -> None:
    found = true_positive_agreement(np.ones((3, 1, 5), bool))
    assert found.value == found.chance == found.lower == found.upper == [1.0]
    assert np.isnan(found.corrected).all()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_means_over_groups_are_those_of_all_groups_listed(size: int) -> None:
    right = cube(5)
    groups = [list(s) for s in combinations(range(5), size)]
    found = true_positive_agreement(right, size=size)
    every = np.mean([right[s].all(axis=0).mean(axis=1) for s in groups], axis=0)
    some = np.mean([right[s].any(axis=0).mean(axis=1) for s in groups], axis=0)
    np.testing.assert_allclose(found.all_right, every)
    np.testing.assert_allclose(found.value, every / some)
    a = right.mean(axis=2)
    both = np.mean([a[s].prod(axis=0) for s in groups], axis=0)
    one = np.mean([1 - (1 - a[s]).prod(axis=0) for s in groups], axis=0)
    np.testing.assert_allclose(found.chance, both / one)
    low, high = mean_extremes(a, size)
    np.testing.assert_allclose(low, np.mean([a[s].min(axis=0) for s in groups], axis=0))
    np.testing.assert_allclose(high, np.mean([a[s].max(axis=0) for s in groups], axis=0))


def test_weighted_groups_hold_no_network_twice() -> None:
    values, weights = np.array([0.2, 0.5, 0.9]), np.array([2.0, 1.0, 3.0])
    pairs = list(combinations(range(3), 2))
    of = [weights[list(p)].prod() for p in pairs]
    expected = np.average([values[list(p)].prod() for p in pairs], weights=of)
    assert mean_product(values, 2, weights) == pytest.approx(expected)
    assert symmetric(values, 3) == pytest.approx(values.prod())


def test_chance_is_what_coins_give() -> None:
    right = np.random.default_rng(1).random((4, 1, 200_000)) < 0.8
    found = true_positive_agreement(right)
    assert found.value[0] == pytest.approx(0.8**4 / (1 - 0.2**4), abs=0.005)
    assert found.corrected[0] == pytest.approx(0, abs=0.01)


def test_a_favoured_class_makes_networks_agree_and_chance_within_classes_knows() -> None:
    stream = np.random.default_rng(2)
    classes = np.repeat([0, 1], 20_000)
    right = stream.random((4, 1, 40_000)) < np.where(classes, 0.95, 0.3)
    assert true_positive_agreement(right).corrected[0] > 0.2
    assert abs(true_positive_agreement(right, classes=classes).corrected[0]) < 0.01


def test_the_permutation_null_has_its_mean_at_chance_and_finds_a_shared_order() -> None:
    stream = np.random.default_rng(3)
    classes = np.repeat([0, 1], [80, 40])
    alone = stream.random((5, 2, 120)) < 0.7
    shared = stream.random(120) < 0.7
    together = np.where(stream.random((5, 2, 120)) < 0.1, ~shared, shared)
    for right, p in ((alone, "large"), (together, "small")):
        null = permutation_null(right, size=3, classes=classes, permutations=199, rng=stream)
        found = true_positive_agreement(right, size=3, classes=classes)
        np.testing.assert_allclose(null.mean, found.chance, atol=0.01)
        assert (null.low < null.mean).all()
        assert (null.mean < null.high).all()
        assert (null.p_value < 0.01).all() if p == "small" else (null.p_value > 0.02).any()
    assert null.p_value.min() == pytest.approx(1 / 200)


def test_weights_of_one_give_the_estimate_itself() -> None:
    right, parts = cube(), np.repeat([0, 1], 20)
    drawn = redrawn(right, np.ones((1, 6)), np.ones((1, 40)), 4, parts)
    found = true_positive_agreement(right, size=4, classes=parts)
    np.testing.assert_allclose(drawn.value[0], found.value)
    np.testing.assert_allclose(drawn.corrected[0], found.corrected)


def test_intervals_hold_the_estimate_and_narrow_with_images() -> None:
    widths = []
    for n in (40, 640):
        right = cube(n=n)
        value, beyond = agreement_intervals(right, size=3, draws=199, rng=np.random.default_rng(0))
        found = true_positive_agreement(right, size=3)
        assert ((value.low <= found.value) & (found.value <= value.high)).all()
        assert ((beyond.low <= found.corrected) & (found.corrected <= beyond.high)).all()
        widths.append((value.high - value.low).mean())
    assert widths[1] < 0.6 * widths[0]


def test_images_of_one_patient_are_drawn_together() -> None:
    right = np.repeat(cube(n=20), 8, axis=2)
    each, whole = (
        agreement_intervals(right, size=3, groups=g, draws=299, rng=np.random.default_rng(0))[0]
        for g in (None, np.repeat(np.arange(20), 8))
    )
    assert (whole.high - whole.low).mean() > 1.5 * (each.high - each.low).mean()


def test_intervals_cover_what_they_estimate() -> None:
    hits, stream = 0, np.random.default_rng(5)
    difficulty = stream.random(4000)
    for _ in range(60):
        ability = 0.7 + 0.1 * stream.standard_normal((6, 1, 1))
        at = stream.integers(0, 4000, 80)
        right = difficulty[at] + 0.3 * stream.standard_normal((6, 1, 80)) < ability
        low, high = (
            getattr(agreement_intervals(right, size=3, draws=199, rng=stream)[0], e) for e in ("low", "high")
        )
        if not hits and "true" not in locals():
            many = 0.7 + 0.1 * stream.standard_normal((400, 1, 1))
            true = true_positive_agreement(
                difficulty + 0.3 * stream.standard_normal((400, 1, 4000)) < many, size=3
            ).value[0]
        hits += low[0] <= true <= high[0]
    assert hits >= 52  # of 60 at 95 %: fewer once in ten thousand


def test_each_network_is_taken_where_it_first_reaches_an_accuracy() -> None:
    right = np.zeros((3, 4, 10), bool)
    for look, share in enumerate((0, 4, 8, 6)):
        right[0, look, :share] = True
    for look, share in enumerate((1, 6, 9, 9)):
        right[1, look, :share] = True
    found = at_accuracy(right, 0.7)
    assert found.network.tolist() == [0, 1]
    assert found.look.tolist() == [2, 1]  # 0.6 is nearer to 0.7 than 0.9 is; 0.8 nearer than 0.4
    np.testing.assert_allclose(found.accuracy, [0.8, 0.6])
    assert found.missing == 1
    assert found.right.shape == (2, 1, 10)


def test_an_image_is_learnt_at_the_look_from_which_it_stays_right() -> None:
    right = np.array([[[1, 0, 0, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 1, 0], [1, 1, 1, 0, 0]]], bool)
    steps = [0, 10, 20, 40]
    settled = learning_times(right, steps)
    assert settled.time.tolist() == [[0, 40, 40, np.inf, np.inf]]
    assert settled.never.tolist() == [[False, False, False, True, True]]
    assert settled.mean.tolist() == [0, 40, 40, 40, 40]
    first = learning_times(right, steps, how="first")
    assert first.time.tolist() == [[0, 10, 40, 0, np.inf]]
    wrong = learning_times(right, steps, how="wrong")
    np.testing.assert_allclose(wrong.time, [[0, 0.25, 0.5, 0.75, 1]])
    assert wrong.never.tolist() == [[False, False, False, False, True]]


def test_examples_are_the_earliest_the_latest_and_those_that_most_never_learn() -> None:
    right = np.ones((2, 4, 6), bool)
    for image, look in enumerate((0, 1, 2, 3)):
        right[:, :look, image] = False
    right[0, :, 4], right[:, :, 5] = False, False
    found = examples(learning_times(right, range(4)), 2)
    assert found["row"].tolist() == ["earliest"] * 2 + ["latest"] * 2 + ["never"] * 2
    assert found["image"].tolist() == [0, 1, 3, 2, 5, 4]
    assert found["never"].tolist() == [0, 0, 0, 0, 2, 1]
    mixed = examples(learning_times(right, range(4)), 2, classes=np.array([0, 0, 1, 1, 0, 1]))
    assert mixed["image"].tolist()[:2] == [0, 2]


def test_rank_correlations_are_those_of_scipy_with_ties_and_never() -> None:
    times = np.random.default_rng(0).integers(0, 5, (4, 30)).astype(float)
    times[times == 4] = np.inf
    one = np.zeros(30, int)
    rank = order_agreement(times, rng=np.random.default_rng(0), draws=99, permutations=19).pairs
    tau = kendall(times, one)
    finite = np.where(np.isinf(times), 9, times)
    for a, b in combinations(range(4), 2):
        assert rank[a, b] == pytest.approx(stats.spearmanr(finite[a], finite[b]).statistic)
        assert tau[a, b] == pytest.approx(stats.kendalltau(finite[a], finite[b]).statistic)


def test_ranks_of_drawn_images_are_those_of_the_images_repeated() -> None:
    times = np.random.default_rng(1).integers(0, 4, (2, 12)).astype(float)
    parts, weights = np.repeat([0, 1], 6), np.random.default_rng(2).integers(0, 4, 12)
    again = np.repeat(np.arange(12), weights)
    drawn = Orders(times, parts).ranks(weights.astype(float))[:, again]
    np.testing.assert_allclose(drawn, Orders(times[:, again], parts[again]).ranks())


@pytest.mark.parametrize("how", ["spearman", "kendall"])
def test_a_shared_order_is_found_and_orders_of_their_own_are_not(how: str) -> None:
    stream = np.random.default_rng(4)
    alone = stream.random((5, 60))
    shared = stream.random(60) + 0.3 * stream.standard_normal((5, 60))
    asked = {"how": how, "draws": 99, "permutations": 99}
    apart, alike = (order_agreement(x, rng=np.random.default_rng(0), **asked) for x in (alone, shared))
    assert apart.low < 0.1
    assert apart.p_value > 0.02
    assert alike.low > 0.2
    assert alike.p_value == 0.01
    assert alike.low < alike.value < alike.high


def test_one_class_before_the_other_is_no_agreement_about_images() -> None:
    stream, classes = np.random.default_rng(5), np.repeat([0, 1], 40)
    times = stream.random((4, 80)) + 5 * classes
    asked = {"rng": np.random.default_rng(0), "draws": 99, "permutations": 99}
    assert order_agreement(times, **asked).value > 0.7
    assert abs(order_agreement(times, classes=classes, **asked).value) < 0.15


def test_noise_of_networks_is_taken_out_of_the_correlation_of_two_populations() -> None:
    stream = np.random.default_rng(6)
    order, other = stream.random((2, 400))
    a, b, c = (x + 0.4 * stream.standard_normal((6, 400)) for x in (order, order, other))
    asked = {"rng": np.random.default_rng(0), "draws": 99, "permutations": 99}
    same, different = orders_between(a, b, **asked), orders_between(a, c, **asked)
    assert same.across < 0.6
    assert same.value == pytest.approx(1, abs=0.1)
    assert same.low < 1 < same.high
    assert different.high < 0.5
    assert different.p_value > 0.01


def test_twins_are_left_out_of_the_comparison_across() -> None:
    a = np.random.default_rng(7).random((4, 50))
    asked = {"rng": np.random.default_rng(0), "draws": 99, "permutations": 99}
    assert orders_between(a, a, twins=True, **asked).across < 0.2
    assert orders_between(a, a, **asked).across > 0.25


def test_orders_that_no_network_reproduces_give_no_interval_and_no_warning() -> None:
    stream = np.random.default_rng(8)
    found = orders_between(
        stream.random((3, 40)), stream.random((3, 40)), rng=stream, draws=99, permutations=19
    )
    assert np.isnan(found.low)
    assert np.isnan(found.high)


def test_networks_without_an_order_are_left_out_and_counted() -> None:
    times = np.vstack([np.random.default_rng(9).random((3, 20)), np.full((1, 20), np.inf)])
    asked = {"rng": np.random.default_rng(0), "draws": 99, "permutations": 19}
    found = order_agreement(times, **asked)
    assert (found.networks, found.constant) == (3, 1)
    assert agreement.has_order(times).tolist() == [True, True, True, False]
    with pytest.raises(AkpError, match="expected at least two networks that order the images, got 1"):
        order_agreement(times[2:], **asked)


def test_numpy_and_torch_give_the_same() -> None:
    right = cube()
    a, b = (
        true_positive_agreement(x, classes=y)
        for x, y in ((right, np.arange(40) % 2), (torch.from_numpy(right), torch.arange(40) % 2))
    )
    assert (a.corrected == b.corrected).all()
    assert (true_positive_agreement(right.astype(int)).value == true_positive_agreement(right).value).all()


RNG = np.random.default_rng(0)
REFUSED = {
    "shape": (
        lambda: true_positive_agreement(cube()[0]),
        r"shape \(networks, looks, images\), got shape \(5, 40\); for one look",
    ),
    "empty": (lambda: true_positive_agreement(np.ones((3, 0, 4), bool)), r"got shape \(3, 0, 4\)"),
    "values": (lambda: true_positive_agreement(cube() * 2.0), "truth values, or zeros and ones"),
    "nan": (lambda: true_positive_agreement(np.full((2, 1, 3), np.nan)), "truth values, or zeros and ones"),
    "one": (lambda: true_positive_agreement(cube(1)), "at least 2 networks that may agree, got 1"),
    "size": (lambda: true_positive_agreement(cube(), size=7), "whole number from 2 to 6, got 7"),
    "size 1": (lambda: true_positive_agreement(cube(), size=1), "whole number from 2 to 6, got 1"),
    "size true": (lambda: true_positive_agreement(cube(), size=True), "whole number from 2 to 6, got True"),
    "classes": (
        lambda: true_positive_agreement(cube(), classes=np.zeros(3, int)),
        r"classes as 40 whole numbers, one an image, got int64 of shape \(3,\)",
    ),
    "groups": (
        lambda: agreement_intervals(cube(), groups=np.zeros(40), rng=RNG),
        "groups as 40 whole numbers",
    ),
    "draws": (
        lambda: agreement_intervals(cube(), draws=5, rng=RNG),
        "draws as a whole number of at least 99, got 5",
    ),
    "level": (lambda: agreement_intervals(cube(), level=1.5, rng=RNG), "a level between 0 and 1, got 1.5"),
    "rng": (lambda: permutation_null(cube(), rng=3), "rng as a numpy.random.Generator, got int"),
    "permutations": (
        lambda: permutation_null(cube(), permutations=2, rng=RNG),
        "permutations as a whole number of at least 19, got 2",
    ),
    "accuracy": (
        lambda: at_accuracy(cube(), 80),
        "an accuracy between 0 and 1, got 80; divide percentages by 100",
    ),
    "steps": (lambda: learning_times(cube(), [1, 2]), r"the times of 5 looks, got int64 of shape \(2,\)"),
    "falling": (lambda: learning_times(cube(), [0, 1, 3, 2, 4]), "times of looks that rise"),
    "one look": (
        lambda: learning_times(cube(t=1), [1]),
        "at least two looks to tell when an image is learnt",
    ),
    "how": (lambda: learning_times(cube(), range(5), how="setled"), "did you mean 'settled'?"),
    "coefficient": (
        lambda: order_agreement(np.eye(3), how="pearson", rng=RNG),
        "unknown rank correlation 'pearson'",
    ),
    "times": (
        lambda: order_agreement(np.arange(4.0), rng=RNG),
        r"shape \(networks, images\), of two images or more, got float64 of shape \(4,\)",
    ),
    "times nan": (lambda: order_agreement(np.full((2, 3), np.nan), rng=RNG), "put in order, got NaN"),
    "images": (
        lambda: orders_between(np.eye(3), np.eye(4), rng=RNG),
        "the same images in both, got 3 and 4 images",
    ),
    "twins": (
        lambda: orders_between(np.eye(3), np.eye(3)[:2], twins=True, rng=RNG),
        "as many networks in both, as they are twins, got 3 and 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_line(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(AkpError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("networks", "level"), [(8, 0.05), (8, 0.05 / 7), (4, 0.05)])
def test_ends_that_lie_beyond_all_draws_are_reached(networks: int, level: float) -> None:
    asked = stats.norm.ppf(expanded_tail(networks, level))
    found = []
    for seed in range(40):
        draws = 2 + np.random.default_rng(seed).standard_normal((499, 1))
        low, high = expanded_ends(draws, networks, level)
        found.append(((low[0] - high[0]) / 2, (low[0] + high[0]) / 2))
    half, middle = np.mean(found, axis=0)
    assert half == pytest.approx(asked, rel=0.08)
    assert middle == pytest.approx(2, abs=0.1)
    assert expanded_ends(draws, networks, level, within=(0.0, 3.0))[1] == 3
