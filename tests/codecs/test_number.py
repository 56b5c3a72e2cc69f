"""Numbers: what ncnn reads back, what pnnx may have printed, and what a spelling may have cost."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnnxfix.codecs.number import (
    FLT_MAX,
    Number,
    read_exact,
    read_printed,
    spell_for_ncnn,
    spell_for_pnnx,
    spell_for_python,
    to_float32,
)

SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)
DOUBLES = st.floats(min_value=-FLT_MAX, max_value=FLT_MAX, allow_nan=False)
WRAP = 1 << 32


def bits(value: float) -> int:
    return int(struct.unpack("<I", struct.pack("<f", value))[0])


def read_as_old_ncnn(token: str) -> float:
    """A float parameter as every ncnn before 20261020 reads it.

    At most 15 characters, a float only with `.` or `e`, digits collected in 32-bit integers, powers
    of ten multiplied up in float, the mantissa in double. Source: paramdict.cpp, `vstr_to_float`.
    """
    token = token[:15]
    if not any(mark in token for mark in ".eE"):
        return float(struct.unpack("<f", struct.pack("<i", int(token)))[0])
    at, sign = 0, 1.0
    if token[0] in "+-":
        sign, at = (-1.0 if token[0] == "-" else 1.0), 1
    whole = 0
    while at < len(token) and token[at].isdigit():
        whole, at = (whole * 10 + int(token[at])) % WRAP, at + 1
    value = float(whole)
    if at < len(token) and token[at] == ".":
        at += 1
        power, fraction = 1, 0
        while at < len(token) and token[at].isdigit():
            fraction, power, at = (fraction * 10 + int(token[at])) % WRAP, power * 10 % WRAP, at + 1
        value += fraction / power if power else math.inf
    if at < len(token) and token[at] in "eE":
        at += 1
        down = token[at] == "-"
        at += token[at] in "+-"
        exponent = 0
        while at < len(token) and token[at].isdigit():
            exponent, at = (exponent * 10 + int(token[at])) % WRAP, at + 1
        scale = 1.0
        while exponent >= 8:
            scale, exponent = scale * 1e8, exponent - 8
        scale *= 10.0**exponent
        value = value / scale if down else value * scale
    return to_float32(sign * value)


@pytest.mark.parametrize(
    ("token", "value"),
    [
        ("1", 1.401298464324817e-45),
        ("0.1234567890", 0.8755394),
        ("4294967296.0", 0.0),
        ("10000000000.0", 1410065408.0),
        ("1e39", math.inf),
        ("1.0", 1.0),
        ("-2.5e-3", -2.5e-3),
    ],
)
def test_the_emulation_has_the_known_faults_of_old_ncnn(token: str, value: float) -> None:
    assert read_as_old_ncnn(token) == pytest.approx(value, rel=1e-6)


@settings(max_examples=1000)
@given(SINGLES)
def test_every_float32_survives_ncnn(value: float) -> None:
    text = spell_for_ncnn(value)
    assert len(text) <= 15
    assert "e" in text
    assert bits(read_as_old_ncnn(text)) == bits(value)
    assert bits(float(text)) == bits(value)  # the newest reads as C's strtod does


@given(st.integers(-(10**30), 10**30) | DOUBLES)
def test_any_number_is_spelled_as_its_float32(value: float) -> None:
    assert bits(read_as_old_ncnn(spell_for_ncnn(value))) == bits(to_float32(value))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e39, -(10**39), 10**400], ids=str)
def test_what_has_no_spelling_is_an_error(value: float) -> None:
    with pytest.raises(ValueError, match="no spelling"):
        spell_for_ncnn(value)


def test_the_real_ncnn_reads_the_spelling_bit_for_bit(tmp_path: Path) -> None:
    ncnn = pytest.importorskip("ncnn", reason="the real ncnn reads the numbers")
    numpy = pytest.importorskip("numpy", reason="numpy holds what ncnn read")
    rng = random.Random(5)
    patterns = [rng.getrandbits(32) for _ in range(200)]
    values = [struct.unpack("<f", struct.pack("<I", pattern))[0] for pattern in patterns]
    values = [value for value in values if math.isfinite(value)]
    values += [0.0, -0.0, 1.0, -1.0, FLT_MAX, -FLT_MAX, 1.1754943508222875e-38, 0.1, 1e-7, 16777217.0]
    param = tmp_path / "fill.param"
    for value in values:
        # Clip with this value as both of its bounds gives it, whatever comes in.
        text = spell_for_ncnn(value)
        param.write_text(f"7767517\n2 2\nInput in0 0 1 in0\nClip c 1 1 in0 out0 0={text} 1={text}\n")
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = 1
        assert net.load_param(str(param)) == 0
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(numpy.zeros(4, dtype=numpy.float32)).clone())
        _, out = extractor.extract("out0")
        got = float(numpy.array(out)[0])
        if abs(value) < 1.2e-38:  # denormals may be flushed by the layer itself
            assert abs(got) <= abs(value)
        else:
            assert got == to_float32(value), text


# what pnnx printed


def with_point(text: str) -> str:
    return text if "e" in text else text if "." in text else text + ".0"


def percent_g(value: float) -> str:
    """20251031 and 20260409: `%g` with `.0`, or `%e` outside 1e-4 to 1e6."""
    if value != 0.0 and not 1e-4 <= abs(value) < 1e6:
        return f"{value:e}"
    return with_point(f"{value:g}")


def round_trip(value: float) -> str:
    """20261020: the digits that give the float32 back, with an exponent outside 1e-4 to 1e6."""
    single = to_float32(value)
    if single != 0.0 and not 1e-4 <= abs(single) < 1e6:
        mantissa, _, exponent = f"{single:.8e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return with_point(f"{single:.9g}")


SPELLINGS = {
    "percent-e": lambda value: f"{to_float32(value):e}",
    "percent-f": lambda value: f"{to_float32(value):f}",
    "percent-g": lambda value: percent_g(to_float32(value)),
    "round-trip": round_trip,
    "double": lambda value: repr(float(value)),
}


@pytest.mark.parametrize("release", SPELLINGS)
@settings(max_examples=400)
@given(value=SINGLES | DOUBLES)
def test_what_pnnx_prints_agrees_with_what_it_was(release: str, value: float) -> None:
    text = SPELLINGS[release](value)
    number = read_printed(text)
    assert number is not None
    assert number.agrees_with(value), (text, number)
    assert number.doubt or abs(number.value - value) <= 1.01e-4 * abs(value) + 2e-45


@pytest.mark.parametrize("release", [name for name in SPELLINGS if name != "percent-f"])
@settings(max_examples=400)
@given(value=st.floats(1e-30, 1e30), factor=st.sampled_from([1 + 2e-5, 1 - 2e-5, 1.5, -1.0, 10.0, 0.0]))
def test_another_value_does_not_agree(release: str, value: float, factor: float) -> None:
    number = read_printed(SPELLINGS[release](value))
    assert number is not None
    assert not number.agrees_with(value * factor)


@pytest.mark.parametrize(
    ("text", "value"),
    [("123456.796875", 123456.789), ("340282306073709652508363335590014353408.000000", FLT_MAX)],
)
def test_known_inaccuracies_of_20250430_agree(text: str, value: float) -> None:
    number = read_printed(text)
    assert number is not None
    assert number.agrees_with(value)
    assert not number.agrees_with(value * (1 + 1e-6))


@given(st.floats(1.0, 1e30), st.sampled_from([1 + 2e-5, 1 - 2e-5, 1.5, -1.0]))
def test_another_value_does_not_agree_with_six_decimals(value: float, factor: float) -> None:
    number = read_printed(SPELLINGS["percent-f"](value))
    assert number is not None
    assert not number.agrees_with(value * factor)


@given(st.floats(-4e-7, 4e-7, allow_subnormal=False))
def test_a_value_that_six_decimals_destroyed_is_in_doubt(value: float) -> None:
    number = read_printed(f"{value:f}")
    assert number is not None
    assert number.doubt
    assert number.agrees_with(value)


@given(st.integers(-(2**63) + 1, 2**63 - 2))
def test_a_wrapped_integer_agrees_and_is_in_doubt(value: int) -> None:
    low = (value + 2**31) % WRAP - 2**31
    number = read_printed(str(low))
    assert number is not None
    assert number.agrees_with(value)
    assert bool(number.doubt) == (abs(low) > 1 << 24)
    assert not number.agrees_with(value + 1)
    assert not number.agrees_with(value + 0.5) or abs(value) >= 2**52


@pytest.mark.parametrize(
    ("text", "value"),
    [("2147483647", 2**63 - 1), ("-2147483648", -(2**63)), ("1410065408", 10**10), ("1410065408", 1e10)],
)
def test_known_overflows_agree(text: str, value: float) -> None:
    number = read_printed(text)
    assert number is not None
    assert number.agrees_with(value)
    assert number.doubt


@pytest.mark.parametrize("text", ["inf", "-inf", "nan", "-nan", "nan.0", "inf.0", "-inf.0", "-nan.0", "+inf"])
def test_special_values(text: str) -> None:
    number = read_printed(text)
    assert number is not None
    assert not math.isfinite(number.value)
    assert number.agrees_with(number.value)
    assert not number.agrees_with(1.0)
    assert not number.agrees_with(-number.value) or math.isnan(number.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "-",
        "e5",
        "1e",
        "0x10",
        "1_000",
        "True",
        "None",
        "1.2.3",
        "--1",
        "٣",
        "1 2",
        "1,",
        "infinity",
        "9" * 200,
        "1e99999",
        "1." + "0" * 100,
        "@0",
        "1j",
        "NaN",
        "\n",
        "1\n2",
        "1.5f",
    ],
)
def test_no_number(text: str) -> None:
    assert read_exact(text) is None
    assert read_printed(text) is None


@pytest.mark.parametrize(
    "text", ["1e9999", "-1e400", "1e309", "9" * 60 + ".0e300", "1e-9999", "0e9999", "-0.0"]
)
def test_extremes_are_read_without_an_error(text: str) -> None:
    for number in (read_exact(text), read_printed(text)):
        assert number is not None
        assert number.value == float(text)
        assert number.float32 == to_float32(float(text))
        assert number.agrees_with(float(text))
        assert not number.agrees_with(1.5)


@given(st.text("0123456789+-.eEinfa ", max_size=70), st.integers(-(10**50), 10**50) | st.floats())
def test_no_text_and_no_comparison_raises(text: str, other: float) -> None:
    for number in (read_exact(text), read_printed(text)):
        if number is not None:
            number.agrees_with(other)
            assert isinstance(number.float32, float)
            assert spell_for_pnnx(number)
            assert isinstance(eval(spell_for_python("1.0", number.value), {"float": float}), float)


@given(st.integers() | st.floats())
def test_float32_is_the_nearest_one(value: float) -> None:
    single = to_float32(value)
    if math.isnan(value):
        assert math.isnan(single)
    elif abs(value) < FLT_MAX:
        assert single == struct.unpack("<f", struct.pack("<f", value))[0]
    elif abs(value) > FLT_MAX * 1.01:
        assert single == math.copysign(math.inf, 1 if value > 0 else -1)


@given(st.integers(-(10**39), 10**39) | DOUBLES)
def test_a_parameter_of_pnnx_fits_its_types(value: float) -> None:
    text = spell_for_pnnx(Number(repr(value), value))
    assert "." in text or "e" in text or abs(int(text)) < 2**31
    assert float(text) == pytest.approx(float(value), rel=1e-8, abs=0.0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_python_has_no_literal_for_special_values(value: float) -> None:
    got = eval(spell_for_python("inf", value), {"float": float})
    assert got == value or (math.isnan(got) and math.isnan(value))


def test_the_largest_float32_fits_into_one_in_python() -> None:
    # As 20261020 prints it, PyTorch refuses it: "cannot be converted to type float without overflow".
    assert float("3.40282347e38") > FLT_MAX
    for text in ("3.40282347e38", "-3.40282347e38", "3.4028235e38"):
        spelling = spell_for_python(text, float(text))
        assert float(spelling) == to_float32(float(text))
        assert abs(float(spelling)) == FLT_MAX
    assert spell_for_python("3.402823e+38", 3.402823e38) == "3.402823e+38"
    assert spell_for_python("3.5e38", 3.5e38) == "3.5e38"
