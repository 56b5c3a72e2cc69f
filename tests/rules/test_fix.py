"""`fix` repairs every stored conversion: the damaged lines, no other byte, and nothing twice."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from pnnxfix.options import Options
from pnnxfix.pipeline.run import check_paths, fix_paths
from tests.helpers.conversions import (
    FAMILY,
    LEAKED,
    REFUSED,
    REPAIRED,
    STORED,
    STRANGERS,
    Stored,
    fix_folder,
    repair,
    snapshot,
    stamps,
)
from tests.helpers.graphs import Row, assert_is_sound, parse_row, parse_rows

REPAIRABLE = (".ncnn.param", ".pnnx.param", "_pnnx.py", ".pnnx.onnx")
TEXTS = ("*.param", "*.py", "*.log")

by_id = pytest.mark.parametrize("stored", REPAIRED, ids=lambda stored: stored.id)
by_any_id = pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored.id)


def leaked_rows(stored: Stored, suffix: str) -> list[Row]:
    """The rows that are to be repaired in a graph."""
    rows = parse_rows(stored.text(suffix))
    if suffix == ".pnnx.param":
        return [row for row in rows if row.type in FAMILY and "::" in row.type]
    return [row for row in rows if row.type in FAMILY or ("::" in row.type and row.type not in STRANGERS)]


def assert_kept(before: Iterable[str], after: Iterable[str]) -> None:
    """Every line of `before` is in `after`, in the same order."""
    rest: Iterator[str] = iter(after)
    missing = [line for line in before if line not in rest]
    assert missing == []


# What must not change.


@pytest.mark.parametrize("stored", REFUSED, ids=lambda stored: stored.id)
def test_refused_graphs_keep_every_byte_and_the_reason_is_said(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    changed = {path.name for path in (change.path for change in repaired.report.conversions[0].changes)}
    assert changed <= {f"{stored.stem}_pnnx.py"}
    before, after = snapshot(stored.folder), snapshot(repaired.folder)
    assert {name for name in before if before[name] != after[name]} == changed
    codes = set(FAMILY.values())
    refusals = [finding.refusal for finding in repaired.report.findings if finding.code in codes]
    because = stored.case.because  # type: ignore[attr-defined]
    assert refusals
    assert all(refusal is not None and because in refusal for refusal in refusals)
    assert repaired.report.exit_code == 1


@pytest.mark.parametrize("stored", [s for s in STORED if s.is_clean], ids=lambda stored: stored.id)
def test_clean_conversion_keeps_every_byte(stored: Stored, tmp_path: Path) -> None:
    folder = stored.copy(tmp_path / "copy")
    before = stamps(folder)
    report = fix_folder(folder)
    assert stamps(folder) == before
    assert report.exit_code == 0


@by_any_id
def test_second_fix_changes_nothing(stored: Stored, base: Path) -> None:
    first = repair(stored, base)
    before = stamps(first.folder)
    second = fix_folder(first.folder)
    assert [change.path for change in second.conversions[0].changes] == []
    assert second.fixed == []
    assert stamps(first.folder) == before
    assert second.exit_code == first.report.exit_code


@by_any_id
def test_only_the_graphs_and_the_code_change(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    before, after = snapshot(stored.folder), snapshot(repaired.folder)
    assert after.keys() == before.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {f"{stored.stem}{suffix}" for suffix in REPAIRABLE}
    assert changed == {change.path.name for change in repaired.report.conversions[0].changes}


@by_id
def test_every_other_row_of_the_ncnn_graph_keeps_its_bytes(stored: Stored, base: Path) -> None:
    leaks = leaked_rows(stored, ".ncnn.param")
    before = stored.text(".ncnn.param").splitlines(keepends=True)
    after = repair(stored, base).text(".ncnn.param").splitlines(keepends=True)
    rows = [parse_row(line) for line in before[2:]]
    touched = {row.name for row in leaks}
    blobs = {blob for row in leaks for blob in row.inputs}
    splits = {row.name for row in rows if row.type == "Split" and blobs & set(row.outputs)}
    feeding = {blob for row in rows if row.name in splits for blob in row.inputs} | blobs
    constants = {r.name for r in rows if r.type == "pnnx.Expression" and feeding & set(r.outputs)}
    fused = {row.name for row in rows if blobs & set(row.outputs) and row.type not in {"Split", "Input"}}
    may_change = touched | splits | constants | fused
    kept = [line for line, row in zip(before[2:], rows, strict=True) if row.name not in may_change]
    assert_kept([before[0], *kept], after)
    for line in set(after[2:]) - set(before):
        row = parse_row(line)
        assert row.name in may_change or row.name.rpartition("_")[0] in touched
        assert line == render_row(line)


@by_id
def test_every_other_row_of_the_pnnx_graph_keeps_its_bytes(stored: Stored, base: Path) -> None:
    leaks = leaked_rows(stored, ".pnnx.param")
    before = stored.text(".pnnx.param").splitlines(keepends=True)
    after = repair(stored, base).text(".pnnx.param").splitlines(keepends=True)
    rows = [parse_row(line) for line in before[2:]]
    touched = {row.name for row in leaks}
    read = {operand for row in leaks for operand in row.inputs}
    constants = {r.name for r in rows if r.type == "pnnx.Expression" and read & set(r.outputs)}
    kept = [line for line, row in zip(before[2:], rows, strict=True) if row.name not in touched | constants]
    assert_kept([before[0], *kept], after)
    for line in set(after[2:]) - set(before):
        assert parse_row(line).name in touched
        assert line == render_row(line)
    if not leaks:
        assert after == before


@by_id
def test_every_other_line_of_the_code_keeps_its_bytes(stored: Stored, base: Path) -> None:
    before = stored.text("_pnnx.py").splitlines(keepends=True)
    after = repair(stored, base).text("_pnnx.py").splitlines(keepends=True)
    call = re.compile(r"^(\s+v_\d+(?:, v_\d+)* = )aten::\w+\((.*)\)\n$")
    calls = [match for line in before if (match := call.match(line))]
    constants = {word for match in calls for word in match[2].split(", ")}
    constant = re.compile(r"^\s+(v_\d+) = [-+\w.]+\n$")
    kept = [
        line
        for line in before
        if not call.match(line) and not ((match := constant.match(line)) and match[1] in constants)
    ]
    assert_kept(kept, after)
    new = [line for line in after if line not in set(before)]
    assert len(new) == len(calls)
    assert all(line.startswith(match[1] + "torch.") for line, match in zip(new, calls, strict=True))


def render_row(line: str) -> str:
    """The row in the columns that pnnx prints."""
    kind, name, read, written, *words = line.split()
    return " ".join([f"{kind:<24} {name:<24} {read} {written}", *words]) + "\n"


# What must change.


@by_id
def test_nothing_of_the_family_is_left(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    assert [row for row in parse_rows(repaired.text(".ncnn.param")) if row.type in FAMILY] == []
    assert "aten::clamp" not in repaired.text("_pnnx.py") + repaired.text(".pnnx.param")
    assert {finding.code for finding in repaired.report.findings} & set(FAMILY.values()) == set()
    assert repaired.report.all_problems == []
    assert repaired.report.exit_code == (1 if stored.stranger or stored.has_wide_input else 0)


@by_any_id
def test_report_after_a_fix_is_what_a_check_finds(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    again = check_paths([repaired.folder], Options())
    left = sorted((f.path.name, f.code, f.operator) for f in repaired.report.findings)
    assert sorted((f.path.name, f.code, f.operator) for f in again.findings) == left


@pytest.mark.parametrize("stored", [s for s in REPAIRED if s.stranger], ids=lambda stored: stored.id)
def test_another_leaked_operator_is_reported_and_left(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    row = next(r for r in parse_rows(stored.text(".ncnn.param")) if r.type == stored.stranger)
    left = next(r for r in parse_rows(repaired.text(".ncnn.param")) if r.type == stored.stranger)
    assert (left.name, left.outputs, left.words) == (row.name, row.outputs, row.words)
    found = [(f.path.name, f.code) for f in repaired.report.findings if stored.stranger in f.message]
    assert found == [(f"{stored.stem}.ncnn.param", "PNX900")]


@by_any_id
def test_graphs_are_sound(stored: Stored, base: Path) -> None:
    repaired = repair(stored, base)
    for suffix in (".ncnn.param", ".pnnx.param"):
        one_reader = suffix == ".ncnn.param"
        assert_is_sound(repaired.text(suffix), stored.text(suffix), one_reader=one_reader)


@pytest.mark.parametrize("stored", LEAKED, ids=lambda stored: stored.id)
def test_code_compiles(stored: Stored, base: Path) -> None:
    compile(repair(stored, base).text("_pnnx.py"), "model_pnnx.py", "exec")


@pytest.mark.parametrize("stored", LEAKED, ids=lambda stored: stored.id)
def test_line_ends_of_windows_survive(stored: Stored, base: Path, tmp_path: Path) -> None:
    folder = stored.copy(tmp_path / "copy")
    to_windows(folder)
    report = fix_folder(folder)
    expected = repair(stored, base)
    wanted = shutil.copytree(expected.folder, tmp_path / "expected")
    to_windows(wanted)
    assert snapshot(folder) == snapshot(wanted)
    assert report.exit_code == expected.report.exit_code


def to_windows(folder: Path) -> None:
    for pattern in TEXTS:
        for path in folder.glob(pattern):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def test_ncnn_is_asked_and_loads_the_repaired_graphs(tmp_path: Path) -> None:
    chosen = [stored for stored in REPAIRED if stored.release == "20250430"]
    for stored in chosen:
        stored.copy(tmp_path / stored.id)
    report = fix_paths([tmp_path], Options(load_check=True))
    assert report.all_problems == []
    assert len([conversion for conversion in report.conversions if conversion.changes]) == len(chosen)
