"""The journal of a write: what is written at its commit, and read by whoever finds it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import NamedTuple

from pnnxfix.errors import PnnxfixError
from pnnxfix.pipeline.traces import JOURNAL, LOCK, is_staged, is_token

_VERSION = 2
_MAX_BYTES = 1 << 20


class Entry(NamedTuple):
    """One file of an interrupted write: its plain name, its new content, its old size and time."""

    name: str
    size: int
    crc32: int
    old_size: int
    old_mtime_ns: int


class Journal(NamedTuple):
    """What a committed write still owes: entry `i` has its new content in staged file `i`."""

    token: str
    entries: tuple[Entry, ...]


def encode(journal: Journal) -> bytes:
    """The journal as it is stored; it names no staged file and no directory, so none can be forged."""
    files = [entry._asdict() for entry in journal.entries]
    return json.dumps({"version": _VERSION, "token": journal.token, "files": files}).encode()


def read_journal(path: Path) -> Journal:
    """The journal at `path`, believed only as far as its form goes.

    Raises: PnnxfixError with the remedy, for whatever is not a journal of this version.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
            raise ValueError("not a small plain file")
        return _decode(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise PnnxfixError(
            f"{path}: the journal of an interrupted repair cannot be used ({error}); nothing was changed."
            f" See that the files beside it are as you want them, delete it and run again"
        ) from error


def _decode(data: bytes) -> Journal:
    match json.loads(data):
        case {"version": 2, "token": str(token), "files": list(files)} if is_token(token):
            entries = tuple(map(_entry, files))
        case _:
            raise ValueError(f"not a version {_VERSION} journal")
    if not entries or len({entry.name for entry in entries}) < len(entries):
        raise ValueError("no file, or a file named twice")
    return Journal(token, entries)


def _entry(item: object) -> Entry:
    match item:
        case {
            "name": str(name),
            "size": int(size),
            "crc32": int(crc32),
            "old_size": int(old_size),
            "old_mtime_ns": int(old_mtime_ns),
        }:
            _require_plain(name)
            return Entry(name, size, crc32, old_size, old_mtime_ns)
    raise ValueError("a file entry lacks a field")


def _require_plain(name: str) -> None:
    os.fsencode(name)  # a ValueError now rather than in a system call
    own = name in (LOCK, JOURNAL) or is_staged(name)
    # On Windows a colon also leads to a file's second stream.
    stream = os.name == "nt" and ":" in name
    if own or stream or name in ("", "..") or "\0" in name or Path(name).name != name:
        raise ValueError(f"{name!r} is not a plain file name")
