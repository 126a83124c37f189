"""Lets one process at a time claim a piece of work, without waiting and without a server.

The claim is a lock of the operating system on a file (``flock``), so it ends with its process, also by
SIGKILL or a power cut. It saves double work; nothing may depend on it. Where the file system has no locks
everybody gets the claim.

The file is removed while it is still locked, when the work is done, so that files do not pile up. A process
that opened it just before then locks a file without a name; that is noticed and answered with False, though
nobody has the claim any more, and asking again gives it. On a network file system that notices too late it
gets True, and so does a third process, which makes the file anew: double work, and nothing worse.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def claim(file: Path) -> Iterator[bool]:
    """Claim what a file stands for, until the context closes.

    Yields
    ------
    bool
        True: it is ours. False: another process, thread or context has it.

    Raises
    ------
    OSError
        If the file cannot be made.
    """
    lock = _lock(file)
    held = _acquired(lock)
    try:
        yield held
    finally:
        if held:
            with suppress(OSError):
                file.unlink()
            lock.release()


def is_claimed(file: Path) -> bool:
    """Whether somebody has the claim just now; leaves the file as it is."""
    if not file.exists():
        return False
    lock = _lock(file)
    held = _acquired(lock)
    lock.release()
    return not held


def _lock(file: Path) -> FileLock:
    # the library's own substitute where locks are missing would outlive its process
    return FileLock(file, blocking=False, thread_local=False, fallback_to_soft=False)


def _acquired(lock: FileLock) -> bool:
    Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire()
    except Timeout:
        return False
    except NotImplementedError:
        return True
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
