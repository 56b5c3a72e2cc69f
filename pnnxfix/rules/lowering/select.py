"""Selection by a mask: torch.where and its kin, exact for infinities.

m*x + (1-m)*y would make nan of an infinity that is not wanted, as an attention mask holds them.
Here the branch that is not wanted becomes an infinity by min or max, and loses against the other.
"""

from __future__ import annotations

import math

from pnnxfix.codecs.number import to_float32
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import Operand


def choose(b: Builder, mask: Value, x: Operand, y: Operand) -> Value:
    """x where the mask is 1.0, y where it is 0.0; a nan among either may come through.

    Raises NotExpressible for a constant nan.
    """
    if not isinstance(x, Value) and not isinstance(y, Value):
        return _choose_numbers(b, mask, _number(x), _number(y))
    if not isinstance(x, Value):
        return _choose_number(b, 0.5 - mask, y, _number(x))
    if not isinstance(y, Value):
        return _choose_number(b, mask - 0.5, x, _number(y))
    bound = _infinite(mask - 0.5)
    return b.binary("max", b.binary("min", x, bound), b.binary("min", y, -bound))


def _infinite(signed: Value) -> Value:
    """inf where the argument is 0.5, -inf where it is -0.5; also with half floats."""
    return signed * 3e38 * 10.0


def _choose_number(b: Builder, signed: Value, x: Operand, number: float) -> Value:
    """x where `signed` is 0.5, the number where it is -0.5."""
    assert isinstance(x, Value)
    if number == math.inf:
        return b.binary("max", x, _infinite(-signed))
    bound = _infinite(signed)
    kept = b.binary("min", x, bound)
    return kept if number == -math.inf else b.binary("max", kept, b.binary("min", -bound, number))


def _choose_numbers(b: Builder, mask: Value, x: float, y: float) -> Value:
    if math.isinf(x) and math.isinf(y):
        if x == y:
            raise NotExpressible("both branches are the same infinity")
        return _infinite(mask - 0.5 if x > 0 else 0.5 - mask)
    if math.isinf(y):
        return b.binary("min" if y < 0 else "max", _infinite(mask - 0.5 if y < 0 else 0.5 - mask), x)
    if math.isinf(x):
        return b.binary("min" if x < 0 else "max", _infinite(0.5 - mask if x < 0 else mask - 0.5), y)
    span = to_float32(x - y)
    if math.isfinite(span) and to_float32(span + y) == x:
        scaled = mask if span == 1.0 else mask * span
        return scaled + y if y else scaled
    return mask * x + (1.0 - mask) * y


def _number(number: Operand) -> float:
    if isinstance(number, Value | str) or math.isnan(number):
        raise NotExpressible(f"{number} among the values to choose from")
    return to_float32(number)
