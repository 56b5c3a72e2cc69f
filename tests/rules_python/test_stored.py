"""Operators without a rule: real Python of five pnnx releases is repaired and gives PyTorch's numbers."""

from __future__ import annotations

import ast
import functools
import runpy
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pnnxfix.options import Options
from pnnxfix.pipeline.run import check_paths
from pnnxfix.report import Report
from pnnxfix.rules.cases import Case
from tests.helpers.comparison import assert_same_numbers, load_outputs
from tests.helpers.conversions import FIXTURES, fix_folder, snapshot
from tests.numeric.conftest import Run

FOLDER = FIXTURES / "operators"
CASES: dict[str, Case] = {case.id: case for case in runpy.run_path(str(FIXTURES / "operators.py"))["CASES"]}
CODE = "model_pnnx.py"

# The statements that each case must end with, in the newest release; `return` is left out.
EXPECTED = {
    "bare-word": [
        "v_5 = self.i_data",
        "v_6 = torch.scatter_reduce(v_0, 0, v_5, v_1, 'amax', include_self=False)",
    ],
    "bare-word-shared": [
        "v_5 = self.i_data",
        "v_6 = torch.scatter_reduce(v_0, 0, v_5, v_1, 'sum')",
        "v_7 = torch.scatter_reduce(v_1, 0, v_5, v_0, 'sum')",
        "v_8 = (v_6 + v_7)",
    ],
    "beside-a-rule": ["v_2 = torch.frac(v_0)", "v_3 = torch.clamp_min(v_0, 0.5)", "v_4 = (v_2 + v_3)"],
    "dtype": ["v_4 = torch.nansum(v_0, [1], dtype=torch.float64)"],
    "infinity": ["v_4 = torch.linalg.norm(v_0, float('inf'))"],
    "list": ["v_3 = torch.rot90(v_0, 1, [1, 0])"],
    "list-of-tensors": ["v_2 = [v_0, v_1, v_0]", "v_3 = torch.vstack(v_2)"],
    # pnnx prints `v_3 = v_2`, the list where its element is meant.
    "list-of-one": [
        "v_1 = [v_0]",
        "v_2 = torch.broadcast_tensors(*v_1)",
        "v_3 = v_2[0]",
        "v_4 = (v_3 * 2)",
    ],
    "list-shared": ["v_5 = torch.rot90(v_0)", "v_6 = torch.rot90(v_1, 3)", "v_7 = (v_5 + v_6)"],
    "list-unpacked": [
        "v_2 = [v_0, v_1]",
        "v_3 = torch.broadcast_tensors(*v_2)",
        "v_4, v_5 = v_3",
        "v_6 = (v_4, v_5, )",
    ],
    "method": ["v_2 = v_0.reshape(24)", "v_3 = v_2.view_as(v_1)"],
    "module-of-torch": ["v_2 = torch.abs(v_1)", "v_3 = torch.special.xlog1py(v_0, v_2)"],
    "named-argument": ["v_3 = torch.addcmul(v_0, v_1, v_1, value=0.5)"],
    "named-argument-is-default": ["v_3 = torch.addcmul(v_0, v_1, v_1)"],
    "no-public-name": ["v_3 = torch.ops.aten.tensordot(v_0, v_1, [1], [1])"],
    "none-and-numbers": ["v_4 = torch.log2(v_0)", "v_5 = torch.nan_to_num(v_4, None, 1.0, -1.0)"],
    "overload-by-kind": ["v_2, v_3 = torch.var_mean(v_0, True)", "v_4 = (v_2, v_3, )"],
    "overload-by-name": ["v_4, v_5 = torch.var_mean(v_0, correction=3)", "v_6 = (v_4, v_5, )"],
    "overload-by-outputs": [
        "v_3 = torch.median(v_0)",
        "v_4, v_5 = torch.median(v_0, 1)",
        "v_6 = (v_3, v_4, v_5, )",
    ],
    "property": ["v_1 = v_0.mT"],
    "random": ["v_2 = F.sigmoid(v_0)", "v_3 = torch.bernoulli(v_2)"],
    "reduction": [
        "v_5 = self.t_data",
        "v_6 = F.cross_entropy(v_0, v_5, reduction='sum', label_smoothing=0.1)",
    ],
    "traced-number": ["v_3 = torch.log2(v_0)", "v_4 = torch.nan_to_num(v_3, 1.000000e-7)"],
    "two-outputs": ["v_2, v_3 = torch.cummax(v_0, 1)", "v_4 = (v_2, v_3, )"],
}


@dataclass(frozen=True, eq=False)
class Stored:
    release: str
    case: Case

    @property
    def folder(self) -> Path:
        return FOLDER / self.release / self.case.id


STORED = [Stored(release, case) for case in CASES.values() for release in case.releases]
by_id = pytest.mark.parametrize("stored", STORED, ids=lambda stored: f"{stored.release}-{stored.case.id}")


@functools.cache
def repair(stored: Stored, base: Path) -> tuple[Path, Report]:
    folder = base / "operators" / stored.release / stored.case.id
    shutil.copytree(stored.folder, folder)
    return folder, fix_folder(folder)


def read_forward(folder: Path) -> list[str]:
    """The statements of forward as they stand there, without the last one."""
    lines = [line.strip() for line in (folder / CODE).read_text().splitlines()]
    start = next(at for at, line in enumerate(lines) if line.startswith("def forward("))
    end = next(at for at, line in enumerate(lines[start:], start) if line.startswith("return "))
    return lines[start + 1 : end]


def test_every_case_is_stored_and_expected() -> None:
    assert set(CASES) == set(EXPECTED)
    folders = {(path.parent.name, path.name) for path in FOLDER.glob("*/*")}
    assert folders == {(stored.release, stored.case.id) for stored in STORED}


@by_id
def test_only_the_statements_of_forward_change(stored: Stored, base: Path) -> None:
    folder, report = repair(stored, base)
    changed = {change.path.name for change in report.conversions[0].changes}
    assert CODE in changed
    assert changed <= ({CODE, "model.pnnx.param"} if stored.case.id == "beside-a-rule" else {CODE})
    before = (stored.folder / CODE).read_text().splitlines(keepends=True)
    after = (folder / CODE).read_text().splitlines(keepends=True)
    inside = next(at for at, line in enumerate(before) if "def forward(" in line)
    end = next(at for at, line in enumerate(before) if at > inside and "return " in line)
    assert after[: inside + 1] == before[: inside + 1]
    assert after[-(len(before) - end) :] == before[end:]


@by_id
def test_second_fix_changes_nothing(stored: Stored, base: Path) -> None:
    folder, report = repair(stored, base)
    before = snapshot(folder)
    again = fix_folder(folder)
    assert again.fixed == []
    assert again.exit_code == report.exit_code == 0
    assert snapshot(folder) == before


@by_id
def test_check_says_what_fix_does(stored: Stored, base: Path) -> None:
    found = check_paths([stored.folder], Options()).findings
    _, report = repair(stored, base)
    assert found == sorted(
        (finding for finding in found if finding.refusal is None), key=lambda finding: finding
    )
    assert [(f.line, f.code, f.help) for f in report.fixed] == [(f.line, f.code, f.help) for f in found]
    assert {f.code for f in found} <= {"PNX101", "PNX110", "PNX202", "PNX203"}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_newest_release_reads_as_a_person_would_write_it(name: str, base: Path) -> None:
    stored = next(s for s in reversed(STORED) if s.case.id == name)
    folder, _ = repair(stored, base)
    assert read_forward(folder) == EXPECTED[name]


@by_id
def test_repaired_python_parses(stored: Stored, base: Path) -> None:
    folder, _ = repair(stored, base)
    ast.parse((folder / CODE).read_text())


@by_id
def test_repaired_python_gives_the_numbers_of_the_network(stored: Stored, base: Path, run_torch: Run) -> None:
    folder, report = repair(stored, base)
    outputs = run_torch(folder, "model")
    if stored.case.id == "random":
        assert [array.shape for array in outputs.values()] == [(4, 6)]
        assert "two runs cannot be compared" in report.fixed[0].help
        return
    assert_same_numbers(load_outputs(stored.folder / "io.npz"), outputs, rtol=1e-5, atol=1e-6)


def test_a_number_that_was_rounded_away_is_refused_without_the_traced_file(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "20250430" / "traced-number", tmp_path / "copy")
    (folder / "model.pt").unlink()
    report = fix_folder(folder)
    left = [finding for finding in report.findings if finding.code == "PNX110"]
    assert [finding.refusal is not None and "six decimals" in finding.refusal for finding in left] == [True]
    assert read_forward(folder)[-1] == "v_4 = aten::nan_to_num(v_3, v_2, v_1, v_1)"
    assert "v_2 = 0.000000" in read_forward(folder)
    given = fix_folder(folder, values={"v_2": "1e-7"})
    assert given.exit_code == 0
    assert read_forward(folder)[-1] == "v_4 = torch.nan_to_num(v_3, 1e-7)"
