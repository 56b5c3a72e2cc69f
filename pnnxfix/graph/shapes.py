"""Shapes and types of operands, from the `#operand=(shape)type` words of `.pnnx.param`."""

from __future__ import annotations

import re

from pnnxfix.graph.graph import Graph, Operator

_WORD = re.compile(r"#(\d+)=\(([0-9?,]*)\)(\w+)\Z")
_STORED = re.compile(r"@data=\(([0-9?,]*)\)(\w+)\Z")
_FULL_REDUCTIONS = frozenset({"torch.mean", "torch.sum", "torch.max", "torch.min", "torch.prod"})

Annotation = tuple[tuple[int, ...], str]
"""torch's shape, with -1 for an axis of unknown size, and pnnx's name of the type."""


class Annotations:
    """Looks operands up where they are made; cost is the row of each operand asked for."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[str, Annotation | None] = {}

    def find(self, operand: str) -> Annotation | None:
        """Shape and type, None where no row states them (0-dim tensors have none either)."""
        if operand not in self._known:
            self._known[operand] = self._search(operand)
        return self._known[operand]

    def _search(self, operand: str) -> Annotation | None:
        maker = self._graph.maker(operand)
        if maker is None:
            return None
        for word in maker.rest:
            match = _WORD.match(word)
            if match is not None and match[1] == operand:
                return _sizes(match[2]), match[3]
            stored = _STORED.match(word) if maker.type == "pnnx.Attribute" else None
            if stored is not None:
                return _sizes(stored[1]), stored[2]
        return None

    def is_scalar(self, operand: str) -> bool:
        """Whether an operand without annotation is certainly a 0-dim tensor."""
        maker = self._graph.maker(operand)
        return maker is not None and _reduces_all(maker)


def _reduces_all(maker: Operator) -> bool:
    return maker.type in _FULL_REDUCTIONS and len(maker.inputs) == 1 and maker.parameter("dim") is None


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(-1 if size == "?" else int(size) for size in text.split(",") if size)
