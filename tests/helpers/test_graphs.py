"""The comparison of graphs and the check of their invariants fail where they must."""

from __future__ import annotations

import pytest

from tests.helpers.graphs import assert_is_sound, assert_same_graph

NCNN = """7767517
6 7
Input in0 0 1 in0
Convolution conv_0 1 1 in0 1 0=4 9=3 -23310=2,0.0,6.0
Split splitncnn_0 1 2 1 2 3
Clip clip_0 1 1 2 4 0=5.00000000e-01
BinaryOp sub_0 2 1 3 4 5 0=1
UnaryOp neg_0 1 1 5 out0 0=1
"""

PNNX = """7767517
5 4
pnnx.Input pnnx_input_0 0 1 0 #0=(1,3)f32
pnnx.Input pnnx_input_1 0 1 1 #1=(1,3)f32
pnnx.Expression pnnx_expr_0 2 1 0 1 2 expr=add(@0,mul(@1,2)) #0=(1,3)f32 #1=(1,3)f32 #2=(1,3)f32
torch.clamp torch.clamp_0 1 1 2 3 max=None min=5.000000e-01 $input=2 #2=(1,3)f32 #3=(1,3)f32
pnnx.Output pnnx_output_0 1 0 3 #3=(1,3)f32
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("conv_0", "other"),
        (
            "Split splitncnn_0 1 2 1 2 3\nClip clip_0 1 1 2 4",
            "Split splitncnn_0 1 2 1 x 3\nClip clip_0 1 1 x 4",
        ),
        ("3 4 5 0=1", "2 4 5 0=1"),
        ("0=5.00000000e-01", "0=0.5 1=3.40282347e+38"),
        ("0=5.00000000e-01", "0=0.5 1=3.402823e+38"),
    ],
)
def test_same_ncnn_graph(old: str, new: str) -> None:
    changed = NCNN.replace(old, new)
    if new.startswith("2 4"):  # the Split's outputs change places
        changed = changed.replace("Clip clip_0 1 1 2 4", "Clip clip_0 1 1 3 4")
    assert_same_graph(changed, NCNN, "ncnn")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0=5.00000000e-01", "0=5.00000060e-01"),
        ("0=5.00000000e-01", "1=5.00000000e-01"),
        ("0=5.00000000e-01", "0=0.5 1=3.4e+38"),
        ("2 1 3 4 5 0=1", "2 1 4 3 5 0=1"),
        ("-23310=2,0.0,6.0", "-23310=2,0.0,7.0"),
        ("0=4 9=3", "0=4 9=1"),
        ("Clip", "ReLU"),
        ("1 1 5 out0", "1 1 5 out1"),
        ("UnaryOp neg_0 1 1 5 out0 0=1\n", ""),
        ("Split splitncnn_0 1 2 1 2 3", "Split splitncnn_0 1 3 1 2 3 9"),
    ],
)
def test_other_ncnn_graph(old: str, new: str) -> None:
    assert old in NCNN
    with pytest.raises(AssertionError, match="expected"):
        assert_same_graph(NCNN.replace(old, new), NCNN, "ncnn")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min=5.000000e-01", "min=0.5"),
        (
            "pnnx.Expression pnnx_expr_0 2 1 0 1 2 expr=add(@0,mul(@1,2))",
            "pnnx.Expression e 1 1 1 9 expr=mul(@0,2)\npnnx.Expression f 2 1 0 9 2 expr=add(@0,@1)",
        ),
        ("expr=add(@0,mul(@1,2)) #0=(1,3)f32", "expr=add(@0,mul(@1,2))"),
    ],
)
def test_same_pnnx_graph(old: str, new: str) -> None:
    assert_same_graph(PNNX.replace(old, new), PNNX, "pnnx")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("min=5.000000e-01", "min=0.6"),
        ("max=None", "max=1"),
        ("mul(@1,2)", "mul(@1,3)"),
        ("mul(@1,2)", "mul(@0,2)"),
        ("add(", "sub("),
        ("$input=2", "$input=0"),
        ("#3=(1,3)f32\npnnx.Output", "#3=(1,4)f32\npnnx.Output"),
        ("1 0 3 #3", "1 0 2 #2"),
    ],
)
def test_other_pnnx_graph(old: str, new: str) -> None:
    assert old in PNNX
    with pytest.raises(AssertionError, match="expected"):
        assert_same_graph(PNNX.replace(old, new), PNNX, "pnnx")


def test_sound() -> None:
    assert_is_sound(NCNN, NCNN, one_reader=True)
    assert_is_sound(PNNX, PNNX, one_reader=False)
    spare = NCNN.replace("6 7", "6 8")
    assert_is_sound(spare, spare, one_reader=True)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("6 7", "6 8", "counts"),
        ("6 7", "5 7", "counts"),
        ("7767517", "7767518", "counts"),
        ("3 4 5 0=1", "3 9 5 0=1", "nothing before it"),
        ("Split splitncnn_0 1 2 1 2 3\nClip clip_0 1 1 2 4 0=5.00000000e-01", "", "nothing before it|names"),
        ("1 1 2 4 0", "1 1 2 3 0", "there already"),
        ("1 2 1 2 3", "1 2 1 2 2", "twice"),
        ("3 4 5 0=1", "4 4 5 0=1", "two readers"),
        ("1 1 5 out0", "1 1 5 6", "lost its reader"),
    ],
)
def test_unsound(old: str, new: str, says: str) -> None:
    text = "\n".join(line for line in NCNN.replace(old, new, 1).splitlines() if line) + "\n"
    with pytest.raises(AssertionError, match=says):
        assert_is_sound(text, NCNN, one_reader=True)
