"""Reads both dialects of `.param` on its own, checks their invariants and compares graphs.

Written apart from the product's reader, so that the two do not share a mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """One operator. `words` are what follows the operands."""

    type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    words: tuple[str, ...]


def parse_row(line: str) -> Row:
    kind, name, read, written, *words = line.split()
    first, last = int(read), int(read) + int(written)
    return Row(kind, name, tuple(words[:first]), tuple(words[first:last]), tuple(words[last:]))


def parse_rows(text: str) -> list[Row]:
    return [parse_row(line) for line in text.splitlines()[2:]]


def assert_is_sound(text: str, before: str, *, one_reader: bool) -> None:
    """The counts are right, producers come first, no operand has two, and in ncnn none has two readers.

    Where line 2 counted operands too many, or an operand had no reader, before the repair, it still may.
    """
    rows = parse_rows(text)
    made: set[str] = set()
    read: Counter[str] = Counter()
    for row in rows:
        assert made.issuperset(row.inputs), f"{row.name} reads what nothing before it makes"
        assert made.isdisjoint(row.outputs), f"{row.name} makes what is there already"
        assert len(set(row.outputs)) == len(row.outputs), f"{row.name} makes an operand twice"
        made.update(row.outputs)
        read.update(row.inputs)
    spare = int(before.splitlines()[1].split()[1]) - sum(len(row.outputs) for row in parse_rows(before))
    assert text.splitlines()[:2] == ["7767517", f"{len(rows)} {len(made) + spare}"], "the counts are wrong"
    if one_reader:
        assert max(read.values(), default=0) <= 1, "a blob has two readers"
        assert find_unread(text) <= find_unread(before), "a blob has lost its reader"


def find_unread(text: str) -> set[str]:
    """The blobs that no layer reads, outputs of the network apart."""
    rows = parse_rows(text)
    made = {name for row in rows for name in row.outputs if not re.fullmatch(r"out\d+", name)}
    return made.difference(name for row in rows for name in row.inputs)


DEFAULTS = {
    ("Clip", "0"): -np.finfo(np.float32).max,
    ("Clip", "1"): np.finfo(np.float32).max,
}
"""What ncnn takes where a parameter is absent (clip.cpp)."""

WITH_WEIGHTS = re.compile(r"Convolution|Deconvolution|InnerProduct|MemoryData|BatchNorm")

# Releases before 20261020 print the largest float32 with seven digits, which is another number.
_ROUNDED_FLT_MAX = np.float32(3.402823e38)


def _read_value(text: str) -> object:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    value = np.float32(float(text))
    if abs(value) == _ROUNDED_FLT_MAX:
        value = np.copysign(np.finfo(np.float32).max, value)
    return float(value)


def _ncnn_parameters(row: Row) -> tuple[tuple[str, object], ...]:
    found = {}
    for word in row.words:
        key, value = word.split("=", 1)
        if key.startswith("-233"):
            found[key] = tuple(_read_value(item) for item in value.split(","))
        elif value[:1] == '"':
            found[key] = (value,)
        else:
            found[key] = (_read_value(value),)
    return tuple((k, v) for k, v in sorted(found.items()) if DEFAULTS.get((row.type, k)) != v[0])


class Canon:
    """Gives equal parts of graphs equal numbers: one instance for the graphs to compare."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def ncnn(self, text: str) -> Counter[int]:
        """The layers of an ncnn graph, each with its parameters and all that it is computed from.

        A Split is passed through, since the order of its outputs means nothing; weights are told
        apart by their order in the file, which is that of the .bin.
        """
        operands: dict[str, Any] = {}
        layers: Counter[int] = Counter()
        weights = 0
        for row in parse_rows(text):
            inputs = tuple(operands[name] for name in row.inputs)
            if row.type == "Split":
                layers[self._number("Split", len(row.outputs), inputs)] += 1
                operands.update(dict.fromkeys(row.outputs, inputs[0]))
                continue
            order: object = row.outputs if row.type == "Input" else None
            if WITH_WEIGHTS.match(row.type):
                order, weights = weights, weights + 1
            number = self._number(row.type, _ncnn_parameters(row), order, inputs)
            layers[number] += 1
            operands.update((name, (number, at)) for at, name in enumerate(row.outputs))
        for name in (name for name in operands if re.fullmatch(r"out\d+", name)):
            layers[self._number("output", name, operands[name])] += 1
        return layers

    def pnnx(self, text: str) -> Counter[int]:
        """The operators of a pnnx graph in the same way; Expressions are part of what reads them."""
        operands: dict[str, Any] = {}
        operators: Counter[int] = Counter()
        for at, row in enumerate(parse_rows(text)):
            inputs = tuple(operands[name] for name in row.inputs)
            parameters = dict(word.split("=", 1) for word in row.words)
            if row.type == "pnnx.Expression":
                operands[row.outputs[0]] = self._expression(parameters["expr"], inputs)
                continue
            words = sorted(self._word(key, value, row, operands) for key, value in parameters.items())
            is_input = row.type in {"pnnx.Input", "pnnx.Attribute"}
            number = self._number(row.type, tuple(words), inputs, at if is_input else None)
            operators[number] += 1
            operands.update((name, (number, place)) for place, name in enumerate(row.outputs))
        return operators

    def _word(self, key: str, value: str, row: Row, operands: dict[str, Any]) -> tuple[str, str]:
        if key.startswith("#"):
            places = [place for place, name in enumerate((*row.inputs, *row.outputs)) if name == key[1:]]
            return f"#{places}", value
        if key.startswith("$"):
            return key, str(self._number(operands[value]))
        if re.fullmatch(r"-?\d+\.\d*(e[+-]?\d+)?|-?\d+e[+-]?\d+", value):
            return key, str(_read_value(value))
        return key, value

    def _expression(self, text: str, inputs: tuple[Any, ...]) -> Any:
        """A tree of words: what pnnx has put into one Expression equals a chain of several."""
        words = iter(re.findall(r"[\w.@+:-]+|[(),\[\]]", text))
        return next(self._read_tree(words, inputs))

    def _read_tree(self, words: Iterator[str], inputs: tuple[Any, ...]) -> Iterator[Any]:
        found: list[Any] = []
        for word in words:
            if word in "([":
                head = found.pop() if found and word == "(" else "list"
                found.append(self._number("expression", head, *self._read_tree(words, inputs)))
            elif word in ")]":
                break
            elif word.startswith("@"):
                found.append(inputs[int(word[1:])])
            elif word != ",":
                found.append(word)
        return iter(found)

    def _number(self, *parts: Any) -> int:
        return self._numbers.setdefault(parts, len(self._numbers))

    def show(self, numbers: Counter[int]) -> list[str]:
        """The parts behind the numbers, for a message."""
        parts = {number: str(part) for part, number in self._numbers.items()}
        return [f"{number}: {parts[number]}" for number in sorted(numbers.elements())]


def assert_same_graph(actual: str, expected: str, dialect: str) -> None:
    """Both texts are one graph, up to names, the spelling of numbers and parameters at their default."""
    canon = Canon()
    found, wanted = (getattr(canon, dialect)(text) for text in (actual, expected))
    assert found == wanted, f"has {canon.show(found - wanted)}, expected {canon.show(wanted - found)}"
