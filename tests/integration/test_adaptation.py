"""What is said of a trained population after a stress is what its own records and representations say."""

import numpy as np
import pytest

from akp_core import adaptation
from akp_core.adaptation.courses import images_by_group, wrong_over_time
from akp_core.adaptation.equal_time import by_onset, equal_time
from akp_core.adaptation.resampling import NetworksAndPatients
from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.happiness import compare, wrong_by_group
from akp_core.networks import Network
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.stress import Stress, pulses

MEMBERS = 4
SQUARE, NOTHING = Stress("activation", "square"), Stress()


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    study = Study(
        load("digits"),
        (SQUARE, *pulses((SQUARE, NOTHING), 0.25)),
        (0.0, 0.5),
        MEMBERS,
        Network("mlp", width=8, depth=1),
        Recipe(epochs=1, batch=128),
        looks=4,
    )
    return run(study, store=tmp_path_factory.mktemp("store"), progress=False)


def test_every_network_was_looked_at_and_a_step_between_is_refused(population) -> None:
    steps = population.looks()
    assert steps[0] == 0
    assert steps[-1] == population.study.steps
    assert len(steps) == len(set(steps)) >= 5
    between = next(s for s in range(population.study.steps) if s not in steps)
    with pytest.raises(AkpError, match=f"step {between} of 'control' was not looked at; looked at: "):
        wrong_over_time(population, (between,))


def test_courses_name_the_stress_without_its_times(population) -> None:
    found = {course.family: course for course in adaptation.courses(population)}
    pulse, press = found["square for 25% @ 50%"], found["square @ 50%"]
    assert (pulse.stress, pulse.kind, pulse.share) == ("square", "pulse", 0.5)
    assert (press.stress, press.kind, press.dose) == ("square", "press", 1.0)
    assert pulse.onset < pulse.end == pulse.since < press.end
    assert press.since == press.onset == pulse.onset
    assert press.end == population.study.steps


def test_a_pulse_of_nothing_leaves_every_network_on_its_twin_exactly(population) -> None:
    line = adaptation.timeline(population).query("stress == 'no-op'")
    assert line["tap"].nunique() == len(population.study.taps)
    assert len(line) > 15
    assert not line["twin"].any()
    assert not line["apart"].any()
    ends = adaptation.end_states(population, permutations=99).query("stress == 'no-op'")
    assert set(ends["state"]) == {"own twin"}
    errors = adaptation.error_curves(population)
    assert not errors.query("stress == 'no-op'")[["excess", "low", "high"]].any().any()
    back = adaptation.recoveries(population, errors).query("stress == 'no-op'")
    assert set(back["return"]) <= {"nothing to recover", "not testable"}


def test_errors_are_those_of_the_population_and_their_intervals_those_of_the_comparison(population) -> None:
    steps = population.looks()
    wrong = wrong_over_time(population, steps)
    for family, counts in wrong_by_group(population).items():
        np.testing.assert_array_equal(wrong[family][-1], counts)
    history = population.history.groupby(["family", "step"])["test_error"].mean()
    curves = adaptation.error_curves(population).set_index(["family", "step"])
    np.testing.assert_allclose(curves["error"], history[curves.index])
    images, rng = images_by_group(population), np.random.default_rng(0)
    stressed, control = (wrong[name][-1] for name in ("square @ 0%", "control"))
    known = compare(stressed, control, images, rng=rng)
    mean, low, high = NetworksAndPatients(MEMBERS, images, 0.05, rng).mean(stressed - control)
    assert mean == pytest.approx(known.difference)
    np.testing.assert_allclose([low, high], known.interval, atol=0.01)


def test_distances_are_those_of_the_fingerprints(population) -> None:
    prints = population.fingerprints("features", step=population.study.steps).numpy()
    prints = prints / np.linalg.norm(prints, axis=1, keepdims=True)
    happy, pressed = prints[:MEMBERS], prints[MEMBERS : 2 * MEMBERS]
    row = adaptation.end_states(population, taps=["features"], permutations=99).iloc[0]
    assert row["family"] == "square @ 0%"
    assert row["twin"] == pytest.approx(np.sqrt(np.square(happy - pressed).sum(axis=1).mean()))
    centres = (happy.sum(axis=0) - happy) / (MEMBERS - 1)
    away = [np.square(points - centres).sum() for points in (pressed, happy)]
    assert row["outside"] == pytest.approx(np.sqrt(away[0] / away[1]), rel=1e-5)


def test_onsets_are_compared_after_equal_time(population) -> None:
    for (_, _, kind), group in by_onset(population).items():
        equal = equal_time(population, group)
        assert np.ptp(equal.lags) <= 1  # rounding to steps
        assert [c.share for c in group] == [0.0, 0.5]
        latest = group[-1]
        assert equal.steps[-1] == population.study.steps
        assert equal.lags[-1] == population.study.steps - (latest.end if kind == "pulse" else latest.onset)


def test_verdicts_on_onsets_are_whole_and_the_same_for_the_same_seed(population) -> None:
    table = adaptation.critical_periods(population, tap="features", permutations=99)
    assert len(table) == 3 * 2
    idle = table[table["stress"] == "no-op"]
    assert not idle[["slope", "slope_end", "low", "high"]].any().any()
    assert set(idle["verdict"]) == {"none shown"}
    assert table.equals(adaptation.critical_periods(population, tap="features", permutations=99))
    rows = adaptation.dose_response(population, tap="features")
    assert set(rows["quantity"]) == {"error", "beyond lost time", "apart", "dispersion"}
    assert rows[rows["quantity"] != "dispersion"][["value", "low", "high"]].notna().all().all()
    final = rows[(rows["when"] == "end of training") & (rows["quantity"] == "error")].set_index("family")
    members = population.members.groupby("family")["test_error"].mean()
    np.testing.assert_allclose(final["value"], members[final.index] - members["control"])


def test_what_does_not_exist_is_refused(population) -> None:
    with pytest.raises(AkpError, match="unknown tap 'feature'"):
        adaptation.end_states(population, taps=["feature"])
    with pytest.raises(AkpError, match="unknown tap 'feature'"):
        adaptation.critical_periods(population, tap="feature")
    study = Study(population.study.data, (), (0.0,), 1, population.study.network, population.study.recipe)
    alone = type(population)(study, population.tree, population.store)
    with pytest.raises(AkpError, match="at least one stress, got only the control"):
        adaptation.courses(alone)
