"""What a trial run of a repaired network is fed, and what must come out of it.

A network can load and still be none: a layer that pnnx laid out for another batch axis ends the process, or
gives a blob of another shape. One run on zeros shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pnnxfix.codecs.ncnn_script import NO_BATCH
from pnnxfix.graph.graph import Graph
from pnnxfix.graph.shapes import Annotations
from pnnxfix.pipeline.loaded import LoadedConversion

_MAX_AXES = 4
Sizes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trial:
    """`feeds` are the sizes of each input's blob, outermost first, as `_ncnn.py` feeds it.

    `wanted` are the sizes of each output without those of one, None where the files do not tell them.
    """

    feeds: dict[str, Sizes]
    wanted: dict[str, Sizes | None]


def plan_trial(loaded: LoadedConversion, ends: Mapping[str, Sizes] | None = None) -> Trial | None:
    """The run that `_ncnn.py` makes, on zeros; None where it does not say how, or batches have members.

    `ends` are blobs that the network was made to end with, with their sizes without those of one.
    """
    assert loaded.ncnn is not None
    graph = loaded.ncnn.graph
    feeds: dict[str, Sizes] = {}
    for handle in graph:
        layer = graph[handle]
        if layer.type != "Input":
            continue
        known = loaded.script.inputs.get(layer.outputs[0])
        if known is None:
            return None
        axis = known.batch_axis
        if axis != NO_BATCH and known.shape[axis : axis + 1] != (1,):
            return None
        sizes = known.shape if axis == NO_BATCH else known.shape[:axis] + known.shape[axis + 1 :]
        if not 1 <= len(sizes) <= _MAX_AXES or min(sizes) < 1:
            return None
        feeds[layer.outputs[0]] = sizes
    wanted = dict.fromkeys(loaded.script.outputs) | _find_outputs(loaded)
    if ends:
        wanted = {name: sizes for name, sizes in wanted.items() if graph.maker(name) is not None} | dict(ends)
    is_there = bool(feeds and wanted) and all(graph.maker(name) is not None for name in wanted)
    return Trial(feeds, wanted) if is_there else None


def _find_outputs(loaded: LoadedConversion) -> dict[str, Sizes | None]:
    """`out0`, `out1` and so on, with the shapes that `.pnnx.param` gives them."""
    if loaded.pnnx is None:
        return {}
    graph = loaded.pnnx.graph
    shapes = Annotations(graph)
    found: dict[str, Sizes | None] = {}
    for handle in graph:
        operator = graph.original(handle)
        if operator.type != "pnnx.Output":
            continue
        for operand in _take_apart(graph, operator.inputs[0]) if operator.inputs else ():
            known = shapes.find(operand)
            is_known = known is not None and min(known[0], default=1) > 0
            found[f"out{len(found)}"] = (
                tuple(size for size in known[0] if size != 1) if known is not None and is_known else None
            )
    return found


def _take_apart(graph: Graph, operand: str) -> tuple[str, ...]:
    maker = graph.maker(operand)
    return maker.inputs if maker is not None and maker.type == "prim::TupleConstruct" else (operand,)
