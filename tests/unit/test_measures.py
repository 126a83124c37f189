from __future__ import annotations

import warnings
from importlib import import_module

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
import scipy.stats
import torch
from scipy.spatial.distance import pdist
from sklearn.cross_decomposition import CCA
from sklearn.neighbors import NearestNeighbors

from akp_core.errors import AkpError
from akp_core.similarity.canonical import (
    pwcca,
    pwcca_matrix,
    svcca,
    svcca_matrix,
)
from akp_core.similarity.dissimilarity import _ranks, rsa, rsa_matrix
from akp_core.similarity.measures import MEASURES
from akp_core.similarity.members import distances_between_examples
from akp_core.similarity.neighbours import mutual_neighbours, mutual_neighbours_matrix, neighbour_chance
from akp_core.similarity.procrustes import nuclear_norms, procrustes, procrustes_matrix
from akp_core.similarity.subspaces import CanonicalWarning, canonical_chance

NAMES = sorted(MEASURES)
WITH_MATRIX = sorted(name for name, measure in MEASURES.items() if measure.matrix)


def related(n: int, *widths: int, seed: int = 0, noise: float = 1.0) -> list[np.ndarray]:
    """Representations of one set of examples that share three directions."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 3))
    return [shared @ rng.standard_normal((3, p)) + noise * rng.standard_normal((n, p)) for p in widths]


def canonical_pairs(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Canonical correlations and x's directions, by the generalised eigenproblem of the covariances."""
    x, y = x - x.mean(0), y - y.mean(0)
    explained = x.T @ y @ np.linalg.solve(y.T @ y, y.T @ x)
    squared, coefficients = scipy.linalg.eigh(explained, x.T @ x)
    order = np.argsort(-squared)[: min(x.shape[1], y.shape[1])]
    return np.sqrt(squared[order].clip(0)), x @ coefficients[:, order]


# Procrustes


@pytest.mark.parametrize(("n", "p"), [(30, 4), (12, 12), (10, 40)])
def test_procrustes_is_what_scipy_finds(n, p):
    x, y = related(n, p, p)
    s = procrustes(x, y)
    _, _, disparity = scipy.spatial.procrustes(x, y)
    assert s == pytest.approx((1 - disparity) ** 0.5, abs=1e-10)
    a, b = x - x.mean(0), y - y.mean(0)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    rotation, scale = scipy.linalg.orthogonal_procrustes(a, b)
    assert s == pytest.approx(scale, abs=1e-10)
    assert np.linalg.norm(a @ rotation - b) == pytest.approx((2 - 2 * s) ** 0.5, abs=1e-7)


@pytest.mark.parametrize(("n", "p", "q"), [(30, 4, 9), (12, 30, 5), (10, 50, 40)])
def test_procrustes_of_unequal_widths_pads_with_zeros(n, p, q):
    x, y = related(n, p, q)
    width = max(p, q)
    padded = [np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in (x, y)]
    assert procrustes(x, y) == pytest.approx(procrustes(*padded), abs=1e-12)
    _, _, disparity = scipy.spatial.procrustes(*padded)
    assert procrustes(x, y) == pytest.approx((1 - disparity) ** 0.5, abs=1e-10)


def test_a_wide_representation_is_reduced_to_its_examples(monkeypatch):
    seen = []
    original = torch.linalg.svdvals
    monkeypatch.setattr(torch.linalg, "svdvals", lambda m: seen.append(tuple(m.shape)) or original(m))
    x, y = related(20, 3000, 5000)
    procrustes(x, y)
    procrustes_matrix([x, y])
    assert all(max(shape[-2:]) <= 20 for shape in seen)
    assert len(seen) == 2


def test_stacks_are_bounded_and_change_nothing(monkeypatch):
    representations = related(15, 4, 7, 4, 30, 7, 4)
    whole = procrustes_matrix(representations)
    monkeypatch.setattr(import_module("akp_core.similarity.procrustes"), "_STACK", 1)
    np.testing.assert_allclose(procrustes_matrix(representations), whole, atol=1e-14)
    assert float(nuclear_norms([torch.eye(4, dtype=torch.float64)] * 2)[0, 1]) == pytest.approx(4)


# SVCCA and PWCCA


@pytest.mark.parametrize("variance", [0.5, 0.9, 0.99, 1.0])
def test_svcca_is_cca_of_principal_components(variance):
    x, y = related(200, 8, 12)
    scores = []
    for z in (x, y):
        left, values, _ = np.linalg.svd(z - z.mean(0), full_matrices=False)
        share = np.cumsum(values**2) / np.sum(values**2)
        kept = min(int(np.searchsorted(share, variance - 1e-12)) + 1, len(values))
        scores.append(left[:, :kept] * values[:kept])
    assert svcca(x, y, variance=variance) == pytest.approx(canonical_pairs(*scores)[0].mean(), abs=1e-10)


def test_svcca_is_the_cca_of_scikit_learn():
    x, y = related(150, 3, 4)
    a, b = CCA(n_components=3, tol=1e-14, max_iter=20_000).fit_transform(x, y)
    found = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(3)])
    assert svcca(x, y, variance=1.0) == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize(("p", "q"), [(6, 9), (9, 6), (5, 5), (1, 4)])
def test_pwcca_is_the_formula_of_morcos(p, q):
    x, y = related(150, p, q)
    correlations, directions = canonical_pairs(x, y)
    weights = np.abs(directions.T @ (x - x.mean(0))).sum(1)
    assert pwcca(x, y) == pytest.approx(weights @ correlations / weights.sum(), abs=1e-10)


def test_pwcca_asks_how_much_of_the_first_is_in_the_second():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2)) * [10, 0.1]
    y = np.c_[x[:, 0], 10 * rng.standard_normal(200)]
    assert pwcca(x, y) > 0.95
    assert pwcca(y, x) < 0.8
    both = (pwcca(x, y) + pwcca(y, x)) / 2
    assert pwcca_matrix([x, y])[0, 1] == pytest.approx(both, abs=1e-12)


def test_pwcca_ignores_a_linear_map_of_the_second_alone():
    x, y = related(100, 4, 5)
    general = np.random.default_rng(1).standard_normal((5, 5)) + 2 * np.eye(5)
    assert pwcca(x, y @ general) == pytest.approx(pwcca(x, y), abs=1e-10)
    assert abs(pwcca(y @ general, x) - pwcca(y, x)) > 1e-3


@pytest.mark.filterwarnings("ignore::akp_core.similarity.subspaces.CanonicalWarning")
def test_pwcca_does_not_hang_on_the_solver_where_correlations_tie():
    x, y = related(20, 12, 14)
    value = pwcca(x, y)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(20)
        assert pwcca(x[order], y[order]) == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("measure", [svcca, pwcca])
def test_directions_that_are_rounding_do_not_count(measure, dtype):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((100, 4)).astype(dtype) for _ in range(2))
    options = {"variance": 1.0} if measure is svcca else {}
    value = measure(x, y, **options)
    spoilt = np.c_[y, y[:, :2], np.full((100, 1), 0.1, dtype), y[:, :1] + y[:, 1:2]].astype(dtype)
    assert measure(x, spoilt, **options) == pytest.approx(value, abs=1e-5)
    if measure is svcca:
        assert measure(spoilt, x, **options) == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("measure", [svcca, pwcca])
def test_small_directions_above_rounding_do_count(measure):
    """As plain canonical correlations weigh a direction alike at any size."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((100, 3)), rng.standard_normal((100, 4))
    y[:, 0] = x[:, 0] + 0.1 * rng.standard_normal(100)
    options = {"variance": 1.0} if measure is svcca else {}
    assert measure(x, y * [1e-10, 1, 1, 1], **options) == pytest.approx(measure(x, y, **options), abs=1e-4)


@pytest.mark.parametrize("measure", [svcca, pwcca])
def test_large_constant_features_do_not_count(measure):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((99, 3)), rng.standard_normal((99, 4))
    constants = 1e8 * rng.uniform(0.1, 1, 20)
    options = {"variance": 1.0} if measure is svcca else {}
    offset = np.c_[x, np.tile(constants, (99, 1))]
    assert measure(offset, y, **options) == pytest.approx(measure(x, y, **options), abs=1e-6)


def test_tied_directions_weigh_the_mean_over_their_bases():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((80, 4)) * [1, 5, 1, 1]
    y = np.c_[x[:, 0] - x[:, 1], x[:, 1], x[:, 2] + 2 * rng.standard_normal(80)]
    correlations, directions = canonical_pairs(x, y)
    centred = x - x.mean(0)
    assert correlations == pytest.approx([1, 1, correlations[2]])
    assert correlations[2] < 0.9
    weights = np.abs(directions.T @ centred).sum(1)
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    turned = np.cos(angles)[:, None] * directions[:, 0] + np.sin(angles)[:, None] * directions[:, 1]
    weights[:2] = np.abs(turned @ centred).sum(1).mean()
    assert pwcca(x, y) == pytest.approx(weights @ correlations / weights.sum(), abs=1e-5)


def test_directions_tied_at_the_cut_are_kept():
    rng = np.random.default_rng(0)
    x = np.linalg.qr(rng.standard_normal((50, 8)))[0]
    x = np.linalg.qr(x - x.mean(0))[0]
    y = rng.standard_normal((50, 1))
    assert svcca(x, y, variance=0.5) == pytest.approx(svcca(x, y, variance=1.0), abs=1e-12)


def test_chance_of_canonical_correlations():
    rng = np.random.default_rng(0)
    squares = []
    for _ in range(200):
        x, y = rng.standard_normal((41, 6)), rng.standard_normal((41, 10))
        squares.append(canonical_pairs(x, y)[0] ** 2)
    assert np.mean(squares) == pytest.approx(canonical_chance(6, 10, 41) ** 2, abs=0.01)
    assert canonical_chance(50, 2, 11) == 1


@pytest.mark.parametrize("measure", [svcca, pwcca])
def test_too_many_directions_warn_then_fail(measure):
    rng = np.random.default_rng(0)
    y = rng.standard_normal((41, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(rng.standard_normal((41, 10)), y)
    with pytest.warns(
        CanonicalWarning, match=r"x has 11 directions for 41 examples.*0\.52 by chance; use at"
    ):
        measure(rng.standard_normal((41, 11)), y)
    with pytest.warns(CanonicalWarning, match=r"1 whatever the data where p \+ q > 40") as caught:
        measure(y, rng.standard_normal((41, 39 if measure is pwcca else 30)))
    assert caught[0].filename == __file__
    wide = rng.standard_normal((41, 500))
    options = {"variance": 1.0} if measure is svcca else {}
    for pair, name in (((wide, y), "x"), ((y, wide), "y")):
        with pytest.raises(AkpError, match=f"got 40 in {name}: every canonical correlation"):
            measure(*pair, **options)


def test_with_n_minus_one_directions_every_correlation_is_one():
    """Why one full representation, and not two, is enough for the refusal."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 19)), rng.standard_normal((20, 3))
    np.testing.assert_allclose(canonical_pairs(x, y)[0], 1, atol=1e-6)


@pytest.mark.parametrize("variance", [0, -0.1, 1.1, float("nan"), True, "0.9", None])
def test_a_variance_that_is_no_share(variance):
    x, y = related(50, 3, 4)
    for call in (lambda: svcca(x, y, variance=variance), lambda: svcca_matrix([x, y], variance=variance)):
        with pytest.raises(AkpError, match="variance as a share above 0, at most 1"):
            call()


# Mutual neighbours


@pytest.mark.parametrize("k", [1, 5, 28])
def test_mutual_neighbours_are_those_of_scikit_learn(k):
    x, y = related(30, 6, 9)
    near = [NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False) for z in (x, y)]
    shared = [len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)]
    assert mutual_neighbours(x, y, k=k) == pytest.approx(np.mean(shared), abs=1e-12)


def test_ties_share_the_places():
    """Neighbours of 0 on the line 0, 1, -1, 5 with k = 1: half of each; by hand for every row."""
    x = np.array([[0.0], [1.0], [-1.0], [5.0]])
    y = np.array([[0.0], [1.0], [-3.0], [9.0]])
    # x: 0 -> {1: 1/2, 2: 1/2}, 1 -> 0, 2 -> 0, 3 -> 1; y: 0 -> 1, 1 -> 0, 2 -> 0, 3 -> 1
    assert mutual_neighbours(x, y, k=1) == pytest.approx((0.5 + 1 + 1 + 1) / 4)
    assert mutual_neighbours(x, x, k=1) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_repeated_examples_are_tied_whatever_their_order(dtype):
    rng = np.random.default_rng(0)
    x = (100 + np.repeat(rng.standard_normal((12, 5)), 4, axis=0)).astype(dtype)
    y = rng.standard_normal((48, 7)).astype(dtype)
    value = mutual_neighbours(x, y, k=5)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(48)
        assert mutual_neighbours(x[order], y[order], k=5) == pytest.approx(value, abs=1e-12)
    assert mutual_neighbours(x, x, k=5) == pytest.approx(1, abs=1e-12)
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0].astype(dtype)
    assert mutual_neighbours(x @ rotation, y, k=5) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_wholly_tied_side_gives_chance(dtype):
    rng = np.random.default_rng(0)
    simplex = (np.eye(20) @ np.linalg.qr(rng.standard_normal((20, 20)))[0]).astype(dtype)
    other = rng.standard_normal((20, 3))
    assert mutual_neighbours(simplex, other, k=4) == pytest.approx(neighbour_chance(4, 20), abs=1e-12)


def test_chance_of_neighbours():
    rng = np.random.default_rng(0)
    x, y = related(40, 5, 5, noise=0.1)
    shuffled = [mutual_neighbours(x, y[rng.permutation(40)], k=6) for _ in range(100)]
    assert np.mean(shuffled) == pytest.approx(neighbour_chance(6, 40), abs=0.01)


@pytest.mark.parametrize("k", [0, -1, 29, 2.0, True, "3", None])
def test_a_k_that_cannot_be(k):
    x, y = related(30, 3, 4)
    for call in (
        lambda: mutual_neighbours(x, y, k=k),
        lambda: mutual_neighbours_matrix([x, y], k=k),
        lambda: neighbour_chance(k, 30),
    ):
        with pytest.raises(AkpError, match="k as a whole number from 1 to 28 for 30 examples, got"):
            call()


def test_blocks_of_rows_change_nothing(monkeypatch):
    representations = related(30, 4, 5, 6)
    representations.append(np.repeat(representations[0][:10], 3, axis=0))
    whole = mutual_neighbours_matrix(representations, k=5)
    monkeypatch.setattr("akp_core.similarity.neighbours._STACK", 300)
    np.testing.assert_allclose(mutual_neighbours_matrix(representations, k=5), whole, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_large_example_ties_no_others(dtype):
    """As scikit-learn on the stored numbers, but for places within the rounding of the dtype."""
    x, y = (z.astype(dtype) for z in related(100, 5, 5))
    x[0] = 1e4
    near = [
        NearestNeighbors(n_neighbors=10).fit(z.astype(float)).kneighbors(return_distance=False)
        for z in (x, y)
    ]
    exact = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*near, strict=True)])
    assert exact > 0.15
    assert mutual_neighbours(x, y) == pytest.approx(exact, abs=3e-3 if dtype == np.float16 else 1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_repeated_examples_stay_tied_beside_a_large_one(dtype):
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((12, 5)), 4, axis=0).astype(dtype)
    x[0] = 1e4
    y = rng.standard_normal((48, 7)).astype(dtype)
    value = mutual_neighbours(x, y, k=5)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(48)
        assert mutual_neighbours(x[order], y[order], k=5) == pytest.approx(value, abs=1e-12)
    assert mutual_neighbours(x, x, k=5) == pytest.approx(1, abs=1e-12)


def test_distances_of_near_and_far_examples():
    rng = np.random.default_rng(0)
    x = np.repeat(1e4 * rng.standard_normal((5, 8)), 4, axis=0) + 1e-3 * rng.standard_normal((20, 8))
    found = distances_between_examples(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found[np.triu_indices(20, 1)], pdist(x), rtol=1e-11)


# RSA


@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean", "correlation"])
@pytest.mark.parametrize("comparison", ["spearman", "pearson", "cosine"])
def test_rsa_is_scipy_on_distances(dissimilarity, comparison):
    x, y = related(25, 6, 9)
    names = {"euclidean": "euclidean", "squared_euclidean": "sqeuclidean", "correlation": "correlation"}
    a, b = pdist(x, names[dissimilarity]), pdist(y, names[dissimilarity])
    truth = {
        "spearman": scipy.stats.spearmanr(a, b).statistic,
        "pearson": scipy.stats.pearsonr(a, b).statistic,
        "cosine": a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    }[comparison]
    options = {"dissimilarity": dissimilarity, "comparison": comparison}
    assert rsa(x, y, **options) == pytest.approx(truth, abs=1e-12)
    assert rsa_matrix([x, y], **options)[0, 1] == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("outlier", [1e4, 1e5, 1e8])
def test_rsa_beside_a_large_example_is_that_of_scipy(outlier, dissimilarity):
    x, y = related(100, 5, 5)
    x[0] = outlier
    truth = scipy.stats.spearmanr(pdist(x), pdist(y)).statistic
    assert rsa(x, y, dissimilarity=dissimilarity) == pytest.approx(truth, abs=1e-9)


def test_a_chain_of_small_steps_is_not_one_tie():
    steps = torch.arange(9, dtype=torch.float64) * 1e-3
    ranks = _ranks(steps, torch.full_like(steps, 0.75e-3))
    assert ranks.tolist() == [0.5, 0.5, 2.5, 2.5, 4.5, 4.5, 6.5, 6.5, 8]
    assert _ranks(steps, torch.full_like(steps, 1.0)).tolist() == [4] * 9


def test_directions_lost_beside_a_large_example_are_not_passed_over():
    x, y = related(100, 5, 5)
    x[0] = 1e8
    whitened = [scipy.linalg.orth(z - z.mean(0)) for z in (x, y)]
    truth = np.linalg.svd(whitened[0].T @ whitened[1], compute_uv=False).mean()
    assert svcca(x, y, variance=1.0) == pytest.approx(truth, abs=1e-6)
    x[0] = 1e15
    for call in (lambda: svcca(x, y, variance=1.0), lambda: pwcca(x, y)):
        with pytest.raises(AkpError, match="a few examples of x are so far from the others"):
            call()
    assert 0 <= svcca(x, y) <= 1, "one direction holds the variance, and is not lost"


def test_half_precision_keeps_the_directions_beside_a_large_example():
    x, y = (z.astype(np.float16) for z in related(100, 5, 5))
    x[0] = 1e4
    exact = [z.astype(float) for z in (x, y)]
    assert svcca(x, y, variance=1.0) == pytest.approx(svcca(*exact, variance=1.0), abs=1e-9)


def test_ranks_of_ties_are_their_mean():
    rng = np.random.default_rng(0)
    grid = rng.integers(0, 3, (20, 3)).astype(float)
    other = rng.standard_normal((20, 4))
    truth = scipy.stats.spearmanr(pdist(grid, "sqeuclidean"), pdist(other)).statistic
    assert rsa(grid, other) == pytest.approx(truth, abs=1e-12)
    rotation = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert rsa(grid @ rotation, other) == pytest.approx(truth, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("comparison", ["spearman", "pearson"])
def test_equal_dissimilarities_have_no_rsa(comparison, dtype):
    rng = np.random.default_rng(0)
    simplex = (np.linalg.qr(rng.standard_normal((12, 12)))[0]).astype(dtype)
    with pytest.raises(AkpError, match="vary in y, got the same for every pair"):
        rsa(rng.standard_normal((12, 3)), simplex, comparison=comparison)
    assert 0 < rsa(rng.standard_normal((12, 3)), simplex, comparison="cosine") < 1


@pytest.mark.parametrize("comparison", ["spearman", "cosine"])
def test_correlation_dissimilarity_needs_rows_that_vary(comparison):
    x, y = related(10, 4, 5)
    y[7] = 3.1
    options = {"dissimilarity": "correlation", "comparison": comparison}
    with pytest.raises(AkpError, match=r"every example of y .* got row 7 constant"):
        rsa(x, y, **options)
    with pytest.raises(AkpError, match=r"every example of representation 1 .* got row 7 constant"):
        rsa_matrix([x, y], **options)
    with pytest.raises(AkpError, match="at least 2 features in x"):
        rsa(x[:, :1], y, **options)
    with pytest.raises(AkpError, match="got the same for every pair"):
        rsa(np.outer(np.arange(1, 11.0), [1, 2, 4]), x, **options)


def test_correlation_sees_rotation_and_translation():
    x, y = related(20, 5, 6)
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    value = rsa(x, y, dissimilarity="correlation")
    assert abs(rsa(x @ rotation, y, dissimilarity="correlation") - value) > 0.01
    assert abs(rsa(x + np.array([5, 0, 0, 0, 0]), y, dissimilarity="correlation") - value) > 0.01
    assert rsa(x + np.arange(20)[:, None], y, dissimilarity="correlation") == pytest.approx(value, abs=1e-9)


def test_a_choice_that_does_not_exist():
    x, y = related(10, 3, 3)
    for call in (rsa, lambda x, y, **options: rsa_matrix([x, y], **options)):
        with pytest.raises(AkpError, match="unknown dissimilarity 'euclid': did you mean 'euclidean'"):
            call(x, y, dissimilarity="euclid")
        with pytest.raises(AkpError, match="unknown comparison 'kendall'"):
            call(x, y, comparison="kendall")


# All of them


def test_the_table_of_measures():
    assert list(MEASURES) == ["cka", "procrustes", "svcca", "pwcca", "mutual_neighbours", "rsa"]
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.title
        assert measure.source
        assert measure.caution
    with pytest.raises(TypeError):
        MEASURES["mine"] = MEASURES["cka"]  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_numpy_and_torch_agree(name):
    x, y = related(60, 5, 6)
    measure = MEASURES[name]
    value = measure.function(x, y)
    assert isinstance(value, float)
    assert measure.function(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(value, abs=1e-12)
    assert measure.function(x, torch.from_numpy(y)) == pytest.approx(value, abs=1e-12)
    assert measure.function(x.astype(np.float32), y) == pytest.approx(value, abs=2e-3)
    if measure.matrix:
        made = measure.matrix([torch.from_numpy(x), torch.from_numpy(y)])
        assert isinstance(made, torch.Tensor)
        np.testing.assert_allclose(made.numpy(), measure.matrix([x, y]), atol=1e-12)


@pytest.mark.parametrize("name", WITH_MATRIX)
def test_the_matrix_is_every_pair(name):
    measure = MEASURES[name]
    representations = related(60, 5, 8, 5, 3, 8)
    representations[3] = np.repeat(representations[3][:20], 3, axis=0)  # ties
    made = measure.matrix(representations)
    assert made.shape == (5, 5)
    assert made.dtype == np.float64
    assert (made == made.T).all()
    assert (np.diag(made) == 1).all()
    for i in range(5):
        for j in range(5):
            pair = measure.function(representations[i], representations[j])
            pair = (pair + measure.function(representations[j], representations[i])) / 2
            assert made[i, j] == pytest.approx(pair, abs=1e-10)
    assert measure.matrix(representations[:1]).tolist() == [[1.0]]
    stacked = np.stack([representations[1], representations[4]])
    assert measure.matrix(stacked)[0, 1] == pytest.approx(made[1, 4], abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_least_number_of_examples(name):
    measure = MEASURES[name]
    n = measure.least_examples
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CanonicalWarning)
        low, high = measure.bounds
        assert low <= measure.function(rng.standard_normal((n, 1)), rng.standard_normal((n, 1))) <= high
    for fewer in range(1, n):
        with pytest.raises(AkpError):
            measure.function(rng.standard_normal((fewer, 1)), rng.standard_normal((fewer, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_representation(name):
    function = MEASURES[name].function
    x, y = related(30, 4, 5)
    broken = x.copy()
    broken[3, 2] = np.nan
    infinite = x.copy()
    infinite[0, 0] = -np.inf
    cases = [
        (x[:, 0], r"x as \(examples, features\)"),
        (x.reshape(30, 2, 2), r"x as \(examples, features\)"),
        (x[:, :0], "at least one example and one feature in x"),
        (x[:20], r"as many examples in y as in x \(20\)"),
        (broken, "finite numbers in x, got 1 non-finite"),
        (infinite, "finite numbers in x, got 1 non-finite"),
        (np.full_like(x, 0.1), "x is the same for every example: a constant representation has no"),
        (np.zeros_like(x), "x is the same for every example"),
        (x.tolist(), "x as a NumPy array or a torch tensor, got list"),
        (None, "x as a NumPy array or a torch tensor, got NoneType"),
        (x.astype(complex), "real numbers in x, got complex128"),
        (x.astype(str), "real numbers in x"),
        (torch.from_numpy(x).to(torch.complex64), "real numbers in x"),
    ]
    for bad, message in cases:
        with pytest.raises(AkpError, match=message):
            function(bad, y)


@pytest.mark.parametrize("name", WITH_MATRIX)
def test_what_is_no_population(name):
    matrix = MEASURES[name].matrix
    x, y = related(30, 4, 5)
    with pytest.raises(AkpError, match="representation 1 is the same for every example"):
        matrix([x, np.ones_like(x), y])
    with pytest.raises(AkpError, match="as many examples in representation 1 as in representation 0"):
        matrix([x, y[:20]])
    with pytest.raises(AkpError, match="at least one representation, got none"):
        matrix([])
    for bad in (x, "abc", None, {"x": x}):
        with pytest.raises(AkpError, match="expected"):
            matrix(bad)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
@pytest.mark.parametrize("name", WITH_MATRIX)
def test_a_second_device(name):
    x, y = related(60, 5, 6)
    measure = MEASURES[name]
    with pytest.raises(AkpError, match="y on the device of x"):
        measure.function(x, torch.from_numpy(y).cuda())
    there = [torch.from_numpy(z).cuda() for z in (x, y)]
    assert measure.function(*there) == pytest.approx(measure.function(x, y), abs=1e-10)
    np.testing.assert_allclose(measure.matrix(there).cpu().numpy(), measure.matrix([x, y]), atol=1e-10)
