from __future__ import annotations

import dataclasses
import importlib
import warnings

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from scipy.spatial.distance import cdist

from akp_core.dispersion.contributions import contrast, pseudo_values
from akp_core.dispersion.geometry import distance_to_centroid
from akp_core.dispersion.median import spatial_median
from akp_core.dispersion.permdisp import permdisp
from akp_core.dispersion.several import p_of_contrast, pair_share, sharpened
from akp_core.errors import AkpError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def population(sizes: tuple[int, ...], dim: int, kind: str, unit: float = 1.0):
    """Distances of families of growing spread, and their labels."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    points = rng(sum(sizes) + dim).standard_normal((len(labels), dim)) * (1 + 0.25 * labels[:, None])
    points += 0.3 * labels[:, None]
    d = cdist(points, points, "cosine" if kind == "cosine" else "euclidean")
    d = np.arccos(np.clip(1 - d, -1, 1)) if kind == "cosine" else d
    if kind == "squared":
        d = d**2
    np.fill_diagonal(d, 0)
    return unit * (d + d.T) / 2, labels


def explicit_coordinates(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Principal coordinates by the textbook: real and imaginary axes."""
    n = len(d)
    centring = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-centring @ d**2 @ centring / 2)
    return (
        vectors[:, values > 0] * np.sqrt(values[values > 0]),
        vectors[:, values < 0] * np.sqrt(-values[values < 0]),
    )


@pytest.mark.parametrize("sizes", [(12, 12), (5, 9, 20), (4, 30)])
@pytest.mark.parametrize("kind", ["euclidean", "cosine", "squared"])
def test_agrees_with_scikit_bio(sizes, kind):
    """Large distances, as scikit-bio stops its search for the median at an absolute step of 1e-7."""
    skbio = pytest.importorskip("skbio")
    from skbio.stats.distance import permanova
    from skbio.stats.distance import permdisp as theirs

    from akp_core.dispersion.location import location_test

    d, labels = population(sizes, 30, kind, unit=100.0)
    members, oracle = len(d), skbio.DistanceMatrix(d)
    assert location_test(d, labels, permutations=1, rng=rng()).pseudo_f == pytest.approx(
        permanova(oracle, labels, permutations=0)["test statistic"], rel=1e-9
    )
    for centre in ("centroid", "median"):
        found = {}
        for axes in (10, members - 1, members):
            found[axes] = permdisp(d, labels, centre=centre, axes=axes, permutations=1, rng=rng())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about negative eigenvalues
                oracle_f = theirs(oracle, labels, test=centre, permutations=0, dimensions=axes)
            assert found[axes].f == pytest.approx(oracle_f["test statistic"], rel=1e-6)
        assert abs(found[10].f - found[members].f) > 1e-3
        every = permdisp(d, labels, centre=centre, permutations=1, rng=rng())
        if kind == "euclidean":
            assert every.f == pytest.approx(found[members].f, rel=1e-9)
        assert (every.axes, found[10].axes) == (None, 10)


@pytest.mark.parametrize("centre", ["centroid", "median"])
@pytest.mark.parametrize("kind", ["cosine", "squared"])
def test_negative_axes_count_negatively(centre, kind):
    d, labels = population((6, 11), 4, kind)
    expected = np.empty(17)
    real, imaginary = explicit_coordinates(d)
    assert imaginary.shape[1] > 3
    for family in (0, 1):
        inside = labels == family
        parts = []
        for part in (real[inside], imaginary[inside]):
            middle = part.mean(axis=0)
            if centre == "median":
                middle = optimize.minimize(
                    lambda at, part=part: np.linalg.norm(part - at, axis=1).sum(), middle, tol=1e-14
                ).x
            parts.append(np.square(part - middle).sum(axis=1))
        expected[inside] = np.sqrt(np.abs(parts[0] - parts[1]))
    found = permdisp(d, labels, centre=centre, permutations=1, rng=rng())
    assert np.allclose(found.distances, expected, rtol=1e-4 if centre == "median" else 1e-8)
    assert found.f == pytest.approx(stats.f_oneway(found.distances[:6], found.distances[6:]).statistic)


def test_distances_are_those_to_the_centroid_without_the_small_sample_factor():
    d, labels = population((5, 9), 6, "euclidean")
    n = np.array([5, 9])[labels]
    found = permdisp(torch.from_numpy(d), labels, permutations=9, rng=rng())
    assert np.allclose(found.distances, distance_to_centroid(d, labels) * np.sqrt((n - 1) / n))
    assert (found.members, found.excluded) == (14, 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.f = 0


def clouds(kind: str, seed: int) -> np.ndarray:
    """Points whose median is hard to find."""
    draw = rng(seed)
    points = draw.standard_t(1.5, (int(draw.integers(4, 30)), int(draw.integers(2, 8))))
    if kind == "nearly collinear":
        points *= 10.0 ** -(draw.uniform(1, 6) ** (np.arange(points.shape[1]) > 0))
    if kind == "two directions":
        points *= np.where(np.arange(points.shape[1]) < 2, 1.0, 1e-5)
    if kind == "nearly one point":
        points[1:3] = points[0] + 1e-5 * draw.standard_normal((2, points.shape[1]))
    return points


@pytest.mark.parametrize("kind", ["any", "nearly collinear", "two directions", "nearly one point"])
def test_the_spatial_median_is_no_worse_than_scipys(kind):
    for seed in range(60):
        points = clouds(kind, seed)

        def total(at: np.ndarray, points=points) -> float:
            return float(np.linalg.norm(points - at, axis=1).sum())

        def slope(at: np.ndarray, points=points) -> np.ndarray:
            away = at - points
            return (away / np.maximum(np.linalg.norm(away, axis=1), 1e-300)[:, None]).sum(axis=0)

        found = spatial_median(points)
        best = min(
            optimize.minimize(total, start, jac=slope, method="BFGS", options={"gtol": 1e-9}).fun
            for start in (points.mean(axis=0), np.median(points, axis=0))
        )
        assert total(found) <= best * (1 + 1e-9)
        assert total(found) <= min(map(total, points)) * (1 + 1e-12)
        away = np.linalg.norm(points - found, axis=1)
        if away.min() > 1e-6 * away.max():
            assert np.linalg.norm(slope(found)) < 1e-3


def test_the_spatial_median_of_a_narrow_family_is_one_of_its_points():
    """Weiszfeld's iteration stops at (3.99, 0.02)."""
    points = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 0.1], [1e-4, 0.0]])
    assert np.array_equal(spatial_median(points), points[3])


def test_the_spatial_median_moves_with_the_points():
    for points in (rng(1).standard_normal((9, 4)), rng(2).standard_t(2, (20, 2))):
        found = spatial_median(points)
        away = points - found
        assert np.linalg.norm((away / np.linalg.norm(away, axis=1)[:, None]).sum(axis=0)) < 1e-6
        assert np.allclose(spatial_median(1e8 * points + 3), 1e8 * found + 3, rtol=1e-6)
        assert np.allclose(spatial_median(points[::-1]), found, atol=1e-9)


def test_a_median_that_is_not_found_is_said(monkeypatch):
    module = importlib.import_module("akp_core.dispersion.median")
    monkeypatch.setattr(module, "_STEPS", 1)
    with pytest.raises(
        AkpError, match="spatial median that can be found, got none after 1 steps; use centre"
    ):
        spatial_median(rng(1).standard_normal((9, 4)))


@pytest.mark.parametrize("line", [np.array([3.0, 4.0]), np.array([1.0])])
def test_on_a_line_it_is_the_usual_median(line):
    values = np.array([9.0, -2.0, 1.0, 4.0, 4.5, 30.0])
    for some in (values, values[:5]):
        assert np.allclose(spatial_median(some[:, None] * line), np.median(some) * line, atol=1e-12)


def studentised(*families, axis=-1):
    """Q by its formula, family by family and pair by pair."""
    v = [x.mean(axis=axis) for x in families]
    s = [x.var(axis=axis, ddof=1) / x.shape[axis] for x in families]
    pairs = [(i, j) for i in range(len(v)) for j in range(i)]
    top = sum((v[i] ** 2 - v[j] ** 2) ** 2 / (4 * s[i] * s[j]) for i, j in pairs)
    return top / sum(a**2 / b for a, b in zip(v, s, strict=True))


@pytest.mark.parametrize("kind", ["euclidean", "cosine"])
@pytest.mark.parametrize(
    ("centre", "axes"), [("centroid", None), ("centroid", 4), ("median", None), ("median", 3)]
)
def test_contributions_leave_out_one_member_at_a_time(kind, centre, axes):
    d, labels = population((5, 8), 6, kind)
    parts = explicit_coordinates(d)
    if axes is not None:
        parts = parts[0][:, -axes:], parts[1][:, :0]

    def dispersion(inside: np.ndarray) -> float:
        total = []
        for part in parts:
            at = part[inside].mean(axis=0)
            if centre == "median" and part.shape[1]:
                at = spatial_median(part[inside])
            total.append(np.square(part[inside] - at).sum())
        return float(total[0] - total[1]) / (len(inside) - 1)

    values, shares = [], []
    for family in (0, 1):
        inside = np.flatnonzero(labels == family)
        n = len(inside)
        own = [n * dispersion(inside) - (n - 1) * dispersion(np.delete(inside, i)) for i in range(n)]
        squared = cdist(parts[0][inside], parts[0][inside], "sqeuclidean")
        squared -= cdist(parts[1][inside], parts[1][inside], "sqeuclidean") if parts[1].shape[1] else 0
        values.append(np.array(own))
        shares.append(pair_share(squared, values[-1]))
    scaled = [x.mean() + np.sqrt(1 - min(shares) ** 2 / (len(x) - 1)) * (x - x.mean()) for x in values]
    found = permdisp(d, labels, centre=centre, axes=axes, permutations=4999, rng=rng())
    reference = stats.permutation_test(scaled, studentised, alternative="greater", vectorized=True)
    assert abs(found.p_value - reference.pvalue) < 5 * np.sqrt(0.25 / 4999)  # all 1287
    usual = permdisp(d, labels, centre=centre, axes=axes, permute="distances", permutations=9, rng=rng())
    assert found.f == usual.f
    assert (found.permuted, usual.permuted) == ("contributions", "distances")
    assert "up to 20 %" in usual.caution
    assert "strongly skewed" in found.caution


def test_between_two_families_it_is_the_contrast_of_the_anna_karenina_test():
    u, h = rng(1).exponential(size=9), rng(2).exponential(size=7)
    assert studentised(u, h) == pytest.approx(contrast(u, h) ** 2)


def test_three_families_are_compared_pair_by_pair():
    values = rng(3).exponential(size=15) - 0.2
    codes = np.repeat([0, 1, 2], [4, 5, 6])
    values[codes == 2] *= 1.6
    found = p_of_contrast(values, codes, 20_000, rng())
    reference = stats.permutation_test(
        [values[codes == g] for g in range(3)],
        lambda *families, axis: studentised(*families, axis=axis),
        alternative="greater",
        n_resamples=20_000,
        vectorized=True,
        rng=rng(1),
    )
    assert abs(found - reference.pvalue) < 5 * np.sqrt(0.5 / 20_000)
    assert 0.01 < found < 0.99
    assert p_of_contrast(np.ones(15), codes, 99, rng()) == 1
    assert p_of_contrast(codes + 1.0, codes, 99, rng()) < 0.05  # no spread within, much between


@pytest.mark.parametrize("spectrum", [np.ones(3), np.ones(40), 1 / np.arange(1, 9)])
def test_contributions_of_a_gaussian_vary_as_its_dispersion_and_not_more(spectrum):
    """The variance by the jackknife is 1/(n - 2) too large for n Gaussian models: here a quarter."""
    draw, n = rng(4), 6
    dispersions, plain, sharp = [], [], []
    for _ in range(3000):
        points = draw.standard_normal((n, len(spectrum))) * np.sqrt(spectrum)
        squared = cdist(points, points, "sqeuclidean")
        values = pseudo_values(squared)
        scaled = sharpened(values, np.zeros(n, dtype=np.int64), [pair_share(squared, values)])
        dispersions.append(values.mean())
        plain.append(values.var(ddof=1) / n)
        sharp.append(scaled.var(ddof=1) / n)
        assert scaled.mean() == pytest.approx(values.mean())
    truth = np.var(dispersions)
    assert np.mean(plain) / truth == pytest.approx((n - 1) / (n - 2), rel=0.1)
    assert np.mean(sharp) / truth == pytest.approx(1.05, rel=0.1)


def test_heavy_tails_leave_contributions_as_they_are():
    points = rng(5).standard_normal((400, 10))
    wild = points / np.sqrt(rng(6).chisquare(2, (400, 1)) / 2)
    shares = []
    for cloud in (points, wild):
        squared = cdist(cloud, cloud, "sqeuclidean")
        shares.append(pair_share(squared, pseudo_values(squared)))
    assert shares[0] == pytest.approx(1, abs=0.2)
    assert shares[1] < 0.1
    codes = np.repeat([0, 1], 200)
    values = rng(7).exponential(size=400)
    both = [sharpened(values, codes, order) for order in (shares, shares[::-1])]
    assert np.array_equal(*both)  # one share for all: the least
    assert np.allclose(both[0], values, rtol=1e-3, atol=1e-4)


def test_no_share_is_negative_or_above_that_of_a_gaussian():
    for seed in range(200):
        points = rng(seed).standard_normal((4, 2))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        squared = cdist(points, points, "sqeuclidean")
        assert 0 <= pair_share(squared, pseudo_values(squared)) <= 1
    equal = 1.0 - np.eye(5)
    assert pair_share(equal, pseudo_values(equal)) == 1


def test_the_least_p_is_said():
    how = {"permute": "distances", "rng": rng()}
    d, labels = population((3, 3), 4, "euclidean")
    assert permdisp(d, labels, permutations=999, **how).smallest_p == pytest.approx(2 / 20)
    d, labels = population((3, 5, 3), 4, "euclidean")
    assert permdisp(d, labels, permutations=9999, **how).smallest_p == pytest.approx(2 / 9240)
    assert permdisp(d, labels, permutations=99, **how).smallest_p == 0.01
    d, labels = population((4, 4), 4, "euclidean")
    assert permdisp(d, labels, permutations=999, rng=rng()).smallest_p == pytest.approx(2 / 70)


def test_a_majority_at_one_point_is_the_median():
    points = np.concatenate([np.zeros((5, 3)), rng(3).standard_normal((4, 3))])
    assert np.allclose(spatial_median(points), 0, atol=1e-9)
    assert np.allclose(spatial_median(np.ones((4, 2))), 1)
    between = np.array([[0.0, 0], [1, 0], [-1, 0], [0, 1], [0, -1.0]])
    assert np.allclose(spatial_median(between), 0)
    on_two_points = np.array([[0.0], [0], [-3], [1], [2]])  # the mean, too, so the search starts there
    assert spatial_median(on_two_points) == 0


def test_a_planted_difference_is_found_and_p_is_that_of_a_permutation_test():
    d, labels = population((15, 15), 8, "euclidean")
    found = permdisp(d, labels, permute="distances", permutations=4999, rng=rng())
    reference = stats.permutation_test(
        (found.distances[:15], found.distances[15:]),
        lambda x, y, axis: stats.f_oneway(x, y, axis=axis).statistic,
        alternative="greater",
        n_resamples=4999,
        vectorized=True,
        rng=rng(1),
    )
    assert abs(found.p_value - reference.pvalue) < 5 * np.sqrt(reference.pvalue / 4999) + 1e-3
    wide, labels = population((40, 40), 8, "euclidean")
    for permute in ("contributions", "distances"):
        assert permdisp(wide, labels, permute=permute, permutations=999, rng=rng()).p_value == 0.001


@pytest.mark.parametrize("permute", ["contributions", "distances"])
def test_batches_of_permutations_change_nothing(monkeypatch, permute):
    d, labels = population((8, 8), 8, "euclidean")
    one = permdisp(d, labels, permute=permute, permutations=500, rng=rng(5))
    module = importlib.import_module("akp_core.dispersion.several")
    monkeypatch.setattr(module, "_BATCH_ENTRIES", 16 * 7)
    assert permdisp(d, labels, permute=permute, permutations=500, rng=rng(5)).p_value == one.p_value
    assert permdisp(1e100 * d, labels, permute=permute, permutations=500, rng=rng(5)).p_value == one.p_value


def test_members_without_a_representation_are_left_out_and_counted():
    d, labels = population((8, 10), 5, "euclidean")
    gone = [2, 9, 17]
    kept = np.setdiff1d(np.arange(18), gone)
    d_gone = d.copy()
    d_gone[gone] = d_gone[:, gone] = np.nan
    found = permdisp(d_gone, labels, axes=4, permutations=99, rng=rng())
    direct = permdisp(d[np.ix_(kept, kept)], labels[kept], axes=4, permutations=99, rng=rng())
    assert (found.f, found.p_value, found.members, found.excluded) == (direct.f, direct.p_value, 15, 3)
    assert np.isnan(found.distances[gone]).all()
    assert np.array_equal(found.distances[kept], direct.distances)


@pytest.mark.parametrize("centre", ["centroid", "median"])
@pytest.mark.parametrize("axes", [None, 3])
def test_degenerate_families_have_a_number(centre, axes):
    unhappy = np.arange(8) >= 4
    same = permdisp(np.zeros((8, 8)), unhappy, centre=centre, axes=axes, permutations=99, rng=rng())
    assert (same.f, same.p_value) == (0.0, 1.0)
    square = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    points = np.concatenate([square, 3 * square + 10])
    apart = permdisp(cdist(points, points), unhappy, centre=centre, axes=axes, permutations=99, rng=rng())
    assert apart.f > 1e8
    assert apart.p_value < 0.1


_D, _L = population((6, 6), 4, "euclidean")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: permdisp(_D, _L, centre="centre", rng=rng()),
            "unknown centre 'centre': did you mean 'centroid'",
        ),
        (
            lambda: permdisp(_D, _L, permute="distance", rng=rng()),
            "unknown permute.*did you mean 'distances'",
        ),
        (
            lambda: permdisp(_D, np.array([None] * 6 + ["b"] * 6), rng=rng()),
            "label for every.*None for model 0",
        ),
        (
            lambda: permdisp(_D, np.where(_L, np.nan, 0.0), rng=rng()),
            "label for every model, got nan for model 6",
        ),
        (
            lambda: permdisp(_D, np.array([1] * 6 + ["b"] * 6, dtype=object), rng=rng()),
            "labels of one kind, got int, str",
        ),
        (lambda: permdisp(_D, _L, permutations=np.int64(0), rng=rng()), "whole number from 1"),
        (lambda: permdisp(_D, _L, axes=0, rng=rng()), "axes as a whole number from 1 to 12, got 0"),
        (lambda: permdisp(_D, _L, axes=13, rng=rng()), "axes as a whole number from 1 to 12, got 13"),
        (lambda: permdisp(_D, _L, axes=2.5, rng=rng()), "axes as a whole number"),
        (lambda: permdisp(_D, np.zeros(12), rng=rng()), "at least 2 families, got 1"),
        (lambda: permdisp(_D, np.arange(12) > 10, rng=rng()), "at least 4 models.*family True, got 1; add"),
        (
            lambda: permdisp(_D, np.arange(12) > 8, rng=rng()),
            "family True, got 3; .* or give permute='distances'",
        ),
        (
            lambda: permdisp(_D, np.arange(12) > 10, permute="distances", rng=rng()),
            "at least 2 models.*family True, got 1; add members$",
        ),
        (lambda: permdisp(_D, _L[:3], rng=rng()), "one family label for each of the 12"),
        (lambda: permdisp(_D[:5], _L, rng=rng()), "square matrix of distances"),
        (lambda: permdisp(_D, _L, permutations=0, rng=rng()), "whole number from 1, got 0"),
        (lambda: permdisp(_D, _L, rng=7), "numpy.random.Generator, got int"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numpy_numbers_are_numbers():
    plain = permdisp(_D, _L, axes=3, permutations=200, rng=rng())
    found = permdisp(_D, _L, axes=np.int8(3), permutations=np.uint8(200), rng=rng())
    assert (found.f, found.p_value, found.smallest_p) == (plain.f, plain.p_value, plain.smallest_p)
