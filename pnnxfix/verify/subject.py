"""One conversion as `verify` sees it: which forms there are, what goes in, what comes out."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pnnxfix.codecs.ncnn_script import NO_BATCH, read_ncnn_script
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

_SHAPE = re.compile(r"#\d+=\(([\d,]*)\)(\w+)\Z")
_TENSOR = re.compile(
    r"^[ \t]*v_(\d{1,4}) = torch\.(?:rand|randint)\(([^\n]{1,2000})\)[ \t\r]*$", re.MULTILINE
)
_DTYPE = re.compile(r"dtype=torch\.(\w+)")
_NUMPY = {
    "f32": "float32",
    "f64": "float64",
    "f16": "float16",
    "i64": "int64",
    "i32": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
    "bool": "bool",
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
}
_TAG_F16 = b"\x47\x6b\x30\x01"
_QUANTISED = re.compile(r"^(?:Convolution|Deconvolution|InnerProduct)\S*\s.*\s8=[1-9]", re.MULTILINE)
LARGEST_INPUT = 1 << 28
"""Elements of one input; a row of a param can announce any number."""


@dataclass(frozen=True, slots=True)
class Input:
    """One input in the order of `forward`: torch's shape and numpy's name of the dtype.

    `below` is the first integer that is out of range, as far as the files tell.
    """

    blob: str
    shape: tuple[int, ...]
    dtype: str
    batch_axis: int
    below: int = 10

    @property
    def is_integer(self) -> bool:
        return not self.dtype.startswith("float")


@dataclass(frozen=True, slots=True)
class Param:
    """A `.param` file: its graph, its lines, and where it stands."""

    path: Path
    graph: Graph
    lines: list[str]


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
    axes = {blob: known.batch_axis for blob, known in script.inputs.items()}
    found = _from_graph(subject.pnnx, axes) if subject.pnnx else []
    found = found or _from_python(_read_text(subject.path(PNNX_PY)), axes)
    if not found:
        found = [
            Input(blob, known.shape, _NUMPY.get(known.dtype, "float32"), known.batch_axis)
            for blob, known in script.inputs.items()
        ]
    below = _find_vocabulary(subject)
    subject.inputs = [Input(i.blob, i.shape, i.dtype, i.batch_axis, below) for i in found]
    for one in subject.inputs:
        elements = 1
        for size in one.shape:
            elements *= size
        if elements > LARGEST_INPUT:
            raise PnnxfixError(f"{conversion.stem}: {one.blob} of shape {one.shape} is too large to try")
    return subject


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


def _from_graph(param: Param, axes: Mapping[str, int]) -> list[Input]:
    found: list[Input] = []
    for handle in param.graph:
        operator = param.graph[handle]
        if operator.type != "pnnx.Input":
            continue
        match = next((m for word in operator.rest if (m := _SHAPE.match(word))), None)
        if match is None or match[2] not in _NUMPY:
            return []
        shape = tuple(int(size) for size in match[1].split(",") if size)
        blob = f"in{len(found)}"
        found.append(Input(blob, shape, _NUMPY[match[2]], axes.get(blob, _guess_axis(shape))))
    return found


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


def _from_python(text: str, axes: Mapping[str, int]) -> list[Input]:
    # Each of the functions at the end of the file makes the inputs anew; those of the last one count.
    tail = text[text.rfind("def test_inference") :] if "def test_inference" in text else ""
    found: list[Input] = []
    for match in _TENSOR.finditer(tail):
        sizes = match[2].split("dtype=")[0]
        sizes = sizes.split("(", 1)[1] if "(" in sizes else sizes
        shape = tuple(int(word) for word in re.findall(r"\d{1,9}", sizes))
        dtype = _DTYPE.search(match[2])
        blob = f"in{len(found)}"
        kind = _NUMPY.get(dtype[1] if dtype else "float", "float32")
        found.append(Input(blob, shape, kind, axes.get(blob, _guess_axis(shape))))
    return found


def _guess_axis(shape: tuple[int, ...]) -> int:
    """Without a script: what stands first and is 1 is the batch in most networks."""
    return 0 if len(shape) > 1 and shape[0] == 1 else NO_BATCH


def _find_vocabulary(subject: Subject) -> int:
    """The smallest table that indices look into; 10, as in pnnx's own scripts, where there is none."""
    sizes = []
    for param, kind, key in ((subject.pnnx, "nn.Embedding", "num_embeddings"), (subject.ncnn, "Embed", "1")):
        if param is not None:
            rows = (param.graph[handle] for handle in param.graph)
            words = [row.parameter(key) for row in rows if row.type == kind]
            sizes += [int(word) for word in words if word and word.isdigit() and 0 < len(word) < 10]
    return min(sizes, default=10)


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
