"""Comparisons and logic in ncnn's layers: masks of 0.0 and 1.0, exact for infinities and nan.

ncnn has no comparison but Threshold: 1.0 where x > t, else 0.0, and 0.0 for nan, in all releases.
Everything here is made of it. Differences below the smallest normal float32 (1.2e-38) count as
none, since ncnn may flush them to zero.
"""

from __future__ import annotations

import math
import struct

from pnnxfix.codecs.number import FLT_MAX, to_float32
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value

Operand = Value | float

FLT_MIN = 2.0**-126
_HALF_OF_LARGE = 2e38  # half of FLT_MAX is less, half of an infinity is more


def is_above(b: Builder, x: Operand, y: Operand) -> Value:
    """x > y."""
    if not isinstance(x, Value):
        return is_below(b, _tensor(y), x)
    if isinstance(y, Value):
        return b.above(x - y, 0.0)
    y = _number(y)
    if y == math.inf:
        return b.above(b.clip(x, None, 0.0), 0.0)  # nothing is
    return b.above(x * 0.5, -_HALF_OF_LARGE) if y == -math.inf else b.above(x, y)


def is_below(b: Builder, x: Operand, y: Operand) -> Value:
    """x < y."""
    if isinstance(x, Value) and not isinstance(y, Value):
        return is_above(b, -x, -y)
    return is_above(b, y, x)


def is_at_least(b: Builder, x: Operand, y: Operand) -> Value:
    """x >= y."""
    if not isinstance(x, Value):
        return is_at_most(b, _tensor(y), x)
    if isinstance(y, Value):
        return is_number(b, x) * is_number(b, y) * (1.0 - b.above(y - x, 0.0))
    y = _number(y)
    if y == -math.inf:
        return is_number(b, x)
    before = _before(y)
    return is_above(b, x, before if abs(before) >= FLT_MIN else math.copysign(FLT_MIN, before))


def is_at_most(b: Builder, x: Operand, y: Operand) -> Value:
    """x <= y."""
    if isinstance(x, Value) and not isinstance(y, Value):
        return is_at_least(b, -x, -y)
    return is_at_least(b, y, x)


def is_equal(b: Builder, x: Operand, y: Operand) -> Value:
    """x == y."""
    if not isinstance(x, Value):
        x, y = _tensor(y), x
    if isinstance(y, Value):
        # The difference of equal infinities is nan, which is not above 0; their sum tells them from nan.
        return (1.0 - b.above(b.unary("abs", x - y), 0.0)) * is_number(b, x + y)
    y = _number(y)
    if math.isinf(y):
        return b.above(x if y > 0 else -x, FLT_MAX)
    return b.above(-b.unary("abs", x - y if y else x), -FLT_MIN)


def is_not_equal(b: Builder, x: Operand, y: Operand) -> Value:
    """x != y."""
    return negate(is_equal(b, x, y))


def is_number(b: Builder, x: Value) -> Value:
    """Whether x is not nan."""
    return b.above(b.unary("abs", x), -1.0)


def is_infinite(b: Builder, x: Value) -> Value:
    return b.above(b.unary("abs", x), FLT_MAX)


def is_finite(b: Builder, x: Value) -> Value:
    return b.above(b.unary("abs", x) * -0.5, -_HALF_OF_LARGE)


def is_close(b: Builder, x: Value, y: Value, rtol: float, atol: float, equal_nan: bool) -> Value:
    """torch.isclose: |x - y| <= atol + rtol * |y|, or equal infinities."""
    if equal_nan:
        raise NotExpressible("ncnn cannot tell which nan is equal to which", "leave out equal_nan")
    allowed = b.unary("abs", y) * rtol + atol
    near = b.above(allowed - b.unary("abs", x - y), -FLT_MIN)
    return b.binary("max", near, is_equal(b, x, y))


def truth(b: Builder, x: Value) -> Value:
    """What torch takes a tensor for where a condition is wanted: all but 0 is true, nan too."""
    return x if x.dtype == "bool" else is_not_equal(b, x, 0.0)


def negate(mask: Value) -> Value:
    return 1.0 - mask


def both(b: Builder, x: Value, y: Value) -> Value:
    return truth(b, x) * truth(b, y)


def either(b: Builder, x: Value, y: Value) -> Value:
    return b.binary("max", truth(b, x), truth(b, y))


def one_only(b: Builder, x: Value, y: Value) -> Value:
    return b.unary("abs", truth(b, x) - truth(b, y))


def sign(b: Builder, x: Value) -> Value:
    return b.above(x, 0.0) - b.above(-x, 0.0)


def _tensor(x: Operand) -> Value:
    if isinstance(x, Value):
        return x
    raise NotExpressible("a comparison of two constants")


def _number(number: float) -> float:
    """The float32 that torch compares with."""
    if isinstance(number, str) or math.isnan(number):
        raise NotExpressible(f"a comparison with {number}")
    return to_float32(number)


def _before(number: float) -> float:
    """The next smaller float32; at most FLT_MAX and at least -inf."""
    if number == 0.0:
        return -FLT_MIN
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    return float(struct.unpack("<f", struct.pack("<I", bits + (1 if number < 0 else -1)))[0])
