"""Leaked calls that no rule of an operator repairs, translated from the operator's schema."""

from __future__ import annotations

from collections.abc import Callable

from pnnxfix.codecs.number import Number, read_printed
from pnnxfix.codecs.python_source import LeakedCall, PythonFile, find_values
from pnnxfix.rules.base import Refusal
from pnnxfix.rules.schema_call import SchemaArguments, Translation, is_known, translate
from pnnxfix.rules.schema_values import Value, read_value

_FLOAT32_STEP = 2.0**-24

Settle = Callable[[SchemaArguments, int], Number | Refusal]


class OperatorCalls:
    """Translates the leaked calls of one file. Cost: the calls, and one pass over forward."""

    def __init__(self, python: PythonFile) -> None:
        self._definitions = python.definitions
        self._values: dict[str, Value] = {}
        self._aliases: dict[str, list[int]] | None = None

    def translate(self, call: LeakedCall, settle: Settle) -> Translation | Refusal:
        """The Python of a call. `settle` gives the number that a rounded argument stands for.

        It is given what names the arguments in the place of a rule, and the argument's position.
        """
        values = []
        rule = SchemaArguments(call.operator, len(call.arguments))
        for at, text in enumerate(call.arguments):
            value = self._read(text)
            doubt = _find_doubt(value)
            if doubt and value.items:
                return Refusal(f"{doubt} (in {value.text[:40]})", "edit this statement by hand")
            if doubt or _is_rounded(value):
                number = settle(rule, at)
                if isinstance(number, Number):
                    value = read_value(number.text, self._find)
                elif doubt:
                    return number
            values.append(value)
        return translate(call.operator, values, len(call.targets))

    def is_known(self, operator: str) -> bool:
        """Whether PyTorch has an operator."""
        return is_known(operator)

    def find_aliases(self, name: str) -> list[int]:
        """The lines of the statements `v_5 = v_4` of a value: how pnnx unpacks a list of one element."""
        if self._aliases is None:
            self._aliases = {}
            for defined in self._definitions.values():
                self._aliases.setdefault(defined.text, []).append(defined.line)
        return self._aliases.get(name, [])

    def find_dead(self, calls: list[tuple[LeakedCall, str]], reads: dict[str, int]) -> list[int]:
        """The lines of constants that only these calls read and their new expressions do not.

        `reads` is how often forward names each value, its assignments included.
        """
        left = dict(reads)
        lost: list[str] = []
        for call, expression in calls:
            for name in find_values(expression):
                left[name] = left.get(name, 0) + 1
            for text in call.arguments:
                for name in find_values(text):
                    left[name] -= 1
                    lost.append(name)
        dead: dict[str, int] = {}
        while lost:
            name = lost.pop()
            defined = self._definitions.get(name)
            if defined is None or name in dead or left[name] != 1 or not self._read(name).is_constant:
                continue
            dead[name] = defined.line
            for inner in find_values(defined.text):
                left[inner] -= 1
                lost.append(inner)
        return sorted(dead.values())

    def _read(self, text: str) -> Value:
        if text not in self._values:
            self._values[text] = read_value(text, self._find)
        return self._values[text]

    def _find(self, name: str) -> str | None:
        defined = self._definitions.get(name)
        return None if defined is None else defined.text


def _find_doubt(value: Value) -> str:
    """Why a spelling in a value may have destroyed its number; empty where none has."""
    numbers = (read_printed(literal.text) for literal in value.literals)
    return next((number.doubt for number in numbers if number is not None and number.doubt), "")


def _is_rounded(value: Value) -> bool:
    """Whether a number was printed with fewer digits than a float32 has."""
    number = read_printed(value.text) if value.kind == "float" else None
    return number is not None and number.slack > abs(number.value) * _FLOAT32_STEP
