"""Reading a tensor at constant places."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.base import INTEGER_TYPES
from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.embedding import one_hot
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.gather import ZERO, coordinates, map_elements, rearrange, strides, take
from pnnxfix.rules.lowering.stored import StoredTensor
from pnnxfix.rules.lowering.views import broadcast_shapes

_HELP = "keep model.pnnx.bin beside the ncnn model, or make the index a constant in the PyTorch model"


def read_index(index: object, size: int) -> list[int]:
    """The numbers of an index into an axis of this size, counted from the front."""
    if isinstance(index, int):
        index = StoredTensor((), (index,), "i64")
    if isinstance(index, tuple):
        index = StoredTensor((len(index),), index, "i64")
    if not isinstance(index, StoredTensor) or not index.is_integer:
        raise NotExpressible("the index holds no integers that are constant", _HELP)
    found = [int(number) + (size if number < 0 else 0) for number in index.numbers]
    if any(not 0 <= number < size for number in found):
        raise NotExpressible(f"an index is outside of an axis of {size}")
    return found


def shape_of(index: object) -> tuple[int, ...]:
    if isinstance(index, StoredTensor):
        return index.shape
    return (len(index),) if isinstance(index, tuple) else ()


def _index_select(b: Builder, x: Value, dim: int, index: object) -> Value:
    axis = x.axis(dim)
    return take(
        b, x if x.shape else b.view(x, (1,)), axis, read_index(index, x.shape[axis] if x.shape else 1)
    )


def gather_places(x: Value, dim: int, index: object) -> tuple[list[int], tuple[int, ...]]:
    """Where in x, row-major, each element of torch.gather comes from, and the shape of the index."""
    axis, shape = x.axis(dim), shape_of(index)
    if len(shape) != x.rank:
        raise NotExpressible(f"an index of {len(shape)} axes for a tensor of {x.rank}")
    numbers, steps = read_index(index, x.shape[axis]), strides(x.shape)
    found = []
    for place, number in zip(coordinates(shape), numbers, strict=True):
        found.append(sum((number if at == axis else p) * steps[at] for at, p in enumerate(place)))
    return found, shape


def _gather(b: Builder, x: Value, dim: int, index: object, *_: object) -> Value:
    if isinstance(index, Value):
        return _gather_computed(b, x, x.axis(dim), index)
    places, shape = gather_places(x, dim, index)
    return rearrange(b, x, places, shape)


def _gather_computed(b: Builder, x: Value, axis: int, index: Value) -> Value:
    """torch.gather from one axis of a table of integers, at places that the network computes."""
    if x.size != x.shape[axis] or index.size != index.shape[axis] or x.dtype not in INTEGER_TYPES:
        raise NotExpressible("an index is computed while the network runs", _HELP)
    return b.view(b.matmul(one_hot(b, index, x.size), b.view(x, (x.size, 1))), index.shape)


def _take(b: Builder, x: Value, index: object) -> Value:
    return rearrange(b, x, read_index(index, x.size), shape_of(index))


def _take_along_dim(b: Builder, x: Value, index: object, dim: int | None) -> Value:
    """torch.take_along_dim: gather with the other axes broadcast; without `dim` of the flat tensor."""
    if dim is None:
        return rearrange(b, x, read_index(index, x.size), (prod(shape_of(index)),))
    axis, have = x.axis(dim), shape_of(index)
    if len(have) != x.rank:
        raise NotExpressible(f"an index of {len(have)} axes for a tensor of {x.rank}")
    wide = broadcast_shapes(
        *(tuple(1 if at == axis else size for at, size in enumerate(shape)) for shape in (x.shape, have))
    )
    if wide is None:
        raise NotExpressible(f"an index of shape {have} does not broadcast to {x.shape}")
    shape = tuple(have[axis] if at == axis else size for at, size in enumerate(wide))
    numbers, steps = read_index(index, x.shape[axis]), strides(have)

    def source(place: tuple[int, ...]) -> tuple[int, ...]:
        number = numbers[
            sum(0 if size == 1 else p * step for p, size, step in zip(place, have, steps, strict=True))
        ]
        return tuple(number if at == axis else 0 if x.shape[at] == 1 else p for at, p in enumerate(place))

    return map_elements(b, x, shape, source)


def index_places(shape: Sequence[int], indexes: Sequence[object]) -> tuple[list[int], tuple[int, ...]]:
    """Where in a tensor, row-major, each element of x[indexes] is, and the result's shape.

    None takes a whole axis. The axes that are indexed broadcast together; they stand where the
    first one was if they are neighbours, else in front.
    """
    used = [axis for axis, index in enumerate(indexes) if index is not None]
    if not used or len(indexes) > len(shape):
        raise NotExpressible("no index, or more than the tensor has axes")
    together = broadcast_shapes(*(shape_of(indexes[axis]) for axis in used))
    if together is None or prod(together) < 1:
        raise NotExpressible("indexes that do not broadcast, or are empty")
    numbers = {axis: read_index(indexes[axis], shape[axis]) for axis in used}
    at = used[0] if used == list(range(used[0], used[-1] + 1)) else 0
    kept = [axis for axis in range(len(shape)) if axis not in numbers]
    before = [axis for axis in kept if axis < at]
    after = [axis for axis in kept if axis >= at]
    result = (*(shape[axis] for axis in before), *together, *(shape[axis] for axis in after))
    steps = strides(shape)
    if prod(result) > 1 << 20:
        raise NotExpressible(f"{prod(result)} elements are too many to place one by one")
    bases = []
    for place in coordinates(together):
        base = 0
        for axis in used:
            have = shape_of(indexes[axis])
            own = place[len(place) - len(have) :]
            number = sum(0 if n == 1 else p * s for p, n, s in zip(own, have, strides(have), strict=True))
            base += numbers[axis][number] * steps[axis]
        bases.append(base)

    def offsets(axes: Sequence[int]) -> list[int]:
        return [
            sum(p * steps[axis] for p, axis in zip(place, axes, strict=True))
            for place in coordinates([shape[axis] for axis in axes])
        ]

    return [o + base + i for o in offsets(before) for base in bases for i in offsets(after)], result


def expand_masks(shape: Sequence[int], indexes: Sequence[StoredTensor | None]) -> list[StoredTensor | None]:
    """Masks as the indexes of what is true in them, one for each axis of the mask."""
    found: list[StoredTensor | None] = []
    for index in indexes:
        if index is None or index.dtype != "bool":
            found.append(index)
            continue
        if index.shape != tuple(shape[len(found) : len(found) + len(index.shape)]):
            raise NotExpressible(f"a mask of shape {index.shape} for a tensor of {tuple(shape)}")
        places = [
            place for place, number in zip(coordinates(index.shape), index.numbers, strict=True) if number
        ]
        found += [
            StoredTensor((len(places),), tuple(place[axis] for place in places), "i64")
            for axis in range(len(index.shape))
        ]
    return found


def _index(b: Builder, x: Value, indexes: Sequence[StoredTensor | None]) -> Value:
    places, shape = index_places(x.shape, expand_masks(x.shape, indexes))
    return rearrange(b, x, places, shape)


def _masked_index(
    b: Builder, x: Value, mask: object, indexes: Sequence[StoredTensor | None], fill: float
) -> Value:
    """x[indexes] where the mask is true, else the number."""
    clipped = [
        None if index is None else StoredTensor(
            index.shape, tuple(min(max(int(n), 0), size - 1) for n in index.numbers), index.dtype)
        for index, size in zip(indexes, x.shape, strict=False)
    ]  # fmt: skip
    places, shape = index_places(x.shape, clipped)
    if not isinstance(mask, StoredTensor) or mask.shape != shape or fill - fill != 0:
        raise NotExpressible("a mask that is no constant of the result's shape, or an infinite number", _HELP)
    kept = [place if keep else ZERO for place, keep in zip(places, mask.numbers, strict=True)]
    result = rearrange(b, x, kept, shape)
    if fill == 0 or ZERO not in kept:
        return result
    return result + b.constant([0.0 if keep else fill for keep in mask.numbers], shape)


class Indexing(Family):
    """A tensor read at constant places.

    What it finds: `torch.index_select`, `torch.gather`, `aten::take`, `aten::take_along_dim` and
    `Tensor.index` (`x[:, [0, 2]]`) in `.ncnn.param`, with an index that is a constant of the model.

    Why it breaks: ncnn has no layer that reads at given places, and keeps integers as bits that its
    layers would take for floats.

    Repair: the index is read from `.pnnx.bin` when the model is repaired, and written into the
    graph as Crop and Concat layers where a few pieces do, else as one GridSample with `nearest`, which
    takes each element from its place, exactly.

    Limits: an index that is computed, or an input, is not expressible. 1,048,576 elements at most
    where each is placed by itself. Needs `.pnnx.bin` beside the ncnn model. The stored index stays in
    the ncnn graph, where nothing reads it any more.

    Example:
        torch.index_select   torch.index_select_0   2 1 in0 1 out0       index (0,2,5)
        GridSample           torch.index_select_0   2 1 in0 3 out0 0=2 1=1 2=0

    Source: ATen native_functions.yaml; torch's documentation of indexing; ncnn gridsample.cpp.
    """

    code = "PNX125"
    name = "leaked-indexing"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::index_select(Tensor self, int dim, Stored index) -> Tensor": _index_select,
        "torch.index_select(Tensor input, int dim, Stored index) -> Tensor": _index_select,
        "aten::gather(Tensor self, int dim, Tensor|Stored index, bool sparse_grad=False) -> Tensor": _gather,
        "torch.gather(Tensor input, int dim, Tensor|Stored index) -> Tensor": _gather,
        "aten::take(Tensor self, Stored index) -> Tensor": _take,
        "aten::take_along_dim(Tensor self, Stored indices, int dim=None) -> Tensor": _take_along_dim,
        "aten::index(Tensor self, Indexes indices) -> Tensor": _index,
        "aten::_unsafe_index(Tensor self, Indexes indices) -> Tensor": _index,
        "Tensor.index(Tensor input, Indexes expr) -> Tensor": _index,
        "aten::_unsafe_masked_index(Tensor self, Stored mask, Indexes indices, Scalar fill)"
        " -> Tensor": _masked_index,
    }
    cases = (
        Case("x[:, [3, 0, 0, 2, 1]]", id="index", x="f32[2,4,3]"),
        Refused(
            "torch.index_select(x, 0, y)",
            id="computed-index",
            because="computed while",
            x="f32[5,2]",
            y="i64[3]",
        ),
    )
