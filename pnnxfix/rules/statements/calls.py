"""Calls whose arguments are not those that the function or the module takes."""

from __future__ import annotations

import ast
import re

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.statement import CONVERT_AGAIN, Forward, Statement, StatementRule, find_keyword

_ATTRIBUTE = re.compile(r"@\w+=(\([0-9,]*\)\w+)\Z")
_ONE_INPUT = re.compile(r"nn\.(?:Linear|Embedding|PReLU|(?:Conv|ConvTranspose|BatchNorm|InstanceNorm)[123]d"
                        r"|LayerNorm|GroupNorm|RMSNorm)\Z")  # fmt: skip


class LostSlices(StatementRule):
    """Whole axes that are lost from an index.

    What it finds: `v_0[[None, v_1]]`, `v_0[...,[0,1],None,[0,1]]`, and `v_0[...,[0,1]]` whose list
    is not of the last axis.

    Why it breaks: None makes a new axis and `...` reaches to the last axes; the result has
    another shape or other numbers.

    Repair: `:` for each whole axis.

    Limits: an index that begins with `...` is repaired only with `.pnnx.param`, which has a None
    for each whole axis.

    Example:
        v_2 = v_0[[None, v_1]]             ->    v_2 = v_0[:,v_1]
        v_1 = v_0[...,[0,1],None,[0,1]]    ->    v_1 = v_0[:,[0,1],:,[0,1]]

    Source: pnnx ir.cpp, make_index_expression and Tensor.index.
    """

    code = "PNX220"
    name = "lost-slices"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row, tree = statement.row, statement.tree
        if not isinstance(tree, ast.Subscript) or not isinstance(tree.value, ast.Name):
            return None
        if isinstance(tree.slice, ast.List):
            items = _read_index(ast.unparse(tree.slice))
            return _spell_index(tree.value.id, items) if "None" in items else None
        if row is None or row.type != "Tensor.index" or len(row.inputs) != 1:
            return None
        items = _read_index(row.parameter("expr") or "")
        given = statement.operand(row.inputs[0])
        if not items or given is None or given.shape is None:
            return None
        leading = next(at for at, item in enumerate(items) if item != "None")
        if len(items) == len(given.shape) and "None" not in items[leading:]:
            return None
        return _spell_index(tree.value.id, items)

    def describe(self, statement: Statement) -> str:
        return "the whole axes of this index were lost"


def _spell_index(value: str, items: list[str]) -> str:
    return f"{value}[{','.join(':' if item == 'None' else item for item in items)}]"


def _read_index(expression: str) -> list[str]:
    """`[None,[0,1],2]` as its items; empty where it is something else or None only."""
    try:
        tree = ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if not isinstance(tree, ast.List):
        return []
    items = [expression[item.col_offset : item.end_col_offset] for item in tree.elts]
    return items if any(item != "None" for item in items) else []


class NormalInPlace(StatementRule):
    """A tensor that is filled with normal numbers.

    What it finds: `torch.normal(v_0, generator=None, mean=-2.0, std=0.5)`.

    Why it breaks: this was `v_0.normal_(-2, 0.5)`; `torch.normal` takes a tensor in the place of
    the mean only, and raises TypeError.

    Repair: a new tensor of the same shape is filled.

    Limits: the result is random, so two runs cannot be compared.

    Example:
        v_1 = torch.normal(v_0, generator=None, mean=-2.0, std=0.5)
        ->    v_1 = torch.empty_like(v_0).normal_(mean=-2.0, std=0.5)

    Source: pnnx drops the `_` of operators that change their input.
    """

    code = "PNX221"
    name = "normal-in-place"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        tree = statement.tree
        if (
            not isinstance(tree, ast.Call)
            or len(tree.args) != 1
            or statement.calls({"torch.normal"}) != [tree]
        ):
            return None
        mean, std = find_keyword(tree, "mean"), find_keyword(tree, "std")
        if mean is None or std is None:
            return None
        return (
            f"torch.empty_like({ast.unparse(tree.args[0])})"
            f".normal_(mean={ast.unparse(mean)}, std={ast.unparse(std)})"
        )

    def describe(self, statement: Statement) -> str:
        return "`torch.normal` fills no tensor that it is given"


class WeightAsInput(StatementRule):
    """A module that is given its own weight as an input.

    What it finds: `v_2 = self.embed(v_1, v_0)`, where `v_1` is a stored tensor of the shape of
    the module's weight: two modules share the tensor, as input and output embedding of T5 do.

    Why it breaks: TypeError when it runs: the module takes one input.

    Repair: the stored tensor is left out; the module holds the same one.

    Limits: where more or less than one input is left, nothing is changed.

    Example:
        v_2 = self.embed(v_1, v_0)    ->    v_2 = self.embed(v_0)

    Source: conversions of models with tied weights; the row has the weight among its operands.
    """

    code = "PNX223"
    name = "weight-as-input"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row, tree = statement.row, statement.tree
        if row is None or _ONE_INPUT.match(row.type) is None or len(row.inputs) < 2:
            return None
        given = [f"v_{name}" for name in row.inputs]
        if not isinstance(tree, ast.Call) or [ast.unparse(word) for word in tree.args] != given:
            return None
        own = [match[1] for word in row.rest if (match := _ATTRIBUTE.match(word))]
        left = []
        for name in row.inputs:
            stored = _find_stored(forward, f"v_{name}")
            if stored in own:
                own.remove(stored)
            else:
                left.append(name)
        if len(left) != 1:
            return Refusal(
                f"which of its {len(row.inputs)} inputs the module takes is not certain", CONVERT_AGAIN
            )
        return f"{ast.unparse(tree.func)}(v_{left[0]})"

    def describe(self, statement: Statement) -> str:
        return "the module is given its own weight as an input"


def _find_stored(forward: Forward, name: str) -> str:
    """The shape and type of a stored tensor, `(10,6)f32`; empty for every other value."""
    maker = forward.maker(name)
    if maker is None or maker.type != "pnnx.Attribute":
        return ""
    return next((match[1] for word in maker.rest if (match := _ATTRIBUTE.match(word))), "")
