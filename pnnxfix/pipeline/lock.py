"""One writer at a time in a directory.

The system's own lock on an open file ends with its process, however that dies, so no lock can be stale
and no process number (which means nothing in another container) has to be believed. The lock file holds
the token of the write in progress, by which a later run finds what a killed one left behind.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import time
from pathlib import Path
from typing import NamedTuple

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.disk import explain
from pnnxfix.pipeline.traces import LOCK, is_token

_POLL_SECONDS = 0.02
_BUSY = {errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}


class Lock(NamedTuple):
    """A lock that is held; `previous` is the token of a write that was killed, or empty."""

    path: Path
    descriptor: int
    previous: str

    def note(self, token: str) -> None:
        """Leaves the token for the run that follows if this one is killed."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        os.ftruncate(self.descriptor, 0)
        os.write(self.descriptor, token.encode())

    def release(self, *, keep: bool = False) -> None:
        """Gives the lock up; with `keep` the file stays as the sign of unfinished work."""
        # Windows removes no open file, and refuses if another process has opened it by then. Elsewhere
        # the file must go while it is locked, or it could be the next owner's.
        if os.name == "nt":
            self._close()
            self._remove(keep)
        else:
            self._remove(keep)
            self._close()

    def _remove(self, keep: bool) -> None:
        if not keep:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def take_lock(directory: Path, wait: float) -> Lock:
    """Takes the directory's lock, for which it waits `wait` seconds.

    Raises: PnnxfixError if another process keeps it, or if the directory cannot be written.
    """
    path = directory / LOCK
    deadline = time.monotonic() + wait
    while (lock := _attempt(path)) is None:
        if time.monotonic() >= deadline:
            raise PnnxfixError(
                f"{directory}: another pnnxfix is writing here; nothing was changed;"
                f" run again when it is done"
            )
        time.sleep(_POLL_SECONDS)
    return lock


def _attempt(path: Path) -> Lock | None:
    descriptor = _open(path)
    try:
        if _try_lock(descriptor) and _is_still(path, descriptor):
            text = os.read(descriptor, 64).decode("ascii", "replace")
            return Lock(path, descriptor, text if is_token(text) else "")
    except OSError as error:
        os.close(descriptor)
        raise explain(error, path) from error
    os.close(descriptor)
    return None


def _open(path: Path) -> int:
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise PnnxfixError(f"{path}: is no plain file; nothing was changed; delete it, run again")
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise explain(error, path) from error


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True
