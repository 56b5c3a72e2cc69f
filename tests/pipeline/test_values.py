"""Which spelling of a constant is believed, and when two of them stop a repair."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pnnxfix.codecs.number import Number, read_exact, to_float32
from pnnxfix.pipeline.values import Conflict, Spelling, Traced, read_given, read_spelling, settle
from pnnxfix.rules.base import Refusal


def printed(*texts: str) -> list[Spelling]:
    found = [read_spelling(text, f"file:{at}") for at, text in enumerate(texts)]
    return [spelling for spelling in found if spelling is not None]


def exact(text: str) -> Number:
    number = read_exact(text)
    assert number is not None
    return number


def traced(value: str | None, *possible: str) -> Traced:
    return Traced(
        "model.pt", exact(value) if value else None, tuple(map(exact, possible)) if possible else None
    )


@pytest.mark.parametrize(
    ("texts", "trace", "value"),
    [
        (["0.5"], None, 0.5),
        (["5.000000e-01", "0.5", "0.500000"], None, 0.5),
        (["0.123457", "1.234568e-01", "0.123456791"], None, 0.123456791),
        (["0"], None, 0),
        (["0", "0.000000e+00"], None, 0),
        (["-inf"], None, -math.inf),
        (["0.000000"], traced("1e-07"), 1e-7),
        (["0.000000"], traced(None, "1e-07"), 1e-7),
        (["1410065408"], traced("10000000000"), 10**10),
        (["1410065408"], traced("1e10"), 1e10),
        (["1.000000e-01"], traced("0.10000000000000001"), 0.1),
        (["0.5"], traced(None, "0.5", "3"), 0.5),
        ([], traced("2"), 2),
        (["0.000000", "1.000000e-07"], None, 1e-7),
    ],
)
def test_settled(texts: list[str], trace: Traced | None, value: float) -> None:
    number = settle(None, printed(*texts), trace, lambda: "v_1")
    assert isinstance(number, Number)
    assert number.float32 == to_float32(value)


@pytest.mark.parametrize(
    ("texts", "trace", "reason"),
    [
        ([], None, "none of the files"),
        (["0.000000"], None, "six decimals"),
        (["1410065408"], None, "low 32 bits"),
        (["0.000000"], traced(None, "1e-07", "2e-07"), "six decimals"),
        (["1410065408"], traced(None, "10000000000", "1410065408"), "low 32 bits"),
    ],
)
def test_refused(texts: list[str], trace: Traced | None, reason: str) -> None:
    refusal = settle(None, printed(*texts), trace, lambda: "v_1")
    assert isinstance(refusal, Refusal)
    assert reason in refusal.reason
    assert "--value v_1=" in refusal.help


@pytest.mark.parametrize(
    ("texts", "trace"),
    [
        (["0.5", "0.6"], None),
        (["5.000000e-01", "0.500001"], None),
        (["1", "2"], None),
        (["inf", "-inf"], None),
        (["nan", "0.0"], None),
        (["inf", "3.402823e+38"], None),
        (["0.5"], traced("0.6")),
        (["0.5"], traced(None, "0.6", "0.7")),
        (["0.000000"], traced("0.001")),
        (["1410065408"], traced("10000000001")),
    ],
)
def test_conflict(texts: list[str], trace: Traced | None) -> None:
    conflict = settle(None, printed(*texts), trace, lambda: "v_1")
    assert isinstance(conflict, Conflict)
    assert "says" in conflict.reason


@pytest.mark.parametrize("texts", [[], ["0.5"], ["0.5", "0.6"], ["0.000000"]])
def test_the_user_comes_first(texts: list[str]) -> None:
    number = settle(read_given("0.25"), printed(*texts), traced("3"), lambda: "v_1")
    assert isinstance(number, Number)
    assert number.value == 0.25


def test_a_right_spelling_is_kept() -> None:
    number = settle(None, printed("1.000000e-01"), traced("0.1"), lambda: "v_1")
    assert isinstance(number, Number)
    assert number.text == "1.000000e-01"


SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
FORMATS = ("{:e}", "{:f}", "{:.9g}")


@given(SINGLES, st.permutations(FORMATS))
def test_spellings_of_one_value_never_conflict(value: float, formats: list[str]) -> None:
    texts = [form.format(value) for form in formats]
    texts = [text if {".", "e"} & set(text) else text + ".0" for text in texts]
    outcome = settle(None, printed(*texts), None, lambda: "v_1")
    assert not isinstance(outcome, Conflict), texts
    if isinstance(outcome, Number) and abs(value) > 1e-37:
        assert abs(outcome.value - value) <= 1e-4 * abs(value)
    with_trace = settle(None, printed(*texts), traced(repr(value)), lambda: "v_1")
    assert isinstance(with_trace, Number), texts
    assert struct.pack("<f", with_trace.float32) == struct.pack("<f", value) or value == 0.0


@given(SINGLES, SINGLES)
def test_what_is_settled_is_what_torchscript_says_or_a_conflict(value: float, other: float) -> None:
    assume(abs(value - other) > 1e-3 * abs(value) + 1e-6)
    outcome = settle(None, printed(f"{value:e}"), traced(repr(other)), lambda: "v_1")
    assert isinstance(outcome, Conflict)


@pytest.mark.parametrize("text", ["", "abc", "True", "[1]", "9" * 200])
def test_no_number_is_no_spelling(text: str) -> None:
    assert read_given(text) is None
    assert read_spelling(text, "file:1") is None
    assert read_spelling(None, "file:1") is None
