"""What there is to see of a live session at its clock, as plain tables of numbers.

Curves have a row for each family and frame, the map a row for each network. Nothing is kept here but what
would be computed again at every frame, and the way the map was turned last.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.distance import squareform
from torch import Tensor

from akp_core import similarity
from akp_core.dispersion.geometry import about_centroid
from akp_core.dispersion.ordination import coordinates
from akp_core.live.session import Session
from akp_core.live.track import Track
from akp_core.study import CONTROL

Row = dict[str, Any]
QUANTITIES = {
    "error": "wrong answers, %",
    "loss": "training loss",
    "cka": "CKA to the twin",
    "spread": "distance to the centre",
}


class View:
    """Reads a session, frame by frame.

    Parameters
    ----------
    session : Session
    tap : str or None
        Where networks are compared; None means the study's first tap.
    """

    def __init__(self, session: Session, tap: str | None = None) -> None:
        self.session = session
        taps = session.study.taps or ()
        self._tap = taps.index(tap) if tap is not None else 0
        self._done: dict[tuple[Track, int], Row] = {}
        self._turned: dict[tuple[str, int], Float64[np.ndarray, " 2"]] = {}

    def curves(self) -> list[Row]:
        """One row a family and frame up to the clock, oldest first.

        Columns ``place``, ``step``, and of each of `QUANTITIES` the mean over the networks that have it, the
        least and the largest (``error``, ``error_low``, ``error_high``); None where no network has it. Errors
        are in percent of the probe images; the CKA of the unstressed family is that of its networks with
        one another, which is what strangers have in common.
        """
        tracks, control = self.session.tracks, self.session.tracks[CONTROL]
        self._done = {key: row for key, row in self._done.items() if key[0] in tracks.values()}
        rows = []
        for place, track in self.session.present.items():
            before = track.fork
            for step in (s for s in self.session.frames if track.fork <= s <= self.session.clock):
                if not (track.seen_at(step) and control.seen_at(step)):
                    break
                if (track, step) not in self._done:
                    self._done[track, step] = self._row(track, step, before)
                rows.append({"place": place, **self._done[track, step]})
                before = step
        return rows

    def _row(self, track: Track, step: int, before: int) -> Row:
        lost, losses = track.lost(step), track.loss(before, step)
        prints = track.prints(step, self._tap)
        twins = self.session.tracks[CONTROL].prints(step, self._tap)
        alike = np.asarray(similarity.similarity_of_fingerprints(_stacked(prints, twins)))
        n = len(lost)
        cka = _to_others(alike[:n, :n]) if track.stress is None else alike[:n, n:].diagonal()
        squared = _squared(alike[:n, :n][np.ix_(~lost, ~lost)])
        spread = _to_centre(squared) if len(squared) > 2 else np.array([])
        row = {"step": step, "lost": int(lost.sum())}
        row |= _summary("error", 100 * track.errors(step)) | _summary("cka", cka) | _summary("spread", spread)
        return row | _summary("loss", losses)

    def map(self) -> tuple[list[Row], float]:
        """Classical scaling of the chordal distances between all networks at the clock.

        Returns
        -------
        list of dict
            One row a network that has a representation: ``place``, ``member`` (from 1), ``x``, ``y``. The map
            is turned to lie as much like the one before as it can; its own axes mean nothing.
        float
            Share of the sum of squared distances that two axes show, in [0, 1]; NaN for fewer than three
            networks, for which there is no map.
        """
        step = self.session.clock
        seen = {p: t for p, t in self.session.present.items() if t.seen_at(step)}
        there = {p: np.flatnonzero(~t.lost(step)) for p, t in seen.items()}
        names = [(p, m) for p, members in there.items() for m in members.tolist()]
        if len(names) < 3:
            return [], math.nan
        prints = _stacked(*(t.prints(step, self._tap)[there[p]] for p, t in seen.items()))
        squared = _squared(np.asarray(similarity.similarity_of_fingerprints(prints)))
        points = coordinates(squared, 2)[0][:, ::-1]
        total = float(squared.sum()) / (2 * len(squared))
        points = self._as_before(names, points)
        shown = float(np.square(points - points.mean(axis=0)).sum()) / total if total > 0 else math.nan
        self._turned = dict(zip(names, points, strict=True))
        rows = [
            {"place": p, "member": m + 1, "x": round(float(x), 4), "y": round(float(y), 4)}
            for (p, m), (x, y) in zip(names, points, strict=True)
        ]
        return rows, shown

    def maps(self, count: int) -> list[Row]:
        """The map at evenly spaced frames up to the clock, turned alike, and each with its ``step``.

        Parameters
        ----------
        count : int
            Maps, the first and the last frame among them; fewer where there are fewer frames.
        """
        end = self.session.clock
        frames = [step for step in self.session.frames if step <= end]
        chosen = sorted({round(k * (len(frames) - 1) / max(1, count - 1)) for k in range(count)})
        rows = []
        for step in (frames[k] for k in chosen):
            self.session.seek(step)
            rows += [{"step": step, **row} for row in self.map()[0]]
        self.session.seek(end)
        return rows

    def _as_before(
        self, names: list[tuple[str, int]], points: Float64[np.ndarray, "n 2"]
    ) -> Float64[np.ndarray, "n 2"]:
        """Turn and mirror a map so that networks lie where they lay, as far as that goes."""
        both = [i for i, name in enumerate(names) if name in self._turned]
        if len(both) < 2:
            return points
        old = np.array([self._turned[names[i]] for i in both])
        turn, _ = orthogonal_procrustes(points[both], old)
        return points @ turn


def _stacked(*prints: Float32[Tensor, "_m k"]) -> Float64[Tensor, "m k"]:
    return torch.cat(prints).double()


def _to_others(alike: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, " n"]:
    """Mean CKA of each network with the others that have a representation."""
    there = np.isfinite(alike.diagonal())
    inner = alike[np.ix_(there, there)]
    return (inner.sum(axis=1) - inner.diagonal()) / (len(inner) - 1) if len(inner) > 1 else np.array([])


def _to_centre(squared: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, " n"]:
    """Distance of each network to its family's centre, comparable between families of unequal size."""
    n = len(squared)
    return np.sqrt(n / (n - 1) * np.maximum(about_centroid(squared), 0))


def _squared(alike: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, "n n"]:
    """Squared chordal distances: ``2 (1 - CKA)``, zero on the diagonal."""
    distances = np.asarray(similarity.chordal_distance(alike))
    return np.square(squareform(squareform(distances, checks=False)))


def _summary(name: str, values: Float64[np.ndarray, " n"]) -> Row:
    values = values[np.isfinite(values)]
    if not len(values):
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    numbers = (values.mean(), values.min(), values.max())
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: round(float(value), 4) for key, value in zip(keys, numbers, strict=True)}
