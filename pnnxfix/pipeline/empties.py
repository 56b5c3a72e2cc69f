"""Leaves stored tensors without elements out of a Concat, as torch.cat does.

pnnx writes `MemoryData 0=0` for one; ncnn makes a blob of one number of it, and a Concat takes its shape from
the first blob (memorydata.cpp, concat.cpp). A cache of keys and values begins as such a tensor.
"""

from __future__ import annotations

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import is_empty, origin
from pnnxfix.rules.base import Layer, Lowering


def has_empty(graph: Graph, layer: Operator) -> bool:
    """Whether an input of a layer is a stored tensor without elements."""
    return len(_with_elements(graph, layer)) < len(layer.inputs)


def leave_out_empty(graph: Graph, layer: Operator) -> Lowering | None:
    """A Concat of one tensor is that tensor. None for more: pnnx counted the axis by the empty one."""
    kept = _with_elements(graph, layer)
    return Lowering.chain([Layer("Noop", tuple(kept))]) if len(kept) == 1 else None


def _with_elements(graph: Graph, layer: Operator) -> list[str]:
    kept = []
    for blob in layer.inputs:
        maker = graph.maker(origin(graph, blob))
        if maker is None or not is_empty(maker):
            kept.append(blob)
    return kept
