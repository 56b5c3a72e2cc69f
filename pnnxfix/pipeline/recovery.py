"""Finishes or undoes a write that was killed.

A journal may come with a hostile repository, so it is only believed as far as it is harmless. It holds
plain names of its own directory and a random token. Links are resolved anew; a target's new content must
lie in the *same directory as that target*, as a plain file with the name that the token gives and the
recorded size and checksum. So content never moves from one directory to another: a link that leads out
of the repository overwrites nothing unless somebody who may write in that directory has put the file
there, and in a directory open to all that must have been the target's owner or the user who now
recovers. And a target must still have the size and time that the journal saw, or nothing is touched.
"""

from __future__ import annotations

import contextlib
import enum
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.disk import checksum, explain, sync_directory
from pnnxfix.pipeline.journal import Entry, Journal, read_journal
from pnnxfix.pipeline.lock import take_lock
from pnnxfix.pipeline.traces import JOURNAL, is_linked, is_staged, pending, staged_name


@dataclass(frozen=True, slots=True)
class Recovered:
    """A file that an interrupted write had to do with.

    `finished`: `path` now has its new content. Otherwise the write was undone, `path` being a hidden
    file of it that was removed.
    """

    path: Path
    finished: bool


class _State(enum.Enum):
    OWED = "still old, the new content is staged"
    DONE = "new"
    OLD = "still old, nothing staged"
    LOST = "neither old nor new"


@dataclass(frozen=True, slots=True)
class _Item:
    path: Path
    real: Path
    staged: Path
    state: _State


def recover(directory: Path, wait: float = 5.0) -> list[Recovered]:
    """Brings the files of every interrupted write in a directory to exactly the new or the old set.

    Raises: PnnxfixError with the remedy if neither can be had (nothing is touched then), if the
    system refuses, or if another pnnxfix still writes there after `wait` seconds.
    """
    home = Path(os.path.realpath(directory))
    try:
        names = os.listdir(home)
    except OSError as error:
        raise PnnxfixError(f"{directory}: cannot be read: {error.strerror}") from error
    if not pending(names):
        return []
    lock = take_lock(home, wait)
    keep = bool(lock.previous)
    try:
        recovered = _recover(home, lock.previous)
        keep = False
        return recovered
    except OSError as error:
        raise explain(error, directory, "a repair was interrupted here and stays unfinished") from error
    finally:
        lock.release(keep=keep)


def _recover(home: Path, token: str) -> list[Recovered]:
    path = home / JOURNAL
    if not os.path.lexists(path):
        return list(_sweep(home, token))
    journal = read_journal(path)
    items = [_examine(home, journal, index, entry) for index, entry in enumerate(journal.entries)]
    states = {item.state for item in items}
    if _State.LOST in states or {_State.OLD, _State.DONE} <= states:
        raise PnnxfixError(_hopeless(path, items))
    finished = []
    if _State.OLD not in states:
        finished = [Recovered(item.path, finished=True) for item in items]
        for item in items:
            if item.state is _State.OWED:
                os.replace(item.staged, item.real)
        for directory in {item.real.parent for item in items}:
            sync_directory(directory)
    # The journal goes last: until then a kill in here changes nothing about what is to be done.
    swept = [*_sweep(home, token), *_sweep(home, journal.token)]
    os.unlink(path)
    return finished or swept


def _examine(home: Path, journal: Journal, index: int, entry: Entry) -> _Item:
    path = home / entry.name
    real = Path(os.path.realpath(path))
    staged = real.parent / staged_name(journal.token, index, linked=real.parent != home)
    return _Item(path, real, staged, _state(real, staged, entry))


def _state(real: Path, staged: Path, entry: Entry) -> _State:
    if _holds(real, entry):
        return _State.DONE
    with contextlib.suppress(OSError):
        status = os.lstat(real)
        old = (status.st_size, status.st_mtime_ns) == (entry.old_size, entry.old_mtime_ns)
        if old and stat.S_ISREG(status.st_mode):
            return _State.OWED if _holds(staged, entry) and _is_trusted(staged, status) else _State.OLD
    return _State.LOST


def _holds(path: Path, entry: Entry) -> bool:
    try:
        status = os.lstat(path)
        # The size first: a hostile journal shall not make us read a device or a huge file.
        right = stat.S_ISREG(status.st_mode) and status.st_size == entry.size
        return right and checksum(path) == entry.crc32
    except OSError:
        return False


def _is_trusted(staged: Path, target: os.stat_result) -> bool:
    if sys.platform == "win32":
        return True
    return os.lstat(staged).st_uid in (os.geteuid(), target.st_uid)


def _hopeless(journal: Path, items: list[_Item]) -> str:
    files = ", ".join(f"{item.path.name} ({item.state.value})" for item in items)
    return (
        f"{journal}: an interrupted repair can be neither finished nor undone, files changed since: {files}."
        f" Nothing was changed. Restore these files or convert the model again, delete the journal, run again"
    )


def _sweep(home: Path, token: str) -> Iterator[Recovered]:
    names = os.listdir(home)
    leftovers = [home / name for name in names if is_staged(name)]
    if token:
        # Nobody else's: the token is random and stood in this directory.
        for directory in _linked_directories(home, names):
            with contextlib.suppress(OSError):
                leftovers += [directory / name for name in os.listdir(directory) if is_linked(name, token)]
    for path in leftovers:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                yield Recovered(path, finished=False)


def _linked_directories(home: Path, names: list[str]) -> list[Path]:
    links = (home / name for name in names if os.path.islink(home / name))
    return sorted({Path(os.path.realpath(link)).parent for link in links} - {home})
