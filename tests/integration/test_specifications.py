"""A trained population under every measure: what is rebuilt, kept and judged agrees with the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.judgement import judge
from akp_core.networks import Network, representations
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.similarity import pairwise
from akp_core.specifications import by_level, happier_by, joint, specifications, ways, within_families
from akp_core.store import Store
from akp_core.stress import Stress, swaps
from akp_core.swaps import courses, of_kind

MEMBERS = 5
TAPS = ("features", "block1")


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    study = Study(
        load("digits"),
        stresses=(*swaps(["square"], ["hinge"]), Stress("learning_rate", dose=1e4)),
        onsets=(0.5,),
        members=MEMBERS,
        network=Network(width=2, depth=2),
        recipe=Recipe(epochs=1, batch=128),
        looks=4,
    )
    return run(study, store=tmp_path_factory.mktemp("store"), progress=False)


@pytest.fixture(scope="module")
def curve(population):
    return specifications(
        {("digits", "cnn"): population},
        measures=["cka", "cka_biased", "procrustes"],
        taps=TAPS,
        definitions=["error", "gap"],
        permutations=99,
    )


def test_distances_are_those_of_the_rebuilt_networks(population) -> None:
    found = within_families(population, taps=["block1"], measures=["procrustes", "cka"])
    seen = [
        representations(population.network("square @ 50%", m), population.probe_images, ["block1"])["block1"]
        for m in range(MEMBERS)
    ]
    for measure, tolerance in (("procrustes", 1e-3), ("cka", 1e-3)):
        expected = np.sqrt(2 - 2 * pairwise(seen, measure=measure).numpy())
        np.testing.assert_allclose(found["block1", measure][1], expected, atol=tolerance)


def test_a_second_call_needs_no_network_and_a_damaged_file_is_made_anew(population, tmp_path: Path) -> None:
    how = {"taps": TAPS, "measures": ["cka", "mutual_neighbours"], "cache": tmp_path / "kept"}
    first = within_families(population, **how)
    happy = happier_by(population, "error", cache=tmp_path / "kept")
    blind = replace(population, store=Store(tmp_path / "empty"))
    again = within_families(blind, **how)
    assert all(np.array_equal(first[k], again[k], equal_nan=True) for k in first)
    assert happier_by(blind, "error", cache=tmp_path / "kept") == happy
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(b"damaged")
    mended = within_families(population, **how)
    assert all(np.array_equal(first[k], mended[k], equal_nan=True) for k in first)
    assert happier_by(population, "error", cache=tmp_path / "kept") == happy


def test_unbiased_cka_at_a_tap_is_what_the_judge_says(population, curve) -> None:
    judged = judge(population, permutations=99).set_index(["family", "tap"])
    own = curve.table[(curve.table["measure"] == "CKA, unbiased") & (curve.table["definition"] == "error")]
    assert len(own) == 3 * len(TAPS)
    for row in own.itertuples():
        cell = judged.loc[(row.family, row.tap)]
        assert row.happier == cell["happier"]
        assert row.verdict == cell["verdict"]
        assert row.ratio == pytest.approx(cell["ratio"], nan_ok=True)
        assert row.p_value == pytest.approx(cell["p_value"], nan_ok=True)


def test_networks_that_are_lost_leave_a_specification_that_is_not_testable(population, curve) -> None:
    lost = population.members.groupby("family")["status"].apply(lambda s: (s != "trained").sum())
    assert MEMBERS - lost["learning rate x 10000 @ 50%"] < 4
    gone = curve.table["stress"] == "learning rate x 10000"
    assert set(curve.table.loc[gone, "verdict"]) == {"not testable"}
    assert curve.table.loc[gone, ["effect", "p_value"]].isna().all().all()
    assert curve.table.loc[~gone, "p_value"].notna().all()


def test_the_curve_is_whole_and_the_same_for_the_same_seed(population, curve) -> None:
    assert len(curve.table) == 3 * 2 * 2 * 3
    assert len(ways(curve)) == 3 * 2 * 2
    levels = by_level(curve, permutations=49)
    assert np.allclose(levels[["AKP", "none", "anti-AKP", "no prediction", "not testable"]].sum(axis=1), 1)
    assert levels.groupby("factor")["specifications"].sum().eq(len(curve.table)).all()
    assert joint(curve, permutations=49).specifications == len(curve.table)
    how = {"measures": ["cka"], "taps": TAPS[:1], "definitions": ["error"], "permutations": 99}
    first, again = (specifications({("digits", "cnn"): population}, **how) for _ in range(2))
    assert first.table.equals(again.table)


def test_a_wrong_request_gets_one_line(population) -> None:
    both = {("digits", "cnn"): population}
    for line, change in (
        ("unknown measure of a specification 'ckaa'", {"measures": ["ckaa"]}),
        ("unknown tap 'block9'", {"taps": ["block9"]}),
        ("unknown definition of happiness 'eror'", {"definitions": ["eror"]}),
        ("at least one tap and one measure", {"measures": []}),
        ("at least one definition", {"definitions": []}),
    ):
        with pytest.raises(AkpError, match=line):
            specifications(both, **({"measures": ["cka"], "taps": ["features"]} | change))
    with pytest.raises(AkpError, match="at least one population"):
        specifications({}, measures=["cka"], taps=["features"])


def test_courses_start_at_the_swap_where_twins_are_one(population) -> None:
    table = courses(population, "activation")
    own = table[(table["role"] == "swapped") & (table["quantity"] == "test error")].sort_values("share")
    control = table[(table["role"] == "control") & (table["quantity"] == "test error")].set_index("share")
    assert own["share"].min() == pytest.approx(0.5, abs=0.1)
    assert own["share"].max() == 1
    start = own.iloc[0]
    assert start["mean"] == pytest.approx(control.loc[start["share"], "mean"])
    last = population.members[population.members["family"] == "square @ 50%"]["test_error"].mean()
    assert own.iloc[-1]["mean"] == pytest.approx(last)
    assert set(of_kind(population, judge(population, permutations=9), "loss")["to"]) == {"hinge"}
    bare = replace(population, study=replace(population.study, stresses=swaps((), ["hinge"])))
    with pytest.raises(AkpError, match="at least one swap of the activation"):
        courses(bare, "activation")
