"""Statistics of images against values worked out by hand, and how learning follows them."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from akp_core import agreement
from akp_core.agreement import follows, image_statistics
from akp_core.agreement.image_statistics import as_grey, dct_share, edge_strength, local_entropy, segments
from akp_core.errors import AkpError


def test_entropy_of_one_value_two_and_all_different() -> None:
    assert local_entropy(np.full((12, 12), 0.3)) == 0
    checks = np.indices((12, 12)).sum(axis=0) % 2 / 1.0
    assert local_entropy(checks) == pytest.approx(1)
    each = np.arange(100).reshape(10, 10) / 100
    assert local_entropy(each) == pytest.approx(np.log2(100))
    assert local_entropy(each, window=50) == pytest.approx(np.log2(100))


def test_exact_grey_values_saturate_and_levels_do_not() -> None:
    picture = np.random.default_rng(0).uniform(0.40, 0.41, (20, 20))
    assert local_entropy(picture, grey_levels=None) == pytest.approx(np.log2(100))
    assert local_entropy(picture) < 2.1


def test_segments_of_halves_and_of_nothing() -> None:
    halves = np.zeros((32, 32))
    halves[:, 16:] = 1
    assert segments(halves, smallest=100) == 2  # the smoothed edge itself makes two narrow ones more
    assert segments(np.zeros((32, 32))) == 1
    assert segments(halves, smallest=900) == 1


def test_edges_grow_with_contrast_and_turn_with_the_image() -> None:
    picture = np.random.default_rng(1).random((16, 16))
    assert edge_strength(np.full((8, 8), 0.5)) == pytest.approx(0, abs=1e-12)
    assert edge_strength(0.5 * picture) == pytest.approx(0.5 * edge_strength(picture))
    assert edge_strength(np.rot90(picture)) == pytest.approx(edge_strength(picture))


def test_cosine_coefficients_of_a_flat_a_waving_and_a_black_image() -> None:
    flat = np.full((8, 8), 0.5)
    assert dct_share(flat) == 1 / 64
    wave = 0.5 + 0.5 * np.cos(np.pi * (np.arange(8) + 0.5) * 2 / 8)[None, :].repeat(8, axis=0)
    assert dct_share(wave) == 2 / 64
    assert dct_share(wave, norm=0.8) == 1 / 64  # holds two thirds of the squares, 0.82 of the norm
    assert dct_share(np.zeros((8, 8))) == 0
    assert image_statistics(flat[None, None])["dct_largest"] == pytest.approx([8 * 0.5])
    noise = np.random.default_rng(0).random((8, 8))
    assert dct_share(noise, norm=1.0) > dct_share(noise) > dct_share(noise, norm=0.9)


def test_any_size_and_number_of_channels() -> None:
    for shape in ((2, 1, 9, 13), (2, 3, 24, 24), (2, 5, 7, 7)):
        found = image_statistics(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
        assert list(found) == list(agreement.NAMES)
        assert all(v.shape == (2,) and np.isfinite(v).all() for v in found.values())
    red = np.zeros((1, 3, 4, 4))
    red[:, 0] = 1
    assert as_grey(red)[0, 0, 0] == pytest.approx(0.2989)


def test_the_image_library_is_loaded_only_when_it_is_needed() -> None:
    code = (
        "import sys, akp_core.agreement, akp_core.agreement.image_statistics; print('skimage' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def planted(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    stream = np.random.default_rng(seed)
    hard = stream.random(150)
    times = hard + 0.3 * stream.standard_normal((5, 150))
    return times, {"hard": np.exp(3 * hard), "other": stream.random(150), "same": np.ones(150)}


def test_a_planted_statistic_is_followed_another_is_not_and_a_constant_says_nothing() -> None:
    times, read = planted()
    hard, other, same = follows(times, read, rng=np.random.default_rng(0), draws=199, permutations=199)
    assert 0 < hard.low < hard.value < hard.high < hard.of_mean
    assert hard.corrected == hard.p_value == 1 / 200
    assert other.low < 0 < other.high
    assert other.corrected >= other.p_value > 0.02
    assert np.isnan([same.value, same.low, same.high]).all()
    assert same.p_value == same.corrected == 1


def test_a_class_that_is_learnt_first_and_looks_different_is_no_evidence() -> None:
    stream, classes = np.random.default_rng(1), np.repeat([0, 1], 80)
    times, read = stream.random((5, 160)) + 3 * classes, {"brightness": stream.random(160) + 3 * classes}
    found = follows(times, read, classes=classes, rng=stream, draws=99, permutations=99)[0]
    assert found.overall > 0.6
    assert found.low < 0.05
    assert found.p_value > 0.01


def test_p_values_keep_their_level_without_a_relation() -> None:
    small = 0
    for seed in range(60):
        stream = np.random.default_rng(seed)
        shared = stream.random(40)
        times = shared + 0.1 * stream.standard_normal((3, 40))
        read = {name: stream.random(40) for name in "abc"}
        small += min(f.corrected for f in follows(times, read, rng=stream, draws=99, permutations=99)) <= 0.05
    assert small <= 9  # of 60 at 5 %: more once in a thousand


REFUSED = {
    "shape": (
        lambda: image_statistics(np.zeros((4, 8, 8))),
        r"images as floats \(n, c, h, w\), got float64 of shape \(4, 8, 8\)",
    ),
    "bytes": (lambda: image_statistics(np.zeros((1, 1, 8, 8), np.uint8)), "images as floats"),
    "range": (
        lambda: image_statistics(np.full((1, 1, 8, 8), 2.0)),
        r"images in \[0, 1\], got values from 2 to 2; give them unstandardised",
    ),
    "nan": (
        lambda: image_statistics(np.full((1, 1, 8, 8), np.nan)),
        r"images in \[0, 1\], got values from nan",
    ),
    "tiny": (lambda: image_statistics(np.zeros((1, 1, 2, 8))), "at least 3 x 3 pixels, got 2 x 8"),
    "name": (lambda: image_statistics(np.zeros((1, 1, 8, 8)), names=("entropi",)), "did you mean 'entropy'?"),
    "window": (
        lambda: image_statistics(np.zeros((1, 1, 8, 8)), window=1),
        "window as a whole number of at least 2",
    ),
    "levels": (
        lambda: image_statistics(np.zeros((1, 1, 8, 8)), grey_levels=1),
        "grey_levels as a whole number of at least 2",
    ),
    "scale": (
        lambda: image_statistics(np.zeros((1, 1, 8, 8)), scale=-1),
        "scale as a number of at least 0, got -1",
    ),
    "norm": (
        lambda: image_statistics(np.zeros((1, 1, 8, 8)), norm=99.98),
        "a share of the norm above 0 and at most 1, got 99.98",
    ),
    "none": (
        lambda: follows(np.eye(3), {}, rng=np.random.default_rng(0)),
        "at least one statistic of the images, got none",
    ),
    "length": (
        lambda: follows(np.eye(3), {"a": np.ones(2)}, rng=np.random.default_rng(0)),
        r"a finite 'a' for each of 3 images, got shape \(2,\)",
    ),
    "order": (
        lambda: follows(np.ones((2, 3)), {"a": np.arange(3)}, rng=np.random.default_rng(0)),
        "a network that orders the images, got none",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_gets_one_line(name: str) -> None:
    call, words = REFUSED[name]
    with pytest.raises(AkpError, match=words):
        call()
