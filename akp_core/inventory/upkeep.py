"""Reads a store against its checksums, and takes out what nobody will ask for."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from akp_core.durable import refusals
from akp_core.errors import AkpError
from akp_core.inventory.listing import manifests, usable
from akp_core.store import Store

KILLED, DAMAGED, FINISHED = "left by killed runs", "damaged", "checkpoints of finished segments"
OUTDATED, UNNEEDED = "of another engine or torch", "of no study that is kept"
_AN_HOUR = 3600.0  # seconds after which nobody is writing a scratch file any more

# a folder given by mistake may have a "scratch" of its own, so only names that the store gives are touched
_KEY = re.compile(r"[0-9a-f]{64}")
_NAMES = {"scratch": re.compile(r"[0-9a-f]{32}"), "damaged": re.compile(r"[0-9a-f]{64}-[0-9a-f]{8}")}


@dataclass(frozen=True)
class Verification:
    """What a reading of every byte found.

    Attributes
    ----------
    whole : int
        Segments that match all their checksums.
    bytes : int
        Their size.
    damaged : tuple of str
        One line for each segment that was set aside: what was wrong, and where it is now.
    orphans : tuple of str
        Keys of whole segments whose parent is not in the store. They can be read; to grow anything new from
        their parent it has to be trained again.
    """

    whole: int
    bytes: int
    damaged: tuple[str, ...]
    orphans: tuple[str, ...]


def verify(store: Store) -> Verification:
    """Read every segment against its checksums; damaged ones are set aside, and the next run makes them anew.

    Cost: reads the whole store once, a chunk at a time.
    """
    damaged, parents, total = [], {}, 0
    for folder in _folders(store):
        try:
            store.verify(folder.name)
            manifest = store.manifest(folder.name)
        except AkpError as error:
            damaged.append(str(error))
        else:
            parents[folder.name] = manifest.get("spec", {}).get("parent")
            total += manifest["bytes"]
    orphans = tuple(key for key, parent in parents.items() if parent is not None and parent not in parents)
    return Verification(len(parents), total, tuple(damaged), orphans)


def prune(store: Store, *, dry_run: bool, keep: Collection[str] | None = None) -> pd.DataFrame:
    """Take out what nobody will ask for; what belongs to a segment in training is left alone.

    A study running elsewhere that `keep` does not name, or that runs with another torch, may lose finished
    segments; it stops with a line that says so, and trains them again when it is run again.

    Parameters
    ----------
    store : Store
    dry_run : bool
        Count only.
    keep : collection of str or None
        Keys of the segments still wanted, such as ``population.tree.segments``. They and what they grew from
        stay, all others go, and so does what the present engine and torch cannot use. None: all that they
        can use is wanted.

    Returns
    -------
    DataFrame
        Indexed by the reason: ``items`` and ``bytes`` that go, and ``in use``, the items left alone.

    Raises
    ------
    AkpError
        If the store cannot be written to.
    """
    reasons = [KILLED, DAMAGED, FINISHED, OUTDATED, UNNEEDED]
    table = pd.DataFrame(0, index=reasons, columns=["items", "bytes", "in use"])
    for reason, key, path in list(_unwanted(store, keep)):
        taken = _size(path)
        if dry_run:
            free = not store.locked(key)
        else:
            with store.lock(key) as free:
                if free:
                    _remove(store, key, path)
        table.loc[reason, ["items", "bytes"] if free else ["in use"]] += [1, taken] if free else [1]
    return table


def _unwanted(store: Store, keep: Collection[str] | None) -> Iterator[tuple[str, str, Path]]:
    """The reason, the segment's key and the path of everything that may go."""
    for path in _named(store, "scratch"):
        with suppress(FileNotFoundError):  # its writer finishes while we look
            if time.time() - path.stat().st_mtime > _AN_HOUR:
                yield KILLED, path.name, path
    for path in _named(store, "damaged"):
        yield DAMAGED, path.name[:64], path
    yield from ((DAMAGED, folder.name, folder) for folder in _folders(store) if folder.name not in store)
    specs = {k: m.get("spec", {}) for k, m in manifests(store) if not isinstance(m, AkpError)}
    wanted = set(specs if keep is None else keep)
    for key in list(wanted):
        while (key := specs.get(key, {}).get("parent")) is not None and key not in wanted:
            wanted.add(key)
    for key, about in store.unfinished():
        if key in store:
            yield FINISHED, key, store.root / "partial" / key
        elif not usable(about) or (keep is not None and key not in wanted):
            yield UNNEEDED if usable(about) else OUTDATED, key, store.root / "partial" / key
    for key, spec in specs.items():
        if not usable(spec) or key not in wanted:
            yield UNNEEDED if usable(spec) else OUTDATED, key, store.folder(key)
    yield from ((KILLED, path.name, path) for path in _named(store, "locks"))


def _folders(store: Store) -> list[Path]:
    return sorted(path for path in (store.root / "segments").glob("*/*") if _KEY.fullmatch(path.name))


def _named(store: Store, place: str) -> list[Path]:
    names = _NAMES.get(place, _KEY)
    return sorted(path for path in (store.root / place).glob("*") if names.fullmatch(path.name))


def _size(path: Path) -> int:
    total = 0
    for file in [path, *path.rglob("*")]:
        with suppress(OSError):
            total += file.stat().st_size if file.is_file() else 0
    return total


def _remove(store: Store, key: str, path: Path) -> None:
    if path == store.folder(key):
        store.remove(key)
        return
    with refusals(f"the store {store.root}"), suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
