"""Operators of diagonals and triangles of matrices, and views with strides of their own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.gather import coordinates, join, map_elements, rearrange, strides
from pnnxfix.rules.operators.layout_along import pad_axis


def _tril(b: Builder, x: Value, diagonal: int) -> Value:
    return map_elements(b, x, x.shape, lambda at: at if at[-1] - at[-2] <= diagonal else None)


def _triu(b: Builder, x: Value, diagonal: int) -> Value:
    return map_elements(b, x, x.shape, lambda at: at if at[-1] - at[-2] >= diagonal else None)


def _diagonal(b: Builder, x: Value, offset: int, dim1: int, dim2: int) -> Value:
    """torch.diagonal: the diagonal becomes the last axis."""
    first, second = x.axis(dim1), x.axis(dim2)
    rest = [axis for axis in range(x.rank) if axis not in {first, second}]
    matrix = b.permute(x, [*rest, first, second])
    *outer, rows, columns = matrix.shape
    length = min(rows - max(-offset, 0), columns - max(offset, 0))
    if length < 1 or first == second:
        raise NotExpressible(f"{x.shape} has no diagonal {offset} in axes {dim1} and {dim2}")
    start = max(-offset, 0) * columns + max(offset, 0)
    places = [start + at * (columns + 1) for at in range(length)]
    flat = b.view(matrix, (prod(outer), rows * columns))
    indexes = [at * rows * columns + place for at in range(prod(outer)) for place in places]
    return rearrange(b, flat, indexes, (*outer, length))


def _diag_embed(b: Builder, x: Value, offset: int, dim1: int, dim2: int) -> Value:
    """torch.diag_embed: the last axis becomes a diagonal of two new axes, zeros around it."""
    size = x.shape[-1] + abs(offset)
    square = map_elements(
        b,
        x,
        (*x.shape[:-1], size, size),
        lambda at: (*at[:-2], min(at[-2:])) if at[-1] - at[-2] == offset else None,
    )
    first, second = dim1 % (x.rank + 1), dim2 % (x.rank + 1)
    rest = iter(range(x.rank - 1))
    order = [
        x.rank - 1 if at == first else x.rank if at == second else next(rest) for at in range(x.rank + 1)
    ]
    return b.permute(square, order)


def _diag(b: Builder, x: Value, diagonal: int) -> Value:
    """torch.diag: a matrix of a vector, and the diagonal of a matrix."""
    return _diag_embed(b, x, diagonal, 0, 1) if x.rank == 1 else _diagonal(b, x, diagonal, 0, 1)


def _trace(b: Builder, x: Value) -> Value:
    return b.reduce("sum", _diagonal(b, x, 0, 0, 1), None, False)


def _as_strided(
    b: Builder, x: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> Value:
    """Strides are those of the storage, which is known of a tensor from outside only."""
    if b.argument_makers != {"pnnx.Input"}:
        raise NotExpressible(
            "how a computed tensor lies in memory is not in the files",
            "index or reshape it in the model instead",
        )
    return rearrange(b, x, strided_places(x, size, stride, storage_offset), size)


def strided_places(
    x: Value, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> list[int]:
    """Where in the storage each element of a strided view is."""
    if len(size) != len(stride) or prod(size) > 1 << 20:
        raise NotExpressible("a strided view that is too large to place element by element")
    places = [
        (storage_offset or 0) + sum(a * s for a, s in zip(at, stride, strict=True))
        for at in coordinates(size)
    ]
    if not places or min(places) < 0 or max(places) >= x.size:
        raise NotExpressible("a strided view beyond the tensor: what lies there is not in the files")
    return places


def _diagonal_scatter(b: Builder, x: Value, source: Value, offset: int, dim1: int, dim2: int) -> Value:
    """torch.diagonal_scatter: a diagonal of x replaced."""
    first, second = x.axis(dim1), x.axis(dim2)
    steps, length = strides(x.shape), x.size
    source_steps = strides(source.shape)
    indexes = []
    for place in coordinates(x.shape):
        here = sum(a * s for a, s in zip(place, steps, strict=True))
        if place[second] - place[first] == offset:
            rest = [at for axis, at in enumerate(place) if axis not in {first, second}]
            there = (*rest, min(place[first], place[second]))
            here = length + sum(a * s for a, s in zip(there, source_steps, strict=True))
        indexes.append(here)
    return rearrange(b, join(b, x, source), indexes, x.shape)


def _block_diag(b: Builder, tensors: Sequence[Value]) -> Value:
    blocks = [b.view(value, (1,) * (2 - value.rank) + value.shape) for value in tensors]
    width = sum(block.shape[1] for block in blocks)
    rows, before = [], 0
    for block in blocks:
        after = width - before - block.shape[1]
        rows.append(pad_axis(b, block, 1, before, after))
        before += block.shape[1]
    return b.concat(rows, 0)


class LayoutDiagonals(Family):
    """Diagonals and triangles of matrices, and views with strides of their own.

    What it finds: `aten::tril`, `aten::triu`, `aten::diagonal`, `aten::trace`, `aten::diag_embed`,
    `aten::block_diag`, `torch.as_strided` and their like in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: a diagonal is every (columns + 1)-th element, taken with Reshape and Crop; a triangle, or
    a diagonal put into zeros, is one GridSample that takes each element from its place and gives
    zeros elsewhere. No mask is multiplied with, so that an infinity outside of the triangle
    gives 0 as in torch.

    Limits: 1,048,576 elements at most. A strided view is repaired only within the tensor itself, and
    for an input of the network, whose elements lie in the order of its axes. `torch.as_strided` is
    refused where pnnx has lost its storage offset, as 20261020 does.

    Example:
        aten::trace   pnnx_0    1 1 in0 out0       of a 4 x 4 matrix
        Reshape, Crop, Reduction 0=0

    Source: ATen native_functions.yaml; ncnn gridsample.cpp, crop.cpp, reduction.cpp.
    """

    code = "PNX143"
    name = "leaked-diagonal"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::tril(Tensor self, int diagonal=0) -> Tensor": _tril,
        "aten::triu(Tensor self, int diagonal=0) -> Tensor": _triu,
        "aten::diagonal(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor": _diagonal,
        "aten::diagonal_copy(Tensor self, int offset=0, int dim1=0, int dim2=1) -> Tensor": _diagonal,
        "aten::linalg_diagonal(Tensor A, int offset=0, int dim1=-2, int dim2=-1) -> Tensor": _diagonal,
        "aten::diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor": _diag_embed,
        "aten::diag(Tensor self, int diagonal=0) -> Tensor": _diag,
        "torch.diag(Tensor input, int diagonal=0) -> Tensor": _diag,
        "aten::diagflat(Tensor self, int offset=0) -> Tensor": lambda b, x, o: _diag_embed(
            b, b.view(x, (x.size,)), o, 0, 1
        ),
        "aten::trace(Tensor self) -> Tensor": _trace,
        "aten::diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1)"
        " -> Tensor": _diagonal_scatter,
        "aten::as_strided(Tensor self, int[] size, int[] stride, int storage_offset=None)"
        " -> Tensor": _as_strided,
        "aten::as_strided_copy(Tensor self, int[] size, int[] stride, int storage_offset=None)"
        " -> Tensor": _as_strided,
        "torch.as_strided(Tensor input, int[] size, int[] stride, int storage_offset) -> Tensor": _as_strided,
        "aten::block_diag(Tensor[] tensors) -> Tensor": _block_diag,
    }
    cases = (
        Case("torch.tril(x, -1)", id="tril", x="f32[5,6]"),
        Case("torch.trace(x) * 2", id="trace", x="f32[4,4]"),
    )
