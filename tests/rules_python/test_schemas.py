"""The table of operators: complete, readable, and true of the PyTorch it was made from."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pnnxfix.data.schemas import find_operator, operator_names, schema_versions
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.schema_call import translate
from pnnxfix.rules.schema_types import Overload, Parameter, find_overloads
from pnnxfix.rules.schema_values import Value, misfit, read_value

NAMES = operator_names()
BY_NAME = {name: find_overloads(name) for name in NAMES}
OVERLOADS = [overload for overloads in BY_NAME.values() for overload in overloads]
TYPE = re.compile(
    r"(Tensor|Scalar|int|SymInt|float|bool|complex|str|ScalarType|Layout|MemoryFormat|Device|Generator)"
)


def test_names_are_sorted_and_found() -> None:
    assert sorted(set(NAMES)) == NAMES
    assert len(NAMES) > 1000
    assert all(find_operator(name) for name in NAMES[::50])
    assert find_operator("aten::no_such_operator") == ()
    assert find_operator("aten::ad") == ()
    assert {"aten", "torchvision", "quantized"} <= {name.partition("::")[0] for name in NAMES}


def test_the_table_says_what_it_was_made_from() -> None:
    assert re.fullmatch(r"torch \d+\.\d+\.\d+, torchvision \d+\.\d+\.\d+", schema_versions())


def test_a_schema_is_read() -> None:
    found = {overload.name: overload for overload in find_overloads("aten::var")}
    assert found["correction"].parameters == (
        Parameter("self", "Tensor", None, False),
        Parameter("dim", "int[1]?", "None", False),
        Parameter("correction", "Scalar?", "None", True),
        Parameter("keepdim", "bool", "False", True),
    )
    assert (found[""].returns, found[""].public, found[""].flag) == (1, "torch.var", "")
    assert find_overloads("aten::var_mean")[0].returns == 2
    assert find_overloads("aten::bernoulli")[0].flag == "random"
    assert find_overloads("aten::conv2d")[0].parameters[3].default == "[1, 1]"


def test_every_overload_is_read() -> None:
    odd = {p.type for o in OVERLOADS for p in o.parameters if not TYPE.match(p.type)}
    assert odd <= {"Storage", "RRef", "Generator"}
    assert all(p.name.isidentifier() for o in OVERLOADS for p in o.parameters)


def test_the_defaults_fit_their_types() -> None:
    for overload in OVERLOADS:
        for parameter in overload.parameters:
            if parameter.default is None or not TYPE.match(parameter.type):
                continue
            value = read_value(parameter.default.strip(), lambda _: None)
            # One number stands for a whole list: `int[2] padding=0`.
            kinds = (parameter.type, re.sub(r"\[\d*\]\??$", "", parameter.type))
            assert any(misfit(value, kind) is not None for kind in kinds), parameter


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch has the public names")
def test_public_names_exist() -> None:
    torch = importlib.import_module("torch")
    scope = {"torch": torch, "F": torch.nn.functional}
    for public in {overload.public for overload in OVERLOADS if overload.public}:
        if public.startswith("."):
            assert hasattr(torch.Tensor, public.removesuffix("()")[1:]), public
        else:
            assert callable(eval(public.partition("(")[0], dict(scope))), public


# One value of each type, and how each argument of a call gets its own.


def draw_value(data: st.DataObject, kind: str, at: int) -> str:
    """A value's text as pnnx prints it; numbers and words are different for each argument."""
    if kind.endswith("?"):
        return "None" if data.draw(st.booleans()) else draw_value(data, kind[:-1], at)
    if kind.endswith("]"):
        element, _, size = kind[:-1].rpartition("[")
        count = int(size) if size else data.draw(st.integers(0, 3))
        return f"[{', '.join(draw_value(data, element, at) for _ in range(count))}]"
    if kind in {"int", "SymInt"}:
        return str(data.draw(st.sampled_from((1000 + at, -1000 - at))))
    if kind in {"float", "Scalar"}:
        return data.draw(st.sampled_from((f"{1000 + at}.5", f"{1000 + at}.5e-1", "inf", "-inf", "nan")))
    return {
        "bool": data.draw(st.sampled_from(("True", "False"))),
        "complex": f"{1000 + at}.0+2.0j",
        "str": f"word_{at}",
        "Device": "cpu",
        "ScalarType": str(data.draw(st.integers(0, 15))),
        "Layout": "0",
        "MemoryFormat": "0",
        "Tensor": f"v_{at}",
    }.get(kind, "")


@given(st.data(), st.sampled_from(OVERLOADS))
def test_a_translated_call_parses_and_loses_no_argument(data: st.DataObject, overload: Overload) -> None:
    texts = [draw_value(data, p.type, at) for at, p in enumerate(overload.parameters)]
    assume(all(texts))
    operator = overload.operator.removesuffix("_") if overload.changes_in_place else overload.operator
    result = translate(operator, [read_value(text, lambda _: None) for text in texts], overload.returns)
    if isinstance(result, Refusal):
        assert "which differ" in result.reason
        return
    tree = ast.parse(result.expression, mode="eval")
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    tensors = set(re.findall(r"v_\d+", " ".join(texts)))
    assert names - tensors <= {"torch", "F", "float", "int", "bool", "len"}
    assert tensors <= names
    kept = re.findall(r"\b(?:1\d\d\d(?:\.5)?|word_\d+)", " ".join(texts))
    assert all(word in result.expression for word in kept), result.expression


@given(st.text(), st.lists(st.text(max_size=20), max_size=8))
def test_any_text_ends_in_a_translation_or_a_refusal(operator: str, texts: list[str]) -> None:
    values = [read_value(text, {"v_0": texts[0] if texts else "None"}.get) for text in texts]
    translate(operator, values, 1)


def test_a_list_that_holds_itself_ends() -> None:
    value = read_value("v_1", {"v_1": "[v_1, v_1, [v_1]]"}.get)
    assert value.kind == "list"
    assert {item.kind for item in value.items} == {"unknown"}
    assert isinstance(value, Value)
