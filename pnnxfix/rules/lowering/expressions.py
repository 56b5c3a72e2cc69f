"""Evaluates pnnx's Expressions (`add(mul(@0,2),@1)`) with the builder."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.codecs.number import read_printed
from pnnxfix.rules.lowering.builder import BINARY, UNARY, Builder, NotExpressible, Value

_NAMES = {"maximum": "max", "minimum": "min"}
_DEEPEST = 200


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
    if len(arguments) == 1 and isinstance(arguments[0], Value) and name in UNARY:
        return builder.unary(name, arguments[0])
    if len(arguments) == 2 and name in BINARY:
        left, right = arguments
        if isinstance(left, Value):
            if name == "pow" and right == 2.0:
                return builder.unary("square", left)
            return builder.binary(name, left, right)
        if isinstance(right, Value):
            return builder.binary(builder.swapped(name), right, left)
    raise NotExpressible(f"ncnn has no layer for `{name[:40]}` of {len(arguments)} arguments")
