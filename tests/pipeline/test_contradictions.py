"""Layers that load and compute something else than `.pnnx.param` says; rows as pnnx 20261020 writes them."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

import pnnxfix
from pnnxfix.codecs.param import MAGIC
from pnnxfix.pipeline.contradictions import JOINS
from pnnxfix.pipeline.discovery import find_conversions
from pnnxfix.pipeline.loaded import LoadedConversion, ParamGraph
from pnnxfix.pipeline.suspects import may_compute_integers, may_contradict
from pnnxfix.pipeline.unwritten import UNWRITTEN
from tests.helpers.conversions import FIXTURES

X = "#0=(3,4,5)f32"
WRONG = [
    ("torch.amax", f"dim=None keepdim=False $input=0 {X}", "Reduction amax_0", "0=4 1=0 -23303=0 4=0 5=1"),
    ("torch.norm", f"dim=None keepdim=False p=6 $input=0 {X}", "Reduction norm_0", ""),
    ("torch.norm", f"dim=None keepdim=False p=-inf $input=0 {X}", "Reduction norm_0", ""),
    (
        "torch.sum",
        f"dim=(1) keepdim=False $input=0 {X} #1=(3,5)f32",
        "Reduction sum_0",
        "0=0 1=0 -23303=1,0 4=0 5=1",
    ),
    (
        "F.normalize",
        f"dim=2 eps=1.000000e-12 p=1.0 $input=0 {X} #1=(3,4,5)f32",
        "Normalize normalize_0",
        "0=0 1=1 2=1.000000e-12 3=1 4=1 9=1",
    ),
    (
        "F.rms_norm",
        "eps=0.01 normalized_shape=(6,7) weight=None $input=0 #0=(1,6,7)f32 #1=(1,6,7)f32",
        "RMSNorm rmsn_0",
        "0=42 1=0.01 2=0",
    ),
    (
        "pnnx.Expression",
        f"expr=remainder(@0,3) {X} #1=(3,4,5)f32",
        "BinaryOp remainder_0",
        "0=17 1=1 2=3.0",
    ),
    ("pnnx.Expression", f"expr=sign(@0) {X} #1=(3,4,5)f32", "UnaryOp sign_0", ""),
    ("pnnx.Expression", f"expr=erf(@0) {X} #1=(3,4,5)f32", "UnaryOp erf_0", ""),
    ("pnnx.Expression", f"expr=remainder(@0,3) {X} #1=(3,4,5)f32", "BinaryOp remainder_0", "0=-1 1=1 2=3.0"),
    ("pnnx.Expression", f"expr=pow(@0,3.0) {X} #1=(3,4,5)f32", "BinaryOp pow_0", "0=6 1=1 2=3.0"),
    ("pnnx.Expression", f"expr=pow(@0,0.3) {X} #1=(3,4,5)f32", "BinaryOp pow_0", "0=6 1=1 2=0.3"),
    ("pnnx.Expression", f"expr=pow(@0,1.0) {X} #1=(3,4,5)f32", "BinaryOp pow_0", "0=6 1=1 2=1.0"),
]
RIGHT = [
    ("torch.amax", f"dim=None keepdim=False $input=0 {X}", "Reduction amax_0", "0=4 1=1 4=0"),
    ("torch.norm", f"dim=(1) keepdim=False p=2 $input=0 {X} #1=(3,5)f32", "Reduction norm_0",
     "0=8 1=0 -23303=1,1 4=0 5=1"),
    ("torch.mean", f"dim=(-1) keepdim=True $input=0 {X} #1=(3,4,1)f32", "Reduction mean_0",
     "0=3 1=0 -23303=1,-1 4=1 5=1"),
    ("F.normalize", f"dim=0 eps=1.000000e-12 p=2.0 $input=0 {X} #1=(3,4,5)f32", "Normalize normalize_0",
     "0=0 1=1 2=1.000000e-12 3=1 4=1 9=1"),
    ("F.rms_norm", "eps=0.01 normalized_shape=(7) weight=None $input=0 #0=(1,6,7)f32 #1=(1,6,7)f32",
     "RMSNorm rmsn_0", "0=7 1=0.01 2=0"),
    ("pnnx.Expression", f"expr=fmod(@0,3) {X} #1=(3,4,5)f32", "BinaryOp fmod_0", "0=12 1=1 2=3.0"),
    ("pnnx.Expression", f"expr=sign(@0) {X} #1=(3,4,5)f32", "UnaryOp sign_0", "0=20"),
    ("pnnx.Expression", f"expr=erf(@0) {X} #1=(3,4,5)f32", "Erf erf_0", ""),
    ("pnnx.Expression", f"expr=abs(@0) {X} #1=(3,4,5)f32", "UnaryOp abs_0", ""),
]  # fmt: skip


def _write(folder: Path, kind: str, words: str, layer: str, parameters: str, extra: str = "") -> Path:
    name = f"{kind}_0"
    operators = (
        f"pnnx.Input pnnx_input_0 0 1 0 {next(word for word in words.split() if word.startswith('#0='))}",
        f"{kind} {name} 1 1 0 1 {words}",
        "pnnx.Output pnnx_output_0 1 0 1",
    )
    layers = ["Input in0 0 1 in0", f"{layer} 1 1 in0 {'1' if extra else 'out0'} {parameters}".rstrip()]
    if extra:
        layers.append(extra)
    (folder / "model.pnnx.param").write_text("7767517\n3 2\n" + "\n".join(operators) + "\n")
    (folder / "model.ncnn.param").write_text(
        f"7767517\n{len(layers)} {len(layers)}\n" + "\n".join(layers) + "\n"
    )
    # A Normalize reads its scale, 1, from the .bin.
    scale = struct.pack("<f", 1.0) if layer.startswith("Normalize") else b""
    (folder / "model.ncnn.bin").write_bytes(scale)
    return folder


def _codes(report: pnnxfix.Report) -> list[str]:
    return [finding.code for finding in report.findings if finding.path.name == "model.ncnn.param"]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[2]}")
def test_contradiction_is_found_and_repaired(case: tuple[str, str, str, str], tmp_path: Path) -> None:
    folder = _write(tmp_path, *case)
    assert _codes(pnnxfix.check(folder)) == ["PNX150"]
    pnnxfix.fix(folder)
    assert _codes(pnnxfix.check(folder)) == []


@pytest.mark.parametrize("case", RIGHT, ids=lambda case: f"{case[0]}-{case[2]}")
def test_right_layer_is_no_finding(case: tuple[str, str, str, str], tmp_path: Path) -> None:
    folder = _write(tmp_path, *case)
    before = (folder / "model.ncnn.param").read_bytes()
    assert _codes(pnnxfix.check(folder)) == []
    pnnxfix.fix(folder)
    assert (folder / "model.ncnn.param").read_bytes() == before


def test_power_goes_with_the_lost_operation_beside_it(tmp_path: Path) -> None:
    words = f"expr=pow(sign(@0),3.0) {X} #1=(3,4,5)f32"
    extra = "BinaryOp pow_1 1 1 1 out0 0=6 1=1 2=3.0"
    folder = _write(tmp_path, "pnnx.Expression", words, "UnaryOp sign_0", "", extra)
    (finding,) = pnnxfix.fix(folder).fixed
    assert (finding.code, finding.operator, finding.refusal) == ("PNX150", "pow_1", None)
    assert _codes(pnnxfix.check(folder)) == []


@pytest.mark.parametrize(
    ("expression", "layer"),
    [
        pytest.param("sign(@0)", "UnaryOp sign_7", id="another-number"),
        pytest.param("fmod(1.5,@0)", "BinaryOp fmod_0 1 1 in0 out0 0=-1 1=1 2=1.5", id="number-first"),
        pytest.param(
            "floor_divide(@0,2)", "BinaryOp floor_divide_0 1 1 in0 out0 0=-1 1=1 2=2.0", id="rounding"
        ),
        pytest.param("fmod(@0,0.000000)", "BinaryOp fmod_0 1 1 in0 out0 0=-1 1=1 2=0.0", id="lost-number"),
    ],
)
def test_lost_operation_that_is_not_certain_stays(expression: str, layer: str, tmp_path: Path) -> None:
    folder = _write(tmp_path, "pnnx.Expression", f"expr={expression} {X} #1=(3,4,5)f32", "Noop b", "")
    row = layer if " 1 1 " in layer else f"{layer} 1 1 in0 out0"
    param = f"7767517\n2 2\nInput in0 0 1 in0\n{row}\n"
    (folder / "model.ncnn.param").write_text(param)
    assert _codes(pnnxfix.check(folder)) == ["PNX150"]
    pnnxfix.fix(folder)
    assert (folder / "model.ncnn.param").read_text() == param


@pytest.mark.parametrize(
    ("base", "is_wrong"),
    [
        pytest.param("Clip b 1 1 in0 b 0=1e-06", False, id="clamp-above-zero"),
        pytest.param("Clip b 1 1 in0 b 0=0.0", True, id="clamp-at-zero"),
        pytest.param("Clip b 1 1 in0 b 1=1.0", True, id="clamp-from-above"),
        pytest.param("ReLU b 1 1 in0 b", True, id="relu"),
        pytest.param("Softmax b 1 1 in0 b 0=0", True, id="softmax"),
        pytest.param("ReLU a 1 1 in0 a\nBinaryOp b 1 1 a b 0=0 1=1 2=0.5", False, id="relu-and-more"),
        pytest.param("ReLU a 1 1 in0 a\nBinaryOp b 1 1 a b 0=1 1=1 2=0.5", True, id="relu-and-less"),
        pytest.param("UnaryOp a 1 1 in0 a 0=4\nBinaryOp b 1 1 a b 0=4 1=1 2=0.1", False, id="at-least"),
    ],
)
def test_power_is_right_where_its_base_is_above_zero(base: str, is_wrong: bool, tmp_path: Path) -> None:
    folder = _write(tmp_path, "pnnx.Expression", f"expr=pow(@0,3.0) {X} #1=(3,4,5)f32", "Noop b", "")
    rows = ["Input in0 0 1 in0", *base.split("\n"), "BinaryOp pow_0 1 1 b out0 0=6 1=1 2=2.2"]
    param = f"7767517\n{len(rows)} {len(rows)}\n" + "\n".join(rows) + "\n"
    (folder / "model.ncnn.param").write_text(param)
    assert _codes(pnnxfix.check(folder)) == ["PNX150"] * is_wrong


def test_axis_that_was_counted_by_an_empty_tensor_is_not_guessed(tmp_path: Path) -> None:
    folder = _write(tmp_path, "pnnx.Expression", f"expr=add(@0,1) {X} #1=(3,4,5)f32", "Noop b", "")
    rows = ["MemoryData e 0 1 e 0=0", "Input in0 0 1 in0", "Input in1 0 1 in1"]
    param = "7767517\n4 4\n" + "\n".join([*rows, "Concat cat_0 3 1 e in0 in1 out0 0=0"]) + "\n"
    (folder / "model.ncnn.param").write_text(param)
    assert _codes(pnnxfix.check(folder)) == ["PNX150"]
    pnnxfix.fix(folder)
    assert (folder / "model.ncnn.param").read_text() == param


def test_another_layer_of_the_name_makes_the_join_uncertain(tmp_path: Path) -> None:
    folder = _write(tmp_path, *WRONG[0], extra="Reduction amax_1 1 1 1 out0 0=4 1=1 4=0")
    assert _codes(pnnxfix.check(folder)) == []


def test_layer_that_is_wrong_for_any_operator_needs_no_join(tmp_path: Path) -> None:
    shape = "#0=(1,2,3,4)f32 #1=(1,2,6,8)f32"
    words = f"mode=nearest recompute_scale_factor=False scale_factor=(2.0,2.0) $input=0 {shape}"
    extra = "Interp interpolate_1 1 1 1 out0 0=1 1=2.0 2=2.0 6=0"
    folder = _write(tmp_path, "F.interpolate", words, "Interp interpolate_0", "0=1 6=0", extra)
    before = (folder / "model.ncnn.param").read_bytes()
    assert _codes(pnnxfix.check(folder)) == ["PNX150"]
    assert ["not certain" in (f.refusal or "") for f in pnnxfix.fix(folder).findings] == [True]
    assert (folder / "model.ncnn.param").read_bytes() == before


@pytest.mark.parametrize(
    ("shape", "axis", "is_wide"),
    [
        ((2, 3, 4, 5, 6), 233, True),
        ((2, 3, 4, 5, 6), 0, False),
        ((1, 2, 3, 4, 5, 6), 0, True),
        ((3, 4, 5, 6), 233, False),
    ],
)
def test_input_of_more_axes_than_a_blob(
    shape: tuple[int, ...], axis: int, is_wide: bool, tmp_path: Path
) -> None:
    text = ",".join(map(str, shape))
    words = f"$input=0 #0=({text})f32 #1=({text})f32"
    folder = _write(tmp_path, "F.relu", words, "ReLU relu_0", "")
    (folder / "model_ncnn.py").write_text(
        f"    in0 = torch.rand({', '.join(map(str, shape))}, dtype=torch.float)\n"
        f'            ex.input("in0", ncnn.Mat(in0.numpy(), batch_index={axis}).clone())\n'
    )
    assert _codes(pnnxfix.check(folder)) == ["PNX152"] * is_wide


@pytest.mark.parametrize(
    ("operator", "layer"),
    [
        ("nn.PixelShuffle p 0 1 1 upscale_factor=2", "PixelShuffle pixelshuffle_0 1 1 in0 out0 0=2"),
        (f"nn.PixelShuffle p 1 1 0 1 upscale_factor=\u00b2 {X}", "PixelShuffle pixelshuffle_0 1 1 in0 out0"),
        (
            "nn.PixelShuffle p 1 1 0 1 upscale_factor=2 #0=(1,1,4,4)f32 #1=(1,1,4,4)f32",
            "PixelShuffle pixelshuffle_0 0 1 out0",
        ),
        (f"Tensor.reshape r 1 1 0 1 shape=(--3,4) {X}", "Reshape reshape_0 1 1 in0 out0 0=\u00b2 13=0"),
        ("Tensor.reshape r 1 0 0 shape=(3,4)", "Reshape reshape_0 1 1 in0 out0 0=4 13=0"),
        ("torch.transpose t 1 1 0 1 dim0=0 dim1=1", "Reshape reshape_0 1 1 in0 out0 0=4 12=\u00b2 13=0"),
    ],
)
def test_rows_that_pnnx_does_not_write_are_no_error(operator: str, layer: str, tmp_path: Path) -> None:
    head = f"7767517\n3 2\npnnx.Input pnnx_input_0 0 1 0 {X}\n"
    (tmp_path / "model.pnnx.param").write_text(f"{head}{operator}\npnnx.Output o 1 0 1\n", encoding="utf-8")
    (tmp_path / "model.ncnn.param").write_text(
        f"7767517\n3 2\nInput in0 0 1 in0\nInput in1 0 0\n{layer}\n", encoding="utf-8"
    )
    assert [problem.message for problem in pnnxfix.check(tmp_path).all_problems] == []


def test_input_with_the_name_of_an_output(tmp_path: Path) -> None:
    (tmp_path / "model.ncnn.param").write_text("7767517\n1 1\nInput in0 0 1 out0\n")
    (tmp_path / "model.ncnn.bin").write_bytes(b"")
    assert _codes(pnnxfix.check(tmp_path)) == ["PNX151"]
    pnnxfix.fix(tmp_path)
    rows = [line.split() for line in (tmp_path / "model.ncnn.param").read_text().splitlines()]
    assert rows[1:] == [
        ["2", "2"],
        ["Input", "in0", "0", "1", "in0"],
        ["Noop", "noop_fix", "1", "1", "in0", "out0"],
    ]
    assert _codes(pnnxfix.check(tmp_path)) == []


def test_every_kind_is_looked_for(tmp_path: Path) -> None:
    def write(name: str, *rows: str) -> ParamGraph:
        (tmp_path / name).write_text("\n".join((MAGIC, f"{len(rows)} {len(rows)}", *rows, "")))
        (conversion,), *_ = find_conversions([tmp_path / name], ())
        loaded = LoadedConversion(conversion)
        param = loaded.pnnx or loaded.ncnn
        assert param is not None
        return param

    clamp = "torch.clamp torch.clamp_0 1 1 0 1 max=3 min=0 #0=(2)i64 #1=(2)i64"
    assert may_compute_integers(write("integers.pnnx.param", "pnnx.Input in 0 1 0", clamp))
    rows = {name: (f"Layer {name}_0 1 1 1 2",) for _, name in JOINS if name != "clamp"}
    rows["cat"] = ("Concat cat_0 2 1 1 2 3 0=-233",)
    rows["bn"] = ("Reshape flatten_0 1 1 1 2 0=8 1=9 12=233 13=1", "BatchNorm bn_1 1 1 2 3 0=8")
    rows["pow"] = ("BinaryOp pow_0 1 1 1 2",)
    rows["remainder"] = ("BinaryOp remainder_0 1 1 1 2",)
    for kind, (_, names) in UNWRITTEN.items():
        rows |= {name: (f"{kind} {name}_0 1 1 1 2",) for name in names}
    missed = []
    for name, given in rows.items():
        param = write(f"{name}.ncnn.param", "Input in0 0 1 1", *given)
        if not may_contradict(param, Path(param.file.path).read_bytes()):
            missed.append(name)
    assert missed == []


def test_stored_float64_is_told(tmp_path: Path) -> None:
    """Whoever reads it: pnnx has converted the maximum, and ncnn reads four bytes of eight."""
    shutil.copytree(FIXTURES / "20261020" / "constant-float64", tmp_path, dirs_exist_ok=True)
    for name, leaked, converted in (
        ("model.ncnn.param", "aten::clamp_min", "BinaryOp"),
        ("model.pnnx.param", "aten::clamp_min", "torch.maximum"),
    ):
        text = (tmp_path / name).read_text()
        assert leaked in text
        (tmp_path / name).write_text(text.replace(leaked, converted))
    (tmp_path / "model_pnnx.py").unlink()
    (found,) = pnnxfix.check(tmp_path).findings
    assert (found.path.name, found.code, found.operator[:10]) == ("model.ncnn.param", "PNX150", "pnnx_fold_")
    assert "float64" in found.message
    assert not found.fixable
