"""Interpolation along any number of axes, one axis after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pnnxfix.codecs.number import to_float32
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.gather import take
from pnnxfix.rules.lowering.views import around

_LINEAR = frozenset({"linear", "bilinear", "trilinear"})
_LARGEST_TABLE = 1 << 22


def resample(
    b: Builder, x: Value, sizes: Sequence[int], scales: Sequence[float | None], mode: str, align: bool
) -> Value:
    """F.interpolate of (n, c, ...) to the given sizes; `scales` are the factors that the caller gave."""
    for at, (size, factor) in enumerate(zip(sizes, scales, strict=True)):
        axis = x.rank - len(sizes) + at
        have = x.shape[axis]
        step = have / size if factor is None else 1 / factor
        if mode in {"nearest", "nearest-exact"}:
            shift = 0.5 if mode == "nearest-exact" else 0.0
            x = take(b, x, axis, [_nearest(place + shift, step, have) for place in range(size)])
        elif mode in _LINEAR:
            x = _linear(b, x, axis, size, step, align)
        else:
            raise NotExpressible(f"interpolation of mode {mode}")
    return x


def _nearest(place: float, step: float, size: int) -> int:
    """torch computes the place in float32."""
    return min(math.floor(to_float32(place * to_float32(step))), size - 1)


def _linear(b: Builder, x: Value, axis: int, size: int, step: float, align: bool) -> Value:
    """A product with the table of shares that each element has in each result."""
    outer, have, inner = around(x.shape, axis)
    if size == have and (align or step == 1):
        return x
    if size * have > _LARGEST_TABLE:
        raise NotExpressible(f"a table of {size} x {have} shares would make the model too large")
    if align:
        step = (have - 1) / (size - 1) if size > 1 else 0.0
    table = [0.0] * (size * have)
    for place in range(size):
        source = place * step if align else max((place + 0.5) * step - 0.5, 0.0)
        low = min(math.floor(source), have - 1)
        share = source - low
        table[place * have + low] += 1 - share
        table[place * have + min(low + 1, have - 1)] += share
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    weights = b.constant(table, (size, have))
    rows = b.view(x, (outer, have, inner))
    if inner == 1:
        blobs = b.as_blob(rows, (outer, have)), b.as_blob(weights, (size, have))
        return b.layer("MatMul", blobs, ("0=1",), shape, (outer, size))
    return b.view(b.matmul(weights, rows), shape)
