"""Families of operators whose meaning is written with the builder: one table row an operator.

A row is a signature and a function. The function gets the builder and the operator's arguments
in the order of the signature: a `Value` for a tensor, a Python number, bool, string, tuple or
None for a constant. It gives a `Value`, or several for an operator with several results, and
raises NotExpressible for what ncnn cannot do. Shapes and axes are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Call, Lowering, OperatorRule, Refusal
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value

Lower = Callable[..., Value | Sequence[Value]]


class Family(OperatorRule):
    """The base of all families; `operators` is the table, signature to function.

    Signatures of converted types (`torch.gt`) use pnnx's own argument names. A converted type
    is repaired in `.ncnn.param` only: its Python is right.
    """

    operators: ClassVar[dict[str, Lower]] = {}
    has_python = False

    def __init__(self, signature: str) -> None:
        self._signature = signature
        self._lower = self.operators[signature]

    @property
    def operator(self) -> str:
        return self._signature.partition("(")[0]

    @property
    def schema(self) -> str:
        return self._signature

    @classmethod
    def instances(cls) -> list[OperatorRule]:
        return [cls(signature) for signature in cls.operators]

    def to_pnnx(self, call: Call) -> Operator | Refusal:
        return Refusal("pnnx has no operator of its own for this", "nothing to do: only pnnx reads this file")

    def to_ncnn(self, call: Call) -> Lowering | Refusal:
        builder = Builder()
        arguments: list[Any] = []
        for argument in self.parameters:
            value = call.argument(argument, builder)
            if isinstance(value, Refusal):
                return value
            arguments.append(value)
        try:
            made = self._lower(builder, *arguments)
            results = (made,) if isinstance(made, Value) else tuple(made)
            names = []
            for at, result in enumerate(results):
                wanted = call.result_blob(at)
                if isinstance(wanted, Refusal):
                    return wanted
                shape, blob = wanted
                if result.shape != shape:
                    return Refusal(
                        f"{self.operator} should give shape {result.shape}, and the files say {shape}",
                        "report this with the files",
                    )
                names.append(builder.as_blob(builder.certain(result), blob).name)
        except NotExpressible as error:
            return Refusal(error.reason, error.help)
        return Lowering(tuple(builder.layers), tuple(names), dict(builder.constants))
