"""Inputs of a network that lost their name to an output."""

from __future__ import annotations

from dataclasses import replace

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import is_network_output


def may_be_unfed(param: bytes) -> bool:
    """Whether an input may have the name of an output. Cost: one search."""
    return b" 0 1 out" in param


def find_unfed_inputs(graph: Graph) -> list[tuple[int, str]]:
    """The rows of such inputs, each with the name that its blob should have."""
    found = []
    inputs = [handle for handle in graph if graph.original(handle).type == "Input"]
    for number, handle in enumerate(inputs):
        outputs, name = graph.original(handle).outputs, f"in{number}"
        if len(outputs) == 1 and is_network_output(outputs[0]) and graph.producer(name) is None:
            found.append((handle, name))
    return found


def feed_input(graph: Graph, handle: int, name: str) -> None:
    """Give an input's blob its name, and let a Noop make the output that it was."""
    row = graph.original(handle)
    noop = Operator("Noop", graph.fresh_name("noop_fix"), (name,), row.outputs)
    graph.replace(handle, replace(row, outputs=(name,)), noop)
