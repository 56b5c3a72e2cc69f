"""What is known of a value while TorchScript code is followed: a literal, a module, a list, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

# The text of a list is made anew for each use, and a list may hold another one many times over.
MAX_TEXT = 1_000_000
# `a = -a` and `a = float(a)` make the text of a number grow with each line.
MAX_NUMBER_TEXT = 1000


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant, and how it was printed; lists and tuples both are tuples."""

    text: str
    value: int | float | str | tuple[object, ...] | None


@dataclass(frozen=True, slots=True)
class Module:
    """An object whose class is in the archive."""

    class_name: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list or tuple; `weight` is the length of its text if all in it were literals."""

    items: tuple[Value, ...]
    weight: int


class Unknown:
    """A tensor, or what only running the model could tell."""


UNKNOWN = Unknown()
Value: TypeAlias = "Literal | Module | Items | Unknown"


def gather(items: Sequence[Value]) -> Items | Unknown:
    """A list of these values; UNKNOWN if its text would be longer than MAX_TEXT."""
    weight = sum(_weigh(item) for item in items)
    return Items(tuple(items), weight) if weight <= MAX_TEXT else UNKNOWN


def flatten(value: Value) -> Literal | None:
    """A literal, or a list of nothing but literals, as one literal; None for all else."""
    if isinstance(value, Literal):
        return value
    if not isinstance(value, Items):
        return None
    literals: list[Literal] = []
    for item in value.items:
        literal = flatten(item)
        if literal is None:
            return None
        literals.append(literal)
    text = ", ".join(item.text for item in literals)
    return Literal(f"[{text}]", tuple(item.value for item in literals))


def negate(value: Value) -> Value:
    match value:
        case Literal(text=text, value=(int() | float()) as number) if len(text) < MAX_NUMBER_TEXT:
            return Literal(f"-{text}", -number)
    return UNKNOWN


def convert(kind: str, args: Sequence[Value]) -> Value:
    """What `int(x)` or `float(x)` gives; UNKNOWN where TorchScript would fail."""
    match args:
        case [Literal(text=text, value=(int() | float() | str()) as value)] if len(text) < MAX_NUMBER_TEXT:
            try:
                return Literal(f"{kind}({text})", float(value) if kind == "float" else int(value))
            except (ValueError, OverflowError):
                return UNKNOWN
    return UNKNOWN


def _weigh(value: Value) -> int:
    match value:
        case Literal(text=text):
            return len(text) + 2
        case Items(weight=weight):
            return weight + 2
    return 1
