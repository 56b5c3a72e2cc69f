"""Replaces a set of files in one directory: all of them or none.

New content goes to hidden files beside the real targets. Then a journal appears in one step, which is
the commit: before it nothing has changed, after it the next run finishes what a kill cut short
(`pnnxfix.pipeline.recovery`). Then each hidden file is renamed over its target, so a reader sees a
whole old or a whole new file. A symbolic link stays a link and its target is replaced; a file with
several hard links becomes a file of its own.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.disk import Content, copy_access, create, explain, sync_directory, sync_file
from pnnxfix.pipeline.journal import Entry, Journal, encode
from pnnxfix.pipeline.lock import Lock, take_lock
from pnnxfix.pipeline.traces import JOURNAL, Stamp, staged_name, stamp


class Replacement(NamedTuple):
    """New content for a file, which had `stamp` when it was read.

    `content` is pieces of bytes, or writes itself into the binary file that it is given.
    """

    path: Path
    stamp: Stamp
    content: Content


class _Target(NamedTuple):
    path: Path
    real: Path
    staged: Path
    stamp: Stamp


class Transaction:
    """Staged replacements that hold the directory's lock until `commit` or `abort`.

    As a context manager it aborts what was not committed.
    """

    def __init__(self, home: Path, lock: Lock, token: str, targets: Sequence[_Target]) -> None:
        self._home = home
        self._lock: Lock | None = lock
        self._token = token
        self._targets = targets
        self._journal = home / JOURNAL
        self.checksums: dict[Path, int] = {}
        self._draft = home / staged_name(token, "journal", linked=False)

    @property
    def staged(self) -> dict[Path, Path]:
        """Where the new content of each file can be read before it is committed."""
        return {target.path: target.staged for target in self._targets}

    def commit(self) -> None:
        """Puts all new files in place.

        Raises: PnnxfixError if a file has changed since it was read or the system refuses; the set is
        then the old one, or its message says that the next run will finish the new one.
        """
        if self._lock is None:
            raise ValueError("the transaction is over")
        replaced = 0
        at = self._home
        try:
            self._record()
            for target in self._targets:
                at = target.path
                os.replace(target.staged, target.real)
                replaced += 1
            at = self._home
            for directory in {target.real.parent for target in self._targets}:
                sync_directory(directory)
            os.unlink(self._journal)
        except OSError as error:
            if not replaced:
                with contextlib.suppress(OSError):
                    os.unlink(self._journal)
            outcome = "nothing was changed"
            if os.path.lexists(self._journal):
                count = f"{replaced} of {len(self._targets)}"
                outcome = f"{count} files are replaced, the next run finishes the rest"
            raise explain(error, at, outcome) from error
        finally:
            self.abort()

    def abort(self) -> None:
        """Removes the staged files, unless the journal stands: then they belong to the next run."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        traces = [self._draft, *(target.staged for target in self._targets)]
        if not os.path.lexists(self._journal):
            for trace in traces:
                with contextlib.suppress(OSError):
                    os.unlink(trace)
        lock.release(keep=any(map(os.path.lexists, [self._journal, *traces])))

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    def _record(self) -> None:
        for target in self._targets:
            sync_file(target.staged)
        entries = tuple(_entry(target, self.checksums[target.staged]) for target in self._targets)
        create(self._draft, [encode(Journal(self._token, entries))], 0o644)
        sync_file(self._draft)
        # As late as can be: what another program writes after this is lost.
        for target in self._targets:
            _require_unchanged(target.path, target.stamp)
        os.replace(self._draft, self._journal)
        for directory in {self._home, *(target.staged.parent for target in self._targets)}:
            sync_directory(directory)


def stage(replacements: Sequence[Replacement], wait: float = 5.0) -> Transaction:
    """Writes each new content to a hidden file beside its target; the targets stay as they are.

    All paths lie in one directory (links in it may lead elsewhere). Another pnnxfix that writes there
    is waited for, `wait` seconds. Cost: one write of each content; the disk is waited for in `commit`.

    Raises: PnnxfixError, with no file changed and none left behind, for a file that has changed since
    it was read or may not be written, a full disk, a directory in use or with an unfinished repair.
    """
    homes = {_resolve(replacement.path.parent) for replacement in replacements}
    if len(homes) != 1:
        raise ValueError("the files of a transaction lie in one directory")
    home = homes.pop()
    token = os.urandom(8).hex()
    targets = [_target(home, token, index, replacement) for index, replacement in enumerate(replacements)]
    if len({target.real for target in targets}) < len(targets):
        raise PnnxfixError(f"{home}: two files of the conversion are one by a link; nothing was changed")
    for directory in {home, *(target.real.parent for target in targets)}:
        _require_writable(directory)

    lock = take_lock(home, wait)
    if lock.previous or os.path.lexists(home / JOURNAL):
        lock.release(keep=True)
        raise PnnxfixError(f"{home}: a repair was interrupted here; run again to finish or undo it first")
    transaction = Transaction(home, lock, token, targets)
    at = home
    try:
        lock.note(token)
        for target, replacement in zip(targets, replacements, strict=True):
            at = target.path
            _require_unchanged(target.path, target.stamp)
            transaction.checksums[target.staged] = create(target.staged, replacement.content)
            copy_access(os.stat(target.real), target.staged)
    except OSError as error:
        transaction.abort()
        raise explain(error, at) from error
    except BaseException:
        transaction.abort()
        raise
    return transaction


def _target(home: Path, token: str, index: int, replacement: Replacement) -> _Target:
    path = replacement.path
    real = _resolve(path)
    _require_unchanged(path, replacement.stamp)
    mode = _require_writable(real)
    if not stat.S_ISREG(mode):
        raise PnnxfixError(f"{path}: is not a plain file; nothing was changed; convert the model again")
    name = staged_name(token, index, linked=real.parent != home)
    return _Target(path, real, real.parent / name, replacement.stamp)


def _resolve(path: Path) -> Path:
    # Strict: where a link cannot be read, it would itself be taken for the target.
    try:
        return Path(os.path.realpath(path, strict=True))
    except OSError as error:
        raise explain(error, path) from error


def _entry(target: _Target, checksum: int) -> Entry:
    size = os.stat(target.staged).st_size
    return Entry(target.path.name, size, checksum, target.stamp.size, target.stamp.mtime_ns)


def _require_unchanged(path: Path, expected: Stamp) -> None:
    try:
        changed = stamp(path) != expected
    except OSError as error:
        raise explain(error, path) from error
    if changed:
        raise PnnxfixError(f"{path}: has changed since it was read; nothing was changed; run again")


def _require_writable(path: Path) -> int:
    # A rename asks for no permission on the file, and root for none at all: no write bit means hands off.
    # On Windows the bit says nothing about a directory.
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        raise explain(error, path) from error
    protected = not mode & 0o222 and not (os.name == "nt" and stat.S_ISDIR(mode))
    if protected or not os.access(path, os.W_OK):
        raise PnnxfixError(f"{path}: is read-only; nothing was changed; make it writable and run again")
    return mode
