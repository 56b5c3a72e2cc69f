"""The few file system steps that a safe write needs, and their failures in plain words."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

from pnnxfix.errors import PnnxfixError

Content = Sequence[bytes | memoryview] | Callable[[BinaryIO], object]

_REMEDIES = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space and run again",
    errno.EROFS: "the file system is read-only: copy the conversion to where it can be written",
    errno.EACCES: "make the file and its directory writable and run again",
    errno.EPERM: "make the file and its directory writable and run again",
}
_BUFFER = 1 << 17
# Network file systems, and directories that may be written but not read.
_NO_DIRECTORY_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM}


def explain(error: OSError, path: Path, outcome: str = "nothing was changed") -> PnnxfixError:
    """The error for the user: file, reason, what has become of the files, what to do."""
    reason = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0, "mend that and run again")
    return PnnxfixError(f"{path}: cannot be written: {reason}; {outcome}; {remedy}")


def create(path: Path, content: Content, mode: int = 0o600) -> int:
    """Writes a file that must not exist yet, and gives its checksum; a link in its place is not followed."""
    with open(path, "xb", _BUFFER, opener=lambda name, flags: os.open(name, flags, mode)) as file:
        if callable(content):
            content(file)
        else:
            file.writelines(content)
    return checksum(path) if callable(content) else reduce(lambda sum, piece: crc32(piece, sum), content, 0)


def copy_access(source: os.stat_result, path: Path) -> None:
    """Gives `path` the mode of `source`, and its owner and group as far as the system permits."""
    mine = os.stat(path)
    if sys.platform != "win32" and (mine.st_uid, mine.st_gid) != (source.st_uid, source.st_gid):
        try:
            os.chown(path, source.st_uid, source.st_gid)
        except PermissionError:
            with contextlib.suppress(PermissionError):
                os.chown(path, -1, source.st_gid)
    # After chown, which clears the set-id bits.
    os.chmod(path, source.st_mode & 0o7777)


def checksum(path: Path) -> int:
    """The CRC-32 of a file's content, in constant memory: enough to tell a half-written file."""
    result = 0
    block = memoryview(bytearray(_BUFFER))
    with open(path, "rb", buffering=0) as file:
        while size := file.readinto(block):
            result = crc32(block[:size], result)
    return result


def sync_file(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    # Windows flushes only what is open for writing.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Waits until renames in a directory are on the disk, where the system can say so."""
    if os.name == "nt":
        return
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
