"""Says in a few words what a stored specification means."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from typing import Any

from safetensors import SafetensorError, safe_open

from akp_core.store import Store

UNKNOWN = "?"
Plain = Mapping[str, Any]


def _forgiving(words: Callable[..., str]) -> Callable[..., str]:
    """Answer `UNKNOWN` to data of another shape, as older or other engines may have written."""

    @wraps(words)
    def safe(*given: Any) -> str:
        try:
            return words(*given)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            return UNKNOWN

    return safe


@_forgiving
def network_words(network: Plain) -> str:
    """``cnn 16 x 3`` (width and depth), or ``own Net`` for a module of the user's, by its class."""
    if network["kind"] == "own":
        return f"own {str(network.get('structure', '')).split('(')[0]}".strip()
    sizes = [str(network[name]) for name in ("width", "depth") if network.get(name)]
    return f"{network['kind']} {' x '.join(sizes)}".strip()


@_forgiving
def phase_words(phase: Plain) -> str:
    """The functions in force: ``0.7 relu + 0.3 tanh in block1, relu in block2, hinge, noise 0.2``."""
    places: dict[str, list[str]] = {}
    for slot, mixture in phase["activations"]:
        places.setdefault(_mixture(mixture), []).append(str(slot).removesuffix(".slot"))
    whole = len(places) < 2
    held = [words if whole else f"{words} in {' '.join(slots)}" for words, slots in places.items()]
    disturbed = [f"{name} {dose:.6g}" for name, dose in phase.get("disturbances", ())]
    reset = ["optimiser reset"] if phase.get("reset_optimizer") else []
    return ", ".join([*held, _mixture(phase["loss"]), *disturbed, *reset])


def _mixture(mixture: str | Sequence[tuple[str, float]]) -> str:
    if isinstance(mixture, str):  # what engines up to 2 wrote
        return mixture
    if len(mixture) == 1:
        return str(mixture[0][0])
    return " + ".join(f"{weight:.6g} {name}" for name, weight in mixture)


class DataNames:
    """Names of the data sets of a store, looked up once each in the copies that the store holds."""

    def __init__(self, store: Store) -> None:
        self._folder = store.root / "data"
        self._known: dict[str, str] = {}

    def words(self, fingerprint: object) -> str:
        """``nuclei 1a2b3c4d``; ``data 1a2b3c4d`` where no copy says more."""
        if not isinstance(fingerprint, str):
            return UNKNOWN
        if fingerprint not in self._known:
            name = "data"
            with (
                suppress(OSError, SafetensorError, ValueError, KeyError, TypeError),
                safe_open(self._folder / f"{fingerprint}.safetensors", "np") as file,
            ):
                name = json.loads(file.metadata()["dataset"])["name"]
            self._known[fingerprint] = f"{name} {fingerprint[:8]}"
        return self._known[fingerprint]
