"""Reads tensors from `.pnnx.bin`: a zip, without compression, with one entry for each attribute.

An entry is named `<operator>.<attribute>` and holds the raw little-endian numbers, row-major, in the
type that `.pnnx.param` states for the attribute. Seen in all releases from 20240226 on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import IO

from pnnxfix.errors import ParseError

MAX_NUMBERS = 1 << 20
MAX_ENTRIES = 1_000_000
_PIECE = 1 << 20
FORMATS = {"f32": "f", "f64": "d", "f16": "e", "i64": "q", "i32": "i", "i16": "h", "i8": "b", "u8": "B",
           "bool": "?"}  # fmt: skip
"""pnnx's types that can be read, with the letter of `struct` for each."""


def read_tensor(
    path: str | os.PathLike[str], entry: str, shape: tuple[int, ...], dtype: str
) -> tuple[int | float, ...]:
    """The numbers of one attribute, row-major; bool as 0 and 1.

    Raises ParseError where the file is no such zip, has no such entry, or the entry is of another
    size than shape and type say. Cost: the zip's directory and this entry; never more than
    `MAX_NUMBERS` numbers are read.
    """
    import struct

    letter = FORMATS.get(dtype)
    count = prod(shape)
    if letter is None or min(shape, default=1) < 0:
        raise ParseError(os.fsdecode(path), 0, 0, f"{entry} is of type {dtype}, which is not read")
    if count > MAX_NUMBERS:
        raise ParseError(os.fsdecode(path), 0, 0, f"{entry} has {count} numbers, more than {MAX_NUMBERS}")
    size = count * struct.calcsize(letter)
    with _open_entry(path, entry) as (stream, length):
        if length != size:
            raise ParseError(
                os.fsdecode(path), 0, 0, f"{entry} has {length} bytes, and not the {size} of {shape}"
            )
        data = stream.read(size)
    if len(data) != size:
        raise ParseError(os.fsdecode(path), 0, 0, f"{entry} ends after {len(data)} of {size} bytes")
    return tuple(map(int, data)) if letter == "?" else struct.unpack(f"<{count}{letter}", data)


def has_equal_entries(path: str | os.PathLike[str], one: str, other: str) -> bool:
    """Whether two attributes have the same bytes. Raises ParseError. Cost: reading both, piece by piece."""
    with _open_entry(path, one) as (first, length), _open_entry(path, other) as (second, other_length):
        if length != other_length:
            return False
        while piece := first.read(_PIECE):
            if piece != second.read(_PIECE):
                return False
    return True


def has_finite_entry(path: str | os.PathLike[str], entry: str) -> bool:
    """Whether a float32 attribute holds no infinity and no nan. Raises ParseError. Cost: reading it."""
    from array import array
    from math import isfinite

    with _open_entry(path, entry) as (stream, _):
        while piece := stream.read(_PIECE):
            numbers = array("f", piece[: len(piece) // 4 * 4])
            if sys.byteorder == "big":
                numbers.byteswap()
            if not isfinite(sum(numbers)):  # a sum in doubles, which float32 cannot overflow
                return False
    return True


@contextmanager
def _open_entry(path: str | os.PathLike[str], entry: str) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of an entry and their number; what goes wrong becomes a ParseError."""
    from zipfile import ZIP_STORED, BadZipFile, ZipFile

    name = os.fsdecode(path)
    try:
        with ZipFile(path) as archive:
            if len(archive.filelist) > MAX_ENTRIES:
                raise ParseError(name, 0, 0, f"more than {MAX_ENTRIES} entries")
            info = archive.getinfo(entry)
            if info.compress_type != ZIP_STORED:
                raise ParseError(name, 0, 0, f"{entry} is compressed")
            with archive.open(info) as stream:
                yield stream, info.file_size
    except KeyError:
        raise ParseError(name, 0, 0, f"no entry {entry}") from None
    except OSError as error:
        raise ParseError(name, 0, 0, f"cannot be read: {error.strerror or error}") from error
    except (BadZipFile, RuntimeError, NotImplementedError, ValueError, OverflowError, EOFError) as error:
        # zipfile says "encrypted" by RuntimeError, and what it does not know by NotImplementedError
        raise ParseError(name, 0, 0, f"not a zip of pnnx: {error}") from error
