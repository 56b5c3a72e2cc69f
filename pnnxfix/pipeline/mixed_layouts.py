"""Finds arithmetic whose inputs hold different axes as the members of a batch, which ncnn does not notice.

Since 20261020 a Reshape with 13= cuts a blob into members along an axis, and pnnx lets an Expression read
such a blob together with a whole one: each member then meets all of the other. Its result goes on in
the layout that pnnx has in mind, so the inputs are brought into that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pnnxfix.data import known_layers
from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.blobs import MAX_RANK
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import EXPRESSION, origin
from pnnxfix.pipeline.counterparts import is_broadcast_row
from pnnxfix.pipeline.expansions import Expansion, Expansions
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Layer, Lowering

REASON = "its inputs are cut into members of a batch along different axes, or only one is cut"
_SIZES = ("2", "11", "1", "0")
_SIZE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class MixedLayout:
    """A layer, the operator that it was made from, and what to write for it: None if that is not certain."""

    handle: int
    operator: int
    lowering: Lowering | None


def find_mixed_layouts(loaded: LoadedConversion) -> Iterator[MixedLayout]:
    """All that is certain, in the order of the layers. Cost: one pass over both graphs."""
    assert loaded.pnnx is not None
    assert loaded.ncnn is not None
    pnnx, ncnn = loaded.pnnx.graph, loaded.ncnn.graph
    expansions = Expansions(pnnx, ncnn)
    starts: dict[int, tuple[int, Expansion]] = {}
    for handle in pnnx.of_types({EXPRESSION}):
        expression = pnnx.original(handle)
        if len(expression.inputs) > 1 and expression.outputs:
            expansion = expansions.find(expression)
            if expansion is not None:
                starts[expansion.rows[0]] = handle, expansion
    walk = _Walk(loaded)
    for handle in ncnn:
        if handle in starts:
            yield from walk.enter(*starts[handle])
        walk.count(ncnn.original(handle))


class _Walk:
    """Counts the members of each blob, layer by layer; None where that is not certain."""

    def __init__(self, loaded: LoadedConversion) -> None:
        assert loaded.pnnx is not None
        assert loaded.ncnn is not None
        self._pnnx, self._ncnn = loaded.pnnx.graph, loaded.ncnn.graph
        self._shapes = Annotations(self._pnnx)
        self._batch = loaded.batch
        self._inputs = loaded.script.inputs
        self._known = known_layers()
        self._counts: dict[str, int | None] = {}
        self._mended: dict[str, int] = {}

    def count(self, layer: Operator) -> None:
        if layer.type not in self._known:
            return
        counts = {self._counts.get(name) for name in layer.inputs}
        found = counts.pop() if len(counts) == 1 else None
        if layer.type == "MemoryData":
            found = 1
        elif layer.type == "Input" and layer.outputs:
            given = self._inputs.get(layer.outputs[0])
            sizes = () if given is None else given.shape[given.batch_axis : given.batch_axis + 1]
            found = None if given is None else sizes[0] if sizes else 1
        elif layer.type == "Reshape" and layer.parameter("13") is not None:
            cut = _cut(layer)
            whole = layer.parameter("13") == str(NO_BATCH)
            found = 1 if whole else None if cut is None else cut[0][cut[1]]
        self._counts.update(dict.fromkeys(layer.outputs, found))
        self._counts.update((name, self._mended[name]) for name in layer.outputs if name in self._mended)

    def enter(self, operator: int, expansion: Expansion) -> Iterator[MixedLayout]:
        """What is wrong with the layers of an Expression, whose inputs are all counted."""
        expression = self._pnnx.original(operator)
        counts = [self._counts.get(blob) for blob in expansion.inputs]
        result = self._shape(expression.outputs[0])
        axis = self._batch.axis(expression.outputs[0])
        if None in counts or set(counts) == {1} or not result or axis is None:
            return
        members = 1 if axis == NO_BATCH else result[axis] if axis < len(result) else 0
        words: dict[str, tuple[str, ...] | None] = {}
        for operand, blob, count in zip(expression.inputs, expansion.inputs, counts, strict=True):
            shape = self._shape(operand)
            at = axis - len(result) + len(shape)
            before = self._cut_at(blob, shape)
            if members == 1 and count != 1:
                # In front of the whole a batch of one is left out.
                whole = shape if axis == NO_BATCH else shape[1:] if axis == 0 and shape[:1] == (1,) else ()
                words[origin(self._ncnn, blob)] = reshape_words(whole, before, NO_BATCH)
            elif members > 1 and count == 1 and at >= 0 and shape[at] == members:
                words[origin(self._ncnn, blob)] = reshape_words(shape, NO_BATCH, at)
            elif members > 1 and count != 1 and (count != members or before not in {None, at}):
                words[origin(self._ncnn, blob)] = reshape_words(shape, before, at)
        if not words:
            return
        last = expansion.rows[-1]
        self._mended[self._ncnn.original(last).outputs[0]] = members
        if None in words.values():
            yield MixedLayout(last, operator, None)
            return
        for handle in expansion.rows:
            layer = self._ncnn.original(handle)
            lowering = self._rewrite(layer, words)
            if len(lowering.layers) > 1:
                yield MixedLayout(handle, operator, lowering)

    def _rewrite(self, layer: Operator, words: dict[str, tuple[str, ...] | None]) -> Lowering:
        """The layer with Reshapes before the inputs that need one."""
        layers: list[Layer] = []
        inputs = []
        for blob in layer.inputs:
            parameters = words.get(origin(self._ncnn, blob))
            if parameters is not None:
                layers.append(Layer("Reshape", (blob,), parameters))
                blob = f"@{len(layers) - 1}"
            inputs.append(blob)
        return Lowering.chain([*layers, Layer(layer.type, tuple(inputs), layer.rest)])

    def _cut_at(self, blob: str, shape: tuple[int, ...]) -> int | None:
        """The axis along which a Reshape has just cut up a tensor of that shape; else it is not certain."""
        maker = self._ncnn.maker(origin(self._ncnn, blob))
        cut = None if maker is None or is_broadcast_row(maker) else _cut(maker)
        return cut[1] if cut is not None and cut[0] == shape else None

    def _shape(self, operand: str) -> tuple[int, ...]:
        found = self._shapes.find(operand)
        return () if found is None or not found[0] or min(found[0]) < 1 else found[0]


def _cut(layer: Operator) -> tuple[tuple[int, ...], int] | None:
    """The sizes of torch's shape and the axis along which a Reshape cuts it; None where it does not."""
    texts = [layer.parameter(key) for key in _SIZES]
    sizes = tuple(int(text) for text in texts if text is not None and _SIZE.fullmatch(text))
    axis = layer.parameter("13") or ""
    if layer.type != "Reshape" or layer.parameter("6") or len(layer.inputs) != 1 or not _SIZE.fullmatch(axis):
        return None
    if len(sizes) != sum(text is not None for text in texts) or int(axis) >= len(sizes) or min(sizes) < 1:
        return None
    return sizes, int(axis)


def reshape_words(shape: tuple[int, ...], before: int | None, after: int) -> tuple[str, ...] | None:
    """The parameters of a Reshape to a shape, whose batch axis was `before` and will be `after`."""
    is_inside = after == NO_BATCH or 0 <= after < len(shape)
    if before is None or not is_inside or not 1 <= len(shape) <= MAX_RANK:
        return None
    keys = {1: "0", 2: "10", 3: "210", 4: "2b10"}[len(shape)]
    sizes = {("11" if key == "b" else key): size for key, size in zip(keys, shape, strict=True)}
    return tuple(f"{key}={value}" for key, value in sorted({**sizes, "12": before, "13": after}.items()))
