"""A network that ends before what ncnn cannot compute: it loads, and what it gives is what is left to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pnnxfix
from tests.helpers.conversions import FIXTURES, snapshot
from tests.numeric.conftest import Run

FOLDER = FIXTURES / "lowering" / "20261020"
Array = np.ndarray[Any, Any]

# What the user's program computes from the blobs that the network ends with, case by case.
REST: dict[str, Callable[..., tuple[Array, ...]]] = {
    "nonzero-places": lambda mask: (np.argwhere(mask),),
    "rfft": lambda y: (np.abs(np.fft.rfft(y)),),
    "topk-values": lambda y: (np.sort(y)[:, :-4:-1] * 2,),
    "sort-beside-outputs": lambda relu, y: (np.sort(y) * 2, relu, y),
}
LEFT = {
    "nonzero-places": "aten::nonzero",
    "rfft": "torch.fft.rfft, abs(@0)",
    "topk-values": "torch.topk, mul(@0,2)",
    "sort-beside-outputs": "aten::sort, mul(@0,2)",
}


def copy(case: str, folder: Path) -> Path:
    return Path(shutil.copytree(FOLDER / case, folder / "conversion"))


@pytest.mark.parametrize("case", ["sort-before-weights", "integers-without-bounds", "argmax"])
def test_nothing_is_cut_where_the_network_does_not_end(case: str, tmp_path: Path) -> None:
    folder = copy(case, tmp_path)
    rows = (folder / "model.ncnn.param").read_bytes()
    report = pnnxfix.fix(folder, cut=True)
    assert not [one for one in report.findings if "--cut" in one.help]
    assert all(one.code != "PNX206" for one in report.fixed)
    assert (folder / "model.ncnn.param").read_bytes() == rows


@pytest.mark.parametrize("case", ["places-behind-a-lost-batch", "sorted-pooled-attention"])
def test_nothing_is_cut_where_the_rest_is_not_right(case: str, tmp_path: Path) -> None:
    folder = copy(case, tmp_path)
    script = (folder / "model_ncnn.py").read_bytes()
    report = pnnxfix.fix(folder, cut=True, load_check=True)
    assert report.exit_code == 1
    assert all(one.code != "PNX206" for one in report.fixed)
    assert b" out0" in (folder / "model.ncnn.param").read_bytes()
    assert (folder / "model_ncnn.py").read_bytes() == script


@pytest.mark.parametrize("case", REST)
def test_nothing_is_cut_unless_it_is_asked_for(case: str, tmp_path: Path) -> None:
    folder = copy(case, tmp_path)
    before = snapshot(folder)
    advised = [one for one in pnnxfix.check(folder).findings if "pnnxfix fix --cut" in one.help]
    assert len(advised) == 1
    assert not advised[0].fixable
    assert LEFT[case] in advised[0].help
    assert snapshot(folder) == before
    pnnxfix.fix(folder)
    after = snapshot(folder)
    assert b" out0" in after["model.ncnn.param"]
    assert after["model_ncnn.py"] == before["model_ncnn.py"]


@pytest.mark.parametrize("case", REST)
def test_the_rest_of_the_work_gives_the_numbers_of_pytorch(case: str, tmp_path: Path, run_ncnn: Run) -> None:
    folder = copy(case, tmp_path)
    weights = (folder / "model.ncnn.bin").read_bytes()
    report = pnnxfix.fix(folder, cut=True, load_check=True)
    assert report.exit_code == 0
    assert any(LEFT[case] in note for note in report.conversions[0].notes)
    assert (folder / "model.ncnn.bin").read_bytes() == weights
    stored = np.load(folder / "io.npz")
    blobs = run_ncnn(folder, "model")
    for at, result in enumerate(REST[case](*blobs.values())):
        np.testing.assert_allclose(result, stored[f"out{at}"], rtol=1e-4, atol=1e-5)
    after = snapshot(folder)
    assert pnnxfix.fix(folder, cut=True).exit_code == 0
    assert snapshot(folder) == after
