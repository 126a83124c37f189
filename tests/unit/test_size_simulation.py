"""Simulated studies without an effect: what every test does on them, for every measure of similarity."""

from __future__ import annotations

import json

import altair as alt
import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert
from scipy import stats

from akp_core.charts.permdisp import schemes
from akp_core.charts.size import honesty, reach
from akp_core.dispersion import anna_karenina_test, location_test
from akp_core.errors import AkpError
from akp_core.similarity import MEASURES, chordal_distance, pairwise
from akp_core.simulation import readings
from akp_core.simulation.batched import VARIANTS, similarities
from akp_core.simulation.clouds import LAWS, permdisp_sizes
from akp_core.simulation.laws import SETTINGS, TESTS, Setting, Shape, features
from akp_core.simulation.sensitivity import falls, power_curves, size_of_drawn, size_of_few, smallest_ratio
from akp_core.simulation.size import simulate
from akp_core.simulation.verdicts import by_level, coverage, pooled, sizes

STUDIES = {"even": 100, "heavy": 60, "apart": 10, "wider": 10}
KNOWN_EAGER = {"distances", "pairs"}
SHAPE = Shape(members=6, examples=24, width=5, permutations=199, level=0.05, seed=0)


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return simulate(STUDIES, workers=1)


@pytest.fixture(scope="module")
def curves() -> pd.DataFrame:
    return power_curves([1.0, 1.3, 2.0], [5, 50], [4, 6, 10, 20], simulations=400, permutations=199)


def cells(trials: pd.DataFrame, level: float = 0.05) -> pd.DataFrame:
    judged = sizes(trials, level=level)
    return judged[(judged["verdict"] != "an effect is there") & judged["setting"].isin(["even", "heavy"])]


@pytest.mark.parametrize("measure", MEASURES)
def test_the_batched_similarities_are_those_of_pairwise(measure):
    drawn = np.stack([features(SETTINGS["heavy"], SHAPE, study) for study in range(3)])
    expected = [pairwise(list(torch.from_numpy(one)), measure=measure).numpy() for one in drawn]
    assert np.allclose(similarities(drawn, measure), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_variants_are_those_of_pairwise_with_their_options(variant):
    drawn = np.stack([features(SETTINGS["heavy"], SHAPE, study) for study in range(3)])
    options = dict(VARIANTS[variant])
    expected = [pairwise(list(torch.from_numpy(one)), **options).numpy() for one in drawn]
    assert np.allclose(similarities(drawn, variant), expected, rtol=0, atol=1e-12)
    assert not np.allclose(similarities(drawn, "cka"), expected, atol=1e-3)
    found = simulate({"even": 26}, [variant], members=6, permutations=19)
    assert set(found["test"]) == set(TESTS) - {"streamed"}
    assert found["study"].unique().tolist() == list(range(0, 26, 5))


def test_an_unknown_measure_is_named():
    with pytest.raises(AkpError, match="unknown measure 'ckaa': did you mean 'cka'"):
        similarities(np.zeros((1, 2, 24, 5)), "ckaa")


def test_every_test_judges_every_measure_that_it_is_made_for(trials):
    found = set(map(tuple, trials[trials["setting"] == "even"][["measure", "test"]].drop_duplicates().values))
    euclidean = [m for m, measure in MEASURES.items() if measure.distance == "euclidean"]
    for_some = {"own way", "own way twins", "causes"}
    wanted = {(m, t) for m in MEASURES for t in TESTS if t not in for_some or m in euclidean}
    of_fingerprints = {(m, "streamed") for m in MEASURES if m != "cka"}
    assert found == (wanted - of_fingerprints) | {("cka", "two-way")}
    assert (trials.groupby(["setting", "measure"])["study"].nunique().unstack().T == STUDIES).all(axis=None)


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_null_rejections_lie_inside_the_binomial_interval_for_every_test_and_measure(trials, level):
    """The 99.9 % range of a count, for each test and each measure; a high level shows most of few studies."""
    wrong = []
    for cell in cells(trials, level).itertuples():
        low, high = stats.binom.interval(0.999, cell.simulations, level)
        # the jackknife errs on the side of caution: only its upper bound is promised
        cautious = cell.test in ("dispersion", "twins", "unequal", "streamed", "matched")
        if cell.test not in KNOWN_EAGER and not (0 if cautious else low) <= cell.count <= high:
            wrong.append((cell.setting, cell.measure, cell.test, cell.count, cell.simulations))
    assert not wrong


def test_over_all_measures_the_tests_that_we_rely_on_are_not_too_eager(trials):
    found = pooled(trials, together=0.999).set_index(["setting", "test"])
    assert not (found["verdict"].drop(index=KNOWN_EAGER, level="test") == "too eager").any()
    assert (found.loc["even", "verdict"]["pairs"], found.loc["even", "studies"]["matched"]) == (
        "too eager",
        10,
    )
    assert "wider" not in found.index.get_level_values("setting")


def test_the_study_is_the_replicate_of_a_mean_over_measures():
    """Six measures that always agree are no more evidence than one."""
    one = pd.DataFrame({"study": np.arange(100), "p_value": np.where(np.arange(100) < 9, 0.01, 0.5)})
    one = one.assign(setting="even", test="twins", covers=np.nan)
    six = pd.concat([one.assign(measure=name) for name in MEASURES])
    columns = ["share", "low", "high", "studies"]
    assert np.allclose(pooled(one.assign(measure="cka"))[columns], pooled(six)[columns])
    none = pooled(one.assign(measure="cka", p_value=1.0)).loc[0]
    assert (none["low"], none["verdict"]) == (0, "cautious")
    assert np.isclose(none["high"], 1 - 0.025 ** (1 / 100))


def test_published_permdisp_is_too_eager_ours_is_not_and_pairs_are_no_replicates(trials):
    judged = cells(trials).set_index(["setting", "measure", "test"])
    usual, ours = (judged.xs(name, level="test") for name in ("distances", "permdisp"))
    assert usual["share"].mean() > 0.07
    assert 0.03 < ours["share"].mean() < 0.065
    assert (judged.xs("pairs", level="test")["verdict"] == "too eager").all()


def test_the_place_of_a_family_changes_no_digit_of_the_test_and_is_found_by_that_of_location(trials):
    p = trials[trials["test"].isin(["dispersion", "twins"]) & (trials["study"] < STUDIES["apart"])]
    wide = p.pivot(index=["measure", "test", "study"], columns="setting", values="p_value")
    apart = (wide["even"] - wide["apart"]).abs()
    assert (apart < 1e-12).mean() > 0.97
    assert apart.max() <= 2 / 200 + 1e-12  # one permutation that ties but for rounding
    location = trials.query("test == 'location' and setting == 'apart'")
    assert (location["p_value"] <= 0.05).mean() > 0.95


def test_what_is_there_is_found(trials):
    found = sizes(trials).query("setting == 'wider' and test == 'dispersion'")
    assert (found["verdict"] == "an effect is there").all()
    assert (found["share"] > 0.6).all()


def test_the_intervals_hold_the_truth(trials):
    held = coverage(trials, together=0.999)
    assert set(held["test"]) == {"dispersion", "twins", "unequal", "streamed", "two-way"}
    assert "wider" not in set(held["setting"])
    assert not (held["verdict"] == "too short").any()


def test_the_judgement_is_that_of_the_library_on_its_own_similarities():
    """One study by hand, through `pairwise` and `anna_karenina_test` as a reader calls them."""
    shape = Shape(members=8, examples=32, width=6, permutations=199, level=0.05, seed=5)
    seen = torch.from_numpy(features(SETTINGS["even"], shape, 3))
    rng = np.random.default_rng([5, 3, list(MEASURES).index("rsa"), 1])
    distances = chordal_distance(pairwise(list(seen[:16]), measure="rsa"))
    by_hand = anna_karenina_test(distances, torch.arange(16) >= 8, permutations=199, rng=rng).p_value
    found = simulate({"even": 4}, ["rsa"], seed=5).query("test == 'dispersion' and study == 3")
    assert found["p_value"].item() == by_hand


def test_fewer_unhappy_models_and_a_stream_are_judged_by_the_same_test():
    shape = Shape(members=8, examples=32, width=6, permutations=1999, level=0.05, seed=5)
    seen = torch.from_numpy(features(SETTINGS["even"], shape, 0))
    found = simulate({"even": 1}, ["cka"], seed=5, permutations=1999).set_index("test")["p_value"]
    distances = chordal_distance(pairwise(list(seen[:16])))
    for test, models in (("unequal", 12), ("streamed", 16)):
        by_hand = anna_karenina_test(
            distances[:models, :models],
            torch.arange(models) >= 8,
            permutations=1999,
            rng=np.random.default_rng(0),
        ).p_value
        assert abs(found[test] - by_hand) < 10 * np.sqrt(by_hand / 1999) + 0.005


def test_the_same_seed_gives_the_same_table_whatever_the_number_of_workers(trials):
    alone = simulate({"even": 3, "wider": 2}, ["procrustes", "cka"], workers=1)
    again = simulate({"even": 3, "wider": 2}, ["procrustes", "cka"], workers=1)
    pd.testing.assert_frame_equal(alone, again)
    pooled = trials.merge(alone[["setting", "measure", "test", "study"]])
    same = alone.merge(pooled, on=["setting", "measure", "test", "study"], suffixes=("", "_pool"))
    assert len(same) == len(alone)
    np.testing.assert_allclose(same["p_value"], same["p_value_pool"], rtol=0, atol=0)
    elsewhere = simulate({"even": 26, "wider": 2}, ["cka"], workers=2)
    pd.testing.assert_frame_equal(elsewhere, simulate({"even": 26, "wider": 2}, ["cka"], workers=1))
    other = simulate({"even": 3}, ["procrustes"], seed=1)
    mine = alone.query("setting == 'even' and measure == 'procrustes'")
    assert not np.array_equal(other["p_value"], mine["p_value"])


def test_families_follow_one_law_and_twins_share_half():
    shape = Shape(members=200, examples=12, width=3, permutations=99, level=0.05, seed=1)
    x = features(Setting("one signal"), shape, 0)
    happy, unhappy, twins = x[:200], x[200:400], x[400:]
    assert np.isclose(happy.var(), unhappy.var(), rtol=0.1)
    assert np.isclose(happy.var(), twins.var(), rtol=0.1)
    assert abs(np.corrcoef(happy.ravel(), unhappy.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(happy.ravel(), twins.ravel())[0, 1] - np.sqrt(0.5)) < 0.05


def test_the_verdict_is_the_side_on_which_the_interval_lies():
    p = np.full(1000, 0.5)
    tables = []
    for test, count in (("dispersion", 50), ("twins", 10), ("distances", 120)):
        p_values = np.where(np.arange(1000) < count, 0.05, p)
        tables.append(pd.DataFrame({"test": test, "study": np.arange(1000), "p_value": p_values}))
    made = pd.concat(tables).assign(setting="even", measure="cka", covers=np.nan)
    judged = sizes(made).set_index("test")
    assert judged["verdict"].to_dict() == {
        "dispersion": "honest",
        "twins": "cautious",
        "distances": "too eager",
    }
    exact = stats.binomtest(50, 1000).proportion_ci(1 - 0.05 / 3, method="exact")
    assert np.isclose(judged.loc["dispersion", "low"], exact.low)
    assert by_level(made, [0.04, 0.05, 0.5]).query("test == 'twins'")["share"].tolist() == [0, 0.01, 1]


def test_power_rises_with_members_ratio_and_dimension_and_is_the_size_at_ratio_one(curves):
    assert (falls(curves, 400)["deviations"] < 3.5).all()
    wide = curves[curves["ratio"] > 1].pivot(index=["dimension", "members"], columns="ratio", values="power")
    assert (wide[2.0] >= wide[1.3]).all()
    assert (wide.loc[50] >= wide.loc[5]).all(axis=None)
    null = curves[curves["ratio"] == 1]
    assert (null["power"] * 400 <= stats.binom.ppf(0.9995, 400, 0.05)).all()
    assert ((curves["low"] <= curves["power"]) & (curves["power"] <= curves["high"])).all()


def test_twins_gain_power_and_have_a_curve_of_their_own(curves):
    paired = power_curves([1.3], [5], [10, 20], paired=True, correlation=0.9, simulations=400)
    assert (paired["paired"].all(), curves["paired"].any()) == (True, False)
    alone = curves.query("ratio == 1.3 and dimension == 5 and members in (10, 20)")["power"].to_numpy()
    assert (paired["power"].to_numpy() > alone + 0.1).all()
    both = pd.concat([curves, paired.assign(power=[0.5, 0.1])])
    assert falls(both, 400).query("paired")["fall"].item() == pytest.approx(0.4)


def test_few_models_are_tested_cautiously_by_as_much_as_theory_says():
    found = size_of_few([4, 5, 6, 20], simulations=2000, seed=1).set_index(["members", "paired"])
    attainable = found["attainable"].to_dict()
    assert attainable[5, True] == attainable[4, True] == 0
    assert attainable[6, True] == pytest.approx(2 / 64)
    assert attainable[6, False] == pytest.approx(46 / 924)
    assert attainable[4, False] == pytest.approx(2 / 70)
    assert (found["low"] <= found["attainable"]).all()
    expected = 2 * stats.norm.sf(stats.norm.isf(23 / 924) * np.sqrt(5 / 4))
    assert found.loc[(6, False), "expected"] == pytest.approx(expected)
    assert abs(found.loc[(6, False), "size"] - expected) < 0.012
    assert found.loc[(6, False), "high"] < 0.05
    assert found.loc[(20, False), "size"] > 0.035


def test_drawn_permutations_have_the_size_of_a_test_that_draws_them():
    """Of very many it is the level; of the 64 swaps of six twins it is less, as location itself shows."""
    assert size_of_drawn(2**40, 2**20, permutations=199, level=0.05) == pytest.approx(0.05, abs=1e-6)
    expected = size_of_drawn(2**6, 2, permutations=39, level=0.05)
    assert 0.03 < expected < 0.04
    rng, rejected, pairs = np.random.default_rng(2), 0, np.tile(np.arange(6), 2)
    for _ in range(2000):
        d = np.abs(np.subtract.outer(*2 * [rng.standard_normal(12)]))
        found = location_test(d, np.arange(12) >= 6, paired=pairs, permutations=39, rng=rng)
        rejected += found.p_value <= 0.05
    low, high = stats.binom.interval(0.999, 2000, expected)
    assert low <= rejected <= high
    assert rejected < stats.binom.ppf(0.001, 2000, 0.05)


def test_contributions_keep_the_level_where_distances_do_not():
    found = permdisp_sizes(["many", "wild"], [(6, 6), (6, 14)], simulations=200, together=0.999)
    shares = found.pivot(index=["law", "happy", "unhappy"], columns="permute", values="share")
    verdicts = found.pivot(index=["law", "happy", "unhappy"], columns="permute", values="verdict")
    assert (verdicts["contributions"] == "honest").all()
    assert verdicts.loc[("many", 6, 14), "distances"] == "too eager"
    assert shares.loc[("many", 6, 14), "distances"] > 0.35
    again = permdisp_sizes(["wild"], [(6, 6)], simulations=200, together=0.999)
    assert again["count"].tolist() == found.query("law == 'wild' and unhappy == 6")["count"].tolist()


def test_tables_say_what_was_found(trials):
    judged, over = sizes(trials), pooled(trials)
    table = readings.overview(judged, over).set_index("test")
    assert table.index.tolist() == list(TESTS.values())
    false = judged[judged["verdict"] != "an effect is there"]
    assert table[["honest", "cautious", "too eager"]].to_numpy().sum() == len(false)
    row = over.query("setting == 'heavy' and test == 'pairs'").iloc[0]
    cell = f"{row.share:.1%} ({row.low:.1%} to {row.high:.1%}; {STUDIES['heavy']})"
    assert table.loc["t test over pairs", "a few wild models"] == cell
    held = readings.intervals(coverage(trials))
    assert set(held["studies"]) == {"even noise", "a few wild models"}
    assert held["interval"].nunique() == 5
    few = readings.small_families(size_of_few([6], simulations=20))
    assert few["networks"].tolist() == ["6 + 6", "6 pairs"]
    assert few["attainable"].tolist() == ["5.0%", "3.1%"]
    clouds = readings.schemes(permdisp_sizes(["wild", "shell"], [(4, 6)], simulations=5))
    assert clouds["both families"].tolist() == [LAWS["wild"].title, LAWS["shell"].title]
    assert clouds.columns.tolist()[2:] == ["contributions permuted", "distances permuted"]


def test_a_fall_is_told_with_its_size():
    curve = pd.DataFrame(
        {"paired": False, "ratio": 2.0, "dimension": 5, "members": [4, 6, 8], "power": [0.5, 0.4, 0.6]}
    )
    found = falls(curve, 100)
    assert found["members"].tolist() == [6]
    assert np.isclose(found["deviations"].item(), 0.1 / np.sqrt(2 * 0.45 * 0.55 / 100))
    assert falls(curve.assign(power=[0.1, 0.1, 0.2]), 100).empty


def test_the_smallest_ratio_has_the_wanted_power_and_a_smaller_one_has_not():
    how = {"dimension": 10, "simulations": 300, "permutations": 199}
    found = smallest_ratio(10, rng=np.random.default_rng(0), **how)
    assert 0.8 <= found.power < 0.9
    assert 1.2 < found.ratio < 2
    few = smallest_ratio(5, rng=np.random.default_rng(0), **how)
    assert few.ratio > found.ratio


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate({"evn": 10}), "unknown setting 'evn': did you mean 'even'"),
        (lambda: simulate({"even": 10}, ["cca"]), "unknown measure 'cca'"),
        (lambda: size_of_drawn(0, 2, permutations=9, level=0.1), "distinct as a whole number of at least 1"),
        (lambda: size_of_drawn(8, 2, permutations=9, level=1), "level as a probability"),
        (lambda: simulate({"even": 0}), "studies in setting 'even' as a whole number of at least 1"),
        (lambda: simulate({"even": 5}, members=5), "members as a whole number of at least 6"),
        (lambda: simulate({"even": 5}, width=9), "width as a whole number from 3 to 8"),
        (lambda: simulate({"even": 5}, ["cka"], level=2.0), "level as a probability"),
        (lambda: sizes(pd.DataFrame(), level=1.5), "level as a probability"),
        (lambda: by_level(pd.DataFrame(), [0.0]), "levels as probabilities"),
        (lambda: power_curves([2, 1], [5], [4]), "ratios in rising order"),
        (lambda: size_of_few([]), "at least one number of members, got none"),
        (lambda: size_of_few([3]), "members as a whole number of at least 4"),
        (lambda: permdisp_sizes(["wld"]), "unknown law 'wld': did you mean 'wild'"),
        (lambda: permdisp_sizes([]), "at least one law and one pair of families, got 0 and 3"),
        (lambda: permdisp_sizes(["wild"], [(3, 6)], simulations=1), "at least 4 models .* got 3"),
        (lambda: permdisp_sizes(simulations=0), "simulations as a whole number"),
        (lambda: smallest_ratio(5, dimension=5, power=1.0, rng=np.random.default_rng()), "power as a number"),
        (lambda: smallest_ratio(5, dimension=5, rng=0), "rng as a numpy.random.Generator"),
    ],
)
def test_bad_input_is_told_in_one_line(call, message):
    with pytest.raises(AkpError, match=message) as told:
        call()
    assert "\n" not in str(told.value)


def test_too_few_members_for_any_ratio_are_told():
    """Four and four models give no p below 2/70."""
    how = {"dimension": 5, "level": 0.01, "simulations": 50, "permutations": 99}
    with pytest.raises(AkpError, match=r"at a ratio of at most 16, got .* with 4 members in 5"):
        smallest_ratio(4, rng=np.random.default_rng(0), **how)


def test_the_chart_of_power_tells_twins_from_other_networks(curves):
    both = reach(pd.concat([curves, curves.assign(paired=True)]), aim=0.8).to_dict()
    radio = next(param for param in both["params"] if param["name"] == "paired")
    assert radio["bind"]["labels"] == ["other networks", "twins"]
    assert "datum.paired === paired" in str(both)


def test_a_chart_of_thousands_of_shares_holds_each_as_a_few_characters(trials):
    """Names in every row made half a megabyte of the page."""
    levels = by_level(trials, np.round(np.arange(1, 21) / 100, 2).tolist())
    drawn = honesty(sizes(trials), levels, level=0.05).to_dict()
    assert len(json.dumps(drawn)) < 8 * len(levels)
    svg = vl_convert.vegalite_to_svg(drawn)
    assert svg.count("too eager") > 0
    assert all(f">{test}</text>" in svg for test in ("dispersion", "pairs"))


def test_the_charts_say_what_they_show_and_can_be_chosen_from(trials, curves):
    for chart in (honesty(sizes(trials), by_level(trials, [0.05, 0.1]), level=0.05), reach(curves, aim=0.8)):
        spec = chart.to_dict()
        alt.Chart.from_dict(spec)
        assert spec["description"].startswith("Interactive chart.")
        assert all("bind" in param for param in spec["params"])
    clouds = permdisp_sizes(["wild", "shell"], [(4, 4), (4, 6)], simulations=5)
    told = schemes(clouds, level=0.05).to_dict()
    assert told["params"][0]["bind"]["options"] == ["4 + 4", "4 + 6"]
    assert told["description"].startswith("Interactive chart. For 2 laws")
    with pytest.raises(AkpError, match="at least one law"):
        schemes(clouds.head(0), level=0.05)
    with pytest.raises(AkpError, match="unknown test 'nobody'"):
        honesty(sizes(trials), by_level(trials, [0.05]).assign(test="nobody"), level=0.05)
    with pytest.raises(AkpError, match="missing: verdict"):
        honesty(sizes(trials).drop(columns="verdict"), by_level(trials, [0.05]), level=0.05)
    with pytest.raises(AkpError, match="at least one point"):
        reach(curves.head(0), aim=0.8)
