from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from akp_core.dispersion import anna_karenina_test
from akp_core.dispersion.bootstrap import bootstrap_effect
from akp_core.dispersion.inference import PerFamily
from akp_core.dispersion.uncertainty import two_way_interval
from akp_core.errors import AkpError
from akp_core.similarity import chordal_distance, fingerprint, similarity_of_fingerprints
from akp_core.similarity.subset import examples_of, restrict


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def models(members: int, seed: int = 0, *, examples: int = 24, spread: float = 0.4) -> list[np.ndarray]:
    """Features of the same images in models that scatter about one."""
    draw = rng(seed)
    images = draw.standard_normal((examples, 6))
    mean = rng(7).standard_normal((6, 9))
    return [images @ (mean + spread * draw.standard_normal((6, 9))) for _ in range(members)]


# --- restrict ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "float32"])
def test_restricting_is_showing_fewer_images(estimator, kind):
    representations = [x + 5 for x in models(6)]
    images = rng(1).permutation(24)[:9]
    rows = np.stack([fingerprint(x, estimator=estimator) for x in representations])
    rows[2] = np.nan
    given = {"numpy": rows, "torch": torch.from_numpy(rows), "float32": rows.astype(np.float32)}[kind]
    found = restrict(given, torch.from_numpy(images) if kind == "torch" else images, estimator=estimator)
    known = np.stack([fingerprint(x[images], estimator=estimator) for x in representations])
    known[2] = np.nan
    assert isinstance(found, type(given))
    assert np.allclose(found, known, atol=1e-6 if kind == "float32" else 1e-13, equal_nan=True)


@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_all_images_and_subsets_of_subsets(estimator):
    rows = np.stack([fingerprint(x, estimator=estimator) for x in models(3)])
    assert np.allclose(restrict(rows, np.arange(24), estimator=estimator), rows, atol=1e-14)
    outer, inner = rng(2).permutation(24)[:15], rng(3).permutation(15)[:6]
    twice = restrict(restrict(rows, outer, estimator=estimator), inner, estimator=estimator)
    assert np.allclose(twice, restrict(rows, outer[inner], estimator=estimator), atol=1e-13)


def test_a_model_that_is_constant_on_the_subset_has_no_fingerprint_there():
    x = models(1)[0]
    x[:8] = x[0]
    rows = np.stack([fingerprint(x), fingerprint(models(1)[0])])
    found = restrict(rows, np.arange(8))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()
    assert np.isfinite(restrict(rows, np.arange(4, 12))).all()


def test_blocks_of_models_change_nothing(monkeypatch):
    rows = np.stack([fingerprint(x) for x in models(7)])
    whole = restrict(rows, np.arange(10))
    monkeypatch.setattr("akp_core.similarity.subset._BLOCK_ENTRIES", 100)
    assert np.allclose(restrict(rows, np.arange(10)), whole, atol=1e-15)


def test_the_number_of_examples_follows_from_the_entries():
    for n in (4, 5, 512, 10_000):
        assert examples_of(n * (n - 1) // 2, "unbiased") == n
        assert examples_of(n * (n + 1) // 2, "biased") == n


ROWS = np.stack([fingerprint(x) for x in models(12, examples=12)])
U = np.arange(12) >= 6
HOLE, ZERO = ROWS.copy(), ROWS.copy()
HOLE[3, 5], ZERO[1] = np.nan, 0.0
D = chordal_distance(similarity_of_fingerprints(ROWS))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: restrict(ROWS.astype(np.float16), np.arange(5)), "float32 or float64, got float16"),
        (lambda: restrict(torch.from_numpy(ROWS).bfloat16(), np.arange(5)), "float64, got bfloat16"),
        (
            lambda: two_way_interval(torch.from_numpy(ROWS).bfloat16(), U, rng=rng()),
            "float64, got bfloat16",
        ),
        (lambda: two_way_interval(ROWS.astype(np.float16), U, rng=rng()), "float64, got float16"),
        (lambda: restrict(ROWS[0], np.arange(5)), "fingerprints as .models, entries."),
        (lambda: restrict(ROWS[:, 1:], np.arange(5)), r"n\(n-1\)/2 entries for n examples, got 65"),
        (lambda: restrict(ROWS[:, 1:], np.arange(5), estimator="biased"), r"n\(n\+1\)/2 entries.*got 65"),
        (lambda: restrict(ROWS, np.arange(3)), "at least 4 examples for unbiased CKA, got 3"),
        (lambda: restrict(ROWS, np.arange(1), estimator="biased"), "at least 2 examples for biased"),
        (lambda: restrict(ROWS, np.arange(8, 13)), "example numbers from 0 to 11, got 8 to 12"),
        (lambda: restrict(ROWS, np.arange(-1, 5)), "example numbers from 0 to 11, got -1 to 4"),
        (lambda: restrict(ROWS, np.array([0, 1, 2, 2])), "distinct examples.*without replacement.*inflates"),
        (lambda: restrict(ROWS, np.ones(12, dtype=bool)), "list of example numbers, got bool"),
        (lambda: restrict(ROWS, np.ones((2, 2), dtype=int)), "list of example numbers"),
        (lambda: restrict(HOLE, np.arange(5)), "NaN throughout.*row 3"),
        (lambda: restrict(ZERO, np.arange(5)), "length 1, got zeros in row 1"),
        (lambda: restrict(ROWS, np.arange(5), estimator="best"), "unknown estimator 'best'"),
        (lambda: two_way_interval(ROWS[0], U, rng=rng()), "fingerprints as .models, entries."),
        (lambda: two_way_interval(ROWS, U[:3], rng=rng()), "one boolean for each of the 12"),
        (lambda: two_way_interval(ROWS, U, draws=3, rng=rng()), "draws as a whole number of at least 10"),
        (lambda: two_way_interval(ROWS, U, level=0, rng=rng()), "probability between 0 and 1"),
        (lambda: two_way_interval(ROWS, U, rng=1), "numpy.random.Generator"),
        (lambda: two_way_interval(HOLE, U, rng=rng()), "NaN throughout.*row 3"),
        (lambda: two_way_interval(ROWS, U, groups=np.arange(5), rng=rng()), "each of the 12 images"),
        (lambda: two_way_interval(ROWS, U, groups=np.arange(12) % 3, rng=rng()), "at least 4 groups.*got 3"),
        (
            lambda: two_way_interval(ROWS, U, groups=np.minimum(np.arange(12), 4), rng=rng()),
            "at least 4 images in every half of the groups, got 2",
        ),
        (lambda: two_way_interval(ROWS, np.arange(12) > 8, rng=rng()), "at least 4 usable.*unhappy"),
        (lambda: bootstrap_effect(D, U, method="bca", rng=rng()), "unknown method 'bca'.*BCa"),
        (lambda: bootstrap_effect(D, U, draws=9, rng=rng()), "draws as a whole number of at least 100"),
        (lambda: bootstrap_effect(D, U[:4], rng=rng()), "one boolean for each"),
        (lambda: bootstrap_effect(D, U, rng=None), "numpy.random.Generator"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# --- two_way_interval -------------------------------------------------------------------------------------


def population(seed: int, *, members: int = 10, examples: int = 32, spread: tuple[float, float] = (0.3, 0.5)):
    draw = rng(seed)
    images, mean = draw.standard_normal((examples, 6)), rng(7).standard_normal((6, 9))
    rows = [
        fingerprint(images @ (mean + s * draw.standard_normal((6, 9)))) for s in np.repeat(spread, members)
    ]
    return np.stack(rows), np.arange(2 * members) >= members


@pytest.mark.parametrize("paired", [None, np.tile(np.arange(10), 2)])
def test_effect_and_models_part_are_those_of_the_test(paired):
    rows, unhappy = population(0)
    rows[3] = np.nan
    d = chordal_distance(similarity_of_fingerprints(rows))
    known = anna_karenina_test(d, unhappy, paired=paired, permutations=9, rng=rng())
    found = two_way_interval(rows, unhappy, paired=paired, draws=20, rng=rng())
    assert found.effect == pytest.approx(known.effect, abs=1e-9)
    for name in ("members", "excluded", "unmatched"):
        assert getattr(found, name) == getattr(known, name)
    assert sum(found.interval) / 2 == pytest.approx(found.effect)
    wide, narrow = np.diff(found.interval)[0], np.diff(known.interval)[0]
    assert wide > 0.9 * narrow
    assert found.images_share + found.models_share == 1
    assert 0 <= found.images_share <= 1
    again = two_way_interval(torch.from_numpy(rows), unhappy, paired=paired, draws=20, rng=rng())
    assert again.interval == pytest.approx(found.interval, rel=1e-9)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.effect = 0


def test_without_an_images_part_it_is_the_interval_of_the_test():
    """Many images say all there is to say, so that drawing others adds next to nothing."""
    rows, unhappy = population(0, examples=400)
    found = two_way_interval(rows, unhappy, draws=10, rng=rng())
    d = chordal_distance(similarity_of_fingerprints(rows))
    known = anna_karenina_test(d, unhappy, permutations=9, rng=rng())
    assert found.images_share < 0.2
    assert found.interval == pytest.approx(known.interval, abs=0.05)


def test_the_images_part_is_what_drawing_other_images_does():
    """With the models held fixed, the effect varies over draws of the images as the images' error says."""
    draw = rng(11)
    mean = draw.standard_normal((6, 9))
    weights = [mean + s * draw.standard_normal((6, 9)) for s in np.repeat([0.3, 0.6], 25)]
    unhappy = np.arange(50) >= 25
    effects, errors = [], []
    for _ in range(30):
        images = draw.standard_normal((40, 6))
        rows = np.stack([fingerprint(images @ w) for w in weights])
        found = two_way_interval(rows, unhappy, draws=10, rng=draw)
        effects.append(found.effect)
        errors.append(found.images_error**2)
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(effects, ddof=1), rel=0.45)


def test_fewer_groups_than_images_widen_it():
    """Images of one patient say the same thing again: taken for independent, they promise too much.

    The unhappy models scatter along one direction of the images only, so their spread depends on the images.
    """
    mean, one = rng(7).standard_normal((6, 9)), np.eye(6, 1) * 1.5
    unhappy, groups = np.arange(40) >= 20, np.repeat([f"p{i}" for i in range(8)], 4)
    alone, together = [], []
    for seed in range(4):
        draw = rng(seed)
        patients = draw.standard_normal((8, 6)) * np.exp(draw.standard_normal((8, 1)))
        images = np.repeat(patients, 4, axis=0) + 0.3 * draw.standard_normal((32, 6))
        spread = [one if u else 0.2 for u in unhappy]
        rows = np.stack([fingerprint(images @ (mean + s * draw.standard_normal((6, 9)))) for s in spread])
        alone.append(two_way_interval(rows, unhappy, draws=10, rng=draw))
        together.append(two_way_interval(rows, unhappy, groups=groups, draws=10, rng=draw))
    assert (alone[0].groups, together[0].groups) == (32, 8)
    assert [f.models_error for f in alone] == [f.models_error for f in together]
    variance = [np.mean([f.images_error**2 for f in found]) for found in (together, alone)]
    assert variance[0] > 2 * variance[1]


def test_numpy_numbers_are_numbers():
    rows, unhappy = population(0)
    plain = two_way_interval(rows, unhappy, level=0.25, draws=10, rng=rng())
    assert two_way_interval(rows, unhappy, level=np.float32(0.25), draws=np.int8(10), rng=rng()) == plain
    d = chordal_distance(similarity_of_fingerprints(rows))
    boot = bootstrap_effect(d, unhappy, level=0.25, draws=100, rng=rng())
    assert bootstrap_effect(d, unhappy, level=np.float32(0.25), draws=np.int8(100), rng=rng()) == boot


def test_families_without_spread_have_no_finite_interval():
    rows, unhappy = population(1)
    rows[unhappy] = rows[12]
    found = two_way_interval(rows, unhappy, draws=10, rng=rng())
    assert found.effect == -np.inf
    assert found.interval == (-np.inf, np.inf)
    assert found.images_share is None
    assert found.models_share is None
    assert not np.isnan(dataclasses.astuple(found)[2:5]).any()


def test_a_model_without_a_representation_of_half_the_images_is_refused():
    representations = models(10, examples=16)
    representations[4][:15] = representations[4][0]
    representations[4][15] += 1
    representations[4][14] += 1
    rows = np.stack([fingerprint(x) for x in representations])
    with pytest.raises(AkpError, match="every half of the images, got 1 constant on one; leave them out"):
        two_way_interval(rows, np.arange(10) >= 5, rng=rng())


# --- bootstrap_effect -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["percentile", "BCa", "basic"])
@pytest.mark.parametrize("paired", [None, np.tile(np.arange(12), 2)])
def test_the_bootstrap_is_near_the_jackknife(method, paired):
    points = rng(3).standard_normal((24, 30)) * np.repeat([1.0, 1.6], 12)[:, None]
    d, unhappy = cdist(points, points), np.arange(24) >= 12
    known = anna_karenina_test(d, unhappy, paired=paired, permutations=9, rng=rng())
    found = bootstrap_effect(d, unhappy, paired=paired, method=method, draws=2000, rng=rng())
    assert found.effect == known.effect
    assert found.interval == pytest.approx(known.interval, abs=0.12)
    assert found.interval[0] < found.effect < found.interval[1]
    scaled = bootstrap_effect(1e8 * d, unhappy, paired=paired, method=method, draws=2000, rng=rng())
    assert scaled.interval == pytest.approx(found.interval, rel=1e-6)
    strict = bootstrap_effect(d, unhappy, paired=paired, method=method, level=0.01, draws=2000, rng=rng())
    assert strict.interval[0] < found.interval[0] < found.interval[1] < strict.interval[1]


def test_percentiles_are_those_of_resampled_contributions():
    points = rng(4).standard_normal((20, 5)) * np.repeat([1.0, 3.0], 10)[:, None]
    d, unhappy = cdist(points, points), np.arange(20) >= 10
    found = bootstrap_effect(d, unhappy, draws=5000, rng=rng())

    def contributions(x: np.ndarray) -> np.ndarray:
        n, v = len(x), np.trace(np.cov(x.T))
        return np.array([n * v - (n - 1) * np.trace(np.cov(np.delete(x, i, axis=0).T)) for i in range(n)])

    h, u = contributions(points[:10]), contributions(points[10:])
    draw = rng(1).integers(0, 10, (2, 20000, 10))
    effects = np.log(u[draw[0]].mean(axis=1) / h[draw[1]].mean(axis=1)) / 2
    assert found.interval == pytest.approx(np.quantile(effects, [0.025, 0.975]), abs=0.02)


@pytest.mark.parametrize("method", ["percentile", "BCa", "basic"])
def test_degenerate_families_never_give_nan(method):
    points = rng(5).standard_normal((12, 4))
    points[6:] = 0
    unhappy = np.arange(12) >= 6
    none = bootstrap_effect(cdist(points, points), unhappy, method=method, draws=200, rng=rng())
    assert (none.effect, none.interval) == (-np.inf, (-np.inf, np.inf))
    assert none.members == PerFamily(6, 6)
    equidistant = np.where(np.eye(12, dtype=bool), 0, 1.0)
    same = bootstrap_effect(equidistant, unhappy, method=method, draws=200, rng=rng())
    assert same.interval == pytest.approx((0, 0), abs=1e-6)
