"""Plans the repair of statements that are wrong without a leaked operator."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pnnxfix.codecs.python_source import LONGEST_REWRITE, PythonFile
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Operator
from pnnxfix.pipeline.discovery import TORCHSCRIPT
from pnnxfix.pipeline.findings import Place, make_finding
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.selection import Selection
from pnnxfix.report import Finding
from pnnxfix.rules.base import Refusal, Rule, Tensor
from pnnxfix.rules.registry import statement_rules
from pnnxfix.rules.statement import Repair, Statement
from pnnxfix.rules.triggers import TRIGGERS

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCall

_STATEMENT = re.compile(r"[ \t]+(?:return |([^=#'\"]+) = )([^#]*?)[ \t]*(?:#.*)?\r?\Z")
_TARGET = re.compile(r"v_\d+")
_ANNOTATION = re.compile(r"#(\d+)=\(([0-9?,]*)\)(\w+)\Z")
_FLOATED = re.compile(r"\b(inf|nan)\.0\b")
_NO_TRACE = Refusal("the TorchScript file is not there, or tells nothing that is certain", "")
_LONGEST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class LineEdit:
    """The new text of a line, and what then comes to the right of its `=` or `return`, if that changes."""

    text: str
    expression: str | None = None


@dataclass(slots=True)
class StatementPlan:
    """The findings, and the edits by line."""

    findings: list[Finding] = field(default_factory=list)
    edits: dict[int, LineEdit] = field(default_factory=dict)


class StatementPlanner:
    """Plans for one file; `repaired` are the lines that other repairs change or remove."""

    def __init__(
        self, loaded: LoadedConversion, python: PythonFile, selection: Selection, repaired: set[int]
    ) -> None:
        self._loaded = loaded
        self._python = python
        self._selection = selection
        self._forward = _Forward(loaded, python, repaired)
        self.plan = StatementPlan()

    def run(self, codes: Collection[str], has_doubtful_names: bool) -> StatementPlan:
        """`codes` are the rules whose triggers were found. Cost: the lines that match these."""
        if has_doubtful_names:
            self._rename()
        for code in codes:
            rule = statement_rules()[code]
            if not self._selection.wants(code, Path(self._python.path)):
                continue
            for repair in list(rule.find(self._forward, TRIGGERS[code].pattern)):
                self._add_repair(type(rule), repair)
        for line, text in self._forward.changed.items():
            self.plan.edits[line] = LineEdit(self._forward.line(line), text)
        return self.plan

    def _rename(self) -> None:
        from pnnxfix.pipeline.names import Renamer

        renamer = Renamer(self._loaded, self._python)
        renamer.run()
        unwanted = [one for one in renamer.renamed if not self._wants(one.rule, one.line)]
        for one in renamer.renamed:
            if one not in unwanted:
                message = f"`self.{one.name}` is no name that Python takes"
                if one.refusal is not None or one.rule.code == "PNX211":
                    message = f"two parts of the network are called `self.{one.name}`"
                self._add(one.rule, one.line, message, f"self.{one.new}", one.name, one.refusal)
        # Half of the names changed is worse than none.
        if not unwanted:
            self._forward.renamed.update(renamer.lines)
            self.plan.edits.update({line: LineEdit(text) for line, text in renamer.lines.items()})

    def _add_repair(self, rule: type[Rule], repair: Repair) -> None:
        statement, result = repair.statement, repair.expression
        if not self._wants(rule, statement.line):
            return
        if isinstance(result, str) and len(result) > LONGEST_REWRITE:
            result = Refusal("the statement is too long to be rewritten safely", "edit the line")
        refusal = result if isinstance(result, Refusal) else None
        if isinstance(result, str):
            self._forward.changed[statement.line] = result
        name = statement.targets[0] if statement.targets else ""
        self._add(rule, statement.line, repair.message, f"{result}", name, refusal)

    def _wants(self, rule: type[Rule], line: int) -> bool:
        if not self._selection.wants(rule.code, Path(self._python.path)):
            return False
        codes = self._python.ignored_codes(line)
        return codes is None or not self._selection.consume_ignore(line, codes, rule.code)

    def _add(
        self, rule: type[Rule], line: int, message: str, new: str, name: str, refusal: Refusal | None
    ) -> None:
        text = self._python.lines[line]
        place = Place(Path(self._python.path), line + 1, len(text) - len(text.lstrip()) + 1)
        shown = new if len(new) <= _LONGEST_SHOWN else f"{new[:_LONGEST_SHOWN]} ..."
        help_text = f"`pnnxfix fix` writes {shown}" if refusal is None else refusal.help
        reason = None if refusal is None else refusal.reason
        self.plan.findings.append(make_finding(rule, place, message, help_text, name, reason))


class _Forward:
    """Implements `rules.statement.Forward` for one file, with what is planned already."""

    def __init__(self, loaded: LoadedConversion, python: PythonFile, repaired: set[int]) -> None:
        self._loaded = loaded
        self._python = python
        self._repaired = repaired
        self._traced: dict[frozenset[str], tuple[TracedCall, ...] | Refusal] = {}
        self.renamed: dict[int, str] = {}
        self.changed: dict[int, str] = {}

    def line(self, at: int) -> str:
        return self.renamed.get(at, self._python.lines[at])

    @property
    def inputs(self) -> tuple[str, ...]:
        return self._python.inputs

    def find(self, pattern: str) -> list[Statement]:
        first, last = self._python.forward
        body = "\n".join(self._python.lines[first:last])
        found: list[Statement] = []
        line, counted, seen = first, 0, -1
        for match in re.finditer(pattern, body, re.MULTILINE):
            line += body.count("\n", counted, match.start())
            counted = match.start()
            if line != seen and line not in self._repaired:
                statement = self._read(line)
                found += [] if statement is None else [statement]
            seen = line
        return found

    def _read(self, line: int) -> Statement | None:
        """The statement of a line, None where it is no assignment or no Python."""
        text = self.line(line)
        match = _STATEMENT.match(text) if len(text) <= LONGEST_REWRITE else None
        if match is None or not text.isascii():
            return None
        # `inf.0` is what some releases print; no name has a part that is a number.
        expression = self.changed.get(line, _FLOATED.sub(r"\1", match[2]))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(expression, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        targets = tuple(_TARGET.findall(match[1] or ""))
        row = self.maker(targets[0]) if targets else None
        return Statement(line, targets, expression, tree, row, _read_operands(row))

    def defined(self, name: str) -> str | None:
        found = self._python.definitions.get(name)
        return None if found is None else self.changed.get(found.line, found.text) or None

    def maker(self, name: str) -> Operator | None:
        return None if self._loaded.pnnx is None else self._loaded.pnnx.graph.maker(name.removeprefix("v_"))

    def traced(self, operators: Collection[str]) -> tuple[TracedCall, ...] | Refusal:
        key = frozenset(operators)
        if key not in self._traced:
            self._traced[key] = self._read_traced(key)
        return self._traced[key]

    def _read_traced(self, operators: frozenset[str]) -> tuple[TracedCall, ...] | Refusal:
        path = self._loaded.files.get(TORCHSCRIPT)
        if path is None:
            return _NO_TRACE
        from pnnxfix.codecs.torchscript import read_calls

        try:
            code = read_calls(path, operators)
        except (OSError, PnnxfixError):
            return _NO_TRACE  # not every .pt is TorchScript; then it tells nothing
        return code.calls if code.certain else _NO_TRACE


def _read_operands(row: Operator | None) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for word in () if row is None else row.rest:
        match = _ANNOTATION.match(word)
        if match is not None:
            sizes = tuple(-1 if size == "?" else int(size) for size in match[2].split(",") if size)
            found[match[1]] = Tensor(sizes, match[3])
    return found
