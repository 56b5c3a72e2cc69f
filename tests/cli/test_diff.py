"""The diff: git applies it, and gets exactly the repaired bytes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnnxfix.cli.diff import _compare, paint_diff, render_diff
from pnnxfix.report import Change, ConversionReport, Report

LINES = st.lists(
    st.sampled_from([b"a\n", b"b\n", b"c\n", b"d\n", b"e\n", b"\n", b"x" * 9 + b"\r\n"]), max_size=30
)
NUMBERS = b"".join(b"%d\n" % number for number in range(99))


def report(*changes: Change) -> Report:
    return Report([ConversionReport(Path("model"), changes=list(changes))])


@given(LINES, LINES)
def test_steps_lead_from_before_to_after(before: list[bytes], after: list[bytes]) -> None:
    made: list[bytes] = []
    i = j = 0
    for tag, i1, i2, j1, j2 in _compare(before, after):
        assert (i, j) == (i1, j1)
        assert (tag == "equal") == (before[i1:i2] == after[j1:j2])
        made += after[j1:j2]
        i, j = i2, j2
    assert (i, j) == (len(before), len(after))
    assert made == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"a\nb\nc\n", b"a\nB\nc\n", id="one-line"),
        pytest.param(b"a\nb", b"a\nB", id="no-final-newline"),
        pytest.param(b"a\nb", b"a\nb\n", id="final-newline-added"),
        pytest.param(b"a\r\nb\r\n", b"a\r\nB\r\n", id="crlf"),
        pytest.param(b"a\rb\x0cc\xc2\x85d\n", b"a\rb\x0cc\xc2\x85D\n", id="other-line-ends"),
        pytest.param(NUMBERS, NUMBERS.replace(b"0\n", b"x\n"), id="several-hunks"),
        pytest.param(b"a\n" * 50 + b"b\n" + b"a\n" * 50, b"a\n" * 101, id="repeated-lines"),
        pytest.param(b"", b"a\n", id="from-empty"),
    ],
)
@pytest.mark.parametrize("name", ["model.param", "my model.param", "-model.param", "mod\u00e9le.param"])
def test_git_applies_the_diff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, before: bytes, after: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(before)
    diff = render_diff(report(Change(path, before, [after])))
    subprocess.run(["git", "apply", "--unsafe-paths", "-"], input=diff, check=True)
    assert path.read_bytes() == after


@pytest.mark.parametrize("data", [b"\0a", b"\xff\xfe"])
def test_binary_files_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    diff = render_diff(report(Change(Path("model.pnnx.onnx"), data, [data + b"x"])))
    assert diff == b"Binary files a/model.pnnx.onnx and b/model.pnnx.onnx differ\n"


def test_unchanged_files_are_left_out() -> None:
    assert render_diff(report(Change(Path("a"), b"x\n", [b"x\n"]))) == b""


def test_a_terminal_gets_colour_and_no_control_characters() -> None:
    diff = render_diff(report(Change(Path("a"), b"\x1b[2Jx\n", [b"y\tz\r\n"])))
    text = paint_diff(diff, lambda line, color: f"<{color}>{line}")
    assert text.splitlines()[3:] == ["<31>-\\x1b[2Jx", "<32>+y\tz"]


def test_large_files_take_no_quadratic_time() -> None:
    """Counted in lines given to difflib, since a clock would make this test flaky."""
    before = [b"Convolution conv_%d 1 1 %d %d 0=8\n" % (n, n, n + 1) for n in range(20_000)]
    after = [
        b"Clip clip_%d 1 1 %d %d 0=0\n" % (n, n, n + 1) if n % 20 == 0 else before[n] for n in range(20_000)
    ]
    pieces = [i2 - i1 for tag, i1, i2, _, _ in _compare(before, after) if tag != "equal"]
    assert pieces == [1] * 1000
