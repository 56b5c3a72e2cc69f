"""Which layers an Expression of pnnx became: one for each of its functions.

pnnx reads the words of all Expressions from their ends, and names the layer of each function after it and
a number that counts on through the graph: `add(mul(@0,@1),2)` becomes `mul_4` and `add_5`. Source: pnnx,
pass_ncnn/expand_expression; the `.ncnn.param` of conversions since 20240226.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.counterparts import skip_changes_of_layout

_UNARY = frozenset(
    [
        "abs",
        "acos",
        "acosh",
        "asin",
        "asinh",
        "atan",
        "atanh",
        "ceil",
        "cos",
        "cosh",
        "erf",
        "exp",
        "expm1",
        "floor",
        "log",
        "log10",
        "log1p",
        "neg",
        "reciprocal",
        "round",
        "rsqrt",
        "sign",
        "sin",
        "sinh",
        "sqrt",
        "square",
        "tan",
        "tanh",
        "trunc",
    ]
)
_BINARY = frozenset(
    [
        "add",
        "atan2",
        "div",
        "floor_divide",
        "fmod",
        "logaddexp",
        "max",
        "maximum",
        "min",
        "minimum",
        "mul",
        "pow",
        "remainder",
        "sub",
    ]
)
_LAYERS = frozenset({"BinaryOp", "UnaryOp", "Erf"})
_NOT_EXPANDED = frozenset({"size", "int", "["})


@dataclass(frozen=True, slots=True)
class Expansion:
    """`rows` in the order of the graph, of which the last makes the result; `inputs` are what is read."""

    rows: tuple[int, ...]
    inputs: tuple[str, ...]


class Expansions:
    """Finds the layers of Expressions in the ncnn graph of a conversion."""

    def __init__(self, pnnx: Graph, ncnn: Graph) -> None:
        self._pnnx = pnnx
        self._ncnn = ncnn

    @cached_property
    def _rows(self) -> dict[str, int]:
        """The layers of functions by name. Names that are there twice tell nothing."""
        found: dict[str, int] = {}
        twice = set()
        for handle in self._ncnn.of_types(_LAYERS):
            _, name = self._ncnn.type_and_name(handle)
            if name in found:
                twice.add(name)
            found[name] = handle
        return {name: handle for name, handle in found.items() if name not in twice}

    @cached_property
    def _first_numbers(self) -> dict[str, int]:
        """The number of the first function of each Expression, by the Expression's name."""
        numbers: dict[str, int] = {}
        count = 0
        for handle in self._pnnx.of_types({EXPRESSION}):
            expression = self._pnnx.original(handle)
            numbers[expression.name] = count
            text = expression.parameter("expr") or ""
            count += sum(word in _UNARY or word in _BINARY for word in _expanded_words(text))
        return numbers

    def find(self, expression: Operator) -> Expansion | None:
        """The layers of an Expression; None where they are not all there, and connected as its text says."""
        number = self._first_numbers.get(expression.name)
        text = expression.parameter("expr") or ""
        words = list(_expanded_words(text))
        if number is None or len(words) != len(_words(text)):
            return None
        inputs: dict[int, str] = {}
        rows: list[int] = []
        stack: list[str | int] = []
        for word in words:
            if word not in _UNARY and word not in _BINARY:
                stack.append(word)
                continue
            handle = self._rows.get(f"{word}_{number}")
            arity = 1 if word in _UNARY else 2
            if handle is None or len(stack) < arity or self._ncnn.is_removed(handle):
                return None
            arguments = [stack.pop() for _ in range(arity)]
            tensors = [
                argument for argument in arguments if not isinstance(argument, str) or argument[0] == "@"
            ]
            layer = self._ncnn[handle]
            if layer.type not in _LAYERS or len(tensors) != len(layer.inputs) or len(layer.outputs) != 1:
                return None
            for argument, blob in zip(tensors, layer.inputs, strict=True):
                if isinstance(argument, str):
                    inputs.setdefault(int(argument[1:]), blob)
                elif skip_changes_of_layout(self._ncnn, blob, True) != self._ncnn[argument].outputs[0]:
                    return None
            rows.append(handle)
            stack.append(handle)
            number += 1
        if len(stack) != 1 or not rows or stack[0] != rows[-1] or rows != sorted(rows):
            return None
        if sorted(inputs) != list(range(len(expression.inputs))):
            return None
        return Expansion(tuple(rows), tuple(inputs[at] for at in sorted(inputs)))


def _words(text: str) -> list[str]:
    """The words of an Expression from its end."""
    return [str(word) for word in reversed(re.findall(r"[^][(),]*\[|[^][(),]+", text))]


def _expanded_words(text: str) -> Iterator[str]:
    """The words that pnnx makes layers of, until it meets one that it gives up at."""
    for word in _words(text):
        if word in _NOT_EXPANDED:
            return
        yield word
