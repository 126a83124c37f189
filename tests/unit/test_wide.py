"""Representations far wider than long: the same figures as by every other route, and the same refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from akp_core.errors import AkpError
from akp_core.similarity import cka, pairwise
from akp_core.similarity.wide import wide_products

N, P = 32, 131_072
Wide = list[np.ndarray]


@pytest.fixture(scope="module")
def members() -> Wide:
    rng = np.random.default_rng(0)
    few, noise = rng.normal(size=(N, 6)), rng.normal(size=(3, N, P))
    loadings = rng.normal(size=(3, 6, P))
    return [(few @ loadings[k] + (k + 1) * noise[k] + 1).astype(np.float32) for k in range(3)]


def by_definition(x: np.ndarray, y: np.ndarray, *, unbiased: bool) -> float:
    grams = []
    for z in (x, y):
        centred = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
        k = centred @ centred.T
        if unbiased:
            np.fill_diagonal(k, 0)
            sums = k.sum(axis=0) / (N - 2)
            k = k - sums - sums[:, None] + k.sum() / ((N - 1) * (N - 2))
            np.fill_diagonal(k, 0)
        grams.append(k)
    return float(np.vdot(*grams) / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1]))


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("kind", ["numpy", "torch", "float64", "fortran"])
def test_the_definition_holds_to_the_digits_of_float32(members: Wide, estimator: str, kind: str) -> None:
    given = {
        "numpy": members,
        "torch": [torch.from_numpy(x) for x in members],
        "float64": [x.astype(np.float64) for x in members],
        "fortran": [np.asfortranarray(x) for x in members],
    }[kind]
    found = wide_products(given)
    assert found is not None
    assert (found[0].of(estimator)[1] > 0.1).all(), "this route is tested, not the rescue behind it"
    want = by_definition(members[0], members[2], unbiased=estimator == "unbiased")
    bound = 1e-12 if kind == "float64" else 2e-8
    assert cka(given[0], given[2], estimator=estimator) == pytest.approx(want, abs=bound)
    assert float(pairwise(given, estimator=estimator)[0, 2]) == pytest.approx(want, abs=bound)


def test_threads_do_not_change_a_bit(members: Wide) -> None:
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            found.append(pairwise(members))
        finally:
            torch.set_num_threads(before)
    assert all(np.array_equal(found[0], other) for other in found[1:])


def test_what_needs_more_care_takes_another_route(members: Wide) -> None:
    x, y, _ = members
    far, huge = x + np.float32(1e4), x * np.float32(1e30)
    for other in (far, huge, y.astype(np.float64), y[:, :100], y.astype(np.float16)):
        assert wide_products([x, other]) is None
    assert cka(x, x * np.float32(1e30)) == pytest.approx(1, abs=1e-6)
    assert cka(x, far) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (np.nan, "expected finite numbers in y, got 1 non-finite"),
        (np.inf, "expected finite numbers in y, got 1 non-finite"),
        (None, "y is the same for every example"),
    ],
)
def test_refusals_are_those_of_every_route(members: Wide, spoil: float | None, said: str) -> None:
    y = members[1].copy()
    if spoil is None:
        y[:] = y[0]
    else:
        y[5, 70_000] = spoil
    with pytest.raises(AkpError, match=said):
        cka(members[0], y)
    with pytest.raises(AkpError, match="as many examples in y as in x"):
        cka(members[0], members[1][:-1])
