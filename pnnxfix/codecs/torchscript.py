"""Reads the exact constants that a TorchScript file gives to operators, without PyTorch.

The code text of the archive is followed from the saved module's `forward` into its submodules, one
printed line at a time, in the order in which PyTorch would run it. Nothing of it is executed.
Source of the printed form: archives written by torch 2.13, among them fixtures/torchscript.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from pnnxfix.codecs.torchscript_archive import MAX_CODE_BYTES, Archive, Function, Scope
from pnnxfix.codecs.torchscript_line import cut_text, parse_line
from pnnxfix.codecs.torchscript_values import (
    UNKNOWN,
    Items,
    Literal,
    Module,
    Value,
    convert,
    flatten,
    gather,
    negate,
)
from pnnxfix.errors import ParseError

Constant: TypeAlias = int | float | str | tuple[object, ...] | None

MAX_CALLS = 200_000
MAX_MODULE_DEPTH = 40

_NAN_AND_INFINITY = {"inf": float("inf"), "nan": float("nan")}
# Builtins of TorchScript that run no other code of the archive.
_HARMLESS = frozenset(
    ("bool", "complex", "dict", "isinstance", "len", "list", "max", "min", "ord", "print", "range", "str")
) | {"uninitialized", "unchecked_cast"}
_MAY_SKIP = (ast.IfExp, ast.BoolOp, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)
# `x0 = torch.relu(x)` hands no constant on: no need to parse it unless it holds a call of interest.
_PLAIN_CALL = re.compile(r"\s*(\w+) = (?:torch|ops\.\w+)\.\w+\(")
_OTHER_CALL = r"\)\.|__torch__|getattr"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call: `name` is "" if positional, `value` is None if it is not a literal.

    `text` is the literal as printed where it stands, else the expression as written in the call.
    Lists and tuples both give a tuple.
    """

    name: str
    text: str
    is_literal: bool
    value: Constant


@dataclass(frozen=True, slots=True)
class TracedCall:
    """A call of `operator` (`aten::clamp_min`: no overload, no in-place `_`); `line` counts from 1."""

    operator: str
    arguments: tuple[Argument, ...]
    member: str
    line: int

    def literal(self, name: str, at: int) -> Constant:
        """An argument by name or position, None where it is not given or no literal."""
        for index, argument in enumerate(self.arguments):
            if argument.name == name or (not argument.name and index == at):
                return argument.value
        return None


@dataclass(frozen=True, slots=True)
class TracedCode:
    """Calls in execution order; if not `certain`, `reason` says why the real ones may be others."""

    calls: tuple[TracedCall, ...]
    certain: bool
    reason: str


def read_calls(data_or_path: bytes | str | os.PathLike[str], names: Collection[str]) -> TracedCode:
    """All calls of the operators `names` (`aten::clamp_min`) that `forward` of the saved module makes.

    A value that an operator computes, a tensor and an attribute of a module are no literals.
    torch does not print arguments at the end that equal the schema's defaults (`max=None`).
    Time and memory are linear in the code that is reached.

    Raises ParseError if the file is no TorchScript archive or goes beyond the limits: 20 MB of code,
    100,000 members, 200,000 calls, modules 40 deep.
    """
    archive = Archive(data_or_path)
    try:
        walker = _Walker(archive, names)
        with warnings.catch_warnings():
            # Python's parser warns of escapes in strings; these are no strings of Python.
            warnings.simplefilter("ignore")
            walker.run_method(archive.top, "forward", [], {}, False)
    finally:
        archive.close()
    return TracedCode(tuple(walker.calls), not walker.reason, walker.reason)


@dataclass(slots=True)
class _Frame:
    """One function that is being followed, at one of its lines; `tentative` are modules set in a branch."""

    function: Function
    conditional: bool
    line: int
    variables: dict[str, Value] = field(default_factory=dict)
    tentative: set[str] = field(default_factory=set)
    code: bytes = b""
    result: Value = UNKNOWN

    @property
    def place(self) -> str:
        return f"{self.function.member}:{self.line}"


class _Walker:
    def __init__(self, archive: Archive, names: Collection[str]) -> None:
        self.calls: list[TracedCall] = []
        self.reason = ""
        self._archive = archive
        self._names = frozenset(names)
        wanted = (re.escape(name.rpartition("::")[2]) for name in sorted(self._names))
        self._relevant = re.compile("|".join((_OTHER_CALL, *wanted)))
        self._steps = 0
        self._characters = 0
        self._depth = 0
        # Functions in which nothing was found; another call of them need not read them again.
        self._silent: set[int] = set()

    def run_method(
        self, name: str, method: str, args: Sequence[Value], keywords: Mapping[str, Value], conditional: bool
    ) -> Value:
        scope = self._archive.find_scope(name)
        if scope is None or method not in scope.functions:
            self._doubt(f"{name}.{method} is not in the archive")
            return UNKNOWN
        if scope.has_hooks:
            self._doubt(f"{name} has forward hooks")
        return self._run(scope.functions[method], [Module(name), *args], keywords, conditional)

    def _run(
        self, function: Function, args: Sequence[Value], keywords: Mapping[str, Value], conditional: bool
    ) -> Value:
        if id(function) in self._silent:
            return UNKNOWN
        frame = _Frame(function, conditional, function.line)
        self._count_step(frame)
        if self._depth >= MAX_MODULE_DEPTH:
            self._fail(frame, f"calls nest more than {MAX_MODULE_DEPTH} deep")
        calls, doubted = len(self.calls), bool(self.reason)
        self._depth += 1
        try:
            self._run_lines(frame, self._bind_parameters(frame, args, keywords))
        except RecursionError:
            self._fail(frame, "calls nest too deep")
        finally:
            self._depth -= 1
        if len(self.calls) == calls and bool(self.reason) == doubted and frame.result is UNKNOWN:
            self._silent.add(id(function))
        return frame.result

    def _bind_parameters(self, frame: _Frame, args: Sequence[Value], keywords: Mapping[str, Value]) -> int:
        """Sets the parameters; gives the index of the first line after the signature."""
        lines = frame.function.lines
        # Each parameter is printed on a line of its own, and only the last one ends with a colon.
        end = next((index for index, line in enumerate(lines, 1) if line.endswith(":")), 0)
        node = self._parse(frame, "\n".join(line.strip() for line in lines[:end]) + " pass")
        if not isinstance(node, ast.FunctionDef):
            self._fail(frame, "not a function")
        parameters = [argument.arg for argument in node.args.args]
        frame.variables.update(dict.fromkeys(parameters, UNKNOWN))
        if self._depth > 1:
            # Not for the saved module: who runs it may give other values.
            for name, default in zip(reversed(parameters), reversed(node.args.defaults), strict=False):
                frame.variables[name] = self._evaluate(frame, default)
        frame.variables.update(zip(parameters, args, strict=False))
        frame.variables.update(keywords)
        return end

    def _run_lines(self, frame: _Frame, start: int) -> None:
        indent = -1
        outer = frame.conditional
        for index in range(start, len(frame.function.lines)):
            line = frame.function.lines[index]
            text = line.strip()
            if not text:
                continue
            frame.line = frame.function.line + index
            self._charge(frame, len(line))
            column = len(line) - len(line.lstrip(" "))
            indent = column if indent < 0 else indent
            if column <= indent:
                frame.variables.update(dict.fromkeys(frame.tentative, UNKNOWN))
                frame.tentative.clear()
            frame.conditional = outer or column > indent
            plain = _PLAIN_CALL.match(line)
            if plain is not None and self._relevant.search(line) is None:
                frame.variables[plain[1]] = UNKNOWN
            elif text not in ("else:", "pass", "break", "continue"):
                node = self._parse(frame, f"{text} pass" if text.endswith(":") else text)
                self._run_statement(frame, node)
                # What follows a `return` that stands under a condition is under it too.
                outer = outer or isinstance(node, ast.Return)

    def _run_statement(self, frame: _Frame, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=[target], value=value):
                self._assign(frame, target, self._evaluate(frame, value))
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(frame, target, self._evaluate(frame, value))
            case ast.Return(value=ast.expr() as value):
                result = self._evaluate(frame, value)
                frame.result = UNKNOWN if frame.conditional else result
            case ast.Return():
                pass
            case ast.Expr(value=value) | ast.If(test=value):
                self._evaluate(frame, value)
            case ast.For(target=target, iter=value):
                self._evaluate(frame, value)
                self._assign(frame, target, UNKNOWN)
            case ast.While(test=value):
                frame.conditional = True
                self._evaluate(frame, value)
            case _:
                self._doubt(f"{frame.place} is no statement known here")

    def _assign(self, frame: _Frame, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name) if not frame.conditional:
                frame.variables[name] = value
            case ast.Name(id=name):
                # A module is needed for the calls in the same branch; a literal could be another
                # one in the next turn of a loop.
                frame.variables[name] = value if isinstance(value, Module) else UNKNOWN
                frame.tentative.add(name)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                items: tuple[Value, ...] = (UNKNOWN,) * len(elements)
                if isinstance(value, Items) and len(value.items) == len(elements):
                    items = value.items
                for element, item in zip(elements, items, strict=True):
                    self._assign(frame, element, item)
            case _:
                self._evaluate(frame, target)

    def _evaluate(self, frame: _Frame, node: ast.expr) -> Value:
        match node:
            case ast.Constant(value=None | int() | float() | str() as constant):
                return Literal(cut_text(frame.code, node), constant)
            case ast.Name(id=name) if name in _NAN_AND_INFINITY:
                return Literal(name, _NAN_AND_INFINITY[name])
            case ast.Name(id=name):
                return frame.variables.get(name, UNKNOWN)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return negate(self._evaluate(frame, operand))
            case ast.Attribute(value=owner, attr=attribute):
                return self._get_attribute(self._evaluate(frame, owner), attribute)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                return gather([self._evaluate(frame, element) for element in elements])
            case ast.Call():
                return self._evaluate_call(frame, node)
        self._visit_parts(frame, node)
        return UNKNOWN

    def _visit_parts(self, frame: _Frame, node: ast.AST) -> None:
        """Looks for calls in an expression whose value is of no use."""
        conditional = frame.conditional
        frame.conditional = conditional or isinstance(node, _MAY_SKIP)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self._evaluate(frame, child)
            elif isinstance(child, ast.comprehension):
                self._visit_parts(frame, child)
        frame.conditional = conditional

    def _get_attribute(self, owner: Value, attribute: str) -> Value:
        if isinstance(owner, Module):
            scope = self._archive.find_scope(owner.class_name) or Scope()
            if attribute in scope.attributes:
                return Module(scope.attributes[attribute])
        return UNKNOWN

    def _evaluate_call(self, frame: _Frame, node: ast.Call) -> Value:
        path = _name_callee(frame, node.func)
        if path == ["annotate"] and node.args:
            # Its first argument is a type.
            return self._evaluate(frame, node.args[-1])
        owner: Value = UNKNOWN
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if not path:
            callee = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            owner = self._evaluate(frame, callee)
        args = [self._evaluate(frame, argument) for argument in node.args]
        keywords = {word.arg or "**": self._evaluate(frame, word.value) for word in node.keywords}
        match path:
            case ["torch", *_, name] | ["ops", "aten", name]:
                self._record(frame, node, f"aten::{name}", [*args, *keywords.values()])
            case ["ops", space, name]:
                self._record(frame, node, f"{space}::{name}", [*args, *keywords.values()])
            case ["__torch__", *_]:
                return self._call_by_name(frame, ".".join(path), args, keywords)
            case ["getattr"]:
                match args:
                    case [module, Literal(value=str(attribute))]:
                        return self._get_attribute(module, attribute)
            case ["int" | "float" as kind]:
                return convert(kind, args)
            case [name] if name in _HARMLESS:
                pass
            case [] if isinstance(owner, Module) and method:
                return self.run_method(owner.class_name, method, args, keywords, frame.conditional)
            case _:
                self._doubt(f"{frame.place} calls what is not known here: {cut_text(frame.code, node)[:80]}")
        return UNKNOWN

    def _call_by_name(
        self, frame: _Frame, name: str, args: Sequence[Value], keywords: Mapping[str, Value]
    ) -> Value:
        """Calls a function of the archive, or makes an object of one of its classes."""
        module, _, last = name.rpartition(".")
        if last == "__new__":
            return Module(module)
        free = self._archive.find_scope(f"{module}.")
        if free is not None and last in free.functions:
            return self._run(free.functions[last], args, keywords, frame.conditional)
        if self._archive.find_scope(name) is None:
            self._doubt(f"{name} is not in the archive")
        return UNKNOWN

    def _record(self, frame: _Frame, node: ast.Call, operator: str, values: Sequence[Value]) -> None:
        if not operator.endswith("__"):
            operator = operator.removesuffix("_")
        if operator not in self._names:
            return
        self._count_step(frame)
        if frame.conditional:
            self._doubt(f"{operator} stands under a condition or in a loop: {frame.place}")
        written = [("", argument) for argument in node.args]
        written += [(word.arg or "**", word.value) for word in node.keywords]
        arguments = tuple(
            _describe(frame, name, argument, value)
            for (name, argument), value in zip(written, values, strict=False)
        )
        self._charge(frame, sum(len(argument.text) for argument in arguments))
        self.calls.append(TracedCall(operator, arguments, frame.function.member, frame.line))

    def _parse(self, frame: _Frame, text: str) -> ast.stmt:
        frame.code = text.encode()
        return parse_line(text, self._archive.name_member(frame.function.member), frame.line)

    def _count_step(self, frame: _Frame) -> None:
        self._steps += 1
        if self._steps > MAX_CALLS:
            self._fail(frame, f"more than {MAX_CALLS} calls")

    def _charge(self, frame: _Frame, characters: int) -> None:
        """Counts text that is read or kept: a function may be called many times, a value used so."""
        self._characters += characters
        if self._characters > MAX_CODE_BYTES:
            self._fail(frame, f"more than {MAX_CODE_BYTES} characters of code run")

    def _doubt(self, reason: str) -> None:
        self.reason = self.reason or reason

    def _fail(self, frame: _Frame, reason: str) -> NoReturn:
        raise ParseError(self._archive.name_member(frame.function.member), frame.line, 1, reason)


def _name_callee(frame: _Frame, node: ast.expr) -> list[str]:
    """`torch.clamp` as its words; empty where the call is made on a value."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id in frame.variables:
        return []
    return [node.id, *reversed(words)]


def _describe(frame: _Frame, name: str, node: ast.expr, value: Value) -> Argument:
    literal = flatten(value)
    if literal is None:
        return Argument(name, cut_text(frame.code, node), False, None)
    return Argument(name, literal.text, True, literal.value)
