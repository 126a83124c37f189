"""Controls hold on trained networks, and evidence read from a population is that of its networks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.evidence import controls, memorising, separate, together, witnesses
from akp_core.happiness import loss_by_group
from akp_core.judgement import judge
from akp_core.networks import Network, representations
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.similarity import cka
from akp_core.stress import Stress

MEMBERS = 6


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def study() -> Study:
    network, recipe = Network("mlp", 16, 2), Recipe(epochs=2, batch=64)
    stresses = (Stress("activation", "square"), Stress("loss", "hinge"))
    return Study(load("digits"), stresses, (0.25, 0.5), MEMBERS, network, recipe, looks=4)


@pytest.fixture(scope="module")
def population(study, store):
    return run(study, store=store, progress=False)


@pytest.fixture(scope="module")
def judged(population):
    return judge(population, permutations=99)


@pytest.fixture(scope="module")
def sham(study, store):
    return run(controls.exact(study, 0.5), store=store, progress=False)


def test_stresses_that_change_nothing_leave_every_network_its_twin_to_the_last_bit(sham) -> None:
    table = controls.compared(sham)
    assert len(table) == 5
    assert (table[["predictions", "fingerprints", "state"]] == MEMBERS).all().all()
    assert set(table["verdict"]) == {controls.HELD}
    controls.require(table)


def test_the_control_control_a_true_stress_is_seen_and_refused(population) -> None:
    table = controls.compared(population)
    assert set(table["verdict"]) == {controls.BROKEN}
    with pytest.raises(AkpError, match=f"{MEMBERS} of {MEMBERS} networks of 'square @ 25%' that differ"):
        controls.require(table)


def test_one_bit_of_one_weight_breaks_a_control(sham, monkeypatch) -> None:
    leaf = sham.tree.leaves["no-op @ 50%", 3]
    whole = sham.store.state(leaf)
    name = next(name for name in whole.tensors if name.startswith("model/"))
    other = whole.tensors[name].clone()
    other.view(torch.int32).flatten()[0] ^= 1
    touched = replace(whole, tensors=whole.tensors | {name: other})
    original = type(sham.store).state
    monkeypatch.setattr(
        type(sham.store), "state", lambda self, key: touched if key == leaf else original(self, key)
    )
    row = controls.compared(sham).set_index("family").loc["no-op @ 50%"]
    assert (row["state"], row["fingerprints"], row["verdict"]) == (MEMBERS - 1, MEMBERS, controls.BROKEN)


def test_what_is_gathered_is_what_the_networks_hold(population) -> None:
    found = separate.gather(population, "features")
    table = found.table
    looks = sorted(set(population.history["step"]) - {0})
    assert len(table) == MEMBERS * (len(looks) + 4)
    last = table[table["step"] == population.study.steps]
    want = population.members.set_index(["family", "member"])["test_error"]
    for row in last.itertuples():
        assert row.error == pytest.approx(want[row.family, row.member])
    at = [
        table.index[(table["family"] == f) & (table["member"] == m) & (table["step"] == found.steps)][0]
        for f, m in (("control", 1), ("square @ 25%", 4))
    ]
    seen = [
        representations(population.network(f, m), population.probe_images, ["features"])["features"]
        for f, m in (("control", 1), ("square @ 25%", 4))
    ]
    assert found.distances[at[0], at[1]] == pytest.approx(np.sqrt(2 - 2 * cka(*seen)), rel=1e-4)


def test_all_evidence_is_drawn_from_a_population_without_a_missing_word(population, judged) -> None:
    gathered, between = separate.gather(population, "features"), population.distances("features").numpy()
    match = separate.matched(gathered, caliper=0.1, permutations=99)
    assert list(match["family"]) == [f.name for f in population.study.families[1:]]
    assert (match.loc[match["pairs"] >= 4, "p_value"] > 0).all()
    causes = separate.causes(gathered, permutations=99)
    assert causes.clusters == MEMBERS
    pools = together.pooled(population.members, between, judged[judged["tap"] == "features"])
    assert list(pools["stress"]) == ["square", "loss: hinge", "all"]
    assert together.moved(population.members, between, permutations=99).members == 5 * MEMBERS
    ways = together.ways(population.members, between, rotations=99)
    assert ways["verdict"].isin(["one way", "own way", "undecided"]).all()
    with pytest.raises(AkpError, match="at least one stress to set beside the control"):
        separate.gather(separate.control_of(population), "features")


def test_witnesses_say_of_cka_what_the_judge_says(population, judged) -> None:
    reps = witnesses.seen(population, ["control", "square @ 25%"], "features")
    assert len(reps) == 2 * MEMBERS
    (row,) = witnesses.by_measure(reps, {"square @ 25%": "control"}, ["cka"], permutations=99).to_dict(
        "records"
    )
    cells = judged.set_index(["family", "tap"])
    assert row["ratio"] == pytest.approx(cells.loc[("square @ 25%", "features"), "ratio"], rel=1e-3)
    chance = witnesses.chance(population, reps, shuffles=39, rng=np.random.default_rng(0)).iloc[0]
    alike = witnesses.trained_and_untrained(population).set_index("tap").loc["features"]
    assert chance["similarity"] == pytest.approx(alike["trained"], rel=1e-3)
    assert abs(chance["null_mean"]) < 0.05 < chance["similarity"]
    assert alike["difference"] == pytest.approx(alike["trained"] - alike["untrained"])
    stitched = witnesses.stitched(population, ["control"], "block1", pairs=1, images=100)
    assert stitched["penalty"].between(-1, 1).all()
    with pytest.raises(AkpError, match="unknown family 'tanh'"):
        witnesses.seen(population, ["tanh"], "features")


def test_happiness_by_loss_is_that_of_the_members_table(population) -> None:
    losses, members = loss_by_group(population), population.members
    images = len(population.study.data.test)
    for family, sums in losses.items():
        want = members.loc[members["family"] == family, "test_loss"].to_numpy()
        np.testing.assert_allclose(sums.sum(axis=1) / images, want, rtol=1e-5)


@pytest.mark.parametrize(
    ("by", "column", "words"), [("gap", "gap", "Generalisation gap"), ("loss", "test_loss", "Test loss")]
)
def test_the_judge_settles_happiness_as_it_is_told(
    population, judged, by: str, column: str, words: str
) -> None:
    cells = judge(population, by=by, permutations=99)
    means = population.members.groupby("family")[column].mean()
    np.testing.assert_allclose(cells["error"], means[cells["family"]], rtol=1e-5, atol=1e-12)
    assert cells["sentence"].str.contains(words).all()
    assert np.allclose(cells["ratio"], judged["ratio"])


def test_an_unknown_definition_of_happiness_is_said(population) -> None:
    with pytest.raises(AkpError, match="unknown definition of happiness 'gaps': did you mean 'gap'"):
        judge(population, by="gaps")


def test_networks_that_learn_random_labels_by_heart_are_less_alike_as_morcos_et_al_found(
    study, store, sham
) -> None:
    wide = replace(study, network=Network("mlp", 64, 2), taps=("features",))
    heart = run(memorising.memorising(wide, images=64, epochs=40), store=store, progress=False)
    assert (memorising.fitted(heart) > 0.95).all()
    table = memorising.memorisers(heart, permutations=199).set_index("measure")
    assert set(table.loc[["cka", "pwcca"], "verdict"]) == {"as Morcos et al."}
    assert table.loc["cka", "across"] < table.loc["cka", "true"]
    assert table.loc["cka", "random"] < table.loc["cka", "true"]
    with pytest.raises(AkpError, match="the two families of a memorising study, got 6"):
        memorising.memorisers(sham)
