"""Rewrites `forward` of a generated `_pnnx.py` so that each value on the way is shown to a probe.

Every call, operation, slice and stored tensor becomes `__see__(at, value)`, parts of a longer expression
too: pnnx prints a whole `pnnx.Expression` as one expression, and ncnn gets a layer for each part of it.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

PROBE = "__see__"
_NO_TENSOR = frozenset({"shape", "dtype", "device"})
_OPERATIONS: dict[type[ast.AST], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.FloorDiv: "floor_divide",
    ast.Mod: "remainder",
    ast.Pow: "pow",
    ast.USub: "neg",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """A place in `forward`: its line (from 1), its operator, the values that it reads.

    `target` is the variable of the whole statement, `is_part` says that this is one part of it. `module`
    is the name under `self` of the module or tensor that is used. `inputs` are keys: `3` is what probe 3
    saw, `3.1` the second tensor of it; `in0` is an argument of forward.
    """

    line: int
    kind: str
    inputs: tuple[str, ...]
    target: str
    is_part: bool
    module: str = ""


class _Expressions(ast.NodeTransformer):
    """Wraps the parts of one expression after the other; `sources` are the values that each has read."""

    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.known: dict[str, list[str]] = {}
        self.target = ""
        self._sources: list[list[str]] = [[]]

    def wrap(self, node: ast.expr, target: str) -> tuple[ast.expr, list[str]]:
        """The expression with its probes, and the keys of its value."""
        self.target = target
        self._sources = [[]]
        changed: ast.expr = self.visit(node)
        keys = self._sources[0]
        if self.probes and keys == [str(len(self.probes) - 1)]:
            last = self.probes[-1]
            self.probes[-1] = Probe(last.line, last.kind, last.inputs, target, False, last.module)
        return changed, keys

    def _show(self, node: ast.expr, kind: str, module: str = "") -> ast.expr:
        self._sources.append([])
        inner = self.generic_visit(node)
        assert isinstance(inner, ast.expr)
        inputs = tuple(self._sources.pop())
        key = str(len(self.probes))
        self.probes.append(Probe(node.lineno, kind, inputs, self.target, True, module))
        self._sources[-1].append(key)
        call = ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(int(key)), inner], [])
        return ast.copy_location(call, node)

    def visit_Name(self, node: ast.Name) -> ast.expr:
        self._sources[-1].extend(self.known.get(node.id, ()))
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return self._show(node, "attribute", node.attr)
        return node if node.attr in _NO_TENSOR else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr == "size":
            return node
        if isinstance(function, ast.Attribute) and _names(function)[:1] == ["self"]:
            self._sources.append([])
            node.args = [self.visit(argument) for argument in node.args]
            inputs = tuple(self._sources.pop())
            key = str(len(self.probes))
            self.probes.append(Probe(node.lineno, "module", inputs, self.target, True, function.attr))
            self._sources[-1].append(key)
            call = ast.Call(ast.Name(PROBE, ast.Load()), [ast.Constant(int(key)), node], [])
            return ast.copy_location(call, node)
        names = _names(function)
        return self._show(node, names[-1] if names else "call")

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        return self._show(node, _OPERATIONS.get(type(node.op), "operation"))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.operand, ast.Constant):
            return node
        return self._show(node, _OPERATIONS.get(type(node.op), "operation"))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        return self._show(node, "slice")


def _names(node: ast.expr) -> list[str]:
    """`["torch", "nn", "f"]` for `torch.nn.f`; of a method only the last, which begins elsewhere."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        names.append(node.id)
    return names[::-1]


def instrument(forward: ast.FunctionDef) -> tuple[ast.FunctionDef, list[Probe]]:
    """`forward` with probes, and what each probe stands for, by its number."""
    expressions = _Expressions()
    forward = copy.deepcopy(forward)
    for at, argument in enumerate(forward.args.args[1:]):
        expressions.known[argument.arg] = [f"in{at}"]
    body: list[ast.stmt] = []
    for statement in forward.body:
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            targets = _flatten(statement.targets[0])
            statement.value, keys = expressions.wrap(statement.value, targets[0])
            for at, name in enumerate(targets):
                if len(keys) == len(targets):
                    expressions.known[name] = [keys[at]]
                elif len(keys) == 1:
                    expressions.known[name] = [f"{keys[0]}.{at}"]
                else:
                    expressions.known[name] = keys
            if len(targets) == 1:
                expressions.known[targets[0]] = keys
        body.append(statement)
    forward.body = body
    return ast.fix_missing_locations(release(forward)), expressions.probes


def _flatten(node: ast.expr) -> list[str]:
    if isinstance(node, (ast.Tuple, ast.List)):
        return [name for element in node.elts for name in _flatten(element)]
    return [node.id] if isinstance(node, ast.Name) else ["?"]


def release(forward: ast.FunctionDef) -> ast.FunctionDef:
    """`forward` with a `del` of each variable behind its last use, so that it needs what one inference needs.

    As pnnx prints it, every value lives until the return. Code with branches or scopes of its own, which
    pnnx does not print, is given back as it is: what is unbound there would be deleted.
    """
    changed = copy.deepcopy(forward)
    if not all(isinstance(statement, (ast.Assign, ast.Return)) for statement in forward.body):
        return changed
    if any(isinstance(node, (ast.comprehension, ast.Lambda, ast.NamedExpr)) for node in ast.walk(forward)):
        return changed
    alive: set[str] = set()
    body: list[ast.stmt] = []
    for statement in reversed(changed.body):
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        own = {node.id for node in names if node.id.startswith("v_")}
        dead = sorted(own - alive)
        if dead and not isinstance(statement, ast.Return):
            targets: list[ast.expr] = [ast.Name(name, ast.Del()) for name in dead]
            body.append(ast.copy_location(ast.Delete(targets), statement))
        body.append(statement)
        alive -= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        alive |= {node.id for node in names if isinstance(node.ctx, ast.Load)} & own
    changed.body = body[::-1]
    return ast.fix_missing_locations(changed)
