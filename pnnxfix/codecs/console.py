"""Reads what pnnx wrote to the console: the only place where ncnn-side constants may survive.

Source: tools/pnnx/src/main.cpp (the `key = value` lines, `#### pass_ncnn`) and save_ncnn.cpp
(`ignore <type> <name> param <key>=<value>`); alike in all releases from 20240226 to 20261020.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pnnxfix.errors import ParseError

PATH_KEYS = frozenset(("pnnxparam", "pnnxbin", "pnnxpy", "pnnxonnx", "ncnnparam", "ncnnbin", "ncnnpy"))
MAX_LINE = 1 << 20
MAX_KEPT_BYTES = 256 << 20
# What one kept parameter costs besides its own text.
_OVERHEAD = 200


@dataclass(frozen=True, slots=True)
class IgnoredParameter:
    """A parameter that pnnx left out of `.ncnn.param`, spelled as in `.pnnx.param`; `line` counts from 1."""

    key: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Console:
    """What the log of one conversion tells.

    `paths` maps pnnx's option names to the output paths as printed, `ignored` maps (type, name) of
    an operator to its dropped parameters in the order of the log, `inputshape` is pnnx's spelling
    (`[1,3,8,8]f32`, "" where unknown), `complete` says whether pnnx reached its ncnn passes.
    """

    paths: dict[str, str]
    ignored: dict[tuple[str, str], tuple[IgnoredParameter, ...]]
    inputshape: str
    complete: bool


def read_console(source: str | os.PathLike[str] | BinaryIO) -> Console:
    """Reads a log line by line; memory grows with the `ignore` lines only.

    If the log holds several runs, the last one is given. A line of more than 1 MiB gives nothing:
    a value cut short would be a wrong value. Bytes that are not UTF-8 become U+FFFD.

    Raises ParseError if the log cannot be read or keeps more than 256 MiB of `ignore` lines.
    """
    name = os.fsdecode(source) if isinstance(source, (str, os.PathLike)) else "console log"
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as stream:
                return _collect(stream, name)
        return _collect(source, name)
    except (OSError, ValueError) as error:
        raise ParseError(name, 0, 0, f"cannot be read: {error}") from error


def _collect(stream: BinaryIO, name: str) -> Console:
    paths: dict[str, str] = {}
    ignored: dict[tuple[str, str], list[IgnoredParameter]] = {}
    inputshape = ""
    complete = False
    kept = 0
    for number, raw in _iterate_lines(stream):
        if raw.startswith(b"ignore "):
            kept += len(raw) + _OVERHEAD
            if kept > MAX_KEPT_BYTES:
                raise ParseError(name, number, 1, f"more than {MAX_KEPT_BYTES >> 20} MiB of `ignore` lines")
            # The value runs to the end of the line and may hold spaces and `=`.
            words = _decode(raw).split(" ", 4)
            if len(words) == 5 and words[3] == "param" and "=" in words[4]:
                key, _, value = words[4].partition("=")
                ignored.setdefault((words[1], words[2]), []).append(IgnoredParameter(key, value, number))
        elif raw.startswith(b"############# pass_ncnn"):
            complete = True
        elif raw.startswith((b"pnnx", b"ncnn", b"inputshape ")):
            key, separator, value = _decode(raw).partition(" = ")
            if not separator:
                continue
            if key == "inputshape":
                inputshape = value or inputshape
            elif key == "pnnxparam":
                # pnnx prints it first of all: a run begins.
                paths, ignored, inputshape, complete, kept = {key: value}, {}, "", False, 0
            elif key in PATH_KEYS:
                paths[key] = value
    found = {operator: tuple(parameters) for operator, parameters in ignored.items()}
    return Console(paths, found, inputshape, complete)


def _iterate_lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers, those longer than MAX_LINE passed over without being held."""
    number = 0
    while raw := stream.readline(MAX_LINE):
        number += 1
        if len(raw) < MAX_LINE or raw.endswith(b"\n"):
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(MAX_LINE)


def _decode(raw: bytes) -> str:
    return raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
