"""The null of a similarity, and the similarity that is left beyond it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from akp_core.errors import AkpError
from akp_core.similarity import (
    MEASURES,
    calibrated,
    calibrated_pairwise,
    cka,
    mutual_neighbours,
    pairwise,
    shuffled_null,
)
from akp_core.threads import one_thread


@pytest.fixture(autouse=True)
def _on_one_thread():
    """Thousands of tiny comparisons: threads would only wait for one another."""
    with one_thread():
        yield


def pair(shared: float, n: int = 30, p: int = 20, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, p))
    return z + rng.standard_normal((n, p)), shared * z + rng.standard_normal((n, p))


@pytest.mark.parametrize("measure", sorted(MEASURES))
def test_without_a_relation_at_most_five_percent_rise_above_zero(measure):
    x, _ = pair(0.0, p=5)
    rng = np.random.default_rng(1)
    simulations = 60
    above = 0
    for _ in range(simulations):
        found = calibrated(x, rng.standard_normal((30, 4)), measure=measure, permutations=19, rng=rng)
        above += found.value > 0
        assert (found.value > 0) == (found.p_value <= 0.05)
    assert above <= stats.binom.ppf(0.9995, simulations, 0.05)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "measure", ["cka", partial(cka, estimator="unbiased"), partial(mutual_neighbours, k=2)]
)
def test_collapsed_classes_that_tie_under_shuffles_hold_the_level(measure, dtype):
    rng = np.random.default_rng(5)
    labels = np.array([0] * 4 + [1] * 4)
    above = 0
    for _ in range(120):
        x, y = (rng.standard_normal((2, 5))[rng.permutation(labels)].astype(dtype) for _ in range(2))
        found = calibrated(x, y, measure=measure, permutations=19, rng=rng)
        above += found.value > 0
        assert (found.value > 0) == (found.p_value <= 0.05)
    assert above <= stats.binom.ppf(0.9995, 120, 0.05)


def test_the_matrix_is_every_pair():
    rng = np.random.default_rng(6)
    x, y = pair(1.0)
    members = [x, y, rng.standard_normal((30, 4)), rng.standard_normal((30, 50))]
    for estimator in ("unbiased", "biased"):
        found = calibrated_pairwise(members, estimator=estimator, permutations=199, rng=rng)
        np.testing.assert_allclose(found.raw, pairwise(members, estimator=estimator), atol=1e-9)
        for part in (found.raw, found.null_mean, found.threshold, found.value, found.p_value):
            assert (part == part.T).all()
            assert np.isfinite(part).all()
        alone = calibrated(x, y, estimator=estimator, permutations=1999, rng=rng)
        assert found.value[0, 1] == pytest.approx(alone.value, abs=0.05)
        assert found.null_mean[0, 3] == pytest.approx(
            shuffled_null(x, members[3], estimator=estimator, permutations=999, rng=rng).mean(), abs=0.02
        )
        assert ((found.value > 0) == (found.p_value <= 0.05) | np.eye(4, dtype=bool)).all()
        assert (np.diag(found.value) == 1).all()
    as_torch = calibrated_pairwise([torch.from_numpy(m) for m in members], rng=rng)
    assert isinstance(as_torch.value, torch.Tensor)


@pytest.mark.parametrize("measure", ["cka", "procrustes", "mutual_neighbours", "rsa"])
def test_a_relation_is_found_and_identity_is_one(measure):
    x, y = pair(2.0)
    rng = np.random.default_rng(2)
    found = calibrated(x, y, measure=measure, permutations=99, rng=rng)
    assert 0 < found.value < found.raw
    assert found.p_value == 0.01
    assert found.null_mean < found.threshold < found.raw
    same = calibrated(x, 2 * x + 1, measure=measure, permutations=99, rng=rng)
    assert same.value == pytest.approx(1, abs=1e-9)


def test_calibration_brings_biased_and_unbiased_together():
    x, y = pair(1.0, n=25, p=300)
    biased = partial(cka, estimator="biased")
    raw = biased(x, y), cka(x, y)
    rng = np.random.default_rng(3)
    values = [calibrated(x, y, measure=m, permutations=199, rng=rng).value for m in (biased, "cka")]
    assert raw[0] - raw[1] > 0.4
    assert abs(values[0] - values[1]) < 0.1


def test_the_null_of_any_measure_is_its_value_for_shuffled_examples():
    x, y = pair(1.0)
    orders = np.random.default_rng(4)
    expected = [mutual_neighbours(x, y[orders.permutation(30)], k=5) for _ in range(7)]
    found = shuffled_null(
        x, y, measure=partial(mutual_neighbours, k=5), permutations=7, rng=np.random.default_rng(4)
    )
    np.testing.assert_allclose(found, expected)
    by_name = shuffled_null(x, y, measure="cka", permutations=7, rng=np.random.default_rng(4))
    by_call = shuffled_null(x, y, measure=cka, permutations=7, rng=np.random.default_rng(4))
    np.testing.assert_allclose(by_name, by_call, atol=1e-12)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    as_torch = shuffled_null(*tensors, measure=cka, permutations=7, rng=np.random.default_rng(4))
    assert isinstance(as_torch, torch.Tensor)
    np.testing.assert_allclose(as_torch.numpy(), by_call, atol=1e-12)


X, Y = pair(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: calibrated(X, Y, measure="cka2", rng=np.random.default_rng()), "unknown measure 'cka2'"),
        (lambda: calibrated(X, Y, level=5, rng=np.random.default_rng()), "level as a probability"),
        (lambda: calibrated(X, Y, permutations=18, rng=np.random.default_rng()), "of at least 19, got 18"),
        (lambda: calibrated(X, Y, rng=3), "numpy.random.Generator, got int"),
        (lambda: calibrated(X, Y[:9], rng=np.random.default_rng()), "as many examples in y"),
        (lambda: calibrated(X, np.ones((30, 2)), rng=np.random.default_rng()), "y is the same for every"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
