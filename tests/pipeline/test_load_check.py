"""Asking the real ncnn whether it loads a network: every outcome, each from real input."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from pnnxfix.pipeline.load_check import LoadCheck, Loaded, Rejected, Unavailable, has_weights
from tests.helpers.ncnn_releases import RELEASES, WHY_NOT

HEAD = "Input in0 0 1 in0\n"
RELU = f"7767517\n2 2\n{HEAD}ReLU relu_0 1 1 in0 out0\n"
CONV = f"7767517\n2 2\n{HEAD}Convolution conv_0 1 1 in0 out0 0=8 1=3 5=1 6=216\n"
LEAK = f"7767517\n3 3\n{HEAD}aten::foo f_0 1 1 in0 a\nConvolution c 1 1 a out0 0=8 1=3 5=1 6=216\n"
WEIGHTS = bytes(4 + 216 * 4 + 8 * 4)
INT8_TAG = b"\x38\x4b\x0d\x00"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture(scope="module")
def ncnn() -> Iterator[LoadCheck]:
    with LoadCheck() as check:
        yield check


REJECTED_PARAMS = {
    "unknown-layer": (LEAK, "aten::foo not exists or registered"),
    "layer-count-too-big": (RELU.replace("2 2", "3 2", 1), "parse layer_type failed"),
    "text": ("not a param\n", ""),
    "empty": ("", ""),
    "two-billion-layers": (RELU.replace("2 2", "2000000000 2", 1), ""),
    "parameter-without-number": (RELU.replace("out0\n", "out0 0=-\n"), "ParamDict"),
}


def test_loads_param_with_bin(ncnn: LoadCheck, tmp_path: Path) -> None:
    outcome = ncnn.check(write(tmp_path / "m.param", CONV), write(tmp_path / "m.bin", WEIGHTS))
    assert isinstance(outcome, Loaded)
    assert outcome.ncnn.startswith("1.0.")
    assert outcome.stubs == ()
    assert outcome.bin_unread == ""
    assert outcome.trailing == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a process has read")
def test_tells_of_what_no_layer_reads(ncnn: LoadCheck, tmp_path: Path) -> None:
    outcome = ncnn.check(
        write(tmp_path / "m.param", CONV), write(tmp_path / "m.bin", WEIGHTS + bytes(50_000))
    )
    assert isinstance(outcome, Loaded)
    assert 40_000 < outcome.trailing <= 50_000


def test_loads_param_alone_and_says_so(ncnn: LoadCheck, tmp_path: Path) -> None:
    outcome = ncnn.check(write(tmp_path / "m.param", CONV), None)
    assert isinstance(outcome, Loaded)
    assert outcome.bin_unread == "no .bin was given"


@pytest.mark.parametrize(("text", "message"), REJECTED_PARAMS.values(), ids=REJECTED_PARAMS)
def test_rejects_param(ncnn: LoadCheck, tmp_path: Path, text: str, message: str) -> None:
    outcome = ncnn.check(write(tmp_path / "m.param", text), None)
    assert isinstance(outcome, Rejected)
    assert message in "\n".join(outcome.messages)


def test_rejects_blob_count_that_is_too_small(ncnn: LoadCheck, tmp_path: Path) -> None:
    blobs = "".join(f"ReLU r{i} 1 1 {f'b{i - 1}' if i else 'in0'} b{i}\n" for i in range(200))
    outcome = ncnn.check(write(tmp_path / "m.param", f"7767517\n201 2\n{HEAD}{blobs}"), None)
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("size", [0, 3, 4, len(WEIGHTS) - 1])
def test_rejects_bin_that_is_too_short(ncnn: LoadCheck, tmp_path: Path, size: int) -> None:
    outcome = ncnn.check(write(tmp_path / "m.param", CONV), write(tmp_path / "m.bin", WEIGHTS[:size]))
    assert isinstance(outcome, Rejected)
    assert "not the .bin" in outcome.reason
    assert "conv_0" in "\n".join(outcome.messages)


@pytest.mark.parametrize("missing", ["m.param", "m.bin"])
def test_rejects_missing_file(ncnn: LoadCheck, tmp_path: Path, missing: str) -> None:
    param, weights = write(tmp_path / "m.param", CONV), write(tmp_path / "m.bin", WEIGHTS)
    (tmp_path / missing).unlink()
    outcome = ncnn.check(param, weights)
    assert isinstance(outcome, Rejected)
    assert missing in "\n".join(outcome.messages)


@pytest.mark.skipif(os.name == "nt", reason="signals have no names there")
def test_survives_a_crash_of_ncnn(tmp_path: Path) -> None:
    """int8 weights for a layer that has no scales: every release from 20240102 to 20261020 dies of it."""
    param, good = write(tmp_path / "m.param", CONV), write(tmp_path / "m.bin", WEIGHTS)
    bad = write(tmp_path / "bad.bin", INT8_TAG + bytes([1]) * 216 + bytes(32))
    with LoadCheck() as check:
        for _ in range(2):
            outcome = check.check(param, bad)
            assert isinstance(outcome, Rejected)
            assert "SIGSEGV" in outcome.reason
            assert isinstance(check.check(param, good), Loaded)
    assert not list(tmp_path.glob("core*"))


def test_uses_one_process_for_many_requests_and_a_new_one_after_death(tmp_path: Path) -> None:
    param = write(tmp_path / "m.param", RELU)
    with LoadCheck() as check:
        pids = []
        for i in range(6):
            assert isinstance(check.check(param, None), Loaded)
            assert check._child is not None
            process = check._child._process
            pids.append(process.pid)
            if i == 2:
                process.kill()
                process.wait()
                assert isinstance(check.check(param, None), Rejected)
    assert len(set(pids[:3])) == len(set(pids[3:])) == 1
    assert pids[0] != pids[-1]


def test_gives_up_after_the_time_limit(tmp_path: Path) -> None:
    # Look-up of blobs is quadratic: this takes ncnn minutes.
    rows = "".join(f"Noop n{i} 1 1 b{i} b{i + 1}\n" for i in range(200_000))
    param = write(tmp_path / "m.param", f"7767517\n200001 200001\nInput b0 0 1 b0\n{rows}")
    with LoadCheck(time_limit=0.3) as check:
        outcome = check.check(param, None)
        assert isinstance(outcome, Rejected)
        assert "within 0.3 s" in outcome.reason


def test_messages_are_bounded_and_printable(ncnn: LoadCheck, tmp_path: Path) -> None:
    rows = "".join(f"ReLU r{i} 1 1 \x1b[31m{i} b{i}\n" for i in range(5_000))
    outcome = ncnn.check(write(tmp_path / "m.param", f"7767517\n5002 20000\n{HEAD}{rows}\x1b[31mFoo"), None)
    assert isinstance(outcome, Rejected)
    assert 0 < len(outcome.messages) <= 20
    assert all(line.isprintable() and len(line) < 2_000 for line in outcome.messages)


class TestCustomLayers:
    def test_stands_in_for_an_unconverted_operator(self, ncnn: LoadCheck, tmp_path: Path) -> None:
        param, weights = write(tmp_path / "m.param", LEAK), write(tmp_path / "m.bin", WEIGHTS)
        outcome = ncnn.check(param, weights, {"aten::foo", "NotThere"})
        assert isinstance(outcome, Loaded)
        assert outcome.stubs == ("aten::foo",)
        assert outcome.bin_unread == ""

    def test_still_checks_everything_else(self, ncnn: LoadCheck, tmp_path: Path) -> None:
        param, short = write(tmp_path / "m.param", LEAK), write(tmp_path / "m.bin", WEIGHTS[:-1])
        assert isinstance(ncnn.check(param, short, {"aten::foo"}), Rejected)
        wrong = write(tmp_path / "w.param", LEAK.replace("Convolution", "Convolutoin"))
        assert isinstance(ncnn.check(wrong, None, {"aten::foo"}), Rejected)

    def test_leaves_the_bin_unread_if_a_custom_layer_may_own_a_part(
        self, ncnn: LoadCheck, tmp_path: Path
    ) -> None:
        param = write(tmp_path / "m.param", LEAK.replace("aten::foo", "MyLayer"))
        outcome = ncnn.check(param, write(tmp_path / "m.bin", b""), {"MyLayer"})
        assert isinstance(outcome, Loaded)
        assert outcome.stubs == ("MyLayer",)
        assert "MyLayer may own a part" in outcome.bin_unread

    def test_takes_more_types_than_the_binding_can_register(self, ncnn: LoadCheck, tmp_path: Path) -> None:
        types = [f"aten::f{i}" for i in range(40)]
        rows = "".join(f"{t} f{i} 2 1 b{i} b{i} b{i + 1}\n" for i, t in enumerate(types))
        param = write(tmp_path / "m.param", f"7767517\n41 41\nInput b0 0 1 b0\n{rows}")
        outcome = ncnn.check(param, None, types)
        assert isinstance(outcome, Loaded)
        assert len(outcome.stubs) == 40

    @pytest.mark.parametrize(
        ("layer", "expected"),
        [
            ("aten::clamp_min", False),
            ("pnnx.Expression", False),
            ("torch.gt", False),
            ("F.grid_sample", False),
            ("nn.Conv3d", True),
            ("models.yolo.Detect", True),
            ("Focus", True),
        ],
    )
    def test_has_weights(self, layer: str, expected: bool) -> None:
        assert has_weights(layer) is expected


TRAP = "import pathlib; pathlib.Path({mark!r}).touch()\n"
ASK = """
import sys
from pathlib import Path
from pnnxfix.pipeline.load_check import LoadCheck
with LoadCheck() as check:
    print(type(check.check(Path("m.param"), None)).__name__)
"""


@pytest.mark.parametrize("pythonpath", [None, "", ".", os.pathsep])
def test_imports_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pythonpath: str | None
) -> None:
    mark = tmp_path / "mark"
    for name in ("ncnn", "numpy", "resource", "tempfile", "sitecustomize"):
        write(tmp_path / f"{name}.py", TRAP.format(mark=str(mark)))
    write(tmp_path / "m.param", RELU)
    root = str(Path(__file__).parents[2])
    # The trap must not catch the parent, whose own start-up is not what is tested: -I for that one.
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.append({root!r})\n{ASK}"]
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if pythonpath is not None:
        monkeypatch.setenv("PYTHONPATH", pythonpath)
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("Loaded\n", "")
    assert not mark.exists()


def test_imports_nothing_from_the_folder_of_the_child(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for name in ("ncnn", "numpy", "resource"):
        write(tmp_path / f"{name}.py", TRAP.format(mark=str(mark)))
    source = Path(sys.modules[LoadCheck.__module__].__file__ or "").with_name("ncnn_child.py")
    child = write(tmp_path / "child.py", source.read_bytes())
    command = [sys.executable, str(child), "mark"]
    result = subprocess.run(command, input=b"", capture_output=True, cwd=tmp_path)
    assert result.stdout.startswith(b"\nmark ready 1.0.")
    assert not mark.exists()


def test_sees_an_ncnn_on_pythonpath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "ncnn.py", "raise ImportError('the one on PYTHONPATH')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LoadCheck() as check:
        outcome = check.check(tmp_path / "m.param", None)
    assert isinstance(outcome, Unavailable)
    assert "the one on PYTHONPATH" in outcome.reason


def test_says_how_to_get_ncnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=os.name != "nt")
    folder = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env" / folder))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with LoadCheck() as check:
        for _ in range(2):
            outcome = check.check(write(tmp_path / "m.param", RELU), None)
            assert isinstance(outcome, Unavailable)
            assert "not installed" in outcome.reason
            assert "pip install ncnn" in outcome.reason


def test_names_an_interpreter_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with LoadCheck() as check:
        outcome = check.check(tmp_path / "m.param", None)
    assert isinstance(outcome, Unavailable)
    assert "no-python" in outcome.reason


def test_leaves_no_process_behind(tmp_path: Path) -> None:
    with LoadCheck() as check:
        assert check._child is not None
        process = check._child._process
    assert process.poll() == (1 if os.name == "nt" else -signal.SIGKILL)


@pytest.mark.skipif(not RELEASES, reason=WHY_NOT)
@pytest.mark.parametrize("folder", RELEASES or [Path()], ids=lambda folder: folder.name)
def test_outcomes_in_every_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    release = folder.name
    param, weights = write(tmp_path / "m.param", LEAK), write(tmp_path / "m.bin", WEIGHTS)
    with LoadCheck() as check:
        assert check.check(param, weights, {"aten::foo"}) == Loaded(release, ("aten::foo",))
        outcome = check.check(param, weights)
        assert isinstance(outcome, Rejected)
        assert outcome.messages == ("layer aten::foo not exists or registered",)
        assert ("SIGSEGV" in outcome.reason) is (release < "1.0.20260114")
        assert isinstance(check.check(write(tmp_path / "c.param", CONV), weights), Loaded)
