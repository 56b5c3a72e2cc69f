"""`make demo` shows a real repair, and fails where the repaired model computes something else."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ncnn", reason="the demo runs the repaired network")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "demo.py"


def test_it_shows_the_repair_and_the_numbers(environment: dict[str, str]) -> None:
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "SyntaxError" in done.stderr
    assert "\n-1\n" in done.stdout
    assert "+Clip" in done.stdout
    assert "torch.clamp_min(v_3, 0.0)" in done.stdout
    assert "\n0\n" in done.stdout
    difference = re.search(r"largest difference from PyTorch \S+ is (\S+),", done.stdout)
    assert difference is not None
    assert 0 < float(difference[1]) < 2e-3


def test_wrong_numbers_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo: dict[str, Any] = runpy.run_path(str(SCRIPT))
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "fixtures" / "native" / "20261020" / "conv2d-both", folder)
    source = ROOT / "fixtures" / "20261020" / "conv2d-both"
    shutil.copy(source / "model.ncnn.bin", folder)
    shutil.copy(source / "io.npz", folder)
    assert demo["compare"](folder, "2")
    with np.load(folder / "io.npz") as stored:
        arrays = dict(stored)
    arrays["out0"][0, 0, 0, 0] += 1
    np.savez(folder / "io.npz", **arrays)
    assert not demo["compare"](folder, "2")
    assert "MORE THAN" in capsys.readouterr().out
