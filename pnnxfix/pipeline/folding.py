"""Tensors that depend on no input of the network, worked out as PyTorch does.

pnnx folds most of them. It leaves those that begin with a tensor of its own making (`torch.arange`) and
lays their blobs out as if an axis of theirs were the batch. Numbers are Python's: integers as they are,
floats rounded to float32 after each operation, which is what float32 arithmetic gives.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from pnnxfix.codecs.number import read_printed, to_float32
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.lowering.stored import StoredTensor

Number = int | float
Shape = tuple[int, ...]
_LARGEST = 1 << 20
_LARGEST_INTEGER = 1 << 31
_WHOLE = 2147483647
_ATTRIBUTE = "pnnx.Attribute"
_MADE = {"torch.zeros": 0, "torch.zeros_like": 0, "torch.ones": 1, "torch.ones_like": 1}
_KEPT = frozenset(
    {
        "Tensor.contiguous", "Tensor.reshape", "Tensor.to", "Tensor.type_as", "Tensor.view", "torch.clone",
        "torch.flatten", "torch.squeeze", "torch.unsqueeze",
    }
)  # fmt: skip
_MOVED = frozenset({"Tensor.permute", "torch.permute", "torch.transpose"})
_TAKEN = frozenset({"Tensor.expand", "Tensor.repeat", "Tensor.select", "Tensor.slice"})
_JOINED = frozenset({"torch.cat", "torch.stack"})
_FOLDED = _KEPT | _MOVED | _TAKEN | _JOINED | {EXPRESSION}
_UNARY: dict[str, Callable[[float], float]] = {
    "abs": abs, "ceil": math.ceil, "cos": math.cos, "exp": math.exp, "floor": math.floor, "log": math.log,
    "neg": lambda x: -x, "reciprocal": lambda x: 1 / x, "rsqrt": lambda x: 1 / math.sqrt(x),
    "sin": math.sin, "sqrt": math.sqrt, "square": lambda x: x * x, "tanh": math.tanh,
}  # fmt: skip
_BINARY: dict[str, Callable[[float, float], float]] = {
    "add": lambda x, y: x + y, "div": lambda x, y: x / y, "max": max, "maximum": max, "min": min,
    "minimum": min, "mul": lambda x, y: x * y, "pow": lambda x, y: x**y, "sub": lambda x, y: x - y,
}  # fmt: skip
_OF_INTEGERS = frozenset({"abs", "add", "max", "maximum", "min", "minimum", "mul", "neg", "square", "sub"})


class _Unknown(Exception):
    """A tensor that is not worked out."""


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: Shape
    numbers: Sequence[Number]
    is_integer: bool


class Folding:
    """The constant tensors of a pnnx graph that begin with a tensor made of nothing."""

    def __init__(
        self, graph: Graph, shapes: Annotations, stored: Callable[[Operator], StoredTensor | Refusal]
    ) -> None:
        self._graph = graph
        self._shapes = shapes
        self._stored = stored
        self._known: dict[str, _Tensor | None] = {}
        self._is_empty = not graph.of_types({"torch.arange", *_MADE})

    def find(self, operand: str) -> tuple[Number, ...] | None:
        """The numbers of an operand, row-major, where it is such a tensor of floats; None where not."""
        tensor = None if self._is_empty else self._evaluate(operand)
        if tensor is None or tensor.is_integer or not self._is_made(operand):
            return None
        return tuple(tensor.numbers)

    def is_inner(self, operand: str) -> bool:
        """Whether all that reads an operand is such a tensor, too, so that nobody needs its numbers."""
        users = self._graph.users(operand)
        if self._is_empty or not users or self._evaluate(operand) is None or not self._is_made(operand):
            return False
        outputs = [name for at in users for name in self._graph.original(at).outputs]
        return bool(outputs) and all(self._evaluate(name) is not None for name in outputs)

    def _is_made(self, operand: str) -> bool:
        """Whether the tensor begins with one that is made of nothing: pnnx has folded the others."""
        pending, seen = [operand], {operand}
        while pending:
            maker = self._graph.maker(pending.pop())
            if maker is None:
                continue
            if maker.type == "torch.arange" or maker.type in _MADE:
                return True
            new = set(maker.inputs) - seen
            seen |= new
            pending.extend(new)
        return False

    def _evaluate(self, operand: str) -> _Tensor | None:
        """Worked out from the first operand that it needs to itself, one after another."""
        pending = [operand]
        while pending:
            name = pending[-1]
            if name in self._known:
                pending.pop()
                continue
            maker = self._graph.maker(name)
            wanted = () if maker is None or maker.type not in _FOLDED else maker.inputs
            missing = [one for one in wanted if one not in self._known]
            if missing:
                pending.extend(missing)
                continue
            try:
                self._known[name] = None if maker is None else self._work_out(maker, name)
            except (_Unknown, ArithmeticError, ValueError, TypeError, IndexError):
                self._known[name] = None
            pending.pop()
        return self._known[operand]

    def _work_out(self, maker: Operator, name: str) -> _Tensor:
        found = self._shapes.find(name)
        if found is None or min(found[0], default=0) < 1 or prod(found[0]) > _LARGEST:
            raise _Unknown
        shape, dtype = found
        if dtype not in {"f32", "i64", "i32"} or len(maker.outputs) != 1:
            raise _Unknown
        numbers = self._compute(maker, shape)
        if len(numbers) != prod(shape):
            raise _Unknown
        if dtype == "f32":
            return _Tensor(shape, [_round(number) for number in numbers], False)
        if any(not isinstance(number, int) or abs(number) >= _LARGEST_INTEGER for number in numbers):
            raise _Unknown
        return _Tensor(shape, numbers, True)

    def _compute(self, maker: Operator, shape: Shape) -> Sequence[Number]:
        kind = maker.type
        if kind == _ATTRIBUTE:
            stored = self._stored(maker)
            if isinstance(stored, Refusal):
                raise _Unknown
            return stored.numbers
        if kind == "torch.arange" and not maker.inputs:
            start, step = (_number(maker, key, default) for key, default in (("start", "0"), ("step", "1")))
            return [start + step * at for at in range(shape[0])]
        if kind in _MADE:
            return [_MADE[kind]] * prod(shape)
        if kind not in _FOLDED:
            raise _Unknown
        inputs = [self._known[source] for source in maker.inputs]
        tensors = [tensor for tensor in inputs if tensor is not None]
        if len(tensors) != len(inputs) or not tensors:
            raise _Unknown
        if kind == EXPRESSION:
            return _Expression(tensors, shape).read(maker.parameter("expr") or "")
        if kind in _JOINED:
            return _join(tensors, shape, _axis(maker, "dim", len(shape)), kind == "torch.stack")
        if kind in _KEPT:
            return tensors[0].numbers
        return list(_gather(tensors[0], _places(maker, tensors[0].shape, shape)))


def _round(number: Number) -> float:
    rounded = to_float32(float(number))
    if not math.isfinite(rounded):
        raise _Unknown
    return rounded


def _number(operator: Operator, key: str, default: str) -> Number:
    value = read_constant(operator.parameter(key) or default)
    if not isinstance(value, int | float):
        raise _Unknown
    return value


def _axis(operator: Operator, key: str, rank: int) -> int:
    value = read_constant(operator.parameter(key) or "None", integers=True)
    if not isinstance(value, int) or not -rank <= value < rank:
        raise _Unknown
    return value % rank


def _integers(operator: Operator, key: str) -> tuple[int, ...]:
    value = read_constant(operator.parameter(key) or "None", integers=True)
    if not isinstance(value, tuple) or not all(isinstance(item, int) for item in value):
        raise _Unknown
    return tuple(int(item) for item in value if isinstance(item, int))


Place = Callable[[Sequence[int]], Sequence[int]]


def _gather(tensor: _Tensor, shape_and_place: tuple[Shape, Place]) -> Iterator[Number]:
    """The elements of a tensor from where `place` says, in the order of a shape."""
    shape, place = shape_and_place
    for at in product(*map(range, shape)):
        index = 0
        for position, size in zip(place(at), tensor.shape, strict=True):
            index = index * size + position
        yield tensor.numbers[index]


def _places(maker: Operator, have: Shape, shape: Shape) -> tuple[Shape, Place]:
    """The result's shape, and where each of its elements comes from."""
    rank = len(have)
    if maker.type in _MOVED:
        if maker.type == "torch.transpose":
            order = list(range(rank))
            first, second = _axis(maker, "dim0", rank), _axis(maker, "dim1", rank)
            order[first], order[second] = order[second], order[first]
        else:
            order = [axis % rank for axis in _integers(maker, "dims")]
        return shape, lambda at: [at[order.index(axis)] for axis in range(rank)]
    if maker.type in {"Tensor.expand", "Tensor.repeat"}:  # both end at the last axis
        return shape, lambda at: [p % size for p, size in zip(at[len(at) - rank :], have, strict=True)]
    axis = _axis(maker, "dim", rank)
    if maker.type == "Tensor.select":
        index = read_constant(maker.parameter("index") or "", integers=True)
        if not isinstance(index, int):
            raise _Unknown
        return shape, lambda at: [*at[:axis], index % have[axis], *at[axis:]]
    start, end, step = (
        read_constant(maker.parameter(key) or "", integers=True) for key in ("start", "end", "step")
    )
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(step, int) or step < 1:
        raise _Unknown
    taken = range(have[axis])[start : None if end >= _WHOLE else end : step]
    if shape != (*have[:axis], len(taken), *have[axis + 1 :]):
        raise _Unknown
    return shape, lambda at: [*at[:axis], taken[at[axis]], *at[axis + 1 :]]


def _join(tensors: Sequence[_Tensor], shape: Shape, axis: int, is_new: bool) -> list[Number]:
    inner = prod(shape[axis + 1 :])
    sizes = [1 if is_new else tensor.shape[axis] for tensor in tensors]
    joined: list[Number] = []
    for at in range(prod(shape[:axis])):
        for tensor, size in zip(tensors, sizes, strict=True):
            joined += tensor.numbers[at * size * inner : (at + 1) * size * inner]
    return joined


class _Expression:
    """An Expression over constant tensors, one element of the result after another."""

    def __init__(self, tensors: Sequence[_Tensor], shape: Shape) -> None:
        self._tensors = tensors
        self._shape = shape
        self._expanded: dict[int, list[Number]] = {}

    def read(self, text: str) -> list[Number]:
        values, _, rest = self._read(text, 0)
        if rest:
            raise _Unknown
        return values

    def _read(self, text: str, depth: int) -> tuple[list[Number], bool, str]:
        """The numbers of the first term, whether they are integers, and the text after it."""
        word = re.split(r"[(),\[\]]", text, maxsplit=1)[0]
        rest = text[len(word) :]
        if not rest.startswith("("):
            return (*self._leaf(word), rest)
        arguments: list[list[Number]] = []
        kinds: list[bool] = []
        while rest[:1] in {"(", ","} and depth < 50:
            values, is_integer, rest = self._read(rest[1:], depth + 1)
            arguments.append(values)
            kinds.append(is_integer)
        if not rest.startswith(")"):
            raise _Unknown
        return (*_apply(word, arguments, all(kinds)), rest[1:])

    def _leaf(self, word: str) -> tuple[list[Number], bool]:
        count = prod(self._shape)
        if re.fullmatch(r"@\d{1,6}", word):
            tensor = self._tensors[int(word[1:])]
            padded = _Tensor(
                (1,) * (len(self._shape) - len(tensor.shape)) + tensor.shape,
                tensor.numbers,
                tensor.is_integer,
            )
            sizes = padded.shape
            place: Place = lambda at: [0 if size == 1 else p for p, size in zip(at, sizes, strict=True)]  # noqa: E731
            return list(_gather(padded, (self._shape, place))), tensor.is_integer
        number = read_printed(word)
        if number is None or number.doubt or not math.isfinite(number.value):
            raise _Unknown
        is_integer = re.fullmatch(r"-?\d+", word) is not None
        value = int(word) if is_integer else to_float32(float(number.value))
        return [value] * count, is_integer


def _apply(name: str, arguments: list[list[Number]], are_integers: bool) -> tuple[list[Number], bool]:
    stays = are_integers and name in _OF_INTEGERS
    if are_integers and not stays and name != "div":
        raise _Unknown
    if not stays:  # integers become float32 before
        arguments = [[_round(number) for number in values] for values in arguments]
    match arguments:
        case [x] if name in _UNARY:
            function = _UNARY[name]
            values: list[Number] = [function(a) for a in x]
        case [x, y] if name in _BINARY:
            pair = _BINARY[name]
            values = [pair(a, b) for a, b in zip(x, y, strict=True)]
        case _:
            raise _Unknown
    return (values, True) if stays else ([_round(value) for value in values], False)
