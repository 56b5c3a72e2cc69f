"""Elementwise layers of two blobs: ncnn's broadcasting put right with explicit Reshapes.

ncnn's BinaryOp agrees with numpy where both blobs have the same number of axes. A blob with
fewer axes is aligned to the outermost ones, opposite to numpy, so it gets a Reshape that puts
axes of size one in front. Source: ncnn binaryop.cpp, and 190 pairs of shapes tried on wheels.
"""

from __future__ import annotations

from typing import NamedTuple

from pnnxfix.graph.blobs import NO_BATCH, Blob
from pnnxfix.rules.base import Layer, Refusal, Tensor

Shape = tuple[int, ...]

BINARY_MAX = 4
BINARY_MIN = 5

_SHAPE_HELP = (
    "keep model.pnnx.param and model_ncnn.py, which hold the shapes, beside the ncnn model; where they are, "
    "convert the model again with its inputshape, so that pnnx writes the shapes"
)
_DOUBLE_HELP = "convert it with .float() in the PyTorch model"
_AXES_HELP = "give both operands the same axes in the PyTorch model"


class Side(NamedTuple):
    """An operand of an elementwise layer: the name that `Layer.inputs` uses, and what is known of it."""

    name: str
    tensor: Tensor


def lower_binary(operation: int, left: Side, right: Side, layers: list[Layer]) -> Side | Refusal:
    """Append the layers of an elementwise operation on two blobs and give its result.

    A Refusal says which shape is missing or cannot be expressed.
    """
    arranged = _arrange(left, right)
    if isinstance(arranged, Refusal):
        return arranged
    names = []
    for side, target in zip((left, right), arranged.targets, strict=True):
        if target is None:
            names.append(side.name)
            continue
        layers.append(Layer("Reshape", (side.name,), _reshape_parameters(target)))
        names.append(f"@{len(layers) - 1}")
    layers.append(Layer("BinaryOp", tuple(names), (f"0={operation}",)))
    return Side(f"@{len(layers) - 1}", arranged.result)


class _Arranged(NamedTuple):
    targets: tuple[Shape | None, Shape | None]
    result: Tensor


def _arrange(left: Side, right: Side) -> _Arranged | Refusal:
    """The shape that each blob must be given first, None where it fits as it is."""
    for side in (left, right):
        if side.tensor.dtype == "f64" and side.tensor.blob.dims is not None:
            return Refusal(f"`{side.name}` is stored as float64, which ncnn takes for float32", _DOUBLE_HELP)
    for side, other in ((left, right), (right, left)):
        if side.tensor.blob.is_single:
            return _Arranged((None, None), other.tensor)  # one element broadcasts to anything
    for side in (left, right):
        shape, blob = side.tensor.shape, side.tensor.blob
        if shape is None or -1 in shape:
            return Refusal(f"the shape of `{side.name}` is not in the files", _SHAPE_HELP)
        if blob.dims is None and blob.batch_axis is None:
            return Refusal(f"how the ncnn blob of `{side.name}` is laid out is not certain", _SHAPE_HELP)
    tensors = (left.tensor, right.tensor)
    full = max(len(tensor.shape or ()) for tensor in tensors)
    axes = {t.blob.batch_axis for t in tensors if t.blob.dims is None and len(t.shape or ()) == full}
    axis = axes.pop() if len(axes) == 1 else None
    if axis not in (0, NO_BATCH):
        return Refusal("whether ncnn leaves out the batch axis here is not certain", _AXES_HELP)
    dropped = 0 if axis == NO_BATCH else 1
    if full - dropped > 4:
        return Refusal(f"ncnn has no blobs of {full - dropped} axes", "lower the rank in the PyTorch model")
    first = _target(left, full, dropped)
    second = _target(right, full, dropped)
    if isinstance(first, Refusal):
        return first
    if isinstance(second, Refusal):
        return second
    result = Tensor(_broadcast(*tensors), left.tensor.dtype, lambda: Blob(axis, is_float=True))
    return _Arranged((first, second), result)


def _broadcast(left: Tensor, right: Tensor) -> Shape:
    shapes = [tensor.shape or () for tensor in (left, right)]
    full = max(map(len, shapes))
    pairs = zip(*((1,) * (full - len(shape)) + shape for shape in shapes), strict=True)
    return tuple(max(pair) for pair in pairs)


def _target(side: Side, full: int, dropped: int) -> Shape | Refusal | None:
    """The shape that a blob must have beside one of `full` torch axes, of which `dropped` is left out."""
    shape, blob = side.tensor.shape or (), side.tensor.blob
    if blob.dims is None and len(shape) == full:
        return None  # both keep the same axes, and a batch of several runs member by member
    padded = (1,) * (full - len(shape)) + shape
    if dropped and padded[0] != 1:
        return Refusal(f"`{side.name}` differs along the batch axis, which ncnn leaves out", _AXES_HELP)
    if blob.dims is None and blob.batch_axis != NO_BATCH:
        return Refusal(
            f"ncnn leaves out an axis of `{side.name}` that is no batch beside the other", _AXES_HELP
        )
    kept = padded[dropped:]
    has = shape if blob.dims is None else blob.dims
    return None if has == kept else kept


def _reshape_parameters(shape: Shape) -> tuple[str, ...]:
    """Reshape's parameters, sorted as text like pnnx's own: 0 w, 1 h, 11 d, 2 c."""
    keys = {1: ("0",), 2: ("1", "0"), 3: ("2", "1", "0"), 4: ("2", "11", "1", "0")}[len(shape)]
    return tuple(f"{key}={size}" for key, size in sorted(zip(keys, shape, strict=True)))
