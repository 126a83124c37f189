"""A specification curve says of one specification what the test says, and of all what whole seeds say."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert
from scipy import stats

from akp_core import palette
from akp_core.charts.specifications import specification_curve, under_exchange, verdict_shares
from akp_core.charts.swaps import effect_against, swap_explorer
from akp_core.dispersion import anna_karenina_test
from akp_core.dispersion.contributions import contrast
from akp_core.errors import AkpError
from akp_core.similarity import pairwise
from akp_core.specifications import RULERS, by_level, joint, survival, variance_shares, ways
from akp_core.specifications.curve import FACTORS, Curve, Outcomes
from akp_core.specifications.flips import decided, intervals, p_values, pairs_of, seed_flips, statistics
from akp_core.specifications.measures import dissimilarities, turned
from akp_core.specifications.survival import WAYS
from akp_core.swaps import goes_with, moved, properties_of_activations, targets_of_losses

MEMBERS = 8


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)


def families(ratios: list[float], seed: int = 0, members: int = MEMBERS, alike: float = 0.5) -> np.ndarray:
    """Distances inside a control and stressed families of given spread, twins alike, the control shared."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((members, 12))
    own = rng.standard_normal((1 + len(ratios), members, 12))
    spread = np.array([1.0, *ratios])[:, None, None]
    return distances(spread * (np.sqrt(alike) * common + np.sqrt(1 - alike) * own))


def curve_of(
    parts: dict[tuple[str, str], np.ndarray],
    *,
    happier: int = 1,
    permutations: int = 999,
    level: float = 0.05,
) -> Curve:
    """A curve whose specifications are data set, measure and stress, from distances inside families."""
    tables, outcomes = [], []
    for k, ((dataset, measure), within) in enumerate(parts.items()):
        pairs = pairs_of(within)
        flips = seed_flips(within.shape[1], permutations, np.random.default_rng(k))
        contrasts, decision, p = decided(pairs, flips, level)
        effect, ends, influence = intervals(pairs, level)
        names = np.array(["none", "AKP", "anti-AKP"])[decision[0] * happier]
        ends = np.sort(ends * happier, axis=1)
        tables.append(
            pd.DataFrame(
                {
                    "measure": measure,
                    "tap": "features",
                    "network": "cnn",
                    "dataset": dataset,
                    "definition": "error",
                    "stress": [f"s{i}" for i in range(len(p))],
                    "onset": 0.5,
                    "orientation": happier,
                    "effect": effect * happier,
                    "low": ends[:, 0],
                    "high": ends[:, 1],
                    "p_value": p,
                    "verdict": names,
                    "study": k,
                    "column": np.arange(len(p)),
                }
            )
        )
        outcomes.append(Outcomes(contrasts, decision, influence))
    return Curve(pd.concat(tables, ignore_index=True), tuple(outcomes), level)


@pytest.mark.parametrize("lost", [(), ((0, 2),), ((1, 0), (0, 5))])
def test_one_specification_is_the_anna_karenina_test(lost: tuple[tuple[int, int], ...]) -> None:
    within = families([1.5, 0.7], seed=3)
    for family, member in lost:
        within[family, member, :] = within[family, :, member] = np.nan
        within[family, member, member] = 0
    pairs = pairs_of(within)
    _, decision, p = decided(pairs, seed_flips(MEMBERS, 999, np.random.default_rng(0)), 0.05)
    effect, ends, _ = intervals(pairs, 0.05)
    for k in (1, 2):
        whole = np.full((2 * MEMBERS, 2 * MEMBERS), 1.0)
        whole[:MEMBERS, :MEMBERS], whole[MEMBERS:, MEMBERS:] = within[0], within[k]
        gone = [m for f, m in lost if f == 0] + [MEMBERS + m for f, m in lost if f == k]
        whole[gone], whole[:, gone] = np.nan, np.nan
        np.fill_diagonal(whole, 0)
        found = anna_karenina_test(
            whole,
            np.arange(2 * MEMBERS) >= MEMBERS,
            paired=np.tile(np.arange(MEMBERS), 2),
            permutations=999,
            rng=np.random.default_rng(0),
        )
        assert effect[k - 1] == pytest.approx(found.effect)
        assert ends[k - 1] == pytest.approx(found.interval)
        assert p[k - 1] == pytest.approx(found.p_value)
        assert {1: "AKP", 0: "none", -1: "anti-AKP"}[int(decision[0, k - 1])] == found.verdict


def test_every_exchange_gives_the_contrast_of_exchanged_twins() -> None:
    pairs = pairs_of(families([2.0], seed=1))
    flips = seed_flips(MEMBERS, 50, np.random.default_rng(0))
    assert len(flips) == 51
    assert not flips[0].any()
    found, t = statistics(pairs, flips)
    for row, flip in enumerate(flips.astype(bool)):
        u = np.where(flip, pairs.control[:, 0], pairs.stressed[:, 0])
        h = np.where(flip, pairs.stressed[:, 0], pairs.control[:, 0])
        assert found[row, 0] == pytest.approx((u.mean() - h.mean()) / (u.mean() + h.mean()), abs=1e-6)
        assert t[row, 0] == pytest.approx(contrast(u, h, paired=True), rel=1e-5)


def test_all_exchanges_are_taken_where_they_are_few_and_p_is_a_rank_among_them() -> None:
    flips = seed_flips(4, 16, np.random.default_rng(0))
    assert sorted(map(tuple, flips.astype(int))) == sorted(itertools.product((0, 1), repeat=4))
    t = np.array([[3.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(p_values(t), [[0.5, 1], [1, 1], [1, 1], [0.5, 1]])


def test_families_of_identical_networks_and_of_too_few_are_no_accident() -> None:
    within = families([1.0, 1.0])
    within[1] = 0.0
    within[2, :5] = within[2, :, :5] = np.nan
    pairs = pairs_of(within)
    _, decision, p = decided(pairs, seed_flips(MEMBERS, 999, np.random.default_rng(0)), 0.05)
    effect, ends, influence = intervals(pairs, 0.05)
    assert effect[0] == -np.inf
    assert decision[0].tolist() == [-1, 0]
    assert np.isnan([effect[1], p[1], *ends[1]]).all()
    assert np.isfinite(influence).all()
    with pytest.raises(AkpError, match="at least one stressed family"):
        pairs_of(within[:1])


def test_the_interval_of_the_median_is_that_of_the_test_also_where_pairs_are_lost() -> None:
    within = families([1.3])
    whole = pairs_of(within)
    within[1, :3] = within[1, :, :3] = np.nan
    for pairs in (whole, pairs_of(within)):
        _, ends, influence = intervals(pairs, 0.05)
        n, size = int(pairs.complete.sum()), len(influence)
        drawn = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), size=20000)
        error = float(np.ptp(ends[0])) / 2 / float(stats.t.ppf(0.975, n - 1))
        assert (drawn / size @ influence).std() == pytest.approx(error * np.sqrt(1 - 1 / n), rel=0.05)


@pytest.mark.parametrize(("ratio", "answer"), [(1.8, "AKP"), (1 / 1.8, "anti-AKP")])
def test_a_planted_spread_is_the_answer_of_the_curve(ratio: float, answer: str) -> None:
    curve = curve_of({("nuclei", m): families([ratio] * 3, seed=s) for s, m in enumerate("abc")})
    whole = joint(curve, permutations=499)
    assert whole.verdict == answer
    assert whole.interval[0] <= whole.median <= whole.interval[1]
    assert np.exp(whole.median) == pytest.approx(ratio, rel=0.3)
    assert (whole.p_akp < 0.05) == (answer == "AKP")
    assert (whole.p_anti < 0.05) == (answer == "anti-AKP")
    turned_round = joint(
        curve_of({("nuclei", m): families([ratio] * 3, seed=s) for s, m in enumerate("abc")}, happier=-1),
        permutations=499,
    )
    assert turned_round.median == pytest.approx(-whole.median)
    assert turned_round.akp == whole.anti


def test_noise_is_called_an_answer_no_more_often_than_the_level_says() -> None:
    hits = [
        joint(
            curve_of({("nuclei", "a"): families([1.0] * 3, seed=s)}, permutations=255), permutations=255
        ).p_value
        < 0.05
        for s in range(200)
    ]
    assert 1 <= sum(hits) <= 22  # cautious; 22 ends the 99.9 % binomial interval around 5 % of 200


def test_the_same_specification_many_times_is_no_more_evidence() -> None:
    within = families([1.25], seed=5)
    once = curve_of({("nuclei", "a"): within})
    table = pd.concat([once.table.assign(measure=f"m{i}") for i in range(50)], ignore_index=True)
    often = Curve(table, once.outcomes, once.level)
    one, many = joint(once, permutations=999), joint(often, permutations=999)
    assert one.p_value == pytest.approx(many.p_value)
    assert one.interval == pytest.approx(many.interval)
    assert 0.01 < one.p_value < 0.99


def test_nothing_predicted_is_not_testable() -> None:
    curve = curve_of({("nuclei", "a"): families([2.0])})
    silent = Curve(curve.table.assign(verdict="no prediction", effect=np.nan), curve.outcomes, curve.level)
    whole = joint(silent)
    assert (whole.verdict, whole.predicted) == ("not testable", 0)
    assert ways(silent)["answer"].tolist() == ["not testable"]
    assert variance_shares(silent).empty
    told = survival(whole, ways(silent), by_level(silent))
    assert told.survives is None
    assert "no answer" in told.sentence


def test_an_answer_survives_only_where_no_way_turns_it_round() -> None:
    alike = {("nuclei", m): families([1.8] * 3, seed=s) for s, m in enumerate("abc")}
    for parts, survives, word in (
        (alike, True, "survives"),
        (alike | {("digits", "a"): families([0.4] * 3, seed=9)}, False, "does not survive"),
    ):
        curve = curve_of(parts)
        told = survival(joint(curve, permutations=499), ways(curve), by_level(curve, permutations=499))
        assert told.survives is survives
        assert word in told.sentence
        assert told.opposite == int(not survives)
        assert (told.turned != ()) == (not survives)
    with pytest.raises(AkpError, match="reference among the ways"):
        survival(joint(curve), ways(curve), by_level(curve), {"measure": "z"})


def test_the_choice_that_decides_has_the_variance() -> None:
    curve = curve_of({("nuclei", "a"): families([2.0] * 2), ("digits", "a"): families([0.5] * 2, seed=4)})
    table = curve.table.assign(effect=np.where(curve.table["dataset"] == "nuclei", 1.0, -1.0))
    shares = variance_shares(Curve(table, curve.outcomes, curve.level)).set_index("choice")["share"]
    assert shares["dataset"] == pytest.approx(1)
    assert shares["stress"] == pytest.approx(0)
    assert shares["rest"] == pytest.approx(0, abs=1e-9)
    assert "measure" not in shares
    with pytest.raises(AkpError, match="unknown choice 'colour'"):
        variance_shares(curve, ["colour"])


@pytest.mark.parametrize("name", [name for name in RULERS if RULERS[name].turns])
def test_a_rotation_into_the_span_of_the_examples_changes_no_distance(name: str) -> None:
    rng = np.random.default_rng(0)
    wide = [
        torch.from_numpy(rng.standard_normal((24, 4)) @ rng.standard_normal((4, 60)) + 3).float()
        for _ in range(4)
    ]
    narrow = [turned(x) for x in wide]
    assert {tuple(x.shape) for x in narrow} == {(24, 24)}
    np.testing.assert_allclose(
        dissimilarities(narrow, RULERS[name]), dissimilarities(wide, RULERS[name]), atol=3e-3
    )


def test_a_measure_has_its_own_distance_and_a_representation_it_refuses_has_none() -> None:
    rng = np.random.default_rng(0)
    members = [torch.from_numpy(rng.standard_normal((20, 4))) for _ in range(3)]
    chord = dissimilarities(members, RULERS["procrustes"])
    np.testing.assert_allclose(
        chord, np.sqrt(2 - 2 * pairwise(members, measure="procrustes").numpy()), atol=1e-7
    )
    gap = dissimilarities(members, RULERS["svcca"])
    np.testing.assert_allclose(gap, 1 - pairwise(members, measure="svcca").numpy(), atol=1e-12)
    some = dissimilarities([*members, torch.ones(20, 4).double()], RULERS["rsa"])
    assert np.isfinite(some[:3, :3]).all()
    assert np.isnan(some[3, :3]).all()
    assert np.diag(some).tolist() == [0] * 4


def test_the_properties_of_activations_are_those_of_the_functions() -> None:
    table = properties_of_activations(list(palette.ACTIVATIONS)).set_index("to")
    assert (
        table["parity"].to_dict() | {"sine": "odd", "tanh": "odd", "square": "even", "relu": "neither"}
        == table["parity"].to_dict()
    )
    assert table.loc["relu", "distance"] == 0
    assert table.loc["identity", "distance"] == pytest.approx(np.sqrt(0.5), rel=1e-6)
    assert table.loc["square", "at zero"] == 0
    assert table.loc["sigmoid", "slope"] == pytest.approx(0.25)
    # corr(x^2, relu(x)) = E[x^3; x > 0] - E[x^2] E[relu] over the deviations
    tail = 2 / np.sqrt(2 * np.pi)
    expected = (tail - tail / 2) / np.sqrt(2 * (0.5 - tail**2 / 4))
    assert table.loc["square", "correlation"] == pytest.approx(expected, rel=2e-3)
    with pytest.raises(AkpError, match="unknown activation"):
        properties_of_activations(["rleu"])


def test_a_loss_moves_the_target_exactly_if_it_is_not_proper() -> None:
    table = targets_of_losses(list(palette.LOSSES), probability=0.8).set_index("to")
    assert (table["moves"] != table["proper"]).all()
    assert table["right class"].all()
    assert table.loc["cross_entropy", "softmax"] == pytest.approx(0.8, abs=1e-4)
    assert table.loc["squared_error", "output"] == pytest.approx(0.8, abs=1e-4)
    assert table.loc["hinge", "softmax"] == pytest.approx(1 / (1 + np.exp(-1)), abs=1e-3)
    assert table.loc["label_smoothing", "softmax"] == pytest.approx(0.9 * 0.8 + 0.05, abs=1e-4)
    with pytest.raises(AkpError, match=r"above 0\.5 and below 1"):
        targets_of_losses(["hinge"], probability=1.0)


CELLS = pd.DataFrame(
    [
        (f"f{k}", f"f{k}", o, t, 0.5 + k / 2)
        for k, o, t in itertools.product(range(5), (0.25, 0.75), ("block1", "features"))
    ],
    columns=["to", "stress", "onset", "tap", "ratio"],
).assign(
    low=lambda t: t["ratio"] / 2,
    high=np.inf,
    p_value=0.01,
    verdict="AKP",
    lost=1,
    error=0.2,
    control_error=0.1,
    location_r2=0.5,
    location_p=0.01,
)
PROPERTIES = pd.DataFrame({"to": [f"f{k}" for k in range(5)], "distance": np.arange(5.0)})


def test_what_an_effect_goes_with_counts_functions_and_not_onsets() -> None:
    rho, p, functions = goes_with(CELLS, PROPERTIES, "distance", "features")
    assert (rho, functions) == (pytest.approx(1), 5)
    assert p == pytest.approx(2 / 120)
    few = goes_with(CELLS[CELLS["to"] < "f3"], PROPERTIES, "distance", "features")
    assert np.isnan(few[:2]).all()


@pytest.mark.parametrize(
    ("p", "verdict", "count", "value"),
    [
        ([0.01, 0.04], "all", 2, 0.04),
        ([0.01, 0.3], "some", 1, 0.02),
        ([0.04, 0.3], "none", 0, 0.08),
        ([np.nan] * 2, "not testable", 0, None),
    ],
)
def test_families_are_counted_as_moved_after_holm(
    p: list[float], verdict: str, count: int, value: float | None
) -> None:
    cells = pd.DataFrame({"tap": "features", "location_p": p, "location_r2": [0.2, 0.4]})
    found = moved(cells, "features")
    assert (found["verdict"], found["moved"]) == (verdict, count)
    assert found["p_value"] == (None if value is None else pytest.approx(value))


def drawn() -> dict[str, object]:
    curve = curve_of(
        {("nuclei", "a b"): families([2.0, 0.7, 1.0]), ("digits", "c'd"): families([1.4, 3.0], seed=2)}
    )
    gap = curve.table.assign(definition="gap", effect=-curve.table["effect"], orientation=-1)
    both = Curve(pd.concat([curve.table, gap], ignore_index=True), curve.outcomes, curve.level)
    whole, levels = joint(both, permutations=99), by_level(both, permutations=99)
    courses = pd.DataFrame(
        [
            (f"f{k}", o, r, q, s / 4, 0.3, 0.2, 0.4)
            for k, o, r, q, s in itertools.product(
                range(5), (0.25, 0.75), ("control", "swapped"), ("test error", "training error"), range(5)
            )
        ],
        columns=["stress", "onset", "role", "quantity", "share", "mean", "low", "high"],
    )
    return {
        "curve": specification_curve(both.predicted),
        "shares": verdict_shares(levels),
        "exchanged": under_exchange(whole.medians, whole.shares),
        "swap": swap_explorer(courses, CELLS, kind="activation"),
        "against": effect_against(CELLS, PROPERTIES, "distance", "distance"),
    }


def test_the_charts_are_described_and_can_be_drawn() -> None:
    for name, chart in drawn().items():
        spec = chart.to_dict()
        assert len(spec["description"]) > 40, name
        svg = vl_convert.vegalite_to_svg(spec)
        assert svg.count("<path") > 3, name
        assert "NaN" not in svg, name
        assert "undefined" not in svg, name


def test_the_curve_turns_with_the_definition_and_follows_its_menus() -> None:
    spec = drawn()["curve"].to_dict()
    first = vl_convert.vegalite_to_svg(spec)
    assert "5 specifications" in first
    params = {p["name"]: p for p in spec["params"]}
    assert params["happy_by"]["bind"]["options"] == ["error", "gap"]
    assert params["only_measure"]["bind"]["labels"] == ["all", "a b", "c'd"]
    params["happy_by"]["value"] = "gap"
    turned_round = vl_convert.vegalite_to_svg(spec)
    assert turned_round != first
    params["only_measure"]["value"] = 1
    assert "2 specifications" in vl_convert.vegalite_to_svg(spec)


def test_a_chart_of_nothing_is_refused_in_one_line() -> None:
    empty = curve_of({("nuclei", "a"): families([2.0])}).table.assign(effect=np.nan)
    with pytest.raises(AkpError, match="at least one specification"):
        specification_curve(empty)
    with pytest.raises(AkpError, match="at least one exchange"):
        under_exchange(np.full(1, np.nan), np.full(1, np.nan))
    with pytest.raises(AkpError, match="at least one swap"):
        effect_against(CELLS.assign(ratio=np.inf), PROPERTIES, "distance", "distance")
    assert set(WAYS) < set(FACTORS)
