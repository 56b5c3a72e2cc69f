"""Files of any size with a known number of leaked clamps, in the spelling of pnnx 20261020."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

SHAPE = "(1,3,8,8)f32"
# Constants get numbers of their own, far from those of the chain.
FIRST_CONSTANT = 1_000_000

_HEAD = """\
import os
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

class Model(nn.Module):
    def __init__(self):
        super(Model, self).__init__()

        archive = zipfile.ZipFile('m.pnnx.bin', 'r')
        archive.close()

    def load_pnnx_bin_as_parameter(self, archive, key, shape, dtype, requires_grad=True):
        return nn.Parameter(self.load_pnnx_bin_as_tensor(archive, key, shape, dtype), requires_grad)

    def forward(self, v_0):
"""


def write_graphs(folder: Path, layers: int, leaks: int) -> None:
    """`m.ncnn.param` and `m.pnnx.param`: a chain of ReLU in which `leaks` operators are clamp_min."""
    ncnn = [_row("Input", "in0", [], ["in0"])]
    pnnx = [_row("pnnx.Input", "pnnx_input_0", [], ["0"], f"#0={SHAPE}")]
    blob = "in0"
    for at in range(1, layers + 1):
        before, after = str(at - 1), str(at)
        shapes = f"#{before}={SHAPE} #{after}={SHAPE}"
        if at % (layers // leaks):
            ncnn.append(_row("ReLU", f"relu_{at}", [blob], [after]))
            pnnx.append(_row("F.relu", f"F.relu_{at}", [before], [after], f"$input={before} {shapes}"))
        else:
            bound = str(FIRST_CONSTANT + at)
            ncnn.append(_row("pnnx.Expression", f"pnnx_expr_{at}", [], [bound]))
            pnnx.append(_row("pnnx.Expression", f"pnnx_expr_{at}", [], [bound], "expr=0.1"))
            ncnn.append(_row("aten::clamp_min", f"pnnx_{at}", [blob, bound], [after]))
            pnnx.append(_row("aten::clamp_min", f"pnnx_{at}", [before, bound], [after], shapes))
        blob = after
    pnnx.append(_row("pnnx.Output", "pnnx_output_0", [blob], []))
    _write(folder / "m.ncnn.param", ncnn, len(ncnn))
    _write(folder / "m.pnnx.param", pnnx, len(pnnx) - 1)
    (folder / "m.ncnn.bin").touch()


def write_python(folder: Path, statements: int, leaks: int) -> None:
    """`m_pnnx.py` whose forward has that many statements, `leaks` of which call aten::clamp_min."""
    lines = []
    every = statements // leaks
    for at in range(1, statements + 1):
        if at % every == every - 1:
            lines.append(f"        v_{FIRST_CONSTANT + at} = 0.1")
            continue
        before = at - 1 if at % every else at - 2
        if at % every:
            lines.append(f"        v_{at} = F.relu(v_{before})")
        else:
            lines.append(f"        v_{at} = aten::clamp_min(v_{before}, v_{FIRST_CONSTANT + at - 1})")
    text = _HEAD + "\n".join(lines) + f"\n        return v_{statements}\n"
    (folder / "m_pnnx.py").write_text(text)


def _row(kind: str, name: str, inputs: Sequence[str], outputs: Sequence[str], rest: str = "") -> str:
    words = [f"{kind:<24} {name:<24} {len(inputs)} {len(outputs)}", *inputs, *outputs]
    return " ".join([*words, rest] if rest else words)


def _write(path: Path, rows: Sequence[str], blobs: int) -> None:
    path.write_text(f"7767517\n{len(rows)} {blobs}\n" + "\n".join(rows) + "\n")
