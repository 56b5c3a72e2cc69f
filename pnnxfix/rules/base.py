"""What a rule is: one defect, its repair in each file, and the words that explain it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

from pnnxfix.codecs.number import Number
from pnnxfix.graph.blobs import UNKNOWN_BLOB, Blob
from pnnxfix.graph.graph import Operator
from pnnxfix.rules.cases import Case

FLOAT_TYPES = frozenset({"f32", "f16", "bf16", "f64"})
INTEGER_TYPES = frozenset({"i64", "i32", "i16", "i8", "u8"})
SECTIONS = ("What it finds", "Why it breaks", "Repair", "Limits", "Example", "Source")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a repair is not made, and what the user can do about it."""

    reason: str
    help: str


class Tensor(NamedTuple):
    """An operand as the files describe it.

    `shape` is torch's, None where no file states it (0-dim tensors are not annotated either).
    `dtype` is pnnx's (`f32`, `i64`), None where no file states it.
    """

    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    describe_blob: Callable[[], Blob] = lambda: UNKNOWN_BLOB

    @property
    def blob(self) -> Blob:
        """What is certain about it in the ncnn graph; finding out costs a walk over the graph."""
        return self.describe_blob().beside(self.shape)


class Layer(NamedTuple):
    """An ncnn layer that a lowering asks for.

    `inputs` name arguments of the operator (`self`) or earlier layers of the same lowering
    (`@0`, `@1`). The last layer makes the operator's output. `parameters` are `key=value` words
    in the order of the file. `outputs` are how many it has; `@0` is the first one, `@0.1` the second.
    """

    type: str
    inputs: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    outputs: int = 1

    def names(self, index: int) -> tuple[str, ...]:
        """What its outputs are called, where it is the layer of this index."""
        return (f"@{index}", *(f"@{index}.{at}" for at in range(1, self.outputs)))


class Lowering(NamedTuple):
    """An operator in ncnn's layers. `results` name what becomes each output: a layer or an argument.

    `constants` are the float32 numbers of MemoryData layers, by the layer's index.
    """

    layers: tuple[Layer, ...]
    results: tuple[str, ...]
    constants: Mapping[int, tuple[float, ...]] = MappingProxyType({})

    @classmethod
    def chain(cls, layers: Sequence[Layer]) -> Lowering:
        """Layers of which the last makes the only output."""
        return cls(tuple(layers), (f"@{len(layers) - 1}",))


class Parameter(NamedTuple):
    """One argument of a signature; `default` is its text, None where it must be given."""

    name: str
    type: str
    default: str | None = None


class Call(Protocol):
    """One leaked operator, as a rule sees it: its arguments by name, no file.

    Every accessor gives a Refusal where the files do not tell enough.
    """

    @property
    def operator(self) -> Operator:
        """The operator's row; for pnnx with its words after the operands."""

    def has(self, argument: str) -> bool:
        """Whether the operator was given this argument (and not None)."""

    def is_tensor(self, argument: str) -> bool | Refusal:
        """Whether an argument is a tensor rather than a number."""

    def scalar(self, argument: str) -> Number | Refusal:
        """The constant given for an argument, in its most exact spelling."""

    def tensor(self, argument: str) -> Tensor:
        """An argument that is a tensor; `return` is the operator's result."""

    def text(self, argument: str) -> str:
        """An argument as Python source: a name, or the spelling of a constant."""

    def operand(self, argument: str) -> str:
        """An argument's operand in the pnnx graph."""

    def annotation(self, argument: str) -> str | None:
        """An argument's `#operand=(shape)type` word, None where the graph has none."""


class Rule:
    """One defect. Subclasses state it in their docstring, under the headings of `SECTIONS`."""

    code: ClassVar[str]
    name: ClassVar[str]
    fixable: ClassVar[str] = "sometimes"
    cases: ClassVar[tuple[Case, ...]] = ()

    @classmethod
    def sections(cls) -> dict[str, str]:
        """The docstring's sections by heading."""
        text = inspect.cleandoc(cls.__doc__ or "")
        parts = re.split(rf"^({'|'.join(SECTIONS)}):[ \n]*", text, flags=re.MULTILINE)
        return {head: inspect.cleandoc(body) for head, body in zip(parts[1::2], parts[2::2], strict=True)}


class OperatorRule(Rule):
    """An operator that pnnx left behind, with its meaning in each of the files.

    `signature` is the ATen schema; its argument names are those that `Call` knows.
    """

    signature: ClassVar[str]
    has_python: ClassVar[bool] = True
    is_family: ClassVar[bool] = False

    @cached_property
    def operator(self) -> str:
        return self.schema.partition("(")[0]

    @property
    def schema(self) -> str:
        return self.signature

    @classmethod
    def instances(cls) -> list[OperatorRule]:
        """The rules that the class stands for, one for each operator."""
        return [cls()]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The schema's arguments, in order."""
        inside = self.schema[self.schema.index("(") + 1 : self.schema.rindex(") ->")]
        found = []
        for part in re.split(r",(?![^\[]*\])", inside):
            words, _, default = part.partition("=")
            if words.strip() not in {"*", ""}:
                kind, name = words.split()
                found.append(Parameter(name, kind, default.strip() or None))
        return tuple(found)

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """The names of the schema's arguments, in order."""
        return tuple(parameter.name for parameter in self.parameters)

    def message(self, file: str) -> str:
        """What is wrong, in one clause; `file` is python, pnnx or ncnn."""
        if file == "python":
            return f"`{self.operator}` is no Python: pnnx left the operator as it was"
        if file == "ncnn":
            return f"ncnn has no layer `{self.operator}`"
        return f"`{self.operator}` is not converted"

    def to_python(self, call: Call, style: str) -> str | Refusal:
        """The expression that computes the same in PyTorch."""
        raise NotImplementedError

    def to_pnnx(self, call: Call) -> Operator | Refusal:
        """The operator that pnnx itself writes for the same meaning."""
        raise NotImplementedError

    def to_ncnn(self, call: Call) -> Lowering | Refusal:
        """The layers that compute the same in ncnn."""
        raise NotImplementedError
