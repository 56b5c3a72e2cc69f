"""Norms and distances, made of Reductions and MatMuls."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import is_above
from pnnxfix.rules.lowering.select import choose
from pnnxfix.rules.lowering.statistics import Axes, axes_of, reduce, vector_norm

Order = float | str | None


def read_order(order: Order) -> float:
    """A vector norm's order as the files spell it: a number, `inf`, `-inf`, `fro`, or None for 2."""
    if order is None or order == "fro":
        return 2.0
    try:
        return float(order)
    except ValueError:
        raise NotExpressible(f"a norm of order {order}") from None


def norm(b: Builder, x: Value, order: Order, axes: Axes, keepdim: bool) -> Value:
    """torch.norm: always of the elements, as a vector."""
    if order == "nuc":
        raise NotExpressible("the nuclear norm needs singular values, which have no layers")
    return vector_norm(b, x, read_order(order), axes, keepdim)


def matrix_norm(b: Builder, x: Value, order: Order, axes: Sequence[int], keepdim: bool) -> Value:
    """torch.linalg.matrix_norm, where no singular values are needed."""
    if order is None or order == "fro":
        return vector_norm(b, x, 2.0, axes, keepdim)
    number = math.nan if order == "nuc" else read_order(order)
    if abs(number) not in {1.0, math.inf}:
        raise NotExpressible(f"the matrix norm of order {order} needs singular values, which have no layers")
    rows, columns = (x.axis(axis) for axis in axes)
    first, second = (rows, columns) if abs(number) == 1 else (columns, rows)
    sums = reduce(b, "asum", x, first, True)
    found = reduce(b, "max" if number > 0 else "min", sums, second, True)
    if keepdim:
        return found
    return b.view(found, [size for at, size in enumerate(x.shape) if at not in {rows, columns}])


def linalg_norm(b: Builder, x: Value, order: Order, axes: Axes, keepdim: bool) -> Value:
    """torch.linalg.norm: of two axes with an order a matrix norm, else of a vector."""
    wanted = axes_of(axes)
    if order is None:
        return vector_norm(b, x, 2.0, wanted, keepdim)
    if wanted is None:
        wanted = tuple(range(x.rank))
    if len(wanted) == 2:
        return matrix_norm(b, x, order, wanted, keepdim)
    return norm(b, x, order, wanted, keepdim)


def pairwise_distance(b: Builder, x: Value, y: Value, p: float, eps: float, keepdim: bool) -> Value:
    """F.pairwise_distance: the norm of x - y + eps over the last axis."""
    return vector_norm(b, x - y + eps, p, -1, keepdim)


def cosine_similarity(b: Builder, x: Value, y: Value, dim: int, eps: float) -> Value:
    """F.cosine_similarity: each norm is at least eps."""
    wide = x * y
    if x.shape != wide.shape or y.shape != wide.shape:
        x, y = b.expand(x, wide.shape), b.expand(y, wide.shape)
    norms = [b.clip(vector_norm(b, value, 2.0, dim, True), eps) for value in (x, y)]
    product = reduce(b, "sum", wide, dim, True) / norms[0] / norms[1]
    return b.squeeze(product, dim)


def normalize(b: Builder, x: Value, p: float, dim: Axes, eps: float) -> Value:
    """F.normalize."""
    return x / b.clip(vector_norm(b, x, p, dim, True), eps)


def renorm(b: Builder, x: Value, p: float, dim: int, limit: float) -> Value:
    """torch.renorm: each slice along an axis is scaled down to the limit where its norm is above."""
    axes = [axis for axis in range(x.rank) if axis != x.axis(dim)]
    size = vector_norm(b, x, p, axes, True)
    return x * choose(b, is_above(b, size, limit), limit / (size + 1e-7), 1.0)


def cdist(b: Builder, x: Value, y: Value, p: float) -> Value:
    """torch.cdist: the norm of the differences of all pairs of rows, not the shortcut by a product."""
    wide, tall = b.unsqueeze(x, -2), b.unsqueeze(y, -3)
    return vector_norm(b, wide - tall, p, -1, False)


def pdist(b: Builder, x: Value, p: float) -> Value:
    """torch.pdist: the distances of all rows, without those that are the same."""
    rows = x.shape[0]
    table = cdist(b, x, x, p)
    parts = [b.slice(b.select(table, 0, at), 0, at + 1, rows) for at in range(rows - 1)]
    if not parts:
        raise NotExpressible("a result of no elements")
    return b.concat(parts, 0)
