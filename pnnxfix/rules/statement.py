"""What a rule of a generated statement is, and what it is told about the statement.

Rules see Python as text and as its syntax tree, the operator's row of `.pnnx.param` and the calls
of the TorchScript file; they know no file.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Refusal, Rule, Tensor

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCall

CONVERT_AGAIN = "keep model.pt (TorchScript) and model.pnnx.param beside the output, or edit the line"


@dataclass(frozen=True, slots=True)
class Statement:
    """One line of forward: `v_1, v_2 = text`, or `return text` with no targets.

    `row` is the operator of `.pnnx.param` that makes the first target, None where no file tells.
    `operands` are what that file states of its operands.
    """

    line: int
    targets: tuple[str, ...]
    text: str
    tree: ast.expr
    row: Operator | None = None
    operands: dict[str, Tensor] = field(default_factory=dict)

    def calls(self, names: Collection[str]) -> list[ast.Call]:
        """The calls of these functions (`torch.round`, or `.tile` for a method), outermost first."""
        found = (node for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        return [call for call in found if _name(call) in names or f".{_method(call)}" in names]

    def rewrite(self, edits: Mapping[ast.expr, str | Writer]) -> str:
        """The text with other text in the place of these nodes; one may hold another one."""
        start, end = self.tree.col_offset, self.tree.end_col_offset
        before, after = self.text[:start], self.text[end:]
        if self.tree in edits and (before, after) == ("(", ")"):
            before = after = ""  # pnnx puts them around every operator
        return before + Copier(self.text, edits).cut(self.tree) + after

    def operand(self, name: str) -> Tensor | None:
        """What is known of the value `v_7`."""
        return self.operands.get(name.removeprefix("v_"))


class Copier:
    """Copies the text of a syntax tree, with edits in it."""

    def __init__(self, text: str, edits: Mapping[ast.expr, str | Writer]) -> None:
        self._text = text
        self._edits = edits

    def cut(self, node: ast.expr) -> str:
        """The new text of a node."""
        edit = self._edits.get(node)
        if edit is None:
            return self.copy(node)
        return edit if isinstance(edit, str) else edit(node, self)

    def copy(self, node: ast.expr) -> str:
        """A node's own text, with the edits of the nodes inside it."""
        at, parts = node.col_offset, []
        for child in _children(node):
            parts += [self._text[at : child.col_offset], self.cut(child)]
            at = child.end_col_offset or 0
        return "".join(parts) + self._text[at : node.end_col_offset]


Writer: TypeAlias = Callable[[ast.expr, Copier], str]


def _children(node: ast.expr) -> list[ast.expr]:
    found = [child.value if isinstance(child, ast.keyword) else child for child in ast.iter_child_nodes(node)]
    return sorted((child for child in found if isinstance(child, ast.expr)), key=lambda c: c.col_offset)


@dataclass(frozen=True, slots=True)
class Repair:
    """What becomes of a statement; `message` says what is wrong with it."""

    statement: Statement
    expression: str | Refusal
    message: str


class Forward(Protocol):
    """The statements of one generated file, as rules see them."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The values that forward is given."""

    def find(self, pattern: str) -> list[Statement]:
        """The statements whose lines match."""

    def defined(self, name: str) -> str | None:
        """What a value is assigned, None where it is an input or one of several results."""

    def traced(self, operators: Collection[str]) -> tuple[TracedCall, ...] | Refusal:
        """All calls of these operators in the TorchScript file, in the order in which they run."""

    def maker(self, name: str) -> Operator | None:
        """The row that makes the value `v_7`."""


class StatementRule(Rule):
    """A statement that is Python and wrong, or fails when it runs."""

    def find(self, forward: Forward, pattern: str) -> Iterator[Repair]:
        """All repairs. `pattern` is the rule's trigger; most rules judge each statement for itself."""
        for statement in forward.find(pattern):
            result = self.repair(statement, forward)
            if result is not None:
                yield Repair(statement, result, self.describe(statement))

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        """The right expression, why there is none, or None where the statement is right."""
        raise NotImplementedError

    def describe(self, statement: Statement) -> str:
        """What is wrong, in one clause."""
        raise NotImplementedError


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func) if isinstance(call.func, ast.Attribute) else ""


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def find_keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg == name), None)


def is_number(node: ast.expr | None) -> bool:
    """Whether a node is a literal number."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def add_argument(argument: str) -> Writer:
    """The edit that puts one more argument at a call's end."""
    return lambda node, copier: f"{copier.copy(node)[:-1]}, {argument})"
