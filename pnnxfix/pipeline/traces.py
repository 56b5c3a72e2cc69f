"""What a write leaves beside a conversion while it lasts, and the identity of a file.

Imported on every run (`pending`, `stamp`), so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

LOCK = ".pnnxfix.lock"
JOURNAL = ".pnnxfix.journal"

_PREFIX = ".pnnxfix"
_TOKEN = r"[0-9a-f]{16}"
_STAGED = rf"\.pnnxfix-{_TOKEN}-(?:[0-9]{{1,4}}|journal)\.tmp"


class Stamp(NamedTuple):
    """A file's identity at one moment; another stamp means that the content may differ."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def stamp(file: str | os.PathLike[str] | int) -> Stamp:
    """The stamp of a file (links followed) or of an open descriptor.

    Take it before reading or from the descriptor that is read, or a change in between goes unseen.
    """
    status = os.stat(file)
    return Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def pending(names: Iterable[str]) -> bool:
    """Whether a directory with these entries shows a running or an interrupted write."""
    return any(name in (LOCK, JOURNAL) or is_staged(name) for name in names if name.startswith(_PREFIX))


def is_staged(name: str) -> bool:
    """Whether the name is that of a staged file whose journal belongs in the same directory."""
    return re.fullmatch(_STAGED, name) is not None


def is_linked(name: str, token: str) -> bool:
    """Whether the name is that of a file which this write staged outside its own directory."""
    return re.fullmatch(rf"\.pnnxfix-{token}-[0-9]{{1,4}}-linked\.tmp", name) is not None


def is_token(text: str) -> bool:
    """Whether the text can be the random token of a write: 16 hexadecimal digits."""
    return re.fullmatch(_TOKEN, text) is not None


def staged_name(token: str, index: int | str, *, linked: bool) -> str:
    """The name of a staged file; `linked` where its target lies outside the journal's directory.

    Only the write's own directory may judge a linked one: the directory in which it lies knows no
    journal for it and must not take it for a leftover.
    """
    return f"{_PREFIX}-{token}-{index}{'-linked' if linked else ''}.tmp"
