"""Arithmetic of shapes: how a tensor of any rank is seen through at most four axes.

ncnn's blobs are row-major and have at most four axes. A tensor of any rank is a view of such a
blob, as long as neighbouring axes that an operation treats alike are merged, and axes of size
one dropped. Everything here is about sizes; nothing knows a layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import prod

Shape = tuple[int, ...]
MAX_RANK = 4


def merge_axes(shape: Sequence[int], kinds: Sequence[Hashable]) -> tuple[Shape, tuple[Hashable, ...]]:
    """Merge neighbouring axes of the same kind; axes of size one join any neighbour.

    Gives the merged sizes and the kind of each.
    """
    sizes: list[int] = []
    merged: list[Hashable] = []
    for size, kind in zip(shape, kinds, strict=True):
        if size == 1:
            continue
        if merged and merged[-1] == kind:
            sizes[-1] *= size
        else:
            sizes.append(size)
            merged.append(kind)
    return tuple(sizes), tuple(merged)


def around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """The shape seen as three axes: everything before an axis, the axis, everything after."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def find_axis(physical: Sequence[int], outer: int, size: int) -> int | None:
    """The axis of a blob that has `outer` elements before it and the given size, None if none has."""
    before = 1
    for axis, found in enumerate(physical):
        if before == outer and found == size:
            return axis
        before *= found
    return None


def simplify_permutation(shape: Sequence[int], order: Sequence[int]) -> tuple[Shape, tuple[int, ...]]:
    """The smallest permutation with the same effect on the elements.

    Axes of size one are dropped and axes that stay together merged. `order[i]` is the axis of
    the input that becomes axis i of the output, as in torch.permute.
    """
    kept = [axis for axis in order if shape[axis] != 1]
    groups: list[list[int]] = []
    rank_of = {axis: at for at, axis in enumerate(sorted(kept))}
    for axis in kept:
        if groups and rank_of[groups[-1][-1]] + 1 == rank_of[axis]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    by_input = sorted(range(len(groups)), key=lambda at: groups[at][0])
    sizes = tuple(prod(shape[axis] for axis in groups[at]) for at in by_input)
    return sizes, tuple(by_input.index(at) for at in range(len(groups)))


def permutation_type(order: Sequence[int]) -> int:
    """ncnn's Permute parameter 0: the rank of the permutation among all, in lexicographic order."""
    rest = list(range(len(order)))
    rank = 0
    for at, axis in enumerate(order):
        index = rest.index(axis)
        count = 1
        for factor in range(2, len(order) - at):
            count *= factor
        rank += index * count
        rest.pop(index)
    return rank


def broadcast_shapes(*shapes: Sequence[int]) -> Shape | None:
    """numpy's broadcast shape, None where the shapes do not fit."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            return None
        result.append(wide.pop() if wide else 1)
    return tuple(result)


def squeeze_to_rank(shape: Sequence[int], rank: int = MAX_RANK) -> Shape | None:
    """The shape with leading axes of size one dropped until it has at most `rank` axes."""
    shape = tuple(shape)
    while len(shape) > rank and 1 in shape:
        at = shape.index(1)
        shape = shape[:at] + shape[at + 1 :]
    return shape if len(shape) <= rank else None
