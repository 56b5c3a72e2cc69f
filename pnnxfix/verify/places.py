"""Where an operator stands in the files of its conversion."""

from __future__ import annotations

from pathlib import Path

from pnnxfix.graph.graph import Operator
from pnnxfix.pipeline.discovery import NCNN_PY, PNNX_PY
from pnnxfix.verify.neighbourhood import Comparison, look_around
from pnnxfix.verify.outcome import Divergence, Place
from pnnxfix.verify.signature import Record
from pnnxfix.verify.subject import Param, Subject


def find_places(
    subject: Subject, right: Record | None, layer: Operator | None, left: Record | None
) -> tuple[Place, ...]:
    """The line in `_pnnx.py`, the rows of `.pnnx.param` and `.ncnn.param`, as far as they are known."""
    places = []
    statement = next((r for r in (left, right) if r is not None and "line" in r.facts), None)
    operand = str(statement.facts["target"]).removeprefix("v_") if statement is not None else None
    row = _find_row(subject.pnnx, operand, left)
    if statement is not None and PNNX_PY in subject.files:
        places.append(_read_place(subject, PNNX_PY, statement.facts["line"]))
    elif row is not None:
        place = _find_assignment(subject, row.outputs[0])
        places.extend([place] if place else [])
    if row is not None and subject.pnnx is not None:
        places.append(_place_row(subject.pnnx, row))
    if layer is not None and subject.ncnn is not None:
        places.append(_place_row(subject.ncnn, layer))
    return tuple(places)


def find_script_line(subject: Subject, blob: str, is_input: bool) -> Place | None:
    """Where `_ncnn.py` feeds or reads a blob."""
    mark = f'ex.input("{blob}"' if is_input else "out.append("
    for number, line in enumerate(_lines(subject, NCNN_PY), 1):
        if mark in line and (is_input or f"({blob}" in line):
            return Place(subject.files[NCNN_PY], number, line.strip())
    return None


def draw_places(subject: Subject, found: Divergence) -> Comparison:
    """The neighbourhood of a divergence: as pnnx took it from PyTorch, and as ncnn has it."""
    views = []
    for param, title in ((subject.pnnx, "from PyTorch"), (subject.ncnn, "in ncnn")):
        rows = [place.line - 1 for place in found.places if param is not None and place.path == param.path]
        if param is not None and rows:
            views.append(look_around(param.graph, rows, f"{param.path.name}, {title}"))
    return Comparison(f"Around {found.operator}", tuple(views))


def find_operator(subject: Subject, left: Record | None) -> Operator | None:
    """The row of `.pnnx.param` of a value that PyTorch made."""
    operand = None
    if left is not None and "line" in left.facts:
        operand = str(left.facts["target"]).removeprefix("v_")
    return _find_row(subject.pnnx, operand, left)


def _find_row(param: Param | None, operand: str | None, left: Record | None) -> Operator | None:
    if param is None:
        return None
    if operand is not None:
        handle = param.graph.producer(operand)
        return None if handle is None else param.graph.original(handle)
    # TorchScript names the module that an operator belongs to; pnnx keeps that as the operator's name.
    scope = str(left.facts.get("scope", "")).rpartition("/")[2] if left is not None else ""
    module = scope.removeprefix("__module.")
    rows = (param.graph.original(handle) for handle in param.graph)
    return next((row for row in rows if row.name == module and row.outputs), None) if module else None


def _place_row(param: Param, row: Operator) -> Place:
    handle = next(h for h in param.graph if param.graph.original(h) is row or param.graph.original(h) == row)
    return Place(param.path, handle + 1, " ".join(param.lines[handle].split()))


def _read_place(subject: Subject, role: str, line: int) -> Place:
    lines = _lines(subject, role)
    text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
    return Place(subject.files[role], line, text)


def _find_assignment(subject: Subject, operand: str) -> Place | None:
    for number, line in enumerate(_lines(subject, PNNX_PY), 1):
        if line.strip().startswith(f"v_{operand} = "):
            return Place(subject.files[PNNX_PY], number, line.strip())
    return None


def _lines(subject: Subject, role: str) -> list[str]:
    path: Path | None = subject.path(role)
    try:
        return path.read_text("utf-8", "replace").split("\n") if path is not None else []
    except OSError:
        return []
