from __future__ import annotations

import numpy as np
import pytest
import torch

from akp_core import similarity
from akp_core.errors import AkpError
from akp_core.similarity import (
    chordal_distance,
    cka,
    disagreement_bound,
    fingerprint,
    pairwise,
    prediction_disagreement,
    representation_fault,
    shuffled_null,
    similarity_of_fingerprints,
)

ESTIMATORS = ("biased", "unbiased")


def textbook_biased(x: np.ndarray, y: np.ndarray) -> float:
    """Kornblith et al. 2019: HSIC(K, L) = tr(KHLH) / (n - 1)^2, CKA = HSIC(K, L) / sqrt(HSIC HSIC)."""
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n

    def hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
        return np.trace(k @ h @ l @ h) / (n - 1) ** 2

    k, l = x @ x.T, y @ y.T  # noqa: E741
    return hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l))


def textbook_unbiased(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012, eq. 5: HSIC_1 with zero-diagonal Grams, no centring, in extended precision."""
    n, one = len(x), np.ones(len(x), dtype=np.longdouble)

    def hsic(k: np.ndarray, l: np.ndarray) -> np.longdouble:  # noqa: E741
        k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
        middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
        return (np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))

    k, l = (np.asarray(z, dtype=np.longdouble) @ np.asarray(z, dtype=np.longdouble).T for z in (x, y))  # noqa: E741
    return float(hsic(k, l) / np.sqrt(hsic(k, k) * hsic(l, l)))


TEXTBOOK = {"biased": textbook_biased, "unbiased": textbook_unbiased}


def related(
    n: int, p: int, q: int, *, mean: float = 0.0, seed: int = 0, dtype: type = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Two representations that share part of their geometry, shifted by a mean."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 5))
    x = shared @ rng.standard_normal((5, p)) + rng.standard_normal((n, p))
    y = shared @ rng.standard_normal((5, q)) + 2 * rng.standard_normal((n, q))
    return (x + mean).astype(dtype), (y + mean).astype(dtype)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
@pytest.mark.parametrize(("n", "p", "q"), [(60, 30, 200), (120, 10, 7), (40, 1, 3), (4, 3, 3)])
def test_cka_equals_the_textbook(estimator, mean, n, p, q):
    x, y = related(n, p, q, mean=mean)
    truth = TEXTBOOK[estimator](x.astype(np.float64), y.astype(np.float64))
    assert cka(x, y, estimator=estimator) == pytest.approx(truth, abs=1e-6)
    assert cka(torch.from_numpy(x), torch.from_numpy(y), estimator=estimator) == pytest.approx(
        truth, abs=1e-6
    )


def test_large_float32_features_of_mean_ten():
    x, y = related(1024, 256, 256, mean=10.0)
    truth = cka(x.astype(np.float64) - 10, y.astype(np.float64) - 10)
    assert cka(x, y) == pytest.approx(truth, abs=1e-6)
    assert cka(x.astype(np.float64), y.astype(np.float64)) == pytest.approx(truth, abs=1e-9)
    assert 0.1 < truth < 0.99


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_feature_path_and_gram_path_agree(estimator):
    x, y = related(100, 20, 30, dtype=np.float64)
    wide = np.hstack([x, np.zeros((100, 100))])  # same geometry, forces the Gram path
    assert cka(x, y, estimator=estimator) == pytest.approx(cka(wide, y, estimator=estimator), abs=1e-12)


def test_an_outlier_that_cancels_the_feature_path():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((50, 2)), rng.standard_normal((50, 2))
    x[0] = 1e5
    wide = np.hstack([x, np.zeros((50, 60))])
    assert cka(x, y) == pytest.approx(cka(wide, y), rel=1e-9)


def test_two_random_networks_are_not_the_same():
    rng = np.random.default_rng(2)
    images = rng.standard_normal((200, 64))
    features = []
    for _ in range(2):
        hidden = np.maximum(images @ rng.standard_normal((64, 128)) / 8, 0)
        features.append(np.maximum(hidden @ rng.standard_normal((128, 64)) / 8, 0))
    for estimator in ESTIMATORS:
        assert 0 < cka(*features, estimator=estimator) < 0.95
        assert cka(features[0], features[0], estimator=estimator) == pytest.approx(1, abs=1e-12)


def test_unbiased_averages_zero_for_independent_data_and_biased_does_not():
    rng = np.random.default_rng(3)
    draws = [rng.normal(size=(2, 32, 40)) for _ in range(300)]
    values = {e: np.array([cka(x, y, estimator=e) for x, y in draws]) for e in ESTIMATORS}
    error = values["unbiased"].std() / np.sqrt(300)
    assert abs(values["unbiased"].mean()) < 4 * error < 0.012
    assert values["unbiased"].min() < 0
    assert values["biased"].mean() > 0.5


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fingerprints_are_unit_vectors_whose_products_are_cka(kind, estimator):
    x, y = (kind(z) for z in related(30, 8, 50, dtype=np.float64))
    a, b = fingerprint(x, estimator=estimator), fingerprint(y, estimator=estimator)
    assert type(a) is type(x)
    assert a.shape == (30 * 29 // 2 + (30 if estimator == "biased" else 0),)
    assert float(a @ a) == pytest.approx(1, abs=1e-12)
    assert float(a @ b) == pytest.approx(cka(x, y, estimator=estimator), abs=1e-12)
    stored = fingerprint(x, estimator=estimator, dtype="float32")
    assert str(stored.dtype).endswith("float32")
    assert abs(np.asarray(stored) - np.asarray(a)).max() < 1e-7


def test_fingerprint_is_the_u_centred_gram():
    x, _ = related(6, 3, 3)
    x = x.astype(np.float64)
    gram = x @ x.T
    off = gram - np.diag(np.diag(gram))
    r, n = off.sum(1), 6
    u = off - (r[:, None] + r[None]) / (n - 2) + off.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(u, 0)
    assert np.allclose(u.sum(1), 0)  # what U-centring is for
    expected = np.sqrt(2) * (u / np.linalg.norm(u))[np.triu_indices(n, 1)]
    assert np.allclose(fingerprint(x), expected, atol=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_pairwise_is_every_cka(kind, estimator):
    members = [kind(related(20, p, p, seed=p, dtype=np.float64)[0]) for p in (3, 17, 40)]
    s = pairwise(members, estimator=estimator)
    assert isinstance(s, torch.Tensor) == isinstance(members[0], torch.Tensor)
    s = np.asarray(s)
    assert s.dtype == np.float64
    assert (s == s.T).all()
    assert (np.diag(s) == 1).all()
    for i, x in enumerate(members):
        for j, y in enumerate(members):
            assert s[i, j] == pytest.approx(cka(x, y, estimator=estimator), abs=1e-12)
    stack = kind(np.random.default_rng(0).normal(size=(4, 12, 5)))
    assert np.array_equal(pairwise(stack), pairwise(list(stack)))


def test_similarity_of_stored_fingerprints(monkeypatch):
    members = [related(20, 6, 6, seed=s)[0] for s in range(4)]
    exact = pairwise(members)
    rows = np.stack([fingerprint(m, dtype="float32") for m in members])
    monkeypatch.setattr("akp_core.similarity.fingerprints._BLOCK", 50)  # several blocks
    assert np.allclose(similarity_of_fingerprints(rows), exact, atol=1e-7)
    rows[2] = np.nan
    s = similarity_of_fingerprints(rows)
    assert np.isnan(s[2]).all()
    assert np.isnan(s[:, 2]).all()
    kept = np.ix_([0, 1, 3], [0, 1, 3])
    assert np.allclose(s[kept], exact[kept], atol=1e-7)
    assert (np.diag(s)[[0, 1, 3]] == 1).all()


def test_chordal_distance_is_the_distance_of_fingerprints():
    members = [related(20, 6, 6, seed=s)[0] for s in range(4)]
    rows = np.stack([fingerprint(m) for m in members])
    d = chordal_distance(pairwise(members))
    assert np.allclose(d, np.linalg.norm(rows[:, None] - rows[None], axis=2), atol=1e-12)
    assert (np.diag(d) == 0).all()
    assert (chordal_distance(np.array([[1, 1 - 1e-16], [1 - 1e-16, 1]])) == 0).all()
    missing = chordal_distance(torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan]]))
    assert missing.isnan().sum() == 2


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_identical_models_are_at_distance_zero(estimator):
    x, _ = related(50, 6, 6)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    assert (chordal_distance(pairwise([x, x, x.copy()], estimator=estimator)) == 0).all()
    assert chordal_distance(pairwise([x, x @ rotation], estimator=estimator)).max() < 1e-6


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_prediction_disagreement(kind):
    predictions = kind(np.array([[0, 1, 2, 1], [0, 1, 2, 2], [2, 0, 1, 0]]))
    truth = np.array([[0, 0.25, 1], [0.25, 0, 1], [1, 1, 0]])
    assert np.array_equal(prediction_disagreement(predictions), truth)


def test_disagreement_never_exceeds_its_bound():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 1000)
    wrong = rng.random((6, 1000)) < np.array([0, 0.01, 0.1, 0.2, 0.4, 0.9])[:, None]
    predictions = np.where(wrong, (labels + rng.integers(1, 5, (6, 1000))) % 5, labels)
    errors = (predictions != labels).mean(axis=1)
    bound = disagreement_bound(errors)
    assert (prediction_disagreement(predictions) <= bound + 1e-12).all()
    assert bound[1, 2] == pytest.approx(errors[1] + errors[2])
    assert bound.max() == 1
    assert (np.diag(bound) == 0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_shuffled_null_is_cka_after_shuffling(estimator):
    x, y = related(40, 6, 50)
    null = shuffled_null(x, y, permutations=30, rng=np.random.default_rng(7), estimator=estimator)
    again = np.random.default_rng(7)
    direct = [cka(x, y[again.permutation(40)], estimator=estimator) for _ in range(30)]
    assert np.allclose(null, direct, atol=1e-12)
    assert cka(x, y, estimator=estimator) > null.max()
    if estimator == "unbiased":
        assert abs(null.mean()) < 0.1


def test_results_keep_to_their_kind_and_leave_the_input_alone():
    x, y = related(20, 4, 4)
    frozen = x.copy()
    frozen.setflags(write=False)
    assert cka(frozen, y) == cka(torch.from_numpy(x), torch.from_numpy(y))
    assert np.array_equal(frozen, x)
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    assert not fingerprint(leaf).requires_grad
    assert np.array_equal(leaf.detach().numpy(), x)
    half = cka(x.astype(np.float16), torch.from_numpy(y).to(torch.bfloat16))
    assert half == pytest.approx(cka(x, y), abs=0.02)
    assert isinstance(shuffled_null(leaf, leaf, permutations=1, rng=np.random.default_rng(0)), torch.Tensor)


CONSTANT = np.full((10, 3), 0.1, dtype=np.float32)
GOOD = np.random.default_rng(0).normal(size=(10, 3))


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "dead",
    [
        CONSTANT,
        np.zeros((10, 3)),
        np.full((10, 3), 1e30) * (1 + 1e-16 * GOOD),
        (1e3 + 3e-5 * GOOD).astype(np.float32),
    ],
    ids=["constant", "zero", "large", "round-off"],
)
def test_a_constant_representation_has_no_cka(estimator, dead):
    with pytest.raises(AkpError, match=r"^x is the same .* a constant representation has no CKA"):
        cka(dead, GOOD, estimator=estimator)
    with pytest.raises(AkpError, match=r"^y is the same"):
        cka(GOOD, dead, estimator=estimator)
    with pytest.raises(AkpError, match=r"^representation 1 is the same"):
        pairwise([GOOD, dead], estimator=estimator)
    with pytest.raises(AkpError, match="constant representation"):
        fingerprint(dead, estimator=estimator)
    assert representation_fault(dead, estimator=estimator) == "collapsed"


def test_a_dead_feature_beside_live_ones_is_no_collapse():
    x = np.hstack([np.full((10, 1), 1e8), GOOD]).astype(np.float32)
    assert cka(x, GOOD.astype(np.float32)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("x", [np.eye(10), np.eye(10)[:, :1] + 3], ids=["equidistant", "one live example"])
def test_a_zero_u_centred_gram_has_no_unbiased_cka(x):
    with pytest.raises(AkpError, match="x has a U-centred Gram matrix of zero"):
        cka(x, GOOD)
    assert representation_fault(x) == "collapsed"
    assert representation_fault(x, estimator="biased") is None
    assert 0 < cka(x, GOOD, estimator="biased") < 1


def test_a_diverged_representation_is_counted():
    bad = GOOD.copy()
    bad[2, 1], bad[4] = np.inf, np.nan
    with pytest.raises(AkpError, match="finite numbers in y, got 4 non-finite of 30"):
        cka(GOOD, bad)
    with pytest.raises(AkpError, match="representation 2, got 4"):
        pairwise([GOOD, GOOD, bad])
    assert representation_fault(bad) == "diverged"
    assert representation_fault(GOOD) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: cka(GOOD, GOOD, estimator="unbaised"),
            "estimator 'unbaised': did you mean 'unbiased'",
        ),
        (lambda: cka(GOOD, GOOD, kernel="linaer"), "unknown kernel 'linaer': did you mean 'linear'"),
        (lambda: pairwise([GOOD], measure="ckaa"), "unknown measure 'ckaa': did you mean 'cka'"),
        (lambda: pairwise([GOOD], estimator="x"), "unknown estimator"),
        (
            lambda: fingerprint(GOOD, dtype="float16"),
            "unknown dtype of a fingerprint 'float16'.*float32",
        ),
        (lambda: cka(GOOD[:3], GOOD[:3]), "at least 4 examples for unbiased CKA, got 3 in x"),
        (lambda: cka(GOOD[:1], GOOD[:1], estimator="biased"), "at least 2 examples for biased CKA, got 1"),
        (lambda: representation_fault(GOOD[:3]), "at least 4 examples"),
        (lambda: cka(GOOD, GOOD[:9]), r"as many examples in y as in x \(10\), got 9"),
        (lambda: pairwise([GOOD, GOOD[:9]]), r"in representation 1 as in representation 0 \(10\), got 9"),
        (lambda: cka(np.zeros((10, 3, 4, 4)), GOOD), r"\(10, 3, 4, 4\).*flatten.*spatial mean"),
        (lambda: cka(GOOD[:, 0], GOOD), r"x as \(examples, features\), got an array of shape \(10,\)"),
        (lambda: cka(GOOD[:, :0], GOOD), "at least one example and one feature in x"),
        (lambda: cka(GOOD.tolist(), GOOD), "x as a NumPy array or a torch tensor, got list"),
        (lambda: cka(GOOD + 1j, GOOD), "real numbers in x, got complex128"),
        (lambda: cka(torch.zeros(9, 2, dtype=torch.cfloat), GOOD), "real numbers in x, got torch.complex64"),
        (lambda: pairwise([]), "at least one representation"),
        (
            lambda: pairwise(GOOD),
            r"\(models, examples, features\) array, got ndarray of shape",
        ),
        (lambda: similarity_of_fingerprints(GOOD[0]), r"\(models, entries\), got shape \(3,\)"),
        (lambda: similarity_of_fingerprints(np.array([[1, 0], [np.nan, 1]])), "non-finite entries in row 1"),
        (lambda: similarity_of_fingerprints(np.array([[1.0, 0], [0, 0]])), "length 1, got zeros in row 1"),
        (lambda: chordal_distance(GOOD), r"square matrix of similarities, got shape \(10, 3\)"),
        (lambda: chordal_distance(np.array([[1, 1.5], [1.5, 1]])), "similarities from -1 to 1, got 1.5"),
        (lambda: prediction_disagreement(GOOD), "class numbers, got fractional.*argmax"),
        (lambda: prediction_disagreement(np.arange(3)), r"\(models, examples\), got shape \(3,\)"),
        (lambda: disagreement_bound(np.array([3.0, 20.0])), "shares from 0 to 1.*percentages"),
        (lambda: disagreement_bound(GOOD), "one error per model"),
        (
            lambda: shuffled_null(GOOD, GOOD, permutations=0, rng=np.random.default_rng(0)),
            "permutations as a whole number of at least 1, got 0",
        ),
        (lambda: shuffled_null(GOOD, GOOD, permutations=9, rng=7), "numpy.random.Generator, got int"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_public_names():
    assert set(similarity.__all__) <= set(dir(similarity))
