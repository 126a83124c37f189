"""The fast paths behind linear CKA: every route, one answer; float32 keeps its digits or is rescued."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from akp_core.errors import AkpError
from akp_core.similarity import (
    MEASURES,
    both_estimators,
    calibrated,
    centred_gram,
    chordal_distance,
    cka,
    fingerprint,
    pairwise,
    shuffled_null,
)
from akp_core.similarity.arrays import admit, read
from akp_core.similarity.products import (
    by_gram_is_cheaper,
    cross_products,
    device_products,
    in_parallel,
    inner_products,
    single_threaded,
    tiled_products,
)

ESTIMATORS = ("biased", "unbiased")


def population(n: int, widths: tuple[int, ...], *, mean: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 5))
    return [shared @ rng.standard_normal((5, p)) + rng.standard_normal((n, p)) + mean for p in widths]


def by_fingerprints(members: list[np.ndarray], estimator: str) -> np.ndarray:
    """The slow way, from explicit float64 Gram matrices."""
    rows = np.stack([fingerprint(x.astype(np.float64), estimator=estimator) for x in members])
    return np.asarray(rows @ rows.T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "widths"), [(300, (40, 7, 200, 1)), (131, (600, 300)), (64, (3, 3, 3))])
def test_every_route_gives_the_same_inner_products(n, widths, dtype):
    members = [admit(x.astype(dtype), "x").centred for x in population(n, widths)]
    slow = [x.double() @ x.double().T for x in members]
    on = torch.stack([k.diagonal() for k in slow])
    off = torch.stack([torch.stack([(k * l).sum() for k in slow]) for l in slow]) - on @ on.T  # noqa: E741
    tolerance = {"rtol": 1e-6 if dtype is np.float32 else 1e-11, "atol": float(off.diagonal().max()) * 1e-7}
    arrays = [x.numpy() for x in members]
    routes = [tiled_products(arrays), tiled_products(arrays, tile=17), cross_products(members)]
    routes += [device_products(members), device_products(members, strip=50), inner_products(members)]
    for found in routes:
        torch.testing.assert_close(found.off, off, **tolerance)
        torch.testing.assert_close(found.on, on @ on.T, **tolerance)
        torch.testing.assert_close(found.traces, on.sum(dim=1), **tolerance)


def test_the_route_goes_by_cost():
    assert by_gram_is_cheaper(2000, [512] * 50)
    assert not by_gram_is_cheaper(2000, [10] * 50)
    assert not by_gram_is_cheaper(10_000, [512, 512])
    assert by_gram_is_cheaper(512, [65_536, 65_536])


def test_the_number_of_threads_changes_no_bit():
    arrays = [x.astype(np.float32) for x in population(400, (60,) * 5)]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(tiled_products(arrays).off)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("mean", [0.0, 10.0, 1e3, 1e6])
@pytest.mark.parametrize("widths", [(30, 8, 50), (700, 650)])
def test_float32_far_from_zero_keeps_what_its_input_has(mean, widths):
    members = [x.astype(np.float32) for x in population(200, widths, mean=mean)]
    for estimator in ESTIMATORS:
        truth = by_fingerprints(members, estimator)
        np.testing.assert_allclose(pairwise(members, estimator=estimator), truth, atol=1e-6)


@pytest.mark.parametrize("exponent", [-38, -30, -20, -8, 8, 20, 30, 37])
def test_float32_at_the_ends_of_its_range(exponent):
    x, y = (z.astype(np.float32) for z in population(60, (9, 12)))
    tiny = (x.astype(np.float64) * 10.0**exponent).astype(np.float32)
    for estimator in ESTIMATORS:
        truth = by_fingerprints([tiny, y], estimator)[0, 1]
        assert cka(tiny, y, estimator=estimator) == pytest.approx(truth, abs=2e-6)


def test_an_outlier_in_float32_is_rescued():
    x, y, z = (a.astype(np.float32) for a in population(80, (6, 9, 200)))
    x[3] = 3e4
    found = pairwise([x, y, z])
    np.testing.assert_allclose(found, by_fingerprints([x, y, z], "unbiased"), atol=1e-6)
    assert (found == found.T).all()


def test_many_more_features_than_squared_examples():
    rng = np.random.default_rng(4)
    members = [rng.standard_normal((5, 40_000)).astype(np.float32) for _ in range(3)]
    truth = by_fingerprints(members, "unbiased")
    np.testing.assert_allclose(pairwise(members), truth, atol=1e-6)


def test_half_precision_and_mixed_precision():
    x, y = (torch.from_numpy(z) for z in population(50, (8, 20)))
    for half in (torch.bfloat16, torch.float16):
        assert cka(x.to(half), y.to(half)) == pytest.approx(
            cka(x.to(half).double(), y.to(half).double()), abs=1e-6
        )
    assert cka(x.float(), y) == pytest.approx(cka(x.float().double(), y), abs=1e-12)
    assert cka((x > 0), (y * 10).int()) == pytest.approx(
        cka((x > 0).double(), (y * 10).int().double()), abs=1e-12
    )


def test_the_input_is_left_alone():
    members = population(40, (5, 60), mean=3.0)
    copies = [x.copy() for x in members]
    pairwise(members)
    both_estimators([x.astype(np.float32) for x in members])
    assert all((x == c).all() for x, c in zip(members, copies, strict=True))
    strided = np.asfortranarray(members[1])[::-1]
    assert cka(strided, members[0][::-1]) == pytest.approx(cka(members[1], members[0]), abs=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_pairwise_by_every_measure_comes_back_as_it_came(measure, kind):
    members = [kind(x) for x in population(40, (3, 4, 5))]
    found = pairwise(members, measure=measure)
    assert isinstance(found, type(members[0]))
    by_hand = pairwise(members, measure=MEASURES[measure].function)
    np.testing.assert_allclose(np.asarray(found), np.asarray(by_hand), atol=1e-9)
    assert (np.diagonal(np.asarray(found)) == 1).all()


def test_one_pass_for_both_estimators():
    members = population(50, (5, 60, 9))
    for found, estimator in zip(both_estimators(members), ESTIMATORS, strict=True):
        np.testing.assert_array_equal(found, pairwise(members, estimator=estimator))
    assert isinstance(both_estimators([torch.from_numpy(x) for x in members])[0], torch.Tensor)


def textbook_rbf(x: np.ndarray, y: np.ndarray, estimator: str, s: float, t: float) -> float:
    """HSIC of Gaussian Gram matrices with an explicit centring matrix, or Song et al.'s HSIC_1."""
    n = len(x)
    k, l = (np.exp(-((z[:, None] - z[None]) ** 2).sum(-1) / (2 * w * w)) for z, w in ((x, s), (y, t)))  # noqa: E741
    one, h = np.ones(n), np.eye(n) - 1 / n

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        if estimator == "biased":
            return float(np.trace(a @ h @ b @ h))
        a, b = a - np.diag(np.diag(a)), b - np.diag(np.diag(b))
        middle = (one @ a @ one) * (one @ b @ one) / ((n - 1) * (n - 2))
        return float(np.trace(a @ b) + middle - 2 / (n - 2) * (one @ a @ b @ one))

    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("fraction", [0.4, 1.0])
def test_rbf_equals_the_textbook(estimator, fraction):
    x, y = population(41, (6, 13), mean=5.0)
    s, t = (
        fraction * np.median(np.linalg.norm(z[:, None] - z[None], axis=-1)[np.triu_indices(41, 1)])
        for z in (x, y)
    )
    truth = textbook_rbf(x, y, estimator, s, t)
    assert cka(x, y, kernel="rbf", estimator=estimator, fraction=fraction) == pytest.approx(truth, abs=1e-10)
    truth = textbook_rbf(x, y, estimator, 2.0, 2.0)
    assert cka(x, y, kernel="rbf", estimator=estimator, sigma=2.0) == pytest.approx(truth, abs=1e-10)
    matrix = pairwise([x, y], kernel="rbf", estimator=estimator, sigma=2.0)
    assert matrix[0, 1] == pytest.approx(truth, abs=1e-10)
    assert matrix[0, 0] == 1


def test_rbf_sees_what_linear_cannot():
    rng = np.random.default_rng(5)
    angle = rng.uniform(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    doubled = np.stack([np.cos(2 * angle), np.sin(2 * angle)], axis=1)
    null = shuffled_null(circle, doubled, permutations=50, rng=rng)
    assert cka(circle, doubled) < null.max()
    assert cka(circle, doubled, kernel="rbf", fraction=0.2) > 0.2


GOOD = population(12, (3,))[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cka(GOOD, GOOD, kernel="rdf"), "unknown kernel 'rdf': did you mean 'rbf'"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", fraction=0), "fraction as a number above 0, got 0"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", sigma=float("nan")), "sigma as a number above 0, got nan"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", sigma=True), "sigma as a number above 0, got True"),
        (lambda: cka(GOOD, GOOD, sigma=1.0), "the linear kernel has none"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", fraction=0.5, sigma=1.0), "either fraction .* or sigma"),
        (
            lambda: cka(
                np.repeat(GOOD[:2], 8, axis=0), np.repeat(GOOD[:2], 8, axis=0), kernel="rbf", sigma=1e-9
            ),
            None,
        ),
        (lambda: cka(GOOD[[0] * 11 + [1]], GOOD, kernel="rbf"), "median distance above 0 in x, got 0"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", sigma=1e-9), "U-centred Gram matrix of zero"),
        (lambda: cka(GOOD, GOOD, kernel="rbf", sigma=1e9, estimator="biased"), None),
        (lambda: pairwise([GOOD, GOOD], measure="procrustes", estimator="biased"), "belong to measure='cka'"),
        (lambda: both_estimators([]), "at least one representation, got none"),
        (lambda: both_estimators([GOOD, GOOD[:3]]), r"as in representation 0 \(12\), got 3"),
    ],
)
def test_bad_bandwidths_are_refused_and_odd_ones_answered(call, message):
    if message is None:
        assert call() == pytest.approx(1)
        return
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_door_in_the_precision_that_came():
    x = population(30, (4,), mean=2.0)[0]
    assert admit(x.astype(np.float32), "x").centred.dtype == torch.float32
    assert admit(x.astype(np.float16), "x").centred.dtype == torch.float32
    assert admit(x, "x").centred.dtype == torch.float64
    assert admit((x * 10).astype(int), "x").centred.dtype == torch.float64
    assert float(admit(x.astype(np.float32), "x").centred.mean(dim=0).abs().max()) < 1e-6
    constant = admit(np.full((30, 4), 0.1, dtype=np.float32), "x")
    assert constant.constant
    assert constant.constant == read(np.full((30, 4), 0.1, dtype=np.float32), "x").constant


def test_the_limit_of_one_thread_is_lifted_by_the_last_to_leave():
    def limits() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    with threadpool_limits(2, user_api="blas"):
        before = limits()
        assert set(before) == {2}
        first, second = single_threaded(), single_threaded()
        first.__enter__()
        second.__enter__()
        assert set(limits()) == {1}
        first.__exit__(None, None, None)
        assert set(limits()) == {1}
        second.__exit__(None, None, None)
        assert limits() == before
        with pytest.raises(ZeroDivisionError):
            in_parallel(lambda worker: worker.__rtruediv__(1) and None, 2)
        assert limits() == before


@pytest.mark.parametrize(
    ("n", "p", "outlier"), [(300, 1, 200), (300, 1, 3000), (1000, 4, 1.3e5), (300, 16, 1732)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_outlier_among_narrow_features(n, p, outlier, dtype):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, p)).astype(dtype)
    x[0] = outlier
    y = (x + 0.5 * rng.standard_normal((n, p))).astype(dtype)
    assert cka(x, y) == pytest.approx(by_fingerprints([x, y], "unbiased")[0, 1], abs=1e-9)


def test_tiles_are_not_kept():
    members = population(700, (2,) * 40)
    found = tiled_products(members, tile=10)
    np.testing.assert_allclose(found.off, tiled_products(members).off, rtol=1e-9)


def test_float32_features_all_equally_far_apart_have_no_unbiased_cka():
    simplex = np.linalg.qr(np.random.default_rng(0).standard_normal((20, 20)))[0][:10].astype(np.float32)
    for call in (lambda: cka(simplex, GOOD[:10]), lambda: fingerprint(simplex)):
        with pytest.raises(AkpError, match="or all are equally far apart"):
            call()


@pytest.mark.parametrize(("outlier", "truth"), [(1e3, 0.0), (1e7, 0.0)])
def test_rbf_with_an_outlier_equals_the_textbook(outlier, truth):
    x, y = population(60, (2, 2))
    x[0] = outlier
    for estimator in ESTIMATORS:
        truth = textbook_rbf(x, y, estimator, 1.0, 1.0)
        assert cka(x, y, kernel="rbf", sigma=1.0, estimator=estimator) == pytest.approx(truth, abs=1e-9)


def test_rbf_at_the_ends_of_the_bandwidth():
    x, y = population(30, (3, 4))
    for estimator in ESTIMATORS:
        assert cka(x, y, kernel="rbf", sigma=1e160, estimator=estimator) == pytest.approx(
            cka(x, y, kernel="rbf", sigma=1e4, estimator=estimator), abs=1e-6
        )
    assert cka(x, y, kernel="rbf", sigma=1e-160, estimator="biased") == pytest.approx(1)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda *_: float("nan"), "similarities from -1 to 1 of the measure, got nan"),
        (lambda *_: 7.0, "similarities from -1 to 1 of the measure, got 7"),
        (["cka"], "measure as a name or a function"),
    ],
)
def test_a_measure_that_is_none_is_refused(measure, message):
    for call in (
        lambda: pairwise(population(20, (3, 3)), measure=measure),
        lambda: calibrated(*population(20, (3, 3)), measure=measure, rng=np.random.default_rng(0)),
    ):
        with pytest.raises(AkpError, match=message):
            call()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[1.0, 0.2], [0.3, 1.0]]), "symmetric"),
        (np.array([[0.0, 0.2], [0.2, 0.0]]), "1 on the diagonal"),
    ],
)
def test_what_is_no_matrix_of_similarities_has_no_distance(bad, message):
    with pytest.raises(AkpError, match=message):
        chordal_distance(bad)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ma.masked_array(GOOD, GOOD > 1), "as a NumPy array or a torch tensor, got MaskedArray"),
        (torch.from_numpy(GOOD).to_sparse(), "dense tensor"),
        (torch.empty(12, 3, device="meta"), "dense tensor"),
        (GOOD.tolist(), "as a NumPy array or a torch tensor, got list"),
        (GOOD.astype(complex), "real numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(x, message):
    for call in (lambda: cka(x, x), lambda: fingerprint(x), lambda: centred_gram(x)):
        with pytest.raises(AkpError, match=message):
            call()
    grown = torch.from_numpy(GOOD).requires_grad_()
    assert cka(grown, grown) == 1
