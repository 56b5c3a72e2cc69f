"""The program of the child process that runs a network in PyTorch; run by path, never imported.

It runs a TorchScript file, or the class of a generated `_pnnx.py`. That is code of the conversion, so
this process has a limit of time and of memory, and nothing else depends on it.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import sys
from pathlib import Path
from typing import Any

# Python put the folder of this file in front, and modules of the standard library are to come first.
sys.path[:] = [
    entry for entry in sys.path if entry and Path(entry).resolve() != Path(__file__).resolve().parent
]
sys.path.append(str(Path(__file__).resolve().parents[2]))

from pnnxfix.verify.instrument import PROBE, Probe, instrument, release  # noqa: E402
from pnnxfix.verify.serve import serve  # noqa: E402
from pnnxfix.verify.signature import Enough, Recorder  # noqa: E402

_LARGEST_HALF = 65504.0
_SMALLEST_NORMAL_HALF = 2.0**-14
# The weights that pnnx stores as half floats, by the beginning of the module's class.
_HALVED = {
    "Conv": ("weight",),
    "Linear": ("weight",),
    "Embedding": ("weight",),
    "MultiheadAttention": ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
    "NonDynamicallyQuantizableLinear": ("weight",),
}
_HALVED_WHOLE = ("LSTM", "GRU", "RNN")


class Loaded:
    """The one network of this process."""

    network: Any = None
    tree: ast.Module | None = None
    scope: dict[str, Any] | None = None


def start() -> str:
    import torch

    # One reads the numbers of a tensor that another thread has summed in another order.
    torch.set_num_threads(max(1, min(4, torch.get_num_threads())))
    return f"PyTorch {torch.__version__}"


def load_torchscript(path: str) -> dict[str, Any]:
    import torch

    network = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    Loaded.network = network.eval()
    return {}


def load_python(path: str, bin: str) -> dict[str, Any]:
    """Import the file under another name; its weights are read from `bin`, wherever pnnx wrote them."""
    source = Path(path).read_bytes()
    tree = ast.parse(source, path)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "ZipFile"
        ):
            node.args[:1] = [ast.copy_location(ast.Constant(bin), node)]
    scope: dict[str, Any] = {"__name__": "converted", "__file__": path}
    exec(compile(_Lean().visit(copy.deepcopy(tree)), path, "exec"), scope)
    network = scope["Model"]()
    if b"net.float()" in source:
        network.float()
    Loaded.network, Loaded.tree, Loaded.scope = network.eval(), tree, scope
    return {}


class _Lean(ast.NodeTransformer):
    """Lets each `forward` drop its values behind their last use."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        return release(node) if node.name == "forward" else node


def _read(paths: list[str]) -> list[Any]:
    import numpy as np
    import torch

    return [torch.from_numpy(np.load(path)) for path in paths]


def _tensors(value: Any) -> list[Any]:
    """The tensors in nested tuples and lists, first to last."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, (tuple, list)) else []


def run(inputs: list[str], folder: str, names: list[str]) -> dict[str, Any]:
    import numpy as np
    import torch

    with torch.no_grad():
        outputs = _tensors(Loaded.network(*_read(inputs)))
    for at, output in enumerate(outputs):
        np.save(Path(folder, f"out{at}.npy"), _numbers(output))
    return {"outputs": [f"out{at}" for at in range(len(outputs))]}


def _numbers(tensor: Any) -> Any:
    import torch

    tensor = tensor.detach()
    if tensor.dtype in (torch.bfloat16, torch.float16):
        tensor = tensor.float()
    return tensor.resolve_conj().resolve_neg().cpu().numpy()


def round_weights(network: Any, nearest: bool) -> None:
    """Give the modules the weights that ncnn has: half floats, rounded as pnnx of that release does.

    What half floats cannot hold stays as it is, since losing it is a fault that is looked for.
    """
    import torch

    def round_one(weight: Any) -> None:
        bits = weight.data.contiguous().view(torch.int32)
        cut = weight.data.half().float() if nearest else (bits & -8192).view(torch.float32)
        cut = torch.where(weight.data.abs() < _SMALLEST_NORMAL_HALF, torch.zeros_like(cut), cut)
        weight.data = torch.where(weight.data.abs() > _LARGEST_HALF, weight.data, cut)

    for module in network.modules():
        kind = type(module).__name__
        if kind == "LSTM":
            add_biases(module)
        for name, weight in module.named_parameters(recurse=False):
            whole = kind.startswith(_HALVED_WHOLE)
            if weight.dtype == torch.float32 and (
                whole or any(kind.startswith(k) and name in names for k, names in _HALVED.items())
            ):
                round_one(weight)


def add_biases(module: Any) -> None:
    """ncnn has one bias where torch has two, so pnnx rounds their sum."""
    for name, bias in module.named_parameters(recurse=False):
        if name.startswith("bias_ih"):
            other = getattr(module, name.replace("_ih", "_hh"))
            bias.data = bias.data + other.data
            other.data = other.data * 0


def trace(inputs: list[str], folder: str, wanted: list[str], half: str) -> dict[str, Any]:
    """Show every value on the way to a recorder; `half` is `nearest`, `truncate` or nothing."""
    import torch

    recorder = Recorder(Path(folder), frozenset(wanted))
    with torch.no_grad(), contextlib.suppress(Enough):
        if Loaded.tree is None:
            _trace_torchscript(_read(inputs), recorder)
        else:
            if half:
                round_weights(Loaded.network, half == "nearest")
            _trace_python(_read(inputs), recorder)
    recorder.close()
    return {}


def _trace_torchscript(inputs: list[Any], recorder: Recorder) -> None:
    from pnnxfix.verify.interpret import interpret

    interpret(
        Loaded.network, inputs, lambda key, tensor, **facts: recorder.see(key, _numbers(tensor), **facts)
    )


def _trace_python(inputs: list[Any], recorder: Recorder) -> None:
    assert Loaded.tree is not None
    assert Loaded.scope is not None
    forward = next(
        node for node in ast.walk(Loaded.tree) if isinstance(node, ast.FunctionDef) and node.name == "forward"
    )
    changed, probes = instrument(forward)

    def see(at: int, value: Any) -> Any:
        tensors = _tensors(value)
        for index, tensor in enumerate(tensors):
            key = f"{at}" if tensors and tensor is value else f"{at}.{index}"
            facts = _describe(probes[at])
            if facts["kind"].lower().replace("_", "") == "logsoftmax":
                # ncnn gets it as two layers.
                recorder.see(f"{key}s", _numbers(tensor.exp()), **{**facts, "kind": "softmax"})
                facts["inputs"] = [f"{key}s"]
            recorder.see(key, _numbers(tensor), **facts)
        return value

    for at, tensor in enumerate(inputs):
        argument = forward.args.args[at + 1].arg
        recorder.see(
            f"in{at}", _numbers(tensor), kind="Input", inputs=[], line=forward.lineno, target=argument
        )
    scope = {**Loaded.scope, PROBE: see}
    exec(compile(ast.Module([changed], []), "<forward>", "exec"), scope)
    scope["forward"](Loaded.network, *inputs)


def _describe(probe: Probe) -> dict[str, Any]:
    kind, largest = probe.kind, None
    if kind == "module":
        module = getattr(Loaded.network, probe.module)
        kind = type(module).__name__
        weight = getattr(module, "weight", None)
        largest = None if weight is None or not weight.numel() else float(weight.abs().max())
    return {
        "kind": kind,
        "inputs": list(probe.inputs),
        "line": probe.line,
        "target": probe.target,
        "is_part": probe.is_part,
        "largest_weight": largest,
    }


if __name__ == "__main__":
    serve(
        {"load_torchscript": load_torchscript, "load_python": load_python, "run": run, "trace": trace}, start
    )
