"""A repair that is wrong on purpose does not pass the proofs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Call, Layer, Lowering, OperatorRule, Refusal
from pnnxfix.rules.operators.clamp import ClampMax, ClampMin, ClampTensor
from tests.helpers.conversions import find_stored, fix_folder
from tests.helpers.graphs import assert_same_graph
from tests.helpers.proof import prove_ncnn, prove_torch
from tests.numeric.conftest import Run

Layers = Sequence[Layer]


def change_words(layers: Layers, change: Callable[[str, str], tuple[str, str]]) -> Layers:
    """The layers with each `key=value` passed through `change`."""
    return [
        layer._replace(
            parameters=tuple("=".join(change(*word.split("=", 1))) for word in layer.parameters),
        )
        for layer in layers
    ]


def add_one(layers: Layers) -> Layers:
    return change_words(layers, lambda key, value: (key, f"{float(value) + 1:.8e}"))


def swap_bounds(layers: Layers) -> Layers:
    return change_words(layers, lambda key, value: ({"0": "1", "1": "0"}[key], value))


def swap_operations(layers: Layers) -> Layers:
    swapped = {"4": "5", "5": "4"}
    return [
        layer._replace(parameters=tuple(f"0={swapped[word[2:]]}" for word in layer.parameters))
        if layer.type == "BinaryOp"
        else layer
        for layer in layers
    ]


def drop_reshape(layers: Layers) -> Layers:
    reshape, binary = layers
    inputs = tuple(reshape.inputs[0] if name == "@0" else name for name in binary.inputs)
    return [binary._replace(inputs=inputs)]


CLIPPED = [
    "clamp-min-int-zero",
    "clamp-min-tenth",
    "conv2d-depthwise",
    "conv1d",
    "deconv2d",
    "rank-1",
    "linear",
]
CAPPED = ["clamp-max-int", "conv2d", "inner-product", "rank-2", "conv1d-depthwise"]
COMPARED = ["tensor-bound", "parameter-channels", "computed-scalar", "buffer-scalar"]

NCNN_MUTANTS = [
    *((ClampMin, change, case) for case in CLIPPED for change in (add_one, swap_bounds)),
    *((ClampMax, change, case) for case in CAPPED for change in (add_one, swap_bounds)),
    *((ClampMin, swap_operations, case) for case in COMPARED),
    (ClampMax, swap_operations, "tensor-bound-max"),
    (ClampTensor, swap_operations, "clamp-tensor-both"),
    (ClampMin, drop_reshape, "parameter-vector-ambiguous"),
    (ClampMin, drop_reshape, "tensor-bound-matrix"),
]


@pytest.mark.parametrize(
    ("rule", "change", "case"), NCNN_MUTANTS, ids=[f"{c}-{m.__name__}" for _, m, c in NCNN_MUTANTS]
)
def test_wrong_lowering_gives_other_numbers(
    rule: type[OperatorRule],
    change: Callable[[Layers], Layers],
    case: str,
    run_ncnn: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = rule.to_ncnn

    def bent(self: OperatorRule, call: Call) -> Lowering | Refusal:
        lowering = right(self, call)
        return lowering if isinstance(lowering, Refusal) else Lowering.chain(change(lowering.layers))

    monkeypatch.setattr(rule, "to_ncnn", bent)
    stored = find_stored("20261020", case)
    folder = stored.copy(tmp_path / "conversion")
    assert fix_folder(folder).fixed
    outputs = run_ncnn(folder, stored.stem)
    with pytest.raises(AssertionError, match=r"^out\d"):
        prove_ncnn(stored, outputs)


PYTHON_MUTANTS = [
    (ClampMin, "torch.clamp_min(", "torch.clamp_max(", "clamp-min-tenth"),
    (ClampMin, "0.1", "1.1", "clamp-min-tenth"),
    (ClampMin, "-0.25", "0.25", "conv2d-depthwise"),
    (ClampMax, "torch.clamp_max(", "torch.clamp_min(", "conv2d"),
    (ClampMin, "torch.maximum(", "torch.minimum(", "tensor-bound"),
    (ClampMin, "v_0, v_1", "v_1, v_1", "tensor-bound"),
]


@pytest.mark.parametrize(
    ("rule", "old", "new", "case"),
    PYTHON_MUTANTS,
    ids=[f"{mutant[3]}-{mutant[2]}" for mutant in PYTHON_MUTANTS],
)
def test_wrong_code_gives_other_numbers(
    rule: type[OperatorRule],
    old: str,
    new: str,
    case: str,
    run_torch: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = rule.to_python

    def bent(self: OperatorRule, call: Call, style: str) -> str | Refusal:
        expression = right(self, call, style)
        assert isinstance(expression, str)
        assert old in expression
        return expression.replace(old, new)

    monkeypatch.setattr(rule, "to_python", bent)
    stored = find_stored("20261020", case)
    folder = stored.copy(tmp_path / "conversion")
    assert fix_folder(folder).fixed
    outputs = run_torch(folder, stored.stem)
    with pytest.raises(AssertionError, match=r"^out\d"):
        prove_torch(stored, outputs)


PNNX_MUTANTS = [
    (ClampMin, "min=0.1", "min=1.1", "clamp-min-tenth"),
    (ClampMin, "max=None", "max=0.1", "clamp-min-tenth"),
    (ClampMax, "max=0.5", "max=-0.5", "conv2d"),
    (ClampMin, "maximum(@0,@1)", "maximum(@1,@0)", "tensor-bound"),
    (ClampMin, "maximum(@0,@1)", "minimum(@0,@1)", "tensor-bound"),
]


@pytest.mark.parametrize(
    ("rule", "old", "new", "case"), PNNX_MUTANTS, ids=[f"{mutant[3]}-{mutant[2]}" for mutant in PNNX_MUTANTS]
)
def test_wrong_pnnx_operator_is_another_graph(
    rule: type[OperatorRule], old: str, new: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = rule.to_pnnx

    def bent(self: OperatorRule, call: Call) -> Operator | Refusal:
        operator = right(self, call)
        assert isinstance(operator, Operator)
        assert any(old in word for word in operator.rest)
        rest = tuple(word.replace(old, new) for word in operator.rest)
        return Operator(operator.type, operator.name, operator.inputs, operator.outputs, rest)

    monkeypatch.setattr(rule, "to_pnnx", bent)
    stored = find_stored("20261020", case)
    folder = stored.copy(tmp_path / "conversion")
    assert fix_folder(folder).fixed
    native = (stored.native / "model.pnnx.param").read_text()
    with pytest.raises(AssertionError, match="expected"):
        assert_same_graph((folder / "model.pnnx.param").read_text(), native, "pnnx")
