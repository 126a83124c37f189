"""Clones in trained networks: every network has its row, what is planted is judged, lost ones are said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert

from akp_core import clones as lens
from akp_core.charts import clones as charts
from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.lenses import clones_laws
from akp_core.lenses import clones_verdicts as say
from akp_core.lenses.clones import CURVES, chunk_table, clones, last_layer, published
from akp_core.lenses.clones_ensemble import clone_width, verdict, wide_against_ensemble
from akp_core.lenses.clones_networks import of_width, parameters, wandering
from akp_core.lenses.clones_sweep import Sweep, ensemble_errors, half_octaves, train, width_sweep
from akp_core.networks import Network
from akp_core.outcome import Population
from akp_core.population import run
from akp_core.recipe import Recipe
from akp_core.stress import Stress
from akp_core.study import Study

RECIPE = Recipe(epochs=3, optimizer="sgd", learning_rate=0.05, schedule="cosine")
DATA = wandering(load("digits", side=8), room=1, copies=1, judged=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def sweep(store: Path) -> Sweep:
    return width_sweep(
        DATA,
        [16, 32, 64],
        decays=[0.01, 0.0],
        layers=["linear"],
        early=1,
        members=3,
        recipe=RECIPE,
        store=store,
    )


@pytest.fixture(scope="module")
def mixed(store: Path) -> Population:
    study = Study(
        DATA,
        (Stress("activation", "square"),),
        (0.5,),
        members=2,
        network=Network("mlp", width=24, depth=1),
        recipe=RECIPE,
    )
    return run(study, store=store, progress=False)


def test_every_network_has_one_row_and_the_same_seed_gives_the_same(mixed: Population) -> None:
    found = clones(mixed, seed=3)
    assert list(zip(found["family"], found["member"], strict=True)) == mixed.rows
    kept = found[found["why"] == ""]
    assert len(kept) >= 2
    assert (kept["clones"] >= 1).all()
    assert (kept["width"] == 24).all()
    np.testing.assert_allclose(kept["clones"], kept["width"] / kept["critical"])
    pd.testing.assert_frame_equal(found, clones(mixed, seed=3))


def test_the_whole_layer_errs_as_the_network_does(mixed: Population) -> None:
    whole = chunk_table(mixed, sizes=[24], chunks=1, error_chunks=1).query("why == ''")
    members = mixed.members.set_index(["family", "member"]).loc[
        list(zip(whole["family"], whole["member"], strict=True))
    ]
    np.testing.assert_allclose(whole["test_error"], members["test_error"], atol=0.01)
    np.testing.assert_allclose(whole["train_error"], members["train_error"], atol=0.01)


def test_a_network_that_is_lost_keeps_its_row_and_says_why(
    mixed: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = mixed.members.copy()
    table.loc[0, "status"] = "diverged"
    monkeypatch.setitem(mixed.__dict__, "members", table)
    found = clones(mixed)
    assert found.loc[0, "why"] == "diverged"
    assert np.isnan(found.loc[0, "clones"])
    assert len(found) == len(mixed.rows)


def test_a_dead_layer_keeps_its_row_and_says_why(mixed: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Population.network

    def dead(self: Population, family: str, member: int, *, step: int | None = None) -> torch.nn.Module:
        model = real(self, family, member, step=step)
        if member == 1:
            for p in model.block1.linear.parameters():  # type: ignore[union-attr]
                p.data.zero_()
        return model

    monkeypatch.setattr(Population, "network", dead)
    found = clones(mixed)
    assert found.loc[found["member"] == 1, "why"].str.contains("24 constant \\(dead\\) units").all()
    assert found.loc[found["member"] == 0, "clones"].notna().any()


def test_what_is_not_read_out_linearly_is_refused(mixed: Population) -> None:
    with pytest.raises(AkpError, match="unknown read-out 'logit'"):
        last_layer(mixed, "control", 0, read_out="logit")
    with pytest.raises(AkpError, match=r"'features' to be an nn.Linear, got Identity"):
        last_layer(mixed, "control", 0, read_out="features")
    with pytest.raises(AkpError, match=r"to be what 'logits' reads, 24 units, got 10"):
        last_layer(mixed, "control", 0, tap="logits")
    with pytest.raises(AkpError, match="unknown split"):
        last_layer(mixed, "control", 0, split="probe")


def test_a_sweep_holds_every_cell_and_its_charts_can_be_drawn(sweep: Sweep) -> None:
    assert len(sweep.networks) == 3 * 2 * 2 * 3
    assert {key for key, _ in sweep.cells()} == {("linear", d, e) for d in (0.01, 0.0) for e in (1, 3)}
    labels = {(d, e): f"{d} {e}" for d in (0.01, 0.0) for e in (1, 3)}
    numbers = say.numbers(sweep).assign(by="both", condition="a")
    assert (numbers["low"] <= numbers["clones"]).all()
    for chart in (
        charts.chunk_curves(charts.mean_curves(sweep.curves, labels), published().drop(columns="excess")),
        charts.counts(numbers),
        charts.law(clones_laws.law_table(sweep, ["linear"], 0.01, 3)),
    ):
        spec = chart.to_dict()
        assert len(spec["description"]) > 40
        svg = vl_convert.vegalite_to_svg(spec)
        assert "NaN" not in svg
        assert "undefined" not in svg


def test_the_ensemble_without_one_is_that_of_the_others(sweep: Sweep, store: Path) -> None:
    population = train(DATA, 16, decay=0.01, members=3, recipe=RECIPE, store=store)
    seen = [last_layer(population, "control", m) for m in range(3)]
    found = ensemble_errors(population).set_index("without")["error"]
    both = seen[0].logits + seen[1].logits
    assert found[2] == pytest.approx(np.mean(both.argmax(axis=1) != seen[0].labels))
    at = sweep.ensembles.query("layer_width == 16 and decay == 0.01 and epoch == 3").set_index("without")[
        "error"
    ]
    pd.testing.assert_series_equal(at, found)


def test_a_wide_network_and_ensembles_are_compared_with_intervals(store: Path) -> None:
    wide = train(DATA, 64, decay=0.01, members=3, recipe=RECIPE, store=store)
    narrow = train(DATA, 16, decay=0.01, members=10, recipe=RECIPE, store=store)
    found = wide_against_ensemble(wide, narrow, matched="width", rng=np.random.default_rng(0))
    assert (found.size, found.ensembles) == (4, 2)
    assert found.low <= found.difference <= found.high
    assert found.parameters == (
        parameters(wide.study.network, DATA),
        4 * parameters(narrow.study.network, DATA),
    )
    same = wide_against_ensemble(wide, wide, matched="width", rng=np.random.default_rng(0))
    assert (same.size, same.better) == (1, "neither")
    assert verdict([same, same]) == "undecided"
    assert verdict([found]) != "reproduced"
    with pytest.raises(AkpError, match="two ensembles of"):
        wide_against_ensemble(wide, narrow, matched="parameters", rng=np.random.default_rng(0))
    with pytest.raises(AkpError, match="'parameters' or 'width'"):
        wide_against_ensemble(wide, narrow, matched="size", rng=np.random.default_rng(0))


def planted(slopes: dict[tuple[float, int], float], noise: float = 0.02) -> Sweep:
    """A sweep in which clones by what chunks tell grow as the width to a known power in each cell."""
    rng, rows = np.random.default_rng(0), []
    for (decay, epoch), slope in slopes.items():
        for width in (64, 128, 256, 512):
            for member in range(5):
                count = 4 * (width / 64) ** slope * np.exp(noise * rng.standard_normal())
                rows.append(
                    {
                        "layer": "linear",
                        "decay": decay,
                        "epoch": epoch,
                        "width": width,
                        "layer_width": width,
                        "member": member,
                        "why": "",
                        "clones": count,
                        "critical": width / count,
                        "by_r_squared": width / count,
                        "by_error": width / count,
                        "half_others": 0.02,
                        "train_error": 0.0 if epoch == 32 else 0.3,
                        "test_error": 0.1,
                    }
                )
    return Sweep(pd.DataFrame(columns=["layer", "decay", "epoch"]), pd.DataFrame(rows), pd.DataFrame())


@pytest.mark.parametrize(
    ("elsewhere", "there", "word"),
    [
        (0.0, 1.0, "reproduced"),
        (1.0, 1.0, "not reproduced"),
        (0.0, 0.3, "not reproduced"),
        (0.4, 1.0, "reproduced"),
    ],
)
def test_the_conditions_are_judged_by_what_was_planted(elsewhere: float, there: float, word: str) -> None:
    slopes = {(0.01, 32): there, (0.01, 2): elsewhere, (0.0, 32): elsewhere, (0.0, 2): elsewhere}
    cells, found = say.conditions(planted(slopes), "linear")
    assert found == word
    assert cells["exponent"].iloc[0] == pytest.approx(there, abs=0.05)


def test_the_conditions_are_undecided_without_a_cell_to_compare() -> None:
    assert say.conditions(planted({(0.01, 32): 1.0}), "linear")[1] == "undecided"
    assert say.conditions(planted({(0.01, 2): 0.0}), "linear")[1] == "undecided"


def test_wandering_images_keep_their_pixels_and_groups() -> None:
    plain = load("digits", side=8)
    moved = wandering(plain, room=2, copies=3, judged=2)
    assert moved.shape == (1, 10, 10)
    assert (len(moved.train), len(moved.test)) == (3 * len(plain.train), 2 * len(plain.test))
    torch.testing.assert_close(
        moved.train.images.sum(dim=(1, 2, 3)), plain.train.images.sum(dim=(1, 2, 3)).repeat_interleave(3)
    )
    assert moved.train.groups.unique().equal(plain.train.groups.unique())
    assert moved.fingerprint == wandering(plain, room=2, copies=3, judged=2).fingerprint
    assert len({tuple(row) for row in moved.train.images[:3].flatten(1).tolist()}) > 1


def test_networks_have_the_last_layer_that_was_asked_for() -> None:
    for kind, width in (("mlp", 24), ("cnn", 24), ("wide_resnet", 32)):
        model = of_width(load("digits", side=8), width, kind=kind).build(
            (1, 8, 8), 10, torch.Generator().manual_seed(0)
        )
        assert model.logits.in_features == width
    with pytest.raises(AkpError, match="multiple of 4"):
        of_width(DATA, 30, kind="cnn")
    with pytest.raises(AkpError, match="unknown last layer"):
        of_width(DATA, 30, layer="relu")
    assert half_octaves(16) == [1, 2, 3, 4, 6, 8, 11, 16]
    assert clone_width([16, 32, 64], 40) == 32
    with pytest.raises(AkpError, match="at which weights are kept, got 3; choose one of 1, 2"):
        width_sweep(DATA, [16], decays=[0.0], early=3, recipe=RECIPE, store="nowhere")


def test_ten_lines_on_plain_arrays() -> None:
    rng = np.random.default_rng(0)
    activations = np.maximum(rng.standard_normal((3000, 6)) @ rng.standard_normal((6, 96)), 0)
    found = lens.chunk_regression(activations, generator=rng)
    critical = lens.critical_width(found.table)
    assert critical.found
    assert set(found.table) <= {*CURVES}
