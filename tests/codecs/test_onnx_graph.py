"""The ONNX container follows a repair: the nodes named, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.onnx_graph import is_available, replace_nodes
from pnnxfix.errors import PnnxfixError
from pnnxfix.graph.graph import Operator

onnx = pytest.importorskip("onnx", reason="the files are read with the real onnx")

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
SAMPLE = FIXTURES / "20261020" / "clamp-min-tenth" / "model.pnnx.onnx"


def read(data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.ParseFromString(data)
    return model


def node_of(data: bytes, kind: str) -> onnx.NodeProto:
    return next(node for node in read(data).graph.node if node.op_type == kind)


def old_operator(node: onnx.NodeProto) -> Operator:
    return Operator(node.op_type, node.name, tuple(node.input), tuple(node.output))


def test_the_package_is_found() -> None:
    assert is_available()


@pytest.mark.parametrize("release", ["20240226", "20240819", "20250430", "20260409", "20261020"])
def test_named_nodes_change_and_no_other(release: str) -> None:
    path = FIXTURES / release / "clamp-min-tenth" / "model.pnnx.onnx"
    before = path.read_bytes()
    node = node_of(before, "aten::clamp_min")
    constant = node_of(before, "pnnx.Expression")
    new = Operator(
        "torch.clamp", node.name, node.input[:1], tuple(node.output), ("max=None", "min=0.1", "$input=0")
    )
    after = replace_nodes(before, str(path), [(old_operator(node), new)], [constant.name])
    repaired = node_of(after, "torch.clamp")
    assert (repaired.name, list(repaired.input), list(repaired.output)) == (
        node.name,
        list(node.input[:1]),
        list(node.output),
    )
    values = {a.name: onnx.helper.get_attribute_value(a) for a in repaired.attribute}
    assert values == {"max": b"None", "min": pytest.approx(0.1)}
    others = [
        n.SerializeToString() for n in read(before).graph.node if n.name not in {node.name, constant.name}
    ]
    assert [n.SerializeToString() for n in read(after).graph.node if n.name != node.name] == others
    assert all(value.name not in constant.output for value in read(after).graph.value_info)
    expected = read(before)
    result = read(after)
    for model in (expected, result):
        del model.graph.node[:]
        del model.graph.value_info[:]
    assert result == expected


def test_a_node_of_another_conversion_is_an_error() -> None:
    data = SAMPLE.read_bytes()
    node = node_of(data, "aten::clamp_min")
    new = Operator("torch.clamp", node.name, (), (), ())
    for wrong in (Operator("aten::clamp_min", "nobody", (), ()), Operator("aten::frac", node.name, (), ())):
        with pytest.raises(PnnxfixError, match="another conversion"):
            replace_nodes(data, "m.pnnx.onnx", [(wrong, new)], [])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 255), st.booleans())
def test_broken_bytes_are_an_error_or_read(at: int, byte: int, cut: bool) -> None:
    data = bytearray(SAMPLE.read_bytes())
    at %= len(data)
    data[at] = byte
    old = Operator("aten::clamp_min", "pnnx_2", ("0", "1"), ("2",))
    new = Operator("torch.clamp", "pnnx_2", ("0",), ("2",), ("max=None", "min=0.1"))
    try:
        after = replace_nodes(bytes(data[:at] if cut else data), "m.pnnx.onnx", [(old, new)], [])
    except PnnxfixError as error:
        message = str(error)
    else:
        assert node_of(after, "torch.clamp").name == "pnnx_2"
        return
    assert "m.pnnx.onnx" in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-3", -3),
        ("0.5", 0.5),
        ("-1.0e-07", -1.0e-07),
        ("1e10", 1e10),
        ("None", b"None"),
        ("True", b"True"),
        ("-inf", b"-inf"),
        ("(1,2)", b"(1,2)"),
        ("1.2.3", b"1.2.3"),
        ("5x", b"5x"),
        ("1.0e+00+2.0e+00j", b"1.0e+00+2.0e+00j"),
        ("99999999999999999999", 1e20),
        ("1" * 5000, b"1" * 5000),
        ("\u00b2", "\u00b2".encode()),
        ("", b""),
    ],
)
def test_parameters_are_typed_as_pnnx_does(text: str, value: object) -> None:
    data = SAMPLE.read_bytes()
    node = node_of(data, "aten::clamp_min")
    new = Operator("torch.clamp", node.name, (), tuple(node.output), (f"min={text}",))
    after = node_of(replace_nodes(data, "m.pnnx.onnx", [(old_operator(node), new)], []), "torch.clamp")
    got = onnx.helper.get_attribute_value(after.attribute[0])
    assert got == (pytest.approx(value) if isinstance(value, float) else value)
