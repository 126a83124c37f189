"""Every measure ignores what it declares to ignore, sees what it does not declare, and keeps its bounds."""

from __future__ import annotations

import warnings
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akp_core.errors import AkpError
from akp_core.similarity.measures import MEASURES, Invariance
from akp_core.similarity.subspaces import CanonicalWarning

NAMES = sorted(MEASURES)
INVARIANCES = get_args(Invariance)
JOINT = "joint permutation of examples"
IGNORED = [(n, i) for n in NAMES for i in INVARIANCES if i in MEASURES[n].ignores]
SEEN = [(n, i) for n in NAMES for i in INVARIANCES if i not in MEASURES[n].ignores]
HARMLESS = pytest.mark.filterwarnings("ignore::akp_core.similarity.subspaces.CanonicalWarning")


def transform(invariance: str, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Do to x one thing of the named kind, drawn at random."""
    p = x.shape[1]
    match invariance:
        case "permutation of features":
            return x[:, rng.permutation(p)]
        case "translation":
            return x + 3 * rng.standard_normal(p)
        case "isotropic scaling":
            return x * 10 ** rng.uniform(-8, 8)
        case "orthogonal":
            return x @ np.linalg.qr(rng.standard_normal((p, p)))[0]
        case "per-feature scaling":
            return x * 10 ** rng.uniform(-1.5, 1.5, p)
        case "invertible linear":
            rotations = [np.linalg.qr(rng.standard_normal((p, p)))[0] for _ in range(2)]
            return x @ (rotations[0] * 10 ** rng.uniform(-1.5, 1.5, p)) @ rotations[1]
    raise AssertionError(invariance)


def pair(n: int, p: int, q: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two representations that share two directions; features of unequal size."""
    shared = rng.standard_normal((n, 2))
    x = shared @ rng.standard_normal((2, p)) + rng.standard_normal((n, p))
    y = shared @ rng.standard_normal((2, q)) + rng.standard_normal((n, q))
    return x * rng.uniform(0.3, 3, p), y * rng.uniform(0.3, 3, q)


SHAPES = st.tuples(st.integers(40, 70), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))


@pytest.mark.parametrize(("name", "invariance"), IGNORED)
@settings(deadline=None, max_examples=15)
@given(shape=SHAPES)
def test_what_is_declared_is_ignored(name, invariance, shape):
    n, p, q, seed = shape
    rng = np.random.default_rng(seed)
    x, y = pair(n, p, q, rng)
    function = MEASURES[name].function
    value = function(x, y)
    if invariance == JOINT:
        order = rng.permutation(n)
        changed = [function(x[order], y[order])]
    else:
        changed = [function(transform(invariance, x, rng), y), function(x, transform(invariance, y, rng))]
    assert changed == pytest.approx([value] * len(changed), abs=1e-8)


@pytest.mark.parametrize(("name", "invariance"), SEEN)
def test_what_is_not_declared_is_seen(name, invariance):
    assert invariance != JOINT
    rng = np.random.default_rng(1)
    x, y = pair(200, 6, 6, rng)
    y = x + 0.5 * y
    function = MEASURES[name].function
    change = []
    for _ in range(5):
        change.append(abs(function(transform(invariance, x, rng), y) - function(x, y)))
        change.append(abs(function(x, transform(invariance, y, rng)) - function(x, y)))
    assert max(change) > 0.01


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(shape=SHAPES)
def test_bounds_symmetry_and_the_value_of_itself(name, shape):
    n, p, q, seed = shape
    x, y = pair(n, p, q, np.random.default_rng(seed))
    measure = MEASURES[name]
    low, high = measure.bounds
    value = measure.function(x, y)
    assert low <= value <= high
    assert measure.function(x, x) == pytest.approx(high, abs=1e-12)
    assert measure.function(x, 2 * x + 1) == pytest.approx(high, abs=1e-10)
    if measure.symmetric:
        assert measure.function(y, x) == pytest.approx(value, abs=1e-10)
    assert value < 1 - 1e-4


def test_the_asymmetric_are_so():
    x, y = pair(100, 3, 8, np.random.default_rng(0))
    for measure in MEASURES.values():
        if not measure.symmetric:
            assert abs(measure.function(x, y) - measure.function(y, x)) > 0.01


def population(kind: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Representations of 14 examples: one width, many widths, some inside others, or lines in one plane."""
    n = 14
    if kind == "nested":
        base = rng.standard_normal((n, 3))
        return [base, base[:, :1], base[:, 1:2], base[:, :2], rng.standard_normal((n, 1))]
    if kind == "plane":
        angles = np.pi * np.arange(12) / 12
        plane = rng.standard_normal((n, 2))
        return [plane @ np.array([[np.cos(angle)], [np.sin(angle)]]) for angle in angles]
    widths = [3] * 6 if kind == "equal" else rng.integers(1, 5, 6)
    return [rng.standard_normal((n, p)) for p in widths]


def similarities(name: str, members: list[np.ndarray]) -> np.ndarray:
    measure = MEASURES[name]
    options = {"k": 4} if name == "mutual_neighbours" else {}
    if measure.matrix:
        return measure.matrix(members, **options)
    return np.array([[measure.function(a, b) for b in members] for a in members])


def excess(s: np.ndarray) -> float:
    """How far the triangle inequality is broken at worst."""
    d = np.sqrt(np.clip(2 - 2 * s, 0, None))
    return float((d[:, None, :] - d[:, :, None] - d[None, :, :]).max())


@HARMLESS
@pytest.mark.parametrize("name", NAMES)
def test_the_kind_of_distance(name):
    kind = MEASURES[name].distance
    worst_triangle, lowest = -np.inf, np.inf
    for seed in range(20):
        for shape in ("equal", "mixed", "nested", "plane"):
            s = similarities(name, population(shape, np.random.default_rng(seed)))
            worst_triangle = max(worst_triangle, excess(s))
            centring = np.eye(len(s)) - 1 / len(s)
            lowest = min(lowest, np.linalg.eigvalsh(centring @ s @ centring)[0])
    if kind == "neither":
        assert worst_triangle > 0.05
    else:
        assert worst_triangle < 1e-6
    if kind == "euclidean":
        assert lowest > -1e-10
    else:
        assert lowest < -1e-3


def test_neighbours_with_ties_are_euclidean_too():
    rng = np.random.default_rng(0)
    members = [rng.integers(0, 3, (14, 2)).astype(float) for _ in range(12)]
    assert np.linalg.eigvalsh(similarities("mutual_neighbours", members))[0] > -1e-12


@pytest.mark.parametrize("name", NAMES)
def test_shuffling_one_side_leaves_chance(name):
    rng = np.random.default_rng(0)
    n, p = 200, 3
    x, _ = pair(n, p, p, rng)
    y = x + 0.05 * rng.standard_normal((n, p))
    function = MEASURES[name].function
    shuffled = np.mean([function(x, y[rng.permutation(n)]) for _ in range(30)])
    unrelated = np.mean(
        [function(rng.standard_normal((n, p)), rng.standard_normal((n, p))) for _ in range(30)]
    )
    assert function(x, y) > 0.8
    assert shuffled < 0.2
    assert unrelated < 0.2


@st.composite
def awkward(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Low rank, any scale, repeated rows and columns, constant columns, few examples, several dtypes."""
    n = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = []
    for _ in range(2):
        p, rank = draw(st.integers(1, 40)), draw(st.integers(0, 6))
        x = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, p))
        if draw(st.booleans()):
            x = np.c_[x, x[:, : p // 2 + 1], np.full((n, 2), rng.uniform(-5, 5))]
        if draw(st.booleans()):
            x = x[rng.integers(0, n, n)]
        if draw(st.booleans()):
            x = np.rint(x)
        x = (x + draw(st.sampled_from([0, 0, 10]))) * 10.0 ** draw(st.integers(-8, 8))
        if draw(st.integers(0, 9)) == 0:
            x[rng.integers(n), rng.integers(x.shape[1])] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        made.append(x.astype(draw(st.sampled_from(["f8", "f8", "f4"]))))
    return made[0], made[1]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(data=awkward())
def test_the_right_number_or_one_clear_error(name, data):
    x, y = data
    measure = MEASURES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", CanonicalWarning)
        try:
            value = measure.function(x, y)
        except AkpError as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
        assert measure.bounds[0] <= value <= measure.bounds[1]
        assert measure.function(x, x) == pytest.approx(1, abs=1e-9)
        assert measure.function(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(value, abs=1e-12)
        wide = measure.function(np.c_[x, np.full(len(x), x[0, 0])], y)
        assert wide == pytest.approx(value, abs=1e-4)
        if measure.matrix and measure.symmetric:
            assert measure.matrix([x, y])[0, 1] == pytest.approx(value, abs=1e-9)
