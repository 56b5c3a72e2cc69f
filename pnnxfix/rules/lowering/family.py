"""Families of operators whose meaning is written with the builder: one table row an operator.

A row is a signature and a function. The function gets the builder and the operator's arguments
in the order of the signature: a `Value` for a tensor, a Python number, bool, string, tuple or
None for a constant. It gives a `Value`, or several for an operator with several results (None for
one that ncnn cannot compute, which is right where nothing reads it), and raises NotExpressible
for what ncnn cannot do. Shapes and axes are torch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import Call, Lowering, OperatorRule, Refusal
from pnnxfix.rules.lowering.builder import Builder, Value

Lower = Callable[..., Value | Sequence[Value | None]]


class Family(OperatorRule):
    """The base of all families; `operators` is the table, signature to function.

    Signatures of converted types (`torch.gt`) use pnnx's own argument names. Their Python is
    right, and only `.ncnn.param` is repaired. The type `Expression` asks for the text of an
    Expression and its inputs, `Stored` for a constant: a number, a list or a `StoredTensor`,
    `Indexes` for a list of such or None, `Ignored` for what says nothing beyond the shape of the
    result (None is given), `Looked-up` for integers that an embedding reads. A default `?` allows an
    argument that is computed. A family that is not `is_expressible` refuses whatever it is given.
    """

    operators: ClassVar[dict[str, Lower]] = {}
    has_python = False
    is_family = True
    is_expressible: ClassVar[bool] = True

    def __init__(self, signature: str) -> None:
        self._signature = signature
        self._function = self.operators[signature]

    @property
    def schema(self) -> str:
        return self._signature

    @classmethod
    def instances(cls) -> list[OperatorRule]:
        return [cls(signature) for signature in cls.operators]

    @property
    def gives_list(self) -> bool:
        """Whether the result is a list of tensors."""
        return self._signature.endswith("-> Tensor[]")

    def lower(self, builder: Builder, *arguments: Any) -> Value | Sequence[Value | None]:
        """The operator's results. Raises NotExpressible."""
        return self._function(builder, *arguments)

    def to_pnnx(self, call: Call) -> Operator | Refusal:
        return Refusal("pnnx has no other operator for this", "nothing to do: only pnnx reads this file")

    def to_ncnn(self, call: Call) -> Lowering | Refusal:
        return Refusal("it is lowered with what is around it", "nothing to do")
