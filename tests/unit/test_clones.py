"""Clones that were planted are found and counted; where none are, none are found; the rest is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from akp_core import clones
from akp_core.errors import AkpError
from akp_core.lenses.clones import published


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("n", [60, 300])
def test_r_squared_and_correlation_are_those_of_one_ridge_a_chunk_as_published(n: int) -> None:
    x = rng().standard_normal((n, 10)) @ rng(1).standard_normal((10, 12)) + 0.5 * rng(2).standard_normal(
        (n, 12)
    )
    x += 3.0
    sizes = [1, 3, 7, 12]
    found = clones.chunk_regression(x, sizes=sizes, chunks=4, held_out=False, generator=rng(5))
    orders = clones.nested_chunks(12, 4, rng(5))
    for k, w in enumerate(sizes):
        told, shared, others = [], [], []
        for order in orders:
            rest = x - Ridge(alpha=1e-8).fit(x[:, order[:w]], x).predict(x[:, order[:w]])
            told.append(r2_score(x, x - rest, multioutput="variance_weighted"))
            scale = np.sqrt((rest**2).mean(axis=0)) + 1e-8
            corr = np.abs((rest / scale).T @ (rest / scale) / n)
            shared.append(corr[~np.eye(12, dtype=bool)].mean() if w < 12 else 0)
            out = np.ix_(order[w:], order[w:])
            others.append(corr[out][~np.eye(12 - w, dtype=bool)].mean() if w < 11 else np.nan)
        assert found.r_squared[k] == pytest.approx(np.mean(told), abs=1e-9)
        assert found.correlation[k] == pytest.approx(np.mean(shared), abs=1e-4)
        assert found.others[k] == pytest.approx(np.mean(others), abs=1e-6, nan_ok=True)


def test_out_of_sample_is_that_of_a_ridge_fitted_on_one_half_and_judged_on_the_other() -> None:
    x = rng(3).standard_normal((90, 6)) @ rng(4).standard_normal((6, 8)) + rng(5).standard_normal((90, 8)) + 7
    groups = np.repeat(np.arange(30), 3)
    found = clones.chunk_regression(x, sizes=[2, 5], chunks=3, groups=groups, generator=rng(6))
    again = rng(6)
    first = np.isin(groups, again.permutation(30)[:15])
    orders = clones.nested_chunks(8, 3, again)
    for k, w in enumerate((2, 5)):
        told = []
        for order in orders:
            for a, b in ((first, ~first), (~first, first)):
                fit = Ridge(alpha=1e-8).fit(x[a][:, order[:w]], x[a])
                said = fit.predict(x[b][:, order[:w]])
                told.append(r2_score(x[b], said, multioutput="variance_weighted"))
        assert found.out_of_sample[k] == pytest.approx(np.mean(told), abs=1e-8)


@pytest.mark.parametrize("noise", [0.1, 1.0])
def test_planted_clones_are_what_theory_says(noise: float) -> None:
    layer = clones.plant(6000, base=8, copies=8, noise=noise, generator=rng(1))
    found = clones.chunk_regression(layer.activations, chunks=200, generator=rng(2))
    floor = np.sqrt(2 / (np.pi * 6000))
    for k, w in enumerate(found.sizes[:-1]):
        told = clones.planted_r_squared(8, 8, noise, int(w))
        assert found.r_squared[k] == pytest.approx(told, abs=0.02)
        assert found.out_of_sample[k] == pytest.approx(told, abs=0.03)
        assert 0 <= found.correlation[k] - clones.planted_correlation(8, 8, noise, int(w)) < 1.2 * floor
    assert found.r_squared[-1] == pytest.approx(1)
    assert found.correlation[-1] == 0


def counted(x: np.ndarray, **options: float) -> clones.Critical:
    found = clones.chunk_regression(x, sizes=range(1, x.shape[1] + 1), chunks=100, generator=rng())
    table = pd.DataFrame({"size": found.sizes, "out_of_sample": found.out_of_sample})
    return clones.critical_width(table, **options)


def test_planted_clones_are_counted_where_theory_says() -> None:
    found = []
    for copies in (8, 16, 32):
        layer = clones.plant(2000, 6, copies, 0.01, generator=rng(copies)).activations
        sizes = np.arange(1, 6 * copies + 1)
        told = np.array([clones.planted_r_squared(6, copies, 0.01, int(w)) for w in sizes])
        found.append(counted(layer))
        assert found[-1].width == pytest.approx(clones.crossing(sizes, told, 0.95), rel=0.08)
        assert found[-1].found
    assert found[0].clones < found[1].clones < found[2].clones
    assert found[2].clones == pytest.approx(2 * found[1].clones, rel=0.2)


def test_independent_units_have_no_clones() -> None:
    found = counted(rng().standard_normal((4000, 48)))
    assert not found.found
    assert found.clones == pytest.approx(1 / 0.95, rel=0.05)


def test_exact_copies_are_told_by_one_of_each_and_leave_nothing() -> None:
    x = np.repeat(rng().standard_normal((400, 1)), 8, axis=1)
    found = clones.chunk_regression(x, chunks=3, generator=rng())
    np.testing.assert_allclose(found.r_squared, 1, atol=1e-9)
    np.testing.assert_allclose(found.correlation, 0, atol=1e-9)
    assert counted(x).clones == 8


def test_with_few_images_the_published_r_squared_is_one_by_overfitting() -> None:
    x = rng().standard_normal((40, 64))
    found = clones.chunk_regression(x, sizes=[8, 39], chunks=5, held_out=False, generator=rng())
    assert found.r_squared[1] == pytest.approx(1, abs=1e-3)
    assert np.isnan(found.out_of_sample).all()
    with pytest.raises(AkpError, match=r"more images in each half than the 39 units.*held_out=False"):
        clones.chunk_regression(x, sizes=[8, 39], generator=rng())
    honest = clones.chunk_regression(rng().standard_normal((128, 64)), sizes=[32], generator=rng())
    assert honest.r_squared[0] > 0.6
    assert honest.out_of_sample[0] < 0.3


def test_dead_units_are_counted_and_have_no_residual_correlation() -> None:
    x = clones.plant(500, 4, 4, 0.5, generator=rng()).activations
    dead = np.concatenate([x, np.full((500, 4), 2.5)], axis=1)
    found = clones.chunk_regression(dead, chunks=400, generator=rng())
    alive = clones.chunk_regression(x, chunks=400, generator=rng())
    assert (found.dead, alive.dead) == (4, 0)
    assert np.isfinite(found.correlation).all()
    assert found.correlation[0] == pytest.approx(alive.correlation[0], rel=0.1)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_common_scale_and_shift_change_nothing(scale: float) -> None:
    x = clones.plant(300, 4, 4, 0.2, generator=rng()).activations
    first, other = (
        clones.chunk_regression(y, chunks=3, ridge=0, generator=rng()) for y in (x, scale * x + 10 * scale)
    )
    for name in ("r_squared", "out_of_sample", "correlation"):
        np.testing.assert_allclose(getattr(first, name), getattr(other, name), atol=1e-6)


def test_chunk_errors_are_those_of_masked_read_outs() -> None:
    x, v, b = rng(1).standard_normal((200, 9)), rng(2).standard_normal((4, 9)), rng(3).standard_normal(4)
    y = rng(4).integers(0, 4, 200)
    found = clones.chunk_errors(x, v, b, y, sizes=[2, 5, 9], chunks=6, generator=rng(7))
    for c, order in enumerate(clones.nested_chunks(9, 6, rng(7))):
        for s, w in enumerate((2, 5, 9)):
            mask = np.isin(np.arange(9), order[:w])
            assert found.each[c, s] == pytest.approx(np.mean(((x * mask) @ v.T + b).argmax(axis=1) != y))
    np.testing.assert_allclose(found.error, found.each.mean(axis=0))


def test_planted_margins_err_by_their_law_and_the_exponent_is_minus_one_half() -> None:
    x, v, y = clones.planted_margins(20_000, 128, 1.5, generator=rng())
    found = clones.chunk_errors(x, v, None, y, chunks=20, generator=rng(1))
    np.testing.assert_allclose(found.error, clones.planted_margin_error(found.sizes, 1.5), atol=0.01)
    networks = []
    for seed in range(4):
        x, v, y = clones.planted_margins(20_000, 128, 1.5, generator=rng(seed))
        networks.append(
            clones.chunk_errors(x, v, None, y, sizes=[16, 32, 64, 128], generator=rng(seed)).error
        )
    law = clones.power_law(np.array([16, 32, 64, 128]), np.array(networks), 0.0)
    assert law.verdict == "reproduced"
    assert law.exponent == pytest.approx(-0.5, abs=0.06)
    assert law.prefactor == pytest.approx(1.5 / np.sqrt(2 * np.pi), rel=0.15)


@pytest.mark.parametrize(("power", "verdict"), [(-0.5, "reproduced"), (-1.5, "not reproduced")])
def test_a_law_is_recovered_and_judged(power: float, verdict: str) -> None:
    w = np.array([16.0, 32, 64, 128, 256])
    errors = 0.03 + 0.4 * w**power * (1 + 0.02 * rng().standard_normal((6, 5)))
    law = clones.power_law(w, errors, np.full(6, 0.03))
    assert law.exponent == pytest.approx(power, abs=0.05)
    assert law.low < law.exponent < law.high
    assert law.verdict == verdict


def test_noise_leaves_the_law_undecided() -> None:
    w = np.array([16.0, 32, 64])
    errors = 0.05 + 0.03 * w**-0.5 + 0.02 * rng(3).standard_normal((4, 3))
    assert clones.power_law(w, errors, 0.04).verdict == "undecided"


def test_the_intervals_of_the_exponent_hold_the_truth() -> None:
    w, held = np.array([16.0, 32, 64, 128, 256]), 0
    for seed in range(100):
        draw = rng(seed)
        own = 1 + 0.2 * draw.standard_normal((6, 1))  # what chunks of one network share
        errors = 0.4 * w**-0.5 * own + 0.003 * draw.standard_normal((6, 5))
        law = clones.power_law(w, errors, 0.0)
        held += law.low <= -0.5 <= law.high
    assert stats.binomtest(held, 100, 0.95, alternative="less").pvalue > 0.01


def test_the_published_curve_by_our_thresholds() -> None:
    table = published().rename(columns={"r_squared": "out_of_sample"})
    found = clones.critical_width(table)
    assert 32 < found.width < 64
    assert 8 < found.clones < 16


def test_a_crossing_is_the_last_one_and_interpolated() -> None:
    sizes = np.array([1.0, 2, 4, 8])
    assert clones.crossing(sizes, np.array([0, 0.5, 1, 1]), 0.75) == pytest.approx(2 * 2**0.5)
    assert clones.crossing(sizes, np.array([0, 1, 0.5, 1]), 0.75) == pytest.approx(4 * 2**0.5)
    assert clones.crossing(sizes, np.ones(4), 0.75) == 1
    assert clones.crossing(sizes, np.zeros(4), 0.75) == 8


def test_torch_and_numpy_give_the_same() -> None:
    x, v, y = clones.planted_margins(200, 8, 1.0, generator=rng())
    told = [
        clones.chunk_curves(a, b, None, c, chunks=2, error_chunks=2, generator=rng()).table
        for a, b, c in ((x, v, y), (torch.from_numpy(x), torch.from_numpy(v), torch.from_numpy(y)))
    ]
    pd.testing.assert_frame_equal(*told)


X, V, Y = np.random.default_rng(0).standard_normal((50, 6)), np.ones((3, 6)), np.zeros(50, dtype=int)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: clones.chunk_regression(X[0], generator=rng()), "as \\(images, units\\)"),
        (lambda: clones.chunk_regression(np.full((9, 3), np.nan), generator=rng()), "27 non-finite of 27"),
        (
            lambda: clones.chunk_regression(np.ones((9, 3)), generator=rng()),
            "3 constant \\(dead\\) units over 9",
        ),
        (lambda: clones.chunk_regression(X, sizes=[7], generator=rng()), "at most 6 units.*a size of 7"),
        (lambda: clones.chunk_regression(X, sizes=[], generator=rng()), "sizes of chunks as a list"),
        (lambda: clones.chunk_regression(X, sizes=[2, 2], generator=rng()), "each size of a chunk once"),
        (lambda: clones.chunk_regression(X, ridge=-1, generator=rng()), "ridge as a number of at least 0"),
        (lambda: clones.chunk_regression(X, chunks=0, generator=rng()), "chunks as a whole number"),
        (lambda: clones.chunk_regression(X, generator=0), "give np.random.default_rng"),
        (
            lambda: clones.chunk_regression(X[:8], generator=rng()),
            "more images in each half than the 6 units",
        ),
        (lambda: clones.chunk_regression(X, groups=np.zeros(50), generator=rng()), "at least two groups"),
        (lambda: clones.chunk_regression(X, groups=[1], generator=rng()), "one value for each of 50 images"),
        (lambda: clones.chunk_errors(X, V.T, None, Y, generator=rng()), "read-out of shape \\(classes, 6\\)"),
        (lambda: clones.chunk_errors(X, V, np.ones(2), Y, generator=rng()), "a bias for each of 3 classes"),
        (lambda: clones.chunk_errors(X, V, None, Y + 3, generator=rng()), "labels from 0 to 2, got 3 to 3"),
        (lambda: clones.chunk_errors(X, V, None, Y[:4], generator=rng()), "labels as 50 whole numbers"),
        (lambda: clones.critical_width(pd.DataFrame({"size": [1]})), "without out_of_sample"),
        (lambda: clones.critical_width(pd.DataFrame(), tells=1.0), "tells as a threshold between 0 and 1"),
        (lambda: clones.power_law(np.ones(3), np.ones((2, 3)), 0.1), "at least three networks"),
        (lambda: clones.fit_law(np.array([1, 2]), np.array([-1, -2])), "errors above the error at infinity"),
        (lambda: clones.plant(9, 2, 2, -1.0, generator=rng()), "noise as a variance"),
        (lambda: clones.planted_correlation(2, 2, 0.0, 1), "exact copies leave no residual"),
    ],
)
def test_a_bad_request_gets_one_line(call: object, said: str) -> None:
    with pytest.raises(AkpError, match=said) as caught:
        call()  # type: ignore[operator]
    assert "\n" not in str(caught.value)
