"""Activation functions that ncnn has no layer for, or that pnnx left in their functional form."""

from __future__ import annotations

import math

from pnnxfix.codecs.number import spell_for_ncnn, to_float32
from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import is_above, is_below
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.functions import softplus
from pnnxfix.rules.lowering.select import choose

_X = "f32[3,5,7]"
_SMALL = 1e-6


def _relu(b: Builder, x: Value, slope: float = 0.0) -> Value:
    return b.elementwise("ReLU", x, (f"0={spell_for_ncnn(slope)}",) if slope else ())


def _softmin(b: Builder, x: Value, dim: int | None) -> Value:
    if dim is None:
        dim = 0 if x.rank in {0, 1, 3} else 1  # torch's rule where none is given
    return b.softmax(-x, dim)


def _softsign(b: Builder, x: Value) -> Value:
    return x / (b.unary("abs", x) + 1.0)


def _threshold(b: Builder, x: Value, threshold: float, value: float) -> Value:
    """x where it is above the threshold, else the value."""
    if to_float32(threshold) == to_float32(value) and math.isfinite(value):
        return _relu(b, x) if value == 0 else b.binary("max", x, value)
    return choose(b, is_above(b, x, threshold), x, value)


def _softplus(b: Builder, x: Value, beta: float, threshold: float) -> Value:
    """torch goes over to x itself above a threshold, by default where the difference is 2e-9."""
    if beta == 0:
        raise NotExpressible("softplus with beta 0")
    scaled = x if beta == 1 else x * beta
    smooth = softplus(b, scaled)
    smooth = smooth if beta == 1 else smooth * (1 / beta)
    if math.log1p(math.exp(-abs(threshold))) / abs(beta) < _SMALL and threshold > 0:
        return smooth
    return choose(b, is_above(b, scaled, threshold), x, smooth)


def _rrelu(b: Builder, x: Value, lower: float, upper: float, training: bool = False) -> Value:
    if training:
        raise NotExpressible("rrelu draws random slopes in training mode", "call model.eval() before tracing")
    return _relu(b, x, (lower + upper) / 2)


def _prelu(b: Builder, x: Value, weight: Value | float) -> Value:
    """One slope for all, or one for each entry of axis 1."""
    if not isinstance(weight, Value):
        return _relu(b, x, weight)
    if weight.size == 1:
        weight = b.view(weight, (1,) * x.rank)
    elif x.rank >= 2 and weight.size == x.shape[1]:
        weight = b.view(weight, (weight.size, *(1 for _ in x.shape[2:])))
    elif weight.shape != x.shape:
        raise NotExpressible(f"slopes of shape {weight.shape} for {x.shape}")
    return _relu(b, x) + b.binary("min", x, 0.0) * weight


def _hardshrink(b: Builder, x: Value, lambd: float) -> Value:
    """0 from -lambd to lambd."""
    inside = 1.0 - is_above(b, x, lambd) - is_below(b, x, -lambd)
    return choose(b, inside, 0.0, x)


def _softshrink(b: Builder, x: Value, lambd: float) -> Value:
    """What is left of x beyond -lambd and lambd."""
    return _relu(b, x - lambd) - _relu(b, -lambd - x)


class Activations(Family):
    """Activation functions that pnnx left behind.

    What it finds: `F.softsign`, `F.softmin`, `F.tanhshrink`, `F.threshold`, `F.softplus` with a `beta`,
    `F.prelu`, `aten::rrelu`, and from older pnnx `F.hardshrink` and `F.softshrink` in `.ncnn.param`.

    Why it breaks: ncnn has no such layer, or no layer of that name, and refuses to load the graph.

    Repair: the same function with ReLU, Softmax, BinaryOp and UnaryOp layers, written so that no
    exp overflows.

    Limits: floats only. A nan may come out as a number where torch keeps it. rrelu in training mode
    is random and refused.

    Example:
        F.softsign   F.softsign_0   1 1 in0 out0
        x / (1 + |x|), as Split, UnaryOp 0, BinaryOp 0 and BinaryOp 3

    Source: torch.nn.functional's documentation; ncnn relu.cpp, softmax.cpp.
    ncnn's own Shrink gives back its input in every release before 20260526, so it is not used.
    """

    code = "PNX123"
    name = "leaked-activation"
    operators = {  # noqa: RUF012 a table, never changed
        "F.softmin(Tensor input, int dim=None) -> Tensor": _softmin,
        "F.softsign(Tensor input) -> Tensor": _softsign,
        "F.tanhshrink(Tensor input) -> Tensor": lambda b, x: x - b.unary("tanh", x),
        "F.threshold(Tensor input, Scalar threshold, Scalar value) -> Tensor": _threshold,
        "F.softplus(Tensor input, Scalar beta=1, Scalar threshold=20) -> Tensor": _softplus,
        "F.hardshrink(Tensor input, Scalar lambd=0.5) -> Tensor": _hardshrink,
        "F.softshrink(Tensor input, Scalar lambd=0.5) -> Tensor": _softshrink,
        "F.rrelu(Tensor input, Scalar lower, Scalar upper) -> Tensor": _rrelu,
        "aten::rrelu(Tensor self, Scalar lower, Scalar upper, bool training) -> Tensor": _rrelu,
        "F.prelu(Tensor input, Tensor weight) -> Tensor": _prelu,
        "aten::prelu(Tensor self, Tensor weight) -> Tensor": _prelu,
    }
    cases = (
        Case("F.softmin(x, dim=1)", id="softmin", x=_X),
        Case("F.softsign(conv(x))", id="softsign", x="f32[1,3,8,8]", setup={"conv": "nn.Conv2d(3, 3, 1)"}),
        Case("F.threshold(x, 0.5, -2.0)", id="threshold", x=_X),
        Case("F.rrelu(x, 0.1, 0.5)", id="rrelu", x=_X),
        Refused("F.rrelu(x, 0.1, 0.5, training=True)", id="rrelu-training", because="random slopes", x=_X),
    )
