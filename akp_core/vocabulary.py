"""What a user has registered besides our own entries, to be carried to the processes that train.

A worker starts with this library's activations, losses and disturbances. Those that a user registered in a
script or a notebook travel to it with the work.
"""

from __future__ import annotations

from collections.abc import Iterable

from akp_core.disturbances import BUILT_IN_DISTURBANCES, DISTURBANCES, Disturbance
from akp_core.errors import AkpError
from akp_core.palette import (
    ACTIVATIONS,
    BUILT_IN_ACTIVATIONS,
    BUILT_IN_LOSSES,
    LOSSES,
    Activation,
    Loss,
)

Entry = Activation | Loss | Disturbance

_REGISTRIES: dict[type, dict[str, Entry]] = {
    Activation: ACTIVATIONS,  # type: ignore[dict-item]
    Loss: LOSSES,  # type: ignore[dict-item]
    Disturbance: DISTURBANCES,  # type: ignore[dict-item]
}
_LEARNT: list[Entry] = []  # a sender may change its mind: a cell of a notebook is run again
_OURS: dict[type, frozenset[str]] = {
    Activation: BUILT_IN_ACTIVATIONS,
    Loss: BUILT_IN_LOSSES,
    Disturbance: BUILT_IN_DISTURBANCES,
}


def added() -> tuple[Entry, ...]:
    """Every entry that is the user's and not this library's, each with its identity made."""
    entries = [
        entry
        for kind, registry in _REGISTRIES.items()
        for name, entry in registry.items()
        if name not in _OURS[kind]
    ]
    for entry in entries:
        entry.identity  # noqa: B018 - made here, where the source is, and carried along
    return tuple(entries)


def learn(entries: Iterable[Entry]) -> None:
    """Register entries that came from another process.

    Raises
    ------
    AkpError
        If this process knows another function by one of the names.
    """
    for entry in entries:
        registry = _REGISTRIES[type(entry)]
        if entry.name not in registry or registry[entry.name] in _LEARNT:
            registry[entry.name] = entry
            _LEARNT.append(entry)
        if registry[entry.name].identity != entry.identity:
            raise AkpError(
                f"the {type(entry).__name__.lower()} {entry.name!r} is another function here than where the "
                "study was laid out; use one version of the code everywhere"
            )
