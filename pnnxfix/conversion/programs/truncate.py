"""The program of the child process that cuts a TorchScript model short; run by path, never imported.

What is left of it computes the first nodes of the graph, all submodules inlined, and returns every
tensor of theirs that a later node reads.
"""

from __future__ import annotations

import re
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

# Python put the folder of this file in front, and modules of the standard library are to come first.
sys.path[:] = [one for one in sys.path if one and Path(one).resolve() != Path(__file__).resolve().parent]
sys.path.append(str(Path(__file__).resolve().parents[3]))

from pnnxfix.verify.serve import serve  # noqa: E402

_FRAME = re.compile(r"^\s*(\S.*?\.py|<\w+>)\((\d+)\): ", re.MULTILINE)
_OWN_FRAMES = re.compile(r"[/\\]torch[/\\](?!.*[/\\]site-packages[/\\])")


def start() -> str:
    import torch

    torch.set_num_threads(1)
    return f"PyTorch {torch.__version__}"


def _load(path: str) -> tuple[Any, Any]:
    import torch

    model = torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
    graph = model.forward.graph
    torch._C._jit_pass_inline(graph)
    return model, graph


def run(path: str, shapes: list[tuple[list[int], str]]) -> dict[str, Any]:
    """What PyTorch says against inputs of these shapes and types, "" if it takes them."""
    import torch

    model, _ = _load(path)
    # Zeros are in range wherever integers are indices.
    inputs = [torch.zeros(size, dtype=getattr(torch, kind)) for size, kind in shapes]
    try:
        with torch.no_grad():
            model(*inputs)
    except Exception as error:
        return {"refused": str(error).strip().splitlines()[-1].removeprefix("RuntimeError: ")}
    return {"refused": ""}


def list_nodes(path: str) -> dict[str, Any]:
    """Kind and source line of each node; the latter is "" where the file does not know it."""
    _, graph = _load(path)
    return {"nodes": [[node.kind(), _find_source(node.sourceRange())] for node in graph.nodes()]}


def _find_source(text: str) -> str:
    """The innermost line of the user's own code, `model.py:40`."""
    for file, line in _FRAME.findall(text):
        if not _OWN_FRAMES.search(file):
            return f"{file}:{line}"
    return ""


def cut(path: str, target: str, count: int) -> dict[str, Any]:
    """Save the first `count` nodes as a model; how many tensors it returns, 0 and no file for none."""
    import torch

    model, graph = _load(path)
    nodes = list(graph.nodes())
    kept = set(range(count))
    at = {node: index for index, node in enumerate(nodes)}
    tensor = torch._C.TensorType.get()
    frontier = [
        output
        for node in nodes[:count]
        for output in node.outputs()
        if output.type().kind() == "TensorType" and node.kind() not in ("prim::Constant", "prim::GetAttr")
        and any(at.get(use.user, count) not in kept for use in output.uses())
    ]  # fmt: skip
    if not frontier:
        return {"outputs": 0}
    graph.eraseOutput(0)
    if len(frontier) == 1:
        graph.registerOutput(frontier[0])
    else:
        made = graph.create("prim::TupleConstruct", frontier, 1)
        graph.appendNode(made)
        made.output().setType(torch._C.TupleType([tensor] * len(frontier)))
        graph.registerOutput(made.output())
    torch._C._jit_pass_dce(graph)
    model.save(target)
    _set_return_type(target, len(frontier))
    return {"outputs": len(frontier)}


def _set_return_type(path: str, outputs: int) -> None:
    """Correct the annotation of `forward`: PyTorch saves that of the whole model."""
    from pnnxfix.codecs.torchscript_archive import Archive

    archive = Archive(path)
    module, _, name = archive.top.rpartition(".")
    archive.close()
    wanted = "Tensor" if outputs == 1 else f"Tuple[{', '.join(['Tensor'] * outputs)}]"
    member = f"code/{module.replace('.', '/')}.py"
    pattern = re.compile(
        rf"(^class {re.escape(name)}\(.*?^  def forward\(.*?\) -> )[^\n]*:$", re.DOTALL | re.MULTILINE
    )
    patched = f"{path}.patched"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(patched, "w", zipfile.ZIP_STORED) as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename.partition("/")[2] == member:
                data = pattern.sub(rf"\g<1>{wanted}:", data.decode(), count=1).encode()
            target.writestr(info.filename, data)
    shutil.move(patched, path)


if __name__ == "__main__":
    serve({"run": run, "list_nodes": list_nodes, "cut": cut}, start)
