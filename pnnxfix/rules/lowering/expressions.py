"""Evaluates pnnx's Expressions (`add(mul(@0,2),@1)`) with the builder."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pnnxfix.codecs.number import read_printed
from pnnxfix.rules.lowering.builder import BINARY, UNARY, Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import both, either, one_only, sign
from pnnxfix.rules.lowering.functions import (
    acosh,
    asinh,
    atanh,
    cosh,
    divide,
    expm1,
    fmod,
    log1p,
    logaddexp,
    power,
    sinh,
)

_NAMES = {"maximum": "max", "minimum": "min"}
_FUNCTIONS: dict[str, Callable[[Builder, Value], Value]] = {
    "acosh": acosh,
    "asinh": asinh,
    "atanh": atanh,
    "cosh": cosh,
    "erf": lambda b, x: b.elementwise("Erf", x),
    "expm1": expm1,
    "log1p": log1p,
    "sign": sign,
    "sinh": sinh,
}
_LOGIC = {"and": both, "or": either, "xor": one_only}
_DIVISIONS: dict[str, Callable[[Builder, Value, Value | float], Value]] = {
    "fmod": fmod,
    "remainder": lambda b, x, y: divide(b, x, y)[1],
    "floor_divide": lambda b, x, y: divide(b, x, y)[0],
}
_DEEPEST = 200


def is_arithmetic(text: str) -> bool:
    """Whether an expression is made of tensors, numbers and functions that `evaluate` knows."""
    words = re.findall(r"([^(),]*)\(", text)
    known = (UNARY, BINARY, _FUNCTIONS, _LOGIC, _DIVISIONS, _NAMES, {"logaddexp"})
    return bool(words) and "[" not in text and all(any(word in names for names in known) for word in words)


def evaluate(builder: Builder, text: str, inputs: Sequence[Value]) -> Value:
    """The value of an expression over tensors; raises NotExpressible for words ncnn has no layer for."""
    result, rest = _read(builder, text, inputs, 0)
    if rest or not isinstance(result, Value):
        raise NotExpressible(f"the Expression `{text[:60]}` is no arithmetic of tensors")
    return result


def _read(builder: Builder, text: str, inputs: Sequence[Value], depth: int) -> tuple[Value | float, str]:
    """The first term of the text and what comes after it."""
    if depth > _DEEPEST:
        raise NotExpressible("an Expression nested too deeply")
    end = next((at for at, char in enumerate(text) if char in "(),[]"), len(text))
    word, rest = text[:end], text[end:]
    if not rest.startswith("("):
        return _leaf(word, inputs), rest
    arguments: list[Value | float] = []
    while rest[:1] in {"(", ","}:
        argument, rest = _read(builder, rest[1:], inputs, depth + 1)
        arguments.append(argument)
    if not rest.startswith(")"):
        raise NotExpressible(f"the Expression breaks off at `{rest[:20]}`")
    return _apply(builder, word, arguments), rest[1:]


def _leaf(word: str, inputs: Sequence[Value]) -> Value | float:
    if word.startswith("@") and word[1:].isdigit() and int(word[1:]) < len(inputs):
        return inputs[int(word[1:])]
    number = read_printed(word)
    if number is None or number.doubt:
        raise NotExpressible(f"`{word[:40]}` in an Expression is no certain number")
    return float(number.value)


def _apply(builder: Builder, name: str, arguments: list[Value | float]) -> Value:
    name = _NAMES.get(name, name)
    match arguments:
        case [Value() as x] if name in UNARY:
            return builder.unary(name, x)
        case [Value() as x] if name in _FUNCTIONS:
            return _FUNCTIONS[name](builder, x)
        case [Value() as x, Value() as y] if name in _LOGIC and x.dtype == y.dtype == "bool":
            return replace(_LOGIC[name](builder, x, y), dtype="bool")
        case [x, y] if name == "pow" and (isinstance(x, Value) or isinstance(y, Value)):
            return power(builder, x, y)
        case [Value() as x, y] if name in _DIVISIONS:
            return _DIVISIONS[name](builder, x, y)
        case [Value() as x, Value() as y] if name == "logaddexp":
            return logaddexp(builder, x, y)
        case [Value() as x, y] if name in BINARY:
            return builder.binary(name, x, y)
        case [x, Value() as y] if name in BINARY:
            return builder.binary(builder.swapped(name), y, x)
    raise NotExpressible(f"ncnn has no layer for `{name[:40]}` of {len(arguments)} arguments")
