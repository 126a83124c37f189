"""Keeps finished training segments under the hash of all that determines them.

A segment lies in a folder of its own, ``segments/KEY[:2]/KEY/``: ``state.safetensors`` (the members at
its end), ``record.safetensors`` (what was seen on the way) and ``manifest.json`` (the specification, the
checksums and the cost). Half-done segments keep their latest checkpoint under ``partial/``, whoever trains
one holds its file in ``locks/``, and what is being written lies in ``scratch/``.

What is promised: a segment appears by one rename, so it is whole or absent, whoever is killed when and
however many processes write it. Once `Store.write` has returned it also survives a power cut, as far as the
disk honours ``fsync``; of a checkpoint the latest or the one before does. A file that no longer matches its
checksum is set aside under ``damaged/`` and the segment counts as absent. Nothing read is ever executed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from akp_core.claims import claim, is_claimed
from akp_core.durable import make_folder, refusals, sync_names, write_through
from akp_core.errors import AkpError, expected, unknown_name
from akp_core.family import ENGINE, State
from akp_core.threads import one_thread

Tensors = dict[str, Tensor]
STATE, RECORD, MANIFEST = "state.safetensors", "record.safetensors", "manifest.json"
MAKER = {"engine": ENGINE, "torch": str(torch.__version__)}  # another maker's segments are never asked for


def digest(spec: dict[str, Any]) -> str:
    """SHA-256 of a specification of plain data, in hexadecimal; the order of keys does not matter."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class DamagedError(AkpError):
    """A stored file that is not what was written; it has been set aside, and counts as absent."""


class Store:
    """A folder of finished segments, shared by any number of processes.

    Parameters
    ----------
    root : path
        Created when first written to.

    Raises
    ------
    AkpError
        If it is no folder, or lies below a file. Every method that writes raises it too, in one line that
        says what to do, when the disk is full or may not be written to; nothing half-written is left then.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        with self._guarded():
            file = next((path for path in (self.root, *self.root.parents) if path.is_file()), None)
        if file is not None:
            raise AkpError(f"expected a folder for the store, got the file {file}; choose another place")

    def __contains__(self, key: str) -> bool:
        return (self.folder(key) / MANIFEST).is_file()

    def keys(self) -> Iterator[str]:
        """The keys of all finished segments, sorted."""
        for path in sorted((self.root / "segments").glob(f"*/*/{MANIFEST}")):
            yield path.parent.name

    def folder(self, key: str) -> Path:
        """Where a segment lies, or would lie."""
        return self.root / "segments" / key[:2] / key

    def _partial(self, key: str) -> Path:
        return self.root / "partial" / key

    def manifest(self, key: str) -> dict[str, Any]:
        """The specification, checksums, versions and cost of a segment."""
        folder = self.folder(key)
        try:
            content = json.loads((folder / MANIFEST).read_bytes())
            whole = _is_manifest(content, key)
        except FileNotFoundError:
            if not folder.is_dir():
                raise AkpError(
                    f"segment {key[:12]} is not in the store {self.root}; run the study first"
                ) from None
            whole = False
        except ValueError:
            whole = False
        except OSError as error:
            raise _unreadable(folder / MANIFEST, error) from error
        if not whole:
            raise self._set_aside(key, MANIFEST)
        return dict(content)

    def state(self, key: str) -> State:
        """The members at the end of a segment."""
        return State(int(self.manifest(key)["stop"]), self._read(key, STATE))

    def record(self, key: str, names: Iterable[str] | None = None) -> Tensors:
        """What was seen on the way through a segment (`akp_core.family.train`).

        The file is read against its checksum once a process (again if its size, times or inode have changed);
        memory is taken for the named tensors alone, however large the others are.

        Parameters
        ----------
        key : str
        names : iterable of str or None
            Which tensors; None means all.

        Raises
        ------
        AkpError
            If the segment is not there, is damaged (it is set aside), or has no tensor of that name.
        """
        if isinstance(names, str):
            raise expected("a list of names of tensors", repr(names), f"write [{names!r}]")
        return self._read(key, RECORD, names)

    def verify(self, key: str) -> None:
        """Read every byte of a segment against its checksums; a damaged one is set aside and named."""
        for name, wanted in self.manifest(key)["sha256"].items():
            if name != MANIFEST:
                self._compare(key, name, wanted, _checksum)

    def _read(self, key: str, name: str, names: Iterable[str] | None = None) -> Tensors:
        self._compare(key, name, self.manifest(key)["sha256"][name], _checksum_once)
        try:
            with safe_open(self.folder(key) / name, "pt") as file, one_thread():
                held = file.keys()
                chosen = held if names is None else list(names)
                for one in chosen:
                    if one not in held:
                        raise unknown_name(f"tensor in {name} of segment {key[:12]}", one, held)
                # what safe_open gives is a window into the file, and keeps all of it mapped
                return {one: file.get_tensor(one).clone() for one in chosen}
        except (FileNotFoundError, SafetensorError):
            raise self._set_aside(key, name) from None

    def _compare(self, key: str, name: str, wanted: str, checksum: Callable[[Path], str]) -> None:
        path = self.folder(key) / name
        try:
            if checksum(path) == wanted:
                return
        except (FileNotFoundError, IsADirectoryError):
            pass
        except OSError as error:
            raise _unreadable(path, error) from error
        raise self._set_aside(key, name)

    def _set_aside(self, key: str, name: str) -> DamagedError:
        """Move a damaged segment out of the way; returns the error to raise."""
        aside = self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        what = f"{name} of segment {key[:12]}"
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            self.folder(key).rename(aside)
        except FileNotFoundError:
            return DamagedError(f"{what} was taken out of the store by another process; run the study again")
        except OSError as error:
            return DamagedError(
                f"{what} is damaged and could not be set aside ({error.strerror}); "
                f"remove {self.folder(key)} and run the study again"
            )
        return DamagedError(f"{what} is damaged; it was set aside as {aside}; run the study again")

    def write(self, key: str, state: State, record: Tensors, manifest: dict[str, Any]) -> None:
        """Put a finished segment in, whole or not at all; one already there has the same bits and stays."""
        files = {STATE: save(state.tensors), RECORD: save(record)}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        size = sum(len(content) for content in files.values())
        full = manifest | {"key": key, "stop": state.step, "sha256": sums, "bytes": size}
        own = digest(json.loads(json.dumps(full)))
        full["sha256"] = sums | {MANIFEST: own}
        files[MANIFEST] = json.dumps(full, indent=1, sort_keys=True).encode()
        home = self.folder(key)
        with self._scratch(size) as scratch:
            scratch.mkdir()
            for name, content in files.items():
                write_through(scratch / name, content)
            sync_names(scratch)
            make_folder(home.parent)
            if home.exists() and key not in self:
                self._set_aside(key, MANIFEST)
            try:
                scratch.rename(home)
            except OSError:
                if key not in self:  # else another process was first, with the same bits
                    raise
            sync_names(home.parent)
        with suppress(OSError):
            self._partial(key).unlink(missing_ok=True)

    def checkpoint(self, key: str, state: State, record: Tensors, seconds: float = 0.0) -> None:
        """Keep the latest whole epoch of a segment in training, replacing the one before.

        ``seconds`` is what it has taken so far, in all processes; `spent` gives it back.
        """
        target = self._partial(key)
        tensors = {f"state/{k}": v for k, v in state.tensors.items()} | {
            f"record/{k}": v for k, v in record.items()
        }
        about = {"step": str(state.step), "seconds": str(seconds), **MAKER}
        content = save(tensors, metadata=about)
        with self._scratch(len(content)) as scratch:
            make_folder(target.parent)
            write_through(scratch, hashlib.sha256(content).digest(), content)
            scratch.replace(target)

    def resume(self, key: str) -> tuple[State, Tensors] | None:
        """The latest checkpoint of a segment, or None where there is none that is whole."""
        try:
            with self._partial(key).open("rb") as file:
                checksum, content = file.read(32), file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(self._partial(key), error) from error
        if hashlib.sha256(content).digest() != checksum:
            return None
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        state = {k.removeprefix("state/"): v for k, v in tensors.items() if k.startswith("state/")}
        record = {k.removeprefix("record/"): v for k, v in tensors.items() if k.startswith("record/")}
        return State(int(header["__metadata__"]["step"]), state), record

    def unfinished(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each checkpoint's key and what is written on it: step, seconds, engine, torch; {} if damaged."""
        for path in sorted((self.root / "partial").glob("*")):
            with suppress(OSError):
                yield path.name, _written_on(path)

    def spent(self, key: str) -> float:
        """Seconds that a segment in training had taken at its latest checkpoint."""
        with suppress(OSError):
            return float(_written_on(self._partial(key)).get("seconds", 0.0))
        return 0.0

    def remove(self, key: str) -> None:
        """Take a finished segment out; it counts as absent from the first moment on."""
        with self._guarded():
            (self.folder(key) / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder(key), ignore_errors=True)

    @contextmanager
    def _scratch(self, size: int) -> Iterator[Path]:
        path = self.root / "scratch" / uuid.uuid4().hex
        try:
            with self._guarded(size):
                make_folder(path.parent)
                yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.unlink()

    def _guarded(self, size: int = 0) -> AbstractContextManager[None]:
        return refusals(f"the store {self.root}", size)

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Claim a segment for training, without waiting (`akp_core.claims`).

        It saves double work and nothing depends on it: two trainers of one segment write the same bits,
        of which one copy stays.

        Yields
        ------
        bool
            True: it is ours until the context closes. False: another process, thread or context has it.
        """
        with ExitStack() as stack:
            with self._guarded():
                held = stack.enter_context(claim(self.root / "locks" / key))
            yield held

    def locked(self, key: str) -> bool:
        """Whether somebody has claimed a segment just now."""
        with self._guarded():
            return is_claimed(self.root / "locks" / key)


def _is_manifest(content: Any, key: str) -> bool:
    if not isinstance(content, dict) or not {"stop", "sha256", "seconds", "bytes"} <= content.keys():
        return False
    sums = content["sha256"]
    if content.get("key") != key or not isinstance(sums, dict) or not {STATE, RECORD} <= sums.keys():
        return False
    others = {name: value for name, value in sums.items() if name != MANIFEST}
    # stores from before manifests had a checksum of their own name the two other files alone
    whole = digest(content | {"sha256": others}) if MANIFEST in sums else None
    return len(others) == 2 and sums.get(MANIFEST) == whole


def _written_on(checkpoint: Path) -> dict[str, str]:
    with checkpoint.open("rb") as file:
        file.seek(32)
        length = int.from_bytes(file.read(8), "little")
        try:
            return dict(json.loads(file.read(min(length, checkpoint.stat().st_size)))["__metadata__"])
        except (ValueError, KeyError, TypeError):
            return {}


def _unreadable(path: Path, error: OSError) -> AkpError:
    return AkpError(f"{path} cannot be read ({error.strerror}); mend this and run again")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum_once(path: Path) -> str:
    seen = path.stat()
    return _remembered(path.absolute(), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


@functools.lru_cache(maxsize=2**14)
def _remembered(path: Path, *_identity: int) -> str:
    return _checksum(path)
