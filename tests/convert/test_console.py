"""What pnnx prints, explained: each kind of line, whole logs of several releases, logs that are no good."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.cli.main import main
from pnnxfix.conversion.explain import Explanation, check_explained
from pnnxfix.conversion.log import MAX_GROUPS, MAX_UNKNOWN, read_log
from pnnxfix.conversion.pnnx import find_pnnx
from pnnxfix.options import Options
from pnnxfix.rules.console import LINE_RULES, UnknownLine
from pnnxfix.rules.registry import all_rules

FIXTURES = Path(__file__).parents[2] / "fixtures"
LOGS = sorted(FIXTURES.glob("2*/*/pnnx.log")) + sorted(FIXTURES.glob("native/*/*/pnnx.log"))
HEAD = "pnnxparam = model.pnnx.param\nncnnparam = model.ncnn.param\n"
PASSES = "".join(f"############# pass_{name}\n" for name in ("level0", "level1", "level5", "ncnn"))

# Lines as pnnx prints them, in logs of 20240226 to 20261020 or from the formats in its source.
LINES = {
    "fallback batch axis 233 for operand 12": ("PNX501", {"operand": "12"}),
    "fallback batch axis 233 for operand pnnx_expr_0_mul(2,2)": (
        "PNX501", {"operand": "pnnx_expr_0_mul(2,2)"}),
    "force batch axis 233 for operand 1": ("PNX501", {"operand": "1"}),
    "ignore pnnx.Expression pnnx_expr_0 param expr=0.1": (
        "PNX502", {"type": "pnnx.Expression", "name": "pnnx_expr_0", "key": "expr", "value": "0.1"}),
    "ignore Tensor.to Tensor.to_0 param dtype=torch.int": ("PNX502", {"name": "Tensor.to_0"}),
    "unsupported norm p=6.000000": ("PNX503", {"kind": "norm"}),
    "unsupported normalize for 4-rank tensor with axis 2": ("PNX503", {"kind": "normalize"}),
    "unsupported upsample_nearest size": ("PNX503", {"kind": "upsample_nearest"}),
    "unsupported avgpool2d divisor_override": ("PNX503", {"kind": "avgpool2d"}),
    "unsupported interpolate mode nearest-exact": ("PNX503", {"kind": "interpolate"}),
    "unsupported F.max_pool2d pad_type 2": ("PNX503", {"kind": "max_pool2d"}),
    "chunk with non-perfect divided size 5 / 2 is not supported": ("PNX503", {"kind": "chunk"}),
    "slice with step 2 is not supported": ("PNX503", {"kind": "slice"}),
    "RNN nonlinearity=relu not supported": ("PNX503", {"kind": "RNN"}),
    "MultiheadAttention add_bias_kv=True not supported": ("PNX503", {"kind": "MultiheadAttention"}),
    "BinaryOp fmod not supported yet": ("PNX503", {"kind": "fmod"}),
    "UnaryOp sign not supported yet": ("PNX503", {"kind": "sign"}),
    "cat along batch axis 0 is not supported": ("PNX504", {"kind": "cat"}),
    "softmax axis around batch axis 1 is unknown": ("PNX504", {"kind": "softmax"}),
    "sum along batch axis is not supported yet": ("PNX504", {"kind": "sum"}),
    "expand tensor along batch index 0 is not supported yet!": ("PNX504", {"kind": "expand"}),
    "squeeze along batch axis 0 with unknown shape is not supported yet": ("PNX504", {"kind": "squeeze"}),
    "binaryop broadcast across batch axis 0 and 233 is not supported": ("PNX504", {"kind": "binaryop"}),
    "slice expression refer to batch axis 0 is not supported": ("PNX504", {"kind": "slice"}),
    "permute across batch dim is not supported yet!": ("PNX504", {"kind": "permute"}),
    "reshape_as tensor with batch index 1 is not supported yet!": ("PNX504", {"kind": "reshape_as"}),
    "unflatten tensor to batch index 1 is not supported yet!": ("PNX504", {"kind": "unflatten"}),
    "reshape: target exceeds ncnn physical rank": ("PNX505", {"kind": "reshape"}),
    "reshape to 5-rank physical tensor is not supported by ncnn runtime yet": (
        "PNX505", {"kind": "reshape"}),
    "reshape to 6-rank tensor is not supported yet!": ("PNX505", {"kind": "reshape"}),
    "permute 5-rank tensor is not supported yet!": ("PNX505", {"kind": "permute"}),
    "binaryop tensor0 with rank 5 is not supported yet!": ("PNX505", {"kind": "binaryop"}),
    "pnnx attribute 6-rank tensor is not supported yet!": ("PNX505", {}),
    "slice 3-rank tensor with 4-rank axes is not possible!": ("PNX505", {"kind": "slice"}),
    "flatten 2 to -1 not possible for 2-rank tensor": ("PNX505", {"kind": "flatten"}),
    "unflatten 1 not possible for 5-rank tensor": ("PNX505", {"kind": "unflatten"}),
    "reshape_as tensor with over 5 / unknown rank tensor is not supported yet!": (
        "PNX505", {"kind": "reshape_as"}),
    "assume reshape 5-rank tensor has batch_index 0": ("PNX506", {"kind": "reshape"}),
    "assume pnnx attribute 5-rank tensor has batch_index 0": ("PNX506", {"kind": "attribute"}),
    "expand tensor with unknown input shape is not supported yet, fallback to repeat 1": (
        "PNX506", {"kind": "expand"}),
    "flatten dynamic shape is not supported yet, fallback to flatten all": ("PNX506", {"kind": "flatten"}),
    "fallback to reduce max all": ("PNX506", {"kind": "max"}),
    "unsupported interpolate align_corners, assume false": ("PNX506", {"kind": "interpolate"}),
    "ConvTranspose2d arg output_size detected and dropped !": ("PNX506", {"kind": "ConvTranspose2d"}),
    "slice with dynamic start is not supported": ("PNX507", {"kind": "slice"}),
    "transpose rank is unknown": ("PNX507", {"kind": "transpose"}),
    "dynamic dim in slice/select chain is not supported": ("PNX507", {}),
    "layer_norm with unknown input rank is not supported yet": ("PNX507", {"kind": "layer_norm"}),
    "group_norm unknown channel size is not supported yet": ("PNX507", {"kind": "group_norm"}),
    "reshape: target rank is unknown": ("PNX507", {}),
    "reshape: target has multiple infer dimensions": ("PNX507", {}),
    "reshape dimension product exceeds integer range": ("PNX507", {}),
    "expand tensor with unknown input shape is not supported yet!": ("PNX507", {"kind": "expand"}),
    "can not resolve pads without shape": ("PNX507", {}),
    "ort Run failed Non-zero status code returned": ("PNX507", {}),
    "reshape: unsupported dimension reference": ("PNX507", {"kind": "reshape"}),
    "skip squeeze batch axis rewrite for unknown-rank tensor": ("PNX507", {}),
    "replace ncnn input torch.long type with torch.int": ("PNX508", {}),
    "Warning: int64 value 10000000000 exceeds int32 range": ("PNX509", {"value": "10000000000"}),
    "todo prim::device": ("PNX510", {"type": "prim::device"}),
    "unknown Parameter value kind prim::Constant of TensorType, t.dim = 0": ("PNX510", {}),
    "no such operand x for operator y": ("PNX510", {}),
    "unsupported tensor elem data type 23": ("PNX510", {}),
    "unrecognized arg inputshape": ("PNX511", {"value": "inputshape"}),
    "Load torchscript failed: PytorchStreamReader failed": ("PNX512", {}),
    "open failed none.pt": ("PNX512", {}),
    "read_proto_from_binary failed": ("PNX512", {}),
    "input_shapes[0] expect [1,3,8,8]f32 but got [1,3]f32": ("PNX513", {}),
    "input_shape expect 1 tensors but got 2": ("PNX513", {}),
    "parameter conflict: input and inputshape cannot be used at the same time": ("PNX513", {}),
    "npy load failed in0.npy: invalid magic": ("PNX513", {}),
    "fopen /no/x.ncnn.param failed": ("PNX514", {"path": "/no/x.ncnn.param"}),
    "Unknown builtin op: aten::qr.": ("PNX515", {"type": "aten::qr"}),
    "RuntimeError: svd: LAPACK library not found in compilation": ("PNX515", {}),
    "malloc_consolidate(): unaligned fastbin chunk detected": ("PNX516", {}),
    "Segmentation fault (core dumped)": ("PNX516", {}),
    "[W1124 09:15:08.406584495 SpectralOps.cpp:854] Warning: A window was not provided.": ("PNX519", {}),
}  # fmt: skip


PIECES = (
    "pnnxparam = a.pnnx.param",
    "inputshape = [1]f32",
    "ignore a b param",
    "############# pass_ncnn",
    "FLOPS = 0",
    "Traceback of TorchScript, original code",
    "~~~ <--- HERE",
    "terminate called after",
    "Usage: pnnx ",
)


@pytest.mark.parametrize("line", LINES)
def test_each_kind_of_line_is_known(line: str) -> None:
    code, groups = LINES[line]
    rule = next(rule for rule in LINE_RULES if rule.match(line) is not None)
    assert rule.code == code
    found = rule.match(line)
    assert found is not None
    assert groups.items() <= found.items()


def test_each_rule_has_a_line_and_is_taught() -> None:
    assert {code for code, _ in LINES.values()} == {rule.code for rule in LINE_RULES}
    assert {rule.code for rule in LINE_RULES} <= {rule.code for rule in all_rules()}


def test_no_line_of_the_stored_logs_is_unknown() -> None:
    assert len(LOGS) > 200
    for path in LOGS:
        log = read_log(path)
        assert log.stage == "pass_ncnn", path
        assert not log.has(UnknownLine), path


def explain(folder: Path, log: str = "pnnx.log") -> list[Explanation]:
    return check_explained([folder], Options(logs=(folder / log,)))[1]


def tell(folder: Path, log: str = "pnnx.log") -> list[tuple[int, int, str, str, str]]:
    return [(e.line, e.count, e.rule.code, e.verdict, e.operator) for e in explain(folder, log)]


DROPPED = "PNX502"

PLAIN = re.compile(
    r"|-+|#+ pass_\w+|\w+ = .*|(get inputshape from|inline module =|model inputshape =|memory OPS =).*"
)
FILES = ("model.ncnn.param", "model.pnnx.param", "model_pnnx.py")
# What the network of fixtures/build_console.py makes pnnx say: code, verdict, and the files that are named.
SAID = {
    " batch axis 233 for operand": ("PNX501", "harmless", {"model.pnnx.param"}),
    "BinaryOp fmod not supported yet": ("PNX503", "suspect", {*FILES}),
    "UnaryOp sign not supported yet": ("PNX503", "suspect", {*FILES}),
    "cat along batch axis 0 is not supported": ("PNX504", "suspect", {*FILES}),
    "softmax along batch axis 0 is not supported": ("PNX504", "suspect", {*FILES}),
    "chunk with non-perfect divided size 6 / 4": ("PNX503", "suspect", {*FILES}),
    # What is left behind has a line of its own that names its layer.
    "slice with step 2 is not supported": ("PNX503", "suspect", {*FILES[1:]}),
    "unsupported normalize for 3-rank tensor": ("PNX503", "suspect", {*FILES}),
    "unsupported norm p=6.000000": ("PNX503", "suspect", {*FILES}),
    "permute 5-rank tensor is not supported yet!": ("PNX505", "suspect", {*FILES[1:]}),
    "reshape: target exceeds ncnn physical rank": ("PNX505", "suspect", {*FILES}),
    "ignore pnnx.Expression": ("PNX502", "fatal", {*FILES}),
    "ignore Tensor.": ("PNX502", "fatal", {*FILES}),
    "ignore Concat cat_0 param dim=0": ("PNX502", "suspect", {"model.ncnn.param"}),
    "replace ncnn input torch.long type": ("PNX508", "harmless", set()),
}


@pytest.mark.parametrize("release", ["20240226", "20240819", "20250430", "20260409", "20261020"])
def test_every_line_that_matters_is_tied_to_its_operator(release: str) -> None:
    folder = FIXTURES / "console" / release
    told = {one.line: one for one in explain(folder)}
    lines = (folder / "pnnx.log").read_text().splitlines()
    explained = 0
    for number, text in enumerate(lines, 1):
        if PLAIN.fullmatch(text):
            assert number not in told
            continue
        (part,) = (part for part in SAID if part in text)
        first = next(at for at, line in enumerate(lines, 1) if part in line)
        one = told.get(number) or told[first]
        files = {place.rpartition(":")[0] for place in one.places}
        code, verdict, named = SAID[part]
        assert (one.rule.code, one.verdict) == (code, verdict), text
        assert files >= named, text
        explained += 1
    assert explained == sum(one.count for one in told.values()) >= 12


def test_what_is_wrong_with_one_layer_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "talk"
    shutil.copytree(FIXTURES / "console" / "20261020", folder)
    assert main(["check", "--log", str(folder / "pnnx.log"), "--output-format", "concise", str(folder)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "norm p=6" in line or "order 6" in line]
    assert [re.sub(r"^\S+ ", "", line)[:34] for line in lines] == [
        "PNX150 wrong-layer `Reduction` is ",
        "PNX503 unsupported-parameter suspe",
    ]


RELEASES = {
    "20240226": [(25, 4, "PNX501", "harmless", ""), (29, 1, DROPPED, "repaired", "pnnx_expr_1")],
    "20240819": [(25, 4, "PNX501", "harmless", ""), (29, 1, DROPPED, "repaired", "pnnx_expr_1")],
    "20250430": [(27, 4, "PNX501", "harmless", ""), (31, 1, DROPPED, "repaired", "pnnx_expr_1")],
    "20260409": [(27, 4, "PNX501", "harmless", ""), (31, 1, DROPPED, "repaired", "pnnx_expr_1")],
    "20261020": [(29, 1, DROPPED, "repaired", "pnnx_expr_1")],
}


@pytest.mark.parametrize("release", RELEASES)
def test_logs_of_the_releases_line_by_line(release: str) -> None:
    folder = FIXTURES / release / "used-and-output"
    assert tell(folder) == RELEASES[release]
    last = explain(folder)[-1]
    assert [place.rpartition(":")[0] for place in last.places] == [
        "model.ncnn.param",
        "model.pnnx.param",
        "model_pnnx.py",
    ]
    row = (folder / "model.ncnn.param").read_text().splitlines()[int(last.places[0].rpartition(":")[2]) - 1]
    assert row.split()[:2] == ["pnnx.Expression", "pnnx_expr_1"]


def test_a_repaired_conversion_makes_its_log_harmless(tmp_path: Path) -> None:
    folder = tmp_path / "leak"
    shutil.copytree(FIXTURES / "20261020" / "clamp-min-tenth", folder)
    assert [line[3] for line in tell(folder)] == ["repaired"]
    assert main(["fix", "-q", str(folder)]) == 0
    assert [line[3] for line in tell(folder)] == ["harmless"]


def test_a_wrong_layer_that_fix_replaces_is_told_to_be_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch traces the network")
    pytest.importorskip("pnnx", reason="the log is one that pnnx prints in the test")

    class Normalize(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            return torch.nn.functional.normalize(x)

    torch.jit.trace(Normalize(), torch.rand(1, 3, 8, 8)).save(tmp_path / "model.pt")
    with open(tmp_path / "pnnx.log", "w") as log:
        command = [find_pnnx().program, "model.pt", "inputshape=[1,3,8,8]"]
        subprocess.run(command, cwd=tmp_path, stdout=log, stderr=log, check=True)
    assert main(["check", "--log", str(tmp_path / "pnnx.log"), str(tmp_path)]) == 1
    out = capsys.readouterr().out
    line = "unsupported-parameter {}: `unsupported normalize for 4-rank tensor with axis 1`"
    assert line.format("repaired") in out
    assert "[model.ncnn.param:4, model.pnnx.param:4, model_pnnx.py:" in out
    assert main(["fix", "-q", str(tmp_path)]) == 0
    assert main(["check", "--log", str(tmp_path / "pnnx.log"), str(tmp_path)]) == 0
    assert line.format("harmless") in capsys.readouterr().out


def test_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "leak"
    shutil.copytree(FIXTURES / "20240226" / "used-and-output", folder)
    data = (folder / "pnnx.log").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["check", "--log", "-", "--output-format", "concise", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("-:25: PNX501 batch-axis-guess harmless: ")]
    assert [line for line in lines if line.startswith("-:29: PNX502 dropped-parameter repaired: ")]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_and_what_is_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = put(tmp_path / "leak", "", "model.ncnn.param")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for text, code, said in ((HEAD + PASSES + "todo x\n", 1, "PNX510"), ("hello\n", 2, "not a log of pnnx")):
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        assert main(["check", "--log", str(pipe), str(folder)]) == code
        writer.join()
        out, err = capsys.readouterr()
        (line,) = [line for line in (out + err).splitlines() if said in line]
        assert line.startswith(f"{pipe}:")


def test_json_has_harmless_lines_as_notes(capsys: pytest.CaptureFixture[str]) -> None:
    folder = FIXTURES / "20240226" / "used-and-output"
    assert main(["check", "--log", str(folder / "pnnx.log"), "--output-format", "json", str(folder)]) == 1
    report = json.loads(capsys.readouterr().out)
    assert ["PNX501" in note or "PNX502" in note for note in report["conversions"][0]["notes"]] == [True] * 2


def test_a_line_that_repeats_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "pnnx.log"
    with path.open("w") as log:
        log.write(HEAD + PASSES)
        for number in range(200_000):
            log.write("Warning: int64 value 9000000000 exceeds int32 range\n")
            log.write(f"fallback batch axis 233 for operand {number}\n")
    groups = read_log(path).groups
    assert [(group.rule.code, group.line, group.count) for group in groups] == [
        ("PNX509", 7, 200_000),
        ("PNX501", 8, 200_000),
    ]
    assert groups[1].subjects == ["0", "1", "2", "3", "4"]


def test_lines_of_too_many_kinds_are_counted_only(tmp_path: Path) -> None:
    path = tmp_path / "pnnx.log"
    with path.open("w") as log:
        log.write(HEAD + PASSES)
        log.writelines(f"todo node{number}\n" for number in range(MAX_GROUPS + 500))
    found = read_log(path)
    assert (len(found.groups), found.uncounted) == (MAX_GROUPS, 500)


def test_what_other_programs_print_does_not_bury_what_pnnx_says(tmp_path: Path) -> None:
    log = HEAD + PASSES + "".join(f"epoch {number}\n" for number in range(5000)) * 2 + "todo x\n"
    found = explain(put(tmp_path / "leak", log, "model.ncnn.param"))
    codes = [one.rule.code for one in found]
    assert codes == [*["PNX599"] * MAX_UNKNOWN, "PNX510", "PNX599"]
    assert sum(one.count for one in found) == 10_001
    assert {one.verdict for one in found if one.rule.code == "PNX599"} == {"unknown"}


def test_a_line_without_end_is_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "pnnx.log"
    path.write_bytes(HEAD.encode() + b"todo " + b"x" * 5_000_000 + b"\ntodo y\n")
    assert [group.line for group in read_log(path).groups] == [3, 4]


TEXTS = st.sampled_from([*LINES, *PIECES]) | st.text(max_size=40)


@settings(max_examples=200)
@given(st.lists(TEXTS, max_size=12), st.binary(max_size=20))
def test_no_log_is_too_strange(lines: list[str], end: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pnnx.log")
        path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + end)
        log = read_log(path)
    assert all(1 <= group.line <= log.lines and group.count >= 1 for group in log.groups)


LONG: dict[str, set[str]] = {text: set() for text in ("x", "x ", "ignore ", "reshape ", "[W1 ")}
LONG["fallback to "] = {"PNX506"}


@pytest.mark.parametrize(("text", "codes"), LONG.items())
def test_a_long_line_is_read_without_backtracking(text: str, codes: set[str]) -> None:
    """Backtracking would take this test minutes."""
    line = text * (60_000 // len(text))
    assert {rule.code for rule in LINE_RULES if rule.match(line) is not None} == codes


def put(folder: Path, log: str, *kept: str) -> Path:
    """A conversion of which only `kept` is there, with this log."""
    folder.mkdir()
    for name in kept:
        shutil.copy(FIXTURES / "20261020" / "clamp-min-tenth" / name, folder)
    (folder / "pnnx.log").write_text(log)
    return folder


TRACEBACK = """terminate called after throwing an instance of 'std::runtime_error'
  what():  The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 8, in forward
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    return torch.linalg_det(x)
           ~~~~~~~~~~~~~~~~ <--- HERE

Traceback of TorchScript, original code (most recent call last):
/env/site-packages/torch/_refs.py(9): det
model.py(37): forward
RuntimeError: Calling torch.linalg.lu_factor on a CPU tensor requires compiling PyTorch with LAPACK.

"""


def test_a_run_that_died_of_an_operator(tmp_path: Path) -> None:
    folder = put(tmp_path / "dead", HEAD + "############# pass_level0\n" + TRACEBACK)
    (found,) = explain(folder)
    assert (found.rule.code, found.verdict, found.operator) == ("PNX515", "fatal", "aten::linalg_det")
    assert found.places == ("model.py:37",)
    assert "`return torch.linalg_det(x)`" in found.message


NESTED = """terminate called after throwing an instance of 'std::runtime_error'
  what():  The following operation failed in the TorchScript interpreter.
Traceback of TorchScript, serialized code (most recent call last):
  File "code/__torch__.py", line 12, in forward
    l = self.l
    input = torch.relu((l).forward(x, ))
                        ~~~~~~~~~~ <--- HERE
  File "code/__torch__/torch/nn/modules/linear.py", line 12, in forward
    return torch.linear(x, weight, bias)
           ~~~~~~~~~~~~ <--- HERE

RuntimeError: mat1 and mat2 shapes cannot be multiplied (1x1499 and 1500x1500)
"""


def test_the_innermost_call_is_the_one_that_failed(tmp_path: Path) -> None:
    folder = put(tmp_path / "dead", HEAD + "############# pass_level0\n" + NESTED)
    (found,) = explain(folder)
    assert found.operator == "aten::linear"


@pytest.mark.parametrize(
    ("passes", "stage"),
    [
        ("", "before its first pass"),
        ("############# pass_level2\n", "in pass_level2"),
        (PASSES, "in pass_ncnn"),
    ],
)
def test_a_log_that_ends_early_says_where(tmp_path: Path, passes: str, stage: str) -> None:
    folder = put(tmp_path / "dead", HEAD + passes, "model.pnnx.param")
    (found,) = explain(folder)
    assert (found.rule.code, found.verdict) == ("PNX516", "fatal")
    assert f"the log ends {stage}" in found.message


OTHERS = {
    "by-name": (HEAD.replace("model.", "other.") + PASSES, "it is of other.ncnn.param"),
    "by-inputs": (HEAD + "inputshape = [20]f32\n" + PASSES, "its inputs are [20]f32"),
}


@pytest.mark.parametrize(("log", "reason"), OTHERS.values(), ids=OTHERS)
def test_the_log_of_another_model(tmp_path: Path, log: str, reason: str) -> None:
    folder = put(tmp_path / "leak", log, "model.pnnx.param", "model.ncnn.param")
    report, (found,) = check_explained([folder], Options(logs=(folder / "pnnx.log",)))
    assert found.rule.code == "PNX517"
    assert reason in found.message
    assert "PNX517" in {finding.code for finding in report.findings}


def test_a_file_that_is_no_log(tmp_path: Path) -> None:
    folder = put(tmp_path / "leak", "hello\n", "model.ncnn.param")
    report, found = check_explained([folder], Options(logs=(folder / "pnnx.log",)))
    assert found == []
    assert "not a log of pnnx" in report.all_problems[-1].message
    assert report.exit_code == 2


def test_the_last_of_several_runs_counts(tmp_path: Path) -> None:
    folder = put(tmp_path / "leak", HEAD + "todo a\n" + HEAD + PASSES + "todo b\n", "model.ncnn.param")
    assert [one.line for one in explain(folder)] == [10]
