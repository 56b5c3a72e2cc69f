"""Constants that arrive as something else: a tensor as a number, an empty list as None, a bare `inf`."""

from __future__ import annotations

import ast
from typing import TypeGuard

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.statement import (
    CONVERT_AGAIN,
    Forward,
    Statement,
    StatementRule,
    Writer,
    find_keyword,
    is_none,
    is_number,
)

_BOTH = frozenset({"torch.maximum", "torch.minimum", "torch.atan2", "torch.logaddexp"})
_NAMED = {"F.prelu": "weight", "F.embedding": "input", "torch.index_select": "index"}
_LISTED = {"squeeze": "dim", "tile": "dims", "flip": "dims"}
_SPECIALS = frozenset({"inf", "nan"})


class EmptyList(StatementRule):
    """An empty list that is printed as None.

    What it finds: `torch.squeeze(v_0, dim=None)`, `torch.tile(v_0, dims=None)`, `torch.flip(v_0, dims=None)`.

    Why it breaks: these take no None, and raise TypeError when they run.

    Repair: `()`, which changes nothing of the input.

    Limits: where `.pnnx.param` states a result of another shape than the input, nothing is changed.

    Example:
        v_1 = torch.tile(v_0, dims=None)    ->    v_1 = torch.tile(v_0, dims=())

    Source: pnnx writes an empty list as `()` and reads it back as None.
    """

    code = "PNX216"
    name = "empty-list-as-none"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        calls = statement.calls({*(f"torch.{name}" for name in _LISTED), *(f".{name}" for name in _LISTED)})
        edits: dict[ast.expr, str | Writer] = {}
        for call in calls:
            assert isinstance(call.func, ast.Attribute)
            argument = find_keyword(call, _LISTED[call.func.attr])
            if argument is not None and is_none(argument):
                edits[argument] = "()"
        if not edits:
            return None
        row = statement.row
        if row is not None and row.inputs and row.outputs:
            given, made = statement.operand(row.inputs[0]), statement.operand(row.outputs[0])
            if given is not None and made is not None and given.shape != made.shape:
                return Refusal("its result has another shape than its input", CONVERT_AGAIN)
        return statement.rewrite(edits)

    def describe(self, statement: Statement) -> str:
        return "an empty list was printed as None"


class TensorAsNumber(StatementRule):
    """A constant tensor that is printed as a plain number.

    What it finds: `torch.maximum(v_1, 1e-12)`, `F.embedding(weight=v_0, input=5)`,
    `F.prelu(v_0, weight=0.125)`, `v_0.index_put(indices=(2,), ...)` and alike.

    Why it breaks: these take tensors only, and raise TypeError when they run.

    Repair: `torch.tensor(...)` around the number. An index gets one dimension, which fits
    whatever values were put at an index without one.

    Limits: none.

    Example:
        v_2 = torch.maximum(v_1, 0.5)    ->    v_2 = torch.maximum(v_1, torch.tensor(0.5))

    Source: pnnx folds tensors of one element into numbers, in every release since 20240226.
    """

    code = "PNX217"
    name = "tensor-as-number"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        edits: dict[ast.expr, str | Writer] = {}
        for call in statement.calls(_BOTH):
            edits.update({argument: _wrap for argument in call.args if is_number(argument)})
        for call in statement.calls({"torch.fmod"}):
            edits.update({argument: _wrap for argument in call.args[:1] if is_number(argument)})
        for name, keyword in _NAMED.items():
            for call in statement.calls({name}):
                argument = find_keyword(call, keyword)
                if argument is not None and is_number(argument):
                    edits[argument] = _wrap_list if _makes_row(statement, name) else _wrap
        for call in statement.calls({".index_put"}):
            argument = find_keyword(call, "indices")
            if argument is not None:
                new = _spell_indices(argument, statement.text, forward)
                edits.update({argument: new} if new else {})
        return statement.rewrite(edits) if edits else None

    def describe(self, statement: Statement) -> str:
        return "a constant tensor was printed as a number"


_wrap: Writer = lambda node, copier: f"torch.tensor({copier.copy(node)})"  # noqa: E731
_wrap_list: Writer = lambda node, copier: f"torch.tensor([{copier.copy(node)}])"  # noqa: E731


def _makes_row(statement: Statement, name: str) -> bool:
    """Whether the one index of an embedding had a dimension of its own: its result has two."""
    made = statement.operand(statement.targets[0]) if statement.targets else None
    return name == "F.embedding" and made is not None and made.shape is not None and len(made.shape) == 2


def _spell_indices(argument: ast.expr, text: str, forward: Forward) -> str:
    """The list of indices with tensors for its numbers; empty where it holds none."""
    if isinstance(argument, ast.Name):
        text = forward.defined(argument.id) or ""
        try:
            argument = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return ""
    if not isinstance(argument, ast.Tuple | ast.List) or not any(map(is_number, argument.elts)):
        return ""
    words = [text[item.col_offset : item.end_col_offset] for item in argument.elts]
    pairs = zip(argument.elts, words, strict=True)
    return f"[{', '.join(f'torch.tensor([{word}])' if is_number(item) else word for item, word in pairs)}]"


class BareSpecialArgument(StatementRule):
    """An `inf` or `nan` inside an expression.

    What it finds: `torch.norm(v_0, p=-inf)`.

    Why it breaks: `inf` is no name that Python knows: NameError when it runs.

    Repair: `float('-inf')`.

    Limits: none. A statement that assigns nothing but the number is PNX202.

    Example:
        v_1 = torch.norm(v_0, p=-inf)    ->    v_1 = torch.norm(v_0, p=float('-inf'))

    Source: pnnx prints a float that is no finite number with `%g`.
    """

    code = "PNX219"
    name = "bare-infinity-argument"
    fixable = "always"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        edits: dict[ast.expr, str | Writer] = {}
        for node in ast.walk(statement.tree):
            if isinstance(node, ast.UnaryOp) and _is_special(node.operand):
                sign = "-" if isinstance(node.op, ast.USub) else ""
                edits[node] = f"float('{sign}{ast.unparse(node.operand)}')"
            elif _is_special(node):
                edits[node] = f"float('{node.id}')"
        if statement.tree in edits:
            return None
        return statement.rewrite(edits) if edits else None

    def describe(self, statement: Statement) -> str:
        return "`inf` and `nan` are no names that Python knows"


def _is_special(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and node.id in _SPECIALS


class MissingTensor(StatementRule):
    """A condition or a mask that is printed as None.

    What it finds: `torch.where(v_0, other=v_1, condition=None)`, `v_0.masked_fill(mask=None, value=2.0)`.

    Why it breaks: both want a tensor there, and raise TypeError when they run.

    Repair: none: it was a constant of no dimensions and of type bool, and its value is in none
    of pnnx's files.

    Limits: none.

    Example:
        v_1 = v_0.masked_fill(mask=None, value=2.0)

    Source: pnnx has no parameter that could hold such a constant.
    """

    code = "PNX222"
    name = "missing-tensor"
    fixable = "never"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        for call in statement.calls({"torch.where", ".masked_fill", ".masked_scatter"}):
            if is_none(find_keyword(call, "condition")) or is_none(find_keyword(call, "mask")):
                return Refusal(
                    "the constant that stood there is in none of pnnx's files",
                    "give the model a mask with at least one dimension, or leave the operation out",
                )
        return None

    def describe(self, statement: Statement) -> str:
        return "a constant tensor was printed as None"
