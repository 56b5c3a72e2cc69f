"""The lines of a text, made from its bytes again whenever somebody asks for them.

A large file is walked through once, and a few of its lines are looked at again. Kept, the lines would
take twice the memory of the text, and touching that for the first time costs more than making them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain, islice
from typing import overload

_PIECE = 1 << 16
"""Bytes whose lines are held at a time, which a processor's cache holds, too."""


class Lines(Sequence[str]):
    """The lines of UTF-8 text, split at each line feed and nowhere else."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._sizes: array[int] | None = None

    def __len__(self) -> int:
        return len(self._before) - 1

    def __iter__(self) -> Iterator[str]:
        """Cost: making each line once, and noting its length."""
        return chain.from_iterable(self._walk())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(islice(self, *index.indices(len(self))))
        at = index + len(self) if index < 0 else index
        before = self._before
        return self._data[before[at] + at : before[at + 1] + at].decode()

    def start(self, index: int) -> int:
        """The place of a line's first byte; behind the last line, that of a next one."""
        return self._before[index] + index

    @cached_property
    def _before(self) -> array[int]:
        """The bytes of all lines before each one, and before the end, line feeds left out."""
        for _ in () if self._sizes is not None else self._walk():
            pass
        assert self._sizes is not None
        return array("Q", accumulate(self._sizes, initial=0))

    def _walk(self) -> Iterator[list[str]]:
        sizes = array("I")
        start, end = 0, 0
        while end >= 0:
            end = self._data.find(b"\n", start + _PIECE)
            piece = self._data[start : end if end >= 0 else None]
            start = end + 1
            lines = piece.decode().split("\n")
            sizes.extend(map(len, lines if piece.isascii() else piece.split(b"\n")))
            yield lines
        self._sizes = sizes
