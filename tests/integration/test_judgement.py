"""The judge reads a population as an independent computation would, and says what it may not say."""

from pathlib import Path

import numpy as np
import pytest
import torch

from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.judgement import NO_PREDICTION, NOT_TESTABLE, _spread, beside, judge, placed, survivors
from akp_core.networks import Network
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.similarity import cka
from akp_core.stress import Stress

MEMBERS = 6


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    study = Study(
        load("digits"),
        stresses=(Stress("activation", "square"), Stress("loss", "hinge")),
        onsets=(0.5,),
        members=MEMBERS,
        network=Network(width=4, depth=2),
        recipe=Recipe(epochs=2, batch=128),
    )
    return run(study, store=tmp_path_factory.mktemp("store"), progress=False)


def test_the_ratio_is_that_of_raw_representations(population) -> None:
    """From the rebuilt networks' own activations, with no fingerprint, no store and no dispersion code."""
    from akp_core.networks import representations

    def spread(family: str) -> float:
        seen = [
            representations(population.network(family, m), population.probe_images, ["features"])["features"]
            for m in range(MEMBERS)
        ]
        d2 = [2 - 2 * cka(seen[i], seen[j]) for i in range(MEMBERS) for j in range(i)]
        return float(np.mean(d2) / 2)

    cells = judge(population, permutations=99).set_index(["family", "tap"])
    for family in ("square @ 50%", "loss: hinge @ 50%"):
        expected = np.sqrt(spread(family) / spread("control"))
        assert cells.loc[(family, "features"), "ratio"] == pytest.approx(expected, rel=1e-3)


def test_the_table_is_whole_and_the_same_for_the_same_seed(population) -> None:
    cells = judge(population, permutations=99)
    assert len(cells) == 2 * len(population.study.taps)
    assert cells.drop(columns="q_value").notna().all().all()
    assert (cells["q_value"] >= cells["p_value"] - 1e-12).all()
    assert (cells["low"] <= cells["ratio"]).all()
    assert (cells["ratio"] <= cells["high"]).all()
    assert cells.equals(judge(population, permutations=99))


def test_errors_are_those_of_the_members_table(population) -> None:
    means = population.members.groupby("family")["test_error"].mean()
    cells = judge(population, permutations=99)
    assert np.allclose(cells["error"], means[cells["family"]])
    assert np.allclose(cells["control_error"], means["control"])


def test_every_network_is_placed_once_a_tap_and_its_distance_is_to_its_own_centroid(population) -> None:
    networks = placed(population)
    assert len(networks) == len(population.members) * len(population.study.taps)
    assert networks[["x", "y", "distance"]].notna().all().all()
    prints = population.fingerprints("features").numpy()
    own = prints[MEMBERS : 2 * MEMBERS]
    away = np.linalg.norm(own - own.mean(axis=0), axis=1) * np.sqrt(MEMBERS / (MEMBERS - 1))
    here = networks[(networks["tap"] == "features") & (networks["family"] == "square @ 50%")]
    np.testing.assert_allclose(here["distance"], away, rtol=1e-4)


def test_what_stands_beside_a_dispersion_keeps_its_bound(population) -> None:
    table = beside(population).set_index("family")
    assert list(table.index) == [f.name for f in population.study.families]
    assert (table["disagreement"] <= table["at most"] + 1e-12).all()
    predicted = population.predictions("test").numpy()[:MEMBERS]
    pairs = [(predicted[i] != predicted[j]).mean() for i in range(MEMBERS) for j in range(i)]
    assert table.loc["control", "disagreement"] == pytest.approx(np.mean(pairs))
    assert np.allclose(table["gap"], table["test error"] - table["train error"])


def test_a_study_without_stress_has_nothing_to_judge(tmp_path: Path) -> None:
    bare = Study(
        load("digits"), members=1, network=Network(width=4, depth=2), recipe=Recipe(epochs=1, batch=128)
    )
    with pytest.raises(
        AkpError, match="expected a study with at least one stress to judge, got only the control"
    ):
        judge(run(bare, store=tmp_path, progress=False))


def test_survivors_counts_everyone(population) -> None:
    counts = survivors(population)
    assert (counts[["trained", "collapsed", "diverged"]].sum(axis=1) == MEMBERS).all()
    single = [len(np.unique(p)) == 1 for p in population.predictions("test").numpy()]
    assert counts["one answer only"].sum() == sum(single)
    assert list(counts.index) == [f.name for f in population.study.families]


def cloud(stretch: float, shift: float = 0.0, members: int = 10) -> np.ndarray:
    """Distances of a control cloud and its twins, which are stretched and shifted."""
    rng = np.random.default_rng(0)
    control = rng.standard_normal((members, 20))
    stressed = stretch * rng.standard_normal((members, 20)) + shift
    points = torch.from_numpy(np.concatenate([control, stressed]))
    return torch.cdist(points, points).numpy()


@pytest.mark.parametrize(
    ("stretch", "happier", "verdict"),
    [
        (2.0, "control", "AKP"),
        (0.5, "control", "anti-AKP"),
        (2.0, "stressed", "anti-AKP"),
        (0.5, "stressed", "AKP"),
        (1.0, "control", "none"),
        (2.0, "neither", NO_PREDICTION),
    ],
)
def test_the_verdict_turns_on_who_is_unhappy_and_who_spreads(
    stretch: float, happier: str, verdict: str
) -> None:
    found = _spread(cloud(stretch), happier, 0.05, 999, np.random.default_rng(1))
    assert found["verdict"] == verdict
    assert float(found["low"]) < float(found["ratio"]) < float(found["high"])
    assert float(found["ratio"]) == pytest.approx(stretch, rel=0.25), "always stressed over control"


def test_a_family_that_only_moved_has_not_spread() -> None:
    found = _spread(cloud(1.0, shift=5.0), "control", 0.05, 999, np.random.default_rng(1))
    assert found["verdict"] == "none"
    assert float(found["location_p"]) < 0.01
    assert float(found["location_r2"]) > 0.5


def test_lost_networks_are_counted_and_too_few_left_is_said() -> None:
    distances = cloud(2.0)
    lost = [11, 12]
    distances[lost, :] = distances[:, lost] = np.nan
    found = _spread(distances, "control", 0.05, 999, np.random.default_rng(1))
    assert (found["lost"], found["verdict"]) == (2, "AKP")
    lost = range(11, 18)
    distances[lost, :] = distances[:, lost] = np.nan
    found = _spread(distances, "control", 0.05, 999, np.random.default_rng(1))
    assert (found["lost"], found["verdict"]) == (7, NOT_TESTABLE)


def test_too_few_networks_for_any_verdict_is_said(tmp_path: Path) -> None:
    study = Study(
        load("digits"),
        (Stress("activation", "square"),),
        (0.5,),
        4,
        Network(width=4, depth=2),
        Recipe(epochs=1, batch=128),
    )
    cells = judge(run(study, store=tmp_path, progress=False), permutations=99)
    assert cells["sentence"].str.contains("so few networks give no p below 0.12").all()
