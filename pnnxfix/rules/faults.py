"""Faults of a graph as such, which hand edits and broken copies leave: counts, blobs, order."""

from __future__ import annotations

from typing import NamedTuple

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import SPLIT
from pnnxfix.rules.base import Rule


class WrongLayerCount(Rule):
    """The first number of line 2 is not the number of rows.

    What it finds: a first count on line 2 that differs from the rows that follow.

    Why it breaks: with a count too small ncnn silently ignores the rest of the file and gives
    the numbers of half a network; with one too large it fails.

    Repair: a count that is too small is set to the number of rows.

    Limits: a count that is too large is only reported: rows may have been lost.

    Example:
        3 5        ->      4 5

    Source: ncnn net.cpp, load_param; tried on wheels 20240102 to 20261020.
    """

    code = "PNX301"
    name = "wrong-layer-count"


class WrongBlobCount(Rule):
    """The second number of line 2 is smaller than the number of blobs.

    What it finds: a second count on line 2 that is smaller than the number of blobs made.

    Why it breaks: ncnn before 20261020 writes past the end of its table of blobs and dies;
    20261020 refuses the file.

    Repair: the count is set to the number of blobs.

    Limits: a count that is too large is left alone; pnnx writes such files, and ncnn accepts them.

    Example:
        4 3        ->      4 4

    Source: ncnn net.cpp, load_param; tried on wheels 20240102 to 20261020.
    """

    code = "PNX302"
    name = "wrong-blob-count"


class DuplicateBlob(Rule):
    """Two layers make a blob of the same name.

    What it finds: an output name that an earlier row has made already.

    Why it breaks: ncnn finds the first one only; the second cannot be reached, and who reads the
    name gets the wrong numbers.

    Repair: none; which of the two a reader means is in nobody's file.

    Limits: none.

    Example:
        ReLU  a  1 1 in0 1
        ReLU  b  1 1 in0 1

    Source: ncnn net.cpp, find_blob_index_by_name.
    """

    code = "PNX303"
    name = "duplicate-blob"
    fixable = "never"


class UnknownBlob(Rule):
    """A layer reads a blob that no layer makes.

    What it finds: an input name that is no row's output.

    Why it breaks: ncnn makes an empty blob of that name and crashes or fails when it is read.

    Repair: none; restore the missing row, or correct the name.

    Limits: none.

    Example:
        ReLU  a  1 1 in7 1

    Source: ncnn net.cpp, load_param.
    """

    code = "PNX304"
    name = "unknown-blob"
    fixable = "never"


class SharedBlob(Rule):
    """Two layers read one blob without a Split between.

    What it finds: a blob of an ncnn graph that more than one layer reads.

    Why it breaks: in light mode, ncnn's default, the first reader releases the blob; the second
    one then crashes the process.

    Repair: a Split after the layer that makes the blob, one copy for each reader.

    Limits: not where the blob is also made twice or read before it is made.

    Example:
        ReLU   a  1 1 in0 1                ReLU   a            1 1 in0 1
                                           Split  splitncnn_0  1 2 1 1_copy 1_copy_1

    Source: ncnn net.cpp, forward_layer in light mode; tried on wheels 20240102 to 20261020.
    """

    code = "PNX305"
    name = "shared-blob"


class LayerOrder(Rule):
    """A layer stands before the one whose blob it reads.

    What it finds: a row that reads a blob made only further down, by itself, or around a cycle.

    Why it breaks: ncnn makes a second, empty blob of that name and crashes or fails when it is read.

    Repair: none; weights follow the order of rows, so rows are not moved.

    Limits: none.

    Example:
        ReLU   a    1 1 in0 1
        Input  in0  0 1 in0

    Source: ncnn net.cpp, load_param.
    """

    code = "PNX306"
    name = "layer-order"
    fixable = "never"


class Fault(NamedTuple):
    """A fault at a word of a row (`row` None: at a word of the line with the counts)."""

    rule: type[Rule]
    row: int | None
    word: int
    message: str
    help: str
    refusal: str | None = None


def find_count_faults(
    graph: Graph, rows: int, layer_count: int, blob_count: int, complete: bool
) -> list[Fault]:
    """Wrong counts. `complete` says that the file ends with a line end. Cost: none."""
    faults = []
    if layer_count < rows:
        message = f"line 2 announces {layer_count} rows and {rows} follow; ncnn ignores the rest"
        faults.append(Fault(WrongLayerCount, None, 0, message, f"`pnnxfix fix` writes {rows}"))
    elif layer_count > rows:
        lost = "the last line is cut off" if not complete else "rows may be missing"
        faults.append(
            Fault(
                WrongLayerCount,
                None,
                0,
                f"line 2 announces {layer_count} rows and only {rows} follow",
                f"restore the file; if you removed rows on purpose, write {rows}",
                lost,
            )
        )
    if blob_count < graph.operand_count:
        message = f"line 2 announces {blob_count} blobs and the rows make {graph.operand_count}"
        refusal = None if layer_count <= rows and not graph.duplicates else "the rows themselves are at fault"
        faults.append(
            Fault(WrongBlobCount, None, 1, message, f"`pnnxfix fix` writes {graph.operand_count}", refusal)
        )
    return faults


def find_row_faults(graph: Graph, one_reader: bool) -> list[Fault]:
    """Faults of rows among each other. `one_reader` is ncnn's rule. Cost: their number."""
    faults = []
    for blob, row in graph.duplicates:
        word = _output_word(graph[row], blob)
        message = f"blob `{blob}` is made a second time; ncnn reaches only the first"
        faults.append(
            Fault(DuplicateBlob, row, word, message, "rename one of the two and its readers", _HAND)
        )
    broken = {blob for blob, _ in graph.duplicates}
    for blob, row in graph.early:
        broken.add(blob)
        word = 4 + graph[row].inputs.index(blob)
        if graph.producer(blob) is None:
            message = f"blob `{blob}` is read here and made by no layer"
            faults.append(
                Fault(UnknownBlob, row, word, message, "restore the missing row, or correct the name", _HAND)
            )
        else:
            message = f"blob `{blob}` is read here and made only further down"
            faults.append(
                Fault(
                    LayerOrder, row, word, message, "move the row that makes it up, with its weights", _HAND
                )
            )
    if one_reader:
        for blob, later in graph.shared.items():
            word = 4 + graph[later[0]].inputs.index(blob)
            message = f"blob `{blob}` is read by {len(later) + 1} layers without a Split"
            refusal = "the blob is at fault itself" if blob in broken else None
            faults.append(
                Fault(SharedBlob, later[0], word, message, "`pnnxfix fix` puts a Split after it", refusal)
            )
    return faults


_HAND = "what was meant is not in the file"


def insert_split(graph: Graph, blob: str) -> None:
    """Give each reader of a blob its own copy, through a Split after the row that makes it."""
    maker = graph.producer(blob)
    assert maker is not None
    copies: list[str] = []
    for handle in dict.fromkeys(graph.users(blob)):
        readers = []
        for reader in graph.edits.get(handle) or [graph[handle]]:
            inputs = []
            for name in reader.inputs:
                if name == blob:
                    name = graph.fresh_operand(f"{blob}_copy_{len(copies)}")
                    copies.append(name)
                inputs.append(name)
            readers.append(reader._replace(inputs=tuple(inputs)))
        graph.replace(handle, *readers)
    made = graph.edits.get(maker) or [graph[maker]]
    split = Operator(SPLIT, graph.fresh_name("splitncnn_fix"), (blob,), tuple(copies))
    graph.replace(maker, *made, split)


def _output_word(operator: Operator, blob: str) -> int:
    return 4 + len(operator.inputs) + operator.outputs.index(blob)
