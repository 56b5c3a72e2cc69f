"""Arguments that pnnx does not print: the statement runs and means something else."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pnnxfix.codecs.number import read_exact
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.statement import (
    CONVERT_AGAIN,
    Copier,
    Forward,
    Repair,
    Statement,
    StatementRule,
    Writer,
    add_argument,
    is_number,
)

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCall

_INTEGERS = frozenset({"i64", "i32", "i16", "i8", "u8"})
_DIVISIONS = ("aten::div", "aten::divide", "aten::true_divide", "aten::floor_divide")


_Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """An operation in a statement; `key` is what the traced call of it has in common with it."""

    statement: Statement
    node: ast.expr
    key: _Key = ()


@dataclass(frozen=True, slots=True)
class _Traced:
    """A traced call's key, and the argument that pnnx dropped."""

    key: _Key
    value: object


def _assign(places: Sequence[_Place], calls: Sequence[_Traced]) -> list[object] | None:
    """The value of each place; None where that is not certain.

    Places are joined with the calls of the same key, then with those of a shorter one: a number
    is a literal in the one file and a constant tensor in the other at times.
    """
    for length in range(max((len(place.key) for place in places), default=0), -1, -1):
        found = _assign_by(length, places, calls)
        if found is not None:
            return found
    return None


def _assign_by(length: int, places: Sequence[_Place], calls: Sequence[_Traced]) -> list[object] | None:
    """Alike calls need no order. Others are in order where each stands in a statement of its own:
    inside one expression pnnx keeps the order of no two operations.
    """
    values: defaultdict[_Key, list[object]] = defaultdict(list)
    for call in calls:
        values[call.key[:length]].append(call.value)
    wanted: defaultdict[_Key, list[_Place]] = defaultdict(list)
    for place in places:
        wanted[place.key[:length]].append(place)
    found: dict[int, object] = {}
    for key, some in wanted.items():
        mine = values[key]
        lines = {place.statement.line for place in some}
        alike = len(set(mine)) == 1 and len(mine) >= len(some)
        if not alike and not (len(mine) == len(some) == len(lines)):
            return None
        for at, place in enumerate(some):
            found[id(place)] = mine[0] if alike else mine[at]
    return [found[id(place)] for place in places]


class DroppedArgument(StatementRule):
    """An argument that changes what an operator computes, and that pnnx does not print.

    What it finds: `(v_0 / v_1)` and `(v_0 // v_1)` that were `torch.div(..., rounding_mode=...)`,
    `torch.round(v_0)` that had `decimals`, and `torch.as_strided` that had a storage offset.

    Why it breaks: it runs and gives other numbers; `//` rounds down where `trunc` rounds to zero.

    Repair: the TorchScript file beside the output has the argument, which is put back.

    Limits: without the TorchScript file there is no trace of it, but for a `/` whose statement
    gives integers by `.pnnx.param`: that was a floor division. Where calls with different
    arguments end up in one expression it is not certain which is which, and nothing is changed.

    Example:
        v_2 = (v_0 // v_1)    ->    v_2 = torch.div(v_0, v_1, rounding_mode='trunc')

    Source: pnnx pass_level3/fuse_expression (aten::div, aten::round) and pass_level2/torch_as_strided.
    """

    code = "PNX212"
    name = "dropped-argument"

    def find(self, forward: Forward, pattern: str) -> Iterator[Repair]:
        statements = forward.find(pattern)
        yield from self._find_divisions(forward, statements)
        yield from self._find_calls(forward, statements, "torch.round", "aten::round", "decimals", 1)
        yield from self._find_calls(
            forward, statements, "torch.as_strided", "aten::as_strided", "storage_offset", 3
        )

    def _find_divisions(self, forward: Forward, statements: Sequence[Statement]) -> Iterator[Repair]:
        places = [
            _Place(statement, node, _division_key(node))
            for statement in statements
            for node in ast.walk(statement.tree)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.FloorDiv)
        ]
        traced = forward.traced(_DIVISIONS) if places else ()
        if isinstance(traced, Refusal):
            sure = [place for place in places if _gives_integers(place)]
            floor = [_Traced(place.key, "floor") for place in sure]
            yield from _repair(sure, floor, "rounding_mode", _write_division)
            return
        calls = [_Traced(_traced_key(call), call.literal("rounding_mode", 2)) for call in traced]
        if any(call.value for call in calls):
            yield from _repair(places, calls, "rounding_mode", _write_division)

    def _find_calls(
        self, forward: Forward, statements: Sequence[Statement], name: str, operator: str, word: str, at: int
    ) -> Iterator[Repair]:
        places = [_Place(s, call) for s in statements for call in s.calls({name})]
        traced = forward.traced({operator}) if places else ()
        if isinstance(traced, Refusal):
            return
        calls = [_Traced((), call.literal(word, at)) for call in traced]
        if any(call.value for call in calls):
            yield from _repair(places, calls, word, add_argument)


def _repair(
    places: Sequence[_Place],
    calls: Sequence[_Traced],
    word: str,
    write: Callable[[str], Writer],
) -> Iterator[Repair]:
    message = f"pnnx dropped `{word}`"
    values = _assign(places, calls)
    if values is None:
        reason = f"which of the operations had `{word}` is not certain"
        yield Repair(places[0].statement, Refusal(reason, CONVERT_AGAIN), message)
        return
    statements: dict[int, Statement] = {}
    edits: defaultdict[int, dict[ast.expr, str | Writer]] = defaultdict(dict)
    for place, value in zip(places, values, strict=True):
        if value and not _has_keyword(place.node, word):
            statements[place.statement.line] = place.statement
            edits[place.statement.line][place.node] = write(f"{word}={value!r}")
    for line, statement in statements.items():
        yield Repair(statement, statement.rewrite(edits[line]), message)


def _has_keyword(node: ast.expr, word: str) -> bool:
    return isinstance(node, ast.Call) and any(keyword.arg == word for keyword in node.keywords)


def _write_division(argument: str) -> Writer:
    def write(node: ast.expr, copier: Copier) -> str:
        assert isinstance(node, ast.BinOp)
        left = copier.cut(node.left)
        if is_number(node.left):
            left = f"torch.tensor({left})"
        return f"torch.div({left}, {copier.cut(node.right)}, {argument})"

    return write


def _gives_integers(place: _Place) -> bool:
    """Whether the statement's result has integers: then no `/` in it gave a fraction, and none was true."""
    row = place.statement.row
    if row is None or not isinstance(place.node, ast.BinOp) or not isinstance(place.node.op, ast.Div):
        return False
    expression = row.parameter("expr") or "int("
    made = place.statement.operand(row.outputs[0])
    converts = any(word in expression for word in ("torch.", "int(", "size("))
    return made is not None and made.dtype in _INTEGERS and not converts


def _division_key(node: ast.BinOp) -> _Key:
    """What a division's traced call has in common with it: its sign, and its divisor if that is a number."""
    number = read_exact(ast.unparse(node.right)) if is_number(node.right) else None
    return isinstance(node.op, ast.FloorDiv), None if number is None else float(number.value)


def _traced_key(call: TracedCall) -> _Key:
    mode = call.literal("rounding_mode", 2)
    divisor = call.arguments[1].value if len(call.arguments) > 1 else None
    number = float(divisor) if isinstance(divisor, int | float) else None
    return call.operator == "aten::floor_divide" or mode == "trunc", number


class DroppedTraining(StatementRule):
    """A batch norm in training mode that is printed as one in evaluation mode.

    What it finds: `F.batch_norm(...)` whose traced call normalised with the statistics of the batch.

    Why it breaks: it normalises with the running statistics, and gives other numbers or nan.

    Repair: `training=True`, as the TorchScript file says.

    Limits: without the TorchScript file there is no trace of it. Where only some of the calls
    were in training mode, nothing is changed. A module such as `nn.BatchNorm2d` is left as it is:
    its mode is set by `train()` and `eval()`.

    Example:
        F.batch_norm(v_0, running_mean=v_1, running_var=v_2)
        ->    F.batch_norm(v_0, running_mean=v_1, running_var=v_2, training=True)

    Source: pnnx pass_level2/F_batch_norm, whose pattern takes any `training` and keeps none.
    """

    code = "PNX214"
    name = "dropped-training"

    def find(self, forward: Forward, pattern: str) -> Iterator[Repair]:
        statements = forward.find(pattern)
        places = [_Place(s, call) for s in statements for call in s.calls({"F.batch_norm"})]
        places = [place for place in places if "training=" not in place.statement.text]
        traced = forward.traced({"aten::batch_norm"}) if places else ()
        if isinstance(traced, Refusal):
            return
        calls = [_Traced((), call.literal("training", 5) is True) for call in traced]
        if any(call.value for call in calls):
            yield from _repair(places, calls, "training", add_argument)
