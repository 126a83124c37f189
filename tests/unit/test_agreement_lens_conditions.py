"""Populations compared at equal accuracy, the verdicts on them, and the charts that show them."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import vl_convert

from akp_core.agreement import Follows, order_agreement, true_positive_agreement
from akp_core.agreement.conclusions import agree, follow_images, independent, same_order
from akp_core.agreement.conditions import at_equal_accuracy, of_kind, orders_beside
from akp_core.agreement.course import Course, by_size, curve
from akp_core.charts.agreement import agreement_curves, sizes, statistics_against_time
from akp_core.charts.learnt import learnt_images
from akp_core.errors import AkpError

N, LOOKS, M = 120, 12, 6
ASKED = {"draws": 99, "permutations": 99}


def population(
    noise: float,
    *,
    kind: str = "reference",
    seed: int = 0,
    speed: float = 1.0,
    since: float = 0.0,
    order: int = 0,
) -> Course:
    """Networks that learn in a shared order, but for noise of their own."""
    difficulty = np.random.default_rng([99, order]).random(N)
    steps = np.arange(LOOKS, dtype=float)
    learnt = difficulty + noise * np.random.default_rng(seed).standard_normal((M, N))
    right = steps[None, :, None] * speed / (LOOKS - 1) >= learnt[:, None, :]
    return Course(
        right, steps, np.arange(N) % 2, np.arange(N), kind, kind != "reference", np.arange(M), 0, since
    )


def courses() -> dict[str, Course]:
    return {
        "reference": population(0.1),
        "slower": population(0.1, kind="recipe", seed=1, speed=0.6),
        "noisier": population(1.0, kind="architecture", seed=2),
        "too slow": population(0.1, kind="labels", seed=3, speed=0.2),
    }


def test_a_slower_population_agrees_as_much_at_equal_accuracy_and_less_at_equal_times() -> None:
    both = courses()
    found = at_equal_accuracy(both, 0.5, size=3, rng=np.random.default_rng(0), **ASKED).set_index("condition")
    assert found["corrected"]["slower"] == pytest.approx(found["corrected"]["reference"], abs=0.1)
    assert found["difference_low"]["slower"] < 0 < found["difference_high"]["slower"]
    at_once = [true_positive_agreement(both[name].right, size=3).value[6] for name in ("reference", "slower")]
    assert at_once[0] > at_once[1] + 0.1
    assert found["difference_high"]["noisier"] < -0.1
    assert (found["p_value"].loc[["reference", "slower"]] < 0.05).all()


def test_populations_that_do_not_get_there_say_so() -> None:
    found = at_equal_accuracy(courses(), 0.5, size=3, rng=np.random.default_rng(0), **ASKED).set_index(
        "condition"
    )
    assert found.loc["too slow", "why"] == "0 networks reached 0.5; 3 must"
    assert found.loc["too slow", "missing"] == M
    assert np.isnan(found.loc["too slow", ["value", "low", "p_value", "difference"]].astype(float)).all()
    late = at_equal_accuracy(
        dict(reversed(courses().items())), 0.5, size=3, rng=np.random.default_rng(0), **ASKED
    )
    assert late["difference"].isna().all()


def test_the_smaller_of_two_populations_widens_the_interval_of_their_difference() -> None:
    many, few = population(0.3), population(0.3, kind="recipe", seed=1)
    few = replace(few, right=few.right[:3], members=few.members[:3])
    widths = []
    for pair in ({"many": many, "few": few}, {"few": few, "many": many}):
        found = at_equal_accuracy(
            pair, 0.5, size=2, level=0.5, draws=1999, permutations=19, rng=np.random.default_rng(0)
        )
        widths.append(float(found["difference_high"].iloc[1] - found["difference_low"].iloc[1]))
    assert widths[0] == pytest.approx(widths[1], rel=0.1)


def test_a_stressed_population_is_taken_after_its_stress_set_in() -> None:
    late = {"reference": population(0.1), "stressed": population(0.1, kind="stress", since=9)}
    found = at_equal_accuracy(late, 0.5, size=3, rng=np.random.default_rng(0), **ASKED).set_index("condition")
    assert found["reached"]["reference"] == pytest.approx(0.5, abs=0.1)
    assert found["reached"]["stressed"] > 0.7


def test_one_order_is_one_and_another_is_another() -> None:
    three = courses() | {"elsewhere": population(0.1, kind="stress", seed=5, order=1)}
    del three["too slow"]
    found = orders_beside(three, rng=np.random.default_rng(0), **ASKED).set_index("condition")
    assert found["value"]["slower"] > 0.9
    assert found["high"]["elsewhere"] < 0.5
    assert found["across"]["slower"] == pytest.approx(found["within"]["slower"], abs=0.15)
    same = same_order(found.reset_index(), ["recipe"], same=0.8)
    assert same["verdict"] == "reproduced"
    assert same_order(found.reset_index(), ["stress"], same=0.8)["verdict"] == "not reproduced"
    assert same_order(found.reset_index(), ["stress", "recipe"], same=0.8)["tone"] == "no"
    assert same_order(found.reset_index(), ["labels"], same=0.8)["verdict"] == "undecided"


def test_other_images_are_refused_where_images_are_compared() -> None:
    other = population(0.1, kind="labels")
    other = Course(
        other.right[:, :, :50],
        other.steps,
        other.classes[:50],
        other.groups[:50],
        "labels",
        False,
        other.members,
        0,
    )
    two = {"reference": population(0.1), "few": other}
    with pytest.raises(AkpError, match="the images of the reference in 'few', got others"):
        orders_beside(two, rng=np.random.default_rng(0), **ASKED)
    found = at_equal_accuracy(two, 0.5, size=3, rng=np.random.default_rng(0), **ASKED)
    assert found["difference"].notna().sum() == 1
    with pytest.raises(AkpError, match="a reference and at least one population beside it"):
        orders_beside({"reference": two["reference"]}, rng=np.random.default_rng(0))
    with pytest.raises(AkpError, match="at least one population to compare, got none"):
        at_equal_accuracy({}, 0.5, size=3, rng=np.random.default_rng(0))
    with pytest.raises(AkpError, match="unknown kind of population 'stres'"):
        of_kind(two, "stres")
    assert list(of_kind(two, "labels")) == ["few"]


def test_curves_carry_bounds_chance_and_null() -> None:
    found = curve(population(0.1), size=3, draws=99, permutations=99, rng=np.random.default_rng(0))
    assert len(found) == LOOKS
    assert (found["lower"] <= found["value"]).all()
    assert (found["value"] <= found["upper"]).all()
    middle = found.iloc[4:9]
    assert (middle["value"] > middle["null_high"]).all()
    assert (middle["p_value"] == 0.01).all()


def test_agreement_falls_with_the_number_that_must_agree_and_so_does_chance() -> None:
    found = by_size(population(0.2), 0.5)
    assert found["size"].tolist() == [2, 3, 4, 5, 6]
    assert (found["value"].diff().iloc[1:] < 0).all()
    assert (found["chance"].diff().iloc[1:] < 0).all()
    with pytest.raises(AkpError, match=r"at least two networks that reach accuracy 0\.99, got 0"):
        by_size(population(0.2, speed=0.2), 0.99)


def row(**given: object) -> pd.Series:
    usual = {
        "corrected": 0.3,
        "low": 0.2,
        "high": 0.4,
        "p_value": 0.01,
        "networks": 6,
        "accuracy": 0.8,
        "why": np.nan,
    }
    return pd.Series(usual | given)


def ordered(noise: float) -> object:
    stream = np.random.default_rng(0)
    times = stream.random(60) + noise * stream.standard_normal((5, 60))
    return order_agreement(times, rng=stream, **ASKED)


def test_a1_can_be_reproduced_not_reproduced_and_undecided() -> None:
    order = ordered(0.1)
    asked = {"level": 0.05, "margin": 0.1}
    assert agree(row(), order, **asked)["verdict"] == "reproduced"
    assert agree(row(), ordered(50.0), **asked)["verdict"] == "undecided"
    assert agree(row(p_value=0.2, low=-0.1), order, **asked)["verdict"] == "undecided"
    assert (
        agree(row(corrected=0.0, low=-0.05, high=0.05, p_value=0.5), order, **asked)["verdict"]
        == "not reproduced"
    )
    lost = agree(row(corrected=np.nan, why="2 networks reached 0.8; 5 must"), order, **asked)
    assert (lost["verdict"], lost["tone"]) == ("undecided", "open")
    assert "2 networks reached 0.8" in lost["effect"]
    assert agree(row(), None, **asked)["verdict"] == "undecided"


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (-0.05, 0.05, "reproduced"),
        (0.15, 0.3, "not reproduced"),
        (-0.3, -0.15, "not reproduced"),
        (-0.05, 0.2, "undecided"),
        (0.01, 0.09, "reproduced"),
    ],
)
def test_a2_asks_for_equivalence(low: float, high: float, word: str) -> None:
    table = pd.DataFrame(
        [
            {
                "condition": "cnn",
                "kind": "architecture",
                "networks": 6,
                "difference": (low + high) / 2,
                "difference_low": low,
                "difference_high": high,
                "why": np.nan,
            }
        ]
    )
    found = independent(table, ["architecture"], margin=0.1)
    assert found["verdict"] == word
    unknown = table.assign(
        condition="mlp",
        difference=np.nan,
        difference_low=np.nan,
        difference_high=np.nan,
        why="0 networks reached 0.8; 5 must",
    )
    with_lost = independent(pd.concat([table, unknown]), ["architecture"], margin=0.1)
    assert with_lost["verdict"] == ("undecided" if word == "reproduced" else word)
    none = independent(unknown, ["architecture"], margin=0.1)
    assert none["verdict"] == "undecided"
    assert "mlp: 0 networks reached 0.8; 5 must" in none["effect"]


def follow(**given: float) -> Follows:
    usual = {
        "overall": 0.2,
        "value": 0.2,
        "low": 0.1,
        "high": 0.3,
        "of_mean": 0.3,
        "p_value": 0.01,
        "corrected": 0.01,
    }
    return Follows("entropy", **(usual | given))


def test_a3_can_be_reproduced_not_reproduced_and_undecided() -> None:
    asked = {"level": 0.05, "margin": 0.1}
    assert follow_images([follow()], 6, **asked)["verdict"] == "reproduced"
    assert follow_images([follow(corrected=0.2)], 6, **asked)["verdict"] == "undecided"
    assert (
        follow_images([follow(value=0.0, low=-0.05, high=0.05, corrected=0.9)], 6, **asked)["verdict"]
        == "not reproduced"
    )
    constant = follow(value=np.nan, low=np.nan, high=np.nan, corrected=1.0)
    assert "1 the same for all images" in follow_images([follow(), constant], 6, **asked)["effect"]
    assert follow_images([constant], 6, **asked)["verdict"] == "undecided"
    assert follow_images([], 6, **asked)["verdict"] == "undecided"


def test_charts_describe_themselves_and_refuse_what_they_cannot_draw() -> None:
    table = curve(population(0.1), size=3, draws=99, permutations=19, rng=np.random.default_rng(0))
    drawn = agreement_curves(table.assign(condition="mlp")).to_dict()
    assert "mlp" in drawn["description"]
    assert (
        sizes(by_size(population(0.2), 0.5))
        .to_dict()["description"]
        .startswith("True-positive agreement of 2 to 6")
    )
    pictures = np.random.default_rng(0).random((4, 1, 8, 8))
    gallery = pd.DataFrame(
        {
            "image": [0, 3],
            "row": ["earliest", "never"],
            "place": [0, 0],
            "label": ["benign", "malignant"],
        }
    )
    learnt = np.array([[0.1, 0.5, 0.5, np.inf], [0.3, 0.5, 0.5, 1.0]])
    shown = learnt_images(pictures, gallery, learnt).to_dict()
    assert "not for clinical use" in shown["description"]
    values = next(iter(shown["datasets"].values()))
    assert all(one["url"].startswith("data:image/png;base64,") for one in values)
    (slider,) = shown["params"]
    for done, words in ((0, ("0 of 2", "0 of 2")), (10, ("1 of 2", "0 of 2")), (100, ("2 of 2", "1 of 2"))):
        slider["value"] = done
        svg = vl_convert.vegalite_to_svg(shown)
        assert tuple(re.findall(r">(\d of 2)<", svg)) == words
        assert svg.count('opacity="0.2"') == sum(word == "0 of 2" for word in words)
    learnt_images(np.random.default_rng(0).random((4, 3, 100, 90)), gallery, learnt)
    points = pd.DataFrame({"time": [0.1, 0.2], "label": ["a", "b"], "entropy": [1.0, 2.0]})
    assert (
        "entropy in bits"
        in statistics_against_time(points, {"entropy": "entropy in bits"}).to_dict()["description"]
    )
    for call in (
        lambda: agreement_curves(table.iloc[:0].assign(condition="mlp")),
        lambda: sizes(pd.DataFrame(columns=["size", "value", "chance", "lower", "upper", "corrected"])),
        lambda: learnt_images(pictures, gallery.assign(image=9), learnt),
        lambda: learnt_images(pictures, gallery, learnt[:, :3]),
        lambda: learnt_images(pictures[0], gallery, learnt),
        lambda: statistics_against_time(points, {}),
        lambda: agreement_curves(table),
    ):
        with pytest.raises(AkpError, match="expected"):
            call()


def test_ten_lines_on_arrays_of_ones_own() -> None:
    stream, steps = np.random.default_rng(0), np.linspace(0, 1, 21)
    difficulty = stream.uniform(size=(1, 1, 500))
    shared = steps[None, :, None] > difficulty + stream.normal(0, 0.05, (6, 1, 500))
    alone = steps[None, :, None] > stream.uniform(size=(6, 1, 500))
    beyond = [true_positive_agreement(right, size=6).corrected[[10, 18]] for right in (shared, alone)]
    assert (beyond[0] > 0.5).all()
    assert (np.abs(beyond[1]) < 0.1).all()
    assert true_positive_agreement(alone, size=2).value[18] > 0.75
