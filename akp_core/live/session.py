"""The engine of the live lab: a clock, an unstressed family, and up to two stressed ones that fork from it.

Time is a clock of training steps. Moving it on trains the families that have not been there yet and reads
the others from their record, so that rewinding loses nothing: after a rewind to the fork another stress can
be set in, and catches up while the first is replayed.

    session = Session(Study(load("digits"), members=4, taps=("features",)))
    session.play_to(20)
    session.swap("A", Stress("activation", "tanh"))     # now, that is at step 20
    session.play_to(session.steps)

Nothing here draws random numbers or asks for the time: the same calls give the same bits, and a stress that
was set in by hand has a study (`Session.study_of`) that trains to the same bits elsewhere.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from akp_core.engines import reproducible
from akp_core.errors import AkpError, expected, unknown_name, whole_number
from akp_core.live.kept import Kept
from akp_core.live.track import CPU, Cell, Course, Tensors, Track
from akp_core.memory import keep_freed_memory
from akp_core.probes import Eyes, grid
from akp_core.stress import Phase, Stress, phases, step_of, unstressed
from akp_core.study import CONTROL, Family, Study
from akp_core.threads import one_thread

PLACES = ("A", "B")
FRAMES = 96
SEEN_BYTES = 768 * 2**20
"""What the fingerprints of all families may take; a session that would take more is refused."""


class Session:
    """Families in training, a clock, and a record of all that was seen.

    Parameters
    ----------
    study : Study
        Without stresses; its data, network, recipe, members, taps and seed are those of every family.
    frames : int
        Every family is looked at after each 1/frames of training, and when `akp_core.population` looks.
    also : iterable of int
        Further steps at which to look, so that a stress can be set in there.
    workers : int
        Threads that train members side by side; the bits do not depend on it.

    Attributes
    ----------
    clock : int
        The step that is shown; one of `frames`.
    tracks : dict of str to Track
        ``control``, and the stressed families by their place, A or B.

    Raises
    ------
    AkpError
        For a study with stresses, fewer than three members, or more fingerprints than fit.

    Notes
    -----
    Cost: that of training, and for each family, member and frame one forward pass of the probe images and
    one fingerprint a tap. Memory: at most `SEEN_BYTES` beside the data, and what `akp_core.live.kept` takes.
    """

    def __init__(
        self, study: Study, *, frames: int = FRAMES, also: Iterable[int] = (), workers: int = 1
    ) -> None:
        if not isinstance(study, Study):
            raise expected("a Study", repr(study), "Study(load('nuclei'))")
        if study.stresses:
            raise AkpError("a live session begins without stresses; set one in with swap('A', Stress(...))")
        whole_number("members of a live family", study.members, 3)
        whole_number("frames", frames, 1)
        whole_number("workers", workers, 1)
        keep_freed_memory()
        self.study, self.steps, self.clock = study, study.steps, 0
        self.frames = self._frames(frames, also)
        self._look = frozenset(self.frames)
        self._pool = ThreadPoolExecutor(workers, "akp-live", _as_alone) if workers > 1 else None
        images, taps = len(study.data.probe), len(study.taps or ())
        seen = 3 * 2 * images * (images - 1) * taps * study.members * len(self.frames)
        if seen > SEEN_BYTES:
            raise expected(
                f"at most {SEEN_BYTES >> 20} MB of fingerprints",
                f"{seen >> 20} MB",
                "choose fewer frames, members or taps",
            )
        with one_thread(flush_denormals=True):
            self.eyes = Eyes.of(study.data, study.taps or (), CPU)
            whole = Course((self._calm(0, self.steps),), exact=self._exact)
            control = Track(CONTROL, None, study, self.eyes, whole)
        self.tracks: dict[str, Track] = {CONTROL: control}
        moments = 2 if study.recipe.optimizer == "adam" else 1
        self._kept = Kept([cell.kept[1] for cell in control.cells], self.frames, moments)

    def _frames(self, count: int, also: Iterable[int]) -> tuple[int, ...]:
        per_epoch = self.study.recipe.steps_per_epoch(len(self.study.data.train))
        exact = {epoch * per_epoch for epoch in grid(self.study.recipe.epochs)}
        looks = self.study.looks
        exact |= {step_of(k / looks, self.steps) for k in range(looks + 1) if looks}
        self._exact = frozenset(exact)
        further = {whole_number("a step to look at", step, 0, self.steps) for step in also}
        return tuple(sorted(exact | further | {step_of(k / count, self.steps) for k in range(count + 1)}))

    def _calm(self, start: int, stop: int) -> Phase:
        return unstressed(self.study.network, self.study.recipe.loss, start, stop)

    # ------------------------------------------------------------------ time

    @property
    def reached(self) -> int:
        """The last step at which the unstressed family has been seen: the clock may be set up to there."""
        control = self.tracks[CONTROL]
        return max((s for s in control.cells[-1].glances if control.seen_at(s)), default=0)

    @property
    def finished(self) -> bool:
        """Whether the clock stands at the end of training and every family has been there."""
        return self.clock == self.steps and not self.behind

    @property
    def present(self) -> dict[str, Track]:
        """The families whose fork is not ahead of the clock."""
        return {place: track for place, track in self.tracks.items() if track.fork <= self.clock}

    @property
    def behind(self) -> tuple[str, ...]:
        """Families that are there at the clock but not yet seen at it; a tick works on them first."""
        return tuple(place for place, track in self.present.items() if not track.seen_at(self.clock))

    def tick(self) -> bool:
        """Do one small piece of work: every network that has to is trained by one step, or looked at.

        Returns
        -------
        bool
            Whether the clock has moved on. Where all there is to see is on record, this is at once.
        """
        if self.finished:
            return False
        goal = self.clock if self.behind else self.frames[bisect_right(self.frames, self.clock)]
        waiting = [track for track in self.tracks.values() if track.fork <= goal and not track.seen_at(goal)]
        if waiting:
            with one_thread(flush_denormals=True), reproducible():
                self._work([c for track in waiting for c in track.cells if goal not in c.glances])
            self._keep(goal)
            return False
        moved, self.clock = goal > self.clock, goal
        return moved

    def _work(self, cells: list[Cell]) -> None:
        """Move members by one step each; the earliest first, so that families that lag catch up."""
        first = min(cell.step for cell in cells)
        due = [cell for cell in cells if cell.step == first]
        if self._pool is None or len(due) == 1:
            for cell in due:
                self._move(cell)
        else:
            list(self._pool.map(self._move, due))

    def _move(self, cell: Cell) -> None:
        look = cell.step >= cell.course.fork and cell.step in self._look and cell.step not in cell.glances
        cell.look() if look else cell.advance()

    def _keep(self, goal: int) -> None:
        """Keep the unstressed family once all of it stands at a frame, so that a stress can fork there."""
        control = self.tracks[CONTROL]
        tensors = control.kept_at(goal) if control.seen_at(goal) else None
        if tensors is not None:
            self._kept.keep(goal, tensors, {track.fork for track in self.tracks.values()} | {self.clock})

    def play_to(self, step: int) -> None:
        """Move the clock on to the first frame at or after a step; an earlier one changes nothing."""
        whole_number("step", step, 0, self.steps)
        while self.clock < step or self.behind:
            self.tick()

    def seek(self, step: int) -> int:
        """Set the clock to the last frame at or before a step that has been reached; returns it.

        Nothing is forgotten: what was trained beyond it is replayed when the clock moves on.
        """
        whole_number("step", step, 0, self.steps)
        self.clock = self.frames[bisect_right(self.frames, min(step, self.reached)) - 1]
        return self.clock

    def rewind(self, place: str | None = None) -> int:
        """Set the clock back to a family's fork (None: the latest fork before the clock, else 0)."""
        if place is not None:
            return self.seek(self._stressed(place).fork)
        return self.seek(max((t.fork for t in self.tracks.values() if t.fork < self.clock), default=0))

    # ------------------------------------------------------------------ stresses

    def swap(self, place: str, stress: Stress) -> None:
        """Set a stress in now: fork a stressed family from the unstressed one at the clock.

        Parameters
        ----------
        place : {"A", "B"}
            A family that is there already makes room.
        stress : Stress
            Its onset is the clock, whatever it says; it lasts until `undo`.

        Raises
        ------
        AkpError
            At the end of training, or for a stress that the network has no slot for.
        """
        if place not in PLACES:
            raise unknown_name("place", place, PLACES)
        if not isinstance(stress, Stress):
            raise expected("a Stress", repr(stress), "Stress('activation', 'tanh')")
        if self.clock == self.steps:
            raise AkpError("training is over, so a stress would have no effect; rewind first")
        stress = replace(stress, onset=share(self.clock, self.steps), end=1.0)
        track = self._fork(stress)
        self.tracks.pop(place, None)
        self.tracks[place] = track
        self.tracks = {p: self.tracks[p] for p in (CONTROL, *PLACES) if p in self.tracks}

    def _fork(self, stress: Stress, here: list[Tensors] | None = None) -> Track:
        """A stressed family: from its own tensors at the clock, else from the unstressed family's."""
        parts = phases(stress, self.study.network, self.study.recipe.loss, self.steps)
        fork, ends = parts[0].start, {part.stop for part in parts}
        start, tensors = (self.clock, here) if here else self._kept.before(fork)
        lead = (self._calm(start, fork),) if start < fork else ()
        exact = {step for step in self._exact if step != fork} | ends
        course = Course(lead + parts, fork, start, frozenset(exact))
        with one_thread(flush_denormals=True):
            return Track(Family(stress).name, stress, self.study, self.eyes, course, tensors)

    def undo(self, place: str) -> None:
        """End a stress now: what it swapped out comes back, and the press becomes a pulse.

        Raises
        ------
        AkpError
            At or before its own onset, at the end of training, or when it has been undone.
        """
        track = self._stressed(place)
        assert track.stress is not None
        if track.stress.end < 1:
            raise AkpError(f"the stress {place} has been undone already; set another one in")
        if not track.fork < self.clock < self.steps:
            raise expected(
                f"a moment after the onset of {place} and before the end of training",
                f"step {self.clock}",
                "move the clock, or drop the stress",
            )
        again = self._fork(
            replace(track.stress, end=share(self.clock, self.steps)), track.kept_at(self.clock)
        )
        again.remember(track, self.clock)
        self.tracks[place] = again

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()

    def drop(self, place: str) -> None:
        """Forget a stressed family."""
        self._stressed(place)
        del self.tracks[place]

    def _stressed(self, place: str) -> Track:
        if place == CONTROL or place not in self.tracks:
            raise unknown_name("stress", place, [p for p in self.tracks if p != CONTROL])
        return self.tracks[place]

    def study_of(self, place: str) -> Study:
        """The study that trains what has been watched: `akp_core.population.run` gives the same bits.

        Its control is the unstressed family, its other family the stressed one; on a CPU, with the default
        engine.
        """
        stress = self._stressed(place).stress
        assert stress is not None
        length = 1.0 if stress.end == 1 else round(stress.end - stress.onset, 9)
        plain = replace(stress, onset=0.0, end=length)
        return replace(self.study, stresses=(plain,), onsets=(stress.onset,))


def _as_alone() -> None:
    """Let a thread compute as `akp_core.threads.one_thread` has it; these settings are each thread's own."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def share(step: int, steps: int) -> float:
    """The shortest share of training that rounds to a step (`akp_core.stress.step_of`)."""
    for digits in range(2, 17):
        short = round(step / steps, digits)
        if step_of(short, steps) == step:
            return short
    return step / steps
