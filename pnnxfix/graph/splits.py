"""ncnn's one-reader rule: a blob that several layers read goes through a Split, one output a use."""

from __future__ import annotations

from collections.abc import Collection

from pnnxfix.graph.graph import Graph, Operator

SPLIT = "Split"
EXPRESSION = "pnnx.Expression"

# What can go without a trace when nobody reads it: no bytes in the .bin, no input of the network.
_WEIGHTLESS = frozenset(
    (
        EXPRESSION,
        "prim::ListConstruct",
        "prim::TupleConstruct",
        "BinaryOp",
        "Clip",
        "Concat",
        "Crop",
        "ExpandDims",
        "Flatten",
        "Noop",
        "Permute",
        "Reduction",
        "Reshape",
        "Slice",
        "Softmax",
        "Squeeze",
        "Tensor.reshape",
        "Threshold",
        "Tile",
        "UnaryOp",
    )
)
_LAYOUT_CHANGES = ("_ncnnbatch2dim_", "_ncnnndim2batch_", "_ncnndim2batch_", "_ncnnreshape_")
_LONGEST_CHAIN = 1000


def origin(graph: Graph, blob: str) -> str:
    """The blob that `blob` is a copy of: the one that went into the Splits on the way."""
    for _ in range(_LONGEST_CHAIN):  # a broken file may hold a cycle of Splits
        maker = graph.maker(blob)
        if maker is None or maker.type != SPLIT or not maker.inputs:
            break
        blob = maker.inputs[0]
    return blob


def drop_unread(graph: Graph, blob: str, keep: Collection[str] = ()) -> None:
    """Remove what makes a blob that no layer reads any more, as far as that leaves no trace.

    Layers with bytes in the .bin stay, and what has the name of an output of the network or of a blob to
    `keep`. What a Split makes is only noted: `trim_splits` must follow. Cost: the operators that go.
    """
    pending = [blob]
    while pending:
        blob = pending.pop()
        if graph.is_read(blob) or is_network_output(blob):
            continue
        maker = graph.maker(blob)
        if maker is None or blob in keep:
            continue
        if maker.type == SPLIT:
            graph.unread[blob] = None
        elif (maker.type in _WEIGHTLESS or is_empty(maker)) and not any(
            graph.is_read(name) or is_network_output(name) or name in keep
            for name in maker.outputs
            if name != blob
        ):
            graph.replace_operator(maker)
            pending.extend(maker.inputs)


def trim_splits(graph: Graph, keep: Collection[str] = ()) -> None:
    """Take the noted outputs from their Splits, from each once: thousands may have shared a constant.

    One without outputs goes, with what fed only it; one with a single output goes too, where an
    Expression feeds it, by letting the Expression make that output.
    """
    while graph.unread:
        unread, graph.unread = graph.unread, {}
        for blob in unread:
            split = graph.maker(blob)
            if split is None or split.type != SPLIT or graph.is_read(blob):
                continue
            kept = tuple(name for name in split.outputs if name not in unread or graph.is_read(name))
            if len(kept) == 1 and _bypass(graph, split, kept[0]):
                continue
            if kept:
                graph.replace_operator(split, split._replace(outputs=kept))
                continue
            graph.replace_operator(split)
            for name in split.inputs:
                drop_unread(graph, name, keep)


def is_empty(layer: Operator) -> bool:
    """Whether pnnx wrote this row for a stored tensor without elements; it has no bytes in the .bin."""
    return layer.type == "MemoryData" and layer.rest == ("0=0",)


def is_network_output(blob: str) -> bool:
    """Whether a blob has the name of an output of the network; pnnx calls them out0, out1, ..."""
    return blob.startswith("out") and blob[3:].isdigit()


def _bypass(graph: Graph, split: Operator, kept: str) -> bool:
    source = graph.maker(split.inputs[0])
    if source is None or source.type != EXPRESSION:
        return False
    graph.replace_operator(split)
    graph.replace_operator(source, source._replace(outputs=(kept,)))
    return True


def is_layout_row(layer: Operator) -> bool:
    """Whether pnnx put this row in only to change the layout of a blob, and could not convert it."""
    return layer.type == "Tensor.reshape" and any(mark in layer.name for mark in _LAYOUT_CHANGES)
