"""Normalisations with weights that other operators compute, made of LayerNorm and BinaryOps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.lowering.builder import Builder, Value
from pnnxfix.rules.lowering.statistics import normalise, reduce

_FLOAT_EPS = 2.0**-23


def scale(x: Value, weight: Value | None, bias: Value | None) -> Value:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _per_channel(b: Builder, x: Value, value: Value | None) -> Value | None:
    """A vector of the channels, beside a tensor of (n, c, ...)."""
    return None if value is None else b.view(value, (1, value.size, *(1,) * (x.rank - 2)))


def batch_statistics_norm(
    b: Builder, x: Value, weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    """A batch norm in training mode: of (n, c, ...) with the statistics of each channel over all else.

    Gives the result, the mean and 1 / sqrt(var + eps).
    """
    axes = [axis for axis in range(x.rank) if axis != 1]
    mean = reduce(b, "mean", x, axes, True)
    distance = x - mean
    var = reduce(b, "mean", b.unary("square", distance), axes, True)
    inverse = b.binary("rdiv", b.unary("sqrt", var + eps), 1.0)
    found = scale(distance * inverse, _per_channel(b, x, weight), _per_channel(b, x, bias))
    channels = (x.shape[1],)
    return found, b.view(mean, channels), b.view(inverse, channels)


def group_norm(
    b: Builder, x: Value, groups: int, weight: Value | None, bias: Value | None, eps: float
) -> Value:
    """F.group_norm of (n, c, ...)."""
    inner = x.size // x.shape[0] // groups
    return scale(normalise(b, x, inner, eps), _per_channel(b, x, weight), _per_channel(b, x, bias))


def instance_norm(b: Builder, x: Value, weight: Value | None, bias: Value | None, eps: float) -> Value:
    """F.instance_norm with the statistics of each channel."""
    inner = prod(x.shape[2:])
    return scale(normalise(b, x, inner, eps), _per_channel(b, x, weight), _per_channel(b, x, bias))


def layer_norm(
    b: Builder, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> Value:
    return scale(normalise(b, x, prod(shape), eps), weight, bias)


def rms_norm(b: Builder, x: Value, shape: Sequence[int], weight: Value | None, eps: float | None) -> Value:
    """F.rms_norm; without eps torch takes the smallest step of float32."""
    inner = prod(shape)
    rows = b.view(x, (x.size // inner, inner))
    # A mean of squares, where sumsq would grow past float32 in wide rows.
    mean = reduce(b, "mean", b.unary("square", rows), 1, True)
    root = b.unary("sqrt", mean + (_FLOAT_EPS if eps is None else eps))
    return scale(b.view(rows / root, x.shape), weight, None)


def moments(b: Builder, x: Value, inner: int, eps: float, shape: Sequence[int]) -> tuple[Value, Value]:
    """Mean and 1 / sqrt(var + eps) of the last `inner` elements, in a given shape."""
    rows = b.view(x, (x.size // inner, inner))
    mean = reduce(b, "mean", rows, 1, True)
    var = reduce(b, "mean", b.unary("square", rows - mean), 1, True)
    inverse = b.binary("rdiv", b.unary("sqrt", var + eps), 1.0)
    return b.view(mean, shape), b.view(inverse, shape)
