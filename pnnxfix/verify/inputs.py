"""What goes into a model: what the files say of its inputs, and which integers are in range."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pnnxfix.codecs.ncnn_script import NO_BATCH
from pnnxfix.graph.graph import Graph, Operator

_SHAPE = re.compile(r"#\d+=\(([\d,?]*)\)(\w+)\Z")
_TENSOR = re.compile(
    r"^[ \t]*v_(\d{1,4}) = torch\.(?:rand|randint)\(([^\n]{1,2000})\)[ \t\r]*$", re.MULTILINE
)
_DTYPE = re.compile(r"dtype=torch\.(\w+)")
NUMPY = {
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
"""numpy's names of pnnx's and of torch's dtypes."""

ANY_INTEGER = 10
"""As pnnx's own scripts have it: the first integer that they do not draw."""

_INDEXED = {"nn.Embedding": "num_embeddings", "Embed": "1"}
# What hands indices on as they are.
_PASSING = frozenset(
    {
        "Tensor.to",
        "Tensor.reshape",
        "Tensor.view",
        "Tensor.contiguous",
        "Tensor.expand",
        "Tensor.slice",
        "Tensor.select",
        "torch.unsqueeze",
        "torch.squeeze",
        "torch.flatten",
        "torch.permute",
        "torch.transpose",
        "Split",
        "Reshape",
        "Squeeze",
        "ExpandDims",
        "Flatten",
        "Permute",
        "Noop",
    }
)


# What makes something else of them, whatever they are: a mask.
_COMPARING = frozenset({"torch.eq", "torch.ne"})


@dataclass(frozen=True, slots=True)
class Input:
    """One input in the order of `forward`: torch's shape and numpy's name of the dtype.

    `below` is the first integer that is out of range, as far as the files tell. `free` are axes that may
    have any size: the model was converted with two shapes.
    """

    blob: str
    shape: tuple[int, ...]
    dtype: str
    batch_axis: int
    below: int = ANY_INTEGER
    free: frozenset[int] = frozenset()

    @property
    def is_integer(self) -> bool:
        return not self.dtype.startswith("float")

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape may be fed."""
        return len(shape) == len(self.shape) and all(
            at in self.free or size == wanted
            for at, (size, wanted) in enumerate(zip(shape, self.shape, strict=True))
        )

    @property
    def described(self) -> str:
        """The shape for a message, with `?` for any size."""
        return f"({', '.join('?' if at in self.free else str(s) for at, s in enumerate(self.shape))})"


def read_graph(graph: Graph, axes: Mapping[str, int]) -> list[Input]:
    """From `pnnx.Input` rows; empty where one of them does not say all. A size that may be any is 0."""
    found: list[Input] = []
    for handle in graph:
        operator = graph[handle]
        if operator.type != "pnnx.Input":
            continue
        match = next((m for word in operator.rest if (m := _SHAPE.match(word))), None)
        if match is None or match[2] not in NUMPY:
            return []
        words = [size for size in match[1].split(",") if size]
        shape = tuple(0 if word == "?" else int(word) for word in words)
        free = frozenset(at for at, word in enumerate(words) if word == "?")
        blob = f"in{len(found)}"
        axis = axes.get(blob, guess_axis(shape))
        found.append(Input(blob, shape, NUMPY[match[2]], axis, free=free))
    return found


def read_python(text: str, axes: Mapping[str, int]) -> list[Input]:
    """From what a generated `_pnnx.py` runs its model on."""
    # Each of the functions at the end of the file makes the inputs anew; those of the last one count.
    tail = text[text.rfind("def test_inference") :] if "def test_inference" in text else ""
    found: list[Input] = []
    for match in _TENSOR.finditer(tail):
        sizes = match[2].split("dtype=")[0]
        sizes = sizes.split("(", 1)[1] if "(" in sizes else sizes
        shape = tuple(int(word) for word in re.findall(r"\d{1,9}", sizes))
        dtype = _DTYPE.search(match[2])
        blob = f"in{len(found)}"
        kind = NUMPY.get(dtype[1] if dtype else "float", "float32")
        found.append(Input(blob, shape, kind, axes.get(blob, guess_axis(shape))))
    return found


def guess_axis(shape: Sequence[int]) -> int:
    """Without a script: what stands first and is 1 is the batch in most networks."""
    return 0 if len(shape) > 1 and shape[0] == 1 else NO_BATCH


def find_ranges(graphs: Sequence[Graph]) -> dict[str, int]:
    """The first integer out of range, by input, of the first graph with a table that indices look into.

    It is the size of the smallest table that an input is certain to look into; of the smallest table of the
    model, where the input goes on to something else as well.
    """
    for graph in graphs:
        rows = [graph[handle] for handle in graph]
        tables = [size for row in rows if (size := _count_rows(row))]
        if tables:
            inputs = [row.outputs[0] for row in rows if row.type in ("pnnx.Input", "Input") and row.outputs]
            is_ncnn = any(row.type == "Input" for row in rows)
            return {
                name if is_ncnn else f"in{at}": _find_range(graph, name, min(tables))
                for at, name in enumerate(inputs)
            }
    return {}


def _find_range(graph: Graph, operand: str, smallest: int) -> int:
    reached: list[int] = []
    pending, seen = [operand], {operand}
    while pending:
        for handle in graph.users(pending.pop()):
            row = graph[handle]
            size = _count_rows(row)
            if size:
                reached.append(size)
            elif row.type in _PASSING:
                pending.extend(name for name in row.outputs if name not in seen)
                seen.update(row.outputs)
            elif row.type not in _COMPARING and row.type != "pnnx.Output":
                return smallest
    return min(reached, default=smallest)


def _count_rows(row: Operator) -> int:
    word = row.parameter(_INDEXED[row.type]) if row.type in _INDEXED else None
    return int(word) if word and word.isdigit() and len(word) < 10 else 0
