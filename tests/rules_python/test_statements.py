"""Statements that are wrong without a leaked operator: what must not change first, then real conversions."""

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
from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.registry import all_rules, statement_rules
from pnnxfix.rules.triggers import TRIGGERS
from tests.helpers.comparison import assert_same_numbers, load_outputs
from tests.helpers.conversions import FIXTURES, fix_folder, snapshot
from tests.numeric.conftest import Run

FOLDER = FIXTURES / "statements"
CASES: dict[str, Case] = {case.id: case for case in runpy.run_path(str(FIXTURES / "statements.py"))["CASES"]}
CODE = "model_pnnx.py"
OWN = {"PNX210", "PNX211", *TRIGGERS}

FILE = """import torch

class Model(nn.Module):
    def __init__(self):
        super(Model, self).__init__()

{members}
        archive = zipfile.ZipFile('model.pnnx.bin', 'r')
        archive.close()

    def load_pnnx_bin_as_tensor(self, archive, key, shape, dtype):
        pass

    def forward(self, v_0, v_1):
{forward}
        return v_9
"""

# (members, statements of forward, rows of .pnnx.param, has a TorchScript file whose div has a mode)
UNCHANGED: dict[str, tuple[list[str], list[str], list[str]]] = {
    "good-names": (["a_b = nn.ReLU()", "a_c = nn.ReLU()", "_0 = nn.ReLU()"], ["v_9 = self.a_b(v_0)"], []),
    "division": ([], ["v_9 = (v_0 / v_1)"], ["pnnx.Expression e 2 1 0 1 9 expr=div(@0,@1) #9=(4)f32"]),
    "division-after-a-cast": (
        [],
        ["v_9 = torch.long((v_0 / v_1))"],
        ["pnnx.Expression e 2 1 0 1 9 expr=torch.long(div(@0,@1)) #9=(4)i64"],
    ),
    "round": ([], ["v_9 = torch.round(v_0)"], []),
    "batch-norm": ([], ["v_9 = F.batch_norm(v_0, running_mean=v_1, running_var=v_1)"], []),
    "input-given-back": ([], ["v_9 = v_0"], []),
    "sum-of-integers": (
        [],
        ["v_9 = torch.sum(v_0, dim=(1,))"],
        ["torch.sum s 1 1 0 9 dim=(1) $input=0 #0=(4,6)i32 #9=(4)i64"],
    ),
    "softmax": ([], ["v_9 = F.softmax(v_0, dim=1)"], ["F.softmax s 1 1 0 9 dim=1 #0=(4,6)f32 #9=(4,6)f32"]),
    "has-its-dtype": (
        [],
        ["v_9 = torch.sum(v_0, dim=(1,), dtype=torch.float64)"],
        ["torch.sum s 1 1 0 9 dim=(1) $input=0 #0=(4,6)f32 #9=(4)f64"],
    ),
    "reshape": (
        [],
        ["v_9 = v_0.reshape(2, -1, 3)"],
        ["Tensor.reshape r 1 1 0 9 shape=(2,-1,3) $input=0 #0=(4,6)f32 #9=(2,4,3)f32"],
    ),
    "reshape-of-other-elements": (
        [],
        ["v_9 = v_0.reshape(2, 4, 3, 1)"],
        ["Tensor.reshape r 1 1 0 9 shape=(2,4,3,1) $input=0 #0=(4,5)f32 #9=(2,4,3)f32"],
    ),
    "pixel-shuffle": (
        ["pixelshuffle_0 = nn.PixelShuffle(upscale_factor=2)"],
        ["v_9 = self.pixelshuffle_0(v_0)"],
        ["nn.PixelShuffle pixelshuffle_0 1 1 0 9 upscale_factor=2 $input=0 #0=(1,8,3,3)f32 #9=(1,2,6,6)f32"],
    ),
    "pixel-shuffle-of-other-elements": (
        ["pixelshuffle_0 = nn.PixelShuffle(upscale_factor=2)"],
        ["v_9 = self.pixelshuffle_0(v_0)"],
        ["nn.PixelShuffle pixelshuffle_0 1 1 0 9 upscale_factor=2 $input=0 #0=(1,8,9,3)f32 #9=(1,2,6,6)f32"],
    ),
    "norm-without-dim": ([], ["v_9 = torch.norm(v_0, dim=None, keepdim=False, p=2.0)"], []),
    "squeeze-of-all": ([], ["v_9 = torch.squeeze(v_0)"], []),
    "numbers-that-are-taken": ([], ["v_9 = torch.fmod(torch.pow(2.0, v_0), 2.0)"], []),
    "maximum-of-tensors": ([], ["v_9 = (torch.maximum(v_0, v_1) + 2.0)"], []),
    "wrapped-already": ([], ["v_9 = torch.maximum(v_0, torch.tensor(1.0))"], []),
    "stack-of-two": ([], ["v_9 = torch.stack((v_0, v_1), dim=0)"], []),
    "cat-of-a-list": ([], ["v_2 = [v_0, v_1]", "v_9 = torch.cat(v_2, dim=0)"], []),
    "infinity-spelled": ([], ["v_9 = v_0.masked_fill(mask=v_1, value=float('-inf'))"], []),
    "last-axis": (
        [],
        ["v_9 = v_0[...,[0,1]]"],
        ["Tensor.index i 1 1 0 9 expr=[None,None,[0,1]] #0=(4,6,5)f32 #9=(4,6,2)f32"],
    ),
    "index-by-tensors": ([], ["v_2 = [v_0, v_1]", "v_9 = v_0[[v_0, v_1]]"], []),
    "index-without-param": ([], ["v_9 = v_0[...,[0,1],None,[0,1]]"], []),
    "normal-of-a-mean": ([], ["v_9 = torch.normal(v_0, v_1)"], []),
    "lstm-with-state": (
        ["l = nn.LSTM(input_size=6, hidden_size=6)"],
        ["v_9, (v_2, v_3) = self.l(v_0, (v_1, v_1))"],
        [],
    ),
    "attention": (
        ["m = nn.MultiheadAttention(embed_dim=6, num_heads=1)"],
        ["v_9, _ = self.m(v_0, v_1, v_1, need_weights=False)"],
        ["nn.MultiheadAttention m 2 1 0 1 9 #0=(4,6)f32 #9=(4,6)f32"],
    ),
    "split-in-two": ([], ["v_2, v_9 = torch.split(v_0, dim=1, split_size_or_sections=(3,3))"], []),
    "split-passed-on": (
        [],
        ["v_9 = torch.split(v_0, dim=1, split_size_or_sections=(6,))"],
        ["torch.split s 1 1 0 9 dim=1 #0=(4,6)f32"],
    ),
    "slice-copy": (
        [],
        ["v_9 = v_0", "v_9[:,1:] = v_1"],
        ["Tensor.slice_copy s 2 1 0 1 9 dim=1 #0=(4,6)f32 #1=(4,5)f32 #9=(4,6)f32"],
    ),
    "in-a-string": ([], ["v_9 = torch.einsum('i,j->ij', v_0, v_1)"], []),
    "a-comment": ([], ["v_9 = v_0  # torch.stack(v_0, dim=0) with p=inf, dim=None"], []),
}


def write_conversion(folder: Path, members: list[str], forward: list[str], rows: list[str]) -> Path:
    """A conversion with these statements; `.pnnx.param` where there are rows."""
    body = "\n".join(f"        {line}" for line in forward)
    text = FILE.format(members="\n".join(f"        self.{line}" for line in members), forward=body)
    (folder / CODE).write_text(text)
    if rows:
        every = ["pnnx.Input in0 0 1 0", "pnnx.Input in1 0 1 1", *rows, "pnnx.Output out 1 0 9"]
        count = {word for row in every for word in row.split()[4:] if word.isdigit()}
        (folder / "model.pnnx.param").write_text(
            f"7767517\n{len(every)} {len(count)}\n" + "\n".join(every) + "\n"
        )
    return folder


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_right_stays(name: str, tmp_path: Path) -> None:
    folder = write_conversion(tmp_path, *UNCHANGED[name])
    before = snapshot(folder)
    report = fix_folder(folder)
    assert [finding.code for finding in (*report.findings, *report.fixed)] == []
    assert report.problems == []
    assert snapshot(folder) == before


def find_other_fixtures() -> list[Path]:
    """The folders of real conversions that belong to other rules."""
    folders = {path.parent for path in FIXTURES.rglob("*_pnnx.py") if FOLDER not in path.parents}
    return sorted(folders)


def test_few_other_fixtures_have_a_finding_of_these_rules() -> None:
    folders = find_other_fixtures()
    assert len(folders) > 200
    report = check_paths(folders, Options())
    found = {(f.path.parent.name, f.code) for f in report.findings if f.code in OWN}
    assert found == {
        ("computed-sizes", "PNX227"),
        # pnnx prints this one as `v_0[...,[3,0,0,2,1]]`, which takes the last axis for the second.
        ("index", "PNX220"),
        ("lost-reshapes", "PNX226"),
        ("places-behind-a-lost-batch", "PNX224"),
        ("shared-convolution", "PNX223"),
        ("shared-table", "PNX223"),
    }


# what each kind becomes, in the newest release

NORM = "F.batch_norm(v_0, running_mean=v_2, running_var=v_1, bias=None, eps=1e-05, weight=None"
EXPECTED: dict[str, dict[str, str]] = {
    "number-as-name": {
        "self.1 = nn.PReLU(num_parameters=6)": "self._1 = nn.PReLU(num_parameters=6)",
        "v_1 = self.0(v_0)": "v_1 = self._0(v_0)",
        "v_2 = self.1(v_1)": "v_2 = self._1(v_1)",
    },
    "dash-in-name": {
        "v_1 = self.w-x_data": "v_1 = self.w_x_data",
        "v_2 = self.trunk_block1-0(v_0)": "v_2 = self.trunk_block1_0(v_0)",
    },
    "shared-name": {"v_3 = self.b_0(v_2)": "v_3 = self.b_0_2(v_2)"},
    "traced-division": {
        "v_2 = (v_0 / v_1)": "v_2 = torch.div(v_0, v_1, rounding_mode='floor')",
        "v_4 = (v_0 // 2)": "v_4 = torch.div(v_0, 2, rounding_mode='trunc')",
    },
    "integer-division": {
        "v_1 = ((v_0 / 4) + (v_0 % 4))": "v_1 = ((torch.div(v_0, 4, rounding_mode='floor')) + (v_0 % 4))"
    },
    "traced-decimals": {"v_1 = torch.round(v_0)": "v_1 = torch.round(v_0, decimals=2)"},
    "traced-mixed": {},
    "traced-offset": {
        "v_1 = torch.as_strided(v_0, size=(2,2), stride=(1,2))": "v_1 = torch.as_strided(v_0, size=(2,2), "
        "stride=(1,2), storage_offset=3)"
    },
    "traced-cast": {"return v_0": "return v_0.to(torch.half)"},
    "traced-training": {f"v_3 = {NORM})": f"v_3 = {NORM}, training=True)"},
    "dtype": {
        "v_2 = torch.sum(v_0, dim=(1,), keepdim=False)": "v_2 = torch.sum(v_0, dim=(1,), keepdim=False, "
        "dtype=torch.float64)",
        "v_3 = F.softmax(v_1, dim=1)": "v_3 = F.softmax(v_1, dim=1, dtype=torch.float32)",
    },
    "empty-list": {
        "v_1 = torch.tile(v_0, dims=None)": "v_1 = torch.tile(v_0, dims=())",
        "v_2 = torch.squeeze(v_0, dim=None)": "v_2 = torch.squeeze(v_0, dim=())",
    },
    "number-for-tensor": {
        "v_1 = (torch.maximum(v_0, 0.5) + torch.atan2(2.0, v_0))": "v_1 = (torch.maximum("
        "v_0, torch.tensor(0.5)) + torch.atan2(torch.tensor(2.0), v_0))"
    },
    "number-as-index": {
        "v_1 = F.embedding(weight=v_0, input=2, scale_grad_by_freq=False, sparse=False)": "v_1 = F.embedding("
        "weight=v_0, input=torch.tensor(2), scale_grad_by_freq=False, sparse=False)"
    },
    "number-as-weight": {
        "v_1 = F.prelu(v_0, weight=0.125)": "v_1 = F.prelu(v_0, weight=torch.tensor(0.125))"
    },
    "index-put": {
        "v_9 = v_0.index_put(indices=v_8, values=v_7, accumulate=False)": "v_9 = v_0.index_put("
        "indices=[v_6, torch.tensor([1])], values=v_7, accumulate=False)"
    },
    "one-tensor-stacked": {"v_1 = torch.stack(v_0, dim=-1)": "v_1 = torch.stack([v_0], dim=-1)"},
    "infinite-argument": {
        "v_1 = torch.norm(v_0, dim=(1,), keepdim=False, p=-inf)": "v_1 = torch.norm(v_0, dim=(1,), "
        "keepdim=False, p=float('-inf'))"
    },
    "slices": {
        "v_1 = v_0[...,[0,1],None,[0,2]]": "v_1 = v_0[:,[0,1],:,[0,2]]",
        "v_2 = v_0[...,[3,0]]": "v_2 = v_0[:,:,[3,0]]",
    },
    "runtime-index": {
        "v_3 = v_0[[None, (v_1 % 2)]]": "v_3 = v_0[:,v_1 % 2]",
        "v_5 = v_0[[None, None, (v_1 % 2)]]": "v_5 = v_0[:,:,v_1 % 2]",
    },
    "normal-in-place": {
        "v_1 = torch.normal(v_0, generator=None, mean=-2.0, std=0.5)": "v_1 = torch.empty_like(v_0)"
        ".normal_(mean=-2.0, std=0.5)"
    },
    "missing-mask": {},
    "eight-bit-weight": {},
    "tied-weight": {"v_2 = self.m_d_e(v_1, v_0)": "v_2 = self.m_d_e(v_0)"},
    "wrong-sizes": {
        "v_1 = v_0.reshape(4, 3)": "v_1 = v_0.reshape(4, 3, 2)",
        "v_2 = v_0.reshape(2, 6, 2, 2, -1)": "v_2 = v_0.reshape(2, 6, 2)",
        "v_3 = v_0.reshape(3, 2, 4, 4)": "v_3 = v_0.reshape(3, 2, 4)",
    },
    "lost-reshape": {
        "v_2 = self.pixelshuffle_0(v_1)": "v_2 = self.pixelshuffle_0(v_1.reshape(1, 16, 4, 4))",
        "v_3 = self.pixelunshuffle_0(v_1)": "v_3 = self.pixelunshuffle_0(v_1.reshape(1, 4, 8, 8))",
        "v_4 = self.channelshuffle_0(v_1)": "v_4 = self.channelshuffle_0(v_1.reshape(1, 8, 8, 4))",
    },
    "one-part": {
        "v_1 = torch.split(tensor=v_0, dim=1, split_size_or_sections=(6,))": "v_1 = torch.split(tensor=v_0, "
        "dim=1, split_size_or_sections=(6,))[0]"
    },
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
    folder = base / "statements" / stored.release / stored.case.id
    shutil.copytree(stored.folder, folder)
    return folder, fix_folder(folder)


def read_lines(folder: Path) -> list[str]:
    return [line.strip() for line in (folder / CODE).read_text().splitlines()]


def test_every_case_is_stored_and_expected() -> None:
    assert set(CASES) == set(EXPECTED)
    folders = {(path.parent.name, path.name) for path in FOLDER.glob("*/*")}
    assert folders == {(stored.release, stored.case.id) for stored in STORED}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_newest_release_reads_as_a_person_would_write_it(name: str, base: Path) -> None:
    stored = next(s for s in reversed(STORED) if s.case.id == name)
    folder, _ = repair(stored, base)
    before, after = read_lines(stored.folder), read_lines(folder)
    changed = {old: new for old, new in zip(before, after, strict=True) if old != new}
    inside = {old: new for old, new in changed.items() if "archive" not in old and "nn.Linear" not in old}
    assert inside == EXPECTED[name]


@by_id
def test_what_is_not_certain_says_why_and_stays(stored: Stored, base: Path) -> None:
    folder, report = repair(stored, base)
    if isinstance(stored.case, Refused):
        assert [stored.case.because in str(finding.refusal) for finding in report.findings] == [True]
        assert snapshot(folder) == snapshot(stored.folder)
    else:
        assert report.findings == []
        assert {finding.code for finding in report.fixed} <= OWN
        assert report.fixed != []


@by_id
def test_check_says_what_fix_does(stored: Stored, base: Path) -> None:
    found = check_paths([stored.folder], Options()).findings
    _, report = repair(stored, base)
    both = sorted((*report.fixed, *report.findings), key=lambda finding: finding.position)
    assert [(f.line, f.code, f.help) for f in both] == [(f.line, f.code, f.help) for f in found]


@by_id
def test_second_fix_changes_nothing(stored: Stored, base: Path) -> None:
    folder, _ = repair(stored, base)
    before = snapshot(folder)
    assert fix_folder(folder).fixed == []
    assert snapshot(folder) == before


@by_id
def test_repaired_python_gives_the_numbers_of_the_network(stored: Stored, base: Path, run_torch: Run) -> None:
    folder, _ = repair(stored, base)
    ast.parse((folder / CODE).read_text())
    if isinstance(stored.case, Refused):
        return
    outputs = run_torch(folder, "model")
    if stored.case.id == "normal-in-place":
        assert [array.shape for array in outputs.values()] == [(4, 6)]
        return
    expected = load_outputs(stored.folder / "io.npz")
    assert {name: array.dtype for name, array in outputs.items()} == {
        name: array.dtype for name, array in expected.items()
    }
    assert_same_numbers(expected, outputs, rtol=1e-5, atol=1e-6)


# what only other files tell


@pytest.mark.parametrize("name", [case for case in CASES if case.startswith("traced-")])
def test_without_the_traced_file_nothing_is_guessed(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "20261020" / name, tmp_path / "copy")
    (folder / "model.pt").unlink()
    before = snapshot(folder)
    assert fix_folder(folder).fixed == []
    assert snapshot(folder) == before


@pytest.mark.parametrize("name", ["slices", "dtype", "tied-weight", "one-part", "integer-division"])
def test_without_the_graph_nothing_is_guessed(name: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "20261020" / name, tmp_path / "copy")
    (folder / "model.pnnx.param").unlink()
    before = snapshot(folder)
    assert fix_folder(folder).fixed == []
    assert snapshot(folder) == before


def test_a_shared_name_is_reported_without_the_graph(tmp_path: Path) -> None:
    folder = shutil.copytree(FOLDER / "20261020" / "shared-name", tmp_path / "copy")
    (folder / "model.pnnx.param").unlink()
    before = snapshot(folder)
    report = fix_folder(folder)
    assert [(f.code, f.refusal is not None) for f in report.findings] == [("PNX211", True)]
    assert snapshot(folder) == before


def test_names_are_mended_without_the_graph(tmp_path: Path, run_torch: Run) -> None:
    stored = FOLDER / "20261020" / "number-as-name"
    folder = shutil.copytree(stored, tmp_path / "copy")
    (folder / "model.pnnx.param").unlink()
    assert fix_folder(folder).exit_code == 0
    assert_same_numbers(load_outputs(stored / "io.npz"), run_torch(folder, "model"), rtol=1e-5, atol=1e-6)


def test_a_new_name_is_not_that_of_another_module(tmp_path: Path) -> None:
    members = ["0 = nn.ReLU()", "_0 = nn.ReLU()", "a-b = nn.ReLU()", "a_b = nn.ReLU()", "class = nn.ReLU()"]
    forward = ["v_2 = self.0(v_0)", "v_3 = self._0(v_2)", "v_4 = self.a-b(v_3)", "v_9 = self.class(v_4)"]
    folder = write_conversion(tmp_path, members, forward, [])
    assert fix_folder(folder).exit_code == 0
    lines = read_lines(folder)
    assert [line for line in lines if "nn.ReLU" in line] == [
        "self._0_2 = nn.ReLU()",
        "self._0 = nn.ReLU()",
        "self.a_b_2 = nn.ReLU()",
        "self.a_b = nn.ReLU()",
        "self._class = nn.ReLU()",
    ]
    assert [line for line in lines if line.startswith("v_")] == [
        "v_2 = self._0_2(v_0)",
        "v_3 = self._0(v_2)",
        "v_4 = self.a_b_2(v_3)",
        "v_9 = self._class(v_4)",
    ]


def test_two_defects_of_one_statement_go_together(tmp_path: Path) -> None:
    forward = ["v_9 = torch.norm(torch.maximum(v_0, 0.5), dim=None, keepdim=False, p=inf.0)  # kept"]
    folder = write_conversion(tmp_path, [], forward, [])
    assert {finding.code for finding in fix_folder(folder).fixed} == {"PNX217", "PNX219"}
    assert read_lines(folder)[-2] == (
        "v_9 = torch.norm(torch.maximum(v_0, torch.tensor(0.5)), dim=None, "
        "keepdim=False, p=float('inf'))  # kept"
    )


def test_a_comment_ignores_a_statement(tmp_path: Path) -> None:
    forward = ["v_9 = torch.stack(v_0, dim=0)  # pnnxfix: ignore[PNX218]"]
    folder = write_conversion(tmp_path, [], forward, [])
    before = snapshot(folder)
    assert fix_folder(folder).findings == []
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    "statement",
    [
        f"v_9 = torch.maximum({'(' * 300}v_0{')' * 300}, 0.5)",
        f"v_9 = torch.maximum(v_0, {'0' * 5000})",
        f"v_9 = torch.norm({', '.join(['v_0'] * 5000)}, p=inf)",
        "v_9 = torch.maximum(v_0, 0.5",
        "v_9 = torch.maximum(v_0, \N{GREEK SMALL LETTER ALPHA}, 0.5)",
    ],
    ids=["deep", "long-number", "long", "unclosed", "not-ascii"],
)
def test_hostile_statements_change_nothing(statement: str, tmp_path: Path) -> None:
    folder = write_conversion(tmp_path, [], [statement], [])
    before = snapshot(folder)
    assert fix_folder(folder).fixed == []
    assert snapshot(folder) == before


def test_every_rule_has_a_trigger_and_is_documented() -> None:
    assert set(statement_rules()) == set(TRIGGERS)
    assert {rule.code for rule in all_rules()} >= OWN
