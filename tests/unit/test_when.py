"""An effect that depends on the onset is told from one that does not, and from less time to recover."""

import numpy as np
import pandas as pd
import pytest
import vl_convert
from scipy.stats import binom

from akp_core.adaptation.critical import verdict
from akp_core.adaptation.onset_dependence import dependence
from akp_core.charts.when import dose_response
from akp_core.errors import AkpError

ONSETS = np.array([0.0, 0.25, 0.5, 0.75])


def effects(shape: list[float], members: int = 8, seed: int = 0) -> np.ndarray:
    """Effects of a planted shape over the onsets, around what each network has of its own."""
    draw = np.random.default_rng(seed)
    own = 5 * draw.standard_normal((members, 1))
    return own + np.array(shape) + 0.2 * draw.standard_normal((members, len(shape)))


def found(values: np.ndarray, at: np.ndarray = ONSETS, permutations: int = 999, seed: int = 0):
    return dependence(values, at, permutations=permutations, rng=np.random.default_rng(seed))


def test_an_early_effect_is_found_with_its_slope() -> None:
    seen = found(effects([3, 2, 1, 0]))
    assert seen.p_value == seen.p_trend == seen.smallest_p == 0.001
    assert seen.low < -4 < seen.high < 0
    assert seen.slope == pytest.approx(-4, abs=0.5)
    assert (seen.networks, seen.places) == (8, 4)


def test_a_window_in_the_middle_is_found_though_no_line_runs_through_it() -> None:
    seen = found(effects([0, 1, 1, 0]))
    assert seen.p_value < 0.01 < 0.2 < seen.p_trend


def test_what_networks_differ_in_does_not_count() -> None:
    values = effects([0.1, 0.2, 0.3, 0.2])
    moved = values + 100 * np.arange(8)[:, None]
    assert found(values).p_value == pytest.approx(found(moved).p_value)
    assert found(values).slope == pytest.approx(found(moved).slope)


@pytest.mark.parametrize("name", ["p_value", "p_trend"])
def test_without_an_effect_it_keeps_its_level_though_onsets_scatter_unequally(name: str) -> None:
    draw, runs = np.random.default_rng(1), 300
    ps = []
    for _ in range(runs):
        values = draw.standard_normal((8, 1)) + draw.standard_normal((8, 4)) * [1.5, 1, 1, 1]
        ps.append(getattr(dependence(values, ONSETS, permutations=199, rng=draw), name))
    assert (np.array(ps) <= 0.05).sum() <= binom.ppf(0.999, runs, 0.07)
    assert 0.4 < np.mean(ps) < 0.6


def test_all_exchanges_and_a_sample_of_them_agree_and_the_least_p_can_be_reached() -> None:
    values = effects([1, 0.9], members=6)
    at = ONSETS[:2]
    whole, sample = found(values, at, permutations=64), found(values, at, permutations=63)
    assert whole.p_value == pytest.approx(sample.p_value, abs=0.25)
    strong = found(effects([9, 0], members=6), at, permutations=64)
    assert strong.p_value == strong.smallest_p == 2 / 64


def test_equal_effects_and_too_few_show_nothing() -> None:
    same = found(np.zeros((6, 4)))
    assert same.p_value == same.p_trend == 1
    assert same.slope == same.low == same.high == 0
    for values, at in ((effects([1, 0], members=3), ONSETS[:2]), (effects([1]), ONSETS[:1])):
        few = found(values, at)
        assert not few.testable
        assert np.isnan(few.slope)
    holed = effects([3, 2, 1, 0])
    holed[2, 1] = np.nan
    assert found(holed).networks == 7


@pytest.mark.parametrize(
    ("values", "at"),
    [
        (np.zeros((5, 3)), ONSETS),
        (np.zeros((5, 2)), np.array([0.5, 0.5])),
        (np.full((5, 2), np.inf), np.array([0.25, 0.5])),
    ],
)
def test_values_that_do_not_fit_are_refused(values: np.ndarray, at: np.ndarray) -> None:
    with pytest.raises(AkpError, match="expected"):
        found(values, at)


@pytest.mark.parametrize(
    ("end", "equal", "said"),
    [
        (0.01, 0.01, "critical period"),
        (0.01, 0.2, "time to recover"),
        (0.2, 0.01, "sensitive, but heals"),
        (0.2, 0.2, "none shown"),
        (np.nan, 0.2, "not testable"),
    ],
)
def test_two_answers_make_one_verdict(end: float, equal: float, said: str) -> None:
    assert verdict(end, equal, 0.05) == said


def responses() -> pd.DataFrame:
    rows = [
        ("tanh", d, k, o, q, w, 1.0, v, v - 0.1, v + 0.1)
        for d in (0.5, 1.0)
        for k in ("pulse", "press")
        for o in (0.0, 0.5)
        for q, v in (("error", 0.02), ("apart", 0.5), ("dispersion", 1.2))
        for w in ("equal time", "end of training")
    ]
    names = ["stress", "dose", "kind", "onset", "quantity", "when", "lag", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def test_the_chart_is_described_and_drawn_and_offers_each_dose() -> None:
    spec = dose_response(responses()).to_dict()
    params = {p["name"]: p for p in spec["params"] if "bind" in p}
    assert set(params) == {"stress", "quantity", "when"}
    assert params["stress"]["bind"]["options"] == ["tanh, dose 0.5", "tanh, dose 1"]
    assert len(spec["description"]) > 100
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count("<path") > 5
    assert "NaN" not in svg
    assert "undefined" not in svg


def test_ends_without_end_are_left_out_of_the_chart_and_nothing_is_refused() -> None:
    table = responses()
    table.loc[0, "high"] = np.inf
    table.loc[5, "value"] = np.nan
    assert "Infinity" not in dose_response(table).to_json()
    with pytest.raises(AkpError, match="at least one finite effect"):
        dose_response(table.assign(value=np.nan))
