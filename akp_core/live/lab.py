"""The face of the live lab: a widget for a notebook, JupyterLab or Voila. All that is computed is elsewhere.

from akp_core.live.lab import Lab
Lab()
"""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anywidget
import traitlets
import vl_convert

from akp_core.durable import make_folder, refusals, write_through
from akp_core.live.charts import WORDS, specifications
from akp_core.live.choice import Choice
from akp_core.live.runner import PACES, Runner
from akp_core.live.session import FRAMES
from akp_core.palette import ACTIVATIONS, LOSSES

HERE = Path(__file__).parent
PATIENCE = 2.0
"""Seconds after which a view is sent although the browser has not said that it drew the last one."""


def _bundle(folder: str | Path | None) -> str:
    """The face's script with the charts' library in it: nothing is fetched from anywhere.

    Making it takes a second and a hundred megabytes, so it is kept in the lab's folder.
    """
    source = (HERE / "lab.js").read_text("utf8")
    digest = hashlib.sha256((source + version("vl-convert-python")).encode()).hexdigest()[:16]
    kept = None if folder is None else Path(folder) / f"face-{digest}.js"
    if kept is not None and kept.is_file():
        return kept.read_text("utf8")
    made = vl_convert.javascript_bundle(source)
    if kept is not None:
        with refusals(f"the lab's folder {kept.parent}"):
            make_folder(kept.parent)
            new = kept.with_suffix(".new")
            write_through(new, made.encode())
            new.replace(kept)
    return made


class Lab(anywidget.AnyWidget):
    """A family of networks that trains in front of you.

    Parameters
    ----------
    choice : Choice or None
        What is trained; None means the default of `akp_core.live.choice.Choice`.
    folder : path or None
        Where the journal is kept; a lab of the same choice goes on from it.
    root : path or None
        Folder of public data sets.
    frames : int
        As for `akp_core.live.session.Session`.
    theme : {"auto", "light", "dark"}
    """

    _css = HERE / "lab.css"
    charts = traitlets.Dict().tag(sync=True)
    words = traitlets.Dict().tag(sync=True)
    functions = traitlets.Dict().tag(sync=True)
    choice = traitlets.Dict().tag(sync=True)
    paces: traitlets.List[float] = traitlets.List().tag(sync=True)
    theme = traitlets.Unicode("auto").tag(sync=True)

    def __init__(
        self,
        choice: Choice | None = None,
        *,
        folder: str | Path | None = None,
        root: str | Path | None = None,
        frames: int = FRAMES,
        theme: str = "auto",
    ) -> None:
        chosen = choice or Choice()
        self.runner = Runner(chosen, self._offer, folder=folder, root=root, frames=frames)
        held = {name for _, name in self.runner.session.study.network.held}
        super().__init__(
            _esm=_bundle(folder),
            charts=specifications(self.runner.session.steps),
            words=WORDS,
            functions={
                "activation": [name for name in ACTIVATIONS if {name} != held],
                "loss": [name for name in LOSSES if name != self.runner.session.study.recipe.loss],
            },
            choice=asdict(chosen),
            paces=list(PACES),
            theme=theme,
        )
        self._lock = threading.Lock()
        self._waiting: dict[str, Any] | None = None
        self._sent, self._sent_at, self._drawn = 0, 0.0, 0
        self.on_msg(self._hear)
        self.runner.start()

    def _offer(self, view: dict[str, Any]) -> None:
        """Send a view, or keep it until the browser has drawn the one before: only the latest counts."""
        with self._lock:
            self._waiting = view
            if self._drawn >= self._sent or time.perf_counter() - self._sent_at > PATIENCE:
                self._send_waiting()

    def _send_waiting(self) -> None:
        view, self._waiting = self._waiting, None
        if view is not None:
            self._sent, self._sent_at = view["number"], time.perf_counter()
            self.send({"view": view})

    def _hear(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if not isinstance(message, dict):
            return
        if "drawn" in message:
            with self._lock:
                self._drawn = max(self._drawn, int(message["drawn"]))
                self._send_waiting()
        elif (
            "hello" in message
        ):  # a browser that has drawn nothing yet: what was sent before never reached it
            with self._lock:
                self._drawn = self._sent
            self.runner.send("look")
        elif "order" in message:
            self.runner.send(str(message["order"]), **message.get("values", {}))

    def close(self) -> None:
        """Stop training, write the journal, and take the face away."""
        self.runner.close()
        super().close()
