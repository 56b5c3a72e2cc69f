"""Where a network can end before the operators that ncnn has no layers for.

What hangs on such an operator goes with it, up to the outputs. What is read across that border are the
blobs that the network ends with; the rest of the work is the user's program's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pnnxfix.codecs.ncnn_script import OutputBlob, replace_outputs
from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import (
    EXPRESSION,
    SPLIT,
    drop_unread,
    is_layout_row,
    is_network_output,
    origin,
    trim_splits,
)
from pnnxfix.pipeline.batch import Layout
from pnnxfix.pipeline.counterparts import skip_layout_rows
from pnnxfix.pipeline.discovery import NCNN_PY
from pnnxfix.pipeline.expansions import Expansions
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.own_bytes import owns_bytes
from pnnxfix.rules.base import FLOAT_TYPES, Refusal

_ENDS = frozenset({"pnnx.Output", "prim::TupleConstruct", "prim::ListConstruct", "prim::ListUnpack"})
_LONGEST = 60
_CONSTANTS = frozenset({"MemoryData", EXPRESSION})
_HELP = "end the network there in the PyTorch model, and compute the rest in your program"


@dataclass(frozen=True, slots=True)
class CutBlob:
    """A blob that the network ends with: its copies, torch's operand, shape and type, and the batch axis."""

    copies: tuple[str, ...]
    operand: str
    shape: tuple[int, ...]
    dtype: str
    batch_axis: int


@dataclass(frozen=True, slots=True)
class Cut:
    """`rows` of the ncnn graph that go, in its order; `operators` are what they should have computed.

    `outputs` are the network's outputs that go with them.
    """

    rows: tuple[int, ...]
    blobs: tuple[CutBlob, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]

    def describe(self, names: Sequence[str]) -> str:
        """What the user's program has to do; `names` are what the blobs are called in the end."""
        blobs = ", ".join(
            f"`{name}` ({','.join(map(str, blob.shape))}) {blob.dtype}, which is v_{blob.operand}"
            for name, blob in zip(names, self.blobs, strict=True)
        )
        return f"extract {blobs}, and compute in your program: {', '.join(self.operators)}"


def find_cut(loaded: LoadedConversion, stuck: Sequence[int]) -> Cut | Refusal:
    """Where to end the network so that no row of `stuck` is left. Cost: one walk from those rows.

    The graphs of `loaded` must be as they were read.
    """
    return _Finder(loaded, stuck).find()


class _Finder:
    def __init__(self, loaded: LoadedConversion, stuck: Sequence[int]) -> None:
        assert loaded.ncnn is not None
        assert loaded.pnnx is not None
        self._loaded = loaded
        self._ncnn, self._pnnx = loaded.ncnn.graph, loaded.pnnx.graph
        self._shapes = Annotations(self._pnnx)
        self._rows = _reach(self._ncnn, stuck)
        self._gone = frozenset(self._rows)
        self._expansions = Expansions(self._pnnx, self._ncnn)

    def find(self) -> Cut | Refusal:
        for at in self._rows:
            if owns_bytes(self._ncnn[at]):
                return Refusal(f"layers with weights come behind it, as `{self._ncnn[at].name}`", _HELP)
        operators = self._find_operators()
        if isinstance(operators, Refusal):
            return operators
        borders: dict[str, dict[str, None]] = {}
        found: dict[str, CutBlob] = {}
        for at in self._rows:
            for place, blob in enumerate(self._ncnn[at].inputs):
                border = self._find_border(at, blob)
                if border is None:
                    continue
                source = origin(self._ncnn, border)
                borders.setdefault(source, {})[border] = None
                if source in found:
                    continue
                described = self._describe(at, place)
                if isinstance(described, Refusal):
                    return described
                found[source] = described
        if not found:
            return Refusal("nothing is left before it that ncnn could compute", _HELP)
        outputs = tuple(
            name for at in self._rows for name in self._ncnn[at].outputs if is_network_output(name)
        )
        blobs = tuple(
            CutBlob(tuple(copies), one.operand, one.shape, one.dtype, one.batch_axis)
            for one, copies in zip(found.values(), borders.values(), strict=True)
        )
        return Cut(tuple(self._rows), blobs, outputs, tuple(operators))

    def _find_operators(self) -> list[str] | Refusal:
        """The types of the operators that are not computed, each once, in the order of the graph."""
        names = {(row.type, row.name) for row in map(self._ncnn.original, self._rows)}
        starts = [at for at in self._pnnx if (self._pnnx[at].type, self._pnnx[at].name) in names]
        if not starts:
            return Refusal("which operators they are is not certain", "keep model.pnnx.param beside it")
        reached = [self._pnnx[at] for at in _reach(self._pnnx, starts)]
        if any(word.startswith("@") for one in reached for word in one.rest):
            return Refusal("operators with weights come behind it", _HELP)
        return list(dict.fromkeys(_spell(one) for one in reached if one.inputs and one.type not in _ENDS))

    def _find_border(self, at: int, blob: str) -> str | None:
        """The blob of the remaining network that a row reads; None where it reads none of it."""
        names = tuple({self._ncnn[at].name, self._ncnn[at].name.rpartition("_ncnn")[0] or "-"})
        blob = skip_layout_rows(self._ncnn, blob, names)
        source = origin(self._ncnn, blob)
        maker = self._ncnn.producer(source)
        if maker is None or maker in self._gone or self._ncnn[maker].type in _CONSTANTS:
            return None
        return None if self._ncnn[maker].type == "Input" else blob

    def _describe(self, at: int, place: int) -> CutBlob | Refusal:
        """The tensor that a row reads, and how its blob is laid out."""
        operand = self._find_operand(at, place)
        found = None if operand is None else self._shapes.find(operand)
        if operand is None or found is None or not found[0] or min(found[0]) < 1:
            blob = self._ncnn[at].inputs[place]
            return Refusal(f"which tensor the blob `{blob}` is, or its shape, is not certain", _HELP)
        shape, dtype = found
        if dtype not in FLOAT_TYPES and dtype != "bool":
            return Refusal(f"the network would end with integers ({dtype})", _HELP)
        layout = self._loaded.batch.layout(operand, shape)
        axis = self._loaded.batch.axis(operand)
        if isinstance(layout, Layout) and layout.blob is not None and axis is not None:
            if layout.blob == shape:
                return CutBlob((), operand, shape, dtype, NO_BATCH)
            if layout.blob == shape[:axis] + shape[axis + 1 :]:
                return CutBlob((), operand, shape, dtype, axis)
        return Refusal(f"how the blob of v_{operand} is laid out is not certain", _HELP)

    def _find_operand(self, at: int, place: int) -> str | None:
        """The operand of pnnx's graph that a row reads at a place."""
        row = self._ncnn[at]
        if is_layout_row(row):
            users = self._ncnn.users(row.outputs[0])
            if len(users) != 1:
                return None
            return self._find_operand(users[0], self._ncnn[users[0]].inputs.index(row.outputs[0]))
        for handle in self._pnnx.of_types({row.type, EXPRESSION}):
            operator = self._pnnx[handle]
            if (operator.type, operator.name) == (row.type, row.name):
                fits = len(operator.inputs) == len(row.inputs)
                return operator.inputs[place] if fits else None
            if operator.type == EXPRESSION:
                found = self._expansions.find(operator)
                if found is not None and at in found.rows and row.inputs[place] in found.inputs:
                    return operator.inputs[found.inputs.index(row.inputs[place])]
        return None


def _spell(operator: Operator) -> str:
    """An operator's type; an Expression's text, as far as it is short."""
    text = operator.parameter("expr") or ""
    return text[:_LONGEST] if operator.type == EXPRESSION else operator.type


def _reach(graph: Graph, starts: Sequence[int]) -> list[int]:
    """The rows that hang on some rows, and those themselves, in the order of the graph."""
    found, pending = set(starts), list(starts)
    while pending:
        for name in graph[pending.pop()].outputs:
            new = set(graph.users(name)) - found
            found |= new
            pending.extend(new)
    return sorted(found)


def apply_cut(loaded: LoadedConversion, cut: Cut) -> tuple[str, ...] | Refusal:
    """Take the rows out of the ncnn graph, and let `_ncnn.py` give the blobs instead; gives their names."""
    assert loaded.ncnn is not None
    graph = loaded.ncnn.graph
    trim_splits(graph)
    if any(at in graph.edits for at in cut.rows) or any(
        graph.producer(name) is None for blob in cut.blobs for name in blob.copies
    ):
        return Refusal("tensors that ncnn does not hold cross the place where the network would end", _HELP)
    fed = dict.fromkeys(name for at in cut.rows for name in graph[at].inputs)
    for at in reversed(cut.rows):
        graph.replace(at)
    names = tuple(_free(graph, blob.copies) for blob in cut.blobs)
    for name in fed:
        drop_unread(graph, name, names)
    trim_splits(graph, names)
    blobs = [
        OutputBlob(name, f"cut{at}", blob.batch_axis)
        for at, (name, blob) in enumerate(zip(names, cut.blobs, strict=True))
        if not is_network_output(name)
    ]
    if NCNN_PY in loaded.files:
        text = replace_outputs(loaded.script_text, cut.outputs, blobs)
        if text is None:
            return Refusal("model_ncnn.py is not as pnnx writes it", "convert the model again")
        loaded.script_text = text
    return names


def _free(graph: Graph, copies: Sequence[str]) -> str:
    """The one blob to extract of several copies; a Split that only served these goes."""
    for other in copies[1:]:
        drop_unread(graph, other)
    trim_splits(graph)
    blob = copies[0]
    maker = graph.maker(blob)
    while maker is not None and maker.type == SPLIT:
        named = next((name for name in maker.outputs if is_network_output(name)), None)
        if named is not None:
            drop_unread(graph, blob)
            trim_splits(graph)
            return named
        if len(maker.outputs) != 1:
            break
        graph.replace_operator(maker)
        blob = maker.inputs[0]
        maker = graph.maker(blob)
    return blob
