"""Every similarity of awkward input is the right number, or one clear error; never NaN, never a bare warning.

The right number is worked out here by other means: eighty digits (mpmath) for kernels and distances, HSIC by
its traces, SciPy's ranks, and neighbours one example at a time. What is stored counts, whatever its dtype.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akp_core.errors import AkpError
from akp_core.similarity import (
    MEASURES,
    MinibatchCKA,
    StreamedCKA,
    both_estimators,
    calibrated,
    cka,
    fingerprint,
    mutual_neighbours,
    pairwise,
    procrustes,
    pwcca,
    restrict,
    rsa,
    similarity_of_fingerprints,
    svcca,
)
from akp_core.similarity.subspaces import CanonicalWarning

DIGITS = 80
MP = mpmath.mp.clone()
MP.dps = DIGITS
ESTIMATORS = ("unbiased", "biased")
EXAMPLES = 15
QUICK = settings(deadline=None, max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
to_mp = np.frompyfunc(MP.mpf, 1, 1)
root = np.frompyfunc(MP.sqrt, 1, 1)


# What comes in


@dataclass
class Side:
    """A representation as it is given, and the same numbers in float64."""

    given: np.ndarray | torch.Tensor
    stored: np.ndarray
    eps: float
    plain: bool
    """Whether nothing about it excuses an error."""
    spread: float
    """Size of the largest example over that of the middle one."""

    @property
    def excused(self) -> Side:
        """The same, where even plain input may rightly have no value."""
        return replace(self, plain=False)

    @property
    def tolerance(self) -> float:
        return 1e-6 if self.eps < 1e-15 else 1e-5


def side(n: int, draw: st.DrawFn) -> Side:
    """Low rank, any scale, repeated examples, constant features, one outlier, any dtype, broken entries."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    p, rank = draw(st.integers(1, 6)), draw(st.sampled_from([6, 6, 6, 3, 2, 1, 0]))
    dtype = draw(st.sampled_from(["float64", "float64", "float32", "float16", "bfloat16", "int64", "bool"]))
    twist = draw(
        st.sampled_from(["", "", "duplicates", "constant column", "outlier", "outlier", "offset", "broken"])
    )
    x = rng.standard_normal((n, p)) if rank == 6 else rng.standard_normal((n, rank)) @ np.ones((rank, p))
    if 0 < rank < 6:
        x = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p))
    power = 0
    if twist == "duplicates":
        x = x[rng.integers(0, max(1, n // 2), n)]
    elif twist == "constant column":
        x = np.c_[x, np.full((n, 2), rng.uniform(-5, 5))]
    elif twist == "outlier":
        power = draw(st.integers(1, 8))
        x[0] = 10.0**power
    elif twist == "offset":
        x = x + 10
    exponent = draw(st.integers(-8, 8))
    if dtype in ("float64", "float32", "bfloat16"):
        x = x * 10.0**exponent
    elif dtype == "int64":
        x = np.rint(8 * x)
    elif dtype == "bool":
        x = x > 0
    if twist == "broken" and dtype not in ("int64", "bool"):
        x[rng.integers(n), rng.integers(p)] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with np.errstate(over="ignore"):
        given: np.ndarray | torch.Tensor = (
            torch.from_numpy(x).to(torch.bfloat16) if dtype == "bfloat16" else x.astype(dtype)
        )
    stored = given.double().numpy() if isinstance(given, torch.Tensor) else given.astype(np.float64)
    if not isinstance(given, torch.Tensor) and draw(st.booleans()):
        given = torch.from_numpy(given)
    eps = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype, 2.0**-52)
    well = dtype in ("float64", "float32") and twist in ("", "constant column", "offset")
    far = dtype == "float64" and twist == "outlier" and power <= 4
    plain = bool(n >= 8 and rank == 6 and (well or far))
    return Side(given, stored, eps, plain, 10.0**power)


@st.composite
def sides(draw: st.DrawFn, count: int = 2, least: int = 1) -> list[Side]:
    n = draw(st.sampled_from([*range(least, 5), *range(8, 13), *range(8, 13)]))
    return [side(n, draw) for _ in range(count)]


def attempt(call: Callable[[], object], *given: Side) -> object | None:
    """What a call gives; None for one clear error, where something excuses it."""
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CanonicalWarning)
        try:
            value = call()
        except AkpError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert not all(one.plain for one in given), error  # noqa: PT017
            return None
    assert np.isfinite(np.asarray(value)).all()
    return value


def check(call: Callable[[], object], truth: Callable[[], float | None], *given: Side) -> None:
    """The right number, or an error where there is none or it is excused."""
    got = attempt(call, *given)
    if got is None:
        return
    assert all(np.isfinite(one.stored).all() for one in given)
    want = truth()
    assert want is not None, f"{got} where nothing is defined"
    assert float(got) == pytest.approx(want, abs=max(one.tolerance for one in given))


# What is right: kernels


def distances(x: np.ndarray) -> np.ndarray:
    """All distances, in eighty digits."""
    exact = to_mp(x)
    return root(((exact[:, None] - exact[None]) ** 2).sum(axis=-1))


def gram(x: np.ndarray, kernel: str = "linear", fraction: float = 1.0, sigma: float | None = None):
    """A Gram matrix in eighty digits; None for an rbf whose median distance is 0."""
    if kernel == "linear":
        exact = to_mp(x)
        exact = exact - exact.sum(axis=0) / len(x)
        return exact @ exact.T
    apart = distances(x)
    if sigma is None:
        ordered = sorted(apart[i, j] for i, j in combinations(range(len(x)), 2))
        middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
        if middle == 0:
            return None
        width = MP.mpf(fraction) * middle
    else:
        width = MP.mpf(sigma)
    return np.frompyfunc(lambda d: MP.exp(-((d / width) ** 2) / 2), 1, 1)(apart)


def hsic(k: np.ndarray, m: np.ndarray, estimator: str):
    """HSIC of two Gram matrices by traces and sums (Song et al. 2012, eq. 5, without its common factor)."""
    n = len(k)
    if estimator == "biased":
        centring = to_mp(np.eye(n)) - MP.mpf(1) / n
        return ((centring @ k @ centring) * m).sum()
    k, m = k.copy(), m.copy()
    np.fill_diagonal(k, MP.mpf(0))
    np.fill_diagonal(m, MP.mpf(0))
    rows = k.sum(axis=0) @ m.sum(axis=0)
    return (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)


def ratio(cross, first, second) -> float | None:
    return float(cross / MP.sqrt(first * second)) if first > 0 and second > 0 else None


def exact_cka(x: np.ndarray, y: np.ndarray, estimator: str, **kernel: object) -> float | None:
    k, m = gram(x, **kernel), gram(y, **kernel)  # type: ignore[arg-type]
    if k is None or m is None or len(x) < (4 if estimator == "unbiased" else 2):
        return None
    cross, first, second = (hsic(a, b, estimator) for a, b in ((k, m), (k, k), (m, m)))
    nothing = MP.mpf(10) ** (10 - DIGITS)
    if first <= nothing * (k * k).sum() or second <= nothing * (m * m).sum():
        return None
    return ratio(cross, first, second)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@QUICK
@given(pair=sides())
def test_cka(estimator, pair):
    x, y = pair
    check(
        lambda: cka(x.given, y.given, estimator=estimator),
        lambda: exact_cka(x.stored, y.stored, estimator),
        x,
        y,
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
@QUICK
@given(pair=sides(), fraction=st.sampled_from([1.0, 0.3, 4.0]))
def test_cka_of_a_gaussian_kernel(estimator, pair, fraction):
    x, y = pair
    options = {"kernel": "rbf", "fraction": fraction}
    # A bandwidth far below most distances leaves a kernel of ones and zeros, which may have no CKA.
    excuse = [] if fraction >= 1 and max(x.spread, y.spread) == 1 else [x.excused]
    check(
        lambda: cka(x.given, y.given, estimator=estimator, **options),
        lambda: exact_cka(x.stored, y.stored, estimator, **options),
        x,
        y,
        *excuse,
    )


@QUICK
@given(pair=sides(), exponent=st.integers(-9, 9))
def test_cka_of_a_given_bandwidth(pair, exponent):
    x, y = pair
    options = {"kernel": "rbf", "sigma": 10.0**exponent}
    excuse = x.excused
    for name in ESTIMATORS:
        check(
            lambda name=name: cka(x.given, y.given, estimator=name, **options),
            lambda name=name: exact_cka(x.stored, y.stored, name, **options),
            x,
            y,
            excuse,
        )


@QUICK
@given(three=sides(3))
def test_matrices_of_cka(three):
    given = [one.given for one in three]
    # One population is of one kind; NumPy is what all can be.
    if any(isinstance(one, torch.Tensor) for one in given):
        given = [torch.as_tensor(one) for one in given]
    both = attempt(lambda: both_estimators(given), *three)
    for at, estimator in enumerate(("biased", "unbiased")):
        found = attempt(lambda e=estimator: pairwise(given, estimator=e), *three)
        for matrix in (found, None if both is None else both[at]):
            if matrix is None:
                continue
            for i, j in combinations(range(3), 2):
                want = exact_cka(three[i].stored, three[j].stored, estimator)
                assert want is not None
                tolerance = max(one.tolerance for one in three)
                assert float(matrix[i, j]) == float(matrix[j, i]) == pytest.approx(want, abs=tolerance)
            assert [float(matrix[i, i]) for i in range(3)] == [1, 1, 1]


# What is right: streams


@pytest.mark.parametrize("estimator", ESTIMATORS)
@QUICK
@given(pair=sides(), parts=st.integers(1, 4), zeros=st.booleans())
def test_streamed_cka(estimator, pair, parts, zeros):
    """In any split, after a batch of zeros, and joined from two streams."""
    x, y = pair
    first = 3 if zeros else 0
    kinds = [np.concatenate([np.zeros((first, z.stored.shape[1])), z.stored]) for z in pair]
    given = [torch.from_numpy(z).to(torch.as_tensor(s.given).dtype) for z, s in zip(kinds, pair, strict=True)]
    cuts = [[z[:first], *torch.tensor_split(z[first:], parts)] for z in given]

    def run() -> object:
        streams = [StreamedCKA(estimator=estimator) for _ in range(2)]
        for index, batch in enumerate(zip(*cuts, strict=True)):
            if len(batch[0]):
                streams[index % 2].add(list(batch))
        streams[0].merge(streams[1])
        return streams[0].result()[0, 1]

    excuse = [x.excused] if zeros or max(x.spread, y.spread) > 1e3 else []
    check(run, lambda: exact_cka(kinds[0], kinds[1], estimator), x, y, *excuse)


@QUICK
@given(pair=sides(least=4), zeros=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_minibatch_cka(pair, zeros, seed):
    x, y = pair
    order = np.random.default_rng(seed).permutation(len(x.stored))
    cuts = np.array_split(order, 2) if len(order) >= 8 else [order]
    given = [torch.as_tensor(z.given) for z in pair]

    def run() -> object:
        sums = [MinibatchCKA(), MinibatchCKA()]
        if zeros:
            sums[0].add([torch.zeros(5, z.shape[1], dtype=z.dtype) for z in given])
        for at, rows in enumerate(cuts):
            sums[at].add([z[torch.from_numpy(rows)] for z in given])
        sums[0].merge(sums[1])
        return sums[0].result()[0, 1]

    def truth() -> float | None:
        total = np.zeros(3, dtype=object)
        for rows in cuts:
            k, m = gram(x.stored[rows]), gram(y.stored[rows])
            pairs = ((k, m), (k, k), (m, m))
            total = total + np.array([hsic(a, b, "unbiased") / (len(rows) - 3) for a, b in pairs])
        return ratio(*total)

    check(run, truth, x, y)


@pytest.mark.parametrize("power", [4, 6, 8, 10])
def test_a_far_example_in_one_minibatch(power):
    """Its batch counts for what it is, or there is an error: it is never left out without a word."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 3)), rng.standard_normal((16, 2))
    x[0] = 10.0**power
    halves = (slice(0, 8), slice(8, 16))
    sums = MinibatchCKA()
    for rows in halves:
        sums.add([x[rows], y[rows]])
    total = np.zeros(3, dtype=object)
    for rows in halves:
        k, m = gram(x[rows]), gram(y[rows])
        total = total + np.array([hsic(a, b, "unbiased") for a, b in ((k, m), (k, k), (m, m))])
    try:
        assert sums.result()[0, 1] == pytest.approx(ratio(*total), abs=1e-6)
    except AkpError:
        assert power > 4


# What is right: fingerprints and nulls


@pytest.mark.parametrize("estimator", ESTIMATORS)
@QUICK
@given(pair=sides())
def test_fingerprints_whole_and_restricted(estimator, pair):
    x, y = pair
    found = [attempt(lambda z=z: fingerprint(z.given, estimator=estimator), z) for z in pair]
    if any(one is None for one in found):
        return
    rows = np.stack([np.asarray(one) for one in found])
    want = exact_cka(x.stored, y.stored, estimator)
    assert want is not None
    tolerance = max(x.tolerance, y.tolerance)
    assert rows[0] @ rows[1] == pytest.approx(want, abs=tolerance)
    assert similarity_of_fingerprints(rows)[0, 1] == pytest.approx(want, abs=tolerance)
    n = len(x.stored)
    if n < 8 or max(x.spread, y.spread) > 1e3:
        return
    kept = np.random.default_rng(n).permutation(n)[:6]
    fewer = restrict(rows, kept, estimator=estimator)
    if not np.isnan(fewer).any():
        want = exact_cka(x.stored[kept], y.stored[kept], estimator)
        assert want is not None
        assert fewer[0] @ fewer[1] == pytest.approx(want, abs=tolerance)
    else:
        assert not (x.plain and y.plain)


@QUICK
@given(pair=sides(least=4), seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["cka", "procrustes"]))
def test_calibration(pair, seed, name):
    x, y = pair
    got = attempt(
        lambda: (
            calibrated(
                x.given, y.given, measure=name, permutations=4, level=0.2, rng=np.random.default_rng(seed)
            ).threshold
        ),
        x,
        y,
    )
    if got is None:
        return
    exact = exact_procrustes if name == "procrustes" else lambda a, b: exact_cka(a, b, "unbiased")
    rng = np.random.default_rng(seed)
    values = [exact(x.stored, y.stored)]
    values += [exact(x.stored, y.stored[rng.permutation(len(y.stored))]) for _ in range(4)]
    # Of four shuffles and the value itself, at most one in five may lie above.
    assert got == pytest.approx(sorted(values)[3], abs=max(x.tolerance, y.tolerance))


# What is right: shapes and subspaces


def exact_procrustes(x: np.ndarray, y: np.ndarray) -> float | None:
    unit = []
    for z in (x, y):
        exact = to_mp(z)
        exact = exact - exact.sum(axis=0) / len(z)
        length = MP.sqrt((exact**2).sum())
        if length == 0:
            return None
        unit.append(exact / length)
    product = (unit[0].T @ unit[1]).astype(np.float64)
    return float(np.linalg.svd(product, compute_uv=False).sum())


@QUICK
@given(pair=sides())
def test_procrustes(pair):
    x, y = pair
    check(lambda: procrustes(x.given, y.given), lambda: exact_procrustes(x.stored, y.stored), x, y)


def subspace(one: Side, variance: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Directions and their features, from the exact eigenvectors; None where a cut is within round-off."""
    exact = to_mp(one.stored)
    exact = exact - exact.sum(axis=0) / len(exact)
    scale = max(abs(exact).max(), MP.mpf(10) ** -300)
    exact = exact / scale
    values, vectors = MP.eigsy(MP.matrix((exact.T @ exact).tolist()))
    order = range(exact.shape[1] - 1, -1, -1)
    sizes = np.array([float(MP.sqrt(max(values[i], MP.mpf(0)))) for i in order])
    bulk = float(abs(to_mp(one.stored)).max() / scale) / one.spread
    level = max(one.eps * bulk, 2.0**-52 * sizes[0])
    if ((sizes > level / 100) & (sizes < 300 * level)).any():
        return None
    sizes = sizes[sizes > level]
    share = np.cumsum(sizes**2) / np.sum(sizes**2)
    if variance < 1:
        if (abs(share - variance) < 1e-6).any():
            return None
        sizes = sizes[: int(np.searchsorted(share, variance)) + 1]
    right = np.array([[vectors[i, j] for i in range(exact.shape[1])] for j in list(order)[: len(sizes)]])
    scores = exact @ right.T
    scores = scores / root((scores**2).sum(axis=0))
    return scores.astype(np.float64), exact.astype(np.float64)


@pytest.mark.parametrize("variance", [0.99, 1.0, None])
@QUICK
@given(pair=sides(least=3))
def test_canonical_correlations(variance, pair):
    """SVCCA at two shares of the variance, and PWCCA."""
    x, y = pair
    n = len(x.stored)
    excuse = x.excused
    narrow = max(z.stored.shape[1] for z in pair) < n - 1
    call = (lambda: pwcca(x.given, y.given)) if variance is None else None
    got = attempt(
        call or (lambda: svcca(x.given, y.given, variance=variance)), x, y, *([] if narrow else [excuse])
    )
    if got is None:
        return
    spaces = [subspace(z, variance or 1.0) for z in pair]
    if spaces[0] is None or spaces[1] is None:
        return
    (a, features), (b, _) = spaces
    left, correlations, _ = np.linalg.svd(a.T @ b, full_matrices=False)
    assert max(a.shape[1], b.shape[1]) < n - 1
    if variance is not None:
        want = correlations.mean()
    else:
        if (abs(np.diff(correlations)) < 1e-6).any():
            return
        weights = np.abs((a @ left).T @ features).sum(axis=1)
        want = weights @ correlations / weights.sum()
    assert got == pytest.approx(want, abs=1e-5 if max(x.eps, y.eps) > 1e-15 else 1e-6)


# What is right: distances


def memberships(one: Side, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares in the k nearest, ties exact; and the examples where rounding could have decided."""
    apart, sizes = distances(one.stored), np.abs(one.stored).max(axis=1)
    n = len(apart)
    shares, unsure = np.zeros((n, n)), np.zeros(n, dtype=bool)
    for i in range(n):
        others = sorted((apart[i, j], j) for j in range(n) if j != i)
        reach, last = others[k - 1]
        same = MP.mpf(10) ** -14 * reach
        nearer = [j for d, j in others if d < reach - same]
        tied = [j for d, j in others if abs(d - reach) <= same]
        shares[i, nearer] = 1
        shares[i, tied] = (k - len(nearer)) / len(tied)
        for d, j in others:
            # An example far away is as uncertain for both: what counts is the angle between them.
            turned = min(2.0, float(apart[j, last] / reach)) if reach else 2.0
            room = 2 * (
                max(one.eps, 2.0**-49) * (turned * sizes[i] + sizes[j] + sizes[last]) + 1e-13 * float(d)
            )
            unsure[i] |= j not in tied and float(abs(d - reach)) <= room
    return shares, unsure


@QUICK
@given(pair=sides(least=3), k=st.integers(1, 10))
def test_mutual_neighbours(pair, k):
    x, y = pair
    n = len(x.stored)
    got = attempt(lambda: mutual_neighbours(x.given, y.given, k=k), *pair) if k <= n - 2 else None
    if k > n - 2:
        with pytest.raises(AkpError):
            mutual_neighbours(x.given, y.given, k=k)
    if got is None:
        return
    (a, first), (b, second) = memberships(x, k), memberships(y, k)
    room = (first | second).sum() / n
    assert got == pytest.approx(np.minimum(a, b).sum() / (n * k), abs=room + 1e-9)
    if all(z.plain and z.eps < 1e-15 for z in pair):
        assert room == 0


def dissimilarities(one: Side, kind: str) -> np.ndarray | None:
    """The upper triangle in eighty digits, round-off of float64 taken for none."""
    n = len(one.stored)
    above = np.triu_indices(n, 1)
    if kind != "correlation":
        found = distances(one.stored)[above]
        return found**2 if kind == "squared_euclidean" else found
    exact = to_mp(one.stored)
    exact = exact - exact.sum(axis=1, keepdims=True) / exact.shape[1]
    lengths = root((exact**2).sum(axis=1))
    if (lengths == 0).any():
        return None
    exact = exact / lengths[:, None]
    found = (1 - exact @ exact.T)[above]
    return np.where(abs(found) < 1e-26, MP.mpf(0), found)


def ranks(values: np.ndarray) -> np.ndarray:
    rounded = [float(MP.nstr(v, 14)) for v in values]
    return scipy.stats.rankdata(rounded)


@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean", "correlation"])
@pytest.mark.parametrize("comparison", ["spearman", "pearson", "cosine"])
@QUICK
@given(pair=sides(least=3))
def test_rsa(dissimilarity, comparison, pair):
    x, y = pair
    excuse = []
    # The far example here has one value in all features, and few features may all but agree.
    if dissimilarity == "correlation" and (
        min(z.stored.shape[1] for z in pair) < 4 or max(z.spread for z in pair) > 1
    ):
        excuse = [x.excused]

    def truth() -> float | None:
        vectors = [dissimilarities(z, dissimilarity) for z in pair]
        if vectors[0] is None or vectors[1] is None:
            return None
        a, b = vectors
        if comparison == "spearman":
            a, b = to_mp(ranks(a)), to_mp(ranks(b))
        if comparison != "cosine":
            a, b = a - a.sum() / len(a), b - b.sum() / len(b)
        return ratio((a * b).sum(), (a * a).sum(), (b * b).sum())

    check(
        lambda: rsa(x.given, y.given, dissimilarity=dissimilarity, comparison=comparison),
        truth,
        x,
        y,
        *excuse,
    )


@pytest.mark.parametrize("dissimilarity", ["euclidean", "squared_euclidean"])
@pytest.mark.parametrize("power", [2, 4, 5, 8, 12, 30, 150, 300])
def test_one_far_example_leaves_the_order_of_all_others(dissimilarity, power):
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal((40, 5)) for _ in range(2))
    y += x
    x[0] *= 10.0**power
    pairs = list(combinations(range(40), 2))
    exact = to_mp(x)
    apart = np.array([MP.sqrt(((exact[i] - exact[j]) ** 2).sum()) for i, j in pairs])
    far = np.array([i == 0 for i, _ in pairs])
    ranked = np.empty(len(pairs))
    ranked[~far] = scipy.stats.rankdata(apart[~far].astype(float))
    # What float64 cannot tell apart is tied.
    ranked[far] = (~far).sum() + (scipy.stats.rankdata(apart[far].astype(float)) if power <= 8 else 20)
    other = scipy.stats.rankdata([np.linalg.norm(y[i] - y[j]) for i, j in pairs])
    want = np.corrcoef(ranked, other)[0, 1]
    assert rsa(x, y, dissimilarity=dissimilarity) == pytest.approx(want, abs=1e-9 if power <= 8 else 2e-3)


# Doors


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_what_is_no_array(name):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    function = MEASURES[name].function
    tensor = torch.from_numpy(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls these experimental, or on their way out
        unusual = [tensor.to_sparse_csr(), torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)]
    bad = [
        *unusual,
        np.ma.masked_array(x, x > 1),
        tensor.to_sparse(),
        tensor.to("meta"),
        x.tolist(),
        "x",
        b"x",
        {"x": x},
        x.astype(object),
        x.astype("datetime64[s]"),
        np.float64(3),
        3,
    ]
    for one in bad:
        for call in (lambda one=one: function(one, y), lambda one=one: function(y, one)):
            with pytest.raises(AkpError) as caught:
                call()
            assert "\n" not in str(caught.value)
        matrix = MEASURES[name].matrix
        if matrix is not None:
            with pytest.raises(AkpError):
                matrix([y, one])
        with pytest.raises(AkpError):
            pairwise([y, one], measure=name)
    for bad_list in ("x", 3, None, x, {"x": x}, np.ma.masked_array(np.stack([x, x]), np.stack([x, x]) > 1)):
        with pytest.raises(AkpError):
            pairwise(bad_list, measure=name)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_arrays_of_every_kind(name):
    """Gradients, other orders of memory, read-only, byte-swapped, a negative view."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    function = MEASURES[name].function
    value = function(x, y)
    fixed = x.copy()
    fixed.flags.writeable = False
    every = [
        torch.from_numpy(x.copy()).requires_grad_(),
        np.asfortranarray(x),
        x.astype(">f8"),
        fixed,
        np.repeat(x, 2, axis=0)[::2],
        x[::-1][::-1],
        torch.from_numpy(np.repeat(x, 2, axis=1))[:, ::2],
        torch.complex(torch.zeros(30, 4).double(), torch.from_numpy(-x)).conj().imag,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for one in every:
            assert function(one, y) == pytest.approx(value, abs=1e-9)
    assert (fixed == x).all()


@pytest.mark.parametrize("bad", [["cka"], {"cka"}, 3, None, "ckaa", np.array(["cka", "rsa"])])
def test_a_measure_that_is_none(bad):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 4)), rng.standard_normal((30, 3))
    with pytest.raises(AkpError, match="measure"):
        pairwise([x, y], measure=bad)
    with pytest.raises(AkpError, match="measure"):
        calibrated(x, y, measure=bad, rng=rng)
    for option in ("dissimilarity", "comparison"):
        with pytest.raises(AkpError, match=option):
            rsa(x, y, **{option: bad})
    with pytest.raises(AkpError, match="estimator"):
        cka(x, y, estimator=bad)
    with pytest.raises(AkpError, match="kernel"):
        cka(x, y, kernel=bad)
