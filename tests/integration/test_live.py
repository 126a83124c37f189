"""What a class watches is what the library trains: a saved stress gives the same bits in an ordinary run."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from akp_book.declarations import declared
from akp_book.parameters import check_all
from akp_book.profiles import typed
from akp_core.datasets import load
from akp_core.live.choice import Choice, command
from akp_core.live.recording import recorded
from akp_core.live.session import Session
from akp_core.live.verify import retrained
from akp_core.networks import Network
from akp_core.population import run
from akp_core.recipe import Recipe
from akp_core.stress import Stress, pulses, swaps
from akp_core.study import Study

ROOT = Path(__file__).parents[2]
PRESSED = [
    (Stress("activation", "tanh"), 3, None),
    (Stress("loss", "hinge", dose=0.5), 5, None),
    (Stress("activation", "sine", optimizer="reset"), 2, 6),
    (Stress("activation", "square"), 0, None),
]


def study(**changes: object) -> Study:
    recipe, network = Recipe(epochs=2, batch=128), Network(width=4, depth=2)
    plain = Study(load("digits"), members=3, network=network, recipe=recipe, taps=("features",), looks=4)
    return replace(plain, **changes)


@pytest.mark.parametrize(("stress", "fork", "end"), PRESSED)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_saved_stress_trains_to_the_same_bits(
    stress: Stress, fork: int, end: int | None, workers: int, tmp_path: Path
) -> None:
    session = Session(study(), frames=9, workers=workers)
    session.play_to(session.frames[fork])
    session.swap("A", stress)
    if end is not None:
        session.play_to(session.frames[end])
        session.undo("A")
    session.play_to(session.steps)
    session.close()
    again = retrained(session, "A", tmp_path)
    assert again.same
    assert again.numbers > 1000
    population = run(session.study_of("A"), store=tmp_path, progress=False)
    prints = population.fingerprints("features")[3:].float()
    assert torch.equal(prints.nan_to_num(-9), session.tracks["A"].prints(session.steps, 0).nan_to_num(-9))


def test_a_network_that_diverges_ends_as_in_an_ordinary_run(tmp_path: Path) -> None:
    hot = study(recipe=Recipe(epochs=2, batch=128, optimizer="sgd", learning_rate=30.0))
    session = recorded(hot, [Stress("activation", "square", onset=0.5)], frames=9)
    population = run(session.study_of("A"), store=tmp_path, progress=False)
    assert "diverged" in set(population.members["status"])
    ended = [cell.block.diverged[0] for cell in session.tracks["A"].cells]
    family = population.study.families[1].name
    states = [population.store.state(population.tree.leaves[family, m]).tensors for m in range(3)]
    assert ended == [int(state["diverged"][0]) for state in states]
    assert retrained(session, "A", tmp_path).same


def test_the_check_sees_a_single_changed_weight(tmp_path: Path) -> None:
    session = recorded(study(), [Stress("activation", "tanh", onset=0.5)], frames=4)
    assert retrained(session, "A", tmp_path).same
    with torch.no_grad():
        next(next(session.tracks["A"].cells[1].block.models()).parameters()).view(-1)[0] += 1e-6
    assert not retrained(session, "A", tmp_path).same


@pytest.mark.parametrize(("stress", "fork", "end"), PRESSED)
def test_the_command_fits_the_page_and_means_the_same_study(
    stress: Stress, fork: int, end: int | None
) -> None:
    choice = Choice(dataset="digits", network="mlp", members=3, epochs=2)
    session = Session(choice.study(), frames=9)
    session.play_to(session.frames[fork])
    session.swap("A", stress)
    if end is not None:
        session.play_to(session.frames[end])
        session.undo("A")
    words = shlex.split(command(choice, session.tracks["A"].stress))
    assert words[:3] == ["akp", "run", "book/classroom/live-lab"]
    text = (ROOT / f"{words[2]}.md").read_text("utf8")
    cell = text.split(":tags: [parameters]\n")[1].split("```")[0]
    values = check_all(declared(cell, words[2]), typed(words[4::2]), words[2])
    # as the page lays out its study
    names = ("dataset", "network", "tap", "members", "epochs", "side", "fields", "seed")
    plain = Choice.of({name: values[name] for name in names}).study()
    changed = [
        replace(s, dose=dose)
        for s in swaps(values["activations"], values["losses"], optimizer=values["optimizer"])
        for dose in values["doses"]
    ]
    changed = list(pulses(changed, values["pulse"])) if values["pulse"] else changed
    page = replace(plain, stresses=tuple(changed), onsets=tuple(values["onsets"]))
    mine = session.study_of("A")
    assert page.families == mine.families
    assert (page.data.fingerprint, page.members, page.recipe, page.seed) == (
        mine.data.fingerprint,
        mine.members,
        mine.recipe,
        mine.seed,
    )
