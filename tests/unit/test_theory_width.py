from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

from akp_core.errors import AkpError
from akp_core.similarity import cka, fingerprint, pairwise
from akp_core.theory.random_layers import family_gaps, gaps, mean_interval, random_features, slope
from akp_core.theory.trained_layers import by_width
from akp_core.theory.width import (
    LayerConstants,
    centre,
    layer_constants,
    linear_constant,
    squared_norms,
)
from akp_core.theory.width_bounds import bernstein_gap, bounded_tail, expected_gap_bound, lipschitz_tail

ESTIMATORS = ("biased", "unbiased")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def images(n: int = 12, d: int = 5) -> np.ndarray:
    return rng(7).normal(size=(n, d)) + 0.3


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_squared_norms_are_those_of_the_matrices(estimator):
    z = rng().normal(size=(9, 6))
    h = z - z.mean(0)
    found = squared_norms(h, estimator)
    for k in range(6):
        assert found[k] == pytest.approx(
            (centre(np.outer(z[:, k], z[:, k]), estimator) ** 2).sum(), rel=1e-12
        )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_constants_are_the_definition_on_explicit_matrices(estimator):
    z = random_features(images(8), 4000, "relu", rng())
    each = np.stack([centre(np.outer(c, c), estimator) for c in z.T])
    mean = each.mean(0)
    square = (mean**2).sum()
    unit = mean / np.sqrt(square)
    across = each - np.einsum("kij,ij->k", each, unit)[:, None, None] * unit
    found = layer_constants(z, estimator=estimator, groups=200)
    assert found.scale == pytest.approx(np.sqrt(square), rel=1e-12)
    # the jackknife moves the plain estimate by its bias of order 1/m only
    assert found.leading == pytest.approx((across**2).sum((1, 2)).mean() / square, rel=0.02)
    assert found.variance == pytest.approx(((each - mean) ** 2).sum((1, 2)).mean() / square, rel=0.02)
    assert found.leading < found.variance


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_linear_constant_is_what_many_units_say(estimator):
    x = images()
    exact = linear_constant(2 / 5 * x @ x.T, estimator=estimator)
    seen = layer_constants(random_features(x, 40_000, "identity", rng(21)), estimator=estimator)
    assert seen.interval[0] < exact.leading < seen.interval[1]
    assert seen.interval[1] - seen.interval[0] < 0.2 * exact.leading
    assert seen.variance == pytest.approx(exact.variance, rel=0.05)
    assert seen.scale == pytest.approx(exact.scale, rel=0.05)


@pytest.mark.parametrize("activation", ["identity", "relu", "tanh"])
def test_wide_layers_differ_by_the_leading_term(activation):
    x, width = images(), 500
    seen = gaps(x, [width], activation, 150, rng(2))
    units = random_features(x, 20_000, activation, rng(3))
    for estimator in ESTIMATORS:
        found = mean_interval(seen.of(estimator) * width, level=0.001)
        c = layer_constants(units, estimator=estimator).leading
        assert found[1, 0] < c * 1.03
        assert found[2, 0] > c * 0.95
        assert found[2, 0] - found[1, 0] < 0.6 * c


def test_the_scale_is_that_of_the_arc_cosine_kernel():
    x = images()
    lengths = np.linalg.norm(x, axis=1)
    cosine = np.clip(x @ x.T / np.outer(lengths, lengths), -1, 1)
    angle = np.arccos(cosine)
    kernel = 2 / 5 * np.outer(lengths, lengths) * (np.sin(angle) + (np.pi - angle) * cosine) / (2 * np.pi)
    wide = random_features(x, 50_000, "relu", rng(4))
    assert layer_constants(wide, estimator="biased").scale == pytest.approx(
        np.linalg.norm(centre(kernel, "biased")), rel=0.03
    )
    # the off-diagonal entry itself, by quadrature over the angle of the weight
    a, b = np.array([1.0, 0.0]), np.array([np.cos(0.7), np.sin(0.7)])
    value = quad(lambda t: max(np.cos(t), 0) * max(np.cos(t - 0.7), 0), 0, 2 * np.pi)[0] / (2 * np.pi) * 2
    assert value == pytest.approx((np.sin(0.7) + (np.pi - 0.7) * (a @ b)) / (2 * np.pi), abs=1e-9)


def test_the_bound_holds_at_every_width_and_is_four_v_over_m():
    x = images()
    widths = [1, 2, 5, 20, 200]
    found = gaps(x, widths, "tanh", 60, rng(5))
    for estimator in ESTIMATORS:
        v = layer_constants(random_features(x, 8_000, "tanh", rng(6)), estimator=estimator).variance
        for mean, width in zip(found.of(estimator).mean(0), widths, strict=True):
            assert mean <= expected_gap_bound(width, v)
    assert expected_gap_bound(100, 5.0) == pytest.approx(0.2)
    assert expected_gap_bound(1, 5.0) == 2


def test_the_probable_bound_is_the_formula_holds_and_is_not_vacuous():
    x, width = images(), 3000
    for activation, tail in (("tanh", "bounded"), ("relu", "lipschitz")):
        constants = layer_constants(random_features(x, 8_000, activation, rng(8)), estimator="biased")
        s, b = (
            bounded_tail(constants, len(x), -1, 1)
            if tail == "bounded"
            else lipschitz_tail(constants, 2 / 5 * x @ x.T, 1)
        )
        log = np.log(4 / 0.05)
        rho = np.sqrt(2 * s**2 * log / width) + 2 * b * log / width
        bound = bernstein_gap(width, s, b)
        assert bound == pytest.approx(min(2, 2 * rho**2))
        assert (gaps(x, [width], activation, 10, rng(9)).biased <= bound).all()
        assert bernstein_gap(400_000, s, b) < 0.1
    assert bernstein_gap(1, s, b) == 2


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_no_unit_lies_farther_from_the_mean_than_the_bounded_tail(activation, low, high):
    x = 20 * images()
    z = random_features(x, 500, activation, rng(10))
    for estimator in ESTIMATORS:
        each = np.stack([centre(np.outer(c, c), estimator) for c in z.T])
        mean = each.mean(0)
        scale = float(np.linalg.norm(mean))
        _, tail = bounded_tail(LayerConstants(1, (1, 1), 1, scale), len(x), low, high)
        assert np.linalg.norm(each - mean, axis=(1, 2)).max() <= 3 * tail * scale


def test_the_lipschitz_tail_bounds_the_moments():
    x = images()
    z = random_features(x, 4000, "relu", rng(11))
    constants = layer_constants(z, estimator="biased")
    each = np.stack([centre(np.outer(c, c), "biased") for c in z.T])
    r = np.linalg.norm(each - each.mean(0), axis=(1, 2)) / constants.scale
    s, b = lipschitz_tail(constants, 2 / 5 * x @ x.T, 1)
    for p, factorial in ((2, 2), (3, 6), (4, 24), (5, 120)):
        assert (r**p).mean() <= factorial / 2 * s**2 * b ** (p - 2)


def test_the_slope_is_minus_one_for_a_law_that_falls_so_and_its_interval_covers():
    widths, held = [16, 32, 64, 128], 0
    for seed in range(200):
        values = rng(seed).gamma(3, 1 / 3, size=(20, 4)) / np.array(widths)
        one = slope(widths, values)
        assert one[1] < one[0] < one[2]
        held += one[1] <= -1 <= one[2]
    assert held >= 178
    exact = np.array([[1 / 16, 1 / 32, 1 / 64, 1 / 128]]).repeat(3, 0)
    assert slope(widths, exact) == pytest.approx((-1, -1, -1))


def test_heavy_tails_and_bottlenecks_do_not_converge_but_bounded_features_do():
    x, widths = images(), [20, 2000]
    heavy = gaps(x, widths, "relu", 25, rng(12), law="cauchy").biased.mean(0)
    tight = gaps(x, widths, "tanh", 25, rng(13), bottleneck=1).biased.mean(0)
    bounded = gaps(x, widths, "tanh", 25, rng(14), law="cauchy").biased.mean(0)
    assert heavy[1] > 0.5 * heavy[0]
    assert heavy[1] > 0.1
    assert tight[1] > 0.5 * tight[0]
    assert bounded[1] < 0.03 * bounded[0]


def test_features_are_what_the_weights_say_and_depth_is_depth():
    x = images()
    w = rng(15).standard_normal((5, 4)) * np.sqrt(2 / 5)
    assert np.allclose(random_features(x, 4, "tanh", rng(15)), np.tanh(x @ w))
    again = rng(15)
    first, second = again.standard_normal((5, 4)), again.standard_normal((4, 4))
    deep = np.tanh(np.tanh(x @ first * np.sqrt(2 / 5)) @ second * np.sqrt(2 / 4))
    assert np.allclose(random_features(x, 4, "tanh", rng(15), depth=2), deep)


def test_a_constant_layer_counts_as_nothing_in_common():
    dead = -np.abs(images())
    found = gaps(dead * 0, [3], "relu", 4, rng())
    assert found.constant == 4
    assert (found.biased == 1).all()
    pair = [random_features(images(), 30, "relu", rng(s)) for s in (1, 2)]
    assert 0 < 1 - cka(*pair) < 2


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: random_features(images(), 0, "relu", rng()), "width"),
        (lambda: random_features(images(), 3, "rleu", rng()), "did you mean"),
        (lambda: random_features(images(), 3, "relu", rng(), law="levy"), "law of the weights"),
        (lambda: random_features([[1.0]], 3, "relu", rng()), "inputs"),
        (lambda: random_features(images(), 3, "relu", 5), "Generator"),
        (lambda: gaps(images(), [], "relu", 4, rng()), "width"),
        (lambda: gaps(images(), [4], "relu", 1, rng()), "pairs"),
        (lambda: gaps(images(), [4], "relu", 2, rng()).of("both"), "estimator"),
        (lambda: layer_constants(np.ones((3, 50))), "4 images"),
        (lambda: layer_constants(np.ones((5, 50))), "not constant"),
        (lambda: layer_constants(np.full((5, 50), np.nan)), "finite"),
        (lambda: layer_constants(images(), groups=20), "40 units"),
        (lambda: layer_constants("x"), "features"),
        (lambda: layer_constants(images(), estimator="mean"), "estimator"),
        (lambda: linear_constant(np.ones((5, 4))), "square"),
        (lambda: linear_constant(np.ones((5, 5))), "constant"),
        (lambda: expected_gap_bound(0, 1.0), "width"),
        (lambda: expected_gap_bound(3, -1.0), "variance"),
        (lambda: bernstein_gap(3, 1.0, 1.0, failure=1.0), "failure"),
        (lambda: bounded_tail(LayerConstants(1, (1, 1), 1, 1), 5, 1, 1), "high - low"),
        (lambda: slope([4, 4], np.ones((5, 2))), "2 widths"),
        (lambda: slope([4, 8], np.zeros((5, 2))), "above 0"),
        (lambda: mean_interval(np.ones((1, 3))), "2 rows"),
    ],
)
def test_bad_input_gets_one_line(call, word):
    with pytest.raises(AkpError, match=word) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_pseudo_values_leave_a_network_out():
    s = rng(16).uniform(0.2, 0.9, (5, 5))
    s = (s + s.T) / 2
    values = family_gaps(s)
    off = 1 - s[np.triu_indices(5, 1)]
    assert values.mean() == pytest.approx(off.mean(), abs=1e-12)
    rest = 1 - s[1:, 1:][np.triu_indices(4, 1)]
    assert values[1:].mean() == pytest.approx(rest.mean(), abs=1e-12)
    with pytest.raises(AkpError, match="3 networks"):
        family_gaps(s[:2, :2])


def test_families_by_width_are_the_mean_pair_and_the_slope():
    def prints(width: int, seed: int) -> np.ndarray:
        return np.stack(
            [fingerprint(random_features(images(), width, "relu", rng(seed + k))) for k in range(6)]
        )

    families = {w: (prints(w, 10), prints(w, 50)) for w in (40, 160, 640)}
    table, slopes = by_width(families)
    row = table.query("when == 'trained' and width == 160").iloc[0]
    s = pairwise([random_features(images(), 160, "relu", rng(50 + k)) for k in range(6)])
    assert row["gap"] == pytest.approx(1 - s[np.triu_indices(6, 1)].mean(), abs=1e-9)
    assert row["low"] < row["gap"] < row["high"]
    moved = table.query("when == 'moved' and width == 40").iloc[0]["gap"]
    own = [1 - cka(*(random_features(images(), 40, "relu", rng(s + k)) for s in (10, 50))) for k in range(6)]
    assert moved == pytest.approx(np.mean(own), abs=1e-9)
    assert slopes["slope"].between(-1.6, -0.5).all()
    families[40][1][2] = np.nan
    assert by_width(families)[0].query("width == 40")["networks"].tolist() == [5, 5, 5]
    with pytest.raises(AkpError, match="2 widths"):
        by_width({40: families[40]})
    families[40][1][2:] = np.nan
    with pytest.raises(AkpError, match="3 networks"):
        by_width(families)
