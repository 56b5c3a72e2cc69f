"""Finds leaked operators in each file of a conversion and joins what is one operator.

`.pnnx.param` and `.ncnn.param` share type and name of an operator, never a blob's name;
`.pnnx.param` and `_pnnx.py` share the numbers of operands (`7` is `v_7`). Where `.pnnx.param`
is missing, Python and ncnn are joined by the order of their operators, if that is certain.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pnnxfix.codecs.python_source import LeakedCall
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.splits import EXPRESSION, is_layout_row, origin
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import OperatorRule


@dataclass(slots=True)
class Leak:
    """One leaked operator: its row or statement in each file that has it.

    `doubt` says why its parts may not be of one operator, or is empty.
    """

    type: str
    name: str
    rule: OperatorRule | None = None
    ncnn: int | None = None
    pnnx: int | None = None
    python: LeakedCall | None = None
    doubt: str = ""


LISTS = frozenset({"prim::ListConstruct", "prim::TupleConstruct", "prim::ListUnpack"})


def is_attendant(layer: Operator) -> bool:
    """Whether a row is there only for another one: a constant, a list, a change of layout."""
    return layer.type == EXPRESSION or layer.type in LISTS or is_layout_row(layer)


def _may_compute(layer: Operator) -> bool:
    return layer.type == EXPRESSION and bool(layer.inputs)


def _computes(operator: Operator) -> bool:
    """Whether an Expression is arithmetic of tensors: a leaked operator of its own."""
    from pnnxfix.rules.lowering.expressions import is_arithmetic

    return bool(operator.inputs) and is_arithmetic(operator.parameter("expr") or "")


def find_leaks(
    loaded: LoadedConversion, unknown_layers: list[int], rules: Mapping[str, OperatorRule]
) -> list[Leak]:
    """The leaked operators of a conversion, in the order of the graph. Cost: their number."""
    leaks: list[Leak] = []
    by_key: dict[tuple[str, str], Leak] = {}
    by_value: dict[str, Leak] = {}
    rule_of = cache(rules.get)
    layers = [(handle, loaded.ncnn.graph[handle]) for handle in unknown_layers] if loaded.ncnn else []
    if loaded.pnnx is not None:
        graph = loaded.pnnx.graph
        wanted = {kind for kind in rules if "::" in kind}
        left = {layer.name for _, layer in layers if not is_attendant(layer) or _may_compute(layer)}
        handles = graph.of_types(wanted)
        # A converted type such as torch.clamp leaks only where ncnn still has its row.
        if left := left - {graph[handle].name for handle in handles}:
            named = [at for at, row in loaded.pnnx.file.rows() if row[1] in left]
            handles = sorted({*handles, *named})
        for index in handles:
            operator = graph[index]
            kind, name = operator.type, operator.name
            if kind in LISTS or (kind == EXPRESSION and not _computes(operator)):
                continue
            leak = Leak(kind, name, rule_of(kind), pnnx=index)
            leaks.append(leak)
            by_key[kind, name] = leak
            for operand in operator.outputs:
                by_value[operand] = leak
    if loaded.ncnn is not None:
        for handle, layer in layers:
            found = by_key.get((layer.type, layer.name))
            if found is None and is_attendant(layer):
                continue
            if found is None or found.ncnn is not None:
                found = Leak(layer.type, layer.name, rule_of(layer.type))
                leaks.append(found)
                if loaded.pnnx is not None:
                    found.doubt = f"{loaded.pnnx.file.path} has no {layer.type} named {layer.name}"
            found.ncnn = handle
    _join_python(loaded, leaks, by_value, rules)
    return leaks


def _join_python(
    loaded: LoadedConversion, leaks: list[Leak], by_value: dict[str, Leak], rules: Mapping[str, OperatorRule]
) -> None:
    if loaded.python is None:
        return
    calls = loaded.python.leaks
    if loaded.pnnx is None and loaded.ncnn is not None:
        _join_by_order(loaded, leaks, calls)
        return
    for call in calls:
        target = call.targets[0]
        found = by_value.get(target[2:]) if target.startswith("v_") else None
        if found is None:
            found = Leak(call.operator, call.targets[0], rules.get(call.operator), python=call)
            leaks.append(found)
            # Operators without a rule are not looked for in .pnnx.param.
            if loaded.pnnx is not None and found.rule is not None:
                found.doubt = (
                    f"{loaded.pnnx.file.path} has no {call.operator} that makes {call.targets[0][2:]}"
                )
        elif found.type != call.operator or found.python is not None:
            found.doubt = (
                f"{loaded.python.path}:{call.line + 1} computes {call.targets[0]} with {call.operator}"
            )
            rule = rules.get(call.operator)
            leaks.append(Leak(call.operator, call.targets[0], rule, python=call, doubt=found.doubt))
        else:
            found.python = call


def _join_by_order(loaded: LoadedConversion, leaks: list[Leak], calls: list[LeakedCall]) -> None:
    """Join the k-th call of an operator with its k-th row, if their constants are shared alike."""
    assert loaded.ncnn is not None
    assert loaded.python is not None
    graph = loaded.ncnn.graph
    rows: defaultdict[str, list[Leak]] = defaultdict(list)
    statements: defaultdict[str, list[LeakedCall]] = defaultdict(list)
    for leak in leaks:
        rows[leak.type].append(leak)
    for call in calls:
        statements[call.operator].append(call)
    for kind, found in statements.items():
        partners = rows.get(kind, [])
        if len(partners) == len(found):
            for leak, call in zip(partners, found, strict=True):
                leak.python = call
            continue
        rule = partners[0].rule if partners else None
        for leak in partners:
            leak.doubt = (
                f"{loaded.python.path} calls {kind} {len(found)} times, and {len(partners)} rows have it"
            )
        for call in found:
            leaks.append(
                Leak(kind, call.targets[0], rule, python=call, doubt=partners[0].doubt if partners else "")
            )
    # A constant that two operators share in one file is shared in the other; else the order lies.
    names: dict[str, str] = {}
    for leak in leaks:
        if leak.python is None or leak.ncnn is None:
            continue
        inputs = graph[leak.ncnn].inputs
        if len(inputs) != len(leak.python.arguments):
            leak.doubt = (
                f"the row has {len(inputs)} inputs and the call {len(leak.python.arguments)} arguments"
            )
            continue
        for blob, argument in zip(inputs, leak.python.arguments, strict=True):
            if argument in loaded.python.constants and names.setdefault(
                argument, origin(graph, blob)
            ) != origin(graph, blob):
                leak.doubt = f"{loaded.python.path} and {loaded.ncnn.file.path} share constants differently"
