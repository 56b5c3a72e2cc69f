"""Runs a TorchScript graph node by node, so that each value on the way can be seen and then dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

See = Callable[..., None]


class Unsupported(ValueError):
    """A node that straight-line code has not: a branch, a loop, a call of an unknown kind."""


def interpret(module: Any, inputs: list[Any], see: See) -> None:
    """Run the module; `see(key, value, kind=..., inputs=...)` is called with what each operator made.

    Raises Unsupported for control flow, which no traced network has.
    """
    graph = module.inlined_graph
    values: dict[str, Any] = {}
    names = [value.debugName() for value in graph.inputs()]
    values[names[0]] = module
    for at, (name, tensor) in enumerate(zip(names[1:], inputs, strict=True)):
        values[name] = tensor
        see(f"in{at}", tensor, kind="Input", inputs=[])
    keys = {name: f"in{at}" for at, name in enumerate(names[1:])}
    uses = Counter(value.debugName() for node in graph.nodes() for value in node.inputs())
    for node in graph.nodes():
        sources = [value.debugName() for value in node.inputs()]
        made = _run(node, [values[name] for name in sources])
        for value, result in zip(node.outputs(), made, strict=True):
            name = value.debugName()
            values[name] = result
            kind = node.kind().partition("::")[2]
            if isinstance(result, torch.Tensor):
                keys[name] = name
                read = [keys[source] for source in sources if source in keys]
                see(name, result, kind=kind.strip("_"), inputs=read, scope=node.scopeName())
            elif len(held := [keys[source] for source in sources if source in keys]) == 1:
                keys[name] = held[0]
        uses.subtract(sources)
        for name in set(sources):
            if uses[name] <= 0 and name != names[0]:
                values.pop(name, None)


def _run(node: Any, arguments: list[Any]) -> list[Any]:
    kind = node.kind()
    count = len(list(node.outputs()))
    match kind:
        case "prim::Constant":
            return [next(node.outputs()).toIValue()]
        case "prim::GetAttr":
            return [getattr(arguments[0], node.s("name"))]
        case "prim::ListConstruct":
            return [list(arguments)]
        case "prim::TupleConstruct":
            return [tuple(arguments)]
        case "prim::ListUnpack" | "prim::TupleUnpack":
            return list(arguments[0])
        case "prim::NumToTensor":
            return [torch.tensor(arguments[0])]
    schema = node.schema()
    if not kind.startswith("aten::") or schema == "(no schema)":
        raise Unsupported(f"{kind} is not run step by step")
    name, _, overload = schema.partition("(")[0].removeprefix("aten::").partition(".")
    positional, named = [], {}
    for argument, value in zip(torch._C.parse_schema(schema).arguments, arguments, strict=True):
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            positional.append(value)
    result = getattr(getattr(torch.ops.aten, name), overload or "default")(*positional, **named)
    return [result] if count == 1 else list(result)
