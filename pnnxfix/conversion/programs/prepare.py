"""The program of the child process that rewrites a TorchScript model; run by path, never imported.

It changes the graphs of `forward` of the model and of all its submodules, which stay as they are: pnnx
knows modules by their classes. The model is saved as a new file.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Python put the folder of this file in front, and modules of the standard library are to come first.
sys.path[:] = [one for one in sys.path if one and Path(one).resolve() != Path(__file__).resolve().parent]
sys.path.append(str(Path(__file__).resolve().parents[3]))

from pnnxfix.conversion.rewrites import RENAMES, REWRITES, Rewrite  # noqa: E402
from pnnxfix.verify.serve import serve  # noqa: E402

_COMPLEX = ("fft", "complex", "polar", "stft")
_ARITHMETIC = frozenset(
    {"aten::add", "aten::sub", "aten::rsub", "aten::mul", "aten::div", "aten::floor_divide",
     "aten::remainder", "aten::neg", "aten::clamp", "aten::maximum", "aten::minimum"}
)  # fmt: skip
_DEEPEST_SIZE = 50
_ROWS: dict[str, list[Rewrite]] = {}
for _row in REWRITES:
    _ROWS.setdefault(_row.operator, []).append(_row)
# What gives a view of its input: written into in place, it changes that too.
_VIEWS = frozenset({
    "alias", "detach", "diagonal", "expand", "expand_as", "flatten", "narrow", "permute", "reshape",
    "reshape_as", "select", "slice", "squeeze", "t", "transpose", "unflatten", "unfold", "unsqueeze", "view",
    "view_as", "to", "contiguous", "chunk", "split", "unbind", "swapaxes", "swapdims", "movedim", "moveaxis",
    "numpy_T", "mT", "mH", "adjoint", "real",
})  # fmt: skip


def start() -> str:
    import torch

    torch.set_num_threads(1)
    return f"PyTorch {torch.__version__}"


def prepare(path: str, target: str) -> dict[str, Any]:
    """Rewrite what can be rewritten and save it as `target`; no file where there is nothing."""
    import torch

    model = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    graphs = list(_find_graphs(model))
    kinds = {node.kind() for graph in graphs for node in _walk(graph)}
    is_real = not any(word in kind for kind in kinds for word in _COMPLEX)
    done: Counter[str] = Counter()
    for graph in graphs:
        for node in list(_walk(graph)):
            before = node.kind()
            if _rewrite(graph, node, is_real) or _put_zeros_back(graph, node):
                done[before] += 1
    if done:
        model.save(target)
    return {"rewritten": dict(sorted(done.items()))}


def _find_graphs(model: Any) -> Iterator[Any]:
    seen = set()
    for module in model.modules():
        # Modules of one class share their code.
        kind = str(module._c._type())
        if kind not in seen and module._c._has_method("forward"):
            seen.add(kind)
            yield module.forward.graph


def _walk(block: Any) -> Iterator[Any]:
    stack = [iter(list(block.nodes()))]
    while stack:
        node = next(stack[-1], None)
        if node is None:
            stack.pop()
            continue
        yield node
        stack += [iter(list(inner.nodes())) for inner in node.blocks()]


def _rewrite(graph: Any, node: Any, is_real: bool) -> bool:
    kind = node.kind()
    if kind.endswith("_") and not kind.endswith("__"):
        kind = kind[:-1]
        if kind not in _ROWS or not _may_copy(node):
            return False
    if kind in RENAMES:
        _replace(node, [_rename(graph, node, RENAMES[kind])])
        return True
    for row in _ROWS.get(kind, ()):
        if (is_real or not row.real) and _matches(row, node) and not _is_size(node):
            _replace(node, [_insert(graph, node, row, body) for body in row.bodies])
            return True
    return False


def _is_size(node: Any) -> bool:
    """Whether the first argument is computed from sizes: a tensor in a trace, and an integer all the same."""
    value = next(iter(node.inputs()))
    for _ in range(_DEEPEST_SIZE):
        producer = value.node()
        if producer.kind() in ("prim::NumToTensor", "aten::size"):
            return True
        if producer.kind() not in _ARITHMETIC:
            return False
        value = next(iter(producer.inputs()))
    return False


def _may_copy(node: Any) -> bool:
    """Whether what is written in place is read nowhere else: no view, no input, no parameter."""
    value = next(iter(node.inputs()))
    producer = value.node()
    owned = producer.kind() == "prim::CallMethod" or _makes_own(producer)
    return owned and all(use.user == node or use.user.isBefore(node) for use in value.uses())


def _makes_own(node: Any) -> bool:
    """Whether the result of an operator shares no memory with what it reads, as far as its kind tells."""
    return node.kind().startswith("aten::") and node.kind()[6:] not in _VIEWS


def _put_zeros_back(graph: Any, node: Any) -> bool:
    """`whole[a:b].zero_()` becomes a new `whole`: of a constant one, pnnx folds the part for itself."""
    import torch

    if node.kind() != "aten::zero_" or node.output().uses():
        return False
    part = next(iter(node.inputs()))
    cut = part.node()
    if cut.kind() != "aten::slice" or len(part.uses()) != 1:
        return False
    whole, *where = cut.inputs()
    producer = whole.node()
    if not _makes_own(producer) or producer.kind().endswith("_"):
        return False
    for use in whole.uses():
        reader = use.user
        keeps = not _makes_own(reader) or reader.kind().endswith("_")
        if reader.owningBlock() != node.owningBlock() or (keeps and reader != cut and reader.isBefore(node)):
            return False
    unit = torch.jit.CompilationUnit(
        "def f(x, part, dim: int, start: int, end: int, step: int):\n"
        "    return torch.slice_scatter(x, torch.zeros_like(part), dim, start, end, step)\n"
    )
    with graph.insert_point_guard(node):
        (made,) = graph.insertGraph(unit.f.graph, [whole, part, *where])
    made.setType(whole.type())
    for use in whole.uses():
        if use.user.isAfter(node):
            use.user.replaceInput(use.offset, made)
    node.destroy()
    return True


def _matches(row: Rewrite, node: Any) -> bool:
    types = [_find_type(part) for part in row.parameters.split(", ")]
    inputs = list(node.inputs())
    if len(inputs) != len(types) or node.outputsSize() != len(row.bodies):
        return False
    for at, (wanted, value) in enumerate(zip(types, inputs, strict=True)):
        if at in row.fixed:
            if value.node().kind() != "prim::Constant" or value.toIValue() != row.fixed[at]:
                return False
            continue
        given = str(value.type())
        is_tensor = value.type().kind() == "TensorType"
        if (wanted == "Tensor") != is_tensor or given == "NoneType":
            return False
        if wanted == "str" and value.node().kind() != "prim::Constant":
            return False
    return True


def _find_type(parameter: str) -> str:
    return parameter.partition(": ")[2] or "Tensor"


def _insert(graph: Any, node: Any, row: Rewrite, body: str) -> Any:
    """The body's nodes before `node`; gives their result."""
    import torch

    names = [part.partition(": ")[0] for part in row.parameters.split(", ")]
    kept = [at for at in range(len(names)) if at not in row.fixed]
    known = [(names[at], value) for at, value in row.fixed.items() if value is not None]
    fixed = "".join(f"    {name} = {_spell(value)}\n" for name, value in known)
    signature = ", ".join(row.parameters.split(", ")[at] for at in kept)
    unit = torch.jit.CompilationUnit(f"def f({signature}):\n{fixed}    return {body}\n")
    inputs = list(node.inputs())
    with graph.insert_point_guard(node):
        (made,) = graph.insertGraph(unit.f.graph, [inputs[at] for at in kept])
    return made


def _spell(value: object) -> str:
    return f"float('{value}')" if value in (float("inf"), float("-inf")) else repr(value)


def _rename(graph: Any, node: Any, kind: str) -> Any:
    made = graph.create(kind, list(node.inputs()), 1)
    made.insertBefore(node)
    return made.output()


def _replace(node: Any, values: list[Any]) -> None:
    for old, new in zip(node.outputs(), values, strict=True):
        if new not in list(node.inputs()):
            new.setType(old.type())
        old.replaceAllUsesWith(new)
    node.destroy()


if __name__ == "__main__":
    serve({"prepare": prepare}, start)
