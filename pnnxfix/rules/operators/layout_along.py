"""Operators that repeat, turn round, shift, cut or lengthen a tensor along its axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pnnxfix.codecs.number import spell_for_ncnn
from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.gather import take
from pnnxfix.rules.lowering.stored import StoredTensor
from pnnxfix.rules.lowering.views import around
from pnnxfix.rules.operators.layout_views import swap


def repeat(b: Builder, x: Value, sizes: Sequence[int]) -> Value:
    """torch.Tensor.repeat: the whole tensor, so many times along each axis."""
    if min(sizes, default=1) < 1:
        raise NotExpressible("a result of no elements has no blob")
    x = b.view(x, (1,) * (len(sizes) - x.rank) + x.shape)
    for axis, count in enumerate(sizes):
        outer, size, inner = around(x.shape, axis)
        wide = b.expand(b.view(x, (outer, 1, size * inner)), (outer, count, size * inner))
        x = b.view(wide, (*x.shape[:axis], count * size, *x.shape[axis + 1 :]))
    return x


def _tile(b: Builder, x: Value, dims: Sequence[int] | None) -> Value:
    """torch.tile; pnnx writes an empty list as None."""
    return repeat(b, x, (1,) * (x.rank - len(dims or ())) + tuple(dims or ()))


def _repeat_interleave(
    b: Builder, x: Value, repeats: int | StoredTensor, dim: int | None, *_: object
) -> Value:
    """Each element so many times; without `dim` of the flattened tensor."""
    if dim is None:
        x, dim = b.view(x, (x.size,)), 0
    axis = x.axis(dim)
    if isinstance(repeats, StoredTensor):
        counts = [int(number) for number in repeats.numbers] * (
            x.shape[axis] if repeats.shape in {(), (1,)} else 1
        )
        if len(counts) != x.shape[axis] or min(counts) < 0:
            raise NotExpressible("repeats that do not fit the axis")
        return take(b, x, axis, [at for at, count in enumerate(counts) for _ in range(count)])
    if repeats < 1:
        raise NotExpressible("a result of no elements has no blob")
    outer, size, inner = around(x.shape, axis)
    wide = b.expand(b.view(x, (outer * size, 1, inner)), (outer * size, repeats, inner))
    return b.view(wide, (*x.shape[:axis], size * repeats, *x.shape[axis + 1 :]))


def flip(b: Builder, x: Value, dims: Sequence[int]) -> Value:
    axes = sorted(x.axis(dim) for dim in dims)
    if axes and axes == list(range(axes[0], axes[-1] + 1)):
        # Neighbouring axes turned round are one axis turned round.
        size = 1
        for axis in axes:
            size *= x.shape[axis]
        merged = b.view(x, (*x.shape[: axes[0]], size, *x.shape[axes[-1] + 1 :]))
        return b.view(take(b, merged, axes[0], range(size)[::-1]), x.shape)
    for axis in axes:
        x = take(b, x, axis, range(x.shape[axis])[::-1])
    return x


def _rot90(b: Builder, x: Value, k: int, dims: Sequence[int]) -> Value:
    """A quarter turn from the first towards the second axis, k times."""
    first, second = dims
    if k % 4 == 2:
        return flip(b, x, dims)
    if k % 2:
        return swap(b, flip(b, x, [second if k % 4 == 1 else first]), first, second)
    return x


def roll(b: Builder, x: Value, shifts: Sequence[int], dims: Sequence[int] | None) -> Value:
    """torch.roll; without `dims` of the flattened tensor."""
    if not dims:
        return b.view(roll(b, b.view(x, (x.size,)), shifts, (0,)), x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        axis = x.axis(dim)
        size = x.shape[axis]
        cut = -shift % size
        x = take(b, x, axis, [*range(cut, size), *range(cut)])
    return x


def _shift_half(b: Builder, x: Value, dims: Sequence[int] | None, odd: int) -> Value:
    """torch.fft.fftshift (odd 0) and ifftshift (odd 1), which only move elements."""
    axes = range(x.rank) if dims is None else [x.axis(dim) for dim in dims]
    return roll(b, x, [(x.shape[axis] + odd) // 2 for axis in axes], axes)


def pad_axis(b: Builder, x: Value, axis: int, before: int, after: int, value: float = 0.0) -> Value:
    """Numbers before and after an axis; a negative count cuts."""
    size = x.shape[axis]
    if before < 0 or after < 0:
        x = b.slice(x, axis, max(-before, 0), size - max(-after, 0))
        before, after = max(before, 0), max(after, 0)
    if not before and not after:
        return x
    outer, size, inner = around(x.shape, axis)
    shape = (outer, before + size + after, inner)
    words = (f"0={before}", f"1={after}", *((f"5={spell_for_ncnn(value)}",) if value else ()))
    padded = b.layer("Padding", (b.as_blob(x, (outer, size, inner)),), words, shape, shape)
    return b.view(padded, (*x.shape[:axis], shape[1], *x.shape[axis + 1 :]))


_BORDERS: dict[str, Callable[[int, int], int]] = {
    "replicate": lambda at, size: min(max(at, 0), size - 1),
    "reflect": lambda at, size: -at if at < 0 else 2 * (size - 1) - at if at >= size else at,
    "circular": lambda at, size: at % size,
}


def _pad(b: Builder, x: Value, pad: Sequence[int], mode: str, value: float | None) -> Value:
    """F.pad: pairs of counts from the last axis on."""
    if len(pad) % 2 or len(pad) > 2 * x.rank:
        raise NotExpressible(f"{len(pad)} paddings for {x.rank} axes")
    for at in range(0, len(pad), 2):
        axis, before, after = x.rank - 1 - at // 2, pad[at], pad[at + 1]
        size = x.shape[axis]
        if mode == "constant":
            if value is not None and value - value != 0:
                raise NotExpressible(f"ncnn has no spelling for {value}")
            x = pad_axis(b, x, axis, before, after, float(value or 0))
        elif mode in _BORDERS:
            x = take(
                b, x, axis, [_BORDERS[mode](place - before, size) for place in range(before + size + after)]
            )
        else:
            raise NotExpressible(f"padding of an unknown kind `{mode[:20]}`")
    return x


def _unfold(b: Builder, x: Value, dimension: int, size: int, step: int) -> Value:
    """Windows of an axis, each as a new last axis."""
    axis = x.axis(dimension)
    total = x.shape[axis] if x.shape else 1
    if not 1 <= size <= total or step < 1:
        raise NotExpressible("windows that do not fit the axis")
    count = (total - size) // step + 1
    taken = take(b, x, axis, [at * step + place for at in range(count) for place in range(size)])
    wide = b.view(taken, (*x.shape[:axis], count, size, *x.shape[axis + 1 :]))
    return b.permute(wide, [at for at in range(wide.rank) if at != axis + 1] + [axis + 1])


def _narrow(b: Builder, x: Value, dim: int, start: int | StoredTensor, length: int) -> Value:
    first = int(start.numbers[0]) if isinstance(start, StoredTensor) else start
    axis = x.axis(dim)
    first += x.shape[axis] if first < 0 else 0
    return b.slice(x, axis, first, first + length)


def _slice_copy(b: Builder, x: Value, dim: int, start: int | None, end: int | None, step: int) -> Value:
    axis = x.axis(dim)
    first, last, _ = slice(start, end, step).indices(x.shape[axis])
    return b.strided(x, axis, first, last, step)


def _channel_shuffle(b: Builder, x: Value, groups: int) -> Value:
    channels = x.shape[1]
    split = b.view(x, (x.shape[0], groups, channels // groups, *x.shape[2:]))
    return b.view(b.permute(split, (0, 2, 1, *range(3, split.rank))), x.shape)


def _pixel_shuffle(b: Builder, x: Value, factor: int) -> Value:
    *outer, channels, height, width = x.shape
    n = len(outer)
    split = b.view(x, (*outer, channels // factor**2, factor, factor, height, width))
    moved = b.permute(split, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return b.view(moved, (*outer, channels // factor**2, height * factor, width * factor))


def _pixel_unshuffle(b: Builder, x: Value, factor: int) -> Value:
    *outer, channels, height, width = x.shape
    n = len(outer)
    split = b.view(x, (*outer, channels, height // factor, factor, width // factor, factor))
    moved = b.permute(split, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return b.view(moved, (*outer, channels * factor**2, height // factor, width // factor))


class LayoutAlong(Family):
    """Tensors repeated, turned round, shifted, cut or lengthened along their axes.

    What it finds: `torch.repeat_interleave`, `torch.tile`, `aten::fliplr`, `aten::rot90`,
    `aten::unfold`, `torch.narrow`, `aten::channel_shuffle`, and `F.pad` and `torch.roll` where pnnx
    could not convert them.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: Tile for what repeats a whole, Crop and Concat for what moves a few pieces, Padding for
    constants, and for all else one GridSample that takes each element from its place, exactly. ncnn's
    own Flip layer, which is not in releases before 1.0.20250916, is not used.

    Limits: repeats, shifts and sizes must be constants; 1,048,576 elements at most where each has
    to be placed by itself. Padding with infinities is not expressible.

    Example:
        torch.repeat_interleave   torch.repeat_interleave_0   1 1 in0 out0      repeats=2, dim=1
        Reshape 0=4 1=1 2=6, Tile -23302=3,1,2,1

    Source: ATen native_functions.yaml; ncnn tile.cpp, padding.cpp, gridsample.cpp.
    """

    code = "PNX142"
    name = "leaked-repeat-or-shift"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::repeat(Tensor self, int[] repeats) -> Tensor": repeat,
        "Tensor.repeat(Tensor input, int[] sizes) -> Tensor": repeat,
        "aten::tile(Tensor self, int[] dims) -> Tensor": _tile,
        "torch.tile(Tensor input, int[] dims) -> Tensor": _tile,
        "aten::repeat_interleave(Tensor self, Stored repeats, int dim=None, int output_size=?)"
        " -> Tensor": _repeat_interleave,
        "torch.repeat_interleave(Tensor input, Stored repeats, int dim=None, int output_size=None)"
        " -> Tensor": _repeat_interleave,
        "aten::flip(Tensor self, int[] dims) -> Tensor": flip,
        "torch.flip(Tensor input, int[] dims) -> Tensor": flip,
        "aten::fliplr(Tensor self) -> Tensor": lambda b, x: flip(b, x, (1,)),
        "aten::flipud(Tensor self) -> Tensor": lambda b, x: flip(b, x, (0,)),
        "aten::rot90(Tensor self, int k, int[] dims) -> Tensor": _rot90,
        "aten::roll(Tensor self, int[] shifts, int[] dims=None) -> Tensor": roll,
        "torch.roll(Tensor input, int[] shifts, int[] dims=None) -> Tensor": roll,
        "aten::fft_fftshift(Tensor self, int[] dim=None) -> Tensor": lambda b, x, d: _shift_half(b, x, d, 0),
        "aten::fft_ifftshift(Tensor self, int[] dim=None) -> Tensor": lambda b, x, d: _shift_half(b, x, d, 1),
        "aten::pad(Tensor self, int[] pad, str mode=constant, float value=None) -> Tensor": _pad,
        "aten::constant_pad_nd(Tensor self, int[] pad, Scalar value=0) -> Tensor": lambda b, x, p, v: _pad(
            b, x, p, "constant", v
        ),
        "F.pad(Tensor input, int[] pad, str mode=constant, float value=None) -> Tensor": _pad,
        "aten::unfold(Tensor self, int dimension, int size, int step) -> Tensor": _unfold,
        "aten::unfold_copy(Tensor self, int dimension, int size, int step) -> Tensor": _unfold,
        "aten::narrow(Tensor self, int dim, Stored start, int length) -> Tensor": _narrow,
        "aten::narrow_copy(Tensor self, int dim, Stored start, int length) -> Tensor": _narrow,
        "torch.narrow(Tensor input, int dim, Stored start, int length) -> Tensor": _narrow,
        "aten::select_copy(Tensor self, int dim, int index) -> Tensor": lambda b, x, d, i: b.select(x, d, i),
        "aten::slice_copy(Tensor self, int dim=0, int start=None, int end=None, int step=1)"
        " -> Tensor": _slice_copy,
        "aten::channel_shuffle(Tensor self, int groups) -> Tensor": _channel_shuffle,
        "aten::native_channel_shuffle(Tensor self, int groups) -> Tensor": _channel_shuffle,
        "aten::pixel_shuffle(Tensor self, int upscale_factor) -> Tensor": _pixel_shuffle,
        "F.pixel_shuffle(Tensor input, int upscale_factor) -> Tensor": _pixel_shuffle,
        "aten::pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor": _pixel_unshuffle,
        "F.pixel_unshuffle(Tensor input, int downscale_factor) -> Tensor": _pixel_unshuffle,
    }
    cases = (
        Case("torch.rot90(x, 1, (0, 1))", id="rot90", x="f32[3,5]"),
        Case("torch.repeat_interleave(x, 2, dim=1)", id="repeat-interleave", x="f32[2,3,4]"),
    )
