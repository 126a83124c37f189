"""The live lab's engine: a clock that loses nothing, and stresses that train again to the same bits."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from akp_core import palette
from akp_core.datasets import load
from akp_core.errors import AkpError
from akp_core.live.choice import Choice, checked_swap, command, parameters
from akp_core.live.journal import JOURNAL
from akp_core.live.runner import Runner
from akp_core.live.session import Session, share
from akp_core.live.track import Track
from akp_core.live.view import QUANTITIES, View
from akp_core.networks import Network
from akp_core.recipe import Recipe
from akp_core.stress import Stress, step_of
from akp_core.study import Study

TANH, HINGE = Stress("activation", "tanh"), Stress("loss", "hinge")


def study(**changes: object) -> Study:
    recipe = Recipe(epochs=2, batch=128)
    plain = Study(
        load("digits"), members=3, network=Network("mlp", width=8, depth=2), recipe=recipe, taps=("features",)
    )
    return replace(plain, **changes)


def record(track: Track) -> list[object]:
    cells = track.cells
    glances = [(s, g[0].nan_to_num(-9).numpy().tobytes(), g[1]) for c in cells for s, g in c.glances.items()]
    weights = [v.numpy().tobytes() for c in cells for _, v in sorted(c.block.dump().items())]
    return [glances, [sorted(c.losses.items()) for c in cells], weights]


@pytest.fixture(scope="module")
def watched() -> Session:
    session = Session(study(), frames=7)
    session.play_to(session.frames[2])
    session.swap("A", TANH)
    session.play_to(session.steps)
    session.rewind("A")
    session.swap("B", HINGE)
    session.play_to(session.steps)
    return session


def test_rewinding_loses_nothing_and_retrains_nothing(watched: Session) -> None:
    before = [record(track) for track in watched.tracks.values()]
    work = watched._work
    watched._work = lambda _: pytest.fail("something was trained again")  # type: ignore[method-assign]
    watched.seek(0)
    assert list(watched.present) == ["control"]
    watched.play_to(watched.steps)
    watched._work = work  # type: ignore[method-assign]
    assert [record(track) for track in watched.tracks.values()] == before
    assert watched.finished
    assert watched.tick() is False


def test_the_order_of_buttons_and_the_threads_do_not_change_the_bits(watched: Session) -> None:
    other = Session(study(), frames=7, workers=2)
    other.play_to(watched.tracks["A"].fork)
    other.swap("B", HINGE)
    other.swap("A", Stress("activation", "square"))
    other.swap("A", TANH)  # makes room
    other.play_to(other.steps)
    other.close()
    for place in watched.tracks:
        assert record(other.tracks[place]) == record(watched.tracks[place])


def test_a_swap_far_behind_what_has_been_trained_forks_from_the_right_place(watched: Session) -> None:
    late = Session(study(), frames=7)
    late._kept.stride = 10**6  # keeps only the start, so that the fork has to be trained once more
    late.play_to(late.steps)
    late.seek(watched.tracks["A"].fork)
    late._kept.states = {0: late._kept.states[0]}
    late.swap("A", TANH)
    assert late.tracks["A"].course.start == 0
    late.play_to(late.steps)
    mine, theirs = (
        [v for c in s.tracks["A"].cells for _, v in sorted(c.block.dump().items())] for s in (late, watched)
    )
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert late.tracks["A"].seen_at(late.clock)


def test_the_swap_itself_is_seen_at_the_fork(watched: Session) -> None:
    fork = watched.tracks["A"].fork
    twins, stressed = (watched.tracks[p].prints(fork, 0) for p in ("control", "A"))
    assert not torch.equal(twins, stressed)
    for mine, theirs in zip(watched.tracks["A"].cells, watched.tracks["control"].cells, strict=True):
        assert min(mine.losses) == fork
        assert mine.losses[fork] != theirs.losses[fork]


def test_undo_makes_a_pulse_whichever_way_it_is_pressed() -> None:
    def pressed(*, late: bool) -> Session:
        session = Session(study(), frames=7)
        first, second = session.frames[2], session.frames[4]
        session.play_to(first)
        session.swap("A", TANH)
        session.play_to(session.steps if late else second)
        session.seek(second)
        session.undo("A")
        session.play_to(session.steps)
        return session

    now, later = pressed(late=False), pressed(late=True)
    assert record(now.tracks["A"]) == record(later.tracks["A"])
    assert now.tracks["A"].stress is not None
    assert now.tracks["A"].stress.end < 1
    press = Session(study(), frames=7)
    press.play_to(press.frames[2])
    press.swap("A", TANH)
    press.play_to(press.steps)
    assert record(press.tracks["A"]) != record(now.tracks["A"])
    with pytest.raises(AkpError, match="undone already"):
        now.undo("A")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda s: s.swap("C", TANH), "unknown place 'C'"),
        (lambda s: s.swap("A", "tanh"), "expected a Stress"),
        (lambda s: s.undo("B"), "unknown stress 'B'"),
        (lambda s: s.drop("control"), "unknown stress 'control'"),
        (lambda s: s.seek(-1), "step as a whole number"),
        (lambda s: s.swap("A", Stress("activation", "tanh", slots=("nowhere",))), "unknown slot"),
        (lambda s: (s.swap("A", TANH), s.undo("A")), "a moment after the onset of A"),
        (lambda s: (s.play_to(s.steps), s.swap("A", TANH)), "training is over"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_changes_nothing(wrong, said: str) -> None:
    session = Session(study(), frames=2)
    with pytest.raises(AkpError, match=said) as caught:
        wrong(session)
    assert "\n" not in str(caught.value)
    session.play_to(session.steps)
    assert session.finished


def test_a_session_refuses_what_it_could_not_hold() -> None:
    with pytest.raises(AkpError, match="begins without stresses"):
        Session(study(stresses=(TANH,)))
    with pytest.raises(AkpError, match="members of a live family"):
        Session(study(members=2))
    with pytest.raises(AkpError, match="MB of fingerprints"):
        Session(study(members=5000))


@pytest.mark.parametrize("steps", [1, 7, 96, 384, 99_991])
def test_shares_round_to_their_steps(steps: int) -> None:
    for step in {0, 1, steps // 3, steps // 2, steps - 1}:
        assert step_of(share(step, steps), steps) == step
        assert share(step, steps) <= 1


def test_the_view_has_a_row_a_family_and_frame_up_to_the_clock(watched: Session) -> None:
    watched.seek(watched.frames[4])
    rows = View(watched).curves()
    fork = watched.tracks["A"].fork
    expected = [(p, s) for p in watched.tracks for s in watched.frames[:5] if p == "control" or s >= fork]
    assert [(row["place"], row["step"]) for row in rows] == expected
    for row in rows:
        for name in QUANTITIES:
            low, mean, high = (row[k] for k in (f"{name}_low", name, f"{name}_high"))
            assert (low is None) == (mean is None)
            assert mean is None or low <= mean <= high
    prints = [watched.tracks[p].prints(fork, 0).double() for p in ("A", "control")]
    by_hand = torch.nn.functional.cosine_similarity(*prints, dim=1)
    at_fork = next(row for row in rows if row["place"] == "A")
    assert at_fork["cka"] == pytest.approx(float(by_hand.mean()), abs=1e-4)
    assert at_fork["loss"] is None


def test_the_map_keeps_distances_and_does_not_spin(watched: Session) -> None:
    view = View(watched)
    watched.seek(watched.frames[3])
    first, shown = view.map()
    assert len(first) == 9
    assert 0 < shown <= 1
    again, _ = view.map()
    assert again == first
    watched.seek(watched.frames[4])
    moved, _ = view.map()
    there, here = (np.array([[p["x"], p["y"]] for p in points]) for points in (first, moved))
    assert np.linalg.norm(here - there) < np.linalg.norm(here + there)  # not mirrored


def test_lost_networks_are_counted_and_leave_the_map() -> None:
    palette.ACTIVATIONS["void"] = palette.Activation("void", lambda x: x * torch.inf, False, False, "")
    try:
        session = Session(study(), frames=4)
        session.play_to(session.frames[1])
        session.swap("A", Stress("activation", "void"))
        session.play_to(session.steps)
        view = View(session)
        last = view.curves()[-1]
        assert (last["place"], last["lost"], last["cka"], last["error"]) == ("A", 3, None, 100.0)
        points, _ = view.map()
        assert {p["place"] for p in points} == {"control"}
    finally:
        del palette.ACTIVATIONS["void"]


def test_a_stress_is_said_in_the_parameters_of_a_page() -> None:
    pulse = replace(checked_swap("loss", "hinge", 0.5), onset=0.25, end=0.375)
    values = parameters(Choice(), pulse)
    assert values["losses"] == ["hinge"]
    assert values["activations"] == []
    assert (values["doses"], values["onsets"], values["pulse"]) == ([0.5], [0.25], 0.125)
    line = command(Choice(), pulse)
    assert "-p 'losses=[hinge]'" in line
    assert "-p 'activations=[]'" in line
    for wrong in (("loss", "tanh", 1.0), ("label_noise", "", 1.0), ("activation", "tanh", 0.0)):
        with pytest.raises(AkpError):
            checked_swap(*wrong)
    with pytest.raises(AkpError, match="a swap in all slots"):
        parameters(Choice(), Stress("label_noise", dose=0.2))


SMALL = Choice(dataset="digits", network="mlp", members=3, epochs=1)


class Watcher:
    """Keeps the views of a runner, and waits for one."""

    def __init__(self) -> None:
        self.views: list[dict] = []
        self.news = threading.Condition()

    def __call__(self, view: dict) -> None:
        json.dumps(view, allow_nan=False)
        with self.news:
            self.views.append(view)
            self.news.notify_all()

    def until(self, wanted, seconds: float = 30) -> dict:
        with self.news:
            assert self.news.wait_for(lambda: bool(self.views) and wanted(self.views[-1]), seconds)
            return self.views[-1]


def test_a_runner_obeys_in_the_background_and_survives_being_closed(tmp_path: Path) -> None:
    seen = Watcher()
    runner = Runner(SMALL, seen, folder=tmp_path, frames=6)
    runner.start()
    runner.send("swap", place="A", kind="activation", to="nonsense")
    assert "unknown activation 'nonsense'" in seen.until(lambda v: v["word"])["word"]
    runner.send("pace", seconds=0.3)  # else it may be over before the button is pressed
    runner.send("play")
    seen.until(lambda v: v["clock"] >= 4)
    runner.send("pause")
    paused = seen.until(lambda v: not v["playing"])["clock"]
    runner.send("swap", place="A", kind="activation", to="tanh")
    view = seen.until(lambda v: "A" in {row["place"] for row in v["curves"]})  # seen although it pauses
    assert view["clock"] == paused
    runner.send("pace", seconds=0.0)
    runner.send("play")
    seen.until(lambda v: v["finished"])
    runner.close()
    note = json.loads((tmp_path / JOURNAL).read_text())
    assert note["stresses"]["A"]["to"] == "tanh"

    again = Watcher()
    second = Runner(SMALL, again, folder=tmp_path, frames=6)
    second.start()
    again.until(lambda v: v["finished"] and not v["resuming"])
    second.close()
    assert record(second.session.tracks["A"]) == record(runner.session.tracks["A"])


def test_a_damaged_journal_and_another_choice_begin_anew(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_text("{")
    seen = Watcher()
    runner = Runner(SMALL, seen, folder=tmp_path)
    runner.start()
    assert "could not be read" in seen.until(bool)["word"]
    runner.close()


def test_a_second_window_takes_the_journal_over(tmp_path: Path) -> None:
    one, two = Watcher(), Watcher()
    first = Runner(SMALL, one, folder=tmp_path)
    first.start()
    one.until(bool)
    second = Runner(SMALL, two, folder=tmp_path)
    second.start()
    two.until(bool)
    for _ in range(2):  # whoever presses again is told again
        number = one.views[-1]["number"]
        first.send("play")
        view = one.until(lambda v, n=number: v["number"] > n and "another window" in v["word"])
        assert not view["playing"]
    first.close()
    second.close()


def test_an_order_waits_for_no_more_than_one_piece_of_work(tmp_path: Path) -> None:
    seen = Watcher()
    runner = Runner(replace(SMALL, epochs=20), seen, folder=tmp_path)
    runner.start()
    runner.send("play")
    seen.until(lambda v: v["clock"] > 0)
    begin = time.perf_counter()
    runner.send("swap", place="B", kind="loss", to="hinge")
    seen.until(lambda v: "B" in {row["place"] for row in v["curves"]})
    assert time.perf_counter() - begin < 5  # a second on a quiet machine; tests share theirs
    runner.close()
