"""GPT-2 of transformers: traced, converted by the installed pnnx, and located where ncnn goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pnnxfix.cli.main import main
from tests.verify.conftest import Verify
from tests.verify.test_wrong import is_power_of_negatives_wrong

pytest.importorskip("transformers", reason="the network is that of transformers")
pytest.importorskip("pnnx", reason="the network is converted in the test")


def convert(folder: Path, use_cache: bool) -> Path:
    """A small GPT-2 with random weights, its attention written out, which pnnx has layers for."""
    import torch
    import transformers

    torch.manual_seed(0)
    small = {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 200}
    config = transformers.GPT2Config(**small, attn_implementation="eager", use_cache=use_cache)
    model = transformers.GPT2Model(config).eval()

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(x, return_dict=False)[0]

    words = torch.randint(3, 190, (1, 16))
    with torch.no_grad():
        torch.jit.trace(Plain().eval(), words, check_trace=False).save(str(folder / "model.pt"))
    pnnx = [sys.executable, "-c", "import pnnx, sys; sys.exit(pnnx.pnnx())"]
    command = [*pnnx, "model.pt", "inputshape=[1,16]i64", "fp16=0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def locate(report: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    """The type of the first wrong layer, its lines in the files, what is said of the cause."""
    found = report["conversions"][0]["forms"][1]["divergence"]
    return found["type"], [place["text"] for place in found["places"]], found["causes"]


def test_the_power_in_its_activation(tmp_path: Path, verify: Verify) -> None:
    code, report, err = verify("--bisect", convert(tmp_path, use_cache=False))
    if not is_power_of_negatives_wrong():
        assert code == 0, err
        return
    kind, lines, causes = locate(report)
    assert (code, kind, len(lines)) == (1, "BinaryOp", 3), err
    assert "torch.pow(" in lines[0]
    assert any("pow of a negative base" in cause for cause in causes)


def test_the_empty_cache_in_its_attention(tmp_path: Path, verify: Verify) -> None:
    code, report, _ = verify("--bisect", convert(tmp_path, use_cache=True))
    assert code in (1, 2)  # what ncnn reads there, no one has written, and it may die of it
    kind, lines, causes = locate(report)
    assert (kind, len(lines)) == ("Concat", 3)
    assert "torch.cat(" in lines[0]
    assert any("without elements" in cause for cause in causes)


def test_what_fix_leaves_is_located_or_right(tmp_path: Path, verify: Verify) -> None:
    folder = convert(tmp_path, use_cache=True)
    main(["fix", "--quiet", str(folder)])
    code, report, err = verify("--bisect", folder)
    if code == 0:
        return
    kind, lines, _ = locate(report)
    assert kind in ("BinaryOp", "Concat"), err
    assert lines
