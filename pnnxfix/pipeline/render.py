"""Turns a plan into the new bytes of each file, and checks them before anything is written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnnxfix.codecs.param import Row
from pnnxfix.codecs.python_source import PythonFile
from pnnxfix.codecs.python_syntax import hide_leaks, syntax_error
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Graph
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.analyse import Analysis
from pnnxfix.pipeline.discovery import NCNN_PARAM, NCNN_PY, PNNX_PARAM, PNNX_PY
from pnnxfix.pipeline.graph_edits import NewNumbers
from pnnxfix.pipeline.loaded import LoadedConversion, ParamGraph
from pnnxfix.report import Change

if TYPE_CHECKING:
    from pnnxfix.rules.faults import Fault


class CheckFailed(PnnxfixError):
    """A repaired file did not pass its own check; nothing has been written."""


def render(loaded: LoadedConversion, analysis: Analysis) -> tuple[list[Change], list[str]]:
    """The changed files of a conversion, and notes about those that did not follow.

    Raises CheckFailed where a result is not what it must be. Cost: the edits, and one join of
    the lines of each changed file.
    """
    changes: list[Change] = []
    notes: list[str] = []
    for role, key, param in ((NCNN_PARAM, "ncnn", loaded.ncnn), (PNNX_PARAM, "pnnx", loaded.pnnx)):
        if param is not None:
            pieces = _render_param(param, analysis, key)
            if pieces is not None:
                changes.append(Change(loaded.files[role], loaded.original[role], pieces))
                if key == "ncnn" and NCNN_PY in loaded.files:
                    _follow_script(loaded, changes, notes)
    if analysis.plan is not None and (analysis.plan.numbers.head or analysis.plan.numbers.placed):
        changes.append(_insert_weights(loaded, analysis.plan.numbers))
    if loaded.python is not None:
        after = _render_python(loaded.python, analysis)
        if after is not None:
            changes.append(Change(loaded.files[PNNX_PY], loaded.original[PNNX_PY], [after]))
    if analysis.plan is not None and analysis.plan.pnnx_replacements:
        _follow_onnx(loaded, analysis, changes, notes)
    return changes, notes


# graphs


def _render_param(param: ParamGraph, analysis: Analysis, key: str) -> list[bytes | memoryview] | None:
    graph, file = param.graph, param.file
    faults = analysis.faults.get(key, [])
    exact_rows, exact_blobs = _mend(graph, faults) if faults else (False, False)
    if not graph.edits and not graph.prologue and not exact_rows and not exact_blobs:
        return None
    edits = {handle: [op.to_row() for op in ops] for handle, ops in graph.edits.items()}
    counts = _new_counts(param, exact_rows, exact_blobs)
    _check_graph(param, edits, one_reader=key == "ncnn")
    if graph.prologue:
        head = next(at for at, _ in file.rows())
        edits[head] = [*(op.to_row() for op in graph.prologue), *edits.get(head, [file.row(head)])]
    return file.pieces(edits, counts)


def _mend(graph: Graph, faults: Sequence[Fault]) -> tuple[bool, bool]:
    """Give each reader a blob of its own; whether the counts of rows and of blobs are to be exact."""
    from pnnxfix.rules.faults import SharedBlob, WrongBlobCount, WrongLayerCount, insert_split

    for fault in faults:
        if fault.rule is SharedBlob and fault.row is not None:
            blob = graph[fault.row].inputs[fault.word - 4] if not graph.is_removed(fault.row) else ""
            if len(graph.users(blob)) > 1:
                insert_split(graph, blob)
    mended = {fault.rule for fault in faults}
    return WrongLayerCount in mended, WrongBlobCount in mended


def _new_counts(param: ParamGraph, exact_rows: bool, exact_blobs: bool) -> tuple[int, int]:
    file, graph = param.file, param.graph
    rows, blobs = len(graph.prologue), sum(len(op.outputs) for op in graph.prologue)
    for handle, new in graph.edits.items():
        rows += len(new) - 1
        blobs += sum([len(op.outputs) for op in new]) - len(graph.original(handle).outputs)
    return (
        graph.row_count + rows if exact_rows else file.layer_count + rows,
        graph.operand_count if exact_blobs else file.blob_count + blobs,
    )


def _check_graph(param: ParamGraph, edits: dict[int, list[Row]], one_reader: bool) -> None:
    """What the edits must have kept. Cost: the edited rows and their operands."""
    graph, path = param.graph, param.file.path
    for handle, operators in graph.edits.items():
        made: set[str] = set()
        for operator, row in zip(operators, edits[handle], strict=True):
            for name in operator.inputs:
                source = graph.producer(name)
                if source is None or source > handle or (source == handle and name not in made):
                    raise CheckFailed(
                        f"{path}: the repaired row {operator.name} would read {name} before it is made"
                    )
                if one_reader and len(graph.users(name)) != 1:
                    raise CheckFailed(f"{path}: blob {name} would have {len(graph.users(name))} readers")
            for name in operator.outputs:
                if graph.producer(name) != handle or name in made:
                    raise CheckFailed(f"{path}: blob {name} would be made twice")
                made.add(name)
            if " ".join(row).split() != row:
                raise CheckFailed(f"{path}: the repaired row {operator.name} would not read back")
        for name in graph.original(handle).outputs:
            if graph.producer(name) is None and graph.is_read(name):
                raise CheckFailed(f"{path}: {name} would lose the row that makes it")


def _insert_weights(loaded: LoadedConversion, numbers: NewNumbers) -> Change:
    """The bytes that new layers read, in the order of the layers.

    The MemoryData layers at the head of the graph come first in the .bin, as raw float32 without a
    tag, so that nothing of what is there need be understood. Source: ncnn memorydata.cpp, load type 1.
    """
    path = loaded.bin_path
    assert loaded.ncnn is not None
    assert loaded.pnnx is not None
    if path is None:
        raise CheckFailed(
            f"{loaded.conversion.stem}: constants need a place in the .ncnn.bin, which is not there"
        )
    from pnnxfix.pipeline.own_bytes import find_position

    loaded.stamp_bin()
    inserted = [(0, b"".join(map(_pack, numbers.head)))]
    graph = loaded.ncnn.graph
    order = {name: at for ops in graph.edits.values() for at, op in enumerate(ops) for name in op.outputs}
    for one in sorted(numbers.placed, key=lambda one: (one.row, order[one.blob])):
        position = find_position(graph, loaded.pnnx.graph, one.row)
        if position is None:
            raise CheckFailed(f"{loaded.conversion.stem}: where {one.blob} reads its table is not certain")
        inserted.append((position, _pack(one.numbers)))
    return Change(path, b"", [], tuple(one for one in inserted if one[1]))


def _pack(numbers: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}f", *numbers)


def _follow_script(loaded: LoadedConversion, changes: list[Change], notes: list[str]) -> None:
    """Add `_ncnn.py` where a repair changed it, else say why it need not change."""
    path = loaded.files[NCNN_PY]
    after = loaded.script_text.encode("utf-8", "surrogateescape")
    if after != loaded.original.get(NCNN_PY, after):
        changes.append(Change(path, loaded.original[NCNN_PY], [after]))
        return
    notes.append(f"{path.name} need not change: the network's inputs, outputs and batch axes are the same")


# Python


def _render_python(python: PythonFile, analysis: Analysis) -> bytes | None:
    plan = analysis.plan
    if plan is not None:
        for call, expression in plan.calls:
            python.replace_call(call, expression)
        for line, expression in plan.values:
            python.replace_value(line, expression)
        for line in plan.removed:
            python.remove(line)
    for line, edit in analysis.statements.items():
        python.replace_line(line, edit.text, edit.expression)
    if not python.edits:
        return None
    after = python.dump()
    error = syntax_error(hide_leaks(after), python.path)
    if error is not None and syntax_error(hide_leaks(python.data), python.path) is None:
        raise CheckFailed(f"{python.path}: the repaired Python would not parse ({error.msg})")
    return after


# the ONNX container


def _follow_onnx(
    loaded: LoadedConversion, analysis: Analysis, changes: list[Change], notes: list[str]
) -> None:
    path = loaded.onnx_path
    if path is None or loaded.pnnx is None or analysis.plan is None:
        return
    from pnnxfix.codecs.onnx_graph import is_available, replace_nodes

    if not is_available():
        notes.append(f"{path} still shows the old graph; `pip install onnx` and pnnxfix repairs it too")
        return
    graph = loaded.pnnx.graph
    gone = [graph.original(handle) for handle, operators in graph.edits.items() if not operators]
    removed = [operator.name for operator in gone if operator.type == EXPRESSION]
    before = loaded.read_onnx()
    if before is None:
        return
    try:
        after = replace_nodes(before, str(path), analysis.plan.pnnx_replacements, removed)
    except PnnxfixError as error:
        notes.append(f"{path} was left alone: {error}")
        return
    changes.append(Change(Path(path), before, [after]))
