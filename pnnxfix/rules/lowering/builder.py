"""Writes a computation in ncnn's layers, for tensors of any rank.

A `Value` has torch's shape (`shape`, any rank, batch axis included) and the sizes of the blob
that holds it (`blob`, at most four axes, row-major, the same elements in the same order). Rules
think in torch's shapes and axes only; a Reshape is written where the next layer needs the blob
seen otherwise, and none where it does not. Layers and limits: ncnn's layer sources, and what
was tried on wheels from 20240102 on (BinaryOp ids up to 11, UnaryOp ids up to 19).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from pnnxfix.codecs.number import spell_for_ncnn
from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Layer
from pnnxfix.rules.lowering.views import (
    MAX_RANK,
    Shape,
    around,
    broadcast_shapes,
    find_axis,
    merge_axes,
    permutation_type,
    simplify_permutation,
    squeeze_to_rank,
)

BINARY = {"add": 0, "sub": 1, "mul": 2, "div": 3, "max": 4, "min": 5, "pow": 6, "rsub": 7, "rdiv": 8,
          "rpow": 9, "atan2": 10, "ratan2": 11}  # fmt: skip
UNARY = {"abs": 0, "neg": 1, "floor": 2, "ceil": 3, "square": 4, "sqrt": 5, "rsqrt": 6, "exp": 7, "log": 8,
         "sin": 9, "cos": 10, "tan": 11, "asin": 12, "acos": 13, "atan": 14, "reciprocal": 15, "tanh": 16,
         "log10": 17, "round": 18, "trunc": 19}  # fmt: skip
REDUCTION = {"sum": 0, "asum": 1, "sumsq": 2, "mean": 3, "max": 4, "min": 5, "prod": 6, "l1": 7, "l2": 8,
             "logsum": 9, "logsumexp": 10}  # fmt: skip
_NO_BATCH = 233
# Before 20260526 they take a blob of four axes for one of three, and leave out most of it.
_PLANAR = frozenset({"Threshold", "Erf"})
_SWAPPED = {"sub": "rsub", "div": "rdiv", "pow": "rpow", "atan2": "ratan2"}


class NotExpressible(Exception):
    """ncnn's layers cannot compute this; `reason` says what is missing and `help` what to do."""

    def __init__(self, reason: str, help_text: str = "replace the operator in the PyTorch model") -> None:
        super().__init__(reason)
        self.reason = reason
        self.help = help_text


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor while it is lowered: torch's shape, and the blob that holds its elements.

    `name` is what `Layer.inputs` uses. `blob` are the blob's sizes, outermost first; None where
    they are not certain, so that the first layer to read it must be a Reshape. `dtype` is pnnx's
    name of the type that an operand has; a `bool` is 0.0 or 1.0 in its blob.
    """

    builder: Builder
    name: str
    shape: Shape
    blob: Shape | None
    dtype: str = "f32"
    members: int | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def axis(self, axis: int) -> int:
        """An axis counted from the front; raises NotExpressible where there is no such axis."""
        rank = max(self.rank, 1)
        if not -rank <= axis < rank:
            raise NotExpressible(f"axis {axis} does not exist in a tensor of {self.rank} axes")
        return axis % rank

    def __add__(self, other: Value | float) -> Value:
        return self.builder.binary("add", self, other)

    def __radd__(self, other: float) -> Value:
        return self.builder.binary("add", self, other)

    def __sub__(self, other: Value | float) -> Value:
        return self.builder.binary("sub", self, other)

    def __rsub__(self, other: float) -> Value:
        return self.builder.binary("rsub", self, other)

    def __mul__(self, other: Value | float) -> Value:
        return self.builder.binary("mul", self, other)

    def __rmul__(self, other: float) -> Value:
        return self.builder.binary("mul", self, other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.builder.binary("div", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return self.builder.binary("rdiv", self, other)

    def __neg__(self) -> Value:
        return self.builder.unary("neg", self)


class Builder:
    """Collects the layers of one lowering.

    `constants` are the numbers of MemoryData layers, by the layer's index; `result_shapes` the
    shapes of the results of the operator in hand, as the files say them (None: 0-dim, or not said),
    `result_types` their dtypes (None: not said), `argument_makers` the types of the operators that
    make its tensors, `own` the layer that pnnx made of it.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.constants: dict[int, tuple[float, ...]] = {}
        self.result_shapes: list[Shape | None] = []
        self.result_types: list[str | None] = []
        self.argument_makers: set[str] = set()
        self.own: Operator | None = None
        self._reshaped: dict[str, tuple[str, Shape | None]] = {}

    # views: torch's side of a tensor, no layer

    def view(self, value: Value, shape: Sequence[int]) -> Value:
        """torch.reshape: the same elements in the same order. Costs no layer by itself."""
        shape = tuple(shape)
        if prod(shape) != value.size:
            raise NotExpressible(f"{value.size} elements cannot be seen as {shape}")
        return Value(self, value.name, shape, value.blob, value.dtype, value.members)

    def unsqueeze(self, value: Value, axis: int) -> Value:
        axis = axis if axis >= 0 else axis + value.rank + 1
        return self.view(value, (*value.shape[:axis], 1, *value.shape[axis:]))

    def squeeze(self, value: Value, axis: int) -> Value:
        axis = value.axis(axis)
        if value.shape[axis] != 1:
            return value
        return self.view(value, value.shape[:axis] + value.shape[axis + 1 :])

    # blobs: ncnn's side

    def as_blob(self, value: Value, blob: Sequence[int]) -> Value:
        """The value in a blob of these sizes, through a Reshape if it is not in one already."""
        blob = tuple(blob)
        if value.blob == blob:
            return value
        if not 1 <= len(blob) <= MAX_RANK:
            raise NotExpressible(f"ncnn has no blobs of {len(blob)} axes")
        # A Reshape of a Reshape is one Reshape.
        name, _ = self._reshaped.get(value.name, (value.name, None))
        original = self._reshaped.get(value.name, (value.name, value.blob))[1]
        if original == blob:
            return Value(self, name, value.shape, blob)
        words = _sizes(blob)
        if value.members is not None:
            words = tuple(sorted((*words, f"12={value.members}", f"13={_NO_BATCH}")))
        result = self._add("Reshape", (name,), words, value.shape, blob)
        if value.members is None:
            self._reshaped[result.name] = (name, original)
        return result

    def as_members(self, value: Value, axis: int) -> Value:
        """The value in a blob that holds the members of a torch axis one by one, as 20261020 has them."""
        value = self.certain(value)
        if value.rank <= MAX_RANK:
            words = _sizes(value.shape)
        else:
            words = (f'6="{",".join(map(str, reversed(value.shape)))}"',)
        words = tuple(sorted((*words, f"12={_NO_BATCH}", f"13={axis}")))
        return self._add("Reshape", (value.name,), words, value.shape, ())

    def certain(self, value: Value) -> Value:
        """The value in a blob whose sizes are certain."""
        if value.blob is not None:
            return value
        blob = squeeze_to_rank(value.shape) or (value.size,)
        return self.as_blob(value, blob or (1,))

    def along(self, value: Value, axis: int) -> tuple[Value, int]:
        """The value in a blob that has a torch axis as one of its own, and which one that is."""
        axis = value.axis(axis)
        if not value.shape:
            return self.as_blob(value, (1,)), 0
        outer, size, inner = around(value.shape, axis)
        found = None if value.blob is None else find_axis(value.blob, outer, size)
        if found is not None:
            return value, found
        blob = tuple(part for part in (outer, size, inner) if part != 1 or part is size)
        shaped = self.as_blob(
            value, (outer, size, inner) if outer != 1 else (size, inner) if inner != 1 else (size,)
        )
        assert blob
        return shaped, 1 if outer != 1 else 0

    def layer(
        self,
        kind: str,
        inputs: Sequence[Value],
        parameters: Sequence[str],
        shape: Sequence[int],
        blob: Sequence[int],
    ) -> Value:
        """Any layer: its inputs, `key=value` words, torch's shape of the result and the blob's sizes."""
        return self._add(
            kind, tuple(value.name for value in inputs), tuple(parameters), tuple(shape), tuple(blob)
        )

    def own_type(self) -> str:
        """The type of the layer that pnnx made of the operator in hand."""
        return "" if self.own is None else self.own.type

    def own_layer(
        self,
        value: Value,
        shape: Sequence[int],
        blob: Sequence[int],
        changed: Mapping[str, str] | None = None,
    ) -> Value:
        """The layer that pnnx made of the operator in hand, with its parameters and its weights.

        `changed` are parameters with another value, where the layer has them.
        """
        assert self.own is not None
        words = []
        for word in self.own.rest:
            key, _, text = word.partition("=")
            words.append(f"{key}={(changed or {}).get(key, text)}")
        return self.layer(self.own.type, (value,), words, shape, blob)

    def _add(
        self, kind: str, inputs: tuple[str, ...], parameters: tuple[str, ...], shape: Shape, blob: Shape
    ) -> Value:
        self.layers.append(Layer(kind, inputs, parameters))
        return Value(self, f"@{len(self.layers) - 1}", shape, blob)

    def constant(self, numbers: Sequence[float], shape: Sequence[int]) -> Value:
        """A stored tensor (a MemoryData, its float32 numbers in row-major order)."""
        shape = tuple(shape)
        if len(numbers) != prod(shape) or 0 in shape:
            raise NotExpressible(f"a constant of shape {shape} has no blob")
        blob = squeeze_to_rank(shape) or (prod(shape),)
        result = self._add("MemoryData", (), _sizes(blob or (1,)), shape, blob or (1,))
        self.constants[len(self.layers) - 1] = tuple(numbers)
        return result

    # elementwise

    def elementwise(self, kind: str, value: Value, parameters: Sequence[str] = ()) -> Value:
        """A layer that maps each element by itself (Clip, Sigmoid, ...)."""
        value = self.certain(value)
        assert value.blob is not None
        if kind in _PLANAR and len(value.blob) == MAX_RANK:
            channels, depth, height, width = value.blob
            value = self.as_blob(value, (channels, depth * height, width))
        assert value.blob is not None
        return self.layer(kind, (value,), parameters, value.shape, value.blob)

    def unary(self, name: str, value: Value) -> Value:
        """UnaryOp by its name in `UNARY`."""
        return self.elementwise("UnaryOp", value, (f"0={UNARY[name]}",))

    def clip(self, value: Value, low: float | None = None, high: float | None = None) -> Value:
        words = [
            f"{key}={spell_for_ncnn(bound)}" for key, bound in (("0", low), ("1", high)) if bound is not None
        ]
        return self.elementwise("Clip", value, words)

    def above(self, value: Value, threshold: float) -> Value:
        """1.0 where the value is greater than the threshold, else 0.0 (nan: 0.0)."""
        return self.elementwise("Threshold", value, (f"0={spell_for_ncnn(threshold)}",))

    def binary(self, name: str, left: Value, right: Value | float) -> Value:
        """BinaryOp by its name in `BINARY`, with torch's broadcasting; a number may stand right."""
        if not isinstance(right, Value):
            if not math.isfinite(right):
                raise NotExpressible(f"ncnn has no spelling for {right}")
            words = (f"0={BINARY[name]}", "1=1", f"2={spell_for_ncnn(right)}")
            return self.elementwise("BinaryOp", left, words)
        shape = broadcast_shapes(left.shape, right.shape)
        if shape is None:
            raise NotExpressible(f"shapes {left.shape} and {right.shape} do not broadcast")
        if left.shape == right.shape and left.blob is not None and left.blob == right.blob:
            return self.layer("BinaryOp", (left, right), (f"0={BINARY[name]}",), shape, left.blob)
        blobs = self._broadcast_blobs(left, right, shape)
        first, second = (self.as_blob(value, blob) for value, blob in zip((left, right), blobs, strict=True))
        result = broadcast_shapes(*blobs)
        assert result is not None
        return self.layer("BinaryOp", (first, second), (f"0={BINARY[name]}",), shape, result)

    @staticmethod
    def swapped(name: str) -> str:
        """The BinaryOp that takes its operands the other way round."""
        return _SWAPPED.get(name, name)

    def _broadcast_blobs(self, left: Value, right: Value, shape: Shape) -> tuple[Shape, Shape]:
        """Sizes of equal rank in which ncnn broadcasts two blobs as torch does."""
        padded = [(1,) * (len(shape) - value.rank) + value.shape for value in (left, right)]
        if len(shape) <= MAX_RANK:
            for mine, other, at in ((left, right, 0), (right, left, 1)):
                # Keep the bigger operand's blob as it is where the other can be fitted to it.
                if mine.blob is not None and mine.shape == shape and len(mine.blob) >= 1:
                    fitted = _fit(padded[1 - at], shape, mine.blob)
                    if fitted is not None:
                        return (mine.blob, fitted) if at == 0 else (fitted, mine.blob)
                del other
        kinds = [(one == 1 != size, two == 1 != size) for one, two, size in zip(*padded, shape, strict=True)]
        _, merged = merge_axes(shape, kinds)
        sizes, _ = merge_axes(shape, kinds)
        if len(sizes) > MAX_RANK:
            raise NotExpressible(
                f"broadcasting {left.shape} with {right.shape} needs {len(sizes)} axes, ncnn has 4"
            )
        blobs = tuple(
            tuple(1 if kind[which] else size for size, kind in zip(sizes, merged, strict=True)) or (1,)  # type: ignore[index]
            for which in (0, 1)
        )
        return blobs[0], blobs[1]

    # along axes

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


def _fit(padded: Shape, shape: Shape, blob: Shape) -> Shape | None:
    """The smaller operand's sizes in the layout of the bigger one's blob, None if that splits axes."""
    if blob == shape:
        return padded
    if shape[:1] == (1,) and blob == shape[1:]:
        return padded[1:]
    return None


def _reduced(blob: Shape, at: int, shape: Shape, wanted: set[int]) -> bool:
    """Whether axis `at` of a blob that has torch's axes, the first left out or not, is reduced."""
    return at + len(shape) - len(blob) in wanted


def _sizes(blob: Shape) -> tuple[str, ...]:
    """The parameters that give a blob's sizes in Reshape and MemoryData: 0 w, 1 h, 11 d, 2 c."""
    keys = {1: ("0",), 2: ("1", "0"), 3: ("2", "1", "0"), 4: ("2", "11", "1", "0")}[len(blob)]
    return tuple(f"{key}={size}" for key, size in sorted(zip(keys, blob, strict=True)))
