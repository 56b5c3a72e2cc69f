"""Elementwise arithmetic that pnnx knows no layer for, written with the layers that ncnn has."""

from __future__ import annotations

import math

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, Value
from pnnxfix.rules.lowering.family import Family

_X = "f32[3,5,7]"


def _addcmul(b: Builder, x: Value, y: Value, z: Value, value: float) -> Value:
    product = y * z
    return x + (product if value == 1 else product * value)


def _addcdiv(b: Builder, x: Value, y: Value, z: Value, value: float) -> Value:
    quotient = y / z
    return x + (quotient if value == 1 else quotient * value)


def _lerp(b: Builder, start: Value, end: Value, weight: Value | float) -> Value:
    return start + (end - start) * weight


class Arithmetic(Family):
    """Arithmetic that ncnn can do with several layers.

    What it finds: elementwise operators in `.ncnn.param` that pnnx left as they were, such as
    `aten::frac`, `aten::addcmul` or `aten::lerp`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: the same arithmetic with BinaryOp, UnaryOp and Clip layers; a Reshape where ncnn would
    broadcast the other way round.

    Limits: floats only. Where torch gives inf or nan, ncnn's fast arithmetic may give another one.

    Example:
        aten::frac   pnnx_0    1 1 in0 out0
        x - trunc(x), as Split, UnaryOp 19 and BinaryOp 1

    Source: ATen native_functions.yaml; ncnn binaryop.cpp and unaryop.cpp.
    """

    code = "PNX121"
    name = "leaked-arithmetic"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::frac(Tensor self) -> Tensor": lambda b, x: x - b.unary("trunc", x),
        "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, Scalar value=1) -> Tensor": _addcmul,
        "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, Scalar value=1) -> Tensor": _addcdiv,
        "aten::lerp(Tensor self, Tensor end, Scalar weight) -> Tensor": _lerp,
        "aten::exp2(Tensor self) -> Tensor": lambda b, x: b.unary("exp", x * math.log(2)),
        "aten::rad2deg(Tensor self) -> Tensor": lambda b, x: x * (180 / math.pi),
        "aten::deg2rad(Tensor self) -> Tensor": lambda b, x: x * (math.pi / 180),
        "aten::hypot(Tensor self, Tensor other) -> Tensor": lambda b, x, y: b.unary(
            "sqrt", b.unary("square", x) + b.unary("square", y)
        ),
    }
    cases = (Case("torch.frac(x * 3)", id="frac", x=_X),)
