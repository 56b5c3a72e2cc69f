"""Operators that take or give lists of tensors, and stored indexes, through a whole repair."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pnnxfix

INPUT = "pnnx.Input in 0 1 0 #0=(4,6)f32"
SCRIPT = """    in0 = torch.rand(4, 6, dtype=torch.float)
            ex.input("in0", ncnn.Mat(in0.numpy()).clone())
"""


def write(folder: Path, pnnx: list[str], ncnn: list[str], stored: dict[str, bytes] | None = None) -> Path:
    """A conversion of two graphs, with the script that lays out the input; counts are made here."""
    for flavour, rows in (("pnnx", pnnx), ("ncnn", ncnn)):
        made = sum(int(row.split()[3]) for row in rows)
        (folder / f"model.{flavour}.param").write_text(
            f"7767517\n{len(rows)} {made}\n" + "\n".join(rows) + "\n"
        )
    (folder / "model.ncnn.bin").write_bytes(b"")
    (folder / "model_ncnn.py").write_text(SCRIPT)
    with zipfile.ZipFile(folder / "model.pnnx.bin", "w") as archive:
        for name, data in (stored or {}).items():
            archive.writestr(name, data)
    return folder


def rows_of(folder: Path) -> list[list[str]]:
    return [row.split() for row in (folder / "model.ncnn.param").read_text().splitlines()[2:]]


SPLIT_PNNX = [
    INPUT,
    "pnnx.Expression sizes 0 1 1 expr=[1,3]",
    "aten::hsplit split 2 1 0 1 2 #0=(4,6)f32",
    "prim::ListUnpack unpack 1 3 2 3 4 5 #3=(4,1)f32 #4=(4,2)f32 #5=(4,3)f32",
    "prim::TupleConstruct tuple 3 1 3 4 5 6 #3=(4,1)f32 #4=(4,2)f32 #5=(4,3)f32",
    "pnnx.Output out 1 0 6",
]
SPLIT_NCNN = [
    "Input in0 0 1 in0",
    "pnnx.Expression sizes 0 1 1",
    "aten::hsplit split 2 1 in0 1 2",
    "prim::ListUnpack unpack 1 3 2 out0 out1 out2",
]


def test_a_list_that_is_taken_apart_goes_with_its_operator(tmp_path: Path) -> None:
    report = pnnxfix.fix(write(tmp_path, SPLIT_PNNX, SPLIT_NCNN))
    rows = rows_of(tmp_path)
    assert [row[0] for row in rows] == ["Input", "Slice"]
    assert rows[1][5:8] == ["out0", "out1", "out2"]
    assert {finding.code for finding in report.fixed if finding.path.name.endswith("ncnn.param")} == {
        "PNX141",
        "PNX201",
        "PNX205",
    }


def test_a_list_that_something_else_reads_is_left_alone(tmp_path: Path) -> None:
    pnnx = [*SPLIT_PNNX[:3], "custom::op other 1 1 2 3", "pnnx.Output out 1 0 3"]
    ncnn = [*SPLIT_NCNN[:3], "custom::op other 1 1 2 out0"]
    before = rows_of(write(tmp_path, pnnx, ncnn))
    pnnxfix.fix(tmp_path)
    assert rows_of(tmp_path) == before


def test_a_list_may_hold_arithmetic_and_one_tensor_twice(tmp_path: Path) -> None:
    pnnx = [
        INPUT,
        "pnnx.Expression list 1 1 0 1 expr=[@0,@0,mul(@0,2.5)] #0=(4,6)f32",
        "aten::hstack join 1 1 1 2 #2=(4,18)f32",
        "pnnx.Output out 1 0 2 #2=(4,18)f32",
    ]
    ncnn = ["Input in0 0 1 in0", "pnnx.Expression list 1 1 in0 1", "aten::hstack join 1 1 1 out0"]
    pnnxfix.fix(write(tmp_path, pnnx, ncnn))
    rows = rows_of(tmp_path)
    assert "pnnx.Expression" not in {row[0] for row in rows}
    assert [row[0] for row in rows].count("BinaryOp") == 1
    assert next(row for row in rows if row[0] == "Concat")[2] == "3"


INDEX_PNNX = [
    INPUT,
    "pnnx.Attribute index 0 1 1 @data=(3)i64 #1=(3)i64",
    "torch.index_select pick 2 1 0 1 2 dim=1 $input=0 $index=1 #0=(4,6)f32 #1=(3)i64 #2=(4,3)f32",
    "pnnx.Output out 1 0 2 #2=(4,3)f32",
]
INDEX_NCNN = ["Input in0 0 1 in0", "MemoryData index 0 1 1 0=3", "torch.index_select pick 2 1 in0 1 out0"]


def test_a_stored_index_becomes_slices(tmp_path: Path) -> None:
    stored = {"index.data": struct.pack("<3q", 1, 3, 5)}
    write(tmp_path, INDEX_PNNX, INDEX_NCNN, stored)
    (tmp_path / "model.ncnn.bin").write_bytes(struct.pack("<3i", 1, 3, 5))
    pnnxfix.fix(tmp_path)
    kinds = [row[0] for row in rows_of(tmp_path)]
    assert "torch.index_select" not in kinds
    assert "Crop" in kinds


def test_an_index_whose_numbers_are_lost_is_refused(tmp_path: Path) -> None:
    write(tmp_path, INDEX_PNNX, INDEX_NCNN, {"index.data": bytes(3)})
    (tmp_path / "model.ncnn.bin").write_bytes(bytes(12))
    report = pnnxfix.fix(tmp_path)
    (finding,) = [found for found in report.findings if found.code == "PNX125"]
    assert finding.refusal is not None
    assert "index.data has 3 bytes" in finding.refusal
