"""The two sides of a tensor: torch's view of it, and the blob of ncnn that holds its elements."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, cast

from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Layer
from pnnxfix.rules.lowering.value import RAW_FLOATS, NotExpressible, Value
from pnnxfix.rules.lowering.views import MAX_RANK, Shape, around, find_axis, squeeze_to_rank

if TYPE_CHECKING:
    from pnnxfix.rules.lowering.builder import Builder

_NO_BATCH = 233
_ATTRIBUTE = re.compile(r"@(\w+)=\(((?:[1-9]\d{0,8},){0,3}[1-9]\d{0,8})\)f32")


class BlobBuilder:
    """Collects the layers of one lowering: views, blobs, and layers as such.

    `constants` are the numbers of MemoryData layers, by the layer's index; `result_shapes` the
    shapes of the results of the operator in hand, as the files say them (None: 0-dim, or not said),
    `result_types` their dtypes (None: not said), `argument_makers` the types of the operators that
    make its tensors, `own` the layer that pnnx made of it. `integers_fit`: results that are integers
    are small enough for floats to hold them exactly. `weights` are numbers that a layer reads from the
    .bin in its own place, `takes_own_bytes` says that a layer reads those of the operator in hand,
    `own_attributes` are its attributes as `.pnnx.param` has them (`@bias=(8)f32`).
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.constants: dict[int, tuple[float, ...]] = {}
        self.result_shapes: list[Shape | None] = []
        self.result_types: list[str | None] = []
        self.argument_makers: set[str] = set()
        self.own: Operator | None = None
        self.integers_fit = False
        self.weights: dict[int, tuple[float, ...]] = {}
        self.takes_own_bytes = False
        self.own_attributes: tuple[str, ...] = ()
        self._reshaped: dict[str, tuple[str, Shape | None]] = {}

    # views: torch's side of a tensor, no layer

    def view(self, value: Value, shape: Sequence[int]) -> Value:
        """torch.reshape: the same elements in the same order. Costs no layer by itself."""
        shape = tuple(shape)
        if prod(shape) != value.size:
            raise NotExpressible(f"{value.size} elements cannot be seen as {shape}")
        return Value(self._owner(), value.name, shape, value.blob, value.dtype, value.members)

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
            return Value(self._owner(), name, value.shape, blob)
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
        return Value(self._owner(), f"@{len(self.layers) - 1}", shape, blob)

    def constant(self, numbers: Sequence[float], shape: Sequence[int]) -> Value:
        """A stored tensor (a MemoryData, its float32 numbers in row-major order)."""
        shape = tuple(shape)
        if len(numbers) != prod(shape) or 0 in shape:
            raise NotExpressible(f"a constant of shape {shape} has no blob")
        blob = squeeze_to_rank(shape) or (prod(shape),)
        result = self._add("MemoryData", (), _sizes(blob or (1,)), shape, blob or (1,))
        self.constants[len(self.layers) - 1] = tuple(numbers)
        return result

    def integer_bits(self, numbers: Sequence[int]) -> Value:
        """A stored list of integers as ncnn's Embed reads them: int32 bits in the place of floats."""
        bits = struct.unpack(f"<{len(numbers)}f", struct.pack(f"<{len(numbers)}i", *numbers))
        return self.constant(bits, (len(numbers),))

    def look_up(self, indexes: Value, table: Sequence[float]) -> Value:
        """The number of a table at each index; the indexes are int32 bits, as an input of the network is.

        The only layer of ncnn that reads integers is Embed, which takes those of one axis.
        """
        found = self._embed(indexes, 1, len(table), (RAW_FLOATS, *table))
        return self.view(found, indexes.shape)

    def own_table(self, indexes: Value, width: int, count: int) -> Value:
        """A row of the operator's own weight for each index, where no layer reads the weight yet."""
        self.takes_own_bytes = True
        return self._embed(indexes, width, count, (RAW_FLOATS,))

    def own_weights(self) -> dict[str, Value]:
        """The operator's own weights by name, where no layer reads them yet: raw floats in this order."""
        self.takes_own_bytes = True
        weights = {}
        for word in self.own_attributes:
            found = _ATTRIBUTE.fullmatch(word)
            if found is None:
                raise NotExpressible(f"the weight {word[:40]} is none of floats")
            shape = tuple(int(size) for size in found[2].split(","))
            weights[found[1]] = self._add("MemoryData", (), _sizes(shape), shape, shape)
        return weights

    def _embed(self, indexes: Value, width: int, count: int, weights: tuple[float, ...]) -> Value:
        if indexes.blob is None or prod(indexes.blob[:-1]) != 1:
            indexes = self.as_blob(indexes, (indexes.size,))
        words = (f"0={width}", f"1={count}", "2=0", f"3={count * width}")
        shape = (*indexes.shape, width)
        result = self._add("Embed", (indexes.name,), words, shape, (indexes.size, width))
        self.weights[len(self.layers) - 1] = weights
        return result

    def _owner(self) -> Builder:
        """The whole builder, whose operations a value offers as its operators."""
        return cast("Builder", self)


def _sizes(blob: Shape) -> tuple[str, ...]:
    """The parameters that give a blob's sizes in Reshape and MemoryData: 0 w, 1 h, 11 d, 2 c."""
    keys = {1: ("0",), 2: ("1", "0"), 3: ("2", "1", "0"), 4: ("2", "11", "1", "0")}[len(blob)]
    return tuple(f"{key}={size}" for key, size in sorted(zip(keys, blob, strict=True)))
