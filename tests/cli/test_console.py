"""Streams: colour, closed pipes, full disks, names that a terminal must not act upon."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from pnnxfix.cli.console import count, painter, printable, shown, wants_color
from pnnxfix.cli.text import render_findings, render_problems
from pnnxfix.report import ConversionReport, Finding, Problem, Report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "environment", "switch", "wanted"),
    [
        (False, {}, None, False),
        (True, {}, None, True),
        (True, {"TERM": "dumb"}, None, False),
        (True, {"NO_COLOR": "1"}, None, False),
        (True, {"NO_COLOR": ""}, None, True),
        (False, {"FORCE_COLOR": "1"}, None, True),
        (True, {"FORCE_COLOR": "0"}, None, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, None, False),
        (True, {"NO_COLOR": "1"}, True, True),
        (True, {"FORCE_COLOR": "1"}, False, False),
    ],
)
def test_who_gets_colour(
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    environment: dict[str, str],
    switch: bool | None,
    wanted: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_color(Terminal() if terminal else io.StringIO(), switch) is wanted


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("plain", "plain"),
        ("\u00e9\u4e2d", "\u00e9\u4e2d"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("a\nb\r", "a\\nb\\r"),
        ("\udcff", "\\udcff"),
        ("\u202e", "\\u202e"),
    ],
)
def test_control_characters_are_escaped(text: str, visible: str) -> None:
    assert printable(text) == visible


def test_paths_below_the_working_directory_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    assert shown(tmp_path / "a" / "b.param") == "b.param"
    assert shown("../a/b.param") == "b.param"
    assert shown("../b.param") == "../b.param"
    assert shown(tmp_path / "ab.param") == str(tmp_path / "ab.param")


def test_numbers_and_nouns() -> None:
    assert [count(n, "file") for n in (0, 1, 2, 1234)] == ["0 files", "1 file", "2 files", "1,234 files"]


def test_a_finding_is_one_line_whatever_it_holds() -> None:
    hostile = Finding(
        Path("a\n.param"), 3, 1, "PNX900", "unknown-layer", "no layer `\x1b[2J`", "first\nthen", "", "why"
    )
    report = Report([ConversionReport(Path("a"), [hostile])])
    plain = painter(io.StringIO(), False)
    assert (
        render_findings(report, plain, full=False)
        == "a\\n.param:3:1: PNX900 unknown-layer no layer `\\x1b[2J`\n"
    )
    assert render_findings(report, plain, full=True).splitlines()[1:] == [
        "    not repaired: why",
        "    help: first",
        "          then",
    ]


def test_problems_have_a_position_where_there_is_one() -> None:
    report = Report(problems=[Problem(Path("a"), "gone"), Problem(Path("b"), "odd", "mend it", 2, 5)])
    assert render_problems(report, painter(io.StringIO(), False)) == (
        "a: error: gone\nb:2:5: error: odd\n    help: mend it\n"
    )


def run(stdout: int | IO[bytes], environment: dict[str, str], *argv: str) -> tuple[int, bytes]:
    command = [sys.executable, "-m", "pnnxfix", *argv]
    done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False)
    return done.returncode, done.stderr


def test_a_reader_that_goes_away_is_no_error(environment: dict[str, str]) -> None:
    read, write = os.pipe()
    os.close(read)
    assert run(write, environment, "rule", "--all") == (0, b"")
    os.close(write)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told(environment: dict[str, str]) -> None:
    with open("/dev/full", "wb") as full:
        code, err = run(full, environment, "rule", "--all")
    assert code == 2
    assert err == b"pnnxfix: error: the output cannot be written: No space left on device\n"


def test_text_outside_the_encoding_is_escaped(environment: dict[str, str]) -> None:
    code, err = run(subprocess.DEVNULL, {**environment, "PYTHONIOENCODING": "ascii"}, "check", "mod\u00e9le")
    assert code == 2
    assert err.startswith(b"mod\\xe9le: error: ")
