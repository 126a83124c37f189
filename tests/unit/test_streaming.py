"""Batches: exactly the full CKA whatever the split, or HSIC summed over batches with the ratio taken once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akp_core.errors import AkpError
from akp_core.similarity import MinibatchCKA, StreamedCKA, centred_gram, cka, fingerprint, pairwise

ESTIMATORS = ("biased", "unbiased")
SPLITS = ([50], [1, 2, 3, 7, 60], [99], list(range(1, 100)))


def population(mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((100, 6))
    own = [shared @ rng.standard_normal((6, p)) + rng.standard_normal((100, p)) for p in (5, 9, 30, 1)]
    return [scale * (x + mean * rng.standard_normal(x.shape[1])) for x in own]


def batches(members: list[np.ndarray], cuts: list[int]) -> list[list[np.ndarray]]:
    return [[x[part] for x in members] for part in np.split(np.arange(100), cuts)]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("cuts", SPLITS)
@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1e4, 1.0), (10.0, 1e-100), (10.0, 1e100)])
def test_a_stream_equals_the_full_computation_for_any_split(estimator, cuts, mean, scale):
    members = population(mean, scale)
    stream = StreamedCKA(estimator=estimator)
    for batch in batches(members, cuts):
        stream.add(batch)
    assert stream.examples == 100
    truth = pairwise([x / scale for x in members], estimator=estimator)
    np.testing.assert_allclose(stream.result(), truth, atol=1e-9 if mean > 100 else 1e-12)


def test_streams_merge_whatever_their_first_batches_were():
    members = population(3.0)
    members[1][50:] *= 1e6
    one, other, empty = StreamedCKA(), StreamedCKA(), StreamedCKA()
    for stream, rows in ((one, slice(0, 30)), (other, slice(30, 70)), (other, slice(70, 100))):
        stream.add([x[rows] for x in members])
    one.merge(other)
    one.merge(empty)
    empty.merge(one)
    for stream in (one, empty):
        np.testing.assert_allclose(stream.result(), pairwise(members), atol=1e-12)


def test_a_drifting_stream_keeps_its_digits():
    members = [np.sort(x, axis=0) * 1e3 for x in population()]
    stream = StreamedCKA()
    for batch in batches(members, list(range(2, 100, 2))):
        stream.add(batch)
    np.testing.assert_allclose(stream.result(), pairwise(members), atol=1e-10)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_float32_and_torch_come_back_as_they_came(kind):
    members = [kind(x.astype(np.float32)) for x in population(5.0)]
    for stream in (StreamedCKA(), MinibatchCKA()):
        stream.add(members)
        assert isinstance(stream.result(), type(members[0]))
        np.testing.assert_allclose(np.asarray(stream.result()), np.asarray(pairwise(members)), atol=1e-6)


def test_minibatch_sums_hsic_before_the_ratio():
    members = population()

    def hsic(x: np.ndarray, y: np.ndarray) -> float:
        k, l = x @ x.T, y @ y.T  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        n = len(x)
        return (
            (k * l).sum() + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(0) @ l.sum(0)
        ) / (n * (n - 3))

    parts = batches(members, [20, 50, 54])
    total = np.array([[sum(len(b[0]) * hsic(b[i], b[j]) for b in parts) for i in range(4)] for j in range(4)])
    truth = total / np.sqrt(np.outer(np.diag(total), np.diag(total)))
    found = MinibatchCKA()
    for part in parts:
        found.add(part)
    assert (found.batches, found.examples) == (4, 100)
    np.testing.assert_allclose(found.result(), truth, atol=1e-10)
    last = pairwise(parts[-1])
    assert abs(found.result() - last).max() > 1e-3


def test_minibatches_estimate_the_full_value_without_bias():
    rng = np.random.default_rng(7)
    members = population()
    truth = cka(members[0], members[1])
    values = []
    for _ in range(300):
        order, sums = rng.permutation(100), MinibatchCKA()
        for part in order.reshape(10, 10):
            sums.add([members[0][part], members[1][part]])
        values.append(sums.result()[0, 1])
    # The ratio of unbiased sums has a bias of second order only; a mean of ratios is off by more.
    assert abs(np.mean(values) - truth) < 0.02
    ratios = [cka(members[0][p], members[1][p]) for p in rng.permutation(100).reshape(10, 10)]
    assert len(ratios) == 10


def test_grams_by_hand_are_the_same_as_features():
    members = [x.astype(np.float32) for x in population(10.0)]
    by_features, by_grams = MinibatchCKA(), MinibatchCKA()
    for part in batches(members, [40, 70]):
        by_features.add(part)
        by_grams.add_grams(np.stack([centred_gram(x) for x in part]))
    np.testing.assert_allclose(by_grams.result(), by_features.result(), atol=1e-6)
    halves = [MinibatchCKA(), MinibatchCKA(), MinibatchCKA()]
    for sums, part in zip([halves[0], halves[1], halves[1]], batches(members, [40, 70]), strict=True):
        sums.add(part)
    halves[0].merge(halves[1])
    halves[0].merge(halves[2])
    np.testing.assert_allclose(halves[0].result(), by_features.result(), atol=1e-12)


def test_float32_batches_far_from_zero_are_done_in_float64():
    members = [x.astype(np.float32) for x in population(1000.0)]
    sums, exact = MinibatchCKA(), MinibatchCKA()
    for part in batches(members, [30, 60]):
        sums.add(part)
        exact.add([x.astype(np.float64) for x in part])
    np.testing.assert_allclose(sums.result(), exact.result(), atol=1e-5)


def test_a_layer_constant_in_one_batch_only_is_not_constant():
    members = [x.astype(np.float32) for x in population(5.0)]
    members[2][:40] = members[2][0]
    sums = MinibatchCKA()
    for part in batches(members, [40]):
        sums.add(part)
    alone = MinibatchCKA()
    alone.add([x[40:] for x in members])
    assert np.isfinite(sums.result()).all()
    assert sums.result()[2, 2] == 1
    members[2][:] = np.float32(0.1)
    for dtype in (np.float32, np.float64):
        dead = MinibatchCKA()
        dead.add([x.astype(dtype) for x in members])
        with pytest.raises(AkpError, match="representation 2 is the same for every example"):
            dead.result()


def test_u_centred_fingerprints_and_one_batch_agree():
    members = population()
    rows = np.stack([fingerprint(x) for x in members])
    sums = MinibatchCKA()
    sums.add(members)
    np.testing.assert_allclose(sums.result(), rows @ rows.T, atol=1e-12)


def streamed(*parts: list[np.ndarray], **options: str) -> np.ndarray:
    stream = StreamedCKA(**options)
    for part in parts:
        stream.add(part)
    return stream.result()


def summed(*parts: list[np.ndarray]) -> np.ndarray:
    sums = MinibatchCKA()
    for part in parts:
        sums.add(part)
    return sums.result()


X = population()[0]
NAN, CONSTANT = X.copy(), np.full((100, 2), 0.1)
NAN[3, 1] = np.nan


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: streamed([X, X], estimator="debiased"), "unknown estimator 'debiased'"),
        (lambda: streamed(), "at least 4 examples for unbiased CKA, got 0"),
        (lambda: streamed([X[:3], X[:3]]), "at least 4 examples for unbiased CKA, got 3"),
        (lambda: streamed([X, X[:9]]), r"as in representation 0 \(100\), got 9"),
        (lambda: streamed([X, X], [X, X[:, :2]]), r"widths \[5, 5\] as before, got 2 of widths \[5, 2\]"),
        (lambda: streamed([X, NAN]), "finite numbers in representation 1"),
        (lambda: streamed([X, CONSTANT]), "representation 1 is the same for every example"),
        (lambda: streamed([]), "at least one representation a batch"),
        (lambda: streamed([X[:, 0]]), r"as \(examples, features\), got shape \(100,\)"),
        (lambda: summed(), "at least one batch, got none"),
        (lambda: summed([X[:3], X[:3]]), "at least 4 examples in a batch, got 3"),
        (lambda: summed([X, X], [X]), "2 representations as before, got 1"),
        (lambda: summed([X, NAN]), "finite numbers in representation 1"),
        (lambda: summed([X, X[:50]]), r"as in representation 0 \(100\), got 50"),
    ],
)
def test_bad_batches_are_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("first", [0.0, 1e-150])
def test_a_stream_whose_size_grows_is_rescaled(estimator, first):
    x, y = population()[:2]
    y = np.concatenate([first * y[:5], 1e80 * y[5:]])
    truth = pairwise([x, y], estimator=estimator)
    stream = StreamedCKA(estimator=estimator)
    stream.add([x[:5], y[:5]])
    stream.add([x[5:], y[5:]])
    np.testing.assert_allclose(stream.result(), truth, atol=1e-12)
    parts = [StreamedCKA(estimator=estimator) for _ in range(2)]
    parts[0].add([x[:5], y[:5]])
    parts[1].add([x[5:], y[5:]])
    parts[0].merge(parts[1])
    np.testing.assert_allclose(parts[0].result(), truth, atol=1e-12)


@pytest.mark.parametrize("exponent", [-200, -90, 90, 200])
def test_minibatches_of_any_size_of_number(exponent):
    x, y = population()[:2]
    sums, truth = MinibatchCKA(), MinibatchCKA()
    for part in np.split(np.arange(100), [40]):
        truth.add([x[part], y[part]])
        sums.add([x[part], y[part] * 10.0**exponent])
    np.testing.assert_allclose(sums.result(), truth.result(), atol=1e-9)


def test_a_gram_matrix_must_be_one():
    grams = np.stack([centred_gram(x) for x in population()[:2]])
    skewed, shifted, broken = grams.copy(), grams + grams[0, 0, 0], grams.copy()
    turn = np.roll(np.eye(len(skewed[1])), 1, axis=0)
    skewed[1] += skewed[1].max() * (turn - turn.T)  # rows and columns still sum to zero
    broken[1, 3, 4] = np.nan
    for bad, message in (
        (skewed, "not symmetric"),
        (shifted, "rows that do not sum to zero"),
        (broken, "finite numbers in the Gram matrix of representation 1"),
        (grams[:, :5], "square Gram matrices"),
        (grams[0], r"\(M, n, n\)"),
        (grams.tolist(), "float32 or float64 array"),
    ):
        with pytest.raises(AkpError, match=message):
            MinibatchCKA().add_grams(bad)
    kept = grams.copy()
    sums = MinibatchCKA()
    sums.add_grams(torch.from_numpy(grams).requires_grad_())
    assert (grams == kept).all()
    assert isinstance(sums.result(), torch.Tensor)
    other = MinibatchCKA()
    other.merge(sums)
    assert isinstance(other.result(), torch.Tensor)


def test_an_outlier_in_gram_matrices_is_u_centred_entry_by_entry():
    rng = np.random.default_rng(3)
    members = [rng.standard_normal((256, p)).astype(np.float32) for p in (1, 2)]
    members[0][3] = 1e4
    members[1] += members[0] / 1e4
    by_features, by_grams = MinibatchCKA(), MinibatchCKA()
    by_features.add(members)
    by_grams.add_grams(np.stack([centred_gram(x) for x in members]))
    truth = pairwise([x.astype(np.float64) for x in members])
    np.testing.assert_allclose(by_features.result(), truth, atol=1e-6)
    np.testing.assert_allclose(by_grams.result(), truth, atol=2e-3)


@pytest.mark.parametrize("other", ["x", StreamedCKA(estimator="biased"), MinibatchCKA()])
def test_only_alike_streams_merge(other):
    with pytest.raises(AkpError, match="another StreamedCKA of estimator 'unbiased'"):
        StreamedCKA().merge(other)
