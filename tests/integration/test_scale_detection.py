"""Networks on the scale-detection task: they learn it, and what is measured and judged on them."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert

from akp_core.charts import scale_detection as charts
from akp_core.errors import AkpError
from akp_core.scale_detection.conclusions import exponents, figures, signature
from akp_core.scale_detection.curves import layer_sensitivities, learnt, slopes
from akp_core.scale_detection.experiment import Experiment, run, standard_stacks
from akp_core.scale_detection.images import probe
from akp_core.scale_detection.network import Stack
from akp_core.scale_detection.sensitivity import QUANTITIES, layers_of, measured
from akp_core.scale_detection.task import ScaleTask
from akp_core.scale_detection.training import Descent, Trained, train
from akp_core.seeds import generator

TASK = ScaleTask(32, 8, rule="block")
STACKS = {"blocks": Stack(5, 8), "odd": Stack(4, 8, 3)}
SMALL = {"members": 1, "pairs": 8, "test": 8, "seed": 0}
MOVED, NOISY, RECTIFIED = QUANTITIES.values()


@cache
def population() -> Trained:
    return train(TASK, Stack(5, 16), Descent(100), members=3, pairs=160, test=60, seed=0)


@cache
def experiment() -> Experiment:
    return run(TASK, STACKS, Descent(25), members=4, pairs=160, test=60, seed=0)


def test_networks_learn_the_task_and_untrained_ones_do_not_know_it() -> None:
    found = population()
    assert (found.test_error <= 0.1).all()
    assert (found.train_error <= 0.05).all()
    assert not found.diverged.any()
    blind = train(TASK, Stack(5, 16), Descent(1, rate=1e-9), members=3, pairs=160, test=60, seed=0)
    assert (blind.test_error > 0.2).all()


def test_training_is_repeatable_and_a_member_does_not_depend_on_the_others() -> None:
    few, many = (train(TASK, STACKS["odd"], Descent(2), members=m, pairs=32, test=8, seed=3) for m in (2, 3))
    for a, b in zip(few.after.all(), many.after.all(), strict=True):
        assert torch.allclose(a, b[:2], atol=1e-5)
    other = train(TASK, STACKS["odd"], Descent(2), members=2, pairs=32, test=8, seed=4)
    assert not torch.allclose(other.after.layers[0], few.after.layers[0])


def test_training_in_two_dimensions_lowers_the_error() -> None:
    task = ScaleTask(8, 4, dims=2, rule="block")
    stack = Stack(3, 12, dims=2, padding="zeros")
    found = train(task, stack, Descent(60), members=3, pairs=256, test=100, seed=0)
    assert (found.test_error < 0.2).sum() >= 2


def test_training_makes_d_fall_and_rectified_g_rise_with_depth_and_shuffling_undoes_some() -> None:
    tilts = slopes(learnt(layer_sensitivities(population(), images=60, seed=0)), [1, 2])
    mean = tilts[tilts["channels"] == "channels averaged"].groupby(["state", "quantity"])["slope"].mean()
    assert mean["trained", MOVED] < mean["untrained", MOVED] - 0.1
    assert mean["trained", RECTIFIED] > mean["untrained", RECTIFIED]
    assert mean["channels shuffled", MOVED] > mean["trained", MOVED]
    assert mean["ideal without ReLU", NOISY] < mean["ideal", NOISY]


def test_diverged_networks_are_counted_and_enter_nothing() -> None:
    found = train(TASK, STACKS["blocks"], Descent(3, rate=1e6), members=3, pairs=32, test=8, seed=0)
    assert found.diverged.all()
    assert np.isnan(found.test_error).all()
    rows = layer_sensitivities(found, images=8, seed=0)
    trained = rows[rows["state"] == "trained"]
    assert set(trained["why"]) == {"diverged"}
    assert trained["moved"].isna().all()
    assert rows.loc[rows["state"] == "untrained", "moved"].notna().all()
    kept = learnt(rows)
    assert set(kept["member"]) == {-1}
    table = exponents(slopes(kept, [1, 2]), found.stack)
    assert set(table["verdict"]) == {"undecided"}
    assert set(table["networks"]) == {0}
    with np.errstate(all="raise"):
        whole = run(TASK, STACKS, Descent(2, rate=1e6), members=3, pairs=32, test=8, seed=0)
    assert whole.counts["diverged"].tolist() == [3, 3]
    assert whole.counts["test_error"].isna().all()


def test_collapsed_networks_are_called_so() -> None:
    found = run(TASK, STACKS, Descent(40, ridge=30), members=3, pairs=64, test=8, seed=0)
    assert found.counts["collapsed"].tolist() == [3, 3]
    rows = found.networks.query("state == 'trained' and channels == 'all channels'")
    assert rows.loc[rows["why"] != "", "moved"].isna().all()


def test_the_exponent_of_a_known_power_is_found_and_judged() -> None:
    width = np.array([1.0, 2.0, 4.0])
    rng = np.random.default_rng(0)
    rows = []
    for state in ("ideal", "trained", "untrained"):
        for member in [-1] if state == "ideal" else range(6):
            power = {"ideal": -1, "trained": -1 + 0.05 * rng.standard_normal(), "untrained": 0}[state]
            for k, a in enumerate(width):
                rows.append((state, "all channels", member, k + 1, a, a**power, 1.0, 1 / a**power, 0.0))
    names = "state channels member layer width moved noisy rectified test_error"
    tilts = slopes(pd.DataFrame(rows, columns=names.split()), [1, 2, 3])
    table = exponents(tilts, Stack(3)).query("channels == 'all channels'").set_index(["state", "quantity"])
    row = table.loc[("trained", MOVED)]
    assert row["ideal"] == pytest.approx(-1)
    assert row["low"] <= -1 + 0.05 <= row["high"] + 0.1
    assert (row["verdict"], row["networks"], row["proved"]) == ("reproduced", 6, -1)
    assert table.loc[("untrained", MOVED), "verdict"] == "not reproduced"
    assert signature(tilts, channels="all channels")["verdict"].tolist() == ["reproduced", "reproduced"]
    with pytest.raises(AkpError, match="channels of the table"):
        signature(tilts, channels="none")
    with pytest.raises(AkpError, match="at least two layers of the table"):
        slopes(pd.DataFrame(rows, columns=names.split()), [1, 9])


def test_an_experiment_has_every_table_and_the_charts_draw_it() -> None:
    found = experiment()
    assert found.counts["networks"].tolist() == [4, 4]
    assert (found.counts[["learnt", "failed", "collapsed", "diverged"]].sum(axis=1) == 4).all()
    assert len(found.exponents) == 2 * 3 * 2 * 3
    assert set(found.shapes["shape"]) == {"even", "binomial"}
    assert found.networks.query("member >= 0").groupby("layers")["member"].nunique().tolist() == [4, 4]
    trained = found.exponents.query("state == 'trained' and channels == 'channels averaged'").iloc[0]
    numbers = figures(trained)
    assert None in numbers.values() or numbers["low"] <= numbers["value"] <= numbers["high"]  # type: ignore[operator]
    assert set(figures(trained.replace(trained["low"], np.nan)).values()) == {None}
    for chart in (
        charts.curves(found.curves),
        charts.the_task(TASK),
        charts.the_task(ScaleTask(64, 16, gap=2)),
    ):
        spec = chart.to_dict()
        assert len(spec["description"]) > 100
        svg = vl_convert.vegalite_to_svg(spec)
        assert svg.count("<path") > 3
        assert "NaN" not in svg
        assert "undefined" not in svg
    assert "near: +1" in svg


@pytest.mark.parametrize(
    ("first", "second", "rule", "says"),
    [
        (0, 3, "distance", "near: +1"),
        (0, 8, "distance", "in the gap"),
        (0, 31, "distance", "near: +1"),
        (0, 16, "distance", "far: -1"),
        (7, 8, "block", "far: -1"),
        (5, 5, "block", "no pair"),
    ],
)
def test_the_reader_sees_the_label_of_the_task(first: int, second: int, rule: str, says: str) -> None:
    spec = charts.the_task(ScaleTask(32, 8, gap=2)).to_dict()
    for param in spec["params"]:
        param["value"] = {"first": first, "second": second, "rule": rule}.get(param["name"], param["value"])
    assert says in vl_convert.vegalite_to_svg(spec)


def test_the_charts_refuse_what_they_cannot_draw() -> None:
    with pytest.raises(AkpError, match="one dimension"):
        charts.the_task(ScaleTask(8, 4, dims=2))
    with pytest.raises(AkpError, match="above 0"):
        charts.curves(experiment().curves.assign(value=0.0))
    with pytest.raises(AkpError, match="columns"):
        charts.curves(pd.DataFrame({"layer": [1]}))


def test_your_own_module_is_measured_in_few_lines() -> None:
    task, stream = ScaleTask(12, 6, gap=2, dims=2), generator(0, "mine")
    asked = probe(task, task.draw(2, 80, stream)[1], stream)
    mine = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 2, 2), torch.nn.ReLU(), torch.nn.Flatten())
    table = measured(layers_of(mine), asked, rng=np.random.default_rng(0))
    assert table["layer"].tolist() == ["1"] * 3
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    named = measured(layers_of(mine, ["0", "2"]), asked, channels="mean", rng=np.random.default_rng(0))
    assert set(named["layer"]) == {"0", "2"}


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: train(TASK, Stack(5, dims=2), Descent(), members=1, pairs=8, test=8, seed=0),
            "1 dimensions",
        ),
        (
            lambda: train(
                ScaleTask(8, 3, dims=2), Stack(3, dims=2), Descent(), members=1, pairs=8, test=8, seed=0
            ),
            "use zeros",
        ),
        (lambda: train(TASK, Stack(6), Descent(), members=1, pairs=8, test=8, seed=0), "2\\^6 divides"),
        (lambda: train(TASK, Stack(5), Descent(), members=0, pairs=8, test=8, seed=0), "members"),
        (lambda: Descent(rate=0), "rate above 0"),
        (lambda: Descent(epochs=0), "epochs"),
        (lambda: run(TASK, {}, Descent(), **SMALL), "at least one stack"),
        (lambda: standard_stacks(ScaleTask(12, 4), width=4, deep=3), "multiple of 8"),
        (lambda: layer_sensitivities(population(), images=61, seed=0), "from 4 to 60"),
    ],
)
def test_a_bad_request_is_refused_before_training(make: object, says: str) -> None:
    with pytest.raises(AkpError, match=says):
        make()  # type: ignore[operator]


def test_standard_stacks_fit_their_task() -> None:
    for side in (8, 16, 24, 64):
        for stack in standard_stacks(ScaleTask(side, 4), width=4, deep=3).values():
            stack.check(side)
    names = list(standard_stacks(ScaleTask(64, 16), width=16, deep=8))
    assert names == ["filter 2, stride 2", "filter 3, stride 1", "filter 3, stride 2"]
