"""Averaging layers: the walk behind them, the bounds, the sum rule, and what drawn images show."""

from itertools import product
from math import log, pi

import numpy as np
import pytest
import vl_convert

from akp_core.charts.theory_pooling import depths as chart
from akp_core.errors import AkpError
from akp_core.theory.pooling import (
    THREE_AT_TWO,
    THREE_AT_TWO_NOISE,
    bounds,
    kernel,
    sensitivity,
    stride_bound,
    sum_rule,
)
from akp_core.theory.pooling_measured import QUANTITIES, depth_curves, discrepancy, responses, waves

FILTERS = {
    "two": [1, 1],
    "three": [1, 1, 1],
    "binomial": [1, 2, 1],
    "lopsided": [3, 1, 0, 2],
    "four": [1] * 4,
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_kernel_is_the_law_of_the_walk(name: str, stride: int) -> None:
    h = np.array(FILTERS[name]) / sum(FILTERS[name])
    law: dict[int, float] = {}
    for steps in product(range(len(h)), repeat=3):
        place = sum(stride**i * j for i, j in enumerate(steps))
        law[place] = law.get(place, 0) + float(np.prod(h[list(steps)]))
    a = kernel(FILTERS[name], stride, 3)
    assert a.sum() == pytest.approx(1)
    np.testing.assert_allclose(a, [law.get(j, 0) for j in range(len(a))], atol=1e-12)


@pytest.mark.parametrize("name", FILTERS)
def test_at_stride_one_sensitivity_is_between_the_proved_bounds(name: str) -> None:
    within = bounds(FILTERS[name])
    assert within.low < within.limit < within.high
    for depth in (1, 2, 5, 20, 100, 400):
        scaled = depth * sensitivity(FILTERS[name], 1, depth).shift
        assert within.low <= scaled <= within.high
    assert scaled == pytest.approx(within.limit, rel=0.03)


def test_two_ones_at_stride_one_are_exact() -> None:
    for depth in (1, 2, 7, 50):
        assert sensitivity([1, 1], 1, depth).shift == pytest.approx(1 / (depth + 1))


@pytest.mark.parametrize(("stride", "depth"), [(2, 1), (2, 6), (3, 4), (5, 2)])
def test_blocks_are_exact(stride: int, depth: int) -> None:
    for shift in (1, 2, stride**depth, stride**depth + 3):
        due = min(shift / stride**depth, 1.0)
        assert sensitivity([1] * stride, stride, depth, shift=shift).shift == pytest.approx(due)
    assert sensitivity([1] * stride, stride, depth).shift == pytest.approx(
        stride_bound(stride, stride, depth)
    )


@pytest.mark.parametrize(("width", "stride"), [(4, 2), (6, 2), (6, 3), (8, 4)])
def test_the_bound_for_wider_filters_holds(width: int, stride: int) -> None:
    for depth in range(1, 6):
        assert sensitivity([1] * width, stride, depth).shift <= stride_bound(width, stride, depth)


@pytest.mark.parametrize("name", ["four", "binomial"])
def test_overlapping_windows_fall_twice_as_fast(name: str) -> None:
    for depth in range(1, 9):
        assert 0.5 <= sensitivity(FILTERS[name], 2, depth).shift * 4**depth <= 2
        a = kernel(FILTERS[name], 2, depth)
        assert 1 / 3 <= a @ a * 2**depth <= 1


def test_three_ones_at_stride_two_stop_falling_where_proved() -> None:
    assert sensitivity([1, 1, 1], 2, 14).shift == pytest.approx(THREE_AT_TWO, abs=1e-9)
    ratio = 0.0
    for depth in range(1, 8):
        ratio = (2 + 2 * ratio) / (3 + 2 * ratio)
        assert 1 - ratio == pytest.approx(sensitivity([1, 1, 1], 2, depth).shift)
    shallow, deep = (sensitivity([1, 1, 1], 2, d) for d in (13, 17))
    slope = log(deep.rectified / shallow.rectified) / log(deep.width / shallow.width)
    assert slope == pytest.approx(THREE_AT_TWO_NOISE, abs=1e-3)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 9])
def test_sensitivity_falls_to_nothing_exactly_under_the_sum_rule(width: int, stride: int) -> None:
    deep = sensitivity([1] * width, stride, 9 if stride == 2 else 6).shift
    assert sum_rule([1] * width, stride) == (width % stride == 0)
    assert (deep < 0.01) == sum_rule([1] * width, stride)
    assert sum_rule([1, 2, 1], 2)


@pytest.mark.parametrize("dims", [1, 2])
def test_rectified_noise_piles_up_as_the_field_grows(dims: int) -> None:
    for depth in (1, 4, 8):
        found = sensitivity([1, 1], 2, depth, dims=dims)
        assert found.noise == 1
        assert found.rectified == pytest.approx((1 - 1 / pi + 2.0 ** (depth * dims) / pi) / 2)
    shallow, deep = (sensitivity([1, 1], 2, d, dims=dims) for d in (8, 11))
    slope = log(deep.rectified / shallow.rectified) / log(deep.width / shallow.width)
    assert slope == pytest.approx(dims, abs=0.02)


def test_drawn_images_show_what_is_proved() -> None:
    layers = {"stride 1": ([1, 2, 1], 1), "blocks": ([1, 1], 2), "aliased": ([1, 1, 1], 2)}
    curves, exponents = depth_curves(
        layers,
        depths={"stride 1": 12, "blocks": 6, "aliased": 6},
        size=2048,
        images=64,
        rng=np.random.default_rng(1),
    )
    held = ((curves["low"] <= curves["exact"]) & (curves["exact"] <= curves["high"])).mean()
    assert held > 0.85
    assert (np.abs(curves["value"] / curves["exact"] - 1) < 0.25).all()
    assert discrepancy(exponents, 64) > 0.01
    assert discrepancy(exponents.assign(exact=exponents["exact"] - 0.2), 64) < 1e-6
    found = exponents.set_index(["layers", "quantity"])
    d = QUANTITIES["shift"]
    assert found.loc[("blocks", d), "low"] < -1 < found.loc[("blocks", d), "high"]
    assert abs(found.loc[("aliased", d), "value"]) < 0.15
    assert found.loc[("stride 1", d), "value"] < -1.7
    assert ((found["low"] <= found["exact"]) & (found["exact"] <= found["high"])).mean() > 0.7


def test_two_dimensions_are_the_product_of_axes() -> None:
    found = responses([1, 1], 2, 3, size=64, images=40, dims=2, rng=np.random.default_rng(0))
    values = {k: v.mean(axis=0) / found["between"].mean(axis=0) for k, v in found.items()}
    for depth in (1, 2, 3):
        due = sensitivity([1, 1], 2, depth, dims=2)
        assert values["shift"][depth - 1] == pytest.approx(due.shift, rel=0.15)
        assert values["rectified"][depth - 1] == pytest.approx(due.rectified, rel=0.15)
        assert values["noise"][depth - 1] == pytest.approx(1, rel=0.15)


def test_a_wave_leaves_a_floor_that_no_width_removes() -> None:
    table = waves([2, 8, 32], shift=0.4, wavelength=60, images=3000, rng=np.random.default_rng(0))
    assert ((table["low"] <= table["proved"]) & (table["proved"] <= table["high"])).all()
    assert table["low"].iloc[-1] > 5 * table["shift only"].iloc[-1]


def test_the_chart_is_described_and_drawn() -> None:
    curves, _ = depth_curves(
        {"blocks": ([1, 1], 2)}, depths={"blocks": 3}, size=64, images=8, rng=np.random.default_rng(0)
    )
    spec = chart(curves).to_dict()
    svg = vl_convert.vegalite_to_svg(spec)
    assert len(spec["description"]) > 60
    assert "NaN" not in svg
    with pytest.raises(AkpError, match="missing: exact"):
        chart(curves.drop(columns="exact"))
    with pytest.raises(AkpError, match="expected at least one stack"):
        chart(curves.iloc[:0])


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: kernel([1, -1], 1, 1), "expected a filter of finite weights, none below 0 and two above"),
        (lambda: kernel([0, 1, 0], 1, 1), "two above"),
        (lambda: kernel([1, 1], 0, 1), "expected stride as a whole number of at least 1"),
        (lambda: kernel([1, 1], 2, 30), "expected a receptive field of at most 1,000,000 pixels"),
        (lambda: bounds([1, 0, 1]), "expected a filter whose places have no common divisor"),
        (lambda: stride_bound(3, 2, 1), "expected a width that is a multiple of 2, got 3"),
        (lambda: sensitivity([1, 1], 1, 1, shift=0), "expected shift"),
        (lambda: responses([1, 1], 2, 4, size=40, images=4, rng=RNG), r"expected a size that 2\^4 divides"),
        (lambda: responses([1, 1], 2, 4, size=64, images=4, dims=3, rng=RNG), "expected dims"),
        (
            lambda: waves([2], shift=20, wavelength=60, images=9, rng=RNG),
            "expected a displacement that does not",
        ),
    ],
)
def test_bad_input_gets_one_line(wrong: object, words: str) -> None:
    with pytest.raises(AkpError, match=words) as caught:
        wrong()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
