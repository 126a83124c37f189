"""Happy and unhappy by terciles: spread found where it was put, location kept apart from it."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from akp_core.errors import AkpError
from akp_core.evidence.terciles import terciles

FAMILIES, MEMBERS, DIMENSIONS = 9, 8, 20
ONES = np.ones(FAMILIES)


def networks(errors: np.ndarray) -> pd.DataFrame:
    family, member = np.divmod(np.arange(FAMILIES * MEMBERS), MEMBERS)
    names = [f"family {k}" for k in family]
    return pd.DataFrame({"family": names, "member": member, "test_error": errors})


def drawn(rng: np.random.Generator, *, spread: np.ndarray = ONES, apart: np.ndarray = 0 * ONES) -> np.ndarray:
    own = rng.normal(size=(FAMILIES, MEMBERS, DIMENSIONS)) * spread[:, None, None]
    twins = rng.normal(size=(1, MEMBERS, DIMENSIONS))
    centres = rng.normal(size=(FAMILIES, 1, DIMENSIONS)) * apart[:, None, None]
    return (own + twins + centres).reshape(-1, DIMENSIONS)


BY_FAMILY = np.repeat(np.linspace(0.1, 0.3, FAMILIES), MEMBERS)


def test_spread_that_grows_with_the_error_is_found_in_both_rows() -> None:
    x = drawn(np.random.default_rng(0), spread=np.linspace(1, 3, FAMILIES))
    found = terciles(networks(BY_FAMILY), cdist(x, x))
    assert list(found["verdict"]) == ["AKP", "AKP"]
    assert (found["low"] > 1).all()
    assert list(found["best"]) == list(found["worst"]) == [3 * MEMBERS] * 2
    flipped = terciles(networks(-BY_FAMILY), cdist(x, x))
    assert list(flipped["verdict"]) == ["anti-AKP", "anti-AKP"]
    assert flipped["ratio"].to_numpy() == pytest.approx(1 / found["ratio"].to_numpy())


def test_families_that_lie_apart_count_only_where_any_pair_does() -> None:
    x = drawn(np.random.default_rng(1), apart=np.linspace(0, 3, FAMILIES))
    found = terciles(networks(BY_FAMILY), cdist(x, x)).set_index("pairs")
    assert found.loc["of one family", "verdict"] == "none"
    assert found.loc["of any family", "verdict"] == "AKP"


def test_the_ratio_is_that_of_the_pairs_counted_by_hand() -> None:
    rng = np.random.default_rng(2)
    x, errors = drawn(rng), rng.permutation(FAMILIES * MEMBERS) / 100
    table, apart = networks(errors), None
    apart = cdist(x, x)
    ranked = np.argsort(errors)
    third = FAMILIES * MEMBERS // 3
    spread = []
    for chosen in (ranked[:third], ranked[-third:]):
        pairs = [
            apart[i, j] ** 2
            for i in chosen
            for j in chosen
            if i != j and i // MEMBERS == j // MEMBERS and i % MEMBERS != j % MEMBERS
        ]
        spread.append(np.mean(pairs))
    got = terciles(table, apart).iloc[0]
    assert got["ratio"] == pytest.approx(np.sqrt(spread[1] / spread[0]))


def test_where_nothing_differs_rejections_keep_near_the_level() -> None:
    rng = np.random.default_rng(3)
    p = [
        terciles(networks(rng.permutation(BY_FAMILY)), cdist(x, x))["p_value"]
        for x in (drawn(rng) for _ in range(150))
    ]
    rejected = (np.array(p) < 0.05).mean(axis=0)
    assert (rejected < 0.11).all()


def test_a_lost_network_is_left_out_and_order_does_not_matter() -> None:
    x = drawn(np.random.default_rng(4), spread=np.linspace(1, 2, FAMILIES))
    table, apart = networks(BY_FAMILY), cdist(x, x)
    apart[5], apart[:, 5] = np.nan, np.nan
    found = terciles(table, apart)
    assert found["best"].iloc[0] == 3 * MEMBERS - 1
    order = np.random.default_rng(5).permutation(len(table))
    again = terciles(table.iloc[order].reset_index(drop=True), apart[np.ix_(order, order)])
    pd.testing.assert_frame_equal(found, again)


def test_networks_that_all_err_alike_have_no_thirds() -> None:
    x = drawn(np.random.default_rng(6))
    found = terciles(networks(np.full(FAMILIES * MEMBERS, 0.2)), cdist(x, x))
    assert list(found["verdict"]) == ["not testable"] * 2
    assert list(found["best"]) == [0, 0]
    assert found["best_up_to"].isna().all()


def test_bad_input_is_refused_in_one_line() -> None:
    table, apart = networks(BY_FAMILY), np.zeros((FAMILIES * MEMBERS,) * 2)
    with pytest.raises(AkpError, match="unknown column 'test_eror': did you mean 'test_error'"):
        terciles(table, apart, by="test_eror")
    with pytest.raises(AkpError, match="distances between the 72 networks"):
        terciles(table, apart[:5, :5])
    few = table[table["member"] < 3].reset_index(drop=True)
    with pytest.raises(AkpError, match="at least 4 members, got 3"):
        terciles(few, np.zeros((len(few),) * 2))


def test_thirds_of_several_studies_are_named_and_counted(tmp_path) -> None:
    from akp_core.datasets import load
    from akp_core.evidence.conclusions import of_thirds
    from akp_core.evidence.terciles import over_studies
    from akp_core.networks import Network
    from akp_core.population import Study, run
    from akp_core.recipe import Recipe
    from akp_core.stress import Stress

    stresses = (Stress("activation", "square"), Stress("loss", "hinge"))
    study = Study(load("digits"), stresses, (0.5,), 4, Network("mlp", 8, 1), Recipe(epochs=1, batch=256))
    population = run(study, store=tmp_path, progress=False)
    table = over_studies({("digits", "mlp"): population}, "features", ["error", "gap"])
    assert table["definition"].tolist() == ["error"] * 2 + ["gap"] * 2
    alone = terciles(population.members, population.distances("features").numpy(), by="gap")
    pd.testing.assert_frame_equal(table.iloc[2:][list(alone)].reset_index(drop=True), alone)
    words = of_thirds(table.assign(verdict=["AKP", "none", "AKP", "AKP"]))
    assert (
        words
        == "Of 2 ways to rank, **pairs of one family: 2 × AKP**; **pairs of any family: 1 × none, 1 × AKP**."
    )
    with pytest.raises(AkpError, match="unknown definition of happy 'eror': did you mean 'error'"):
        over_studies({("digits", "mlp"): population}, "features", ["eror"])
