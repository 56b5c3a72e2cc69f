"""Operators that combine every element of a tensor with others: grids, products, differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, combinations_with_replacement
from math import prod

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.gather import take
from pnnxfix.rules.operators.layout_along import pad_axis


def _broadcast_tensors(b: Builder, tensors: Sequence[Value]) -> list[Value]:
    shapes = b.result_shapes
    return [b.expand(value, shape or ()) for value, shape in zip(tensors, shapes, strict=True)]


def _meshgrid(b: Builder, tensors: Sequence[Value], indexing: str) -> list[Value]:
    """The coordinates of a grid; with `xy` its first two axes change places."""
    count = len(tensors)
    places = list(range(count))
    if indexing == "xy" and count > 1:
        places[:2] = [1, 0]
    shape = [0] * count
    for value, place in zip(tensors, places, strict=True):
        shape[place] = value.size
    return [
        b.expand(b.view(value, [value.size if at == place else 1 for at in range(count)]), shape)
        for value, place in zip(tensors, places, strict=True)
    ]


def _cartesian_prod(b: Builder, tensors: Sequence[Value]) -> Value:
    if len(tensors) == 1:
        return tensors[0]
    grids = _meshgrid(b, tensors, "ij")
    return b.concat([b.view(grid, (grid.size, 1)) for grid in grids], 1)


def _combinations(b: Builder, x: Value, r: int, with_replacement: bool) -> Value:
    places: Iterable[tuple[int, ...]] = (
        combinations_with_replacement(range(x.size), r)
        if with_replacement
        else combinations(range(x.size), r)
    )
    if r < 1 or x.size**r > 1 << 20:
        raise NotExpressible(f"combinations of {r} of {x.size} are none, or too many to place one by one")
    indexes = [at for group in places for at in group]
    if not indexes:
        raise NotExpressible("a result of no elements has no blob")
    return b.view(take(b, x, 0, indexes), (len(indexes) // r, r))


def _powers(b: Builder, x: Value, count: int) -> list[Value]:
    """Powers 0 to count - 1, by products as torch has them."""
    if not 1 <= count <= 64:
        raise NotExpressible(f"{count} powers are none, or too many to multiply out")
    found = [b.constant((1.0,) * x.size, x.shape)]
    for _ in range(count - 1):
        found.append(found[-1] * x if len(found) > 1 else x)
    return found


def _vander(b: Builder, x: Value, count: int | None, increasing: bool) -> Value:
    powers = _powers(b, x, x.shape[-1] if count is None else count)
    return b.concat([b.unsqueeze(power, -1) for power in (powers if increasing else powers[::-1])], x.rank)


def _difference(b: Builder, x: Value, axis: int) -> Value:
    size = x.shape[axis]
    if size < 2:
        raise NotExpressible("a difference along an axis of one number has no elements")
    return b.slice(x, axis, 1, size) - b.slice(x, axis, 0, size - 1)


def _diff(b: Builder, x: Value, n: int, dim: int, prepend: Value | None, append: Value | None) -> Value:
    axis = x.axis(dim)
    x = b.concat([part for part in (prepend, x, append) if part is not None], axis)
    for _ in range(n):
        x = _difference(b, x, axis)
    return x


def _chunk_cat(b: Builder, tensors: Sequence[Value], dim: int, num_chunks: int) -> Value:
    """Every tensor padded with zeros to whole chunks along an axis, and those put side by side."""
    parts = []
    for value in tensors:
        axis = value.axis(dim)
        size = -(-value.shape[axis] // num_chunks)
        padded = pad_axis(b, value, axis, 0, size * num_chunks - value.shape[axis])
        rest = prod(padded.shape[axis:]) // num_chunks
        parts.append(b.view(padded, (*padded.shape[:axis], num_chunks, rest)))
    return b.concat(parts, parts[0].rank - 1)


class LayoutProducts(Family):
    """Every element combined with others of its tensor, or of another one.

    What it finds: `aten::meshgrid`, `aten::broadcast_tensors`, `aten::cartesian_prod`,
    `aten::combinations`, `aten::diff`, `aten::linalg_vander` and their like, with the lists that they
    take or give.

    Why it breaks: ncnn has no such layer and no lists, and refuses to load the graph.

    Repair: views that give each operand its own axes, Tile where a grid is wanted as it is, BinaryOp
    where it is multiplied, Crop for neighbours, and Concat.

    Limits: sizes must be known and results may not be empty.

    Example:
        aten::diff   pnnx_4    5 1 in0 2 3 1 1 out0
        Split, two Crop layers and BinaryOp 0=1

    Source: ATen native_functions.yaml; ncnn binaryop.cpp, tile.cpp, concat.cpp.
    """

    code = "PNX144"
    name = "leaked-combination"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::broadcast_tensors(Tensor[] tensors) -> Tensor[]": _broadcast_tensors,
        "aten::meshgrid(Tensor[] tensors, str indexing=ij) -> Tensor[]": _meshgrid,
        "aten::cartesian_prod(Tensor[] tensors) -> Tensor": _cartesian_prod,
        "aten::combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor": _combinations,
        "aten::linalg_vander(Tensor x, int N=None) -> Tensor": lambda b, x, n: _vander(b, x, n, True),
        "aten::vander(Tensor x, int N=None, bool increasing=False) -> Tensor": _vander,
        "aten::diff(Tensor self, int n=1, int dim=-1, Tensor prepend=None, Tensor append=None)"
        " -> Tensor": _diff,
        "aten::_chunk_cat(Tensor[] tensors, int dim, int num_chunks) -> Tensor": _chunk_cat,
    }
    cases = (
        Case("torch.diff(x, dim=1)", id="diff", x="f32[3,5]"),
        Case(
            "a, b = torch.meshgrid(x, y, indexing='xy')\nreturn a + 1, b * 2",
            id="meshgrid",
            x="f32[3]",
            y="f32[4]",
        ),
    )
