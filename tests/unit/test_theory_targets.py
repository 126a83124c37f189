"""Statement 5: found minima are where the theorems say, for each loss of the palette."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akp_core import palette
from akp_core.charts.theory_targets import swap_path, target_map
from akp_core.errors import AkpError
from akp_core.palette import LOSSES, Loss
from akp_core.simulation.loss_targets import OTHERS, compare, map_of_targets
from akp_core.theory.closed_targets import hinge_ties, law_behind_focal, smoothed
from akp_core.theory.targets import answers, expected_loss, population_minimiser, read_out


def some_laws(items: int, classes: int, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.ones(classes), items).clip(0.01)
    return p / p.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("classes", [2, 4])
def test_no_logits_do_better_than_the_target(loss: str, classes: int) -> None:
    p = some_laws(20, classes)
    goal = population_minimiser(loss, p)
    least = expected_loss(loss, p, goal)
    rng = np.random.default_rng(1)
    for size in (1e-3, 0.1, 1.0, 5.0):
        for _ in range(30):
            other = expected_loss(loss, p, goal + size * rng.standard_normal(goal.shape))
            assert (other >= least - 1e-9).all()


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_targets_have_their_formulas(classes: int) -> None:
    p = some_laws(30, classes)
    read = {name: read_out(name, population_minimiser(name, p)) for name in LOSSES}
    np.testing.assert_allclose(read["cross_entropy"], p, atol=1e-6)
    np.testing.assert_allclose(read["squared_error"], p, atol=1e-6)
    np.testing.assert_allclose(read["label_smoothing"], smoothed(p), atol=1e-6)
    np.testing.assert_allclose(law_behind_focal(read["focal"]), p, atol=1e-5)
    order = np.argsort(p, axis=1)
    assert (np.diff(np.take_along_axis(read["focal"], order, axis=1)) >= -1e-7).all()


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_the_palette_calls_proper_what_is_proper(loss: str) -> None:
    p = some_laws(15, 3)
    away = np.abs(read_out(loss, population_minimiser(loss, p)) - p).max()
    assert (away < 1e-6) == LOSSES[loss].proper


def test_focal_loss_of_two_classes_is_less_sure_than_the_law() -> None:
    p = np.column_stack([x := np.linspace(0.55, 0.95, 9), 1 - x])
    q = read_out("focal", population_minimiser("focal", p))
    assert ((q[:, 0] > 0.5) & (q[:, 0] < p[:, 0])).all()


def test_the_hinge_of_two_classes_is_the_sign() -> None:
    p = np.column_stack([x := np.array([0.05, 0.3, 0.49, 0.51, 0.8]), 1 - x])
    z = population_minimiser("hinge", p)
    np.testing.assert_allclose(z[:, 0] - z[:, 1], np.sign(x - 0.5))


@given(st.integers(0, 2**31))
@settings(max_examples=15, deadline=None)
def test_the_hinge_of_three_classes_ties_where_the_theorem_says(seed: int) -> None:
    p = some_laws(12, 3, seed)
    clear = (np.abs(p - 1 / 2).min(axis=1) > 1e-6) & (np.abs(p - 1 / 3).min(axis=1) > 1e-6)
    said = answers(population_minimiser("hinge", p[clear]))
    np.testing.assert_array_equal(said.sum(axis=1) > 1, hinge_ties(p[clear]))
    assert said[np.arange(clear.sum()), p[clear].argmax(axis=1)].all()


def test_one_law_in_six_ties() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(3), 200_000)
    assert hinge_ties(p).mean() == pytest.approx(1 / 6, abs=0.004)


def test_a_risk_free_hinge_can_be_wrong() -> None:
    p = np.array([[0.45, 0.40, 0.15]])
    goal = population_minimiser("hinge", p)
    np.testing.assert_allclose(goal - goal[:, 2:], [[1, 1, 0]], atol=1e-8)
    other = goal + np.array([[0, 1e-9, 0]])
    assert other.argmax() == 1
    assert expected_loss("hinge", p, other)[0] == pytest.approx(expected_loss("hinge", p, goal)[0], abs=1e-8)


def test_losses_without_a_smooth_minimum_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        palette.LOSSES, "linear", Loss("linear", lambda z, y: z.sum(dim=1) + 0 * y, False, "")
    )
    with pytest.raises(AkpError, match="least at infinity"):
        population_minimiser("linear", some_laws(1, 3))


def test_what_has_no_target_is_refused() -> None:
    with pytest.raises(AkpError, match="smooth the law"):
        population_minimiser("cross_entropy", np.eye(3))
    with pytest.raises(AkpError, match="unknown loss"):
        population_minimiser("hing", some_laws(3, 3))
    with pytest.raises(AkpError, match="three classes"):
        hinge_ties(some_laws(3, 4))
    with pytest.raises(AkpError, match="from 0 to 1"):
        smoothed(some_laws(3, 3), 1.5)
    with pytest.raises(AkpError, match="strictly between"):
        law_behind_focal(np.eye(3))
    with pytest.raises(AkpError, match="same items"):
        expected_loss("focal", some_laws(3, 3), some_laws(3, 2))
    with pytest.raises(AkpError, match="divisions"):
        map_of_targets(["focal"], divisions=2)
    with pytest.raises(AkpError, match="one loss"):
        map_of_targets([])
    with pytest.raises(AkpError, match="noise above 0"):
        compare(["focal"], classes=3, members=4, steps=8, examples=50, noise=0.0, seed=0)


def test_the_map_is_drawn() -> None:
    table = map_of_targets(["squared_error", "hinge"], divisions=11)
    hinge = table[table["loss"] == "hinge"]
    np.testing.assert_array_equal(hinge["answer"] == "tied", hinge["ties"])
    assert hinge["ties"].any()
    assert (table.loc[table["loss"] == "squared_error", "answer"] == "kept").all()
    spec = target_map(table).to_dict()
    assert spec["params"][0]["bind"]["options"] == ["squared_error", "hinge"]
    assert "triangle of all laws" in spec["description"]
    with pytest.raises(AkpError, match="missing: answer"):
        target_map(table.drop(columns="answer"))


@pytest.fixture(scope="module")
def compared() -> tuple[pd.DataFrame, pd.DataFrame]:
    return compare(
        ["focal"], classes=2, members=6, steps=256, examples=1500, noise=0.2, seed=0, permutations=99
    )


def test_a_swapped_family_goes_to_its_new_target(compared: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    ends, path = compared
    assert ends["loss"].tolist() == ["focal", OTHERS]
    focal = ends.set_index("loss").loc["focal"]
    assert focal["target"] > 0.05
    assert focal["nearer"] > focal["nearer_margin"]
    assert 0 < focal["r2"] < 1
    assert 0 < focal["p"] <= 1
    end = path[path["step"] == 256].set_index("goal")["value"]
    half = path[path["step"] == 128].set_index("goal")["value"]
    assert end["new target"] < half["new target"]
    assert end["old target"] > half["old target"]


def test_the_path_is_drawn(compared: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    spec = swap_path(compared[1]).to_dict()
    assert spec["params"][0]["bind"]["options"] == ["focal"]
    drawn = pd.read_csv(io.StringIO(next(iter(spec["datasets"].values()))))
    assert drawn["step"].min() > 0
    with pytest.raises(AkpError, match="empty table"):
        swap_path(compared[1].iloc[:0])
