"""Reductions, norms and running results over torch's axes, made of ncnn's layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod

from pnnxfix.codecs.number import FLT_MAX, spell_for_ncnn
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import FLT_MIN, is_number, truth
from pnnxfix.rules.lowering.functions import logaddexp

Axes = Sequence[int] | int | None

_MOST_STEPS = 4096


def axes_of(axes: Axes) -> tuple[int, ...] | None:
    """Axes as torch takes them: one, several, or None and () for all."""
    if axes is None or axes == ():
        return None
    return (axes,) if isinstance(axes, int) else tuple(axes)


def count(x: Value, axes: Axes) -> int:
    """How many elements go into one element of the reduction."""
    wanted = axes_of(axes)
    return x.size if wanted is None else prod(x.shape[x.axis(axis)] for axis in {x.axis(a) for a in wanted})


def reduce(b: Builder, name: str, x: Value, axes: Axes = None, keepdim: bool = False) -> Value:
    """A Reduction by its name; `axes` as in torch."""
    return b.reduce(name, x, axes_of(axes), keepdim)


def without_axes(b: Builder, x: Value, axes: Axes, keepdim: bool) -> Value:
    """Drop the axes of size one that a reduction with keepdim has left, unless they are to stay."""
    if keepdim:
        return x
    wanted = axes_of(axes)
    gone = set(range(x.rank)) if wanted is None else {x.axis(axis) for axis in wanted}
    return b.view(x, [size for at, size in enumerate(x.shape) if at not in gone])


def variance(b: Builder, x: Value, axes: Axes, correction: float, keepdim: bool) -> tuple[Value, Value]:
    """torch.var and the mean, two passes as torch does it."""
    rest = count(x, axes) - correction
    if rest <= 0:
        raise NotExpressible(
            f"the variance of {count(x, axes)} numbers with correction {correction} is nan or inf"
        )
    mean = reduce(b, "mean", x, axes, True)
    squares = reduce(b, "sumsq", x - mean, axes, keepdim)
    return squares * (1 / rest), without_axes(b, mean, axes, keepdim)


def log_sum_exp(b: Builder, x: Value, axes: Axes, keepdim: bool) -> Value:
    """log(sum(exp(x))) with the greatest number taken out first, so that nothing overflows."""
    greatest = reduce(b, "max", x, axes, True)
    total = reduce(b, "sum", b.unary("exp", x - greatest), axes, True)
    return without_axes(b, greatest + b.unary("log", total), axes, keepdim)


def log_softmax(b: Builder, x: Value, axis: int) -> Value:
    """torch.log_softmax: a log of Softmax would turn what underflows into nan."""
    shifted = x - reduce(b, "max", x, axis, True)
    return shifted - b.unary("log", reduce(b, "sum", b.unary("exp", shifted), axis, True))


def vector_norm(b: Builder, x: Value, order: float, axes: Axes, keepdim: bool) -> Value:
    """torch.linalg.vector_norm of any order but the negative finite ones."""
    if order == math.inf:
        return reduce(b, "max", b.unary("abs", x), axes, keepdim)
    if order == -math.inf:
        return reduce(b, "min", b.unary("abs", x), axes, keepdim)
    if order == 0:
        return reduce(b, "sum", truth(b, x), axes, keepdim)
    if order == 1:
        return reduce(b, "asum", x, axes, keepdim)
    if order == 2:
        return b.unary("sqrt", reduce(b, "sumsq", x, axes, keepdim))
    if not 0 < order < 64:
        raise NotExpressible(f"a norm of order {order} has no layers that are exact near zero")
    # The greatest is taken out, so that no power overflows or vanishes; pow(0) is not safe in ncnn.
    size = b.unary("abs", x)
    greatest = b.clip(reduce(b, "max", size, axes, True), FLT_MIN, FLT_MAX)
    share = size / greatest
    total = reduce(b, "sum", _positive_power(b, share, order), axes, True)
    return without_axes(b, greatest * _positive_power(b, total, 1 / order), axes, keepdim)


def _positive_power(b: Builder, x: Value, exponent: float) -> Value:
    """x ** exponent for x >= 0: 0 stays 0."""
    return b.binary("pow", b.clip(x, FLT_MIN), exponent) * b.above(x, 0.0)


def normalise(b: Builder, x: Value, inner: int, eps: float) -> Value:
    """(x - mean) / sqrt(var + eps) over the last axes, which hold `inner` elements."""
    outer = x.size // inner
    if inner == 1:
        return x * 0.0
    shaped = b.as_blob(x, (outer, inner))
    words = (f"0={inner}", f"1={spell_for_ncnn(eps)}", "2=0")
    return b.layer("LayerNorm", (shaped,), words, x.shape, (outer, inner))


def scan(b: Builder, x: Value, axis: int, combine: Callable[[Value, Value], Value]) -> Value:
    """Running results along an axis, with log2(size) combinations of the tensor with itself moved on."""
    axis = x.axis(axis)
    size = x.shape[axis] if x.rank else 1
    if size > _MOST_STEPS:
        raise NotExpressible(f"running results along an axis of {size} need too many layers")
    step = 1
    while step < size:
        rest = combine(b.slice(x, axis, step, size), b.slice(x, axis, 0, size - step))
        x = b.concat([b.slice(x, axis, 0, step), rest], axis)
        step *= 2
    return x


def running_log_sum_exp(b: Builder, x: Value, axis: int) -> Value:
    return scan(b, x, axis, lambda one, two: logaddexp(b, one, two))


def without_nan(b: Builder, x: Value) -> tuple[Value, Value]:
    """x with 0 for nan, and a mask that is 0 there; Clip gives some number for nan."""
    mask = is_number(b, x)
    return b.clip(x, -FLT_MAX, FLT_MAX) * mask, mask


def covariance(b: Builder, x: Value, correction: float) -> Value:
    """torch.cov of variables in rows; of one variable it has no axes."""
    rows = b.view(x, (1, x.size)) if x.rank < 2 else x
    count, size = rows.shape
    if size <= correction:
        raise NotExpressible(f"a covariance of {size} observations with correction {correction}")
    distance = rows - reduce(b, "mean", rows, 1, True)
    product = b.matmul(distance, b.permute(distance, (1, 0))) * (1 / (size - correction))
    return b.view(product, () if count == 1 else (count, count))
