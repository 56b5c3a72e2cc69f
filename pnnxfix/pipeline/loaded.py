"""One conversion in memory: its files read once, parsed when somebody asks."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pnnxfix.codecs.param import ParamFile, explain_row, parse_param
from pnnxfix.codecs.python_source import PythonFile
from pnnxfix.errors import ParseError, PnnxfixError
from pnnxfix.graph.graph import Graph
from pnnxfix.graph.index import MalformedRow
from pnnxfix.pipeline.discovery import (
    NCNN_BIN,
    NCNN_PARAM,
    NCNN_PY,
    PLAIN_PARAM,
    PNNX_ONNX,
    PNNX_PARAM,
    PNNX_PY,
    Conversion,
)
from pnnxfix.pipeline.traces import Stamp, stamp
from pnnxfix.report import Problem

if TYPE_CHECKING:
    from pnnxfix.codecs.console import Console
    from pnnxfix.codecs.ncnn_script import NcnnScript
    from pnnxfix.graph.blobs import Blob, BlobFacts
    from pnnxfix.pipeline.batch import BatchAxes
    from pnnxfix.pipeline.folding import Folding
    from pnnxfix.pipeline.integers import IntegerBounds
    from pnnxfix.pipeline.operator_calls import OperatorCalls

LARGEST_TEXT = 1 << 28
"""Bytes; a graph of a million layers has a third of that. Lists of words take up to 70 times as much."""
LARGEST_PROTOBUF = 1 << 31
"""Bytes; protobuf reads no larger message."""

_PIECE, _LONGEST_SHAPE = 1 << 16, 200

Parsed = TypeVar("Parsed")


class ParamGraph(NamedTuple):
    """A `.param` file with its graph; their indexes of rows are the same."""

    file: ParamFile
    graph: Graph


class LoadedConversion:
    """The parsed files of one conversion. `problems` holds what could not be read."""

    def __init__(self, conversion: Conversion, logs: tuple[Path, ...] = ()) -> None:
        self.conversion = conversion
        self.files = dict(conversion.files)
        self.problems: list[Problem] = []
        self.notes: list[str] = []
        self.stamps: dict[Path, Stamp] = {}
        self.original: dict[str, bytes] = {}
        self._given_logs = logs
        plain = self._param(PLAIN_PARAM)
        if plain is not None:
            role = PNNX_PARAM if _is_pnnx(plain) else NCNN_PARAM
            self.files[role] = self.files.pop(PLAIN_PARAM)
            self.original[role] = self.original.pop(PLAIN_PARAM)
        self.ncnn = plain if plain is not None and not _is_pnnx(plain) else self._param(NCNN_PARAM)
        self.pnnx = plain if plain is not None and _is_pnnx(plain) else self._param(PNNX_PARAM)
        self.python = self._parse(PNNX_PY, PythonFile)

    def _read(self, role: str, limit: int = LARGEST_TEXT) -> bytes | None:
        path = self.files.get(role)
        if path is None:
            return None
        try:
            with open(path, "rb", opener=_open_without_waiting) as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    raise ParseError(path, 0, 0, "not a plain file")
                self.stamps[path] = stamp(stream.fileno())
                if self.stamps[path].size > limit:
                    raise ParseError(path, 0, 0, f"larger than {limit >> 20} MiB, which no conversion is")
                data = stream.read(limit)
        except OSError as error:
            self.problems.append(Problem(path, f"cannot read the file: {error.strerror}"))
            return None
        except ParseError as error:
            self._note(error)
            return None
        self.original[role] = data
        return data

    def _parse(self, role: str, parser: Callable[[bytes, str], Parsed]) -> Parsed | None:
        data = self._read(role)
        if data is None:
            return None
        try:
            return parser(data, str(self.files[role]))
        except ParseError as error:
            self._note(error)
            return None

    def _param(self, role: str) -> ParamGraph | None:
        return self._parse(role, _parse_graph)

    def _note(self, error: ParseError) -> None:
        self.problems.append(Problem(Path(error.path), error.reason, "", error.line, error.column))

    # what is read only when a repair asks

    @cached_property
    def script_text(self) -> str:
        """The text of `_ncnn.py`, empty without that file; a repair puts another in its place."""
        data = self._read(NCNN_PY)
        return (data or b"").decode("utf-8", "surrogateescape")

    @cached_property
    def script(self) -> NcnnScript:
        """What `_ncnn.py` says; empty without that file."""
        from pnnxfix.codecs.ncnn_script import read_ncnn_script

        return read_ncnn_script(self.script_text)

    @cached_property
    def consoles(self) -> list[tuple[Path, Console]]:
        """The logs given by hand, else those beside the model that name its files."""
        paths = self._given_logs or self.conversion.logs
        found: list[tuple[Path, Console]] = []
        if not paths:
            return found
        from pnnxfix.codecs.console import read_console

        for path in paths:
            try:
                console = read_console(path)
            except (OSError, PnnxfixError) as error:
                if self._given_logs:
                    self.problems.append(Problem(path, f"cannot read the log: {error}"))
                continue
            if self._given_logs or self._is_own(console):
                found.append((path, console))
        return found

    def _is_own(self, console: Console) -> bool:
        named = {os.path.basename(path) for path in console.paths.values()}
        return any(path.name in named for path in self.files.values())

    @cached_property
    def operator_calls(self) -> OperatorCalls | None:
        """What the calls of `_pnnx.py` are in PyTorch; None without that file."""
        if self.python is None:
            return None
        from pnnxfix.pipeline.operator_calls import OperatorCalls

        return OperatorCalls(self.python)

    @cached_property
    def batch(self) -> BatchAxes:
        """Which axis the blob of each operand leaves out."""
        from pnnxfix.pipeline.batch import BatchAxes

        return BatchAxes(self)

    @cached_property
    def integers(self) -> IntegerBounds:
        """Between which numbers the integers of the pnnx graph lie."""
        from pnnxfix.graph.shapes import Annotations
        from pnnxfix.pipeline.integers import IntegerBounds
        from pnnxfix.pipeline.stored import read_stored

        assert self.pnnx is not None
        graph = self.pnnx.graph
        return IntegerBounds(graph, Annotations(graph), lambda operator: read_stored(self, operator))

    @cached_property
    def folding(self) -> Folding:
        """The tensors of the pnnx graph that depend on no input."""
        from pnnxfix.graph.shapes import Annotations
        from pnnxfix.pipeline.folding import Folding
        from pnnxfix.pipeline.stored import read_stored

        assert self.pnnx is not None
        graph = self.pnnx.graph
        return Folding(graph, Annotations(graph), lambda operator: read_stored(self, operator))

    @cached_property
    def blobs(self) -> BlobFacts:
        """What is certain about the blobs of the ncnn graph."""
        from pnnxfix.graph.blobs import BlobFacts

        assert self.ncnn is not None
        return BlobFacts(self.ncnn.graph, self._describe_input)

    def _describe_input(self, blob: str) -> Blob:
        from pnnxfix.codecs.ncnn_script import INTEGER_DTYPES
        from pnnxfix.graph.blobs import NO_BATCH, UNKNOWN_BLOB, Blob

        known = self.script.inputs.get(blob)
        if known is None:
            return UNKNOWN_BLOB
        rank = len(known.shape) - (known.batch_axis != NO_BATCH)
        return Blob(batch_axis=known.batch_axis, rank=rank, is_float=known.dtype not in INTEGER_DTYPES)

    def stamp_bin(self) -> None:
        """Note the state of the .bin, which is copied and not read, before it is to change."""
        path = self.files[NCNN_BIN]
        self.stamps[path] = stamp(path)

    @property
    def bin_path(self) -> Path | None:
        return self.files.get(NCNN_BIN)

    def read_onnx(self) -> bytes | None:
        """The bytes of `.pnnx.onnx`."""
        return self._read(PNNX_ONNX, LARGEST_PROTOBUF)

    @property
    def onnx_path(self) -> Path | None:
        return self.files.get(PNNX_ONNX)


def _parse_graph(data: bytes, path: str) -> ParamGraph:
    file = parse_param(data, path)
    try:
        return ParamGraph(file, Graph(file.lines, file.first_row))
    except MalformedRow as error:
        word, reason = explain_row(file.row(error.index))
        raise ParseError(path, error.index + 1, file.column(error.index, word), reason) from None


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens a file for reading; a pipe in its place would otherwise be waited for without end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _is_pnnx(param: ParamGraph) -> bool:
    """The flavour of a `.param`, by its rows: ncnn has no `pnnx.Input`, pnnx no `Input`."""
    kinds = {"pnnx.Input", "pnnx.Output", "pnnx.Attribute", "Input", "MemoryData"}
    return next((kind for kind in param.graph.types if kind in kinds), "").startswith("pnnx.")


def has_wide_tensors(loaded: LoadedConversion) -> bool:
    """Whether a tensor of `.pnnx.param` has five axes or more. Cost: one pass over its bytes."""
    data = loaded.original.get(PNNX_PARAM, b"")
    # Four times as fast as the search that settles it; in pieces, to use the same memory again.
    pieces = (data[at : at + _PIECE + _LONGEST_SHAPE] for at in range(0, len(data), _PIECE))
    if not any(b"=(,,,," in piece.translate(None, b"0123456789?") for piece in pieces):
        return False
    return re.search(rb"#\d+=\((?:[^,)\n]*,){4}", data) is not None
