"""Operators that take a tensor apart or put tensors together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.stored import StoredTensor


def _split(b: Builder, x: Value, size: int | Sequence[int], dim: int) -> list[Value]:
    """torch.split: parts of one size, the last one smaller; or of the sizes given."""
    if not isinstance(size, int):
        return b.split(x, dim, size)
    total = x.shape[x.axis(dim)]
    if size < 1:
        raise NotExpressible("a split into parts of no size")
    return b.split(x, dim, [min(size, total - at) for at in range(0, total, size)])


def _chunk(b: Builder, x: Value, chunks: int, dim: int) -> list[Value]:
    total = x.shape[x.axis(dim)]
    return _split(b, x, -(-total // max(chunks, 1)), dim)


def _tensor_split(b: Builder, x: Value, where: int | Sequence[int] | StoredTensor, dim: int) -> list[Value]:
    """Into equal parts, the first ones longer by one; or before the indexes given."""
    total = x.shape[x.axis(dim)]
    if isinstance(where, StoredTensor):
        numbers = [int(number) for number in where.numbers]
        where = numbers if where.shape else numbers[0]
    if isinstance(where, int):
        count = max(where, 1)
        sizes = [total // count + (at < total % count) for at in range(count)]
    else:
        edges = [0, *slice_edges(where, total), total]
        sizes = [right - left for left, right in pairwise(edges)]
    return b.split(x, dim, sizes)


def slice_edges(where: Sequence[int], total: int) -> list[int]:
    """Indexes as slices take them: negative ones from the end, too large ones cut."""
    return [slice(0, edge).indices(total)[1] for edge in where]


def _hsplit(b: Builder, x: Value, where: int | Sequence[int]) -> list[Value]:
    return _tensor_split(b, x, where, 0 if x.rank == 1 else 1)


def _unbind(b: Builder, x: Value, dim: int) -> list[Value]:
    axis = x.axis(dim)
    return [b.squeeze(part, axis) for part in b.split(x, axis, [1] * x.shape[axis])]


def _cat(b: Builder, tensors: Sequence[Value], dim: int) -> Value:
    return b.concat(tensors, dim)


def _stack(b: Builder, tensors: Sequence[Value], dim: int) -> Value:
    axis = dim if dim >= 0 else dim + tensors[0].rank + 1
    return b.concat([b.unsqueeze(value, axis) for value in tensors], axis)


def _atleast(b: Builder, x: Value, rank: int) -> Value:
    """torch.atleast_1d, 2d and 3d; the last one also puts an axis behind a matrix."""
    if rank == 3 and x.rank == 2:
        return b.view(x, (*x.shape, 1))
    if rank == 3 and x.rank == 1:
        return b.view(x, (1, *x.shape, 1))
    return b.view(x, (1,) * (rank - x.rank) + x.shape) if x.rank < rank else x


def _hstack(b: Builder, tensors: Sequence[Value]) -> Value:
    tensors = [_atleast(b, value, 1) for value in tensors]
    return b.concat(tensors, 0 if tensors[0].rank == 1 else 1)


def _vstack(b: Builder, tensors: Sequence[Value]) -> Value:
    return b.concat([_atleast(b, value, 2) for value in tensors], 0)


def _dstack(b: Builder, tensors: Sequence[Value]) -> Value:
    return b.concat([_atleast(b, value, 3) for value in tensors], 2)


def _column_stack(b: Builder, tensors: Sequence[Value]) -> Value:
    return b.concat([b.view(value, (value.size, 1)) if value.rank < 2 else value for value in tensors], 1)


class LayoutParts(Family):
    """Tensors taken apart or put together in a way that pnnx does not convert.

    What it finds: `aten::unsafe_chunk`, `aten::tensor_split`, `aten::hsplit`, `aten::unbind_copy`
    with the `prim::ListUnpack` that takes their list apart; `aten::hstack`, `aten::column_stack`
    with the list that they are given.

    Why it breaks: ncnn has neither such a layer nor lists, and refuses to load the graph.

    Repair: one Slice into all parts; one Concat, with a Reshape for each tensor whose
    blob has other axes than the concatenation needs. The rows of the lists go.

    Limits: parts of no size are no blobs. The list must be taken apart at once: one that another
    operator reads is left alone.

    Example:
        aten::unsafe_chunk   pnnx_2    3 1 in0 2 1 3
        prim::ListUnpack     pnnx_3    1 2 3 out0 out1
        Slice             pnnx_2    1 2 in0 out0 out1 -23300=2,2,2 1=0

    Source: ATen native_functions.yaml; torch's documentation of tensor_split; ncnn slice.cpp, concat.cpp.
    """

    code = "PNX141"
    name = "leaked-split-or-stack"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::chunk(Tensor self, int chunks, int dim=0) -> Tensor[]": _chunk,
        "aten::unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]": _chunk,
        "aten::split(Tensor self, Stored split_size, int dim=0) -> Tensor[]": _split,
        "aten::split_copy(Tensor self, int split_size, int dim=0) -> Tensor[]": _split,
        "aten::unsafe_split(Tensor self, int split_size, int dim=0) -> Tensor[]": _split,
        "aten::split_with_sizes(Tensor self, int[] split_sizes, int dim=0) -> Tensor[]": _split,
        "aten::split_with_sizes_copy(Tensor self, int[] split_sizes, int dim=0) -> Tensor[]": _split,
        "aten::unsafe_split_with_sizes(Tensor self, int[] split_sizes, int dim=0) -> Tensor[]": _split,
        "aten::tensor_split(Tensor self, Stored where, int dim=0) -> Tensor[]": _tensor_split,
        "aten::hsplit(Tensor self, Stored where) -> Tensor[]": _hsplit,
        "aten::vsplit(Tensor self, Stored where) -> Tensor[]": lambda b, x, w: _tensor_split(b, x, w, 0),
        "aten::dsplit(Tensor self, Stored where) -> Tensor[]": lambda b, x, w: _tensor_split(b, x, w, 2),
        "aten::unbind(Tensor self, int dim=0) -> Tensor[]": _unbind,
        "aten::unbind_copy(Tensor self, int dim=0) -> Tensor[]": _unbind,
        "torch.chunk(Tensor input, int chunks, int dim) -> Tensor[]": _chunk,
        "torch.split(Tensor tensor, Stored split_size_or_sections, int dim) -> Tensor[]": _split,
        "torch.tensor_split(Tensor input, Stored sections=None, Stored indices=None, int dim=0)"
        " -> Tensor[]": lambda b, x, sections, indices, dim: _tensor_split(
            b, x, indices if sections is None else sections, dim
        ),
        "torch.unbind(Tensor input, int dim) -> Tensor[]": _unbind,
        "aten::cat(Tensor[] tensors, int dim=0) -> Tensor": _cat,
        "aten::concat(Tensor[] tensors, int dim=0) -> Tensor": _cat,
        "aten::concatenate(Tensor[] tensors, int dim=0) -> Tensor": _cat,
        "aten::stack(Tensor[] tensors, int dim=0) -> Tensor": _stack,
        "aten::hstack(Tensor[] tensors) -> Tensor": _hstack,
        "aten::vstack(Tensor[] tensors) -> Tensor": _vstack,
        "aten::row_stack(Tensor[] tensors) -> Tensor": _vstack,
        "aten::dstack(Tensor[] tensors) -> Tensor": _dstack,
        "aten::column_stack(Tensor[] tensors) -> Tensor": _column_stack,
        "torch.cat(Tensor[] tensors, int dim) -> Tensor": _cat,
        "torch.stack(Tensor[] tensors, int dim) -> Tensor": _stack,
    }
    cases = (
        Case("return torch.hsplit(x, [1, 3])", id="hsplit", x="f32[4,6]"),
        Case("torch.column_stack((x, y * 2))", id="column-stack", x="f32[4]", y="f32[4]"),
    )
