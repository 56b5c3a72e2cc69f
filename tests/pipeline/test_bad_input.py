"""Broken and hostile files: one clear message each, no exception, no changed byte, bounded time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pnnxfix.options import Options
from pnnxfix.pipeline.run import check_paths, fix_paths
from pnnxfix.report import Report

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "fixtures" / "20261020" / "clamp-min-tenth"
PARAM, PNNX, PYTHON = "model.ncnn.param", "model.pnnx.param", "model_pnnx.py"
QUICK = Options(load_check=False)

Files = dict[str, bytes]

posix = pytest.mark.skipif(os.name == "nt", reason="needs links and pipes")


def copy(tmp_path: Path, **changed: bytes | None) -> Path:
    """A real conversion with some files replaced or removed; `ncnn`, `pnnx`, `python` name them."""
    home = tmp_path / "conversion"
    home.mkdir()
    for path in SAMPLE.iterdir():
        if path.suffix != ".npz":
            shutil.copyfile(path, home / path.name)
    for key, data in changed.items():
        path = home / {"ncnn": PARAM, "pnnx": PNNX, "python": PYTHON}[key]
        path.unlink()
        if data is not None:
            path.write_bytes(data)
    return home


def snapshot(home: Path) -> Files:
    return {path.name: path.read_bytes() for path in home.iterdir() if path.is_file()}


def run_both(paths: list[Path], options: Options = QUICK) -> Report:
    """`check`, then `fix`; both must take little time and tell where and what."""
    start = time.monotonic()
    for report in (check_paths(paths, options), fix_paths(paths, options)):
        for problem in report.all_problems:
            assert problem.message
            assert len(problem.message) < 2000
        for finding in (*report.findings, *report.fixed):
            assert finding.line >= 1
            assert finding.column >= 1
            assert finding.message
            assert finding.help
    assert time.monotonic() - start < 20
    return report


def expect_refused(home: Path, name: str, line: int, reason: str, paths: list[Path] | None = None) -> None:
    """A problem or a finding of that file at that line, exit code 1 or 2, and no changed byte."""
    before = snapshot(home)
    report = run_both(paths or [home])
    assert snapshot(home) == before
    told = [(p.path.name, p.line, p.message) for p in report.all_problems]
    told += [(f.path.name, f.line, f"{f.message} {f.refusal}") for f in report.findings]
    assert any((name, line) == item[:2] and reason in item[2] for item in told), told
    assert report.exit_code == (2 if report.all_problems else 1)
    assert report.exit_code != 0


def sample(name: str) -> bytes:
    return (SAMPLE / name).read_bytes()


def test_the_sample_itself_is_repaired(tmp_path: Path) -> None:
    home = copy(tmp_path)
    report = run_both([home])
    assert report.exit_code == 0
    assert {finding.path.name for finding in report.fixed} == {PARAM, PNNX, PYTHON}
    assert run_both([home]).fixed == []


HEAD = b"7767517\n"
NO_TEXT = {
    "empty": (b"", 0, "empty"),
    "blank": (b"\n \r\n", 0, "empty"),
    "binary": (bytes(range(256)), 1, "binary"),
    "zip": (sample("model.pnnx.bin"), 1, "binary"),
    "latin-1": (HEAD + b"1 1\nInput in\xe9 0 1 in0\n", 3, "UTF-8"),
    "utf-16": (sample(PARAM).decode().encode("utf-16"), 1, "binary"),
    "bom": (b"\xef\xbb\xbf" + sample(PARAM), 1, "byte order mark"),
    "nul": (sample(PARAM).replace(b"in0 ", b"in\x000", 1), 3, "0x00"),
    "wrong-magic": (sample(PARAM).replace(b"7767517", b"7767518"), 1, "7767517"),
    "no-counts": (HEAD, 1, "counts"),
    "words-for-counts": (HEAD + b"a b\n", 2, "'a b'"),
    "negative-count": (HEAD + b"-1 1\n", 2, "'-1 1'"),
    "huge-count": (HEAD + b"9" * 5000 + b" 1\n", 2, "whole numbers"),
    "short-row": (HEAD + b"1 1\nInput in0\n", 3, "2 words"),
    "word-for-a-count": (HEAD + b"1 1\nInput in0 x 1 in0\n", 3, "'x'"),
    "negative-operands": (HEAD + b"1 1\nInput in0 -1 1 in0\n", 3, "'-1'"),
    "announced-operands": (HEAD + b"1 1\nInput in0 0 999999999 in0\n", 3, "announces 999999999"),
    "foreign-digits": (HEAD + "1 1\nInput in0 \u00b2 1 in0\n".encode(), 3, "a count"),
    "one-long-word": (b"x" * 50_000_000, 1, "xxx..."),
    "blank-lines": (b"\n" * 1_000_000, 0, "empty"),
    "magic-and-blank-lines": (HEAD + b"\n" * 1_000_000, 1, "counts"),
}


@pytest.mark.parametrize("case", NO_TEXT)
@pytest.mark.parametrize("file", ["ncnn", "pnnx"])
def test_param_that_cannot_be_read(tmp_path: Path, case: str, file: str) -> None:
    data, line, reason = NO_TEXT[case]
    expect_refused(copy(tmp_path, **{file: data}), {"ncnn": PARAM, "pnnx": PNNX}[file], line, reason)


BROKEN_GRAPHS = {
    "layer-count-too-big": ("4 4", ["Input a 0 1 in0", "ReLU b 1 1 in0 out0"], 2, "rows may be missing"),
    "duplicate-blob": ("3 3", ["Input a 0 1 in0", "ReLU b 1 1 in0 x", "ReLU c 1 1 x x"], 5, "second time"),
    "unknown-blob": ("2 3", ["Input a 0 1 in0", "ReLU b 1 1 in7 out0"], 4, "no layer"),
    "self-loop": ("1 1", ["ReLU b 1 1 x x"], 3, "further down"),
    "cycle": ("2 2", ["ReLU a 1 1 y x", "ReLU b 1 1 x y"], 3, "further down"),
    "before-its-producer": ("2 2", ["ReLU b 1 1 in0 out0", "Input a 0 1 in0"], 3, "further down"),
    "split-cycle": ("2 2", ["Split a 1 1 y x", "Split b 1 1 x y"], 3, "further down"),
}


@pytest.mark.parametrize("case", BROKEN_GRAPHS)
@pytest.mark.parametrize("leak", [False, True], ids=["alone", "beside-a-leak"])
def test_graph_that_is_broken_in_itself(tmp_path: Path, case: str, leak: bool) -> None:
    counts, rows, line, reason = BROKEN_GRAPHS[case]
    if leak:
        rows = [*rows, "Input z 0 1 in9", "pnnx.Expression e 0 1 c", "aten::clamp_min n 2 1 in9 c r"]
        layers, blobs = map(int, counts.split())
        counts = f"{layers + 3} {blobs + 3}"
    data = "\n".join(["7767517", counts, *rows, ""]).encode()
    home = copy(tmp_path, ncnn=data, pnnx=None, python=None)
    expect_refused(home, PARAM, line, reason)


@pytest.mark.parametrize("name", [PARAM, PNNX, PYTHON])
def test_truncated_at_every_byte(tmp_path: Path, name: str) -> None:
    home = copy(tmp_path)
    whole = snapshot(home)
    step = 1 if name != PYTHON else 29
    for length in range(0, len(whole[name]) - 1, step):
        before = {**whole, name: whole[name][:length]}
        for other, data in before.items():
            if (home / other).read_bytes() != data:
                (home / other).write_bytes(data)
        report = check_paths([home], QUICK)
        assert snapshot(home) == before
        report = fix_paths([home], QUICK)
        after = snapshot(home)
        if report.exit_code == 2:
            assert after == before, length
        elif name == PARAM and before[name].count(b"\n") < whole[name].count(b"\n") - 1:
            assert after[name] == before[name], length  # rows are missing: it stays as it was
        assert set(after) == set(before)


@pytest.mark.parametrize("end", ["\r\n", " \n", "\n\n"], ids=["crlf", "trailing-blanks", "blank-lines"])
def test_other_line_ends_are_kept_through_a_repair(tmp_path: Path, end: str) -> None:
    home = copy(tmp_path)
    assert run_both([home]).exit_code == 0
    repaired = snapshot(home)
    shutil.rmtree(home)
    names = [PARAM, PNNX] if end == "\n\n" else [PARAM, PNNX, PYTHON] if end == "\r\n" else [PARAM, PNNX]
    home = copy(tmp_path)
    for name in names:
        (home / name).write_bytes(sample(name).replace(b"\n", end.encode()))
    assert run_both([home]).exit_code == 0
    for name in names:
        expected = repaired[name]
        got = (home / name).read_bytes()
        assert got.split() == expected.split()
        if end != "\n\n":
            assert got == expected.replace(b"\n", end.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"a\x00b",
        "v_1 = 0".encode("utf-16"),
    ],
    ids=["no-utf-8", "nul", "utf-16"],
)
def test_python_that_is_no_text(tmp_path: Path, data: bytes) -> None:
    expect_refused(copy(tmp_path, python=data), PYTHON, 1, "")


@pytest.mark.parametrize(
    "argument",
    [
        "(" * 100000,
        "[" * 3000 + "]" * 3000,
        "[" * 600 + "]" * 600,
        "-" * 20000 + "v_1",
        "v_1 +",
        "aten::frac(v_0)",
        "v_1)(",
        "'",
        "lambda: 0",
        "v_1 if v_0 else " * 300 + "v_1",
        "²",
        "9" * 5000,
        "*v_1",
        "v_1; v_2",
    ],
    ids=range(14),
)
def test_python_with_a_hostile_argument(tmp_path: Path, argument: str) -> None:
    text = sample(PYTHON).replace(b"aten::clamp_min(v_0, v_1)", f"aten::clamp_min(v_0, {argument})".encode())
    assert text != sample(PYTHON)
    home = copy(tmp_path, python=text)
    before = snapshot(home)
    report = run_both([home])
    if report.exit_code == 2:
        assert snapshot(home) == before
    else:
        assert all(finding.message for finding in report.findings)


def test_python_that_pnnx_did_not_write_is_left_alone(tmp_path: Path) -> None:
    home = copy(tmp_path, python=b"v_2 = aten::clamp_min(v_0, v_1)\n", ncnn=None, pnnx=None)
    before = snapshot(home)
    report = run_both([home])
    assert snapshot(home) == before
    assert any("not code that pnnx wrote" in note for c in report.conversions for note in c.notes)


@pytest.mark.parametrize(
    "value",
    [
        "9" * 40,
        "9" * 5000,
        "1e9999",
        "-1e9999",
        "1e-9999",
        "0x10",
        "²",
        "[1,2]",
        "add(@0,@1)",
        "@0",
        "",
        "True",
        "(" * 5000,
        "1.5j",
        "nan",
        "inf",
    ],
    ids=range(16),
)
@pytest.mark.parametrize(
    "annotation", ["#0=(1,3,8,8)f32", "#0=(" + "9" * 5000 + ")f32", "#0=(1?2,,)f32", "#0=()"]
)
def test_odd_constants_and_shapes(tmp_path: Path, value: str, annotation: str) -> None:
    text = sample(PNNX).decode().replace("expr=0.1", f"expr={value}").replace("#0=(1,3,8,8)f32", annotation)
    home = copy(tmp_path, pnnx=text.encode(), python=None)
    (home / "pnnx.log").unlink()
    (home / "model.pt").unlink()
    before = snapshot(home)
    report = run_both([home])
    if report.exit_code == 2:
        assert snapshot(home) == before


def test_a_bin_of_another_model_stops_the_repair(tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="the real ncnn is asked to load it")
    home = tmp_path / "conv"
    shutil.copytree(ROOT / "fixtures" / "20261020" / "conv2d-both", home)
    (home / "model.ncnn.bin").write_bytes(b"\x00" * 7)
    before = snapshot(home)
    report = fix_paths([home], Options(load_check=True))
    assert report.exit_code == 2
    assert snapshot(home) == before
    assert any("does not load" in p.message or "not survive" in p.message for p in report.all_problems)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a process has read")
def test_a_bin_that_is_longer_gets_a_note(tmp_path: Path) -> None:
    pytest.importorskip("ncnn", reason="the real ncnn is asked to load it")
    home = tmp_path / "conv"
    shutil.copytree(ROOT / "fixtures" / "20261020" / "conv2d-both", home)
    weights = home / "model.ncnn.bin"
    report = fix_paths([home], Options(load_check=True))
    assert not any("no layer reads" in note for note in report.conversions[0].notes)
    shutil.rmtree(home)
    shutil.copytree(ROOT / "fixtures" / "20261020" / "conv2d-both", home)
    weights.write_bytes(weights.read_bytes() + bytes(50_000))
    report = fix_paths([home], Options(load_check=True))
    assert any("no layer reads the last" in note for note in report.conversions[0].notes)
    assert report.exit_code == 0


# names and kinds of files


def test_missing_path(tmp_path: Path) -> None:
    for path in (
        tmp_path / "nobody",
        tmp_path / "nobody.ncnn.param",
        tmp_path / ("x" * 300),
        tmp_path / "a" / "b",
    ):
        report = run_both([path])
        assert report.exit_code == 2
        assert "no such file" in report.problems[0].message


@pytest.mark.parametrize("name", ["notes.txt", ".ncnn.param", "debug.param", "model.pt"])
def test_a_file_of_no_conversion(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"7767517\n")
    assert run_both([tmp_path / name]).exit_code == 2
    assert run_both([tmp_path]).exit_code == 2


@pytest.mark.parametrize("name", [PARAM, PNNX, PYTHON])
def test_a_directory_in_the_place_of_a_file(tmp_path: Path, name: str) -> None:
    home = copy(tmp_path)
    (home / name).unlink()
    (home / name).mkdir()
    assert run_both([home / name]).exit_code == 2
    others = [home / other for other in (PARAM, PNNX, PYTHON) if other != name]
    expect_refused(home, name, 0, "irectory", others)


@posix
@pytest.mark.parametrize("name", [PARAM, PNNX, PYTHON])
@pytest.mark.parametrize("kind", ["dangling", "loop", "fifo", "zero", "null", "proc"])
def test_something_else_in_the_place_of_a_file(tmp_path: Path, name: str, kind: str) -> None:
    home = copy(tmp_path)
    path = home / name
    path.unlink()
    match kind:
        case "dangling":
            path.symlink_to("nobody")
        case "loop":
            path.symlink_to(name)
        case "fifo":
            os.mkfifo(path)
        case "zero":
            path.symlink_to("/dev/zero")
        case "null":
            path.symlink_to("/dev/null")
        case "proc":
            path.symlink_to("/proc/self/mem")
    before = {other.name: other.read_bytes() for other in home.iterdir() if other.name != name}
    for paths in ([home], [path]):
        report = run_both(paths)
        assert report.exit_code == 2
        assert any(problem.path.name == name for problem in report.all_problems)
    assert {other.name: other.read_bytes() for other in home.iterdir() if other.name != name} == before


@posix
@pytest.mark.parametrize("name", ["x.log", "model.pt", "model_ncnn.py", "model.ncnn.bin", "model.pnnx.onnx"])
def test_a_pipe_beside_a_conversion_is_not_waited_for(tmp_path: Path, name: str) -> None:
    home = copy(tmp_path)
    (home / name).unlink(missing_ok=True)
    os.mkfifo(home / name)
    run_both([home])


def test_a_directory_in_the_place_of_the_onnx_file_is_told(tmp_path: Path) -> None:
    home = copy(tmp_path)
    (home / "model.pnnx.onnx").unlink()
    (home / "model.pnnx.onnx").mkdir()
    report = run_both([home])
    told = [note for c in report.conversions for note in c.notes] + [p.message for p in report.all_problems]
    assert any("onnx" in text for text in told) or any("onnx" in str(p.path) for p in report.all_problems)


@posix
def test_links_to_files_and_loops_of_directories(tmp_path: Path) -> None:
    home = copy(tmp_path)
    linked = tmp_path / "linked"
    linked.mkdir()
    for path in home.iterdir():
        (linked / path.name).symlink_to(path)
    (home / "self").symlink_to(home)
    (home / "up.ncnn.param").symlink_to(tmp_path)
    (tmp_path / "entry").symlink_to(linked)
    report = run_both([tmp_path / "entry"])
    assert report.exit_code == 0
    assert report.fixed
    assert all(path.is_symlink() for path in linked.iterdir())
    assert b"aten::" not in (home / PARAM).read_bytes()
    assert run_both([home]).exit_code == 2  # the link named like a param is a directory


def test_a_read_only_file_stops_the_repair(tmp_path: Path) -> None:
    home = copy(tmp_path)
    (home / PNNX).chmod(0o444)
    before = snapshot(home)
    report = run_both([home])
    assert report.exit_code == 2
    assert snapshot(home) == before
    assert any("read-only" in problem.message for problem in report.all_problems)


@posix
@pytest.mark.parametrize(
    "name",
    ["a b", "-x", "a\nb", "\x1b[2Jx", "%s{}", "'\"", "..", "é", "x" * 200, "a.ncnn.param", "$(id)", "\udcff"],
    ids=range(12),
)
def test_hostile_names(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for suffix in (".ncnn.param", ".pnnx.param", "_pnnx.py"):
        data = sample(PYTHON if suffix.endswith("py") else f"model{suffix}")
        try:
            (home / (name + suffix)).write_bytes(data)
        except OSError:
            pytest.skip("the file system has no such names")
    report = run_both([home])
    assert report.exit_code == 0
    assert report.fixed


@posix
@pytest.mark.parametrize("name", ["a\nb", "\x1b[2Jx", "\udcff"], ids=["newline", "escape", "no-utf-8"])
def test_the_command_line_prints_hostile_names_safely(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / f"{name}.ncnn.param").write_bytes(sample(PARAM))
    for form in ("full", "json", "github", "sarif"):
        command = [sys.executable, "-m", "pnnxfix", "check", "--output-format", form, str(home)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
        assert done.returncode == 1, done.stderr
        assert b"Traceback" not in done.stderr
        assert b"\x1b" not in done.stdout
        assert b"\na" not in done.stdout or form in {"json", "sarif"}


def test_the_command_line_tells_a_broken_file_in_one_line(tmp_path: Path) -> None:
    home = copy(tmp_path, ncnn=b"7767517\n1 x\n")
    for command in ("check", "fix"):
        done = subprocess.run(
            [sys.executable, "-m", "pnnxfix", command, str(home)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert f"{PARAM}:2" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr


def test_a_shared_blob_beside_a_lowering_of_two_layers_is_repaired(tmp_path: Path) -> None:
    home = tmp_path / "conversion"
    shutil.copytree(ROOT / "fixtures" / "20261020" / "clamp-tensor-both", home)
    text = (home / PARAM).read_text().replace("5 6\n", "6 7\n") + "ReLU relu_x 1 1 in0 out1\n"
    (home / PARAM).write_text(text)
    report = run_both([home])
    assert not report.all_problems
    assert {finding.code for finding in report.fixed} >= {"PNX103", "PNX305"}
    assert run_both([home]).exit_code == 0


def test_a_repair_beside_a_doubtful_operator_does_not_remove_the_doubt(tmp_path: Path) -> None:
    """Python says another operator than the graphs: what is refused now is refused by a second run."""
    home = tmp_path / "conversion"
    shutil.copytree(ROOT / "fixtures" / "20240226" / "used-and-output", home)
    text = (home / PYTHON).read_bytes()
    (home / PYTHON).write_bytes(text.replace(b"aten::clamp_min(", b"apen::clamp_min("))
    assert (home / PYTHON).read_bytes() != text
    run_both([home])
    after = snapshot(home)
    assert run_both([home]).fixed == []
    assert snapshot(home) == after


BESIDE_ANOTHER_FAULT = {
    "made-twice": ("4 4", ["Input a 0 1 in0", "Clip b 1 1 in0 x", "Clip c 1 1 in0 x", "Clip d 1 1 x out0"]),
    "too-early": ("2 3", ["Clip b 1 1 in0 x", "Input a 0 1 in0", "Clip d 1 1 x out0"]),
    "made-by-none": ("2 2", ["Input a 0 1 in0", "Clip b 1 1 in9 x", "Clip d 1 1 x out0"]),
}


@pytest.mark.parametrize("name", BESIDE_ANOTHER_FAULT)
def test_fault_beside_one_that_stays_is_not_promised(name: str, tmp_path: Path) -> None:
    """Line 2 or a Split could be mended; the graph would still be none, and ncnn refuse it."""
    counts, rows = BESIDE_ANOTHER_FAULT[name]
    home = tmp_path / "conversion"
    home.mkdir()
    (home / PARAM).write_text("\n".join(("7767517", counts, *rows, "")))
    before = snapshot(home)
    report = run_both([home], Options())
    assert report.exit_code == 1
    assert len(report.findings) >= 2
    assert not any(finding.fixable or "pnnxfix fix" in finding.help for finding in report.findings)
    assert snapshot(home) == before
