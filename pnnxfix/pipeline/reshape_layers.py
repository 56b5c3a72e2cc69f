"""Finds the Reshape layers of which pnnx lost sizes, or left some behind those of the result (PNX227)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.blobs import MAX_RANK
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.pipeline.counterparts import is_broadcast_row, may_be_reshape
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Layer, Lowering
from pnnxfix.rules.reshape_sizes import has_wrong_sizes, read_sizes

_REASON = "it has more or fewer sizes than its result has axes"
_KEYS = {1: ("0",), 2: ("1", "0"), 3: ("2", "1", "0"), 4: ("2", "11", "1", "0")}


def find_wrong_reshapes(loaded: LoadedConversion) -> Iterator[tuple[int, int, str, Lowering]]:
    """Layer, operator, reason and what to write, where it is certain which layer an operator became.

    A layer is known by its sizes, if no other operator can have given it these, and as many layers have them
    as operators give them. Cost: one pass over both graphs.
    """
    assert loaded.pnnx is not None
    assert loaded.ncnn is not None
    pnnx, ncnn = loaded.pnnx.graph, loaded.ncnn.graph
    shapes, batch = Annotations(pnnx), loaded.batch
    wrong: defaultdict[tuple[int, ...], list[tuple[int, tuple[int, ...], int]]] = defaultdict(list)
    right: set[tuple[int, ...]] = set()
    left_behind = {ncnn.type_and_name(handle)[1] for handle in ncnn.of_types({"Tensor.reshape"})}
    for handle in pnnx:
        operator = pnnx.original(handle)
        is_whole_row = bool(operator.inputs and operator.outputs)
        if not may_be_reshape(operator) or not is_whole_row or operator.name in left_behind:
            continue
        given, made = (shapes.find(name) for name in (operator.inputs[0], operator.outputs[0]))
        axis = batch.axis(operator.outputs[0])
        if given is None or made is None or not made[0] or axis is None:
            return
        if has_wrong_sizes(operator, given[0], made[0]):
            sizes = tuple(1 if size == -1 else size for size in read_sizes(operator))
            for key in {sizes, _without(sizes, axis)}:
                wrong[key].append((handle, made[0], axis))
        else:
            right |= {made[0], _without(made[0], axis)}
    if not wrong:
        return
    rows: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for handle in ncnn.of_types({"Reshape"}):
        layer = ncnn.original(handle)
        if len(layer.inputs) == 1 and not is_broadcast_row(layer):
            rows[_read_row(layer)].append(handle)
    for key, handles in rows.items():
        if key in right or len(handles) != len(wrong.get(key, ())):
            continue
        for handle, (operator_handle, result, axis) in zip(handles, wrong[key], strict=True):
            layer = ncnn.original(handle)
            is_whole = layer.parameter("13") is not None
            sizes = result if is_whole else _without(result, axis)
            if len(sizes) not in _KEYS:
                continue
            if len(key) - len(sizes) == len(read_sizes(pnnx.original(operator_handle))) - len(result):
                yield handle, operator_handle, _REASON, _rewrite(layer, sizes)


def _without(sizes: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return sizes if axis == NO_BATCH else sizes[:axis] + sizes[axis + 1 :]


def _read_row(layer: Operator) -> tuple[int, ...]:
    """The sizes of a Reshape, outermost first; () where they are no numbers."""
    text = layer.parameter("6")
    words = [layer.parameter(key) for key in _KEYS[MAX_RANK]]
    given = [word for word in words if word is not None]
    if text is not None:
        given = text.strip('"').split(",")[::-1]
    return (
        tuple(int(word) for word in given) if all(re.fullmatch("[0-9]{1,9}", word) for word in given) else ()
    )


def _rewrite(layer: Operator, sizes: tuple[int, ...]) -> Lowering:
    kept = {key: layer.parameter(key) for key in ("12", "13") if layer.parameter(key) is not None}
    words = {**dict(zip(_KEYS[len(sizes)], sizes, strict=True)), **kept}
    parameters = tuple(f"{key}={value}" for key, value in sorted(words.items()))
    return Lowering.chain([Layer("Reshape", layer.inputs, parameters)])
