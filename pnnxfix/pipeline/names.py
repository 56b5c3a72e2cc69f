"""Renames modules and stored tensors of a generated file, in every line that names them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pnnxfix.codecs.python_source import PythonFile
from pnnxfix.graph.graph import Operator
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import Refusal, Rule
from pnnxfix.rules.statements.names import NoIdentifier, SharedName, choose_names, is_identifier, print_name

_MEMBER = re.compile(r"([ \t]+self\.)([^\s=.(]+)(\.\w+(?: = |\()| = )(.*)")
_CALLED = re.compile(r"([ \t]+[^=#]+ = self\.)([^\s(]+)(.*)", re.DOTALL)
_TARGET = re.compile(r"[ \t]+v_(\d+)\b")
_KEY = re.compile(r"self\.load_pnnx_bin_as_\w+\(archive, '([^']*)'")
_MODULES = ("nn.", "torchvision.ops.")
_REFUSED = Refusal(
    "which of the two a statement means is not certain without .pnnx.param",
    "keep model.pnnx.param beside the output, or rename one of the modules in the PyTorch model",
)


@dataclass(slots=True)
class _Member:
    """A module or a stored tensor: its name, the line that makes it, its operator's name where known."""

    name: str
    line: int
    operator: str = ""
    new: str = ""


@dataclass(frozen=True, slots=True)
class Renamed:
    """One member that gets, or would need, another name."""

    rule: type[Rule]
    line: int
    name: str
    new: str
    refusal: Refusal | None


class Renamer:
    """Finds the members of a file whose names are no good and plans other ones."""

    def __init__(self, loaded: LoadedConversion, python: PythonFile) -> None:
        self._python = python
        self._first, self._last = python.forward
        self._loaded = loaded
        self.lines: dict[int, str] = {}
        self.renamed: list[Renamed] = []

    def run(self) -> None:
        """Fill `renamed` and `lines`, the new text of each line that changes. Cost: the file's lines."""
        members = self._find_members()
        for member, new in zip(members, choose_names(m.name for m in members), strict=True):
            member.new = new
        by_name: dict[str, list[_Member]] = {}
        for member in members:
            by_name.setdefault(member.name, []).append(member)
        known = all(member.operator for member in members)
        shared = {name for name, some in by_name.items() if len(some) > 1}
        for member in members:
            if member.new != member.name:
                first = by_name[member.name][0] is member
                rule = SharedName if is_identifier(member.name) or not first else NoIdentifier
                refusal = _REFUSED if member.name in shared and not known else None
                self.renamed.append(Renamed(rule, member.line, member.name, member.new, refusal))
        if shared and not known:
            by_name = {name: some for name, some in by_name.items() if name not in shared}
        self._rename(by_name)

    def _find_members(self) -> list[_Member]:
        modules: list[_Member] = []
        tensors: list[_Member] = []
        for line in range(self._first):
            match = _MEMBER.match(self._python.lines[line])
            if match is not None and match[3] == " = ":
                group = modules if match[4].startswith(_MODULES) else tensors
                group.append(_Member(match[2], line))
        pnnx = self._loaded.pnnx
        if pnnx is not None:
            rows = [row for _, row in pnnx.file.rows()]
            _join(modules, [row[1] for row in rows if row[0].startswith(_MODULES)], "")
            _join(tensors, [row[1] for row in rows if row[0] == "pnnx.Attribute"], "_")
        return sorted((*modules, *tensors), key=lambda member: member.line)

    def _rename(self, by_name: dict[str, list[_Member]]) -> None:
        changed = {name for name, some in by_name.items() if any(m.new != name for m in some)}
        for line in (*range(self._first), *range(self._first, self._last)):
            text = self._python.lines[line]
            match = (_MEMBER if line < self._first else _CALLED).match(text)
            if match is None or match[2] not in changed:
                continue
            member = self._choose(by_name[match[2]], line, text)
            if member is not None and member.new != match[2]:
                start = match.end(1)
                self.lines[line] = text[:start] + member.new + text[start + len(match[2]) :]

    def _choose(self, members: list[_Member], line: int, text: str) -> _Member | None:
        """The member that a line means, of those that have the name in it."""
        if len(members) == 1:
            return members[0]
        if line < self._first:
            key = _KEY.search(text)
            made = next((member for member in members if member.line == line), None)
            name = key[1].rpartition(".")[0] if key else ""
            return made or next((member for member in members if member.operator == name), None)
        row = self._find_row(text)
        return next((member for member in members if row is not None and member.operator == row.name), None)

    def _find_row(self, text: str) -> Operator | None:
        target = _TARGET.match(text)
        pnnx = self._loaded.pnnx
        return None if target is None or pnnx is None else pnnx.graph.maker(target[1])


def _join(members: list[_Member], operators: list[str], end: str) -> None:
    """Give each member the operator at its place, if their names say that the two lists are one."""
    if len(members) != len(operators):
        return
    if all(m.name.startswith(print_name(o) + end) for m, o in zip(members, operators, strict=True)):
        for member, operator in zip(members, operators, strict=True):
            member.operator = operator
