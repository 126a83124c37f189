"""What is planted in a population is found, whoever comes with it; and sentences follow the numbers."""

import numpy as np
import pandas as pd
import pytest
import torch

from akp_core.charts.principle import effects, measures
from akp_core.dispersion.false_discoveries import q_values
from akp_core.errors import AkpError
from akp_core.evidence import cards, conclusions
from akp_core.evidence.separate import NOT_COMPARABLE, Gathered, causes, matched
from akp_core.evidence.together import mixed_ways, moved, pooled, ways
from akp_core.evidence.witnesses import by_measure, opposed
from akp_core.happiness import compare
from akp_core.trend import Trend

MEMBERS, WIDTH = 10, 24


def distances(points: np.ndarray) -> np.ndarray:
    """Chordal distances of the points' directions."""
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    apart = np.sqrt(np.clip(2 - 2 * unit @ unit.T, 0, None))
    np.fill_diagonal(apart, 0)
    return apart


def gathered(by_error: float, by_stress: float, *, seed: int = 0, error: float = 0.1) -> Gathered:
    """Control looks whose error falls, and stressed networks that err more; both planted in spread."""
    rng, rows, points = np.random.default_rng(seed), [], []
    centre = 10 * np.eye(1, WIDTH)[0]
    for step in (10, 20, 30, 40, 50, 60, 70, 80):
        for member in range(MEMBERS):
            e = 0.4 - 0.3 * step / 80 + 0.03 * rng.standard_normal()
            points.append(centre + np.exp(by_error * e) * rng.standard_normal(WIDTH) * 0.2)
            rows.append(("control", "control", member, step, e, False))
    for stress in ("tanh", "sine"):
        for member in range(MEMBERS):
            e = 0.1 + error + 0.03 * rng.standard_normal()
            spread = np.exp(by_error * e + by_stress) * 0.2
            points.append(centre + spread * rng.standard_normal(WIDTH))
            rows.append((f"{stress} @ 25%", stress, member, 80, e, True))
    table = pd.DataFrame(rows, columns=["family", "stress", "member", "step", "error", "stressed"])
    return Gathered(table, distances(np.array(points)), 80)


def test_matched_in_error_a_spread_that_error_makes_vanishes_and_one_that_stress_makes_stays() -> None:
    only_error = matched(gathered(5.0, 0.0), caliper=0.03, permutations=499)
    assert set(only_error["verdict"]) == {"none"}
    assert only_error["ratio"].between(0.6, 1.6).all()
    stress = matched(gathered(0.0, 1.0), caliper=0.03, permutations=499)
    assert set(stress["verdict"]) == {"stress spreads"}
    assert set(matched(gathered(0.0, -1.0), caliper=0.03, permutations=499)["verdict"]) == {"stress gathers"}
    assert (stress["after"].abs() <= 0.03).all()
    assert (stress["low"] < stress["ratio"]).all()
    assert (stress["ratio"] < stress["high"]).all()


def test_families_that_err_like_no_control_are_not_compared_and_say_why() -> None:
    far = matched(gathered(0.0, 1.0, error=0.8), caliper=0.01, permutations=99)
    assert set(far["verdict"]) == {NOT_COMPARABLE}
    assert far["reason"].str.contains("in error").all()
    assert "None of 2 families could be matched" in conclusions.of_matching(far)


def test_the_three_causes_find_the_planted_one() -> None:
    found = causes(gathered(0.0, 1.0), permutations=499)
    assert found.stressed.p_value < 0.05 < found.less_accurate.p_value
    assert found.clusters == MEMBERS
    assert "being stressed goes with more dispersion" in conclusions.of_causes(found)
    assert cards.at_equal_error(found)["verdict"] == "spreads"
    found = causes(gathered(6.0, 0.0, seed=1), permutations=499)
    assert cards.at_equal_error(found)["verdict"] == "none"
    assert found.less_accurate.coefficient > 0


def test_too_few_members_for_a_regression_is_said_and_not_raised() -> None:
    whole = gathered(0.0, 1.0)
    few = np.flatnonzero(whole.table["member"] < 4)
    part = Gathered(whole.table.iloc[few].reset_index(drop=True), whole.distances[np.ix_(few, few)], 80)
    found = causes(part, permutations=99)
    assert isinstance(found, str)
    assert "at least 6 independent members" in conclusions.of_causes(found)
    assert cards.at_equal_error(found)["verdict"] == "not testable"
    assert conclusions.cause_rows(found).empty


def population(spreads: dict[str, float], *, shift: float = 0.0, seed: int = 0, members: int = MEMBERS):
    """Networks and distances of families of planted spread, each shifted its own way."""
    rng = np.random.default_rng(seed)
    centre, twins = 10 * np.eye(1, WIDTH)[0], rng.standard_normal((members, WIDTH))
    points, rows = [], []
    for k, (name, spread) in enumerate({"control": 1.0, **spreads}.items()):
        away = shift * (k > 0) * np.eye(WIDTH)[1 + k]
        cloud = twins if k == 0 else 0.8 * twins + 0.6 * rng.standard_normal((members, WIDTH))
        points.append(centre + away + 0.3 * spread * cloud)
        rows += [(name, m) for m in range(members)]
    return pd.DataFrame(rows, columns=["family", "member"]), distances(np.concatenate(points))


def cells(families: dict[str, str], happier: str = "control") -> pd.DataFrame:
    rows = [(f, s, happier, "no prediction" if happier == "neither" else "none") for f, s in families.items()]
    return pd.DataFrame(rows, columns=["family", "stress", "happier", "verdict"])


TWO = {"a @ 25%": "a", "a @ 75%": "a", "b @ 25%": "b"}


@pytest.mark.parametrize(
    ("spread", "happier", "verdict"),
    [
        (2.0, "control", "AKP"),
        (0.5, "control", "anti-AKP"),
        (2.0, "stressed", "anti-AKP"),
        (0.5, "stressed", "AKP"),
        (2.0, "neither", "no prediction"),
    ],
)
def test_the_pooled_verdict_turns_on_who_is_unhappy_and_who_spreads(spread, happier, verdict) -> None:
    people = population(dict.fromkeys(TWO, spread))
    found = pooled(*people, cells(TWO, happier)).set_index("stress")
    assert list(found.index) == ["a", "b", "all"]
    assert set(found["verdict"]) == {verdict}
    card = cards.dispersion(found.reset_index(), MEMBERS)
    assert card["verdict"] == verdict
    if happier != "neither":
        assert list(found["families"]) == [2, 1, 3]
        unhappy = spread if happier == "control" else 1 / spread
        assert found.loc["all", "ratio"] == pytest.approx(unhappy, rel=0.35)
        assert found.loc["all", "low"] < found.loc["all", "ratio"] < found.loc["all", "high"]
        assert card["low"] < card["value"] < card["high"]
    else:
        assert "value" not in card


def test_the_pooled_test_of_nothing_rejects_no_more_often_than_its_level_allows() -> None:
    """Families that share twins are no independent replicates, and the test knows."""
    hits = 0
    for seed in range(200):
        found = pooled(*population(dict.fromkeys(TWO, 1.0), seed=seed), cells(TWO))
        hits += found.set_index("stress").loc["all", "p_value"] < 0.05
    assert hits <= 21  # the 99.9 % binomial bound on 5 % of 200


def test_families_that_moved_are_found_together_and_none_where_nobody_moved() -> None:
    people = population(dict.fromkeys(TWO, 1.0), shift=3.0)
    found = moved(*people, permutations=199)
    assert not isinstance(found, str)
    assert found.p_value < 0.05
    table = pd.DataFrame({"location_p": [0.01, 0.04, np.nan]})
    assert cards.location(table, found)["verdict"] == "moves"
    assert q_values(table["location_p"]).tolist()[:2] == pytest.approx([0.02, 0.04])
    still = population(dict.fromkeys(TWO, 1.0), shift=0.0, seed=3)
    calm = moved(*still, permutations=199)
    assert not isinstance(calm, str)
    assert calm.omega_squared < 0.1


def test_where_no_member_is_left_in_every_family_the_card_says_so() -> None:
    networks, distances = population(dict.fromkeys(TWO, 1.0), shift=3.0)
    distances = distances.copy()
    for name, gone in zip(("a @ 25%", "b @ 25%"), (slice(None, 5), slice(5, None)), strict=True):
        lost = networks.index[networks["family"] == name][gone]
        distances[lost] = distances[:, lost] = np.nan
    found = moved(networks, distances, permutations=99)
    assert isinstance(found, str)
    card = cards.location(pd.DataFrame({"location_p": [0.01, np.nan]}), found)
    assert (card["verdict"], card["tone"], "1 of 1" in str(card["effect"])) == ("not testable", "open", True)


def test_families_that_were_lost_are_not_said_to_predict_nothing() -> None:
    people = population(dict.fromkeys(TWO, 1.0))
    lost = cells(TWO).assign(verdict="not testable", happier="control")
    assert set(pooled(*people, lost)["verdict"]) == {"not testable"}
    assert set(pooled(*people, lost.assign(happier="neither"))["verdict"]) == {"no prediction"}
    with pytest.raises(AkpError, match="level"):
        pooled(*people, lost, level=3)


def test_one_way_under_one_stress_and_own_ways_under_mixed_ones_are_told_apart() -> None:
    people = population(dict.fromkeys(("a", "b", "c", "d", "e"), 1.0), shift=6.0)
    alone = ways(*people, rotations=199)
    assert set(alone["verdict"]) == {"one way"}
    mixed = mixed_ways(*people, list("abcde"), rotations=199)
    assert len(mixed) == 5
    assert (mixed["index"] > alone["index"].max()).all()
    assert "5 one way" in conclusions.of_ways(alone, mixed)
    with pytest.raises(AkpError, match="at least two families to mix, got 1"):
        mixed_ways(*people, ["a"])


def clouds(spread: float, seed: int = 0) -> dict[tuple[str, int], torch.Tensor]:
    """Representations of 60 images: one signal, and noise of which the stressed family has more."""
    generator = torch.Generator().manual_seed(seed)
    signal = torch.randn(60, 6, generator=generator)
    noise = {"control": 1.0, "tanh": spread}
    return {
        (f, m): signal + 0.5 * noise[f] * torch.randn(60, 6, generator=generator)
        for f in noise
        for m in range(8)
    }


def test_all_measures_see_a_planted_spread_and_say_who_is_unhappy() -> None:
    names = ["cka", "procrustes", "mutual_neighbours", "pwcca", "svcca"]
    table = by_measure(clouds(2.5), {"tanh": "control"}, names, permutations=199)
    assert list(table["measure"]) == names
    assert set(table["found"]) == {"spread"}
    assert set(table["verdict"]) == {"AKP"}
    assert set(by_measure(clouds(2.5), {"tanh": "stressed"}, ["cka"])["verdict"]) == {"anti-AKP"}
    assert set(by_measure(clouds(2.5), {"tanh": "neither"}, ["cka"])["verdict"]) == {"no prediction"}
    assert "They agree on every family" in conclusions.of_measures(table)
    table.loc[1, "found"] = "gathered"
    assert opposed(table) == ["tanh"]
    assert "contradict" in conclusions.of_measures(table)
    few = {k: v for k, v in clouds(2.5).items() if k[0] == "control" or k[1] < 3}
    assert set(by_measure(few, {"tanh": "control"}, ["cka"])["verdict"]) == {"not testable"}
    with pytest.raises(AkpError, match="did you mean 'pwcca'"):
        by_measure(clouds(1.0), {"tanh": "control"}, ["pwca"])
    with pytest.raises(AkpError, match="the control among the networks seen"):
        by_measure({("tanh", 0): torch.randn(9, 2)}, {"tanh": "control"}, ["cka"])


def test_the_gap_takes_the_training_error_away_with_its_own_patients_drawn() -> None:
    rng = np.random.default_rng(0)

    def counts(rate: float) -> np.ndarray:
        return rng.binomial(10, rate, size=(10, 40)).astype(float)

    images = np.full(40, 10.0)
    control, stressed, fit, fit_stressed = counts(0.2), counts(0.4), counts(0.1), counts(0.3)
    by_error = compare(stressed, control, images, rng=np.random.default_rng(1))
    less = (fit_stressed, fit, images)
    by_gap = compare(stressed, control, images, less=less, rng=np.random.default_rng(1))
    assert by_error.happier == "control"
    assert by_gap.happier == "neither"
    assert by_gap.control == pytest.approx(control.sum() / 4000 - fit.sum() / 4000)
    assert by_gap.difference == pytest.approx(by_gap.stressed - by_gap.control)
    assert np.ptp(by_gap.interval) > np.ptp(by_error.interval)
    overfit = compare(counts(0.4), control, images, less=(counts(0.1), fit, images), rng=rng)
    assert overfit.happier == "control"


def test_the_card_of_likeness_needs_chance_and_the_untrained_to_be_beaten() -> None:
    def card(low: float, less: float, more: float) -> dict[str, object]:
        row = {"untrained": 0.5, "trained": 0.8, "low": low, "high": 0.9}
        row |= {"difference": 0.3, "difference_low": less, "difference_high": more}
        return cards.likeness(pd.Series(row), pd.Series({"null_high": 0.1}), 10)

    assert (card(0.7, 0.1, 0.5)["verdict"], card(0.7, 0.1, 0.5)["tone"]) == (
        "similar, and learnt to be",
        "yes",
    )
    assert card(0.7, -0.1, 0.5)["tone"] == "open"
    assert card(0.7, -0.5, -0.1)["tone"] == "no"
    chance = card(0.05, 0.1, 0.5)
    assert (chance["verdict"], chance["tone"]) == ("not beyond chance", "open")
    row = {"untrained": 0.5, "trained": 0.05, "low": 0.02, "high": 0.08}
    row |= {"difference": 0.3, "difference_low": 0.1, "difference_high": 0.5}
    assert cards.likeness(pd.Series(row), pd.Series({"null_high": 0.1}), 10)["tone"] == "no"


def test_other_cards_and_sentences_follow_their_numbers() -> None:
    held = pd.DataFrame(
        [("no-op", 10, 10, 10, 10, "held")],
        columns=["family", "networks", "predictions", "fingerprints", "state", "verdict"],
    )
    assert (cards.exactness(held)["tone"], cards.exactness(held)["value"]) == ("yes", 10)
    broken = held.assign(state=4, verdict="broken")
    assert (cards.exactness(broken)["tone"], cards.exactness(broken)["value"]) == ("no", 4)
    nothing = Trend("features", np.nan, (np.nan, np.nan), np.nan, 2, "not testable")
    assert "value" not in cards.ordering(nothing)
    assert cards.ordering(Trend("features", 0.9, (0.5, 0.98), 0.01, 7, "AKP"))["tone"] == "yes"
    known = pd.DataFrame({"location_r2": [0.1, 0.5], "ratio": [0.9, 2.0]})
    said = conclusions.of_jolt(known, pd.DataFrame({"location_r2": [0.2], "ratio": [1.5]}))
    assert "1 of 2 families have a larger R²" in said
    assert "1 changed their dispersion by more" in said
    one = {"verdict": "stress spreads", "p_value": 0.04}
    alike = pd.DataFrame([one] + [{"verdict": "none", "p_value": 0.5}] * 4)
    assert "chance may have done it" in conclusions.of_matching(alike)
    assert "1 is left" in conclusions.of_matching(alike.assign(p_value=[0.001, *[0.5] * 4]))
    unmixed = pd.DataFrame({"index": [np.nan], "verdict": ["not testable"]})
    assert "nan" not in conclusions.of_ways(pd.DataFrame({"verdict": ["not testable"]}), unmixed)
    table = pd.DataFrame(
        {"tap": ["features"] * 2, "measure": ["cka", "pwcca"], "verdict": ["as Morcos et al."] * 2}
    )
    assert "**found again**" in conclusions.of_memorising(table, 0.99, "features")
    assert "only 50%" in conclusions.of_memorising(table, 0.5, "features")
    opposite = table.assign(verdict=["as Morcos et al.", "opposite"])
    assert "not found again here" in conclusions.of_memorising(opposite, 0.99, "features")


def test_charts_draw_what_is_finite_and_say_when_nothing_is() -> None:
    table = pd.DataFrame(
        {
            "label": ["a", "b", "c"],
            "value": [2.0, np.inf, np.nan],
            "low": [1.0, 1, np.nan],
            "high": [3.0, 2, np.nan],
            "tap": "features",
        }
    )
    spec = effects(table, title="ratio", menu="tap").to_dict()
    tables = [data for data in spec["datasets"].values() if isinstance(data, str)]
    assert [line.split(",")[0] for line in tables[0].splitlines()] == ["label", "a"]
    assert spec["params"][0]["bind"]["options"] == ["features"]
    empty = effects(table[table["label"] == "c"], title="ratio").to_dict()
    assert "no ratio to draw" in empty["description"]
    with pytest.raises(AkpError, match="missing: kind"):
        effects(table, title="ratio", by="kind")
    grid = by_measure(clouds(1.0), {"tanh": "control"}, ["cka", "pwcca"], permutations=99)
    assert "2 measures (cka, pwcca)" in measures(grid).to_dict()["description"]


def test_a_control_member_serves_once_however_often_it_was_looked_at() -> None:
    """Of ten members one alone errs as much as the stressed networks, at all of its eight looks."""
    whole = gathered(0.0, 1.0)
    table = whole.table.copy()
    table["error"] = np.where(table["stressed"] | (table["member"] == 0), 0.5, 0.1)
    found = matched(Gathered(table, whole.distances, 80), caliper=0.01, permutations=99)
    assert (found["pairs"] == 1).all()
    assert set(found["verdict"]) == {NOT_COMPARABLE}


def test_terciles_are_told_in_words_that_their_rows_choose() -> None:
    row = {"best": 40, "worst": 43, "ratio": 1.5, "low": 1.2, "high": 1.9, "p_value": 0.01, "verdict": "AKP"}

    def table(within: str) -> pd.DataFrame:
        rows = [row | {"pairs": "of one family", "verdict": within}, row | {"pairs": "of any family"}]
        return pd.DataFrame(rows)

    said = conclusions.of_terciles(table("none"))
    assert "**more dispersed**; counting only pairs of one family, not shown to differ" in said
    assert "unhappy families lie in different places" in said
    assert "different places" not in conclusions.of_terciles(table("AKP"))
    assert "different places" not in conclusions.of_terciles(table("AKP").assign(verdict="none"))
    assert "Too many networks err alike" in conclusions.of_terciles(table("not testable"))
    assert (cards.thirds(table("none"))["verdict"], cards.thirds(table("none"))["tone"]) == ("AKP", "yes")
    lost = table("none").assign(verdict="not testable", ratio=np.nan)
    assert "value" not in cards.thirds(lost)
    assert cards.thirds(lost)["tone"] == "open"
