"""The arguments of an operator, by the parameters of its signature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pnnxfix.graph.graph import Operator
from pnnxfix.graph.splits import EXPRESSION
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.pipeline.stored import list_items, read_indexes
from pnnxfix.rules.base import Parameter, Refusal
from pnnxfix.rules.lowering.builder import Value
from pnnxfix.rules.lowering.stored import StoredTensor
from pnnxfix.rules.lowering.value import IndexBits

if TYPE_CHECKING:
    from pnnxfix.pipeline.lowering import RegionLowerer
    from pnnxfix.pipeline.regions import Part

LISTS = frozenset({"prim::ListConstruct", "prim::TupleConstruct"})
ATTRIBUTE = "pnnx.Attribute"


class Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Arguments:
    """The arguments of one operator, by the parameters of its signature."""

    def __init__(self, lowerer: RegionLowerer, part: Part, is_first: bool) -> None:
        self._lowerer = lowerer
        self._operator = part.operator
        self._inputs = part.inputs
        self._is_first = is_first
        words = (word[1:].partition("=") for word in part.operator.rest if word.startswith("$"))
        self._named = {name: operand for name, _, operand in words}
        self._positional = "::" in part.operator.type or not self._named

    def get(self, parameter: Parameter, index: int) -> Any:
        """A Value, a list of them, or a constant; raises Refused where it is not in the files."""
        if parameter.type == "Expression":
            return self._expression()
        if parameter.type == "Ignored":
            return None
        if parameter.type == "Indexes":
            return self._indexes(parameter, index)
        if parameter.type == "Looked-up":
            return self._looked_up(parameter)
        operand = self._find_operand(parameter, index)
        if operand is None:
            text = self._operator.parameter(parameter.name)
            text = parameter.default if text is None else text
            if text is None:
                raise Refused(Refusal(f"`{parameter.name}` is not in the files", "convert the model again"))
            return self._constant(text, parameter)
        maker = self._lowerer.maker(operand)
        if parameter.type == "Tensor[]":
            return self._tensors(parameter, operand, maker)
        if "Stored" in parameter.type and maker is not None and maker.type == ATTRIBUTE:
            return self._lowerer.stored(maker)
        if maker is not None and maker.type == EXPRESSION and not maker.inputs:
            return self._constant(maker.parameter("expr") or "", parameter)
        if not parameter.type.startswith("Tensor"):
            if parameter.default == "?":
                return None  # computed, and the shape of the result says it
            reason = f"`{parameter.name}` is computed while the network runs"
            raise Refused(Refusal(reason, "make it a constant in the PyTorch model"))
        return self._lowerer.tensor(parameter.name, operand, self._blob(operand))

    def refuse_others(self, known: tuple[str, ...]) -> None:
        """Raise Refused for an argument that the signature does not have: it might change the meaning."""
        for word in self._operator.rest:
            key, is_parameter, value = word.lstrip("$").partition("=")
            if word[:1] not in "#@" and is_parameter and key not in known and value != "None":
                raise Refused(
                    Refusal(f"the argument `{key}={value[:40]}` is not known to pnnxfix", "report this")
                )

    def _looked_up(self, parameter: Parameter) -> Value | IndexBits:
        """The last input; one before it is the table, which two modules share."""
        *tables, operand = self._operator.inputs
        for table in tables:
            self._lowerer.check_own_weight(table, self._operator)
        found = self._lowerer.indexes(parameter.name, operand, self._blob(operand))
        if isinstance(found, Value):
            self._lowerer.check_finite(self._operator)
        return found

    def _find_operand(self, parameter: Parameter, index: int) -> str | None:
        if parameter.name in self._named or not self._positional:
            return self._named.get(parameter.name)
        if "::" not in self._operator.type and self._operator.parameter(parameter.name) is not None:
            return None
        return self._operator.inputs[index] if index < len(self._operator.inputs) else None

    def _blob(self, operand: str) -> str:
        if self._inputs is None or operand not in self._operator.inputs:
            raise Refused(
                Refusal(f"{self._operator.name} has other inputs in ncnn than in pnnx", "report this")
            )
        return self._inputs[self._operator.inputs.index(operand)]

    def _tensors(self, parameter: Parameter, operand: str, maker: Operator | None) -> list[Value]:
        items = None if maker is None else list_items(maker)
        if items is not None and maker is not None:
            blobs = self._lowerer.list_blobs(self._blob(operand))
            if len(blobs) != len(maker.inputs):
                raise Refused(Refusal(f"the list `{parameter.name}` is another one in ncnn", "report this"))
            inputs = [
                self._lowerer.tensor(f"{parameter.name}[{at}]", *pair)
                for at, pair in enumerate(zip(maker.inputs, blobs, strict=True))
            ]
            return [self._lowerer.evaluate(item, inputs) for item in items]
        return [
            self._lowerer.tensor(f"{parameter.name}[{at}]", name, self._blob(name))
            for at, name in enumerate(self._operator.inputs)
        ]

    def _indexes(self, parameter: Parameter, index: int) -> tuple[StoredTensor | None, ...]:
        """A list of stored tensors or None, as an Expression or in the words of the row itself."""
        text, inputs = self._operator.parameter(parameter.name), self._operator.inputs
        if text is None:
            operand = self._find_operand(parameter, index)
            maker = None if operand is None else self._lowerer.maker(operand)
            text = None if maker is None else maker.parameter("expr")
            inputs = () if maker is None else maker.inputs
            if maker is not None and maker.type in LISTS:
                text = f"[{','.join(f'@{at}' for at in range(len(inputs)))}]"
        items = read_indexes(text or "")
        if isinstance(items, Refusal):
            raise Refused(items)
        return tuple(self._lowerer.index(inputs[item]) if isinstance(item, int) else item for item in items)

    def _expression(self) -> tuple[str, list[Value]]:
        inputs = [
            self._lowerer.tensor(f"@{at}", name, self._blob(name))
            for at, name in enumerate(self._operator.inputs)
        ]
        return self._operator.parameter("expr") or "", inputs

    def _constant(self, text: str, parameter: Parameter) -> Any:
        value = read_constant(text, integers=parameter.type.startswith("int"))
        if isinstance(value, Refusal) and self._is_first:
            number = self._lowerer.settle(parameter.name)  # TorchScript or the user may know it
            value = number if isinstance(number, Refusal) else number.value
        if isinstance(value, Refusal):
            raise Refused(value)
        # TorchScript lets one number stand for a list of one.
        if parameter.type.startswith("int[") and isinstance(value, int) and not isinstance(value, bool):
            return (value,)
        return value
