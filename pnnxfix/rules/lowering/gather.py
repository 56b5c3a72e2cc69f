"""Puts elements where a constant map says: the exact meaning of all indexing with constants.

A map gives for each element of the result the element of the source that it is, or `ZERO`.
Whatever can be told from the map's own structure becomes views, slices and concatenations. The
rest is one GridSample with `nearest` and zeros outside, which only moves elements: infinities and
nan pass unharmed, where a product with a matrix of zeros and ones would spread them. Tried bit
for bit on wheels from 20240102 on. Source: ncnn gridsample.cpp (0 mode, 1 padding, grid w=2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from math import gcd, isqrt, prod

from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.views import around

ZERO = -1
_MOST_PARTS = 4
_LARGEST_MAP = 1 << 20
# Centres of 1,024 cells between -1 and 1 are told apart even where a backend keeps half floats.
_MOST_CELLS = 1024
_LARGEST_GRID = 1 << 16

Coordinates = tuple[int, ...]


def take(b: Builder, x: Value, axis: int, indexes: Sequence[int]) -> Value:
    """torch.index_select with a constant index; `ZERO` gives zeros. Indexes count from the front."""
    axis = x.axis(axis)
    outer, size, inner = around(x.shape, axis) if x.shape else (1, 1, 1)
    if any(not ZERO <= index < size for index in indexes):
        raise NotExpressible(f"an index is outside of axis {axis} of {x.shape}")
    shape = (*x.shape[:axis], len(indexes), *x.shape[axis + 1 :])
    return b.view(_take_middle(b, b.view(x, (outer, size, inner)), indexes), shape)


def rearrange(b: Builder, x: Value, indexes: Sequence[int], shape: Sequence[int]) -> Value:
    """Any map from the source's elements, in row-major order, to the result's."""
    if len(indexes) != prod(shape):
        raise NotExpressible("a map of another size than its result")
    if not indexes or len(indexes) > _LARGEST_MAP or x.size > _LARGEST_MAP:
        raise NotExpressible(f"{len(indexes)} elements are none, or too many to place one by one")
    outer = _find_outer(indexes, x.size)
    columns, size = indexes[: len(indexes) // outer], x.size // outer
    inner = _find_inner(columns, size)
    rows = [index // inner if index >= 0 else ZERO for index in columns[::inner]]
    return b.view(_take_middle(b, b.view(x, (outer, size // inner, inner)), rows), shape)


def map_elements(
    b: Builder, x: Value, shape: Sequence[int], source: Callable[[Coordinates], Coordinates | None]
) -> Value:
    """A map by coordinates: `source` gives where in the source an element comes from, None for zero."""
    if prod(shape) > _LARGEST_MAP:
        raise NotExpressible(f"{prod(shape)} elements are too many to place one by one")
    steps = strides(x.shape)
    indexes = []
    for place in coordinates(shape):
        found = source(place)
        indexes.append(ZERO if found is None else sum(a * s for a, s in zip(found, steps, strict=True)))
    return rearrange(b, x, indexes, shape)


def join(b: Builder, *values: Value) -> Value:
    """The elements of several tensors one after the other, as one axis: a source for `rearrange`."""
    return b.concat([b.view(value, (value.size,)) for value in values], 0)


def strides(shape: Sequence[int]) -> Coordinates:
    """How many elements apart neighbours along each axis are, row-major."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def coordinates(shape: Sequence[int]) -> Iterator[Coordinates]:
    """The coordinates of all elements in row-major order."""
    return product(*map(range, shape))


def _find_outer(indexes: Sequence[int], size: int) -> int:
    """The largest number of equal parts of source and result in which the map is the same."""
    common = gcd(len(indexes), size)
    for parts in (part for part in range(common, 1, -1) if common % part == 0):
        step, length = size // parts, len(indexes) // parts
        if all(
            index == (first if (first := indexes[at % length]) < 0 else first + at // length * step)
            and first < step
            for at, index in enumerate(indexes)
        ):
            return parts
    return 1


def _find_inner(indexes: Sequence[int], size: int) -> int:
    """The largest length of runs that stay together in source and result."""
    common = gcd(len(indexes), size)
    for length in (part for part in range(common, 1, -1) if common % part == 0):
        if all(
            index == (first if (first := indexes[at - at % length]) < 0 else first + at % length)
            and (first < 0 or first % length == 0)
            for at, index in enumerate(indexes)
        ):
            return length
    return 1


def _take_middle(b: Builder, x: Value, rows: Sequence[int]) -> Value:
    """Rows of the middle one of three axes."""
    outer, _, inner = x.shape
    shape = (outer, len(rows), inner)
    if set(rows) == {ZERO}:
        return b.constant((0.0,) * prod(shape), shape)
    step = _find_step(rows)
    if step > 1:
        return b.strided(x, 1, rows[0], rows[-1] + 1, step)
    if step == 0:
        return b.expand(b.slice(x, 1, rows[0], rows[0] + 1), shape)
    parts = _find_parts(rows)
    ends = [len(part) if part[0] < 0 else 0 for part in (parts[0], parts[-1])]
    middle = [part for part in parts if part[0] >= 0]
    if len(middle) == len(parts) - sum(1 for end in ends if end) and len(middle) <= _MOST_PARTS:
        slices = [b.slice(x, 1, part[0], part[-1] + 1) for part in middle]
        return _pad_middle(b, b.concat(slices, 1), *ends)
    return _sample(b, x, rows)


def _find_step(rows: Sequence[int]) -> int:
    """The step of an arithmetic series upwards, 0 of one that stands still, else -1."""
    if len(rows) < 2 or min(rows) < 0:
        return -1
    step = rows[1] - rows[0]
    if step < 0 or any(right - left != step for left, right in pairwise(rows)):
        return -1
    return step


def _find_parts(rows: Sequence[int]) -> list[list[int]]:
    """The map in runs of neighbours, and of zeros."""
    parts: list[list[int]] = []
    for row in rows:
        last = parts[-1][-1] if parts else None
        if last is not None and (row == last + 1 if last >= 0 else row == ZERO):
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts


def _pad_middle(b: Builder, x: Value, before: int, after: int) -> Value:
    if not before and not after:
        return x
    outer, size, inner = x.shape
    shape = (outer, before + size + after, inner)
    words = (f"0={before}", f"1={after}")
    return b.layer("Padding", (b.as_blob(x, x.shape),), words, shape, shape)


def _sample(b: Builder, x: Value, rows: Sequence[int]) -> Value:
    outer, size, inner = x.shape
    if inner > 1 and (max(size, inner) > _MOST_CELLS or len(rows) * inner > _LARGEST_GRID):
        # Every column by itself, so that one map of the rows serves all.
        turned = b.permute(x, (0, 2, 1))
        return b.permute(b.view(_sample(b, b.view(turned, (outer * inner, size, 1)), rows),
                                (outer, inner, len(rows))), (0, 2, 1))  # fmt: skip
    if inner > 1:
        cells = [(row, column) for row in rows for column in range(inner)]
        return _write_sample(b, x, size, inner, cells, len(rows), inner)
    height, width = _find_sides(size)
    source = b.view(x, (outer, 1, size))
    if height * width > size:
        words = (f"3={height * width - size}",)
        shape = (outer, 1, height * width)
        source = b.layer("Padding", (b.as_blob(source, source.shape),), words, shape, shape)
    cells = [(row // width if row >= 0 else ZERO, row % width) for row in rows]
    return b.view(
        _write_sample(b, b.view(source, (outer, height, width)), height, width, cells, 1, len(rows)),
        (outer, len(rows), 1),
    )


def _find_sides(size: int) -> tuple[int, int]:
    """Two sides of a rectangle with at least that many cells, and just as many if that can be."""
    if size <= _MOST_CELLS:
        return 1, size
    for width in range(min(_MOST_CELLS, size), 1, -1):
        if size % width == 0 and size // width <= _MOST_CELLS:
            return size // width, width
    width = isqrt(size - 1) + 1
    if width > _MOST_CELLS:
        raise NotExpressible(f"{size} elements are too many to place one by one")
    return -(-size // width), width


def _write_sample(
    b: Builder,
    x: Value,
    height: int,
    width: int,
    cells: Sequence[tuple[int, int]],
    rows: int,
    columns: int,
) -> Value:
    """One GridSample: `cells` are (row, column) for each element of the result, row ZERO for zero."""
    numbers: list[float] = []
    for row, column in cells:
        # The middle of a cell, so that no rounding reaches another; outside of the grid for zeros.
        numbers += (-3.0, -3.0) if row < 0 else ((2 * column + 1) / width - 1, (2 * row + 1) / height - 1)
    grid = b.constant(numbers, (rows, columns, 2))
    source = b.as_blob(x, (x.shape[0], height, width))
    shape = (x.shape[0], rows, columns)
    return b.layer("GridSample", (source, grid), ("0=2", "1=1", "2=0"), shape, shape)
