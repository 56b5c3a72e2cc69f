"""ncnn's one-reader rule: a blob that several layers read goes through a Split, one output a use."""

from __future__ import annotations

from pnnxfix.graph.graph import Graph, Operator

SPLIT = "Split"
EXPRESSION = "pnnx.Expression"


def origin(graph: Graph, blob: str) -> str:
    """The blob that `blob` is a copy of: the one that went into the Splits on the way."""
    seen = 0
    while (
        (handle := graph.producer(blob)) is not None and graph[handle].type == SPLIT and graph[handle].inputs
    ):
        blob = graph[handle].inputs[0]
        seen += 1
        if seen > 1000:  # a cycle of Splits in a file that somebody broke
            break
    return blob


def drop_unread(graph: Graph, blob: str) -> None:
    """Remove what makes a blob that no layer reads any more, if it is a Split's copy or an Expression.

    A Split loses that output; one with a single output left goes too, where an Expression feeds
    it, by letting the Expression make that output. Everything else stays: it may be wanted as an
    output, and a MemoryData has bytes in the .bin. Cost: the rows that go.
    """
    pending = [blob]
    while pending:
        blob = pending.pop()
        handle = graph.producer(blob)
        if handle is None or graph.users(blob) or is_network_output(blob):
            continue
        maker = graph[handle]
        if maker.type == SPLIT:
            rest = tuple(name for name in maker.outputs if name != blob)
            if len(rest) == 1 and _bypass(graph, handle, maker, rest[0]):
                continue
            if rest:
                graph.replace(handle, Operator(SPLIT, maker.name, maker.inputs, rest, maker.rest))
                continue
        elif maker.type != EXPRESSION or len(maker.outputs) != 1:
            continue
        graph.replace(handle)
        pending.extend(maker.inputs)


def is_network_output(blob: str) -> bool:
    """Whether a blob has the name of an output of the network; pnnx calls them out0, out1, ..."""
    return blob.startswith("out") and blob[3:].isdigit()


def _bypass(graph: Graph, split: int, maker: Operator, kept: str) -> bool:
    source = graph.producer(maker.inputs[0])
    if source is None or graph[source].type != EXPRESSION:
        return False
    expression = graph[source]
    graph.replace(split)
    graph.replace(source, Operator(EXPRESSION, expression.name, expression.inputs, (kept,), expression.rest))
    return True
