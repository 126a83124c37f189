"""Drives a live session in a thread of its own, so that nobody who watches it ever waits for training.

Commands go in through a queue and are obeyed between two small pieces of work; what there is to see comes
out as one plain table at a time. The kernel's own thread only passes messages on.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from akp_core.errors import AkpError, expected, unknown_name
from akp_core.live.choice import Choice, checked_swap, command
from akp_core.live.journal import Journal, Plan
from akp_core.live.session import FRAMES, Session
from akp_core.live.view import View
from akp_core.stress import percent

INTERVAL = 0.2
"""Seconds between two views while training runs."""
REPLAY = 0.12
"""Seconds for each frame that is only read from the record."""
PACES = (0.0, 0.3, 1.0)
"""Seconds that a frame lasts at least."""
TAKEN = "this lab goes on in another window; this one is paused and keeps no journal"


class Runner:
    """A live session that runs by itself.

    Parameters
    ----------
    choice : Choice
    show : callable
        Called in the runner's thread with each view, a dict of plain data.
    folder : path or None
        Where the journal of what was pressed is kept, so that a lab that was closed goes on where it was;
        None keeps none.
    root : path or None
        Folder of public data sets.
    frames, workers : int
        As for `Session`.
    """

    def __init__(
        self,
        choice: Choice,
        show: Callable[[dict[str, Any]], None],
        *,
        folder: str | Path | None = None,
        root: str | Path | None = None,
        frames: int = FRAMES,
        workers: int = 2,
    ) -> None:
        self.choice, self._show = choice, show
        self.session = Session(choice.study(root), frames=frames, workers=workers)
        self.view = View(self.session)
        self.journal = None if folder is None else Journal(Path(folder), choice)
        self.playing, self._pace, self._word, self._number = False, PACES[0], "", 0
        self._taken = False
        self._plan: Plan = []
        self._inbox: queue.Queue[tuple[str, dict[str, Any]] | None] = queue.Queue()
        self._worked, self._frame_began, self._shown, self._saved = False, 0.0, 0.0, 0.0
        self._thread = threading.Thread(target=self._run, name="akp-live", daemon=True)

    def start(self) -> None:
        """Begin to obey; training waits for ``play``."""
        self._thread.start()

    def send(self, name: str, **values: Any) -> None:
        """Ask for something: one of `ORDERS`. Returns at once; what cannot be met is said in a view."""
        self._inbox.put((name, values))

    def close(self) -> None:
        """Stop, write the journal, and wait until both are done."""
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join()
        self.session.close()

    # ------------------------------------------------------------------ the thread

    def _run(self) -> None:
        self._resume()
        self._publish()
        while True:
            busy = (self.playing or self.session.behind) and not self.session.finished
            try:
                order = self._inbox.get(block=not busy)
            except queue.Empty:
                self._go_on()
                continue
            if order is None:
                self._write()
                return
            self._obey(*order)

    def _obey(self, name: str, values: dict[str, Any]) -> None:
        self._word = ""
        try:
            if name not in ORDERS:
                raise unknown_name("order", name, ORDERS)
            self._plan = self._plan if name in ("play", "pause", "pace", "look") else []
            ORDERS[name](self, **values)
        except AkpError as error:
            self._word = str(error)
        except TypeError as error:
            self._word = str(expected(f"what {name!r} needs", str(error)))
        self._write()
        if self._taken:  # also where it was found out while nobody pressed anything
            self.playing, self._word = False, TAKEN
        self._publish()

    def _go_on(self) -> None:
        """One piece of work; at the end of a frame a moment's rest, and what is planned there."""
        before, lagged = self.session.clock, self.session.behind
        begin = time.perf_counter()
        moved = self.session.tick()
        self._worked = self._worked or not moved
        if moved or (before == self.session.clock and self.session.finished):
            least = 0.0 if self._plan else self._pace if self._worked else max(self._pace, REPLAY)
            rest = self._frame_began + least - time.perf_counter()
            self._follow_plan()
            self._worked = False
            if moved and rest > 0:
                self._publish()
                self._wait(rest)
            self._frame_began = time.perf_counter()
            if moved and rest > 0:
                return
        if self.session.finished:
            self.playing = False
        caught_up = lagged and not self.session.behind
        if self.session.finished or caught_up or begin - self._shown >= INTERVAL:
            self._publish()
        if begin - self._saved >= 2:
            self._write()

    def _wait(self, seconds: float) -> None:
        """Rest, but not when there is an order."""
        until = time.perf_counter() + seconds
        while self._inbox.empty() and (left := until - time.perf_counter()) > 0:
            time.sleep(min(0.02, left))

    def _publish(self) -> None:
        self._shown = time.perf_counter()
        self._number += 1
        self._show(self._seen())

    def _seen(self) -> dict[str, Any]:
        session = self.session
        points, shown = self.view.map()
        families = [
            {
                "place": place,
                "name": track.name,
                "fork": track.fork,
                "command": "" if track.stress is None else command(self.choice, track.stress),
                "undone": track.stress is not None and track.stress.end < 1,
            }
            for place, track in session.tracks.items()
        ]
        return {
            "number": self._number,
            "clock": session.clock,
            "steps": session.steps,
            "reached": session.reached,
            "percent": percent(round(session.clock / session.steps, 3)),
            "playing": self.playing and not session.finished,
            "finished": session.finished,
            "behind": list(session.behind),
            "resuming": bool(self._plan),
            "families": families,
            "curves": self.view.curves(),
            "map": points,
            "shown": None if not points else round(shown, 3),
            "word": self._word,
        }

    # ------------------------------------------------------------------ the journal

    def _write(self) -> None:
        """Put on the disk what a lab needs to go on where this one is."""
        self._saved = time.perf_counter()
        if self.journal is None or self._plan:
            return
        if not self.journal.mine:
            self.playing, self.journal, self._word, self._taken = False, None, TAKEN, True
            return
        try:
            self.journal.write(self.session)
        except AkpError as error:
            self._word = str(error)

    def _resume(self) -> None:
        """Plan what a journal of the same choice says: training is repeated, to the same bits."""
        if self.journal is None:
            return
        try:
            self.journal.take_over()
        except AkpError as error:
            self._word, self.journal = str(error), None
            return
        try:
            self._plan = self.journal.plan()
        except AkpError as error:
            self._word = str(error)
        self.playing = bool(self._plan) and self._plan[-1][0] > 0
        self._follow_plan()

    def _follow_plan(self) -> None:
        while self._plan and self._plan[0][0] <= self.session.clock:
            _, name, values = self._plan.pop(0)
            try:
                ORDERS[name](self, **values)
            except AkpError as error:
                self._word = str(error)
            if not self._plan:
                self.playing = False

    # ------------------------------------------------------------------ what can be asked for

    def _swap(self, place: str, kind: str, to: str, dose: float = 1.0, optimizer: str = "keep") -> None:
        self.session.swap(place, checked_swap(kind, to, dose, optimizer))

    def _play(self) -> None:
        if self.session.finished:
            raise AkpError("training is over; rewind, then play")
        self.playing = True

    def _pause(self) -> None:
        self.playing = False

    def _rewind(self, place: str | None = None) -> None:
        self.playing = False
        self.session.rewind(place)

    def _seek(self, step: int) -> None:
        self.playing = False
        self.session.seek(step)

    def _replay(self) -> None:
        self.session.seek(0)
        self.playing = True

    def _set_pace(self, seconds: float) -> None:
        if seconds not in PACES:
            raise expected(f"a pace out of {', '.join(map(str, PACES))} seconds a frame", repr(seconds))
        self._pace = seconds

    def _look(self) -> None:
        """Only show again what there is."""


ORDERS: dict[str, Callable[..., None]] = {
    "play": Runner._play,
    "pause": Runner._pause,
    "swap": Runner._swap,
    "undo": lambda self, place: self.session.undo(place),
    "drop": lambda self, place: self.session.drop(place),
    "rewind": Runner._rewind,
    "seek": Runner._seek,
    "replay": Runner._replay,
    "pace": Runner._set_pace,
    "look": Runner._look,
}
