"""`pnnxfix verify` as a user meets it. What needs PyTorch is left out where that is not installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pnnxfix.cli.main import main
from tests.verify.conftest import Verify

Put = Callable[[str], Path]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def states(report: dict) -> dict[str, str]:
    return {form["form"]: form["state"] for form in report["conversions"][0]["forms"]}


# without PyTorch


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.usefixtures("without_torch")
class TestWithoutTorch:
    def test_ncnn_is_compared_with_stored_outputs(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        code, report, err = verify("--outputs", folder / "io.npz", folder)
        assert (code, states(report)) == (0, {"python": "not compared", "ncnn": "agrees"}), err
        assert "PyTorch is not installed" in report["conversions"][0]["forms"][0]["reason"]

    def test_the_batch_is_put_as_an_old_script_has_it(self, put: Put, verify: Verify) -> None:
        folder = put("residual-20240819")
        assert verify("--outputs", folder / "io.npz", folder)[0] == 0

    def test_other_numbers_are_a_disagreement(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        stored = dict(np.load(folder / "io.npz"))
        np.savez(folder / "other.npz", **{**stored, "out0": stored["out0"] + 1})
        code, report, _ = verify("--bisect", "--outputs", folder / "other.npz", folder)
        assert (code, states(report)["ncnn"]) == (1, "disagrees")
        assert "stored outputs" in report["conversions"][0]["forms"][1]["no_divergence"]

    def test_an_output_that_only_one_side_has_is_a_disagreement(self, put: Put, verify: Verify) -> None:
        folder = put("branches")
        stored = dict(np.load(folder / "io.npz"))
        del stored["out1"]
        np.savez(folder / "other.npz", **stored)
        assert verify("--outputs", folder / "other.npz", folder)[0] == 1

    def test_nothing_to_compare_with(self, put: Put, verify: Verify) -> None:
        code, _, err = verify(put("residual"))
        assert code == 2
        assert "pip install pnnxfix[torch]" in err
        assert "--outputs" in err

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"in0": np.zeros((1, 3, 9, 9), np.float32)}, "must have shape (1, 3, 8, 8)"),
            ({"in0": np.zeros((1, 3, 8, 8), complex)}, "must hold float32"),
            ({}, "holds no in0"),
        ],
    )
    def test_stored_inputs_that_do_not_fit(
        self, put: Put, verify: Verify, arrays: dict, message: str
    ) -> None:
        folder = put("residual")
        np.savez(folder / "other.npz", **{"out0": np.zeros((1, 5)), **arrays})
        code, _, err = verify("--outputs", folder / "other.npz", folder)
        assert code == 2
        assert message in err

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no", b"text"])
    def test_a_file_that_is_no_archive(self, put: Put, verify: Verify, content: bytes) -> None:
        folder = put("residual")
        (folder / "bad.npz").write_bytes(content)
        code, _, err = verify("--outputs", folder / "bad.npz", folder)
        assert code == 2
        assert "bad.npz" in err

    def test_a_model_that_ncnn_refuses(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        replace(folder / "model.ncnn.param", "Pooling  ", "Poolong  ")
        code, report, err = verify("--outputs", folder / "io.npz", folder)
        assert code == 2
        assert "could not be run" in err
        assert any("Poolong" in line for line in report["conversions"][0]["forms"][1]["messages"])

    def test_a_model_without_weights_file(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        (folder / "model.ncnn.bin").unlink()
        code, _, err = verify("--outputs", folder / "io.npz", folder)
        assert code == 2
        assert ".bin" in err

    def test_a_page_without_the_layout_library(
        self, put: Put, verify: Verify, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "fast_sugiyama", None)
        folder = put("residual")
        assert verify("--report", folder / "out.html", "--outputs", folder / "io.npz", folder)[0] == 0
        assert "agrees" in (folder / "out.html").read_text()


def test_an_unknown_path_is_an_error(verify: Verify, tmp_path: Path) -> None:
    assert verify(tmp_path / "missing")[0] == 2


# with PyTorch


@pytest.fixture
def torch() -> object:
    return pytest.importorskip("torch", reason="the reference runs in PyTorch")


@pytest.mark.usefixtures("torch")
class TestWithTorch:
    def test_every_form_agrees(self, put: Put, verify: Verify) -> None:
        code, report, err = verify(put("words"))
        assert (code, states(report)) == (0, {"python": "agrees", "ncnn": "agrees"}), err
        inputs = {measure["input"] for measure in report["conversions"][0]["forms"][0]["measures"]}
        assert inputs == {"script", "random 1", "zeros"}

    def test_a_wrong_parameter_is_named_in_all_files(self, put: Put, verify: Verify) -> None:
        folder = put("attention")
        replace(folder / "model.ncnn.param", "7 8 0=16 1=1.000000e-5", "7 8 0=16 1=1.000000e-1")
        code, report, _ = verify("--bisect", folder)
        found = report["conversions"][0]["forms"][1]["divergence"]
        assert (code, found["operator"], found["type"]) == (1, "ln_4", "LayerNorm")
        names = [(Path(place["path"]).name, place["line"]) for place in found["places"]]
        assert names == [("model_pnnx.py", 58), ("model.pnnx.param", 7), ("model.ncnn.param", 9)]
        assert "eps=1.000000e-5" in found["causes"][0]
        assert found["error_in"] < 1e-5 < 1e-2 < found["error_out"]

    def test_without_torchscript_nothing_is_proved(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        (folder / "model.pt").unlink()
        code, _, err = verify(folder)
        assert code == 2
        assert "no TorchScript file" in err
        assert verify("--reference", folder / "model_pnnx.py", folder)[0] == 0

    def test_a_reference_that_does_not_fit(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        code, _, err = verify("--reference", put("words") / "model.pt", folder)
        assert code == 2
        assert "the reference does not run on" in err
        assert verify("--reference", folder / "none.pt", folder)[0] == 2

    def test_a_reference_that_is_not_deterministic(self, put: Put, verify: Verify, torch: object) -> None:
        import torch as t

        folder = put("residual")
        noise = t.jit.trace(lambda x: t.rand_like(x), t.zeros(1, 3, 8, 8), check_trace=False)
        noise.save(str(folder / "model.pt"))
        code, _, err = verify(folder)
        assert code == 2
        assert "not deterministic" in err

    def test_inputs_of_the_user(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        np.save(folder / "x.npy", np.ones((1, 3, 8, 8), np.float32))
        assert verify("--input", f"in0={folder / 'x.npy'}", folder)[0] == 0
        np.save(folder / "x.npy", np.ones((1, 3, 8, 7), np.float32))
        code, _, err = verify("--input", f"in0={folder / 'x.npy'}", folder)
        assert code == 2
        assert "shape (1, 3, 8, 8)" in err
        assert verify("--input", f"in7={folder / 'x.npy'}", folder)[0] == 2

    def test_code_that_does_not_end_or_kills_its_process(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        path = folder / "model_pnnx.py"
        sound = path.read_text()
        head, mark, tail = sound.partition("        v_1 = ")
        path.write_text(f"{head}        import os; os.abort()\n{mark}{tail}")
        code, report, err = verify(folder)
        assert (code, states(report)) == (2, {"python": "not compared", "ncnn": "agrees"})
        assert "SIGABRT" in err
        path.write_text(f"{head}        import time; time.sleep(600)\n{mark}{tail}")
        code, report, err = verify("--time-limit", "12", folder)
        assert (code, states(report)) == (2, {"python": "not compared", "ncnn": "agrees"})
        assert "time limit" in err

    def test_a_leaked_operator_is_no_python(self, put: Put, verify: Verify) -> None:
        folder = put("residual")
        replace(folder / "model_pnnx.py", " = F.", " = aten::")
        code, _, err = verify(folder)
        assert code == 2
        assert "pnnxfix fix" in err


@pytest.mark.usefixtures("torch")
class TestFix:
    CONV = Path(__file__).resolve().parents[2] / "fixtures" / "20261020"

    def test_a_repair_that_agrees_is_written(self, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(self.CONV / "conv2d", tmp_path / "conv2d"))
        page = tmp_path / "out.html"
        assert main(["fix", "--verify", "--report", str(page), str(folder)]) == 0
        assert "clamp_max" not in (folder / "model.ncnn.param").read_text()
        assert "What the repair changes in model.ncnn.param" in page.read_text()

    def test_a_repair_that_disagrees_is_not_written(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = Path(shutil.copytree(self.CONV / "conv2d", tmp_path / "conv2d"))
        weights = bytearray((folder / "model.ncnn.bin").read_bytes())
        weights[4:12] = b"\x00\x40" * 4
        (folder / "model.ncnn.bin").write_bytes(weights)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert main(["fix", "--verify", str(folder)]) == 2
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert "disagrees with the reference" in capsys.readouterr().err
