"""A live session without a hand: stresses set in and undone at the moments that they name."""

from __future__ import annotations

from collections.abc import Sequence

from akp_core.errors import expected
from akp_core.live.session import FRAMES, PLACES, Session
from akp_core.stress import Stress, step_of
from akp_core.study import Study


def recorded(study: Study, stresses: Sequence[Stress], *, frames: int = FRAMES, workers: int = 1) -> Session:
    """Let a session run as if a hand had set these stresses in, and undone the pulses among them.

    Parameters
    ----------
    study : Study
        Without stresses.
    stresses : sequence of Stress
        At most two, for the places A and B, each with its onset and its end.
    frames, workers : int
        As for `Session`.

    Returns
    -------
    Session
        At the end of training.

    Raises
    ------
    AkpError
        For more stresses than there are places, or one that the network has no slot for.
    """
    if len(stresses) > len(PLACES):
        raise expected(f"at most {len(PLACES)} stresses, side by side", str(len(stresses)))
    todo: list[tuple[int, str, Stress | None]] = []
    for place, stress in zip(PLACES, stresses, strict=False):
        todo.append((step_of(stress.onset, study.steps), place, stress))
        if stress.end < 1:
            todo.append((step_of(stress.end, study.steps), place, None))
    todo.sort(key=lambda entry: entry[0])
    session = Session(study, frames=frames, also=[step for step, _, _ in todo], workers=workers)
    for step, place, set_in in todo:
        session.play_to(step)
        if set_in is None:
            session.undo(place)
        else:
            session.swap(place, set_in)
    session.play_to(session.steps)
    return session
