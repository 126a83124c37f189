from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from akp_core.dispersion import Centroid, distance_to_centroid
from akp_core.errors import AkpError
from akp_core.similarity import chordal_distance, cka, fingerprint, pairwise
from akp_core.theory.geometry import (
    DISTANCES,
    as_distances,
    blend,
    crossroads,
    detours,
    least_eigenvalue,
    with_private_parts,
)
from akp_core.theory.projections import chance_level, hsic_1, hsic_by_projection

ESTIMATORS = ("biased", "unbiased")
CHORD, ROOT, ANGLE, LINEAR = DISTANCES


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gram(n: int, p: int, seed: int) -> np.ndarray:
    x = rng(seed).normal(size=(n, p)) + 3
    return x @ x.T


@pytest.mark.parametrize("n", [4, 5, 12, 60])
def test_the_published_hsic_is_the_inner_product_of_projections(n):
    k, l = gram(n, 3, 1), gram(n, 5, 2)  # noqa: E741
    assert hsic_1(k, l) == pytest.approx(hsic_by_projection(k, l), rel=1e-9)
    assert hsic_by_projection(k, k) > 0


def test_unbiased_cka_is_the_cosine_of_published_hsic():
    x, y = rng(1).normal(size=(30, 4)), rng(2).normal(size=(30, 6))
    k, l = x @ x.T, y @ y.T  # noqa: E741
    assert cka(x, y) == pytest.approx(hsic_1(k, l) / np.sqrt(hsic_1(k, k) * hsic_1(l, l)), abs=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_chance_level_is_the_mean_over_all_orders(estimator):
    x, y = rng(3).normal(size=(6, 3)), rng(4).normal(size=(6, 2))
    every = [cka(x, y[list(order)], estimator=estimator) for order in permutations(range(6))]
    assert chance_level(x, y, estimator=estimator) == pytest.approx(np.mean(every), abs=1e-12)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_blend_is_on_the_chord(estimator):
    x, y = rng(5).normal(size=(10, 3)), 7 * rng(6).normal(size=(10, 4)) + 2
    f, g, h = (fingerprint(z, estimator=estimator) for z in (x, y, blend(x, y, 0.3, estimator=estimator)))
    mixed = 0.7 * f + 0.3 * g
    assert np.allclose(h, mixed / np.linalg.norm(mixed), atol=1e-12)
    assert cka(blend(x, y, 0.0, estimator=estimator), x, estimator=estimator) == pytest.approx(1)


def test_private_parts_are_seen_by_biased_cka_only():
    x = rng(7).normal(size=(12, 3))
    noisy = with_private_parts(x, rng(8).uniform(0, 9, 12))
    assert cka(x, noisy) == pytest.approx(1, abs=1e-12)
    assert cka(x, noisy, estimator="biased") < 0.95


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_only_one_minus_cka_breaks_the_triangle_and_by_the_proved_amount(estimator):
    x, y = rng(9).normal(size=(16, 3)), rng(10).normal(size=(16, 3))
    found = detours(x, y, np.linspace(0, 1, 11), estimator=estimator)
    for name in (CHORD, ROOT, ANGLE):
        assert found[name].min() > -1e-7
    half = np.sqrt((1 + cka(x, y, estimator=estimator)) / 2)
    assert found[LINEAR][5] == pytest.approx(-2 * (1 - half) * half, abs=1e-9)
    assert np.allclose(found[ANGLE], 0, atol=1e-6)  # a blend lies on the great circle


def test_the_chord_is_euclidean_and_the_angle_is_not():
    four = list(crossroads())
    assert cka(four[0], four[1], estimator="biased") == pytest.approx(0, abs=1e-12)
    assert cka(four[0], four[3], estimator="biased") == pytest.approx(np.sqrt(0.5))
    for name in (CHORD, ROOT):
        assert least_eigenvalue(as_distances(four, name, estimator="biased")) > -1e-9
    assert least_eigenvalue(as_distances(four, ANGLE, estimator="biased")) < -0.01
    assert least_eigenvalue(as_distances(four, LINEAR, estimator="biased")) < -0.01


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_dispersion_is_one_less_the_mean_cka_and_follows_from_the_length_of_the_centroid(estimator):
    shared = rng(11).normal(size=(14, 3))
    models = [shared + 0.5 * rng(20 + k).normal(size=(14, 3)) for k in range(7)]
    s = pairwise(models, estimator=estimator)
    family = Centroid()
    family.add(np.stack([fingerprint(z, estimator=estimator) for z in models]))
    off = s[np.triu_indices(7, 1)]
    assert family.dispersion**2 == pytest.approx(1 - off.mean(), abs=1e-12)
    assert 7 / 6 * (1 - family.mean @ family.mean) == pytest.approx(1 - off.mean(), abs=1e-12)
    away = distance_to_centroid(chordal_distance(s), np.zeros(7))
    assert np.mean(away**2) == pytest.approx(1 - off.mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: hsic_1(np.ones((3, 3)), np.ones((3, 3))), "4 or more"),
        (lambda: hsic_1(gram(5, 2, 0), gram(6, 2, 0)), "same"),
        (lambda: hsic_by_projection(rng().normal(size=(5, 5)), gram(5, 2, 0)), "symmetric"),
        (lambda: blend(np.eye(5), np.eye(5), 1.5), "share"),
        (lambda: blend(rng().normal(size=(5, 2)), rng().normal(size=(6, 2)), 0.5), "as many"),
        (lambda: blend(np.ones((5, 2)), rng().normal(size=(5, 2)), 0.5), "same for every example"),
        (lambda: chance_level(rng().normal(size=(5, 2)), rng().normal(size=(6, 2))), "as many"),
        (lambda: with_private_parts(np.eye(4), -np.ones(4)), "amount"),
        (lambda: least_eigenvalue(np.zeros((3, 3))), "distances"),
        (lambda: crossroads(3), "4 examples"),
        (lambda: as_distances(list(crossroads()), "cosine"), "distance among"),
    ],
)
def test_bad_input_gets_one_line(call, word):
    with pytest.raises(AkpError, match=word) as caught:
        call()
    assert "\n" not in str(caught.value)
