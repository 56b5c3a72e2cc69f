"""Functions of one or two tensors that ncnn's layers of 20240102 do not have by themselves.

Each is right to about 1e-5 over torch's whole domain, as far as torch's own result is finite; at
poles and beyond, ncnn's fast exp, log and division give other numbers than inf or nan. A divisor
above 8.5e37 counts as infinite, since ncnn on x86 multiplies by its reciprocal.
"""

from __future__ import annotations

import math

from pnnxfix.codecs.number import to_float32
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import FLT_MIN, is_at_least, is_equal, sign

_LOG_2 = math.log(2)


def log_above_zero(b: Builder, x: Value) -> Value:
    """log(x) for x > 0; about -87 for 0 and less, so that 0 * log(0) is 0."""
    return b.unary("log", b.binary("max", x, FLT_MIN))


def log1p(b: Builder, x: Value) -> Value:
    return b.unary("log", x + 1.0)


def expm1(b: Builder, x: Value) -> Value:
    return b.unary("exp", x) - 1.0


def exp2(b: Builder, x: Value) -> Value:
    """Squared, because ncnn's exp ends at exp(88.37), short of the largest float32."""
    return b.unary("square", b.unary("exp", x * (_LOG_2 / 2)))


def log2(b: Builder, x: Value) -> Value:
    return b.unary("log", x) * (1 / _LOG_2)


def sinh(b: Builder, x: Value) -> Value:
    """Halved within exp, which would overflow first."""
    return b.unary("exp", x - _LOG_2) - b.unary("exp", -_LOG_2 - x)


def cosh(b: Builder, x: Value) -> Value:
    return b.unary("exp", x - _LOG_2) + b.unary("exp", -_LOG_2 - x)


def asinh(b: Builder, x: Value) -> Value:
    """sign(x) (log m + log(a/m + sqrt((a/m)^2 + 1/m^2))), a = |x|, m = max(a, 1): nothing overflows."""
    size = b.unary("abs", x)
    scale = b.binary("max", size, 1.0)
    inverse = b.unary("reciprocal", scale)
    part = size * inverse
    root = b.unary("sqrt", b.unary("square", part) + b.unary("square", inverse))
    return (b.unary("log", part + root) + b.unary("log", scale)) * sign(b, x)


def acosh(b: Builder, x: Value) -> Value:
    """log x + log(1 + sqrt((x-1)/x (1 + 1/x))): nothing overflows or cancels."""
    inverse = b.unary("reciprocal", x)
    root = b.unary("sqrt", (x - 1.0) * inverse * (inverse + 1.0))
    return b.unary("log", x) + b.unary("log", root + 1.0)


def atanh(b: Builder, x: Value) -> Value:
    return b.unary("log", (x + 1.0) / (1.0 - x)) * 0.5


def softplus(b: Builder, x: Value) -> Value:
    """log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)): nothing overflows."""
    return b.elementwise("ReLU", x) + b.unary("log", b.unary("exp", -b.unary("abs", x)) + 1.0)


def logaddexp(b: Builder, x: Value, y: Value) -> Value:
    near = b.unary("log", b.unary("exp", -b.unary("abs", x - y)) + 1.0)
    return b.binary("max", x, y) + near


def logaddexp2(b: Builder, x: Value, y: Value) -> Value:
    near = b.unary("log", b.unary("exp", b.unary("abs", x - y) * -_LOG_2) + 1.0)
    return b.binary("max", x, y) + near * (1 / _LOG_2)


def hypot(b: Builder, x: Value, y: Value) -> Value:
    """m sqrt(1 + (n/m)^2) with m the larger: the squares of large numbers would overflow."""
    first, second = b.unary("abs", x), b.unary("abs", y)
    larger, smaller = b.binary("max", first, second), b.binary("min", first, second)
    ratio = smaller / b.binary("max", larger, FLT_MIN)
    return larger * b.unary("sqrt", b.unary("square", ratio) + 1.0)


def ldexp(b: Builder, x: Value, y: Value) -> Value:
    """x 2^y; by halves, since 2^y may overflow where x 2^y does not."""
    half = b.unary("exp", y * (_LOG_2 / 2))
    return x * half * half


def power(b: Builder, x: Value | float, y: Value | float) -> Value:
    """torch.pow, where the result is finite."""
    if not isinstance(x, Value):
        assert isinstance(y, Value)
        return _power_of_number(b, x, y)
    if not isinstance(y, Value):
        return _power_to_number(b, x, y)
    size = b.unary("abs", x)
    # Below zero the sign is that of an odd exponent; 0 to a power above 0 is 0.
    odd = y - b.unary("floor", y * 0.5) * 2.0
    positive = 1.0 - odd * b.above(-x, 0.0) * 2.0
    zero = is_equal(b, size, 0.0) * b.above(y, 0.0)
    return _exp_squared(b, log_above_zero(b, size) * y) * positive * (1.0 - zero)


def _exp_squared(b: Builder, x: Value) -> Value:
    return b.unary("square", b.unary("exp", x * 0.5))


def _power_of_number(b: Builder, x: float, y: Value) -> Value:
    if not 0 < x < math.inf:
        raise NotExpressible(f"powers of {x}", "write it with torch.where")
    return _exp_squared(b, y * math.log(x))


def _power_to_number(b: Builder, x: Value, y: float) -> Value:
    if not math.isfinite(y):
        raise NotExpressible(f"{y} as an exponent")
    if y == int(y) and 0 < abs(y) <= 64:
        result = _multiply(b, x, int(abs(y)))
        return result if y > 0 else b.unary("reciprocal", result)
    if y <= 0:
        return _exp_squared(b, log_above_zero(b, x) * y)
    return b.unary("sqrt", x) if y == 0.5 else _exp_squared(b, log_above_zero(b, x) * y) * b.above(x, 0.0)


def _multiply(b: Builder, x: Value, times: int) -> Value:
    """x^times by squaring: ncnn's pow is not right below zero."""
    if times == 1:
        return x
    half = b.unary("square", _multiply(b, x, times // 2))
    return half * x if times % 2 else half


def divide(b: Builder, x: Value, y: Value | float) -> tuple[Value, Value]:
    """floor(x / y), and x - y floor(x / y), which has the sign of y as torch.remainder.

    As torch does it: the remainder of the sizes with the sign of x, and y added where its sign is
    another; a tiny x below 0 gives y itself.
    """
    turn = sign(b, x)
    size = b.unary("abs", y) if isinstance(y, Value) else abs(y)
    quotient, rest = _divide_sizes(b, b.unary("abs", x), size)
    rest = rest * turn
    if isinstance(y, Value):
        side = sign(b, y)
        turned = b.above(-(rest * side), 0.0)
        return quotient * turn * side - turned, rest + turned * y
    turned = b.above(-rest if y > 0 else rest, 0.0)
    quotient = quotient * turn
    return (quotient if y > 0 else -quotient) - turned, rest + turned * y


def fmod(b: Builder, x: Value, y: Value | float) -> Value:
    """The remainder with the sign of x."""
    size = b.unary("abs", y) if isinstance(y, Value) else abs(y)
    return _divide_sizes(b, b.unary("abs", x), size)[1] * sign(b, x)


def _divide_sizes(b: Builder, x: Value, y: Value | float) -> tuple[Value, Value]:
    """Quotient and remainder of numbers that are not below zero.

    ncnn's fast quotient may lie just beside a whole number, so that both are corrected by the
    remainder. That is exact for quotients up to 4096: y is cut into two parts of 12 bits each,
    whose products with the quotient need no rounding.
    """
    if not isinstance(y, Value):
        y = to_float32(y)
        if y == 0 or not math.isfinite(y):
            raise NotExpressible(f"a division by {y}")
    quotient = b.unary("floor", x / y)
    high, low = _cut(y)
    rest = x - quotient * high
    if isinstance(low, Value) or low:
        rest = rest - quotient * low
    enough = is_at_least(b, rest, y) if not isinstance(y, Value) else 1.0 - b.above(y - rest, 0.0)
    step = enough - b.above(-rest, 0.0)
    return quotient + step, rest - step * y


def _cut(y: Value | float) -> tuple[Value | float, Value | float]:
    """y as the sum of two numbers whose significands have at most 12 bits (Veltkamp's way)."""
    if isinstance(y, Value):
        stretched = y * 4097.0
        high = stretched - (stretched - y)
        return high, y - high
    fraction, exponent = math.frexp(y)
    upper = math.ldexp(round(fraction * 4096), exponent - 12)
    return upper, y - upper
