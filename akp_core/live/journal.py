"""What was pressed in a live lab, on the disk, so that a lab that was closed goes on where it was.

Weights are not kept: training is repeated, to the same bits.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

from akp_core.durable import make_folder, refusals, sync_names, write_through
from akp_core.errors import AkpError
from akp_core.live.choice import Choice
from akp_core.live.session import Session

JOURNAL = "lab.json"
OWNER = "lab.owner"
Plan = list[tuple[int, str, dict[str, Any]]]
"""Orders with the step at which each is due, ascending."""


class Journal:
    """The journal of one lab, which the last lab that was opened writes.

    Parameters
    ----------
    folder : Path
    choice : Choice
        What is trained; a journal of another choice is left alone until this lab writes its own.
    """

    def __init__(self, folder: Path, choice: Choice) -> None:
        self.path, self._choice, self._token = folder / JOURNAL, choice, uuid.uuid4().hex

    def take_over(self) -> None:
        """Become the one who writes: a lab in a window left open stops at its next word.

        Raises
        ------
        AkpError
            If the folder cannot be written.
        """
        self._put(OWNER, self._token.encode())

    @property
    def mine(self) -> bool:
        """Whether no other lab has taken over since."""
        try:
            return self.path.with_name(OWNER).read_text("utf8") == self._token
        except OSError:
            return True

    def write(self, session: Session) -> None:
        """Keep where a session is, and which stresses it has; all of it, or what there was before.

        Raises
        ------
        AkpError
            If the folder cannot be written.
        """
        stressed = {place: track for place, track in session.tracks.items() if track.stress is not None}
        note = {
            "choice": asdict(self._choice),
            "clock": session.clock,
            "reached": session.reached,
            "stresses": {place: asdict(track.stress) for place, track in stressed.items() if track.stress},
            "forks": {place: track.fork for place, track in stressed.items()},
            "ends": {place: track.course.phases[-1].start for place, track in stressed.items()},
        }
        self._put(JOURNAL, json.dumps(note, indent=1).encode())

    def _put(self, name: str, content: bytes) -> None:
        folder, new = self.path.parent, self.path.with_name(f"{name}.new")
        with refusals(f"the lab's folder {folder}"):
            make_folder(folder)
            write_through(new, content)
            new.replace(folder / name)
            sync_names(folder)

    def plan(self) -> Plan:
        """Return the orders that bring a new session to where the journal says; none without a journal.

        Raises
        ------
        AkpError
            If the journal cannot be read.
        """
        if not self.path.is_file():
            return []
        try:
            note = json.loads(self.path.read_text("utf8"))
            if note["choice"] != asdict(self._choice):
                return []
            plan: Plan = []
            for place, stress in note["stresses"].items():
                swap = {name: stress[name] for name in ("kind", "to", "dose", "optimizer")}
                plan.append((int(note["forks"][place]), "swap", {"place": place, **swap}))
                if stress["end"] < 1:
                    plan.append((int(note["ends"][place]), "undo", {"place": place}))
            plan.append((int(note["reached"]), "seek", {"step": int(note["clock"])}))
        except (OSError, KeyError, TypeError, ValueError):
            raise AkpError(f"the journal {self.path} could not be read; the lab begins anew") from None
        return sorted(plan, key=lambda entry: entry[0])
