"""Writes a computation in ncnn's layers, for tensors of any rank.

A `Value` has torch's shape (`shape`, any rank, batch axis included) and the sizes of the blob
that holds it (`blob`, at most four axes, row-major, the same elements in the same order). Rules
think in torch's shapes and axes only; a Reshape is written where the next layer needs the blob
seen otherwise, and none where it does not. Layers and limits: ncnn's layer sources, and what
was tried on wheels from 20240102 on (BinaryOp ids up to 11, UnaryOp ids up to 19).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.base import Layer
from pnnxfix.rules.lowering.elementwise import BINARY, UNARY, ElementwiseBuilder
from pnnxfix.rules.lowering.value import NotExpressible, Value
from pnnxfix.rules.lowering.views import (
    MAX_RANK,
    Shape,
    around,
    broadcast_shapes,
    merge_axes,
    permutation_type,
    simplify_permutation,
)

__all__ = ["BINARY", "UNARY", "Builder", "NotExpressible", "Value"]

REDUCTION = {"sum": 0, "asum": 1, "sumsq": 2, "mean": 3, "max": 4, "min": 5, "prod": 6, "l1": 7, "l2": 8,
             "logsum": 9, "logsumexp": 10}  # fmt: skip


class Builder(ElementwiseBuilder):
    """What a rule writes a computation with: everything above, and operations along axes."""

    def reduce(self, name: str, value: Value, axes: Sequence[int] | None, keepdims: bool) -> Value:
        """Reduction by its name in `REDUCTION`, over torch axes (None: all of them)."""
        wanted = set(range(value.rank)) if axes is None else {value.axis(axis) for axis in axes}
        kept = tuple(1 if at in wanted else size for at, size in enumerate(value.shape))
        shape = kept if keepdims else tuple(size for at, size in enumerate(value.shape) if at not in wanted)
        sizes, kinds = merge_axes(value.shape, [at in wanted for at in range(value.rank)])
        code = REDUCTION[name]
        if not any(kinds):
            if name in {"sum", "mean", "max", "min", "prod", "logsumexp"}:
                return self.view(value, shape)
            sizes, kinds = (*sizes, 1), (*kinds, True)
        if len(sizes) > MAX_RANK:
            raise NotExpressible(
                f"a reduction over {sorted(wanted)} of {value.shape} needs {len(sizes)} axes"
            )
        shaped = self._prefer_blob(value, sizes)
        assert shaped.blob is not None
        if shaped.blob == sizes:
            reduced = [at for at, kind in enumerate(kinds) if kind]
        else:
            reduced = [at for at in range(len(shaped.blob)) if _reduced(shaped.blob, at, value.shape, wanted)]
        if len(reduced) == len(shaped.blob):
            return self.layer("Reduction", (shaped,), (f"0={code}", "1=1", "4=0"), shape, (1,))
        words = (f"0={code}", "1=0", f"-23303={len(reduced)},{','.join(map(str, reduced))}", "4=1", "5=1")
        blob = tuple(1 if at in reduced else size for at, size in enumerate(shaped.blob))
        return self.layer("Reduction", (shaped,), words, shape, blob)

    def _prefer_blob(self, value: Value, sizes: Shape) -> Value:
        """The value in its own blob where that has exactly torch's axes, else in the merged one."""
        if value.blob is not None and value.blob in (
            value.shape,
            value.shape[1:] if value.shape[:1] == (1,) else None,
        ):
            return value
        return self.as_blob(value, sizes or (1,))

    def softmax(self, value: Value, axis: int) -> Value:
        shaped, at = self.along(value, axis)
        assert shaped.blob is not None
        if len(shaped.blob) == MAX_RANK:  # 20240102 and 20240820 give back their input
            shaped, at = self.as_blob(value, around(value.shape, value.axis(axis))), 1
        assert shaped.blob is not None
        return self.layer("Softmax", (shaped,), (f"0={at}", "1=1"), value.shape, shaped.blob)

    def slice(self, value: Value, axis: int, start: int, stop: int) -> Value:
        """value[..., start:stop, ...] along a torch axis; 0 <= start < stop <= size."""
        axis = value.axis(axis)
        if not 0 <= start < stop <= value.shape[axis]:
            raise NotExpressible(f"an empty or impossible slice {start}:{stop} of {value.shape}")
        shape = (*value.shape[:axis], stop - start, *value.shape[axis + 1 :])
        if shape == value.shape:
            return value
        shaped, at = self.along(value, axis)
        assert shaped.blob is not None
        words = (f"-23309=1,{start}", f"-23310=1,{stop}", f"-23311=1,{at}")
        blob = (*shaped.blob[:at], stop - start, *shaped.blob[at + 1 :])
        return self.layer("Crop", (shaped,), words, shape, blob)

    def split(self, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
        """Parts of these sizes along a torch axis, in order, which make all of it."""
        axis = value.axis(axis)
        if sum(sizes) != value.shape[axis] or min(sizes) < 1:
            raise NotExpressible(f"parts of {tuple(sizes)} do not make axis {axis} of {value.shape}")
        if len(sizes) == 1:
            return [value]
        shaped, at = self.along(value, axis)
        assert shaped.blob is not None
        words = (f"-23300={len(sizes)},{','.join(map(str, sizes))}", f"1={at}")
        self.layers.append(Layer("Slice", (shaped.name,), words, len(sizes)))
        names = self.layers[-1].names(len(self.layers) - 1)
        return [
            Value(
                self, name, (*value.shape[:axis], size, *value.shape[axis + 1 :]),
                (*shaped.blob[:at], size, *shaped.blob[at + 1 :]),
            )
            for name, size in zip(names, sizes, strict=True)
        ]  # fmt: skip

    def select(self, value: Value, axis: int, index: int) -> Value:
        axis = value.axis(axis)
        index = index + value.shape[axis] if index < 0 else index
        return self.squeeze(self.slice(value, axis, index, index + 1), axis)

    def strided(self, value: Value, axis: int, start: int, stop: int, step: int) -> Value:
        """value[..., start:stop:step, ...] for a positive step."""
        if step == 1:
            return self.slice(value, axis, start, stop)
        axis = value.axis(axis)
        count = -(-(stop - start) // step)
        whole = start + count * step
        if count < 1:
            raise NotExpressible(f"an empty slice {start}:{stop}:{step} of {value.shape}")
        outer, size, inner = around(value.shape, axis)
        if size % step == 0:
            # All strides are whole: the wanted element is the same one in each.
            blocks = self.as_blob(
                self.view(value, (outer * size // step, step, inner)), (outer * size // step, step, inner)
            )
            picked = self.slice(blocks, 1, start % step, start % step + 1)
            every = self.view(picked, (*value.shape[:axis], size // step, *value.shape[axis + 1 :]))
            return self.slice(every, axis, start // step, start // step + count)
        if whole > size:
            # The last stride is cut off: it is taken by itself.
            parts = [self.slice(value, axis, start + (count - 1) * step, start + (count - 1) * step + 1)]
            if count > 1:
                parts.insert(0, self.strided(value, axis, start, start + (count - 1) * step, step))
            return parts[0] if count == 1 else self.concat(parts, axis)
        part = self.slice(value, axis, start, whole)
        pairs = self.view(part, (outer, count, step, inner))
        picked = self.slice(self.as_blob(pairs, (outer * count, step, inner)), 2, 0, 1)
        return self.view(picked, (*value.shape[:axis], count, *value.shape[axis + 1 :]))

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        """torch.cat along a torch axis."""
        axis = values[0].axis(axis)
        if len(values) == 1:
            return values[0]
        outer, _, inner = around(values[0].shape, axis)
        total = sum(value.shape[axis] for value in values)
        rest = {value.shape[:axis] + value.shape[axis + 1 :] for value in values}
        if len(rest) != 1:
            raise NotExpressible("the parts of a concatenation differ in another axis")
        shape = (*values[0].shape[:axis], total, *values[0].shape[axis + 1 :])
        shaped = [self.as_blob(value, (outer, value.shape[axis], inner)) for value in values]
        return self.layer("Concat", shaped, ("0=1",), shape, (outer, total, inner))

    def permute(self, value: Value, order: Sequence[int]) -> Value:
        """torch.permute, with as few and as small Permute layers as the elements need."""
        order = [value.axis(axis) for axis in order]
        shape = tuple(value.shape[axis] for axis in order)
        sizes, small = simplify_permutation(value.shape, order)
        if small == tuple(range(len(small))):
            return self.view(value, shape)
        if len(small) <= MAX_RANK:
            shaped = self.as_blob(value, sizes)
            blob = tuple(sizes[axis] for axis in small)
            return self.layer("Permute", (shaped,), (f"0={permutation_type(small)}",), shape, blob)
        # More axes than ncnn has: put one axis after the other in its place, each a swap of two
        # neighbouring blocks, which needs three axes.
        current = self.view(value, sizes)
        axes = list(range(len(small)))
        for at, axis in enumerate(small):
            found = axes.index(axis)
            if found != at:
                current = self._rotate(current, at, found)
                axes.insert(at, axes.pop(found))
        return self.view(current, shape)

    def _rotate(self, value: Value, first: int, axis: int) -> Value:
        """Move an axis to the place `first` before it."""
        order = [*range(first), axis, *range(first, axis), *range(axis + 1, value.rank)]
        return self.permute(value, order)

    def expand(self, value: Value, shape: Sequence[int]) -> Value:
        """torch.broadcast_to, by adding zeros of that shape only where repetition is needed."""
        shape = tuple(shape)
        if value.size == prod(shape):
            return self.view(value, shape)
        padded = self.view(value, (1,) * (len(shape) - value.rank) + value.shape)
        for axis, (have, want) in enumerate(zip(padded.shape, shape, strict=True)):
            if have == want:
                continue
            if have != 1:
                raise NotExpressible(f"{value.shape} does not expand to {shape}")
            outer, _, inner = around(padded.shape, axis)
            shaped = self.as_blob(padded, (outer, 1, inner))
            wide = (*padded.shape[:axis], want, *padded.shape[axis + 1 :])
            # Tile: parameter 2 are the repeats of each axis, outermost first.
            padded = self.layer("Tile", (shaped,), (f"-23302=3,1,{want},1",), wide, (outer, want, inner))
        return padded

    def matmul(self, left: Value, right: Value) -> Value:
        """torch.matmul of two tensors with at least two axes each, the outer ones broadcast."""
        *batch_left, rows, inner = left.shape
        *batch_right, inner_right, columns = right.shape
        batch = broadcast_shapes(batch_left, batch_right)
        if batch is None or inner != inner_right:
            raise NotExpressible(f"shapes {left.shape} and {right.shape} do not multiply")
        shape = (*batch, rows, columns)
        count = prod(batch)
        if count == 1:
            first, second = self.as_blob(left, (rows, inner)), self.as_blob(right, (inner, columns))
            return self.layer("MatMul", (first, second), (), shape, (rows, columns))
        wide = [self.expand(value, (*batch, *value.shape[-2:])) for value in (left, right)]
        first = self.as_blob(wide[0], (count, rows, inner))
        second = self.as_blob(wide[1], (count, inner, columns))
        return self.layer("MatMul", (first, second), (), shape, (count, rows, columns))


def _reduced(blob: Shape, at: int, shape: Shape, wanted: set[int]) -> bool:
    """Whether axis `at` of a blob that has torch's axes, the first left out or not, is reduced."""
    return at + len(shape) - len(blob) in wanted
