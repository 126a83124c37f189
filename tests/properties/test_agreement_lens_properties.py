"""What holds of agreement whatever the cube."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from akp_core.agreement import learning_times, true_positive_agreement
from akp_core.agreement.ranks import Orders, correlations

CUBES = st.tuples(st.integers(2, 6), st.integers(1, 4), st.integers(2, 12)).flatmap(lambda s: arrays(bool, s))
SETTINGS = settings(max_examples=60, deadline=None)


@given(CUBES, st.integers(0, 2**32 - 1))
@SETTINGS
def test_bounds_hold_and_chance_lies_within_them(cube: np.ndarray, seed: int) -> None:
    classes = np.random.default_rng(seed).integers(0, 2, cube.shape[2])
    for parts in (None, classes):
        for size in range(2, len(cube) + 1):
            found = true_positive_agreement(cube, size=size, classes=parts)
            assert (found.lower <= found.value + 1e-12).all()
            assert (found.value <= found.upper + 1e-12).all()
            assert (found.chance <= found.upper + 1e-12).all()
            assert (found.all_right <= found.any_right + 1e-12).all()
            assert not (found.corrected > 1 + 1e-12).any()


@given(CUBES)
@SETTINGS
def test_agreement_never_rises_with_the_number_that_must_agree(cube: np.ndarray) -> None:
    sizes = range(2, len(cube) + 1)
    values = np.array([true_positive_agreement(cube, size=size).value for size in sizes])
    chances = np.array([true_positive_agreement(cube, size=size).chance for size in sizes])
    assert (np.diff(values, axis=0) <= 1e-12).all()
    assert (np.diff(chances, axis=0) <= 1e-12).all()


@given(CUBES, st.integers(0, 2**32 - 1))
@SETTINGS
def test_the_order_of_networks_and_images_means_nothing(cube: np.ndarray, seed: int) -> None:
    stream = np.random.default_rng(seed)
    networks, images = stream.permutation(len(cube)), stream.permutation(cube.shape[2])
    moved, classes = cube[networks][:, :, images], stream.integers(0, 2, cube.shape[2])
    a = true_positive_agreement(cube, size=2, classes=classes)
    b = true_positive_agreement(moved, size=2, classes=classes[images])
    for name in ("value", "lower", "upper", "chance"):
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-12)
    if cube.shape[1] > 1:
        steps = np.arange(cube.shape[1])
        times = learning_times(cube, steps).time[networks][:, images]
        assert (learning_times(moved, steps).time == times).all()


@given(CUBES)
@SETTINGS
def test_one_network_twice_agrees_no_less(cube: np.ndarray) -> None:
    twice = np.concatenate([cube, cube[:1]])
    assert np.allclose(true_positive_agreement(twice).value, true_positive_agreement(cube).value)


@given(
    arrays(float, (3, 15), elements=st.sampled_from([0.0, 1.0, 2.0, 5.0, np.inf])), st.integers(0, 2**32 - 1)
)
@SETTINGS
def test_ranks_keep_under_any_rising_change_of_the_times(times: np.ndarray, seed: int) -> None:
    parts = np.random.default_rng(seed).integers(0, 2, 15)
    parts[:2] = 0, 1
    changed = np.exp(np.minimum(times, 9))
    ranks = Orders(times, parts).ranks()
    np.testing.assert_allclose(ranks, Orders(changed, parts).ranks())
    for part in (0, 1):
        np.testing.assert_allclose(ranks[:, parts == part].sum(axis=1), 0, atol=1e-12)
    found = correlations(ranks)
    assert (np.abs(found[np.isfinite(found)]) <= 1 + 1e-12).all()
