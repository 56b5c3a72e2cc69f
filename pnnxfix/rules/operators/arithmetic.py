"""Elementwise arithmetic that pnnx knows no layer for, written with the layers that ncnn has."""

from __future__ import annotations

import math

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import is_above, is_below, is_equal, is_number, sign
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.functions import (
    acosh,
    asinh,
    atanh,
    cosh,
    divide,
    exp2,
    expm1,
    fmod,
    hypot,
    ldexp,
    log1p,
    log2,
    log_above_zero,
    logaddexp,
    logaddexp2,
    power,
    sinh,
)
from pnnxfix.rules.lowering.select import choose

_X = "f32[3,5,7]"


def _addcmul(b: Builder, x: Value, y: Value, z: Value, value: float) -> Value:
    product = y * z
    return x + (product if value == 1 else product * value)


def _addcdiv(b: Builder, x: Value, y: Value, z: Value, value: float) -> Value:
    quotient = y / z
    return x + (quotient if value == 1 else quotient * value)


def _lerp(b: Builder, start: Value, end: Value, weight: Value | float) -> Value:
    """torch takes the formula that is exact at the nearer end."""
    if isinstance(weight, Value):
        return start * (1.0 - weight) + end * weight
    if abs(weight) < 0.5:
        return start + (end - start) * weight
    return end - (end - start) * (1 - weight)


def _rsub(b: Builder, x: Value, other: Value | float, alpha: float) -> Value:
    scaled = x if alpha == 1 else x * alpha
    return other - scaled


def _sinc(b: Builder, x: Value) -> Value:
    angle = x * math.pi
    zero = is_equal(b, angle, 0.0)
    return (b.unary("sin", angle) + zero) / (angle + zero)


def _logit(b: Builder, x: Value, eps: float | None) -> Value:
    if eps is not None and eps >= 0:
        x = b.clip(x, eps, 1 - eps)
    return b.unary("log", x / (1.0 - x))


def _xlogy(b: Builder, x: Value | float, y: Value | float) -> Value:
    if not isinstance(y, Value):
        if not 0 < y < math.inf:
            raise NotExpressible(f"x * log({y})")
        assert isinstance(x, Value)
        return x * math.log(y)
    return log_above_zero(b, y) * x


def _xlog1py(b: Builder, x: Value | float, y: Value | float) -> Value:
    return _xlogy(b, x, y + 1.0)


def _entropy(b: Builder, x: Value) -> Value:
    """-x log x, 0 at 0, -inf below."""
    return choose(b, is_below(b, x, 0.0), -math.inf, -(x * log_above_zero(b, x)))


def _copysign(b: Builder, x: Value, other: Value | float) -> Value:
    size = b.unary("abs", x)
    if isinstance(other, Value):
        return size * (1.0 - is_below(b, other, 0.0) * 2.0)
    return size if math.copysign(1.0, other) > 0 else -size


def _heaviside(b: Builder, x: Value, values: Value) -> Value:
    return choose(b, is_equal(b, x, 0.0), values, is_above(b, x, 0.0))


def _nan_to_num(b: Builder, x: Value, nan: float | None, posinf: float | None, neginf: float | None) -> Value:
    # Clip makes FLT_MAX of inf, and some finite number of nan.
    result = choose(b, is_number(b, x), b.clip(x), nan or 0.0)
    if posinf is not None:
        result = choose(b, is_equal(b, x, math.inf), posinf, result)
    return result if neginf is None else choose(b, is_equal(b, x, -math.inf), neginf, result)


def _divide(b: Builder, x: Value, y: Value | float, rounding_mode: str | None) -> Value:
    if rounding_mode is None:
        return x / y
    if rounding_mode == "floor":
        return divide(b, x, y)[0]
    raise NotExpressible(f"a division that rounds by `{rounding_mode}`")


class Arithmetic(Family):
    """Arithmetic that ncnn can do with several layers.

    What it finds: elementwise operators in `.ncnn.param` that pnnx left as they were, such as
    `aten::frac`, `aten::addcmul`, `aten::lerp`, `aten::logit` or `aten::hypot`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: the same arithmetic with BinaryOp, UnaryOp, Clip and Threshold layers, written so that
    nothing overflows or cancels on the way; a Reshape where ncnn would broadcast the other way round.

    Limits: floats only. Where torch's result is inf or nan, ncnn's fast arithmetic may give another
    number. copysign and signbit take minus zero for zero. Remainders are exact up to quotients of
    4096. `nan_to_num` relies on Clip making a number of nan, as it does on x86.

    Example:
        aten::frac   pnnx_0    1 1 in0 out0
        x - trunc(x), as Split, UnaryOp 19 and BinaryOp 1

    Source: ATen native_functions.yaml; ncnn binaryop.cpp, unaryop.cpp, threshold.cpp.
    """

    code = "PNX121"
    name = "leaked-arithmetic"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::frac(Tensor self) -> Tensor": lambda b, x: x - b.unary("trunc", x),
        "aten::addcmul(Tensor self, Tensor tensor1, Tensor tensor2, Scalar value=1) -> Tensor": _addcmul,
        "aten::addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, Scalar value=1) -> Tensor": _addcdiv,
        "aten::lerp(Tensor self, Tensor end, Tensor weight) -> Tensor": _lerp,
        "aten::rsub(Tensor self, Tensor other, Scalar alpha=1) -> Tensor": _rsub,
        "aten::div(Tensor self, Tensor other, str? rounding_mode=None) -> Tensor": _divide,
        "aten::true_divide(Tensor self, Tensor other) -> Tensor": lambda b, x, y: x / y,
        "aten::floor_divide(Tensor self, Tensor other) -> Tensor": lambda b, x, y: divide(b, x, y)[0],
        "aten::remainder(Tensor self, Tensor other) -> Tensor": lambda b, x, y: divide(b, x, y)[1],
        "aten::fmod(Tensor self, Tensor other) -> Tensor": fmod,
        "aten::square(Tensor self) -> Tensor": lambda b, x: b.unary("square", x),
        "aten::exp2(Tensor self) -> Tensor": exp2,
        "aten::log2(Tensor self) -> Tensor": log2,
        "aten::log1p(Tensor self) -> Tensor": log1p,
        "aten::expm1(Tensor self) -> Tensor": expm1,
        "aten::sinh(Tensor self) -> Tensor": sinh,
        "aten::cosh(Tensor self) -> Tensor": cosh,
        "aten::asinh(Tensor self) -> Tensor": asinh,
        "aten::acosh(Tensor self) -> Tensor": acosh,
        "aten::atanh(Tensor self) -> Tensor": atanh,
        "aten::rad2deg(Tensor self) -> Tensor": lambda b, x: x * (180 / math.pi),
        "aten::deg2rad(Tensor self) -> Tensor": lambda b, x: x * (math.pi / 180),
        "aten::hypot(Tensor self, Tensor other) -> Tensor": hypot,
        "aten::ldexp(Tensor self, Tensor other) -> Tensor": ldexp,
        "aten::logaddexp(Tensor self, Tensor other) -> Tensor": logaddexp,
        "aten::logaddexp2(Tensor self, Tensor other) -> Tensor": logaddexp2,
        "aten::sgn(Tensor self) -> Tensor": sign,
        "aten::sign(Tensor self) -> Tensor": sign,
        "aten::signbit(Tensor self) -> Tensor": lambda b, x: is_below(b, x, 0.0),
        "aten::angle(Tensor self) -> Tensor": lambda b, x: is_below(b, x, 0.0) * math.pi,
        "aten::copysign(Tensor self, Tensor other) -> Tensor": _copysign,
        "aten::heaviside(Tensor self, Tensor values) -> Tensor": _heaviside,
        "aten::erf(Tensor self) -> Tensor": lambda b, x: b.elementwise("Erf", x),
        "aten::erfc(Tensor self) -> Tensor": lambda b, x: 1.0 - b.elementwise("Erf", x),
        "aten::special_ndtr(Tensor self) -> Tensor": lambda b, x: (
            (b.elementwise("Erf", x * math.sqrt(0.5)) + 1.0) * 0.5
        ),
        "aten::special_entr(Tensor self) -> Tensor": _entropy,
        "aten::sinc(Tensor self) -> Tensor": _sinc,
        "aten::logit(Tensor self, float? eps=None) -> Tensor": _logit,
        "aten::xlogy(Tensor self, Tensor other) -> Tensor": _xlogy,
        "aten::special_xlog1py(Tensor self, Tensor other) -> Tensor": _xlog1py,
        "aten::float_power(Tensor self, Tensor exponent) -> Tensor": power,
        "aten::nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None)"
        " -> Tensor": _nan_to_num,
        "torch.positive(Tensor input) -> Tensor": lambda b, x: x,
    }
    cases = (
        Case("torch.frac(x * 3)", id="frac", x=_X),
        Case("torch.addcmul(x, y, z, value=0.5)", id="addcmul", x=_X, y="f32[5,7]", z="f32[3,1,1]"),
        Case("torch.logit(x, eps=0.1)", id="logit-eps", x=_X),
        Case("torch.sinc(conv(x))", id="sinc", x="f32[1,3,8,8]", setup={"conv": "nn.Conv2d(3, 3, 1)"}),
        Refused("torch.xlogy(x, -1.0)", id="xlogy-negative", because="log(-1.0)", x=_X),
    )
