"""Stressed networks are placed where they were put: at their twins, in the family, or outside it."""

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert
from scipy.spatial.distance import cdist
from scipy.stats import binom

from akp_core.adaptation import apart, half_life, majority, place, tally
from akp_core.adaptation.seen import paired_distances
from akp_core.adaptation.states import STATES, state
from akp_core.charts.adaptation import end_states, recovery_curves
from akp_core.dispersion.false_discoveries import q_values
from akp_core.errors import AkpError

SPACE = 60


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def distances(happy: np.ndarray, stressed: np.ndarray) -> np.ndarray:
    points = np.vstack([happy, stressed])
    return cdist(points, points)


def family(kind: str, n: int = 12, seed: int = 0) -> np.ndarray:
    """Distances of a happy cloud and of a stressed one that stands in a known place to it."""
    draw = rng(seed)
    happy = draw.standard_normal((n, SPACE))
    stressed = {
        "same": happy,
        "near": happy + 0.1 * draw.standard_normal((n, SPACE)),
        "strangers": draw.standard_normal((n, SPACE)),
        "moved together": happy + 3 * np.eye(SPACE)[0] * np.sqrt(SPACE) / 2,
        "moved apart": happy + 2 * draw.standard_normal((n, SPACE)),
    }[kind]
    return distances(happy, stressed)


def judged(kind: str, n: int = 12, margin: float = 0.1) -> str:
    found = place(family(kind, n), margin=margin, permutations=1999, rng=rng())
    return state(found.p_inside, found.p_twin, found.p_strangers, found.p_outside, 0.05)


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("same", "own twin"),
        ("near", "own twin"),
        ("strangers", "family"),
        ("moved together", "neither"),
        ("moved apart", "neither"),
    ],
)
def test_a_family_is_found_where_it_was_put(kind: str, verdict: str) -> None:
    assert judged(kind) == verdict


def test_networks_that_are_their_twins_are_at_zero_and_no_farther_out() -> None:
    found = place(family("same"), permutations=99, rng=rng())
    assert (found.twin, found.near, found.near_high, found.outside, found.outside_high) == (0, 0, 0, 1, 1)
    assert found.p_inside == 0
    assert found.p_outside == 1
    assert found.p_near == 0.01
    assert not apart(family("same")).any()


def test_ratios_are_those_of_the_points_and_the_own_twin_is_not_in_the_centre() -> None:
    draw, n = rng(3), 5
    happy, stressed = draw.standard_normal((n, 4)), draw.standard_normal((n, 4)) + 1
    found = place(distances(happy, stressed), permutations=99, rng=rng())
    centres = np.array([np.delete(happy, i, axis=0).mean(axis=0) for i in range(n)])
    b, r = (np.square(points - centres).sum(axis=1) for points in (stressed, happy))
    a = np.square(stressed - happy).sum(axis=1)
    o = [np.square(np.delete(happy, i, axis=0) - stressed[i]).sum() / (n - 1) for i in range(n)]
    assert found.outside == pytest.approx(np.sqrt(b.sum() / r.sum()))
    assert found.near == pytest.approx(np.sqrt(a.sum() / np.sum(o)))
    assert found.twin == pytest.approx(np.sqrt(a.mean()))
    assert found.happy_centre == pytest.approx(np.sqrt(r.mean()))
    happy_pairs = cdist(happy, happy)[np.triu_indices(n, 1)]
    assert found.happy_pair == pytest.approx(np.sqrt(np.square(happy_pairs).mean()))


def test_twins_are_at_zero_only_if_they_are_of_the_same_bits() -> None:
    for members in (4, 7, 12):
        prints = torch.nn.functional.normalize(
            torch.from_numpy(rng(2).standard_normal((members, 3003))), dim=1
        )
        d = paired_distances(prints, prints.clone())
        twin = np.arange(members)
        assert not d[twin, twin + members].any()
        assert (d[:members, :members][~np.eye(members, dtype=bool)] > 1).all()
    off = paired_distances(prints, prints + 1e-10)[0, 12]  # too little for a similarity to show
    assert off == pytest.approx(1e-10 * np.sqrt(3003), rel=1e-3)
    lost = prints.clone()
    lost[3] = torch.nan
    assert np.isnan(paired_distances(prints, lost)[15]).sum() == 23


def test_few_networks_are_not_called_strangers_for_want_of_evidence() -> None:
    assert state(0.001, 0.2, 0.8, 0.5, 0.05) == "inside"
    assert state(0.2, 0.001, 0.9, 0.5, 0.05) == "undecided"
    assert state(0.2, 0.001, 0.9, 0.01, 0.05) == "neither"
    assert state(0.01, 0.9, 0.001, 0.01, 0.05) == "family"
    assert state(np.nan, np.nan, np.nan, np.nan, 0.05) == "not testable"
    found = place(family("moved together", 4), permutations=1999, rng=rng())
    assert found.smallest_outside == 1 / 16
    assert found.smallest_near == 1 / 24
    assert found.p_outside == 2 / 16  # families moved apart are equally far from each other


def test_a_small_shift_is_inside_a_wide_margin_and_not_a_narrow_one() -> None:
    happy = rng(1).standard_normal((20, SPACE))
    shifted = distances(happy, happy + 0.3 * np.sqrt(SPACE) * np.eye(SPACE)[0])
    wide, narrow = (place(shifted, margin=m, permutations=99, rng=rng()) for m in (0.2, 0.01))
    assert wide.p_inside < 0.05 < narrow.p_inside


@pytest.mark.parametrize("name", ["p_near", "p_outside"])
def test_the_exchanges_keep_their_level(name: str) -> None:
    draw, runs = rng(5), 300
    ps = []
    for _ in range(runs):
        happy, stressed = draw.standard_normal((2, 6, 8))
        ps.append(getattr(place(distances(happy, stressed), permutations=199, rng=draw), name))
    assert (np.array(ps) <= 0.05).sum() <= binom.ppf(0.999, runs, 0.05)
    assert 0.4 < np.mean(ps) < 0.6


def test_a_lost_network_takes_its_twin_with_it_and_three_pairs_are_too_few() -> None:
    d = family("near")
    d[15] = d[:, 15] = np.nan
    found = place(d, permutations=99, rng=rng())
    assert (found.pairs, found.lost) == (11, 1)
    keep = np.setdiff1d(np.arange(24), [3, 15])
    assert found.near == pytest.approx(place(d[np.ix_(keep, keep)], permutations=99, rng=rng()).near)
    assert np.isnan(apart(d)[3])
    few = place(family("near", 3), permutations=99, rng=rng())
    assert few.pairs == 3
    assert np.isnan([few.near, few.outside, few.p_inside]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"distances": np.zeros((5, 5))}, "n unstressed networks and their n twins, got shape"),
        ({"distances": np.zeros((8, 8))}, "unstressed networks that differ from one another"),
        ({"margin": 0}, "margin as a number above 0, got 0"),
        ({"level": 2}, "level as a probability"),
        ({"permutations": 0}, "permutations as a whole number"),
    ],
)
def test_a_place_that_cannot_be_told_is_refused_in_one_line(change: dict, words: str) -> None:
    given = {"distances": family("near"), "permutations": 99} | change
    with pytest.raises(AkpError, match=words):
        place(given.pop("distances"), rng=rng(), **given)


def test_a_known_half_life_is_found_and_its_interval_holds_it() -> None:
    times = np.arange(7.0)
    shape = np.exp2(-times / 1.5)
    inside = 0
    for seed in range(40):
        d = 2 * shape + 0.05 * rng(seed).standard_normal((12, 7))
        found = half_life(d, times, rng=rng())
        assert found.state == "reached"
        assert found.half_life == pytest.approx(1.5, rel=0.1)
        inside += found.low <= 1.5 <= found.high
    assert inside >= 30


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ([1, 1, 1, 1], "not reached"),
        ([1, 1.5, 2, 3], "not reached"),
        ([1, 0.9, 0.85, 0.8], "not reached"),
        ([1, 0.0, 0.0, 0.0], "within one look"),
        ([0, 0, 0, 0], "nothing to recover"),
        ([-1, 0, 0, 0], "nothing to recover"),
        ([1, 0.5], "not testable"),
    ],
)
def test_a_half_life_that_was_not_seen_is_not_claimed(curve: list[float], said: str) -> None:
    d = np.tile(np.array(curve, dtype=float), (6, 1)) * np.linspace(0.9, 1.1, 6)[:, None]
    found = half_life(d, np.arange(float(len(curve))), rng=rng())
    assert found.state == said
    if curve[-1] >= curve[0] > 0:
        assert found.half_life == found.high == np.inf


@pytest.mark.parametrize(
    ("d", "times"),
    [
        (np.ones((4, 3)), [1.0, 2, 3]),
        (np.ones((4, 3)), [0.0, 2, 1]),
        (np.ones((4, 3)), [0.0, 1]),
        (np.full((4, 2), np.inf), [0.0, 1]),
    ],
)
def test_times_that_do_not_fit_are_refused(d: np.ndarray, times: list[float]) -> None:
    with pytest.raises(AkpError, match="expected"):
        half_life(d, np.array(times), rng=rng())


def test_p_values_are_corrected_tap_by_tap_and_missing_ones_stay_missing() -> None:
    table = pd.DataFrame({"tap": list("aaabb"), "p": [0.01, 0.02, np.nan, 0.04, 0.04]})
    np.testing.assert_allclose(q_values(table["p"], table["tap"]), [0.02, 0.02, np.nan, 0.04, 0.04])


def test_one_word_for_many_is_that_of_more_than_half_or_none() -> None:
    assert majority(["family", "family", "neither"]) == "family"
    assert majority(["family", "neither"]) == "mixed"
    assert majority(["not testable", "neither"]) == "neither"
    assert majority(["not testable"]) == majority([]) == "not testable"
    assert tally(["neither", "family", "family"]) == "2 family, 1 neither"
    assert tally([]) == "none"


def curves() -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = [
        (s, 1.0, o, k, "features", e, e - 2.0, 0.1 * e, 0.05, 0.3)
        for s in ("tanh", "sine")
        for o in (0.25, 0.5)
        for k in ("pulse", "press")
        for e in (1.0, 2.0, 3.0)
    ]
    names = ["stress", "dose", "onset", "kind", "tap", "epoch", "since", "excess", "low", "high"]
    errors = pd.DataFrame(rows, columns=names)
    return errors, errors.rename(columns={"excess": "apart", "low": "apart_low", "high": "apart_high"})


def states() -> pd.DataFrame:
    table = pd.DataFrame({"family": [f"f{i}" for i in range(6)], "state": STATES, "tap": "features"})
    table = table.assign(kind=["pulse", "press"] * 3, near=[0, 0.8, 0.5, 1, 0.9, np.nan])
    table = table.assign(
        near_low=table["near"] - 0.1, near_high=table["near"] + 0.1, outside=1 + table["near"]
    )
    return table.assign(outside_low=table["outside"] - 0.1, outside_high=table["outside"] + 0.1)


@pytest.mark.parametrize("make", [lambda: recovery_curves(*curves()), lambda: end_states(states(), 0.1)])
def test_a_chart_is_described_and_drawn(make) -> None:
    spec = make().to_dict()
    assert len(spec["description"]) > 100
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count("<path") > 10
    assert "NaN" not in svg
    assert "undefined" not in svg


def test_the_recovery_chart_shows_the_chosen_stress_alone() -> None:
    spec = recovery_curves(*curves()).to_dict()
    assert {p["name"] for p in spec["params"] if "bind" in p} == {"stress", "onset", "tap"}
    errors, places = curves()
    only = recovery_curves(errors[errors["stress"] == "tanh"], places[places["stress"] == "tanh"]).to_dict()
    count = [vl_convert.vegalite_to_svg(s).count("<path") for s in (spec, only)]
    assert count[0] == count[1]


def test_a_chart_of_nothing_is_refused() -> None:
    errors, places = curves()
    with pytest.raises(AkpError, match="at least one look"):
        recovery_curves(errors[:0], places)
    with pytest.raises(AkpError, match="four pairs"):
        end_states(states().assign(near=np.nan), 0.1)
    with pytest.raises(AkpError, match="missing: excess"):
        recovery_curves(errors.drop(columns="excess"), places)
