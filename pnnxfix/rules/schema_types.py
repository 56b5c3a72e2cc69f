"""Operators' schemas: overloads with the arguments that they take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from pnnxfix.codecs.python_source import split_arguments
from pnnxfix.data.schemas import find_operator


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of a schema. `default` is its text in the schema, None where it must be given."""

    name: str
    type: str
    default: str | None
    keyword_only: bool


@dataclass(frozen=True, slots=True)
class Overload:
    """One form of an operator.

    `returns` is how many values it gives, `gives_list` whether its one value is a list. `public` is
    its Python name: `torch.add`, `.view_as()` for a method, `.T` for a property, a call with the
    schema's names for a wrapper, or empty. `flag` says why two runs differ: `random`,
    `uninitialised`, or empty if they do not.
    """

    operator: str
    name: str
    parameters: tuple[Parameter, ...]
    returns: int
    gives_list: bool = False
    public: str = ""
    flag: str = ""

    @property
    def positional(self) -> tuple[Parameter, ...]:
        return tuple(p for p in self.parameters if not p.keyword_only)

    @property
    def changes_in_place(self) -> bool:
        return self.operator.endswith("_") and not self.operator.endswith("__")


@cache
def find_overloads(operator: str) -> tuple[Overload, ...]:
    """The overloads of `aten::add`, in PyTorch's order; empty where it is not known."""
    return tuple(parse_overload(operator, entry) for entry in find_operator(operator))


def parse_overload(operator: str, entry: str) -> Overload:
    """Read one entry of the schema file."""
    entry, _, flag = entry.partition(" # ")
    schema, _, public = entry.partition(" => ")
    head, _, result = schema.rpartition(" -> ")
    name, _, inside = head.partition("(")
    words = split_arguments(inside)
    assert words is not None, entry
    parameters: list[Parameter] = []
    keyword_only = False
    for word in words:
        if word == "*":
            keyword_only = True
            continue
        declared, equals, default = word.partition("=")
        kind, _, argument = declared.rpartition(" ")
        parameters.append(Parameter(argument, kind, default if equals else None, keyword_only))
    if result.startswith("("):
        result = result[1:-1]
        returns = result.count(",") + 1 if result else 0
    else:
        returns = 1
    gives_list = returns == 1 and result.endswith("]")
    return Overload(operator, name.partition(".")[2], tuple(parameters), returns, gives_list, public, flag)
