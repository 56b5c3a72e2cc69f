"""Decides what becomes of a conversion: each leaked operator, and each repair that is certain.

Graph edits are made on the graphs in memory, Python edits are only noted as expressions, so
that `check` learns what `fix` would do without libcst and without rendering anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pnnxfix.codecs.number import Number
from pnnxfix.codecs.python_source import LeakedCall
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.splits import trim_splits
from pnnxfix.options import Options
from pnnxfix.pipeline.bare_values import plan_bare_values
from pnnxfix.pipeline.call import LeakCall, TracedConstants
from pnnxfix.pipeline.contradictions import Contradiction, find_contradictions, mark_mended
from pnnxfix.pipeline.discovery import NCNN_PARAM, TORCHSCRIPT
from pnnxfix.pipeline.findings import Place, find_places, make_finding
from pnnxfix.pipeline.graph_edits import NewNumbers, lower_row, lower_rows, replace_row
from pnnxfix.pipeline.leaks import Leak, find_leaks
from pnnxfix.pipeline.loaded import LoadedConversion, has_wide_tensors
from pnnxfix.pipeline.selection import Selection
from pnnxfix.pipeline.unfed import feed_inputs
from pnnxfix.report import Finding, Problem
from pnnxfix.rules.base import Layer, OperatorRule, Refusal, Rule
from pnnxfix.rules.leaks import LeakedOperator, UnknownLayer, UnknownOperator
from pnnxfix.rules.registry import operator_rules
from pnnxfix.rules.wrong import WrongLayer

if TYPE_CHECKING:
    from pnnxfix.pipeline.region_plan import RegionPlanner

_LONGEST_SHOWN = 300
_MOST_LAYERS_SHOWN = 3
_CONFLICT = Refusal("two sources disagree about a value of this conversion", "see the error")


@dataclass(slots=True)
class Plan:
    """The findings of a conversion and the edits that repair those that can be.

    `calls` are statements with their new expression, `values` lines with a new right side,
    `removed` lines of Python that go, `numbers` what the `.ncnn.bin` needs for new layers.
    `is_lowered`: layers of several operators were written into the ncnn graph.
    `problems` stop every repair of the conversion.
    """

    findings: list[Finding] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    calls: list[tuple[LeakedCall, str]] = field(default_factory=list)
    values: list[tuple[int, str]] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    numbers: NewNumbers = field(default_factory=NewNumbers)
    pnnx_replacements: list[tuple[Operator, Operator]] = field(default_factory=list)
    is_lowered: bool = False


class LeakPlanner:
    """Plans the repair of all leaked operators of one conversion."""

    def __init__(
        self,
        loaded: LoadedConversion,
        options: Options,
        selection: Selection,
        unknown: list[int],
        broken: Refusal | None,
        doubt: Refusal | None = None,
        without: frozenset[int] = frozenset(),
    ) -> None:
        """Why no row may be touched, why none may become ncnn's layers, and rows of ncnn's that will go."""
        self._without = without
        self._loaded = loaded
        self._options = options
        self._selection = selection
        self._leaks = find_leaks(loaded, unknown, operator_rules())
        self._broken = broken
        self._order, self._positions = self._count()
        self._traced: dict[str, TracedConstants | None] = {}
        self._operator_calls = loaded.operator_calls
        self._regions: RegionPlanner | None = None
        self._doubt = self._lie = doubt
        self._blocked: Refusal | None = None
        self._wanted: dict[tuple[object, ...], bool] = {}
        self.plan = Plan()

    def run(self) -> Plan:
        """Decide everything; on a conflict of sources nothing is repaired."""
        wanted = [
            (leak, leak.rule) for leak in self._leaks if self._is_wanted(leak) and leak.rule is not None
        ]
        calls = self._bind(wanted)
        wrong = [one for one in find_contradictions(self._loaded) if one.handle not in self._without]
        self._blocked = self._find_conflicts(calls) or self._broken or self._find_doubt()
        if self._lie is None and self._loaded.pnnx and self._loaded.ncnn and has_wide_tensors(self._loaded):
            self._lie = self._region_planner().find_lie(self._leaks, wrong)
        for leak, rule, call in calls:
            self._decide(leak, rule, call, self._blocked)
        for leak in self._leaks:
            if leak.rule is None:
                self._repair_call(leak)
                self._report_unknown(leak)
        for contradiction in wrong:
            self._correct(contradiction)
        for param in filter(None, (self._loaded.ncnn, self._loaded.pnnx)):
            trim_splits(param.graph)
        self.plan.findings.extend(feed_inputs(self._loaded, self._selection, self._blocked))
        if self._loaded.python is not None:
            plan_bare_values(self._loaded.python, self.plan, self._operator_calls, self._selection)
        return self.plan

    def _find_doubt(self) -> Refusal | None:
        """One leak whose parts do not fit together makes the files of all of them doubtful.

        A repair beside it would take away what shows the doubt, and the next run would go on.
        """
        doubt = next((leak.doubt for leak in self._leaks if leak.doubt), None)
        if doubt is None:
            return None
        return Refusal(doubt, "the files seem to be of different conversions; convert the model again")

    def _count(self) -> tuple[Counter[str], dict[int, int]]:
        """How many rows each operator has, and the place of each leak among those of its operator."""
        base = "pnnx" if self._loaded.pnnx else "ncnn" if self._loaded.ncnn else "python"
        order: Counter[str] = Counter()
        positions: dict[int, int] = {}
        for leak in self._leaks:
            # A row without a rule is looked for in the code only.
            if getattr(leak, base if leak.rule is not None else "python") is not None:
                positions[id(leak)] = order[leak.type]
                order[leak.type] += 1
        return order, positions

    def _is_wanted(self, leak: Leak) -> bool:
        """Whether a leak has a rule that is selected and not ignored on the leak's line."""
        if leak.rule is None or self._is_ignored(leak, leak.rule.code):
            return False
        key = (leak.rule.code, leak.python is None, leak.ncnn is None, leak.pnnx is None)
        if key not in self._wanted:
            places = find_places(self._loaded, leak).values()
            self._wanted[key] = self._selection.wants(leak.rule.code, *(place.path for place in places))
        return self._wanted[key]

    def _is_ignored(self, leak: Leak, code: str) -> bool:
        if leak.python is None or self._loaded.python is None:
            return False
        codes = self._loaded.python.ignored_codes(leak.python.line)
        return codes is not None and self._selection.consume_ignore(leak.python.line, codes, code)

    # values

    def _bind(self, wanted: list[tuple[Leak, OperatorRule]]) -> list[tuple[Leak, OperatorRule, LeakCall]]:
        """Each leak with its arguments; constants are settled here, before any graph changes."""
        traced = self._read_traced({leak.type for leak, _ in wanted}) if wanted else None
        bound = []
        for leak, rule in wanted:
            call = self._call(leak, rule, traced)
            for argument in call.constant_arguments():
                call.scalar(argument)
            bound.append((leak, rule, call))
        return bound

    def _call(self, leak: Leak, rule: OperatorRule, traced: TracedConstants | None) -> LeakCall:
        position = self._positions.get(id(leak), -1)
        return LeakCall(self._loaded, leak, rule, position, traced, self._options.values)

    def _read_traced(self, names: set[str]) -> TracedConstants | None:
        path = self._loaded.files.get(TORCHSCRIPT)
        if path is None:
            return None
        from pnnxfix.codecs.torchscript import read_calls

        try:
            code = read_calls(path, names)
        except (OSError, PnnxfixError):
            return None  # not every .pt is TorchScript; then it tells nothing
        return TracedConstants(code, str(path), self._order) if code.certain else None

    def _find_conflicts(self, calls: list[tuple[Leak, OperatorRule, LeakCall]]) -> Refusal | None:
        conflicts = [(leak, call.conflict) for leak, _, call in calls if call.conflict is not None]
        for leak, conflict in conflicts:
            place = next(iter(find_places(self._loaded, leak).values()))
            self.plan.problems.append(
                Problem(
                    place.path,
                    f"{leak.type}: {conflict.reason}",
                    "find out which is right and give it with --value; nothing of this conversion is changed",
                    place.line,
                    place.column,
                )
            )
        return _CONFLICT if conflicts else None

    # deciding

    def _decide(self, leak: Leak, rule: OperatorRule, call: LeakCall, blocked: Refusal | None) -> None:
        """Plan the repair in each file that has the leak, and report it there."""
        places = find_places(self._loaded, leak)
        refused_by_ncnn = None
        if leak.ncnn is not None and self._loaded.ncnn is not None:
            written = blocked or self._lower(leak, rule, call, leak.ncnn, self._loaded.ncnn.graph)
            refused_by_ncnn = written if isinstance(written, Refusal) else None
            self._report(leak, rule, "ncnn", places["ncnn"], refused_by_ncnn, f"{written}")
        if not rule.has_python:
            self._repair_call(leak)
            return
        if leak.python is not None:
            # Without .pnnx.param this statement is what joins the ncnn row to its value.
            only_source = refused_by_ncnn if leak.pnnx is None else None
            expression = blocked or only_source or rule.to_python(call, self._options.style)
            if isinstance(expression, str):
                self.plan.calls.append((leak.python, expression))
            refusal = expression if isinstance(expression, Refusal) else None
            self._report(leak, rule, "python", places["python"], refusal, f"{expression}")
        if leak.pnnx is not None and self._loaded.pnnx is not None and "::" in leak.type:
            # The row joins the ncnn row to its value: while that one stays, so must this one.
            new = blocked or refused_by_ncnn or rule.to_pnnx(call)
            text = ""
            if isinstance(new, Operator):
                graph = self._loaded.pnnx.graph
                self.plan.pnnx_replacements.append((graph[leak.pnnx], new))
                replace_row(graph, leak.pnnx, new)
                text = " ".join((new.type, *(word for word in new.rest if word[0] not in "#$")))
            self._report(leak, rule, "pnnx", places["pnnx"], new if isinstance(new, Refusal) else None, text)

    def _correct(self, wrong: Contradiction) -> None:
        """Plan the repair of a layer that computes something else than its operator, and report it."""
        assert self._loaded.ncnn is not None
        assert self._loaded.pnnx is not None
        path = self._loaded.files[NCNN_PARAM]
        lowered = self._regions is not None and wrong.handle in self._regions.lowered
        if lowered or not self._selection.wants(WrongLayer.code, path):
            return
        graph = self._loaded.ncnn.graph
        layer = graph.original(wrong.handle)
        written: str | Refusal = Refusal(
            "pnnxfix has no rule for the operator", "replace the operator in the PyTorch model"
        )
        stop = self._blocked or self._doubt
        if stop is not None:
            written = stop
        elif wrong.lowering is not None:
            lower_row(graph, wrong.handle, wrong.lowering, lambda blob: blob, self._options.fuse)
            written = _describe(wrong.lowering.layers)
        elif wrong.operator < 0:
            written = Refusal(
                "which operator of .pnnx.param it was made from is not certain", "convert the model again"
            )
        else:
            operator = self._loaded.pnnx.graph[wrong.operator]
            rule = operator_rules().get(operator.type)
            if rule is not None and rule.is_family:
                leak = Leak(operator.type, operator.name, rule, ncnn=wrong.handle, pnnx=wrong.operator)
                written = self._lower(leak, rule, self._call(leak, rule, None), wrong.handle, graph)
        refusal = written if isinstance(written, Refusal) else None
        if refusal is None:
            mark_mended(graph, layer)
            self.plan.is_lowered = True
        help_text = f"`pnnxfix fix` writes {written}" if refusal is None else refusal.help
        message = f"`{layer.type}` is not what the model computes: {wrong.reason}"
        reason = None if refusal is None else refusal.reason
        self._add(WrongLayer, Place(path, wrong.handle + 1), message, help_text, layer.name, reason)

    def _lower(
        self, leak: Leak, rule: OperatorRule, call: LeakCall, handle: int, graph: Graph
    ) -> str | Refusal:
        """Put the layers of a leak into the ncnn graph; what they are, in words."""
        if self._lie is not None:
            return self._lie
        if self._regions is not None and handle in self._regions.lowered:
            return "it with the operator before it"
        if not rule.is_family:
            lowering = rule.to_ncnn(call)
            if isinstance(lowering, Refusal):
                return lowering
            lower_row(graph, handle, lowering, call.blob, self._options.fuse)
            return _describe(lowering.layers)
        if self._loaded.pnnx is None or leak.pnnx is None:
            return Refusal(
                "what its inputs are is not in .ncnn.param", "keep model.pnnx.param beside the ncnn model"
            )
        region = self._region_planner().lower(leak, rule, call)
        if isinstance(region, Refusal):
            return region
        self.plan.numbers.extend(lower_rows(graph, region))
        self.plan.is_lowered = True
        return _describe(region.layers)

    def _region_planner(self) -> RegionPlanner:
        if self._regions is None:
            from pnnxfix.pipeline.region_plan import RegionPlanner

            self._regions = RegionPlanner(self._loaded)
        return self._regions

    def _report(
        self, leak: Leak, rule: OperatorRule, file: str, place: Place, refusal: Refusal | None, text: str
    ) -> None:
        help_text = f"`pnnxfix fix` writes {text}" if refusal is None else refusal.help
        reason = None if refusal is None else refusal.reason
        self._add(type(rule), place, rule.message(file), help_text, leak.name, reason)

    def _repair_call(self, leak: Leak) -> None:
        """Plan the Python of a call for which there is no rule, from the schema of its operator."""
        place = find_places(self._loaded, leak).get("python")
        call = leak.python
        if place is None or call is None or self._operator_calls is None:
            return
        result = self._operator_calls.translate(call, lambda rule, at: self._settle(leak, call, rule, at))
        rule: type[Rule] = LeakedOperator
        if isinstance(result, Refusal) and not self._operator_calls.is_known(leak.type):
            rule = UnknownOperator
        if self._is_ignored(leak, rule.code) or not self._selection.wants(rule.code, place.path):
            return
        message = f"`{leak.type}` is no Python: pnnx left the operator as it was"
        if self._blocked is not None and self._blocked is not self._broken:
            result = self._blocked
        if isinstance(result, Refusal):
            self._add(rule, place, message, result.help, leak.name, result.reason)
            return
        self.plan.calls.append((call, result.expression))
        if result.gives_list:
            name = call.targets[0]
            self.plan.values += [(line, f"{name}[0]") for line in self._operator_calls.find_aliases(name)]
        shown = result.expression
        if len(shown) > _LONGEST_SHOWN:
            shown = shown[:_LONGEST_SHOWN] + " ..."
        help_text = f"`pnnxfix fix` writes {shown}" + (f"; {result.note}" if result.note else "")
        self._add(rule, place, message, help_text, leak.name, None)

    def _settle(self, leak: Leak, call: LeakedCall, rule: OperatorRule, argument: int) -> Number | Refusal:
        """The number of an argument whose spelling may have destroyed it."""
        if leak.type not in self._traced:
            self._traced[leak.type] = self._read_traced({leak.type})
        # Its rows may have been lowered by now, and spell the constant as the code does.
        alone = Leak(leak.type, leak.name, python=call)
        position, traced = self._positions.get(id(leak), -1), self._traced[leak.type]
        return LeakCall(self._loaded, alone, rule, position, traced, self._options.values).scalar(
            str(argument)
        )

    def _report_unknown(self, leak: Leak) -> None:
        place = find_places(self._loaded, leak).get("ncnn")
        if place is None or not self._selection.wants(UnknownLayer.code, place.path):
            return
        help_text = (
            "replace the operator in the PyTorch model before it is traced; if your program registers "
            "this layer, name it under custom-layers"
        )
        message = f"ncnn has no layer `{leak.type}`"
        self._add(UnknownLayer, place, message, help_text, leak.name, "pnnxfix has no rule for this operator")

    def _add(
        self,
        rule: type[Rule],
        place: Place,
        message: str,
        help_text: str,
        operator: str,
        refusal: str | None,
    ) -> None:
        self.plan.findings.append(make_finding(rule, place, message, help_text, operator, refusal))


def _describe(layers: Sequence[Layer]) -> str:
    words = [" ".join((layer.type, *layer.parameters)) for layer in layers]
    text = " and ".join(words[:_MOST_LAYERS_SHOWN]) or "nothing: its input is its result"
    more = len(words) - _MOST_LAYERS_SHOWN
    return f"{text} and {more} more layers" if more > 0 else text
