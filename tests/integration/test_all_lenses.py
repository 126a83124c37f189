"""Every lens on one small population: one row a network, lost ones too, and words that follow the tables."""

import pandas as pd
import pytest

from akp_core.charts.lenses import lens_explorer
from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.lenses import synthesis
from akp_core.lenses.calls import calls
from akp_core.lenses.members import LENSES, member_table
from akp_core.lenses.relations import BETWEEN, relations
from akp_core.networks import Network
from akp_core.population import Study, run
from akp_core.recipe import Recipe
from akp_core.stress import Stress

MEMBERS = 4


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    study = Study(
        load("digits"),
        (Stress("activation", "square"), Stress("learning_rate", dose=1e4), Stress("loss", "hinge")),
        (0.5,),
        MEMBERS,
        Network(width=4, depth=2),
        Recipe(epochs=2, batch=128),
        looks=8,
    )
    return run(study, store=tmp_path_factory.mktemp("store"), progress=False)


@pytest.fixture(scope="module")
def networks(population) -> pd.DataFrame:
    return member_table(population, images=24)


def test_one_row_a_network_and_the_lost_keep_theirs(population, networks) -> None:
    assert list(zip(networks["family"], networks["member"], strict=True)) == population.rows
    lost = networks["status"] != "trained"
    assert 0 < lost.sum() <= MEMBERS
    assert networks["error"].notna().all()
    inside = ["from_happy", "from_own", "relative_stability", "clones"]
    assert networks.loc[lost, inside].isna().all().all()
    assert (networks.loc[lost, "why"] != "").all()
    stressed = ~lost & (networks["family"] != "control")
    assert networks.loc[stressed, [*inside, "order_deviation", "disagreement"]].notna().all().all()
    assert networks.loc[networks["family"] == "control", "own_way"].isna().all()
    assert networks.loc[stressed, "own_way"].between(0, 180).all()
    assert (networks.loc[~lost, "clones"] >= 1).all()
    assert (networks["from_happy"].dropna() == networks["from_happy@features"].dropna()).all()


def test_rows_are_what_the_population_says(population, networks) -> None:
    row = networks.set_index(["family", "member"]).loc[("square @ 50%", 1)]
    member = population.members.set_index(["family", "member"]).loc[("square @ 50%", 1)]
    assert (row["error"], row["gap"]) == (member["test_error"], member["gap"])
    answers = population.predictions("test").numpy()
    at = population.rows.index(("square @ 50%", 1))
    others = [population.rows.index(("control", m)) for m in range(MEMBERS) if m != 1]
    assert row["disagreement"] == pytest.approx((answers[at] != answers[others]).mean())


def test_words_and_cards_follow_the_tables(networks) -> None:
    labels = {name: lens.label for name, lens in LENSES.items()}
    kept = synthesis.telling(networks, LENSES)
    assert "diverged or collapsed; they keep their row" in synthesis.of_gaps(networks, LENSES)
    unhappy = {name: LENSES[name].unhappy for name in kept if LENSES[name].of_control}
    called = calls(networks, unhappy, permutations=99)
    found = relations(networks, kept, permutations=99)
    assert found.loc[found["question"] == BETWEEN, "replicates"].max() <= 4
    assert set(called["call"]) == {"not testable"}  # four twins give no p-value below 0.05
    cards = synthesis.cards(called, found, LENSES, members=MEMBERS)
    assert {"statement", "verdict", "tone", "effect"} <= set(cards[0])
    assert "no pair can be tested" in synthesis.of_relations(found, LENSES)
    chart = lens_explorer(networks, called, {name: labels[name] for name in kept}).to_dict()
    assert "Two linked charts of 16 networks" in chart["description"]


def test_an_unknown_tap_is_refused(population) -> None:
    with pytest.raises(AkpError, match="unknown tap 'block9'"):
        member_table(population, tap="block9")
