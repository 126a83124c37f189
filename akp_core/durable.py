"""Puts files on the disk for good, and says in one line when the disk refuses.

A file is on the disk once its bytes and its name are: ``fsync`` of the file for the one, ``fsync`` of its
folder for the other. What a disk or file system only claims to have written is beyond this module; readers
compare checksums (`akp_core.store`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akp_core.errors import AkpError

_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_REFUSALS = {
    errno.ENOSPC: ("no space left in {place}", "free some space"),
    errno.EDQUOT: ("no quota left in {place}", "free some space"),
    errno.EFBIG: ("a file is too large for {place}", "raise the limit on file sizes (ulimit -f)"),
    errno.EACCES: ("no right to write in {place}", "ask for it or choose another place"),
    errno.EPERM: ("no right to write in {place}", "ask for it or choose another place"),
    errno.EROFS: ("{place} is read-only", "choose another place"),
    errno.ENOTDIR: ("a file lies where {place} needs a folder", "choose another place"),
    errno.EEXIST: ("a file lies where {place} needs a folder", "choose another place"),
}


@contextmanager
def refusals(place: str, size: int = 0) -> Iterator[None]:
    """Turn every `OSError` inside the context into one line that says what to do.

    Parameters
    ----------
    place : str
        What is written to, such as ``"the store _build/store"``.
    size : int
        Bytes that are to be written; 0 leaves them out of the line.

    Raises
    ------
    AkpError
        ``no space left in PLACE: 4,096 bytes were to be written; what is finished is safe; free some
        space and run again``, and its like for other reasons.
    """
    try:
        yield
    except OSError as error:
        what, do = _REFUSALS.get(error.errno or 0, (f"{{place}} failed ({error.strerror})", "mend this"))
        wanted = f": {size:,} bytes were to be written" if size else ""
        raise AkpError(
            f"{what.format(place=place)}{wanted}; what is finished is safe; {do} and run again"
        ) from error


def write_through(path: Path, *pieces: bytes) -> None:
    """Write a file and wait until its bytes, though not yet its name, are on the disk."""
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, with their names on the disk."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_names(folder.parent)


def sync_names(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; before that a rename may be lost with the power."""
    if os.name == "nt":  # a folder cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)
