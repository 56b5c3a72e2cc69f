"""Between which numbers the integers of a conversion lie, and which operands hold integers.

ncnn's layers compute on floats. A float32 holds every integer up to 2**24, so integers that certainly
stay below can be computed as floats, exactly. What is known of them begins at the inputs of the
network: PyTorch takes no index that is outside of an embedding's table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from math import prod

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.rules.base import INTEGER_TYPES, Refusal
from pnnxfix.rules.lowering.stored import StoredTensor

Bounds = tuple[int, int]

LARGEST = 1 << 24
_COMPUTED = frozenset({"i64", "i32"})  # smaller ones wrap around
_INPUT = "pnnx.Input"
_ATTRIBUTE = "pnnx.Attribute"
# Each element of the first result is an element of the first input, and all of those are in it.
_REARRANGING = frozenset(
    {
        "Tensor.clone", "Tensor.contiguous", "Tensor.expand", "Tensor.expand_as", "Tensor.permute",
        "Tensor.repeat", "Tensor.reshape", "Tensor.reshape_as", "Tensor.to", "Tensor.type_as",
        "Tensor.unflatten", "Tensor.view", "torch.clone", "torch.flatten", "torch.flip", "torch.permute",
        "torch.roll", "torch.squeeze", "torch.t", "torch.transpose", "torch.unsqueeze",
    }
)  # fmt: skip
# Each element of every result is an element of the first input, but some may be missing.
_TAKING = frozenset(
    {
        "Tensor.select", "Tensor.slice", "pnnx.SliceIndexes", "torch.chunk", "torch.gather",
        "torch.index_select", "torch.split", "torch.tensor_split", "torch.unbind", "Tensor.index",
    }
)  # fmt: skip
_JOINING = frozenset({"torch.cat", "torch.stack"})
_FILLED = {"torch.zeros_like": 0, "torch.zeros": 0, "torch.ones_like": 1, "torch.ones": 1}
_DEEPEST = 50


class IntegerBounds:
    """The bounds of every integer operand of a pnnx graph that has certain ones."""

    def __init__(
        self, graph: Graph, shapes: Annotations, stored: Callable[[Operator], StoredTensor | Refusal]
    ) -> None:
        """Cost: one pass over the graph."""
        self._graph = graph
        self._shapes = shapes
        self._stored = stored
        self._known: dict[str, Bounds] = {}
        for handle in graph:
            operator = graph.original(handle)
            for name in operator.outputs:
                bounds = self._bound(operator, name)
                if bounds is not None and is_exact(bounds):
                    self._known[name] = bounds

    def find(self, operand: str) -> Bounds | None:
        """The smallest and the largest number that an operand may hold; None where that is not certain."""
        return self._known.get(operand)

    def _bound(self, operator: Operator, name: str) -> Bounds | None:
        dtype = self._dtype(name)
        if dtype == "bool":
            return 0, 1
        if dtype not in INTEGER_TYPES:
            return None
        if operator.type == _INPUT:
            return self._bound_input(name)
        if operator.type == _ATTRIBUTE:
            found = self._stored(operator)
            if isinstance(found, Refusal) or not found.numbers:
                return None
            return int(min(found.numbers)), int(max(found.numbers))
        return self._bound_computed(operator, name) if dtype in _COMPUTED else None

    def _bound_computed(self, operator: Operator, name: str) -> Bounds | None:
        kind = operator.type
        if kind == EXPRESSION:
            return _Expression([self.find(source) for source in operator.inputs]).read(
                operator.parameter("expr") or ""
            )
        if kind in _JOINING:
            return _union([self.find(source) for source in operator.inputs])
        if kind == "torch.where":
            return self._bound_choice(operator)
        if kind in _FILLED:
            return _FILLED[kind], _FILLED[kind]
        if kind == "torch.arange":
            return _bound_range(operator, self._shape(name))
        bounds = self.find(operator.inputs[0]) if operator.inputs else None
        if bounds is None:
            return None
        if kind in _REARRANGING | _TAKING:
            return bounds
        if kind in {"torch.cumsum", "torch.sum"}:
            count = self._count_terms(operator)
            return min(bounds[0], bounds[0] * count), max(bounds[1], bounds[1] * count)
        return None

    def _bound_input(self, name: str) -> Bounds | None:
        """0 to the last row of the smallest table that an input of the network is looked up in."""
        sizes = list(self._find_tables(name))
        return (0, min(sizes) - 1) if sizes else None

    def _find_tables(self, name: str) -> Iterator[int]:
        pending, seen = [name], {name}
        while pending and len(seen) < 1000:
            operand = pending.pop()
            for handle in self._graph.users(operand):
                reader = self._graph.original(handle)
                if reader.type == "nn.Embedding" and reader.inputs[-1] == operand:
                    size = read_constant(reader.parameter("num_embeddings") or "", integers=True)
                    if isinstance(size, int) and size > 0:
                        yield size
                elif reader.type in _REARRANGING and reader.inputs[0] == operand:
                    same = [name for name in reader.outputs if self._dtype(name) in _COMPUTED]
                    pending += [name for name in same if name not in seen]
                    seen.update(same)

    def _bound_choice(self, operator: Operator) -> Bounds | None:
        words = dict(word[1:].split("=", 1) for word in operator.rest if word.startswith("$") and "=" in word)
        found: list[Bounds | None] = []
        for argument in ("input", "other"):
            value = read_constant(operator.parameter(argument) or "", integers=True)
            if argument in words:
                found.append(self.find(words[argument]))
            else:
                found.append((value, value) if isinstance(value, int) else None)
        return _union(found)

    def _count_terms(self, operator: Operator) -> int:
        """How many elements one sum has at most."""
        shape = self._shape(operator.inputs[0])
        axis = read_constant(operator.parameter("dim") or "None", integers=True)
        if isinstance(axis, int) and shape and -len(shape) <= axis < len(shape):
            return max(shape[axis], 1) if shape[axis] >= 0 else LARGEST
        return prod(shape) if shape and min(shape) >= 0 else LARGEST

    def _shape(self, name: str) -> tuple[int, ...]:
        found = self._shapes.find(name)
        return () if found is None else found[0]

    def _dtype(self, name: str) -> str | None:
        found = self._shapes.find(name)
        return None if found is None else found[1]


def is_exact(bounds: Bounds) -> bool:
    """Whether a float32 holds every integer between two exactly."""
    return -LARGEST <= bounds[0] <= bounds[1] <= LARGEST


def _union(bounds: Sequence[Bounds | None]) -> Bounds | None:
    certain = [one for one in bounds if one is not None]
    if not certain or len(certain) != len(bounds):
        return None
    return min(low for low, _ in certain), max(high for _, high in certain)


def _bound_range(operator: Operator, shape: tuple[int, ...]) -> Bounds | None:
    start = read_constant(operator.parameter("start") or "0", integers=True)
    step = read_constant(operator.parameter("step") or "1", integers=True)
    if operator.inputs or not isinstance(start, int) or not isinstance(step, int) or len(shape) != 1:
        return None
    last = start + step * max(shape[0] - 1, 0)
    return min(start, last), max(start, last)


class _Expression:
    """The bounds of an Expression of integers, from those of its inputs."""

    def __init__(self, inputs: Sequence[Bounds | None]) -> None:
        self._inputs = inputs

    def read(self, text: str) -> Bounds | None:
        bounds, rest = self._read(text, 0)
        return None if rest else bounds

    def _read(self, text: str, depth: int) -> tuple[Bounds | None, str]:
        """The bounds of the first term of the text, and what comes after it."""
        word = re.split(r"[(),\[\]]", text, maxsplit=1)[0]
        rest = text[len(word) :]
        if not rest.startswith("("):
            return self._leaf(word), rest
        arguments: list[Bounds | None] = []
        while rest[:1] in {"(", ","} and depth < _DEEPEST:
            bounds, rest = self._read(rest[1:], depth + 1)
            arguments.append(bounds)
        certain = [one for one in arguments if one is not None]
        if not rest.startswith(")") or len(certain) != len(arguments):
            return None, rest[1:]
        found = _apply(word, certain)
        return (found if found is not None and is_exact(found) else None), rest[1:]

    def _leaf(self, word: str) -> Bounds | None:
        if re.fullmatch(r"@\d{1,6}", word) and int(word[1:]) < len(self._inputs):
            return self._inputs[int(word[1:])]
        return (int(word), int(word)) if re.fullmatch(r"-?\d{1,8}", word) else None


def _apply(name: str, arguments: list[Bounds]) -> Bounds | None:
    match name, arguments:
        case "add", [(a, b), (c, d)]:
            return a + c, b + d
        case "sub", [(a, b), (c, d)]:
            return a - d, b - c
        case "mul", [(a, b), (c, d)]:
            corners = (a * c, a * d, b * c, b * d)
            return min(corners), max(corners)
        case "neg", [(a, b)]:
            return -b, -a
        case "abs", [(a, b)]:
            return 0 if a <= 0 <= b else min(abs(a), abs(b)), max(abs(a), abs(b))
        case "max" | "maximum", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case "min" | "minimum", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
    return None
