"""Lists of one tensor, which pnnx prints as the tensor, and results in a tuple of one."""

from __future__ import annotations

import ast

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.statement import Forward, Statement, StatementRule, Writer

_SPLITTERS = frozenset({"torch.split", "torch.chunk", "torch.unbind", "torch.tensor_split"})
_UNPACKERS = frozenset({"prim::ListUnpack", "prim::TupleUnpack"})


class LostList(StatementRule):
    """One tensor where a list of tensors is wanted.

    What it finds: `torch.stack(v_0, dim=-1)` and `torch.cat(v_0, dim=1)` of a single tensor.

    Why it breaks: TypeError when it runs: a tuple of tensors is wanted.

    Repair: `[v_0]`, where `.pnnx.param` or the code says that `v_0` is a tensor.

    Limits: where neither says so, `v_0` may be a list, and the statement is left alone.

    Example:
        v_1 = torch.stack(v_0, dim=-1)    ->    v_1 = torch.stack([v_0], dim=-1)

    Source: pnnx ir.cpp, which puts parentheses around two tensors and more.
    """

    code = "PNX218"
    name = "lost-list"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        edits: dict[ast.expr, str | Writer] = {}
        for call in statement.calls({"torch.stack", "torch.cat"}):
            first = call.args[0] if call.args else None
            if isinstance(first, ast.Name) and _is_tensor(statement, forward, first.id):
                edits[first] = f"[{first.id}]"
        return statement.rewrite(edits) if edits else None

    def describe(self, statement: Statement) -> str:
        return "a list of one tensor was printed as the tensor"


def _is_tensor(statement: Statement, forward: Forward, name: str) -> bool:
    """Whether a value is certainly no list: only tensors have a shape in `.pnnx.param`."""
    return name in forward.inputs or statement.operand(name) is not None


class SingleResult(StatementRule):
    """The only tensor of a list or tuple, of which the whole list is passed on.

    What it finds: `v_1 = torch.split(v_0, ...)` or `v_4 = v_3`, whose result is a tensor.

    Why it breaks: `v_1` is a tuple of one tensor, and what reads it fails or, like `torch.stack`,
    does something else.

    Repair: `[0]`, where `.pnnx.param` says that the result is a tensor.

    Limits: only with `.pnnx.param`.

    Example:
        v_4 = v_3    ->    v_4 = v_3[0]

    Source: pnnx ir.cpp prints `prim::ListUnpack` as an assignment to its results.
    """

    code = "PNX224"
    name = "single-result"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row = statement.row
        if row is None or len(row.outputs) != 1 or statement.operand(row.outputs[0]) is None:
            return None
        tree = statement.tree
        if row.type in _SPLITTERS and statement.calls({row.type}) == [tree]:
            return f"{statement.text}[0]"
        if row.type in _UNPACKERS and isinstance(tree, ast.Name) and statement.operand(tree.id) is None:
            return f"{statement.text}[0]"
        return None

    def describe(self, statement: Statement) -> str:
        return "a tuple of one tensor is passed on in the place of the tensor"
