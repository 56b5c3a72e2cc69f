"""Reads tensors from `.pnnx.bin`: a zip, without compression, with one entry for each attribute.

An entry is named `<operator>.<attribute>` and holds the raw little-endian numbers, row-major, in the
type that `.pnnx.param` states for the attribute. Seen in all releases from 20240226 on.
"""

from __future__ import annotations

import os
from math import prod

from pnnxfix.errors import ParseError

MAX_NUMBERS = 1 << 20
MAX_ENTRIES = 1_000_000
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
    from zipfile import ZIP_STORED, BadZipFile, ZipFile

    name = os.fsdecode(path)
    letter = FORMATS.get(dtype)
    count = prod(shape)
    if letter is None or min(shape, default=1) < 0:
        raise ParseError(name, 0, 0, f"{entry} is of type {dtype}, which is not read")
    if count > MAX_NUMBERS:
        raise ParseError(name, 0, 0, f"{entry} has {count} numbers, more than {MAX_NUMBERS}")
    size = count * struct.calcsize(letter)
    try:
        with ZipFile(path) as archive:
            if len(archive.filelist) > MAX_ENTRIES:
                raise ParseError(name, 0, 0, f"more than {MAX_ENTRIES} entries")
            info = archive.getinfo(entry)
            if info.compress_type != ZIP_STORED or info.file_size != size:
                raise ParseError(
                    name, 0, 0, f"{entry} has {info.file_size} bytes, and not the {size} of {shape}"
                )
            with archive.open(info) as stream:
                data = stream.read(size)
    except KeyError:
        raise ParseError(name, 0, 0, f"no entry {entry}") from None
    except OSError as error:
        raise ParseError(name, 0, 0, f"cannot be read: {error.strerror or error}") from error
    except (BadZipFile, RuntimeError, NotImplementedError, ValueError, OverflowError, EOFError) as error:
        # zipfile says "encrypted" by RuntimeError, and what it does not know by NotImplementedError
        raise ParseError(name, 0, 0, f"not a zip of pnnx: {error}") from error
    if len(data) != size:
        raise ParseError(name, 0, 0, f"{entry} ends after {len(data)} of {size} bytes")
    return tuple(map(int, data)) if letter == "?" else struct.unpack(f"<{count}{letter}", data)
