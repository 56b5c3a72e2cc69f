"""What is wrong with a conversion: everything that `check` tells, and the plan that `fix` follows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pnnxfix.codecs.python_source import PythonFile
from pnnxfix.codecs.python_syntax import hide_leaks, is_broken_statement, syntax_error
from pnnxfix.data import known_layers
from pnnxfix.graph.splits import EXPRESSION, origin
from pnnxfix.options import Options
from pnnxfix.pipeline.discovery import NCNN_PARAM, PNNX_PARAM, TORCHSCRIPT
from pnnxfix.pipeline.doubles import may_store_doubles
from pnnxfix.pipeline.findings import Place, make_finding
from pnnxfix.pipeline.loaded import LoadedConversion, ParamGraph
from pnnxfix.pipeline.selection import Selection
from pnnxfix.pipeline.suspects import (
    may_be_unfed,
    may_be_wide,
    may_compute_integers,
    may_contradict,
    may_drop,
)
from pnnxfix.report import Finding
from pnnxfix.rules.triggers import find_triggered

if TYPE_CHECKING:
    from pnnxfix.pipeline.plan import Plan
    from pnnxfix.pipeline.statements import LineEdit
    from pnnxfix.rules.base import Refusal, Rule
    from pnnxfix.rules.faults import Fault

_MOST_BROKEN_STATEMENTS = 100


@dataclass(slots=True)
class Analysis:
    """All findings of a conversion. `plan` is None where no operator leaked; `faults` are those of
    each graph, `ncnn` or `pnnx`, that `fix` mends. `statements` are the lines of Python that change
    for another reason than a leak. `stuck` are the layers that ncnn does not have and that stay, `ends`
    the blobs that the network is made to end with, with their sizes without those of one.
    """

    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    plan: Plan | None = None
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    statements: dict[int, LineEdit] = field(default_factory=dict)
    stuck: list[int] = field(default_factory=list)
    ends: dict[str, tuple[int, ...]] = field(default_factory=dict)


def analyse(
    loaded: LoadedConversion,
    options: Options,
    doubt: Refusal | None = None,
    without: frozenset[int] = frozenset(),
) -> Analysis:
    """Find what is wrong and plan its repair. Reads, never writes; runs no code of the files.

    `doubt` is why no operator may become ncnn's layers, None where nothing is known against it; `without`
    are rows of the ncnn graph that will not be there.
    """
    result = Analysis()
    selection = Selection(options)
    broken = _find_faults(loaded, selection, result)
    ncnn = loaded.ncnn
    unknown: list[int] = []
    if ncnn is not None:
        known = frozenset(known_layers()) | options.custom_layers
        unknown = [at for at in ncnn.graph.of_types(ncnn.graph.types - known) if at not in without]
    python = _own_python(loaded, result)
    if unknown or (python is not None and _may_repair(python)) or _may_leak(loaded) or _may_lie(loaded):
        from pnnxfix.pipeline.plan import LeakPlanner

        strange = [name for name in options.values if not _is_constant(loaded, name)]
        result.notes.extend(f"--value {name}: no constant has that name" for name in strange)
        result.plan = LeakPlanner(loaded, options, selection, unknown, broken, doubt, without).run()
        result.findings.extend(result.plan.findings)
        if ncnn is not None and broken is None and not result.plan.problems:
            result.stuck = [
                at for at in unknown if not ncnn.graph.is_removed(at) and ncnn.graph[at].type not in known
            ]
    _report_attendants(ncnn, unknown, selection, result)
    if python is not None:
        _plan_statements(loaded, python, selection, result)
        _report_broken_statements(python, selection, result)
        _report_unused_comments(python, selection, result)
    result.findings.sort(key=lambda finding: finding.position)
    return result


def _is_constant(loaded: LoadedConversion, name: str) -> bool:
    """Whether `--value` may use the name: that of a row, a blob or a variable that holds a constant."""
    if loaded.python is not None and name in loaded.python.constants:
        return True
    for param in filter(None, (loaded.ncnn, loaded.pnnx)):
        graph = param.graph
        maker = graph.maker(origin(graph, name.removeprefix("v_")))
        if maker is not None and maker.type == EXPRESSION:
            return True
        if any(graph.original(at).name == name for at in graph.of_types({EXPRESSION})):
            return True
    return False


def _may_repair(python: PythonFile) -> bool:
    return bool(python.leaks or python.bare_specials or python.bare_words)


def _plan_statements(
    loaded: LoadedConversion, python: PythonFile, selection: Selection, result: Analysis
) -> None:
    """Plan for the statements that are wrong without a leak. Cost on a clean file: a few searches."""
    rows = loaded.original.get(PNNX_PARAM, b"")
    codes = find_triggered(python.text, python.inputs, rows, TORCHSCRIPT in loaded.files)
    if not codes and not python.has_doubtful_names:
        return
    from pnnxfix.pipeline.statements import StatementPlanner

    planner = StatementPlanner(loaded, python, selection, _repaired_lines(result))
    planned = planner.run(codes, python.has_doubtful_names)
    result.statements = planned.edits
    result.findings.extend(planned.findings)


def _repaired_lines(result: Analysis) -> set[int]:
    """The lines of Python that a repair changes or removes."""
    plan = result.plan
    lines = set(result.statements)
    if plan is not None:
        lines |= {*plan.removed, *(at for at, _ in plan.values), *(call.line for call, _ in plan.calls)}
    return lines


def _may_leak(loaded: LoadedConversion) -> bool:
    """Whether an operator of `.pnnx.param` is one of ATen's, as it leaks. Cost: one search."""
    return b"aten::" in loaded.original.get(PNNX_PARAM, b"")


def _may_lie(loaded: LoadedConversion) -> bool:
    """Whether a layer contradicts its operator, or an input may be no input. Cost: a few searches, mostly."""
    if loaded.ncnn is None:
        return False
    param = loaded.original.get(NCNN_PARAM, b"")
    pnnx = loaded.original.get(PNNX_PARAM, b"")
    if may_be_unfed(param) or (loaded.pnnx is not None and may_be_wide(pnnx)):
        return True
    if loaded.pnnx is None or not (
        may_contradict(loaded.ncnn, param)
        or may_store_doubles(loaded.pnnx)
        or may_compute_integers(loaded.pnnx)
        or (TORCHSCRIPT in loaded.files and may_drop(loaded.ncnn))
    ):
        return False
    from pnnxfix.pipeline.contradictions import find_contradictions

    return bool(find_contradictions(loaded))


def _own_python(loaded: LoadedConversion, result: Analysis) -> PythonFile | None:
    python = loaded.python
    if python is not None and not python.is_generated:
        result.notes.append(f"{python.path} is not code that pnnx wrote; it is left alone")
        loaded.python = None
    return loaded.python


def _find_faults(loaded: LoadedConversion, selection: Selection, result: Analysis) -> Refusal | None:
    """Report the graphs' own faults; the refusal that they mean for every repair of rows."""
    refused = None
    for role, param in (("ncnn", loaded.ncnn), ("pnnx", loaded.pnnx)):
        if param is None:
            continue
        graph, file = param.graph, param.file
        rows = graph.row_count
        sound = rows == file.layer_count and graph.operand_count <= file.blob_count
        if sound and not graph.duplicates and not graph.early and not (role == "ncnn" and graph.shared):
            continue
        from pnnxfix.rules.base import Refusal
        from pnnxfix.rules.faults import WrongLayerCount, find_count_faults, find_row_faults

        complete = not file.lines[-1].strip()
        faults = find_count_faults(graph, rows, file.layer_count, file.blob_count, complete)
        faults += find_row_faults(graph, one_reader=role == "ncnn")
        lost = next((f.refusal for f in faults if f.rule is WrongLayerCount and f.refusal), None)
        if lost is None and any(fault.refusal for fault in faults):
            lost = "another fault of this graph is not repaired"
        if lost is not None:  # what is there may make sense only with what is not
            first = "mend the other faults first"
            faults = [f if f.refusal else f._replace(refusal=lost, help=first) for f in faults]
        wanted = [fault for fault in faults if selection.wants(fault.rule.code, Path(file.path))]
        for fault in wanted:
            line = file.first_row - 1 if fault.row is None else fault.row
            result.findings.append(
                make_finding(
                    fault.rule,
                    Place(Path(file.path), line + 1, file.column(line, fault.word)),
                    fault.message,
                    fault.help,
                    "" if fault.row is None else graph[fault.row].name,
                    fault.refusal,
                )
            )
        result.faults[role] = [fault for fault in wanted if fault.refusal is None]
        if any(fault.refusal for fault in faults) and refused is None:
            refused = Refusal(
                f"{file.path} is broken in itself", "mend what is reported of its rows and counts first"
            )
    return refused


def _report_attendants(
    ncnn: ParamGraph | None, unknown: list[int], selection: Selection, result: Analysis
) -> None:
    """Report rows that are there only for another one: constants, lists, and changes of layout."""
    if ncnn is None or not unknown:
        return
    from pnnxfix.pipeline.leaks import LISTS, is_attendant

    graph = ncnn.graph
    rows = [(at, layer) for at in unknown if is_attendant(layer := graph.original(at))]
    if not rows:
        return
    from pnnxfix.rules.leaks import LeakedExpression, LeakedLayoutChange, LeakedList

    path = Path(ncnn.file.path)
    for handle, layer in rows:
        removed = graph.is_removed(handle)
        # An Expression that computes is a leak of its own; lowered, it has other layers in its place.
        if not removed and graph[handle].type != layer.type:
            continue
        rule: type[Rule] = LeakedExpression if layer.type == EXPRESSION else LeakedLayoutChange
        rule = LeakedList if layer.type in LISTS else rule
        if not selection.wants(rule.code, path):
            continue
        relation = "makes or reads it" if layer.type in LISTS else "reads it"
        help_text = f"`pnnxfix fix` removes it with the operator that {relation}"
        if not removed:
            help_text = (
                f"repair the operator that {relation}, or replace that in the PyTorch model; "
                "this row then goes"
            )
        refusal = None if removed else f"an operator that stays {relation}"
        message, place = f"ncnn has no layer `{layer.type}`", Place(path, handle + 1)
        result.findings.append(make_finding(rule, place, message, help_text, layer.name, refusal))


def _report_broken_statements(python: PythonFile, selection: Selection, result: Analysis) -> None:
    """Report what is no Python besides leaked calls. Cost: compiling the file once."""
    path = Path(python.path)
    if not selection.wants("PNX902", path):
        return
    data = hide_leaks(python.data) if python.leaks else python.data
    error = syntax_error(data, python.path)
    if error is None:
        return
    from pnnxfix.rules.leaks import BrokenStatement

    first, last = python.forward
    inside = python.text[: python.text.find("def forward(")].count("\n")
    repaired = _repaired_lines(result)
    lines = [
        at
        for at in (*range(inside), *range(first, last))
        if at not in repaired and is_broken_statement(hide_leaks(python.lines[at].encode()).decode())
    ]
    at_error = max((error.lineno or 1) - 1, 0)
    if not lines and not repaired:
        lines = [at_error]
    for line in lines[:_MOST_BROKEN_STATEMENTS]:
        text = python.lines[line] if line < len(python.lines) else ""
        result.findings.append(
            make_finding(
                BrokenStatement,
                Place(path, line + 1, len(text) - len(text.lstrip()) + 1),
                f"this statement is no Python: `{text.strip()[:60]}`",
                "rename the module in the PyTorch model, or edit the line",
                refusal="pnnxfix has no rule for it",
            )
        )


def _report_unused_comments(python: PythonFile, selection: Selection, result: Analysis) -> None:
    for line in python.ignore_comments():
        if line in selection.used_comments or not selection.wants("PNX001", Path(python.path)):
            continue
        from pnnxfix.rules.leaks import UnusedIgnore

        result.findings.append(
            make_finding(
                UnusedIgnore,
                Place(Path(python.path), line + 1, python.lines[line].index("#") + 1),
                "this comment ignores nothing",
                "remove it",
                refusal="a comment is yours to remove",
            )
        )
