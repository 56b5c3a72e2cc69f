"""What cannot be compared: a message that says why, and exit code 2."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.verify.conftest import Verify

Put = Callable[[str], Path]

# without PyTorch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--outputs", "none.npz"), "none.npz: cannot be read"),
        (("--outputs", "one.npy"), "holds one array"),
        (("--outputs", "no-outputs.npz"), "holds no out0"),
        (("--outputs", "io.npz", "--reference", "model.pt"), "give one"),
        (("--outputs", "io.npz", "--input", "in0=none.npy"), "none.npy: cannot be read"),
        (("--outputs", "io.npz", "--input", "in0=pnnx.log"), "is no .npy file"),
        (("--outputs", "io.npz", "--input", "in0=io.npz"), "holds several arrays"),
        (("--outputs", "io.npz", "--input", "in0=complex.npy"), "must hold float32"),
        (("--outputs", "io.npz", "--input", "in0=one.npy"), "must have shape (1, 3, 8, 8)"),
        (("--outputs", "io.npz", "--input", "in3=one.npy"), "no such input"),
        (("--outputs", "io.npz", "--input", "in0"), "is not NAME=FILE"),
        (("--reference", "none.pt"), "there is no such reference"),
        (("--tolerance", "nan"), "not a finite number"),
        (("--time-limit", "inf"), "not a finite number"),
        (("--time-limit", "0"), "0"),
        (("--outputs", "io.npz", "--report", "."), "cannot be written"),
        (("--outputs", "io.npz", "--report", "none/out.html"), "cannot be written"),
    ],
)
def test_arguments(
    put: Put, verify: Verify, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    folder = put("residual")
    monkeypatch.chdir(folder)
    np.save("one.npy", np.zeros(3, np.float32))
    np.save("complex.npy", np.zeros((1, 3, 8, 8), complex))
    np.savez("no-outputs.npz", in0=np.zeros((1, 3, 8, 8), np.float32))
    code, _, err = verify(*arguments, ".")
    assert code == 2
    assert message in err


def test_integers_that_no_index_is(put: Put, verify: Verify) -> None:
    folder = put("words")
    for values, message in ((np.zeros((1, 7), np.float32), "must hold int64"), (-np.ones((1, 7)), "int64")):
        np.save(folder / "x.npy", values)
        code, _, err = verify("--outputs", folder / "io.npz", "--input", f"in0={folder / 'x.npy'}", folder)
        assert (code, message in err) == (2, True)
    np.save(folder / "x.npy", -np.ones((1, 7), np.int64))
    code, _, err = verify("--outputs", folder / "io.npz", "--input", f"in0={folder / 'x.npy'}", folder)
    assert (code, "negative" in err) == (2, True)


def test_files_that_cannot_be_read(put: Put, verify: Verify) -> None:
    folder = put("residual")
    (folder / "model.ncnn.param").write_text("7767517\n2 1\nInput in0\n")
    code, _, err = verify("--outputs", folder / "io.npz", folder)
    assert code == 2
    assert "model.ncnn.param:3" in err
    empty = folder / "empty"
    empty.mkdir()
    assert verify(empty)[0] == 2


def test_an_input_too_large_to_try(put: Put, verify: Verify) -> None:
    folder = put("residual")
    param = folder / "model.pnnx.param"
    param.write_text(param.read_text().replace("#0=(1,3,8,8)", "#0=(1,3,80000,80000)"))
    code, _, err = verify("--outputs", folder / "io.npz", folder)
    assert code == 2
    assert "too large to try" in err


# with PyTorch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="the references are TorchScript files")


def test_a_reference_that_is_no_torchscript(put: Put, verify: Verify, torch: Any) -> None:
    folder = put("residual")
    torch.save({"weight": torch.zeros(3)}, folder / "model.pt")
    code, report, err = verify(folder)
    assert code == 2
    assert "cannot be loaded" in err
    assert "torch.jit.trace" in err
    reasons = {form["reason"] for form in report["conversions"][0]["forms"]}
    assert reasons == {"there is nothing to compare it with"}


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_reference_with_other_outputs(put: Put, verify: Verify, torch: Any, outputs: int) -> None:
    folder = put("residual")
    other = torch.jit.trace(lambda x: (x.mean((2, 3)),) * outputs, torch.zeros(1, 3, 8, 8))
    other.save(str(folder / "other.pt"))
    code, report, err = verify("--bisect", "--reference", folder / "other.pt", folder)
    assert code == 2
    assert "is not what was converted" in err
    assert all(form["divergence"] is None for form in report["conversions"][0]["forms"])


def test_a_form_with_other_outputs_is_a_disagreement(put: Put, verify: Verify, torch: Any) -> None:
    folder = put("residual")
    script = folder / "model_pnnx.py"
    text = script.read_text()
    start = text.index("        return v_", text.index("def forward"))
    end = text.index("\n", start)
    script.write_text(f"{text[:end]}[:, :3]{text[end:]}")
    assert verify(folder)[0] == 1


def test_the_time_limit_of_the_reference(put: Put, verify: Verify, torch: Any) -> None:
    folder = put("residual")
    slow = Path(shutil.copy(folder / "model_pnnx.py", folder / "slow_pnnx.py"))
    shutil.copy(folder / "model.pnnx.bin", folder / "slow.pnnx.bin")
    head, mark, tail = slow.read_text().partition("        v_1 = ")
    # It is as fast as any on the first input, which holds nothing below 0.
    slow.write_text(
        f"{head}        time.sleep(60 * (v_0.min().item() < 0))\n{mark}{tail}".replace(
            "import os", "import os, time", 1
        )
    )
    code, _, err = verify("--time-limit", "12", "--reference", slow, folder / "model.ncnn.param")
    assert code == 2
    assert "input random 1" in err
    assert "--time-limit SECONDS" in err


def test_an_input_that_kills_the_reference_is_left_out(put: Put, verify: Verify, torch: Any) -> None:
    folder = put("residual")
    frail = Path(shutil.copy(folder / "model_pnnx.py", folder / "frail_pnnx.py"))
    head, mark, tail = frail.read_text().partition("        v_1 = ")
    frail.write_text(f"{head}        os.abort() if v_0.max().item() <= 0 else None\n{mark}{tail}")
    (folder / "model_pnnx.py").unlink()
    code, report, err = verify("--reference", frail, folder / "model.ncnn.param")
    assert code == 0, err
    inputs = {one["input"] for one in report["conversions"][0]["forms"][0]["measures"]}
    assert inputs == {"script", "random 1", "large"}
    assert "input negative: left out" in err
