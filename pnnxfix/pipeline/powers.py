"""Writes ncnn's power again where its base may be zero or below.

BinaryOp 6 is exp(y log x) in the vector instructions of x86, whatever y is: 2.4e38 for a base of 0 or
below (measured on 1.0.20240102 to 1.0.20261020).
"""

from __future__ import annotations

import math

from pnnxfix.codecs.number import spell_for_ncnn
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import origin
from pnnxfix.rules.base import Layer, Lowering

REASON = "the power of BinaryOp is 2.4e38 where its base is 0 or below"
_MOST_TIMES = 64
_DEEPEST = 32
_ADD, _SUB, _MUL, _MAX, _MIN, _POW, _RSUB, _RDIV = 0, 1, 2, 4, 5, 6, 7, 8
_ABS, _NEG, _FLOOR, _SQUARE, _SQRT, _EXP, _LOG = 0, 1, 2, 4, 5, 7, 8
_FLT_MIN = 2.0**-126
_NEVER_BELOW = frozenset({"Sigmoid", "Softmax", "Softplus"})
_KEEPERS = frozenset(
    {"Crop", "ExpandDims", "Flatten", "Noop", "Permute", "Pooling", "Reshape", "Slice", "Squeeze"}
)


def rewrite_power(graph: Graph, layer: Operator) -> Lowering | None:
    """The layers that compute torch.pow, None where the base is above zero or nothing better is known."""
    if layer.parameter("0") != "6" or len(layer.inputs) not in {1, 2}:
        return None
    base, *others = layer.inputs
    least = _least(graph, base, _DEEPEST)
    if least > 0:
        return None
    if others:
        return _to_tensor(base, others[0], least)
    exponent = _number(layer.parameter("2"))
    return None if exponent is None else _to_number(base, exponent, least)


def _least(graph: Graph, blob: str, depth: int) -> int:
    """1 where all of a blob is certainly above zero, 0 where nothing is below, else -1."""
    made = graph.maker(origin(graph, blob))
    if made is None or not made.inputs or depth == 0:
        return -1
    code, number = made.parameter("0") or "0", _number(made.parameter("2"))
    if made.type in _NEVER_BELOW or (made.type == "UnaryOp" and code == "7"):
        return 0  # small ones are 0 in float32
    if made.type == "Clip":
        low = _number(made.parameter("0"))
        return -1 if low is None or low < 0 else int(low > 0)
    if made.type == "ReLU":
        return 0 if made.parameter("0") in {None, "0", "0.0"} else -1
    if made.type == "UnaryOp" and code in {"0", "4", "5"}:
        return max(0, _least(graph, made.inputs[0], depth - 1))
    if made.type == "Reduction" and code in {"1", "2", "7", "8"}:
        return 0
    if made.type == "BinaryOp" and made.parameter("1") == "1" and number is not None:
        have = _least(graph, made.inputs[0], depth - 1)
        if code == "4":
            return max(have, int(number > 0) if number >= 0 else -1)
        if code == "0" and have >= 0 and number >= 0:
            return max(have, int(number > 0))
        return have if code in {"2", "3"} and number > 0 else -1
    if made.type in _KEEPERS or (made.type == "Reduction" and code in {"0", "3", "4", "5"}):
        return _least(graph, made.inputs[0], depth - 1)
    return -1


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _to_number(base: str, exponent: float, least: int) -> Lowering | None:
    write = _Writer()
    size = abs(exponent)
    if exponent == 0:
        write.number(_ADD, write.number(_MUL, base, 0.0), 1.0)
    elif size * 2 == int(size * 2) and size <= _MOST_TIMES:
        result = write.product(base, int(size)) if size >= 1 else ""
        if size != int(size):
            root = write.unary(_SQRT, base)
            result = write.binary(_MUL, result, root) if result else root
        if exponent < 0:
            write.number(_RDIV, result, 1.0)
    elif exponent > 0 and exponent != int(exponent):
        result = write.number(_POW, write.number(_MAX, base, _FLT_MIN), exponent)
        result = write.binary(_MUL, result, write.is_above_zero(base))
        if least < 0:
            write.binary(_ADD, result, write.unary(_SQRT, write.number(_MIN, base, 0.0)))
    else:
        return None
    if not write.layers:
        write.add("Noop", (base,))
    return Lowering.chain(write.layers)


def _to_tensor(base: str, exponent: str, least: int) -> Lowering:
    """exp(y log |x|), 0 for 0 to a power above 0, and below zero what only whole exponents have."""
    write = _Writer()
    size = base if least == 0 else write.unary(_ABS, base)
    logarithm = write.unary(_LOG, write.number(_MAX, size, _FLT_MIN))
    result = write.unary(_EXP, write.binary(_MUL, logarithm, exponent))
    if least < 0:
        below = write.is_above_zero(write.unary(_NEG, base))
        even = write.number(_MUL, write.unary(_FLOOR, write.number(_MUL, exponent, 0.5)), 2.0)
        odd = write.number(_MUL, write.binary(_SUB, exponent, even), 2.0)
        result = write.binary(_MUL, result, write.number(_RSUB, write.binary(_MUL, below, odd), 1.0))
        part = write.binary(_SUB, exponent, write.unary(_FLOOR, exponent))
        undefined = write.unary(_SQRT, write.unary(_NEG, write.binary(_MUL, below, part)))
        result = write.binary(_ADD, result, undefined)
    zero = write.number(_RSUB, write.is_above_zero(size), 1.0)
    vanishes = write.binary(_MUL, zero, write.is_above_zero(exponent))
    write.binary(_MUL, result, write.number(_RSUB, vanishes, 1.0))
    return Lowering.chain(write.layers)


class _Writer:
    """Collects layers; every method gives the name of what it wrote."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, kind: str, inputs: tuple[str, ...], *words: str) -> str:
        self.layers.append(Layer(kind, inputs, words))
        return f"@{len(self.layers) - 1}"

    def unary(self, code: int, x: str) -> str:
        return self.add("UnaryOp", (x,), f"0={code}")

    def binary(self, code: int, x: str, y: str) -> str:
        return self.add("BinaryOp", (x, y), f"0={code}")

    def number(self, code: int, x: str, number: float) -> str:
        return self.add("BinaryOp", (x,), f"0={code}", "1=1", f"2={spell_for_ncnn(number)}")

    def is_above_zero(self, x: str) -> str:
        return self.add("Threshold", (x,), f"0={spell_for_ncnn(0.0)}")

    def product(self, x: str, times: int) -> str:
        """x multiplied with itself, by squaring."""
        if times == 1:
            return x
        half = self.unary(_SQUARE, self.product(x, times // 2))
        return self.binary(_MUL, half, x) if times % 2 else half
