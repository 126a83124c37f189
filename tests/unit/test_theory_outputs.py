"""Statements 1 to 3: bounds hold, are attained where they claim to be, and say so where they cannot hold."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from akp_core.charts.theory_outputs import bounds, diameters, regrets
from akp_core.errors import AkpError
from akp_core.similarity import cka, prediction_disagreement
from akp_core.simulation.allowed import allowed_grid, shared_part, shrinking
from akp_core.simulation.happy_outputs import Case, families, pair_mean, three_laws
from akp_core.simulation.known_law import KnownLaw, mixture, train
from akp_core.theory.agreement import OneHidden, family_disagreement_bound, other_insides
from akp_core.theory.diameter import (
    diameter_bound,
    largest_attained,
    measured_exponent,
    orthogonal_models,
)
from akp_core.theory.notation import SYMBOLS, Symbol, notation, shape_of
from akp_core.theory.outputs import (
    cka_floor,
    excess_risk,
    modulus,
    root_mean_square_bound,
    total_variation_bound,
)
from akp_core.theory.probabilities import output_distances
from akp_core.theory.targets import expected_loss


def laws(items: int, classes: int, rng: np.random.Generator, concentration: float = 1.0) -> np.ndarray:
    p = rng.dirichlet(np.full(classes, concentration), items) + 1e-9
    return p / p.sum(axis=1, keepdims=True)


def near(p: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    q = p * np.exp(amount * rng.standard_normal(p.shape))
    return q / q.sum(axis=1, keepdims=True)


# ---- 1: agreement


@pytest.mark.parametrize(("members", "classes"), [(2, 2), (2, 3), (3, 2), (4, 3)])
def test_the_family_bound_is_the_best_that_can_be_said(members: int, classes: int) -> None:
    most = dict.fromkeys(range(members + 1), 0.0)
    for said in product(range(classes), repeat=members):  # class 0 is right
        pairs = prediction_disagreement(np.array(said)[:, None])
        wrong = sum(answer != 0 for answer in said)
        most[wrong] = max(most[wrong], pairs.sum() / (members * (members - 1)))
    for wrong, disagreement in most.items():
        bound = family_disagreement_bound(wrong / members, members, classes)
        assert bound == pytest.approx(disagreement, abs=1e-12)


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(2, 9))
@settings(max_examples=40, deadline=None)
def test_no_family_passes_the_bound(seed: int, classes: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=60)
    said = np.where(
        rng.random((members, 60)) < rng.random((members, 1)),
        labels,
        rng.integers(classes, size=(members, 60)),
    )
    pairs = prediction_disagreement(said)
    error = float((said != labels).mean())
    mean = pairs.sum() / (members * (members - 1))
    assert mean <= family_disagreement_bound(error, members, classes) + 1e-12
    errors = (said != labels).mean(axis=1)
    assert abs(errors[0] - errors[1]) - 1e-12 <= pairs[0, 1] <= errors[0] + errors[1] + 1e-12


@pytest.mark.parametrize("wanted", [1.0, 0.1, 1e-3])
def test_one_function_has_insides_as_unlike_as_wanted(wanted: float) -> None:
    rng = np.random.default_rng(1)
    net = OneHidden(
        rng.standard_normal((7, 4)), rng.standard_normal(7), rng.standard_normal((3, 7)), np.zeros(3)
    )
    probe, far = rng.standard_normal((60, 4)), 50 * rng.standard_normal((300, 4))
    first, second = other_insides(net, probe, wanted)
    for x in (probe, far):
        np.testing.assert_allclose(first.output(x), net.output(x), rtol=1e-12, atol=1e-10)
        np.testing.assert_array_equal(first.output(x), second.output(x))
    a, b = first.inside(probe), second.inside(probe)
    assert a.shape == (60, 8)
    assert 0 <= cka(a, b, estimator="biased") <= wanted


def test_the_unbiased_cka_of_the_insides_has_the_limit_that_is_proved() -> None:
    rng = np.random.default_rng(2)
    net = OneHidden(
        rng.standard_normal((5, 3)), rng.standard_normal(5), rng.standard_normal((2, 5)), np.zeros(2)
    )
    probe = rng.standard_normal((30, 3))
    a, b = (twin.inside(probe) for twin in other_insides(net, probe, 1e-7))
    n, (g1, g2) = 30, np.linalg.svd(probe - probe.mean(axis=0))[0].T[:2]
    square = [1 - n / (n - 2) * (g**4).sum() + 1 / ((n - 1) * (n - 2)) for g in (g1, g2)]
    limit = (1 / ((n - 1) * (n - 2)) - n / (n - 2) * (g1**2 * g2**2).sum()) / np.sqrt(square[0] * square[1])
    assert cka(a, b) == pytest.approx(limit, abs=1e-4)


def test_what_has_no_meaning_in_agreement_is_refused() -> None:
    net = OneHidden(np.eye(2), np.zeros(2), np.eye(2), np.zeros(2))
    line = np.outer(np.arange(5.0), [1, 2])
    with pytest.raises(AkpError, match="not on one line"):
        other_insides(net, line, 0.1)
    with pytest.raises(AkpError, match="above 0 and at most 1"):
        other_insides(net, np.eye(2), 0.0)
    with pytest.raises(AkpError, match=r"shape \(n, 2\)"):
        other_insides(net, np.eye(3), 0.1)
    with pytest.raises(AkpError, match="divide percentages"):
        family_disagreement_bound(12.0, 3, 2)
    with pytest.raises(AkpError, match="members"):
        family_disagreement_bound(0.1, 1, 2)
    with pytest.raises(AkpError, match="readout"):
        OneHidden(np.eye(2), np.zeros(3), np.eye(2), np.zeros(2))


# ---- 2: outputs


@given(st.integers(0, 2**31), st.integers(2, 8), st.floats(0.001, 6), st.floats(0.05, 5))
@settings(max_examples=80, deadline=None)
def test_outputs_of_small_excess_are_close(
    seed: int, classes: int, amount: float, concentration: float
) -> None:
    rng = np.random.default_rng(seed)
    p = laws(40, classes, rng, concentration)
    models = np.stack([near(p, amount, rng), near(p, amount / 3, rng), laws(40, classes, rng)])
    for loss in ("cross_entropy", "squared_error"):
        excess = excess_risk(p, models, loss)
        apart = output_distances(models)
        allowed = root_mean_square_bound(excess[:, None], excess[None, :], modulus(loss, classes))
        assert (apart <= allowed + 1e-9).all()
    excess = excess_risk(p, models)
    apart = output_distances(models, "total_variation")
    assert (apart <= total_variation_bound(excess[:, None], excess[None, :]) + 1e-9).all()


@given(
    st.integers(0, 2**31), st.integers(2, 6), st.floats(1e-3, 1.5), st.sampled_from(["biased", "unbiased"])
)
@settings(max_examples=80, deadline=None)
def test_no_pair_of_outputs_falls_below_its_floor(
    seed: int, classes: int, amount: float, estimator: str
) -> None:
    rng = np.random.default_rng(seed)
    p = laws(25, classes, rng)
    q = [near(p, amount, rng), near(p, amount / 2, rng)]
    r = [np.sqrt(np.square(one - p).sum(axis=1).mean()) for one in q]
    floor = float(cka_floor(p, r[0], r[1], estimator))  # type: ignore[arg-type]
    assert cka(q[0], q[1], estimator=estimator) >= floor - 1e-9  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_excess_is_that_of_the_palettes_own_loss(loss: str) -> None:
    rng = np.random.default_rng(7)
    p = laws(20, 4, rng)
    q = near(p, 0.5, rng)
    said, best = (np.log(q), np.log(p)) if loss == "cross_entropy" else (q, p)
    more = expected_loss(loss, p, said).mean() - expected_loss(loss, p, best).mean()
    assert excess_risk(p, q[None], loss)[0] == pytest.approx(more, abs=1e-9)
    assert more >= modulus(loss, 4) * np.square(q - p).sum(axis=1).mean() - 1e-12


def test_the_unbiased_floor_rests_on_the_u_centred_gram() -> None:
    p = laws(12, 3, np.random.default_rng(3))
    s = p - p.mean(axis=0)
    gram, n = s @ s.T, 12
    np.fill_diagonal(gram, 0)
    rows = gram.sum(axis=0)
    centred = gram - (rows[:, None] + rows) / (n - 2) + gram.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0)
    r, top = 0.01, np.linalg.norm(s, 2)
    sine = (2 * top * np.sqrt(n) * r + n * r**2) / np.linalg.norm(centred)
    assert float(cka_floor(p, r, r)) == pytest.approx(np.cos(2 * np.arcsin(sine)), abs=1e-9)


def test_floors_rise_to_one_and_fall_to_nothing() -> None:
    p = laws(50, 3, np.random.default_rng(4))
    floors = cka_floor(p, np.array([0.0, 1e-3, 0.02, 5.0]), 0.0)
    assert floors[0] == 1
    assert (np.diff(floors) < 0).all()
    assert floors[-1] == -1
    assert cka_floor(p, 5.0, 5.0, "biased") == 0
    e = np.array([1e-4, 1e-5])
    gap = 1 - cka_floor(p, np.sqrt(e), np.sqrt(e))
    assert gap[0] / gap[1] == pytest.approx(10, rel=0.1)


def test_bounds_at_their_ends() -> None:
    assert total_variation_bound(0.0, 0.0) == 0
    assert total_variation_bound(np.inf, 0.0) == 1
    assert total_variation_bound(5.0, 0.0) == pytest.approx(np.sqrt(1 - np.exp(-5)))
    p = np.array([[0.5, 0.5]])
    assert excess_risk(p, np.array([[[1.0, 0.0]], [[0.5, 0.5]]])).tolist() == [np.inf, 0]
    two = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert output_distances(two, "total_variation")[0, 1] == 1
    assert output_distances(two)[0, 1] == pytest.approx(np.sqrt(2))


def test_what_is_no_law_is_refused() -> None:
    p = laws(6, 2, np.random.default_rng(0))
    constant = np.full((6, 2), 0.5)
    with pytest.raises(AkpError, match="take the softmax first"):
        excess_risk(p, np.ones((1, 6, 2)))
    with pytest.raises(AkpError, match="same items and classes"):
        excess_risk(p, p[None, :3])
    with pytest.raises(AkpError, match="non-finite"):
        excess_risk(p, np.full((1, 6, 2), np.nan), "squared_error")
    with pytest.raises(AkpError, match="law that varies"):
        cka_floor(constant, 0.1, 0.1)
    with pytest.raises(AkpError, match="did you mean 'biased'"):
        cka_floor(p, 0.1, 0.1, "biassed")  # type: ignore[arg-type]
    with pytest.raises(AkpError, match="four items"):
        cka_floor(p[:3], 0.1, 0.1)
    with pytest.raises(AkpError, match="strongly proper"):
        modulus("hinge", 3)
    with pytest.raises(AkpError, match="at least 0"):
        total_variation_bound(-0.1, 0.0)
    with pytest.raises(AkpError, match="at least 0"):
        root_mean_square_bound(np.nan, 0.0)
    with pytest.raises(AkpError, match="strength above 0"):
        root_mean_square_bound(0.1, 0.1, 0.0)
    with pytest.raises(AkpError, match="metric"):
        output_distances(p[None], "euclid")  # type: ignore[arg-type]


# ---- 3: the family shrinks


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_the_construction_fills_every_direction_of_the_ball(classes: int) -> None:
    p = 0.9 * laws(11, classes, np.random.default_rng(5)) + 0.1 / classes
    eta = p.min()
    assert largest_attained(p) == pytest.approx(eta / 8)
    for excess in (eta / 8, eta / 800):
        every = 11 * (classes - 1)
        q = orthogonal_models(p, excess, every)
        assert q.shape == (2 * every, 11, classes)
        assert q.min() >= 0
        assert excess_risk(p, q).max() <= excess
        moved = (q - p)[::2].reshape(every, -1) / np.sqrt(11)
        np.testing.assert_allclose(moved @ moved.T, eta * excess * np.eye(every), atol=1e-12)
        apart = output_distances(q)
        assert apart[0, 1] == pytest.approx(2 * np.sqrt(eta * excess))
        assert apart.max() <= diameter_bound(excess)


def test_the_construction_refuses_what_it_cannot_do() -> None:
    p = laws(5, 2, np.random.default_rng(0))
    with pytest.raises(AkpError, match="an eighth of the smallest"):
        orthogonal_models(p, 0.5, 2)
    with pytest.raises(AkpError, match="smooth the law"):
        orthogonal_models(np.eye(2), 0.01, 2)
    with pytest.raises(AkpError, match="directions"):
        orthogonal_models(p, largest_attained(p), 6)


def test_diameters_are_monotone_and_have_exponent_one_half() -> None:
    excess = np.geomspace(1e-6, 10, 40)
    for metric in ("total_variation", "root_mean_square"):
        found = diameter_bound(excess, metric)  # type: ignore[arg-type]
        assert (np.diff(found) >= 0).all()
        assert found[1] / found[0] == pytest.approx(np.sqrt(excess[1] / excess[0]), rel=1e-6)
    with pytest.raises(AkpError, match="metric"):
        diameter_bound(0.1, "tv")  # type: ignore[arg-type]


def test_an_exponent_is_found_with_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(6)
    size = rng.lognormal(0, 0.2, 9)
    levels = np.geomspace(1e-3, 1, 6)
    excess = levels[:, None] * size
    apart = 0.7 * (levels**0.5)[:, None, None] * np.abs(np.subtract.outer(size, size))
    found = measured_exponent(excess, apart)
    assert found.low <= 0.5 <= found.high
    assert found.slope == pytest.approx(0.5)
    with pytest.raises(AkpError, match="whose members differ"):
        measured_exponent(excess, 0 * apart)
    with pytest.raises(AkpError, match="T > 1"):
        measured_exponent(excess[:1], apart[:1])


# ---- the populations they are measured on


@pytest.fixture(scope="module")
def small() -> tuple[pd.DataFrame, dict[int, Case]]:
    return families([2, 3], members=5, steps=64, examples=400, noise=0.1, seed=0)


def test_trained_families_keep_every_bound(small: tuple[pd.DataFrame, dict[int, Case]]) -> None:
    table, cases = small
    assert (table["kept"] == 1).all()
    assert set(table["step"]) == {0, 8, 16, 32, 64}
    assert (table["low"] <= table["value"]).all()
    excess = table[table["quantity"] == "CKA"].pivot(index="step", columns="classes", values="excess")
    assert (excess.loc[64] < excess.loc[8]).all()
    net, seen = cases[3].trained.networks[1], cases[3].trained.logits[-1, 1]
    np.testing.assert_allclose(net.output(cases[3].items), seen, atol=1e-4)
    assert cases[2].errors.shape == (5,)


def test_families_shrink_and_are_drawn(small: tuple[pd.DataFrame, dict[int, Case]]) -> None:
    table, cases = small
    drawn, rates = shrinking(cases, directions=4)
    assert rates["attained"].between(0.48, 0.52).all()
    assert (rates["low"] < rates["high"]).all()
    assert rates["shared_last"].between(-0.25, 1).all()
    grid = allowed_grid(cases, [-3.0, -2.0, -1.0])
    assert "classes" in str(bounds(table, grid).to_dict()["params"])
    assert "slope one half" in diameters(drawn).to_dict()["description"]
    assert regrets().to_dict()["params"][0]["bind"]["input"] == "range"
    with pytest.raises(AkpError, match="missing: family"):
        diameters(drawn.drop(columns="family"))
    with pytest.raises(AkpError, match="above 0"):
        diameters(drawn.assign(distance=0.0))
    with pytest.raises(AkpError, match="in common"):
        bounds(table[table["quantity"] == "disagreement"], grid)
    with pytest.raises(AkpError, match="two values"):
        bounds(table, grid[grid["log_excess"] == -1])


def test_members_that_err_alike_share_a_direction() -> None:
    p = laws(8, 3, np.random.default_rng(1))
    alike = np.stack([p + step * (1 / 3 - p) for step in (0.1, 0.2, 0.5)])
    assert shared_part(p, alike) == pytest.approx(1)
    own = orthogonal_models(0.9 * p + 1 / 30, 1e-4, 6)[::2]
    assert shared_part(0.9 * p + 1 / 30, own) == pytest.approx(0, abs=1e-9)
    with pytest.raises(AkpError, match="one that equals it"):
        shared_part(p, np.stack([p, alike[0]]))


def test_a_constant_law_has_happy_networks_that_are_unlike() -> None:
    laws_ = three_laws(members=4, steps=48, examples=500, noise=0.1, seed=0).set_index("law")
    assert laws_.loc["not at all", "excess"] < laws_.loc["partly", "excess"]
    assert laws_.loc["not at all", "cka"] < laws_.loc["wholly", "cka"]
    assert (laws_["total_variation"] <= laws_["bound"]).all()
    assert laws_.loc["wholly", "total_variation"] <= laws_.loc["wholly", "linear"]


def test_the_law_is_the_law_of_its_labels() -> None:
    law = mixture(3, np.random.default_rng(0), noise=0.2)
    x, y = law.draw(60_000, np.random.default_rng(1))
    p = law.posterior(x)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert p.min() >= 0.2 / 3
    sure = p[:, 0] > 0.8
    assert (y[sure] == 0).mean() == pytest.approx(p[sure, 0].mean(), abs=0.02)
    hidden = (y[p[:, 1] < 0.1] == 1).mean()
    assert hidden == pytest.approx(p[p[:, 1] < 0.1, 1].mean(), abs=0.01)
    flat = KnownLaw(law.means, law.owners, 1.0)
    np.testing.assert_allclose(flat.posterior(x[:5]), 1 / 3)
    with pytest.raises(AkpError, match="noise from 0 to 1"):
        mixture(3, np.random.default_rng(0), noise=2.0)


def test_a_family_is_trained_by_its_seed_alone() -> None:
    law = mixture(2, np.random.default_rng(0))
    x, y = law.draw(100, np.random.default_rng(1))
    runs = [
        train(x, y, x[:9], generator=torch.Generator().manual_seed(s), members=2, schedule=plan)
        for s, plan in (
            (1, [("cross_entropy", 20)]),
            (1, [("cross_entropy", 10), ("focal", 10)]),
            (2, [("focal", 20)]),
        )
    ]
    assert runs[0].steps == (0, 8, 16, 20)
    assert runs[1].steps == (0, 8, 10, 16, 20)
    np.testing.assert_array_equal(runs[0].logits[:2], runs[1].logits[:2])
    assert not np.allclose(runs[0].logits[-1], runs[1].logits[-1])
    assert not np.allclose(runs[0].logits[0], runs[2].logits[0])
    with pytest.raises(AkpError, match="unknown loss"):
        train(x, y, x, generator=torch.Generator(), schedule=[("hing", 3)])


def test_an_interval_over_models_leaves_out_models() -> None:
    pairs = np.array([[0.0, 1, 2, 3], [1, 0, 4, 5], [2, 4, 0, 6], [3, 5, 6, 0]])
    mean, low, high = pair_mean(pairs)
    assert mean == pytest.approx(3.5)
    left = np.array([5.0, 11 / 3, 3, 7 / 3])
    spread = np.sqrt(3 / 4 * np.square(left - left.mean()).sum())
    assert high - mean == pytest.approx(3.182446 * spread)
    assert mean - low == pytest.approx(high - mean)
    with pytest.raises(AkpError, match="three models"):
        pair_mean(np.zeros((2, 2)))
    with pytest.raises(AkpError, match="finite"):
        pair_mean(np.full((3, 3), np.nan))


# ---- notation


def test_every_symbol_is_in_the_code_with_its_shape() -> None:
    rows = notation()
    assert len(rows) == len(SYMBOLS)
    shapes = {row["code"].split(".")[-1]: row["shape"] for row in rows}
    assert shapes["excess_risk(outputs)"] == "M × n × K"
    assert shapes["Study(members)"] == "one number"


@pytest.mark.parametrize(
    ("code", "part", "said"),
    [
        ("akp_core.similarity.cca", "", "not in the code"),
        ("akp_core.similarity.cka", "z", "no such parameter"),
        ("akp_core.study.Study", "stress", "no such part"),
        ("akp_core.similarity", "", "no function and no class"),
    ],
)
def test_a_name_that_is_gone_stops_the_table(code: str, part: str, said: str) -> None:
    with pytest.raises(AkpError, match=said):
        shape_of(Symbol("x", "", code, part))
