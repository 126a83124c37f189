"""Keeps finished training segments under the hash of all that determines them.

A segment lies in a folder of its own, ``segments/KEY[:2]/KEY/``: ``state.safetensors`` (the members at
its end), ``record.safetensors`` (what was seen on the way) and ``manifest.json`` (the specification, the
checksums and the cost). A folder appears by one rename, so it is whole or absent; a file that no longer
matches its checksum is set aside under ``damaged/`` and the segment counts as absent. Half-done segments
keep their latest checkpoint under ``partial/``. Nothing read from disk is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from akp_core.errors import AkpError
from akp_core.family import State

Tensors = dict[str, Tensor]


def digest(spec: dict[str, Any]) -> str:
    """SHA-256 of a specification of plain data, in hexadecimal; the order of keys does not matter."""
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """A folder of finished segments.

    Parameters
    ----------
    root : path
        Created when first written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise AkpError(f"expected a folder for the store, got the file {self.root}; choose another place")

    def __contains__(self, key: str) -> bool:
        return (self._folder(key) / "manifest.json").is_file()

    def _folder(self, key: str) -> Path:
        return self.root / "segments" / key[:2] / key

    def manifest(self, key: str) -> dict[str, Any]:
        """The specification, checksums, versions and cost of a segment."""
        try:
            content = json.loads((self._folder(key) / "manifest.json").read_text("utf8"))
            whole = isinstance(content, dict) and {"stop", "sha256", "seconds"} <= content.keys()
        except FileNotFoundError:
            raise AkpError(
                f"segment {key[:12]} is not in the store {self.root}; run the study first"
            ) from None
        except ValueError:
            whole = False
        if not whole:
            raise self._set_aside(key, "manifest.json")
        return dict(content)

    def state(self, key: str) -> State:
        """The members at the end of a segment."""
        return State(int(self.manifest(key)["stop"]), self._read(key, "state.safetensors"))

    def record(self, key: str) -> Tensors:
        """What was seen on the way through a segment (`akp_core.family.train`)."""
        return self._read(key, "record.safetensors")

    def write(self, key: str, state: State, record: Tensors, manifest: dict[str, Any]) -> None:
        """Put a finished segment in, whole or not at all; one already there has the same bits and stays."""
        files = {"state.safetensors": save(state.tensors), "record.safetensors": save(record)}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        bytes_ = sum(len(content) for content in files.values())
        full = manifest | {"key": key, "stop": state.step, "sha256": sums, "bytes": bytes_}
        files["manifest.json"] = json.dumps(full, indent=1, sort_keys=True).encode()
        scratch = self.root / "scratch" / uuid.uuid4().hex
        scratch.mkdir(parents=True)
        try:
            for name, content in files.items():
                _write_through(scratch / name, content)
            home = self._folder(key)
            home.parent.mkdir(parents=True, exist_ok=True)
            if home.exists() and key not in self:
                self._set_aside(key, "manifest.json")
            try:
                scratch.rename(home)
            except OSError:
                if key not in self:
                    raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        self._partial(key).unlink(missing_ok=True)

    def checkpoint(self, key: str, state: State, record: Tensors) -> None:
        """Keep the latest whole epoch of a segment in training, replacing the one before."""
        target = self._partial(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"state/{k}": v for k, v in state.tensors.items()} | {
            f"record/{k}": v for k, v in record.items()
        }
        content = save(tensors, metadata={"step": str(state.step)})
        scratch = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
        try:
            _write_through(scratch, hashlib.sha256(content).digest() + content)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)

    def resume(self, key: str) -> tuple[State, Tensors] | None:
        """The latest checkpoint of a segment, or None where there is none that is whole."""
        try:
            blob = self._partial(key).read_bytes()
        except FileNotFoundError:
            return None
        checksum, content = blob[:32], blob[32:]
        if hashlib.sha256(content).digest() != checksum:
            return None
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        state = {k.removeprefix("state/"): v for k, v in tensors.items() if k.startswith("state/")}
        record = {k.removeprefix("record/"): v for k, v in tensors.items() if k.startswith("record/")}
        return State(int(header["__metadata__"]["step"]), state), record

    def _partial(self, key: str) -> Path:
        return self.root / "partial" / key

    def _read(self, key: str, name: str) -> Tensors:
        wanted = self.manifest(key)["sha256"][name]
        try:
            content = (self._folder(key) / name).read_bytes()
        except FileNotFoundError:
            raise self._set_aside(key, name) from None
        if hashlib.sha256(content).hexdigest() != wanted:
            raise self._set_aside(key, name)
        try:
            return load(content)
        except SafetensorError:
            raise self._set_aside(key, name) from None

    def _set_aside(self, key: str, name: str) -> AkpError:
        aside = self.root / "damaged" / f"{key}-{uuid.uuid4().hex[:8]}"
        aside.parent.mkdir(parents=True, exist_ok=True)
        self._folder(key).rename(aside)
        return AkpError(
            f"{name} of segment {key[:12]} is damaged; it was set aside as {aside}; run the study again"
        )


def _write_through(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
