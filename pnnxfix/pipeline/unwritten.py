"""Finds layers whose operation pnnx did not write, since ncnn had none when it was released.

pnnx up to 20260409 leaves out the key of `UnaryOp sign_0`, and of `erf_0` from 20250430 on: ncnn reads
operation 0, abs. Up to 20251031 it writes -1 for those of BinaryOp: ncnn gives back the first input, and
refuses the network from 20261020 on. Its log says `UnaryOp sign not supported yet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pnnxfix.graph.graph import Graph
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.expansions import Expansions
from pnnxfix.pipeline.loaded import LoadedConversion

UNWRITTEN = {
    "UnaryOp": (None, frozenset({"sign", "erf"})),
    "BinaryOp": ("-1", frozenset({"fmod", "remainder", "floor_divide", "logaddexp"})),
}
"""The key 0 of what has no operation, and its names, by the kind of layer."""

# pnnx's name for torch.div with rounding_mode="trunc", too.
_UNCERTAIN = "floor_divide"


class Unwritten(NamedTuple):
    """The last layer of an Expression with such layers, its row in pnnx's graph, and all its layers.

    A layer without operation alone and -1 where its Expression, or what that means, is not certain.
    """

    handle: int
    operator: int
    reason: str
    rows: tuple[int, ...]


def find_unwritten(loaded: LoadedConversion) -> Iterator[Unwritten]:
    """All of them. Cost: one pass over the Expressions where there is one."""
    assert loaded.pnnx is not None
    assert loaded.ncnn is not None
    pnnx, ncnn = loaded.pnnx.graph, loaded.ncnn.graph
    names = {at: name for at in ncnn.of_types(UNWRITTEN) if (name := _find_name(ncnn, at))}
    wanted = set(names.values()) - {_UNCERTAIN}
    expansions = Expansions(pnnx, ncnn)
    for handle in pnnx.of_types({EXPRESSION}) if wanted else ():
        operator = pnnx.original(handle)
        text = operator.parameter("expr") or ""
        layers = expansions.find(operator) if any(name in text for name in wanted) else None
        lost = {at: names[at] for at in layers.rows if at in names} if layers else {}
        if layers and lost and _UNCERTAIN not in lost.values():
            reason = "; ".join(_explain(ncnn, at, name) for at, name in lost.items())
            yield Unwritten(layers.rows[-1], handle, reason, layers.rows)
            for at in lost:
                del names[at]
    for at, name in names.items():
        yield Unwritten(at, -1, _explain(ncnn, at, name), (at,))


def _find_name(graph: Graph, handle: int) -> str:
    """The operation that a layer is called by, where it has none; "" where it has one."""
    kind, called = graph.type_and_name(handle)
    name, _, number = called.rpartition("_")
    code, known = UNWRITTEN[kind]
    return (
        name if name in known and number.isdigit() and graph.original(handle).parameter("0") == code else ""
    )


def _explain(graph: Graph, handle: int, name: str) -> str:
    kind, called = graph.type_and_name(handle)
    reason = f"pnnx left the operation of {called} out"
    if kind == "UnaryOp":
        reason += ", and 0 is abs"
    if name == _UNCERTAIN:
        reason += " (torch.div that rounds to zero has that name, too)"
    return reason
