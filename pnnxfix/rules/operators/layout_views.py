"""Operators that only name the axes of a tensor anew, or put them in another order."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family, Lower


def reshape_to_result(b: Builder, x: Value, *_: object) -> Value:
    """The same elements in the shape that the files give the result."""
    target = b.result_shapes[0]
    if target is None:
        target = ()
    return b.view(x, target)


def _expand_to_result(b: Builder, x: Value, *_: object) -> Value:
    return b.expand(x, b.result_shapes[0] or ())


def _move(b: Builder, x: Value, source: Sequence[int], destination: Sequence[int]) -> Value:
    sources = [x.axis(axis) for axis in source]
    places = dict(zip([x.axis(axis) for axis in destination], sources, strict=True))
    rest = iter(axis for axis in range(x.rank) if axis not in sources)
    return b.permute(x, [places[at] if at in places else next(rest) for at in range(x.rank)])


def swap(b: Builder, x: Value, first: int, second: int) -> Value:
    """torch.transpose."""
    order = list(range(x.rank))
    one, two = x.axis(first), x.axis(second)
    if x.rank:
        order[one], order[two] = order[two], order[one]
    return b.permute(x, order)


def _swap_last(b: Builder, x: Value) -> Value:
    if x.rank < 2:
        raise NotExpressible("a tensor of fewer than two axes is no matrix")
    return swap(b, x, -2, -1)


def _reverse_axes(b: Builder, x: Value) -> Value:
    return b.permute(x, range(x.rank)[::-1])


def table_of(function: Lower, *signatures: str) -> dict[str, Lower]:
    return dict.fromkeys(signatures, function)


class LayoutViews(Family):
    """Other names for the axes of a tensor, and other orders of them.

    What it finds: `aten::movedim`, `aten::matrix_H`, `aten::view_as`, `aten::ravel`,
    `aten::broadcast_to` and their like, and the `_copy` form of every view, in `.ncnn.param`.

    Why it breaks: pnnx knows some spellings of a view and leaves the others as they were; ncnn
    has no such layer and refuses to load the graph.

    Repair: a view costs no layer, or one Reshape where a later layer needs the blob otherwise; an
    order of axes is one Permute of as few axes as the elements need; an expansion is a Tile.

    Limits: needs the shapes in `.pnnx.param`; a batch of one.

    Example:
        aten::movedim   pnnx_2    3 1 in0 1 2 out0      (2,3,4) to (3,4,2)
        Reshape 0=12 1=2, Permute 0=1

    Source: ATen native_functions.yaml; ncnn permute.cpp, reshape.cpp, tile.cpp.
    """

    code = "PNX140"
    name = "leaked-view"
    operators = {  # noqa: RUF012 a table, never changed
        **table_of(
            reshape_to_result,
            "aten::alias(Tensor self) -> Tensor",
            "aten::alias_copy(Tensor self) -> Tensor",
            "aten::atleast_1d(Tensor self) -> Tensor",
            "aten::atleast_2d(Tensor self) -> Tensor",
            "aten::atleast_3d(Tensor self) -> Tensor",
            "aten::flatten(Tensor self, int start_dim=?, int end_dim=?) -> Tensor",
            "aten::ravel(Tensor self) -> Tensor",
            "aten::reshape(Tensor self, int[] shape=?) -> Tensor",
            "aten::reshape_as(Tensor self, Ignored other) -> Tensor",
            "aten::squeeze(Tensor self, Stored dim=None) -> Tensor",
            "aten::squeeze_copy(Tensor self, Stored dim=None) -> Tensor",
            "aten::unflatten(Tensor self, int dim, int[] sizes=?) -> Tensor",
            "aten::unsqueeze(Tensor self, int dim) -> Tensor",
            "aten::unsqueeze_copy(Tensor self, int dim) -> Tensor",
            "aten::view(Tensor self, int[] size=?) -> Tensor",
            "aten::view_as(Tensor self, Ignored other) -> Tensor",
            "aten::view_copy(Tensor self, int[] size=?) -> Tensor",
            "aten::_reshape_copy(Tensor self, int[] size=?) -> Tensor",
            "aten::_unsafe_view(Tensor self, int[] size=?) -> Tensor",
            "Tensor.reshape_as(Tensor input, Ignored other) -> Tensor",
            "Tensor.unflatten(Tensor input, int dim, int[] sizes=?) -> Tensor",
        ),
        **table_of(
            _expand_to_result,
            "aten::broadcast_to(Tensor self, int[] size=?) -> Tensor",
            "aten::expand(Tensor self, int[] size=?, bool implicit=False) -> Tensor",
            "aten::expand_as(Tensor self, Ignored other) -> Tensor",
            "aten::expand_copy(Tensor self, int[] size=?, bool implicit=False) -> Tensor",
            "Tensor.expand(Tensor input, int[] sizes=?) -> Tensor",
            "Tensor.expand_as(Tensor input, Ignored other) -> Tensor",
            "torch.broadcast_to(Tensor input, int[] size=?) -> Tensor",
        ),
        **table_of(
            _move,
            "aten::movedim(Tensor self, int[] source, int[] destination) -> Tensor",
            "aten::moveaxis(Tensor self, int[] source, int[] destination) -> Tensor",
        ),
        **table_of(
            swap,
            "aten::swapaxes(Tensor self, int axis0, int axis1) -> Tensor",
            "aten::swapdims(Tensor self, int dim0, int dim1) -> Tensor",
            "aten::transpose(Tensor self, int dim0, int dim1) -> Tensor",
            "aten::transpose_copy(Tensor self, int dim0, int dim1) -> Tensor",
        ),
        **table_of(
            _swap_last,
            "aten::mT(Tensor self) -> Tensor",
            "aten::mH(Tensor self) -> Tensor",
            "aten::matrix_H(Tensor self) -> Tensor",
            "aten::adjoint(Tensor self) -> Tensor",
        ),
        **table_of(
            _reverse_axes,
            "aten::numpy_T(Tensor self) -> Tensor",
            "aten::t(Tensor self) -> Tensor",
            "aten::t_copy(Tensor self) -> Tensor",
            "torch.t(Tensor input) -> Tensor",
        ),
        "aten::permute(Tensor self, int[] dims) -> Tensor": lambda b, x, dims: b.permute(x, dims),
        "aten::permute_copy(Tensor self, int[] dims) -> Tensor": lambda b, x, dims: b.permute(x, dims),
    }
    cases = (
        Case("torch.movedim(x, 0, -1)", id="movedim", x="f32[2,3,4]"),
        Case("x.broadcast_to(4, 3, 5) + 1", id="broadcast-to", x="f32[3,1]"),
    )
