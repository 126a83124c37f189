"""What the page with all lenses says turns with its tables: yes, no, undecided and not testable."""

import pandas as pd
import pytest

from akp_core.lenses import synthesis
from akp_core.lenses.members import LENSES
from akp_core.lenses.relations import BETWEEN, WITHIN

LABELS = {name: lens.label for name, lens in LENSES.items()}
UP, DOWN, SAME, NONE = "unhappier", "happier", "not told apart", "not testable"


def called(**families: tuple[str, ...]) -> pd.DataFrame:
    """The calls of the error, the clones and the distance to the happy centroid, family by family."""
    return pd.DataFrame(
        [
            {"family": family, "lens": lens, "call": call}
            for family, words in families.items()
            for lens, call in zip(("error", "clones", "from_happy"), words, strict=True)
        ]
    )


def related(question: str = BETWEEN, **lenses: tuple[float, str]) -> pd.DataFrame:
    """Rank correlations of lenses with the error, and what was made of them."""
    row = {"first": "error", "question": question, "low": -1.0, "high": 1.0, "replicates": 7}
    return pd.DataFrame(
        [
            row
            | {"second": lens, "rho": rho, "verdict": word}
            | dict.fromkeys(("p_value", "q_value"), None if word == NONE else 0.01)
            for lens, (rho, word) in lenses.items()
        ]
    )


NOTHING = related(clones=(0.1, "not shown"))


@pytest.mark.parametrize(
    ("families", "verdict", "tone"),
    [
        ({"a": (UP, UP, UP), "b": (SAME, SAME, SAME)}, "yes", "yes"),
        ({"a": (UP, UP, UP), "b": (UP, SAME, UP)}, "undecided", "open"),
        ({"a": (UP, UP, UP), "b": (UP, DOWN, UP)}, "no", "no"),
        ({"a": (SAME, SAME, SAME), "b": (SAME, SAME, SAME)}, "undecided", "open"),
        ({"a": (UP, UP, UP), "b": (NONE, NONE, NONE)}, "yes", "yes"),
        ({"a": (NONE, NONE, NONE), "b": (UP, NONE, UP)}, "not testable", "open"),
    ],
)
def test_to_see_nothing_together_is_not_to_agree(families: dict, verdict: str, tone: str) -> None:
    card = synthesis.cards(called(**families), NOTHING, LENSES, members=10)[0]
    assert (card["verdict"], card["tone"]) == (verdict, tone)


def test_what_is_said_of_calls_counts_families_that_all_call_something() -> None:
    said = synthesis.of_calls(called(a=(UP, UP, UP), b=(UP, DOWN, DOWN), c=(SAME, SAME, SAME)), LABELS)
    assert "All 3 lenses make the same call of 1 of the 2 families that any of them tells apart" in said
    assert "on 1 of them one lens says unhappier and another happier" in said
    assert "*test error* calls the most unhappier: 2 of 3" in said
    assert "No lens tells any of 1 families" in synthesis.of_calls(called(a=(SAME, SAME, SAME)), LABELS)
    assert "No family can be tested" in synthesis.of_calls(called(a=(NONE, SAME, SAME)), LABELS)


def test_a_lens_that_goes_the_other_way_does_not_count_as_going_with_the_error() -> None:
    calls = called(a=(UP, UP, UP))
    with_it = related(clones=(-0.9, "opposed"), from_happy=(0.8, "together"))
    card = synthesis.cards(calls, with_it, LENSES, members=10)[1]
    assert (card["verdict"], card["tone"]) == ("2 of 2 lenses", "yes")
    against = related(clones=(0.9, "together"), from_happy=(-0.8, "opposed"))
    card = synthesis.cards(calls, against, LENSES, members=10)[1]
    assert (card["verdict"], card["tone"]) == ("0 of 2 lenses, 2 the other way", "no")
    mixed = related(clones=(-0.9, "opposed"), from_happy=(0.1, "not shown"))
    assert synthesis.cards(calls, mixed, LENSES, members=10)[1]["tone"] == "open"
    assert synthesis.cards(calls, NOTHING, LENSES, members=10)[1]["verdict"] == "not shown"
    assert synthesis.cards(calls, NOTHING, LENSES, members=10)[2]["verdict"] == "not testable"


def test_what_is_made_of_the_error_does_not_count_as_going_with_it() -> None:
    found = related(gap=(0.99, "together"), disagreement=(0.99, "together"), clones=(0.1, "not shown"))
    card = synthesis.cards(called(a=(UP, UP, UP)), found, LENSES, members=10)[1]
    assert card["verdict"] == "not shown"
    assert LABELS["clones"] in card["effect"]
    assert "(corrected p = 0.01)" in card["effect"]
    said = synthesis.of_relations(found, LENSES)
    assert "generalisation gap (+0.99, by its making)" in said


def test_relations_that_cannot_be_tested_are_said() -> None:
    found = pd.concat([related(clones=(0.5, NONE)), related(WITHIN, clones=(0.5, "together"))])
    said = synthesis.of_relations(found, LENSES)
    assert "**Between stresses**, no pair can be tested" in said
    assert "**Within families**, 1 of 1 pairs are related" in said


def test_a_lens_that_knows_no_network_is_told_from_one_that_sees_no_difference() -> None:
    networks = pd.DataFrame({name: [0.1, 0.2] for name in LENSES}).assign(status="trained", why="")
    networks["clones"], networks["own_way"] = 1.0, float("nan")
    said = synthesis.of_gaps(networks, LENSES)
    assert f"The same for all of them, so left out below: {LABELS['clones']}." in said
    assert f"Known of none of them, so left out below: {LABELS['own_way']}." in said
