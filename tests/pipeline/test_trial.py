"""The run of a repaired network on zeros: what it is fed, what it finds, and what becomes of the repair."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import pnnxfix
from pnnxfix.pipeline.discovery import find_conversions
from pnnxfix.pipeline.load_check import LoadCheck, Loaded, NotRunning
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.trial import Trial, plan_trial
from tests.helpers.conversions import FIXTURES

STORED = FIXTURES / "lowering" / "20261020"
INPUTS = "7767517\n{} {}\nInput in0 0 1 in0\n"
FLAT = INPUTS.format(2, 2) + "Reshape r 1 1 in0 out0 0=-1\n"
# Three channels make no pixels of two by two.
IMPOSSIBLE = INPUTS.format(2, 2) + "PixelShuffle p 1 1 in0 out0 0=2\n"


@pytest.fixture(scope="module")
def ncnn() -> Iterator[LoadCheck]:
    with LoadCheck() as check:
        yield check


def ask(ncnn: LoadCheck, folder: Path, param: str, trial: Trial) -> object:
    (folder / "m.param").write_text(param)
    (folder / "m.bin").write_bytes(b"")
    return ncnn.check(folder / "m.param", folder / "m.bin", (), trial)


@pytest.mark.parametrize("wanted", [(24,), None])
def test_network_that_runs(ncnn: LoadCheck, tmp_path: Path, wanted: tuple[int, ...] | None) -> None:
    outcome = ask(ncnn, tmp_path, FLAT, Trial({"in0": (2, 3, 4)}, {"out0": wanted}))
    assert isinstance(outcome, Loaded)


def test_result_of_another_shape(ncnn: LoadCheck, tmp_path: Path) -> None:
    outcome = ask(ncnn, tmp_path, FLAT, Trial({"in0": (2, 3, 4)}, {"out0": (2, 12)}))
    assert outcome == NotRunning("out0 has shape (24), not that of the model (2x12)")


def test_axes_of_one_do_not_count(ncnn: LoadCheck, tmp_path: Path) -> None:
    same = INPUTS.format(2, 2) + "Reshape r 1 1 in0 out0 0=3 1=1 2=2\n"
    assert isinstance(ask(ncnn, tmp_path, same, Trial({"in0": (6,)}, {"out0": (2, 3)})), Loaded)


def test_output_that_is_not_computed(ncnn: LoadCheck, tmp_path: Path) -> None:
    outcome = ask(ncnn, tmp_path, IMPOSSIBLE, Trial({"in0": (3, 4, 4)}, {"out0": None}))
    assert isinstance(outcome, NotRunning)
    assert "out0 cannot be computed" in outcome.reason


@pytest.fixture
def merging(tmp_path: Path) -> Path:
    """A conversion whose last layer somebody edited: it no longer moves the channels to the front."""
    folder = Path(shutil.copytree(STORED / "patch-merging", tmp_path / "conversion"))
    param = folder / "model.ncnn.param"
    text = param.read_text()
    assert text.endswith(" out0 0=4\n")
    param.write_text(text.removesuffix("0=4\n") + "0=0\n")
    return folder


def test_a_network_that_does_not_run_keeps_its_graph(merging: Path) -> None:
    before = (merging / "model.ncnn.param").read_bytes()
    report = pnnxfix.fix(merging, load_check=True)
    reasons = {finding.refusal for finding in report.findings if finding.path.name == "model.ncnn.param"}
    assert len(reasons) == 1
    assert "ncnn does not run it: out0 has shape (4, 4, 32), not that of the model (32x4x4)" in str(reasons)
    assert report.exit_code == 1
    assert (merging / "model.ncnn.param").read_bytes() == before


def test_without_the_check_nobody_runs_it(merging: Path) -> None:
    assert pnnxfix.fix(merging, load_check=False).fixed


def read(folder: Path) -> LoadedConversion:
    return LoadedConversion(find_conversions([folder], ())[0][0], ())


def test_what_is_fed_and_wanted(merging: Path) -> None:
    assert plan_trial(read(merging)) == Trial({"in0": (3, 8, 8)}, {"out0": (32, 4, 4)})


def test_no_trial_without_the_script(merging: Path) -> None:
    (merging / "model_ncnn.py").unlink()
    assert plan_trial(read(merging)) is None


def test_unknown_shapes_are_not_compared(merging: Path) -> None:
    (merging / "model.pnnx.param").unlink()
    assert plan_trial(read(merging)) == Trial({"in0": (3, 8, 8)}, {"out0": None})
