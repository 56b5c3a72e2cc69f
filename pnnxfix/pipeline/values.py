"""Where a constant's value comes from, and which of its spellings is believed.

A constant can stand in `.pnnx.param`, `_pnnx.py`, the console log and the TorchScript file, and
the user can give it. The user comes first, then TorchScript, which has not rounded, then the
spelling that rounded least. Two that cannot both be right stop the repair of the conversion.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from pnnxfix.codecs.number import Number, read_exact, read_printed
from pnnxfix.rules.base import Refusal


class Spelling(NamedTuple):
    """One spelling of a constant and where it stands (`model.pnnx.param:3`)."""

    number: Number
    place: str


class Conflict(NamedTuple):
    """Two spellings of one constant that cannot both be right."""

    first: Spelling
    second: Spelling

    @property
    def reason(self) -> str:
        one, two = self.first, self.second
        return f"{one.place} says {one.number.text} and {two.place} says {two.number.text}"


class Traced(NamedTuple):
    """What the TorchScript file says of one operator's argument.

    `value` is the argument of the very call, where the order of calls is certain. `possible` are
    all constants that calls of this operator were given, None where they are not all known.
    """

    place: str
    value: Number | None
    possible: tuple[Number, ...] | None


def settle(
    given: Spelling | None, printed: Sequence[Spelling], traced: Traced | None, name: Callable[[], str]
) -> Number | Refusal | Conflict:
    """The value of a constant. `name` gives what `--value` calls it, for the words of a refusal.

    The result keeps the text of the least rounded printed spelling where that reads the same
    float32, so that a repair does not respell what is right.
    """
    if given is not None:
        return given.number
    for one, two in combinations(printed, 2):
        if not _compatible(one.number, two.number):
            return Conflict(one, two)
    exact = _exact(printed, traced)
    if isinstance(exact, Conflict):
        return exact
    best = min(
        printed, key=lambda spelling: (bool(spelling.number.doubt), spelling.number.slack), default=None
    )
    if exact is not None:
        for spelling in printed:
            if not spelling.number.doubt and _same_float32(spelling.number, exact):
                return spelling.number._replace(slack=0.0)
        return exact
    if best is None:
        return Refusal(
            "its value is in none of the files",
            f"give it with `--value {name()}=NUMBER`, or keep model.pnnx.param, model_pnnx.py, the console "
            "log or model.pt beside the model",
        )
    if best.number.doubt:
        return Refusal(
            f"{best.number.doubt} ({best.place})",
            f"keep the TorchScript file (model.pt) beside the output, or give `--value {name()}=NUMBER`",
        )
    return best.number


def read_spelling(text: str | None, place: str) -> Spelling | None:
    """What pnnx printed at a place, None where it is no number."""
    number = read_printed(text) if text is not None else None
    return None if number is None else Spelling(number, place)


def read_given(text: str) -> Spelling | None:
    """What the user gave with `--value`, None where it is no number."""
    number = read_exact(text)
    return None if number is None else Spelling(number, "--value")


def _exact(printed: Sequence[Spelling], traced: Traced | None) -> Number | Conflict | None:
    if traced is None:
        return None
    if traced.value is not None:
        for spelling in printed:
            if not spelling.number.agrees_with(traced.value.value):
                return Conflict(spelling, Spelling(traced.value, traced.place))
        return _as_python(traced.value)
    if traced.possible is None:
        return None
    fitting = [n for n in traced.possible if all(s.number.agrees_with(n.value) for s in printed)]
    if printed and traced.possible and not fitting:
        return Conflict(printed[0], Spelling(traced.possible[0], traced.place))
    different = {str(number.value) for number in fitting}
    return _as_python(fitting[0]) if len(different) == 1 else None


def _as_python(number: Number) -> Number:
    """TorchScript prints `0.` where Python's own spelling is `0.0`."""
    if (
        isinstance(number.value, int)
        or number.value != number.value
        or number.value in (float("inf"), float("-inf"))
    ):
        return number
    return Number(repr(number.value), number.value)


def _compatible(one: Number, two: Number) -> bool:
    if isinstance(one.value, int) or isinstance(two.value, int):
        return one.agrees_with(two.value) or two.agrees_with(one.value)
    if one.value != one.value or two.value != two.value:
        return one.value != one.value and two.value != two.value
    loose = one._replace(slack=one.slack + two.slack)
    return loose.agrees_with(two.value)


def _same_float32(one: Number, two: Number) -> bool:
    """Bit for bit: the two zeros differ."""
    first, second = one.float32, two.float32
    return first == second and math.copysign(1, first) == math.copysign(1, second)
