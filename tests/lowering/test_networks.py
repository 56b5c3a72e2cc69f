"""Networks that leak, converted by real pnnx: the repaired ncnn model gives PyTorch's numbers."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

import pnnxfix
from pnnxfix.rules.cases import Case, Refused
from tests.helpers.comparison import assert_same_numbers, load_outputs
from tests.helpers.conversions import FIXTURES, fix_folder, snapshot
from tests.numeric.conftest import Run

FOLDER = FIXTURES / "lowering"
CASES: dict[str, Case] = {case.id: case for case in runpy.run_path(str(FIXTURES / "lowering.py"))["CASES"]}
STORED = sorted(path for path in FOLDER.glob("*/*") if path.is_dir())
REPAIRED = [path for path in STORED if not isinstance(CASES[path.name], Refused)]
REFUSED = [path for path in STORED if isinstance(CASES[path.name], Refused)]


def _id(path: Path) -> str:
    return f"{path.parent.name}-{path.name}"


def test_every_case_is_stored() -> None:
    assert {path.name for path in STORED} == set(CASES)


@pytest.mark.parametrize("stored", REPAIRED, ids=_id)
def test_repaired_network_gives_the_numbers_of_pytorch(stored: Path, tmp_path: Path, run_ncnn: Run) -> None:
    folder = tmp_path / "conversion"
    shutil.copytree(stored, folder)
    report = fix_folder(folder)
    assert [f"{f.code} {f.message}: {f.refusal}" for f in report.findings if ".ncnn." in f.path.name] == []
    expected = {
        name: array.reshape(array.shape or 1) for name, array in load_outputs(stored / "io.npz").items()
    }
    outputs = run_ncnn(folder, CASES[stored.name].stem)
    assert_same_numbers(expected, outputs, rtol=1e-3, atol=1e-4)
    after = snapshot(folder)
    fix_folder(folder)
    assert snapshot(folder) == after


@pytest.mark.parametrize("stored", REFUSED, ids=_id)
def test_refused_network_keeps_its_graph(stored: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conversion"
    shutil.copytree(stored, folder)
    report = pnnxfix.fix(folder, load_check=True)
    case = CASES[stored.name]
    assert isinstance(case, Refused)
    reasons = [finding.refusal or "" for finding in report.findings if ".ncnn." in finding.path.name]
    assert any(case.because in reason for reason in reasons), reasons
