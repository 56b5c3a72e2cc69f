"""`check` finds exactly the leaks of every stored conversion, on their lines, and writes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pnnxfix.data import known_layers
from pnnxfix.options import Options
from pnnxfix.pipeline.run import check_paths
from tests.helpers.conversions import FAMILY, LEAKED, STORED, Stored, snapshot

EXPRESSION, UNKNOWN_LAYER, LEAKED_CALL, BARE_SPECIAL = "PNX201", "PNX900", "PNX110", "PNX202"
WIDE_INPUT, WRONG_LAYER = "PNX152", "PNX150"
Found = set[tuple[str, int, int, str]]
"""Ending of the file name, line, column and code."""


def find_leaks(stored: Stored) -> Found:
    """What a reader of the three files sees at once, line by line, with nothing understood."""
    found: Found = set()
    known = known_layers()
    doubles = re.findall(r"^pnnx\.Attribute +(\S+) .*@data=\S*f64", stored.text(".pnnx.param"), re.MULTILINE)
    for line, row in enumerate(stored.text(".ncnn.param").splitlines()[2:], 3):
        kind, name = row.split()[:2]
        if kind == "MemoryData" and name in doubles:
            found.add((".ncnn.param", line, 1, WRONG_LAYER))
        if kind == "Input" and stored.has_wide_input:
            found.add((".ncnn.param", line, 1, WIDE_INPUT))
        if kind == "pnnx.Expression":
            found.add((".ncnn.param", line, 1, EXPRESSION))
        elif kind not in known:
            found.add((".ncnn.param", line, 1, FAMILY.get(kind, UNKNOWN_LAYER)))
    for line, row in enumerate(stored.text(".pnnx.param").splitlines()[2:], 3):
        kind = row.split()[0]
        # torch.clamp is what pnnx writes there itself.
        if kind in FAMILY and "::" in kind:
            found.add((".pnnx.param", line, 1, FAMILY[kind]))
    for line, statement in enumerate(stored.text("_pnnx.py").splitlines(), 1):
        if call := re.search(r" = (\w+::\w+)\(", statement):
            found.add(("_pnnx.py", line, call.start(1) + 1, FAMILY.get(call[1], LEAKED_CALL)))
        elif value := re.search(r" = ([+-]?(?:inf|nan)(\.0)?)$", statement):
            found.add(("_pnnx.py", line, value.start(1) + 1, BARE_SPECIAL))
    return found


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored.id)
def test_check_finds_the_leaks_and_nothing_else(stored: Stored) -> None:
    report = check_paths([stored.folder], Options())
    assert report.all_problems == []
    names = [(finding.path.name.removeprefix(stored.stem), finding) for finding in report.findings]
    found = [(name, finding.line, finding.column, finding.code) for name, finding in names]
    assert len(set(found)) == len(found)
    assert set(found) == find_leaks(stored)
    assert report.exit_code == (1 if found else 0)


@pytest.mark.parametrize("stored", [s for s in STORED if s.is_clean], ids=lambda stored: stored.id)
def test_a_clean_conversion_has_no_leak(stored: Stored) -> None:
    assert find_leaks(stored) == set()


@pytest.mark.parametrize("stored", LEAKED, ids=lambda stored: stored.id)
def test_a_leaked_conversion_has_one(stored: Stored) -> None:
    assert {code for *_, code in find_leaks(stored)} & set(FAMILY.values())


def test_check_changes_no_byte(tmp_path: Path) -> None:
    folders = [stored.copy(tmp_path / stored.id) for stored in STORED]
    before = [snapshot(folder) for folder in folders]
    check_paths([tmp_path], Options())
    assert [snapshot(folder) for folder in folders] == before
    assert len(list(tmp_path.iterdir())) == len(STORED)
