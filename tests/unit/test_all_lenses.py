"""Relations between lenses, the calls that they make, and where single networks are: planted answers."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist

from akp_core.errors import AkpError
from akp_core.lenses.calls import agreements, calls
from akp_core.lenses.places import from_centroid, own_way_angle
from akp_core.lenses.relations import BETWEEN, WITHIN, relations

STRESSES, ONSETS, MEMBERS = 7, 2, 10


def table(rng: np.random.Generator, **lenses: np.ndarray) -> pd.DataFrame:
    """A control and two families a stress; a lens is an array (families, members)."""
    families = 1 + STRESSES * ONSETS
    family, member = np.divmod(np.arange(families * MEMBERS), MEMBERS)
    stress = np.r_[0, 1 + np.arange(STRESSES).repeat(ONSETS)]
    name = ["control"] + [f"stress {s} @ {o}" for s in range(STRESSES) for o in range(ONSETS)]
    frame = pd.DataFrame({"family": np.array(name)[family], "member": member})
    frame["stress"] = np.array(["control", *(f"stress {s}" for s in range(STRESSES))])[stress[family]]
    for lens, values in lenses.items():
        frame[lens] = values.reshape(-1)
    return frame.sample(frac=1, random_state=int(rng.integers(1000))).reset_index(drop=True)


def noise(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(1 + STRESSES * ONSETS, MEMBERS))


def test_between_and_within_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    level = np.r_[0, np.arange(1, STRESSES + 1).repeat(ONSETS)][:, None] * 5.0
    own = noise(rng)
    networks = table(rng, a=level + noise(rng), b=-level + noise(rng), c=own, d=-own + 0.1 * noise(rng))
    found = relations(networks, ["a", "b", "c", "d"], permutations=999).set_index(
        ["first", "second", "question"]
    )
    assert found.loc[("a", "b", BETWEEN), "verdict"] == "opposed"
    assert found.loc[("a", "b", WITHIN), "verdict"] == "not shown"
    assert found.loc[("c", "d", WITHIN), "verdict"] == "opposed"
    assert found.loc[("c", "d", WITHIN), "high"] < -0.8
    assert found.loc[("a", "c", WITHIN), "verdict"] == "not shown"
    assert found.loc[("a", "b", BETWEEN), "replicates"] == STRESSES + 1
    assert found.loc[("c", "d", WITHIN), "replicates"] == MEMBERS


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(1)
    networks = table(rng, a=noise(rng), b=noise(rng))
    found = relations(networks, ["a", "b"], permutations=99).set_index("question")
    each = [stats.spearmanr(f["a"], f["b"]).statistic for _, f in networks.groupby("family")]
    assert found.loc[WITHIN, "rho"] == pytest.approx(np.mean(each))
    means = networks.groupby("stress")[["a", "b"]].mean()
    assert found.loc[BETWEEN, "rho"] == pytest.approx(stats.spearmanr(means["a"], means["b"]).statistic)


def test_twins_that_resemble_each_other_in_every_family_do_not_fake_a_relation() -> None:
    rng, rejected = np.random.default_rng(2), 0
    for _ in range(100):
        twins = rng.normal(size=(2, 1, MEMBERS)) * 3
        networks = table(rng, a=twins[0] + noise(rng), b=twins[1] + noise(rng))
        found = relations(networks, ["a", "b"], permutations=99).set_index("question")
        rejected += found.loc[WITHIN, "p_value"] <= 0.05
    assert rejected <= 11  # binomial, 100 at 5 %: 11 or more with p = .01


def test_a_lens_that_says_nothing_of_some_networks_is_related_over_the_rest() -> None:
    rng = np.random.default_rng(3)
    networks = table(rng, a=noise(rng), b=noise(rng))
    networks.loc[networks["family"] == "control", "b"] = np.nan
    networks.loc[networks["member"] == 3, "a"] = np.nan
    found = relations(networks, ["a", "b"], permutations=99).set_index("question")
    kept = networks.dropna()
    each = [stats.spearmanr(f["a"], f["b"]).statistic for _, f in kept.groupby("family")]
    assert found.loc[WITHIN, "rho"] == pytest.approx(np.mean(each))
    assert found.loc[WITHIN, "families"] == STRESSES * ONSETS
    assert found.loc[BETWEEN, "replicates"] == STRESSES
    few = networks[networks["stress"].isin(["control", "stress 1", "stress 2"])]
    assert relations(few, ["a", "b"]).set_index("question").loc[BETWEEN, "verdict"] == "not testable"


def test_calls_find_planted_families_and_their_way() -> None:
    rng = np.random.default_rng(4)
    shift = np.zeros((1 + STRESSES * ONSETS, 1))
    shift[1], shift[2] = 6, -6
    networks = table(rng, more=noise(rng) + shift, less=noise(rng) - shift, flat=noise(rng))
    called = calls(networks, {"more": 1, "less": -1, "flat": 1}, permutations=4999)
    at = called.set_index(["family", "lens"])["call"]
    for lens in ("more", "less"):
        assert at["stress 0 @ 0", lens] == "unhappier"
        assert at["stress 0 @ 1", lens] == "happier"
    assert (at.xs("flat", level="lens") == "not told apart").all()
    row = called.set_index(["family", "lens"]).loc[("stress 0 @ 0", "more")]
    assert row["low"] < 6 < row["high"]
    assert row["twins"] == MEMBERS
    pair = agreements(called).set_index(["first", "second"]).loc[("more", "less")]
    assert pair["contradict"] == 0
    assert pair["agree"] >= 13


def test_kappa_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import cohen_kappa_score

    rng = np.random.default_rng(5)
    words = np.array(["unhappier", "happier", "not told apart"])
    a, b = words[rng.integers(0, 3, 30)], words[rng.integers(0, 2, 30)]
    rows = [
        {"family": str(k), "lens": lens, "call": value}
        for lens, values in (("a", a), ("b", b))
        for k, value in enumerate(values)
    ]
    rows += [
        {"family": "x", "lens": lens, "call": word}
        for lens, word in zip("ab", ("not testable", "happier"), strict=True)
    ]
    found = agreements(pd.DataFrame(rows)).iloc[0]
    assert found["kappa"] == pytest.approx(cohen_kappa_score(a, b))
    assert found["families"] == 30
    opposite = int(((a == "unhappier") & (b == "happier") | (a == "happier") & (b == "unhappier")).sum())
    assert found["contradict"] == opposite


def test_too_few_twins_are_not_tested() -> None:
    rng = np.random.default_rng(6)
    networks = table(rng, a=noise(rng))
    networks.loc[(networks["family"] == "stress 1 @ 0") & (networks["member"] > 2), "a"] = np.nan
    row = calls(networks, {"a": 1}, permutations=99).set_index("family").loc["stress 1 @ 0"]
    assert (row["call"], row["twins"]) == ("not testable", 3)


def test_twins_too_few_for_any_p_value_below_the_level_are_not_tested() -> None:
    rng = np.random.default_rng(10)
    networks = table(rng, a=noise(rng))
    networks.loc[networks["family"] != "control", "a"] += 50
    five = networks[networks["member"] < 5]
    called = calls(five, {"a": 1})
    assert set(called["call"]) == {"not testable"}  # of 2^5 ways to flip signs two are as extreme
    assert (called["difference"] > 40).all()
    assert set(calls(five, {"a": 1}, level=0.1)["call"]) == {"unhappier"}
    assert set(calls(networks[networks["member"] < 6], {"a": 1})["call"]) == {"unhappier"}


def test_four_stresses_cannot_be_related_at_five_per_cent() -> None:
    rng = np.random.default_rng(11)
    networks = table(rng, a=noise(rng), b=noise(rng))
    few = networks[networks["stress"].isin(["control", "stress 0", "stress 1", "stress 2"])]
    few = few.assign(b=few["a"])
    found = relations(few, ["a", "b"], permutations=199).set_index("question")
    assert found.loc[BETWEEN, "verdict"] == "not testable"  # of 4! orders two are as extreme
    loose = relations(few, ["a", "b"], permutations=199, level=0.1).set_index("question")
    assert loose.loc[BETWEEN, "verdict"] == "together"


def test_a_stress_of_which_hardly_a_network_is_left_is_no_replicate() -> None:
    rng = np.random.default_rng(12)
    networks = table(rng, a=noise(rng), b=noise(rng))
    hit = networks["stress"] == "stress 3"
    networks.loc[hit & (networks["member"] > 2), "a"] = np.nan
    networks.loc[hit, "b"] = 1e6
    found = relations(networks, ["a", "b"], permutations=99).set_index("question")
    assert found.loc[BETWEEN, "replicates"] == STRESSES
    rest = networks[~hit].groupby("stress")[["a", "b"]].mean()
    assert found.loc[BETWEEN, "rho"] == pytest.approx(stats.spearmanr(rest["a"], rest["b"]).statistic)


def points(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    x = rng.normal(size=(3 * MEMBERS, 6))
    return x, {name: np.arange(MEMBERS) + k * MEMBERS for k, name in enumerate(("control", "a", "b"))}


def test_places_are_those_of_the_points() -> None:
    x, where = points(np.random.default_rng(7))
    squared = cdist(x, x) ** 2
    to_happy, to_own, way = (
        from_centroid(squared, where, "control"),
        from_centroid(squared, where, None),
        own_way_angle(squared, where),
    )
    k = 4
    others = np.delete(np.arange(MEMBERS), k)
    for name in ("control", "a", "b"):
        row = where[name][k]
        assert to_happy[row] == pytest.approx(np.linalg.norm(x[row] - x[where["control"][others]].mean(0)))
        assert to_own[row] == pytest.approx(np.linalg.norm(x[row] - x[where[name][others]].mean(0)))
    v = x[where["a"]] - x[where["control"]]
    mean = v[others].mean(0)
    cosine = v[k] @ mean / np.linalg.norm(v[k]) / np.linalg.norm(mean)
    assert way[where["a"][k]] == pytest.approx(np.degrees(np.arccos(cosine)))
    assert np.isnan(way[where["control"]]).all()


def test_a_lost_network_has_no_place_and_takes_no_others_away() -> None:
    x, where = points(np.random.default_rng(8))
    squared = cdist(x, x) ** 2
    lost = where["a"][2]
    squared[lost], squared[:, lost] = np.nan, np.nan
    for found in (from_centroid(squared, where, "control"), from_centroid(squared, where, None)):
        assert np.flatnonzero(np.isnan(found)).tolist() == [lost]
    way = own_way_angle(squared, where)
    assert np.isnan(way[lost])
    assert not np.isnan(np.delete(way[where["a"]], 2)).any()


def test_bad_input_is_refused_in_one_line() -> None:
    rng = np.random.default_rng(9)
    networks = table(rng, a=noise(rng), b=noise(rng))
    with pytest.raises(AkpError, match="at least two lenses to relate, got a"):
        relations(networks, ["a"])
    with pytest.raises(AkpError, match="unknown lens 'c'"):
        relations(networks, ["a", "c"])
    with pytest.raises(AkpError, match="one row a network"):
        relations(pd.concat([networks, networks]), ["a", "b"])
    with pytest.raises(AkpError, match="1 or -1 as the unhappy way of a, got 2"):
        calls(networks, {"a": 2})
    with pytest.raises(AkpError, match="at least one stressed family"):
        calls(networks[networks["family"] == "control"], {"a": 1})
    with pytest.raises(AkpError, match="at least one lens"):
        calls(networks, {})
    with pytest.raises(AkpError, match="one row a network"):
        calls(pd.concat([networks, networks]), {"a": 1})
    with pytest.raises(AkpError, match="a control family"):
        calls(networks[networks["family"] != "control"], {"a": 1})
