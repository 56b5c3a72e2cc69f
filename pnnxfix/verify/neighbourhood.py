"""The part of a graph around some of its operators, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pnnxfix.graph.graph import Graph

LARGEST = 28
"""Operators of one drawing; more are no neighbourhood."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: its two lines of text, and whether it is one of those that the drawing is about."""

    key: int
    title: str
    detail: str
    marked: bool


@dataclass(frozen=True, slots=True)
class View:
    """A drawing's content. `edges` are (from, to, operand)."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int, str], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two views of one place: before and after a repair, or PyTorch's graph and ncnn's."""

    title: str
    views: tuple[View, ...]


def look_around(graph: Graph, marked: Iterable[int], title: str, radius: int = 2) -> View:
    """The operators within `radius` edges of those at the `marked` rows, in the order of the file."""
    centre = set(marked)
    found: dict[int, None] = dict.fromkeys(sorted(centre)[:LARGEST])
    border = list(found)
    for _ in range(radius):
        nearby: list[int] = []
        for handle in border:
            operator = graph.original(handle)
            above = [graph.producer(name) for name in operator.inputs]
            below = [user for name in operator.outputs for user in graph.users(name)]
            nearby += [one for one in (*above, *below) if one is not None and one not in found]
        border = list(dict.fromkeys(nearby))[: max(LARGEST - len(found), 0)]
        found.update(dict.fromkeys(border))
    nodes, edges = [], []
    for handle in sorted(found):
        operator = graph.original(handle)
        detail = " ".join(word for word in operator.rest if word[:1] not in "#$@")
        nodes.append(Node(handle, f"{operator.type} {operator.name}", detail, handle in centre))
        for name in operator.inputs:
            source = graph.producer(name)
            if source in found and source is not None:
                edges.append((source, handle, name))
    return View(title, tuple(nodes), tuple(edges))
