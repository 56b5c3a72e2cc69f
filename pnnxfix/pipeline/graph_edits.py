"""Puts the layers of a lowering, and the operators of pnnx, into the graphs in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import drop_unread
from pnnxfix.rules.base import Layer
from pnnxfix.rules.fuse import fuse_clip


def lower_row(
    graph: Graph, handle: int, layers: Sequence[Layer], blob_of: Callable[[str], str], fuse: bool
) -> None:
    """Replace a row by the layers that compute the same; `blob_of` gives an argument's blob.

    The last layer keeps the row's name and outputs. What fed only the old row goes.
    """
    old = graph[handle]
    made: list[Operator] = []
    for at, layer in enumerate(layers):
        is_last = at == len(layers) - 1
        inputs = tuple(
            made[int(name[1:])].outputs[0] if name.startswith("@") else blob_of(name) for name in layer.inputs
        )
        name = old.name if is_last else graph.fresh_name(f"{old.name}_{at}")
        outputs = old.outputs if is_last else (graph.fresh_operand(f"{old.name}_{at}"),)
        made.append(Operator(layer.type, name, inputs, outputs, layer.parameters))
    replace_row(graph, handle, *made)
    if fuse and len(made) == 1:
        fuse_clip(graph, handle)


def replace_row(graph: Graph, handle: int, *operators: Operator) -> None:
    """Replace a row, and remove the constants that fed only the old one."""
    inputs = dict.fromkeys(graph[handle].inputs)
    graph.replace(handle, *operators)
    for operand in inputs:
        drop_unread(graph, operand)
