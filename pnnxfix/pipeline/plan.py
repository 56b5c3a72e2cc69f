"""Decides what becomes of a conversion: each defect found, and each repair that is certain.

Graph edits are made on the graphs in memory, Python edits are only noted as expressions, so
that `check` learns what `fix` would do without libcst and without rendering anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pnnxfix.codecs.number import read_exact, spell_for_python
from pnnxfix.codecs.python_source import LeakedCall, find_values
from pnnxfix.codecs.torchscript import read_calls
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import drop_unread
from pnnxfix.options import Options
from pnnxfix.pipeline.call import LeakCall, TracedConstants
from pnnxfix.pipeline.discovery import TORCHSCRIPT
from pnnxfix.pipeline.leaks import Leak, find_leaks
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.selection import Selection
from pnnxfix.report import Finding, Problem
from pnnxfix.rules.base import Layer, OperatorRule, Refusal, Rule
from pnnxfix.rules.fuse import fuse_clip
from pnnxfix.rules.leaks import BareSpecial, UnknownLayer, UnknownOperator
from pnnxfix.rules.registry import operator_rules


@dataclass(slots=True)
class Plan:
    """The findings of a conversion and the edits that repair those that can be.

    `calls` are statements with their new expression, `values` lines with a new right side,
    `removed` lines of Python that go. `problems` stop every repair of the conversion.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    calls: list[tuple[LeakedCall, str]] = field(default_factory=list)
    values: list[tuple[int, str]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    pnnx_replacements: list[tuple[Operator, Operator]] = field(default_factory=list)


@dataclass(slots=True)
class _Outcome:
    """What was decided for one leak, file by file; None where the file does not have it."""

    python: str | Refusal | None = None
    pnnx: Operator | Refusal | None = None
    ncnn: list[Operator] | Refusal | None = None
    ncnn_text: str = ""


class LeakPlanner:
    """Plans the repair of all leaked operators of one conversion."""

    def __init__(
        self,
        loaded: LoadedConversion,
        options: Options,
        selection: Selection,
        unknown: list[int],
        broken: Refusal | None,
    ) -> None:
        """`broken` is why no row of the graphs may be touched, None where they are sound."""
        self._loaded = loaded
        self._options = options
        self._selection = selection
        self._leaks = find_leaks(loaded, unknown, operator_rules())
        self._broken = broken
        self.plan = Plan()

    def run(self) -> Plan:
        """Decide everything; on a conflict of sources nothing is repaired."""
        calls = self._bind()
        conflicts = []
        for leak, call in calls:
            if leak.doubt:
                continue
            for argument in call.constant_arguments():
                call.scalar(argument)
            if call.conflict is not None:
                conflicts.append((leak, call.conflict))
        for leak, conflict in conflicts:
            path, line, _ = self._places(leak)[0]
            self.plan.problems.append(
                Problem(
                    path,
                    f"{leak.type}: {conflict.reason}",
                    "find out which is right and give it with --value; nothing of this conversion is changed",
                    line,
                )
            )
        outcomes = []
        for leak, call in calls:
            blocked = self._broken
            if conflicts:
                blocked = Refusal("two sources disagree about a value of this conversion", "see the error")
            outcomes.append((leak, self._decide(leak, call, blocked)))
        for leak, outcome in outcomes:
            self._report(leak, outcome)
        planned = {id(leak) for leak, _ in outcomes}
        for leak in self._leaks:
            if id(leak) not in planned:
                self._report_unknown(leak)
        self._plan_python_values()
        return self.plan

    def _bind(self) -> list[tuple[Leak, LeakCall]]:
        """Each leak that a wanted rule repairs, with its arguments."""
        wanted = [leak for leak in self._leaks if leak.rule is not None and self._is_wanted(leak, leak.rule)]
        base = "pnnx" if self._loaded.pnnx else "ncnn" if self._loaded.ncnn else "python"
        order: Counter[str] = Counter()
        positions: dict[int, int] = {}
        for leak in self._leaks:
            if getattr(leak, base) is not None:
                positions[id(leak)] = order[leak.type]
                order[leak.type] += 1
        traced = self._read_traced({leak.type for leak in wanted}, order) if wanted else None
        values = self._options.values
        return [
            (leak, LeakCall(self._loaded, leak, leak.rule, positions.get(id(leak), -1), traced, values))
            for leak in wanted
            if leak.rule is not None
        ]

    def _read_traced(self, names: set[str], order: Counter[str]) -> TracedConstants | None:
        path = self._loaded.files.get(TORCHSCRIPT)
        if path is None:
            return None
        try:
            code = read_calls(path, names)
        except (OSError, PnnxfixError):
            return None  # not every .pt is TorchScript; then it tells nothing
        return TracedConstants(code, str(path), order) if code.certain else None

    def _is_wanted(self, leak: Leak, rule: OperatorRule) -> bool:
        if leak.python is not None and self._loaded.python is not None:
            codes = self._loaded.python.ignored_codes(leak.python.line)
            if codes is not None and self._selection.consume_ignore(leak.python.line, codes, rule.code):
                return False
        return self._selection.wants(rule.code, *(path for path, _, _ in self._places(leak)))

    # deciding

    def _decide(self, leak: Leak, call: LeakCall, blocked: Refusal | None) -> _Outcome:
        rule = leak.rule
        assert rule is not None
        outcome = _Outcome()
        if leak.doubt:
            blocked = Refusal(
                leak.doubt, "the files seem to be of different conversions; convert the model again"
            )
        if leak.ncnn is not None:
            layers = blocked or rule.to_ncnn(call)
            outcome.ncnn = layers if isinstance(layers, Refusal) else self._lower(leak, call, layers)
            if not isinstance(layers, Refusal):
                outcome.ncnn_text = " and ".join(
                    " ".join((layer.type, *layer.parameters)) for layer in layers
                )
        if leak.python is not None:
            outcome.python = blocked or rule.to_python(call, self._options.style)
            if isinstance(outcome.python, str):
                self.plan.calls.append((leak.python, outcome.python))
        if leak.pnnx is not None and "::" in leak.type:
            outcome.pnnx = blocked or rule.to_pnnx(call)
            if isinstance(outcome.ncnn, Refusal):
                # It is what joins the ncnn row to its value; without it that row could never be repaired.
                outcome.pnnx = outcome.ncnn
            elif isinstance(outcome.pnnx, Operator):
                self._replace_pnnx(leak.pnnx, outcome.pnnx)
        return outcome

    def _lower(self, leak: Leak, call: LeakCall, layers: Iterable[Layer]) -> list[Operator]:
        assert self._loaded.ncnn is not None
        assert leak.ncnn is not None
        graph = self._loaded.ncnn.graph
        old = graph[leak.ncnn]
        made: list[Operator] = []
        wanted = list(layers)
        for at, layer in enumerate(wanted):
            is_last = at == len(wanted) - 1
            inputs = tuple(
                made[int(name[1:])].outputs[0] if name.startswith("@") else call.blob(name)
                for name in layer.inputs
            )
            name = old.name if is_last else graph.fresh_name(f"{old.name}_{at}")
            outputs = old.outputs if is_last else (graph.fresh_operand(f"{old.name}_{at}"),)
            made.append(Operator(layer.type, name, inputs, outputs, layer.parameters))
        graph.replace(leak.ncnn, *made)
        for blob in dict.fromkeys(old.inputs):
            drop_unread(graph, blob)
        if self._options.fuse and len(made) == 1:
            fuse_clip(graph, leak.ncnn)
        return made

    def _replace_pnnx(self, handle: int, new: Operator) -> None:
        assert self._loaded.pnnx is not None
        graph: Graph = self._loaded.pnnx.graph
        old = graph[handle]
        graph.replace(handle, new)
        for operand in dict.fromkeys(old.inputs):
            drop_unread(graph, operand)
        self.plan.pnnx_replacements.append((old, new))

    # Python's constants

    def _plan_python_values(self) -> None:
        """Remove constants that lost their last reader, and spell those that Python cannot read."""
        python = self._loaded.python
        if python is None or not python.is_generated:
            return
        if self.plan.calls:
            constants, reads = python.constants, Counter(python.reads)
            lost: dict[str, None] = {}
            for call, expression in self.plan.calls:
                reads.update(find_values(expression))
                for word in call.arguments:
                    reads[word] -= 1
                    if word in constants:
                        lost[word] = None
            self.plan.removed = sorted(constants[word].line for word in lost if reads[word] == 1)
        gone = set(self.plan.removed)
        for name, value in python.bare_specials:
            number = read_exact(value.text)
            if number is None or not self._selection.wants(BareSpecial.code, Path(python.path)):
                continue
            if value.line not in gone:
                self.plan.values.append((value.line, spell_for_python(number.text, number.value)))
            self._add(
                BareSpecial,
                Path(python.path),
                value.line + 1,
                1 + python.lines[value.line].index(value.text),
                f"`{name} = {value.text}` raises NameError: Python has no such name",
                f"`pnnxfix fix` writes {spell_for_python(number.text, number.value)}",
                name,
                None,
            )

    # reporting

    def _places(self, leak: Leak) -> list[tuple[Path, int, int]]:
        """File, line and column of a leak in each file that has it; Python first, then ncnn."""
        found: list[tuple[Path, int, int]] = []
        if leak.python is not None and self._loaded.python is not None:
            found.append((Path(self._loaded.python.path), leak.python.line + 1, leak.python.column))
        if leak.ncnn is not None and self._loaded.ncnn is not None:
            found.append((Path(self._loaded.ncnn.file.path), leak.ncnn + 1, 1))
        if leak.pnnx is not None and self._loaded.pnnx is not None:
            found.append((Path(self._loaded.pnnx.file.path), leak.pnnx + 1, 1))
        return found

    def _report(self, leak: Leak, outcome: _Outcome) -> None:
        rule = leak.rule
        assert rule is not None
        if leak.python is not None and outcome.python is not None and self._loaded.python is not None:
            self._add_outcome(
                rule,
                "python",
                Path(self._loaded.python.path),
                leak.python.line + 1,
                leak.python.column,
                leak,
                outcome.python,
                f"{outcome.python}",
            )
        if leak.ncnn is not None and outcome.ncnn is not None and self._loaded.ncnn is not None:
            self._add_outcome(
                rule,
                "ncnn",
                Path(self._loaded.ncnn.file.path),
                leak.ncnn + 1,
                1,
                leak,
                outcome.ncnn,
                outcome.ncnn_text,
            )
        if leak.pnnx is not None and outcome.pnnx is not None and self._loaded.pnnx is not None:
            new = outcome.pnnx
            text = (
                ""
                if isinstance(new, Refusal)
                else " ".join((new.type, *(w for w in new.rest if w[0] not in "#$")))
            )
            self._add_outcome(
                rule, "pnnx", Path(self._loaded.pnnx.file.path), leak.pnnx + 1, 1, leak, new, text
            )

    def _add_outcome(
        self,
        rule: OperatorRule,
        file: str,
        path: Path,
        line: int,
        column: int,
        leak: Leak,
        outcome: object,
        text: str,
    ) -> None:
        refused = isinstance(outcome, Refusal)
        help_text = outcome.help if isinstance(outcome, Refusal) else f"`pnnxfix fix` writes {text}"
        reason = outcome.reason if isinstance(outcome, Refusal) else None
        assert refused == (reason is not None)
        self._add(type(rule), path, line, column, rule.message(file), help_text, leak.name, reason)

    def _report_unknown(self, leak: Leak) -> None:
        if leak.rule is not None:
            return  # not wanted: deselected, or ignored on its line
        if leak.ncnn is not None and self._loaded.ncnn is not None:
            path = Path(self._loaded.ncnn.file.path)
            if self._selection.wants(UnknownLayer.code, path):
                self._add(
                    UnknownLayer,
                    path,
                    leak.ncnn + 1,
                    1,
                    f"ncnn has no layer `{leak.type}`",
                    "replace the operator in the PyTorch model before it is traced; if your program "
                    "registers this layer, name it under custom-layers",
                    leak.name,
                    "pnnxfix has no rule for this operator",
                )
        if leak.python is not None and self._loaded.python is not None:
            path = Path(self._loaded.python.path)
            codes = self._loaded.python.ignored_codes(leak.python.line)
            if codes is not None and self._selection.consume_ignore(
                leak.python.line, codes, UnknownOperator.code
            ):
                return
            if self._selection.wants(UnknownOperator.code, path):
                self._add(
                    UnknownOperator,
                    path,
                    leak.python.line + 1,
                    leak.python.column,
                    f"`{leak.type}` is no Python",
                    "replace the operator in the PyTorch model before it is traced, or edit this statement",
                    leak.name,
                    "pnnxfix has no rule for this operator",
                )

    def _add(
        self,
        rule: type[Rule],
        path: Path,
        line: int,
        column: int,
        message: str,
        help_text: str,
        operator: str,
        refusal: str | None,
    ) -> None:
        finding = Finding(path, line, column, rule.code, rule.name, message, help_text, operator, refusal)
        self.plan.findings.append(finding)
