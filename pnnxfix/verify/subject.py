"""One conversion as `verify` sees it: which forms there are, what goes in, what comes out."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pnnxfix.codecs.ncnn_script import NcnnScript, read_ncnn_script
from pnnxfix.codecs.param import parse_param
from pnnxfix.errors import ParseError, PnnxfixError
from pnnxfix.graph.graph import Graph
from pnnxfix.graph.index import MalformedRow
from pnnxfix.pipeline.discovery import (
    NCNN_BIN,
    NCNN_PARAM,
    NCNN_PY,
    PLAIN_PARAM,
    PNNX_PARAM,
    PNNX_PY,
    TORCHSCRIPT,
    Conversion,
)
from pnnxfix.verify.inputs import ANY_INTEGER, NUMPY, Input, find_ranges, read_graph, read_python

_SHAPE = re.compile(r"#\d+=\(([\d,]*)\)(\w+)\Z")
_TAG_F16 = b"\x47\x6b\x30\x01"
_QUANTISED = re.compile(r"^(?:Convolution|Deconvolution|InnerProduct)\S*\s.*\s8=[1-9]", re.MULTILINE)
LARGEST_INPUT = 1 << 28
"""Elements of one input; a row of a param can announce any number."""


@dataclass(frozen=True, slots=True)
class Param:
    """A `.param` file: its graph, its lines, and where it stands."""

    path: Path
    graph: Graph
    lines: Sequence[str]


@dataclass(slots=True)
class Subject:
    """The files of one conversion, and those to read in their place (a repair not yet written).

    `output_sizes` are the elements of each output, as pnnx saw them; empty where it does not say.
    """

    stem: Path
    files: dict[str, Path]
    staged: Mapping[Path, Path] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    output_axes: dict[str, int] = field(default_factory=dict)
    output_sizes: list[int] = field(default_factory=list)
    has_script: bool = False
    rounding: str = ""
    weights: str = "fp32"
    pnnx: Param | None = None
    ncnn: Param | None = None

    def path(self, role: str) -> Path | None:
        """Where a file is to be read."""
        named = self.files.get(role)
        return None if named is None else self.staged.get(named, named)

    @property
    def pnnx_bin(self) -> Path:
        path = self.stem.parent / f"{self.stem.name}.pnnx.bin"
        return self.staged.get(path, path)


def read_subject(conversion: Conversion, staged: Mapping[Path, Path] | None = None) -> Subject:
    """Read what the files say about inputs and outputs. Raises PnnxfixError where they cannot be read."""
    files = dict(conversion.files)
    if PLAIN_PARAM in files and NCNN_PARAM not in files:
        files[NCNN_PARAM] = files.pop(PLAIN_PARAM)
    subject = Subject(conversion.stem, files, staged or {})
    subject.pnnx = _read_param(subject, PNNX_PARAM)
    subject.ncnn = _read_param(subject, NCNN_PARAM)
    text = _read_text(subject.path(NCNN_PY))
    script = read_ncnn_script(text)
    subject.has_script = bool(script.inputs)
    subject.output_axes = dict(script.outputs)
    subject.weights = _find_precision(subject)
    if subject.weights == "fp16":
        # pnnx 20261020, the first whose script says batch_index, rounds; those before cut off.
        subject.rounding = "nearest" if "batch_index=" in text else "truncate"
    subject.output_sizes = _find_output_sizes(subject.pnnx) if subject.pnnx else []
    subject.inputs = _find_inputs(subject, script)
    return subject


def _find_inputs(subject: Subject, script: NcnnScript) -> list[Input]:
    axes = {blob: known.batch_axis for blob, known in script.inputs.items()}
    stated = read_graph(subject.pnnx.graph, axes) if subject.pnnx else []
    found = [] if any(one.free for one in stated) else stated
    found = found or read_python(_read_text(subject.path(PNNX_PY)), axes)
    if not found:
        found = [
            Input(blob, known.shape, NUMPY.get(known.dtype, "float32"), known.batch_axis)
            for blob, known in script.inputs.items()
        ]
    free = {one.blob: one.free for one in stated}
    ranges = find_ranges([param.graph for param in (subject.pnnx, subject.ncnn) if param is not None])
    for one in found:
        if math.prod(one.shape) > LARGEST_INPUT:
            raise PnnxfixError(f"{one.blob} of shape {one.shape} is too large to try")
    return [
        replace(one, below=ranges.get(one.blob, ANY_INTEGER), free=free.get(one.blob, frozenset()))
        for one in found
    ]


def _read_text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_bytes()[: 1 << 28].decode("utf-8", "replace")
    except OSError as error:
        raise PnnxfixError(f"{path}: cannot be read: {error.strerror}") from None


def _read_param(subject: Subject, role: str) -> Param | None:
    path = subject.path(role)
    if path is None:
        return None
    shown = subject.files[role]
    try:
        file = parse_param(path.read_bytes(), str(shown))
        return Param(shown, Graph(file.lines, file.first_row), file.lines)
    except OSError as error:
        raise PnnxfixError(f"{shown}: cannot be read: {error.strerror}") from None
    except MalformedRow as error:
        raise ParseError(shown, error.index + 1, 1, "this row cannot be read") from None


def _find_output_sizes(param: Param) -> list[int]:
    rows = [param.graph[handle] for handle in param.graph]
    outputs = [row for row in rows if row.type == "pnnx.Output"]
    sizes = []
    for row in outputs:
        for name in row.inputs:
            shape = next(
                (m[1] for w in row.rest if (m := _SHAPE.match(w)) and w.startswith(f"#{name}=")), None
            )
            if shape is None:
                return []
            sizes.append(math.prod(int(size) for size in shape.split(",") if size))
    return sizes


def _find_precision(subject: Subject) -> str:
    """`fp32`, `fp16` or `int8`: what the weights in the .bin are."""
    path = subject.path(NCNN_BIN)
    if subject.ncnn is None or path is None:
        return "fp32"
    if _QUANTISED.search("\n".join(subject.ncnn.lines)):
        return "int8"
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.find(_TAG_F16)
            while at != -1 and at % 4:
                at = data.find(_TAG_F16, at + 1)
            return "fp16" if at != -1 else "fp32"
    except (OSError, ValueError):  # an empty file cannot be mapped
        return "fp32"


def find_reference(conversion: Conversion) -> Path | None:
    """The TorchScript file beside the output."""
    return conversion.files.get(TORCHSCRIPT)
