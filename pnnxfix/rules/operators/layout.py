"""Operators that move, split or rename axes, for tensors of any rank."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.expressions import evaluate
from pnnxfix.rules.lowering.family import Family

_WHOLE = 2147483647


def _reshape(b: Builder, x: Value, shape: object) -> Value:
    """The result's own shape says what -1 and computed sizes are."""
    target = b.result_shapes[0]
    if target is None:
        raise NotExpressible("the shape of the result is not in the files")
    return b.view(x, target)


def _permute(b: Builder, x: Value, dims: Sequence[int]) -> Value:
    return b.permute(x, dims)


def _transpose(b: Builder, x: Value, dim0: int, dim1: int) -> Value:
    order = list(range(x.rank))
    first, second = x.axis(dim0), x.axis(dim1)
    order[first], order[second] = order[second], order[first]
    return b.permute(x, order)


def _slice_many(
    b: Builder,
    x: Value,
    dims: Sequence[int],
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
    selects: Sequence[int],
) -> Value:
    """Several slices and selections at once; step 0 selects, and that axis goes."""
    gone = []
    for dim, start, end, step, index in zip(dims, starts, ends, steps, selects, strict=True):
        axis = x.axis(dim)
        size = x.shape[axis]
        if step == 0:
            index = index + size if index < 0 else index
            x = b.slice(x, axis, index, index + 1)
            gone.append(axis)
            continue
        first, last, _ = slice(start, size if end >= _WHOLE else end, step).indices(size)
        x = b.strided(x, axis, first, last, step)
    for axis in sorted(gone, reverse=True):
        x = b.squeeze(x, axis)
    return x


def _slice(b: Builder, x: Value, *words: object) -> Value:
    """pnnx writes one slice with `dim=`, several with `dims=`."""
    many, one = words[:5], words[5:]
    if many[0] is not None:
        return _slice_many(b, x, *many)  # type: ignore[arg-type]
    dim, start, end, step = one
    return _slice_many(b, x, (dim,), (start,), (end,), (step,), (0,))  # type: ignore[arg-type]


class Layout(Family):
    """Reshapes, permutations, splits and slices that no layer of ncnn can hold as they are.

    What it finds: `Tensor.reshape` to more axes than ncnn has, `torch.unbind` after a permutation
    that moved the batch axis, `Tensor.slice` with a step: the windows of swin, the fused q/k/v
    projection of every vision transformer, patch merging.

    Why it breaks: ncnn has no such layer. What stands beside it may be a lie that loads: the
    `Permute` of a tensor of six axes says `0=0`, identity.

    Repair: all operators on tensors of more axes than four (the batch left out) are worked out
    together from `.pnnx.param`. Axes that stay together are merged and those of size one dropped,
    so that the smallest Reshape, Permute and Crop layers do the same.

    Limits: needs the shapes in `.pnnx.param`; a batch of one.

    Example:
        Tensor.reshape   Tensor.reshape_8   1 1 11 12          (1,8,8,8) to (1,2,4,2,4,8)
        Permute          permute_3          1 1 12 13 0=0      (0,1,3,2,4,5)
        one Reshape to (2,4,2,32), one Permute 0=2

    Source: torch's documentation; ncnn permute.cpp, reshape.cpp, crop.cpp.
    """

    code = "PNX120"
    name = "leaked-layout"
    operators = {  # noqa: RUF012 a table, never changed
        "Tensor.reshape(Tensor input, int[] shape=?) -> Tensor": _reshape,
        "Tensor.view(Tensor input, int[] shape=?) -> Tensor": _reshape,
        "torch.flatten(Tensor input, int start_dim=?, int end_dim=?) -> Tensor": lambda b, x, *_: _reshape(
            b, x, None
        ),
        "torch.squeeze(Tensor input, int[] dim=?) -> Tensor": lambda b, x, _: _reshape(b, x, None),
        "torch.unsqueeze(Tensor input, int dim) -> Tensor": lambda b, x, _: _reshape(b, x, None),
        "Tensor.permute(Tensor input, int[] dims) -> Tensor": _permute,
        "torch.permute(Tensor input, int[] dims) -> Tensor": _permute,
        "torch.transpose(Tensor input, int dim0, int dim1) -> Tensor": _transpose,
        "Tensor.select(Tensor input, int dim, int index) -> Tensor": lambda b, x, d, i: b.select(x, d, i),
        "Tensor.slice(Tensor input, int[] dims=None, int[] starts=None, int[] ends=None, int[] steps=None, "
        "int[] selects=None, int dim=None, int start=None, int end=None, int step=None) -> Tensor": _slice,
        "pnnx.Expression(Expression expr) -> Tensor": lambda b, e: evaluate(b, *e),
    }
    cases = (
        Case("x[:, ::2, 1::3]", id="strided-slice", x="f32[3,6,8]"),
        Case(
            "x.reshape(2, 4, 2, 4, 3, 1).permute(0, 2, 1, 3, 5, 4).reshape(4, 16, 3)",
            id="window-partition",
            x="f32[8,8,3]",
        ),
    )
