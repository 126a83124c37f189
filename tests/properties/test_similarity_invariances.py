from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akp_core.similarity import cka, fingerprint, pairwise, shuffled_null

ESTIMATORS = st.sampled_from(["biased", "unbiased"])


@st.composite
def representations(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Two Gaussian representations of random shape, partly shared, and a generator for more draws."""
    n, p, q = draw(st.integers(5, 40)), draw(st.integers(2, 50)), draw(st.integers(2, 50))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shared = rng.standard_normal((n, 2))
    x = shared @ rng.standard_normal((2, p)) + rng.standard_normal((n, p))
    y = shared @ rng.standard_normal((2, q)) + rng.standard_normal((n, q))
    return x, y, rng


@settings(deadline=None, max_examples=60)
@given(representations(), ESTIMATORS)
def test_a_cosine(data, estimator):
    x, y, _ = data
    value = cka(x, y, estimator=estimator)
    assert (0 if estimator == "biased" else -1) <= value <= 1
    assert cka(y, x, estimator=estimator) == pytest.approx(value, abs=1e-12)
    assert cka(x, x, estimator=estimator) == pytest.approx(1, abs=1e-12)
    product = fingerprint(x, estimator=estimator) @ fingerprint(y, estimator=estimator)
    assert product == pytest.approx(value, abs=1e-11)


@settings(deadline=None, max_examples=60)
@given(representations(), ESTIMATORS, st.floats(-8, 8), st.floats(-100, 100))
def test_unchanged_by_rotation_shift_and_isotropic_scale(data, estimator, exponent, shift):
    x, y, rng = data
    value = cka(x, y, estimator=estimator)
    rotation, _ = np.linalg.qr(rng.standard_normal((x.shape[1], x.shape[1])))
    moved = 10.0**exponent * (x @ rotation + shift * rng.standard_normal(x.shape[1]))
    assert cka(moved, y, estimator=estimator) == pytest.approx(value, abs=1e-9)
    order = rng.permutation(len(x))
    assert cka(x[order], y[order], estimator=estimator) == pytest.approx(value, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(representations(), ESTIMATORS, st.integers(-8, 8))
def test_float32_keeps_six_digits_at_any_scale(data, estimator, exponent):
    x, y, _ = data
    x, y = x.astype(np.float32), y.astype(np.float32)
    value = cka(x, y, estimator=estimator)
    assert cka(x * np.float32(10.0**exponent), y, estimator=estimator) == pytest.approx(value, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 60), st.integers(0, 2**32 - 1), ESTIMATORS)
def test_changed_by_a_general_linear_map(n, seed, estimator):
    x = np.random.default_rng(seed).standard_normal((n, 4))
    assert cka(x, x * [30, 1, 1, 1], estimator=estimator) < 0.95


@settings(deadline=None, max_examples=25)
@given(st.integers(30, 60), st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_shuffling_one_side_leaves_nothing(n, p, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    y = x + 0.1 * rng.standard_normal((n, p))
    assert cka(x, y) > 0.9
    null = shuffled_null(x, y, permutations=40, rng=rng)
    assert abs(null.mean()) < 0.1
    assert null.max() < 0.7


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(5, 20), ESTIMATORS)
def test_pairwise_is_a_matrix_of_cosines(widths, n, estimator):
    rng = np.random.default_rng(sum(widths))
    s = pairwise([rng.standard_normal((n, p)) for p in widths], estimator=estimator)
    assert (s == s.T).all()
    assert (np.diag(s) == 1).all()
    assert np.linalg.eigvalsh(s).min() > -1e-12
