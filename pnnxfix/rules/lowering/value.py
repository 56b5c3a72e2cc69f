"""A tensor while it is lowered, and the error for what ncnn's layers cannot compute."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from pnnxfix.rules.lowering.views import Shape

if TYPE_CHECKING:
    from pnnxfix.rules.lowering.builder import Builder


RAW_FLOATS = 0.0
"""The tag, four bytes of zero, before weights that are float32. Source: ncnn modelbin.cpp, load type 0."""


class NotExpressible(Exception):
    """ncnn's layers cannot compute this; `reason` says what is missing and `help` what to do."""

    def __init__(self, reason: str, help_text: str = "replace the operator in the PyTorch model") -> None:
        super().__init__(reason)
        self.reason = reason
        self.help = help_text


@dataclass(frozen=True, slots=True)
class IndexBits:
    """The integers of an input of the network, as ncnn gets them: int32 bits, which only Embed can read."""

    blob: Value


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor while it is lowered: torch's shape, and the blob that holds its elements.

    `name` is what `Layer.inputs` uses. `blob` are the blob's sizes, outermost first; None where
    they are not certain, so that the first layer to read it must be a Reshape. `dtype` is pnnx's
    name of the type that an operand has; a `bool` is 0.0 or 1.0 in its blob.
    """

    builder: Builder
    name: str
    shape: Shape
    blob: Shape | None
    dtype: str = "f32"
    members: int | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def axis(self, axis: int) -> int:
        """An axis counted from the front; raises NotExpressible where there is no such axis."""
        rank = max(self.rank, 1)
        if not -rank <= axis < rank:
            raise NotExpressible(f"axis {axis} does not exist in a tensor of {self.rank} axes")
        return axis % rank

    def __add__(self, other: Value | float) -> Value:
        return self.builder.binary("add", self, other)

    def __radd__(self, other: float) -> Value:
        return self.builder.binary("add", self, other)

    def __sub__(self, other: Value | float) -> Value:
        return self.builder.binary("sub", self, other)

    def __rsub__(self, other: float) -> Value:
        return self.builder.binary("rsub", self, other)

    def __mul__(self, other: Value | float) -> Value:
        return self.builder.binary("mul", self, other)

    def __rmul__(self, other: float) -> Value:
        return self.builder.binary("mul", self, other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.builder.binary("div", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return self.builder.binary("rdiv", self, other)

    def __neg__(self) -> Value:
        return self.builder.unary("neg", self)
