"""Writing into a tensor at constant places."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.gather import ZERO, coordinates, join, rearrange, strides
from pnnxfix.rules.lowering.stored import StoredTensor
from pnnxfix.rules.operators.indexing import expand_masks, gather_places, index_places, read_index, shape_of
from pnnxfix.rules.operators.layout_diagonals import strided_places

_MOST_LAYERS = 8


def _write(
    b: Builder, x: Value, source: Value, places: Sequence[int], sources: Sequence[int] | None = None
) -> Value:
    """x with the element at each place replaced by one of the source's, in order if nothing else is said."""
    sources = range(len(places)) if sources is None else sources
    if len(set(places)) != len(places) and source.size > 1:
        # torch itself does not say which of two writes to one place wins.
        raise NotExpressible("two writes to one place", "write each place once in the PyTorch model")
    indexes = list(range(x.size))
    for place, number in zip(places, sources, strict=True):
        indexes[place] = x.size + number
    return rearrange(b, join(b, x, source), indexes, x.shape)


def _add(b: Builder, x: Value, source: Value, places: Sequence[int], sources: Sequence[int]) -> Value:
    """x with one of the source's elements added at each place; a place may come several times."""
    layers: list[list[int]] = []
    for place, number in zip(places, sources, strict=True):
        layer = next((layer for layer in layers if layer[place] == ZERO), None)
        if layer is None:
            if len(layers) == _MOST_LAYERS:
                raise NotExpressible(f"more than {_MOST_LAYERS} additions to one place")
            layer = [ZERO] * x.size
            layers.append(layer)
        layer[place] = number
    for layer in layers:
        x = x + rearrange(b, source, layer, x.shape)
    return x


def _number(b: Builder, value: float) -> Value:
    if value - value != 0:
        raise NotExpressible(f"ncnn has no spelling for {value}")
    return b.constant((float(value),), (1,))


def _slab(x: Value, axis: int, wanted: Sequence[int]) -> list[int]:
    """The places of all elements at these indexes of an axis, in the order of a tensor of that shape."""
    steps = strides(x.shape)
    shape = (*x.shape[:axis], len(wanted), *x.shape[axis + 1 :])
    return [
        sum((wanted[p] if at == axis else p) * steps[at] for at, p in enumerate(place))
        for place in coordinates(shape)
    ]


def _select_scatter(b: Builder, x: Value, source: Value, dim: int, index: int) -> Value:
    axis = x.axis(dim)
    return _write(b, x, source, _slab(x, axis, read_index(index, x.shape[axis])))


def _slice_scatter(
    b: Builder, x: Value, source: Value, dim: int, start: int | None, end: int | None, step: int
) -> Value:
    axis = x.axis(dim)
    wanted = range(*slice(start, end, step).indices(x.shape[axis]))
    if source.size == x.size:
        return b.view(source, x.shape)
    return _write(b, x, source, _slab(x, axis, wanted)) if wanted else x


def _as_strided_scatter(
    b: Builder,
    x: Value,
    source: Value,
    size: Sequence[int],
    stride: Sequence[int],
    storage_offset: int | None,
) -> Value:
    if b.argument_makers - {"pnnx.Input"}:
        raise NotExpressible("how a computed tensor lies in memory is not in the files")
    return _write(b, x, source, strided_places(x, size, stride, storage_offset))


def _index_fill(b: Builder, x: Value, dim: int, index: object, value: float | Value) -> Value:
    axis = x.axis(dim)
    places = _slab(x, axis, sorted(set(read_index(index, x.shape[axis]))))
    source = value if isinstance(value, Value) else _number(b, value)
    return _write(b, x, source, places, [0] * len(places))


def _index_copy(b: Builder, x: Value, dim: int, index: object, source: Value) -> Value:
    axis = x.axis(dim)
    return _write(b, x, source, _slab(x, axis, read_index(index, x.shape[axis])))


def _index_add(b: Builder, x: Value, dim: int, index: object, source: Value, alpha: float) -> Value:
    axis = x.axis(dim)
    places = _slab(x, axis, read_index(index, x.shape[axis]))
    return _add(b, x, source if alpha == 1 else source * alpha, places, range(len(places)))


def _put(b: Builder, x: Value, index: object, source: Value, accumulate: bool) -> Value:
    places = read_index(index, x.size)
    return _add(b, x, source, places, range(len(places))) if accumulate else _write(b, x, source, places)


def _index_put(
    b: Builder, x: Value, indexes: Sequence[StoredTensor | None], values: Value, accumulate: bool
) -> Value:
    places, shape = index_places(x.shape, expand_masks(x.shape, indexes))
    source = b.expand(values, shape)
    return _add(b, x, source, places, range(len(places))) if accumulate else _write(b, x, source, places)


def _scatter_sources(x: Value, source: Value, index: object) -> list[int]:
    """The source's element for each element of the index, which may be smaller."""
    steps = strides(source.shape)
    return [sum(p * s for p, s in zip(place, steps, strict=True)) for place in coordinates(shape_of(index))]


def _scatter(
    b: Builder, x: Value, dim: int, index: object, source: Value | float, reduce: object = None
) -> Value:
    if reduce is not None:
        raise NotExpressible("scatter with a reduction")
    places, shape = gather_places(x, dim, index)
    if isinstance(source, Value) and source.shape:
        return _write(b, x, source, places, _scatter_sources(x, source, index))
    value = source if isinstance(source, Value) else _number(b, source)
    return _write(b, x, value, places, [0] * prod(shape))


def _scatter_add(b: Builder, x: Value, dim: int, index: object, source: Value) -> Value:
    places, _ = gather_places(x, dim, index)
    return _add(b, x, source, places, _scatter_sources(x, source, index))


class Scatter(Family):
    """A tensor written at constant places.

    What it finds: `aten::select_scatter`, `torch.slice_scatter`, `aten::index_fill`,
    `aten::index_copy`, `aten::index_add`, `aten::put`, `aten::scatter`, `torch.scatter_add` in
    `.ncnn.param`, with an index that is a constant of the model.

    Why it breaks: ncnn has no layer that writes at given places, and refuses to load the graph.

    Repair: both tensors are put one after the other, and the result takes each element from one of
    them: Crop and Concat where a few pieces do, else one GridSample with `nearest`. Additions are one
    such layer and one BinaryOp for each time that the most frequent place comes.

    Limits: an index that is computed, or an input, is not expressible. Two writes to one place,
    whose winner torch leaves open, are refused, and more than 8 additions to one. 1,048,576 elements at
    most.

    Example:
        aten::select_scatter   pnnx_2    4 1 in0 in1 2 3 out0       dim 1, index 2
        Reshape, Reshape, Concat, GridSample

    Source: ATen native_functions.yaml; torch's documentation of scatter; ncnn gridsample.cpp, concat.cpp.
    """

    code = "PNX145"
    name = "leaked-scatter"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::select_scatter(Tensor self, Tensor src, int dim, int index) -> Tensor": _select_scatter,
        "aten::slice_scatter(Tensor self, Tensor src, int dim=0, int start=None, int end=None, int step=1)"
        " -> Tensor": _slice_scatter,
        "torch.slice_scatter(Tensor input, Tensor src, int dim=0, int start=None, int end=None, int step=1)"
        " -> Tensor": _slice_scatter,
        "aten::as_strided_scatter(Tensor self, Tensor src, int[] size, int[] stride, int storage_offset=None)"
        " -> Tensor": _as_strided_scatter,
        "aten::index_fill(Tensor self, int dim, Stored index, Tensor value) -> Tensor": _index_fill,
        "aten::index_copy(Tensor self, int dim, Stored index, Tensor source) -> Tensor": _index_copy,
        "aten::index_add(Tensor self, int dim, Stored index, Tensor source, Scalar alpha=1)"
        " -> Tensor": _index_add,
        "aten::put(Tensor self, Stored index, Tensor source, bool accumulate=False) -> Tensor": _put,
        "aten::index_put(Tensor self, Indexes indices, Tensor values, bool accumulate=False)"
        " -> Tensor": _index_put,
        "Tensor.index_put(Tensor input, Indexes indices, Tensor values, bool accumulate=False)"
        " -> Tensor": _index_put,
        "aten::scatter(Tensor self, int dim, Stored index, Tensor src, str reduce=None) -> Tensor": _scatter,
        "aten::scatter_add(Tensor self, int dim, Stored index, Tensor src) -> Tensor": _scatter_add,
        "torch.scatter_add(Tensor input, int dim, Stored index, Tensor src) -> Tensor": _scatter_add,
    }
    cases = (Case("torch.select_scatter(x, y, 1, 2)", id="select-scatter", x="f32[3,4]", y="f32[3]"),)
