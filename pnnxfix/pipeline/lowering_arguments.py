"""Gives a lowering its arguments: tensors with their blobs, constants as Python values."""

from __future__ import annotations

from typing import Any

from pnnxfix.graph.graph import Operator
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.graph.shapes import Annotations
from pnnxfix.rules.base import FLOAT_TYPES, Parameter, Refusal
from pnnxfix.rules.lowering.builder import Builder, Value

_NO_SHAPE_HELP = "convert the model again with its inputshape, so that pnnx writes the shapes"
_NO_PARAM = Refusal(
    "its arguments are not in .ncnn.param alone", "keep model.pnnx.param beside the ncnn model"
)
_LISTS = frozenset({"prim::ListConstruct", "prim::TupleConstruct"})


class LoweringArguments:
    """The arguments of one pnnx operator for a lowering into ncnn's layers."""

    def __init__(self, loaded: LoadedConversion, operator: Operator, positional: bool) -> None:
        """`positional`: inputs stand in the order of the signature, constants among them."""
        assert loaded.pnnx is not None
        self._graph = loaded.pnnx.graph
        self._loaded = loaded
        self._operator = operator
        self._annotations = Annotations(loaded.pnnx.graph)
        self._named = _named_inputs(operator)
        self._positional = positional
        self.operands: dict[str, str] = {}

    def get(self, parameter: Parameter, index: int, builder: Builder) -> Any:
        """An argument: a Value, a list of them, or a constant; a Refusal says what is missing."""
        operand = self._find_operand(parameter, index)
        if operand is None:
            text = self._operator.parameter(parameter.name)
            if text is None:
                text = parameter.default
            if text is None:
                return Refusal(f"`{parameter.name}` is not in the files", "convert the model again")
            return self._constant(text, parameter)
        maker = self._graph.maker(operand)
        if parameter.type.startswith("Tensor[]") and maker is not None and maker.type in _LISTS:
            values = [
                self._tensor(builder, f"{parameter.name}[{at}]", item) for at, item in enumerate(maker.inputs)
            ]
            return next((value for value in values if isinstance(value, Refusal)), values)
        if maker is not None and maker.type == EXPRESSION and not maker.inputs:
            return self._constant(maker.parameter("expr") or "", parameter)
        if not parameter.type.startswith("Tensor"):
            return Refusal(
                f"`{parameter.name}` is computed while the network runs",
                "make it a constant in the PyTorch model",
            )
        return self._tensor(builder, parameter.name, operand)

    def _find_operand(self, parameter: Parameter, index: int) -> str | None:
        if self._named or not self._positional:
            return self._named.get(parameter.name)
        return self._operator.inputs[index] if index < len(self._operator.inputs) else None

    @staticmethod
    def _constant(text: str, parameter: Parameter) -> Any:
        value = read_constant(text)
        # pnnx prints a list of one as that one at times, and TorchScript lets one stand for a list.
        if parameter.type.startswith("int[") and isinstance(value, int) and not isinstance(value, bool):
            return (value,)
        return value

    def _tensor(self, builder: Builder, name: str, operand: str) -> Value | Refusal:
        self.operands[name] = operand
        found = self._annotations.find(operand)
        if found is None:
            return self._scalar_tensor(builder, name, operand)
        shape, dtype = found
        if not shape or min(shape) < 1:
            if shape:
                return Refusal(f"`{name}` has an axis of unknown or no size", _NO_SHAPE_HELP)
            return Value(builder, name, (), (1,))
        if dtype not in FLOAT_TYPES and not (dtype == "bool" and self._is_computed(operand)):
            return Refusal(
                f"`{name}` holds {dtype}, and ncnn's layers compute on floats only",
                "convert it with .float() in the PyTorch model",
            )
        blob = self._loaded.batch.blob_of(operand, shape)
        return blob if isinstance(blob, Refusal) else Value(builder, name, shape, blob)

    def _scalar_tensor(self, builder: Builder, name: str, operand: str) -> Value | Refusal:
        """0-dim tensors have no annotation; neither have those of unknown shape."""
        if self._annotations.is_scalar(operand):
            return Value(builder, name, (), (1,))
        return Refusal(f"the shape of `{name}` is not in the files", _NO_SHAPE_HELP)

    def _is_computed(self, operand: str) -> bool:
        maker = self._graph.maker(operand)
        return maker is not None and maker.type not in {"pnnx.Input", "pnnx.Attribute"}

    def result(self, index: int) -> tuple[tuple[int, ...], tuple[int, ...]] | Refusal:
        """Torch's shape of a result and the sizes of the blob that later layers expect."""
        operand = self._operator.outputs[index]
        found = self._annotations.find(operand)
        shape = () if found is None else found[0]
        if shape and min(shape) < 1:
            return Refusal("the result has an axis of unknown or no size", _NO_SHAPE_HELP)
        if not shape:
            return (), (1,)
        blob = self._loaded.batch.blob_of(operand, shape)
        if isinstance(blob, Refusal):
            return blob
        if blob is None:
            return Refusal(
                "in which layout later layers expect the result is not certain", "report this with the files"
            )
        return shape, blob


def _named_inputs(operator: Operator) -> dict[str, str]:
    words = (word[1:].partition("=") for word in operator.rest if word.startswith("$"))
    return {name: operand for name, _, operand in words}
