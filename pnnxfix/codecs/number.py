"""Numbers as pnnx, Python and ncnn spell them, and what a spelling may have cost.

pnnx prints constants with a format that depends on its release: `%e` (1.000000e-01), `%f`
(0.100000), `%g` (0.1) or the shortest digits that give the float32 back (0.123456791). A
spelling therefore stands for an interval, not for one number. Integers lose all but their low
32 bits. Every function here is about text and bits; none knows an operator.
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from typing import NamedTuple

FLT_MAX = 3.4028234663852886e38
_INT32 = 1 << 32
_INT64_MAX = (1 << 63) - 1

# Integers past this size are no exact float32 and, in pnnx output, may be the low 32 bits of
# something larger: 10**10 is printed as 1410065408 by every release.
LARGEST_TRUSTED_INTEGER = 1 << 24

# The relative error that a bound may have from rounding. `%e` and `%g` stay far below it.
_TOLERATED_ROUNDING = 1e-4

_INTEGER = re.compile(r"[+-]?[0-9]{1,40}\Z")
_DECIMAL = re.compile(r"([+-]?)([0-9]{0,60})\.?([0-9]{0,60})(?:[eE]([+-]?[0-9]{1,4}))?\Z")
_SPECIAL = {
    "inf": math.inf,
    "+inf": math.inf,
    "-inf": -math.inf,
    "nan": math.nan,
    "-nan": math.nan,
    # 20260409 and 20261020 put the `.0` of whole numbers behind it.
    "nan.0": math.nan,
    "-nan.0": math.nan,
    "inf.0": math.inf,
    "-inf.0": -math.inf,
}


class Number(NamedTuple):
    """One number as one file spells it.

    `slack` is how far the number that was meant may lie from `value` because of the spelling
    (0.0: it is exact). `doubt` says why the spelling may have destroyed the number, or is empty.
    """

    text: str
    value: int | float
    slack: float = 0.0
    doubt: str = ""

    @property
    def looks_rounded(self) -> bool:
        """Whether the spelling has so many digits that more of them were probably cut off."""
        digits = re.sub(r"[eE].*|[^0-9]", "", self.text).strip("0")
        return self.slack > abs(self.value) * 2.0**-24 and len(digits) >= 5

    @property
    def float32(self) -> float:
        """The float32 nearest to the value, as a Python float; out of range gives an infinity."""
        return to_float32(self.value)

    def agrees_with(self, exact: int | float) -> bool:
        """Whether pnnx may have printed `exact` as this text."""
        if isinstance(exact, float) and math.isnan(exact):
            return math.isnan(self.value)
        if isinstance(self.value, int):
            # TorchScript stores a float such as 1e10 as an integer at times, pnnx then wraps it.
            if exact == self.value:
                return True
            return float(exact).is_integer() and self.value in _wrapped(int(exact))
        if math.isinf(exact) or math.isinf(self.value):
            return exact == self.value or to_float32(exact) == self.value
        # What pnnx prints has been a float32 before, and up to two units off in the last of 24 bits:
        # 20250430 prints 123456.789 as 123456.796875, and the largest float32 as the last but two.
        return abs(exact - self.value) <= self.slack * 1.0001 + abs(exact) * 2.0**-22 + 1e-45


def to_float32(value: int | float) -> float:
    """The float32 nearest to `value`; beyond FLT_MAX it is an infinity."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", float(value)))[0])
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def read_exact(text: str) -> Number | None:
    """The number in `text` where nothing was rounded: a user's value, or TorchScript's code."""
    text = text.strip()
    if text in _SPECIAL:
        return Number(text, _SPECIAL[text])
    if _INTEGER.match(text):
        return Number(text, int(text))
    match = _DECIMAL.match(text)
    if match is None or not (match[2] or match[3]):
        return None
    return Number(text, float(text))


@lru_cache(maxsize=4096)
def read_printed(text: str) -> Number | None:
    """The number in `text` as some release of pnnx printed it, with what the print may have cost.

    None where the text is no number. Source: the spellings of all releases since 20240226.
    """
    number = read_exact(text)
    if number is None or number.text in _SPECIAL:
        return number
    value = number.value
    if isinstance(value, int):
        if abs(value) <= LARGEST_TRUSTED_INTEGER:
            return number
        return Number(
            text,
            value,
            0.0,
            f"pnnx keeps the low 32 bits of an integer, so {text} may be what is left of a larger one",
        )
    if math.isinf(value):
        return number  # a hand wrote 1e999; it stands for no interval
    slack = _slack(text, value)
    if slack > abs(value) * _TOLERATED_ROUNDING:
        return Number(
            text,
            value,
            slack,
            f"pnnx rounded this value to six decimals, so {text} may stand for another one",
        )
    return Number(text, value, slack)


def spell_for_ncnn(value: int | float) -> str:
    """The spelling of a finite float32 that every ncnn release since 20240102 reads bit for bit.

    ncnn before 20261020 reads at most 15 characters, collects digits in 32-bit integers and
    takes a token without `.` or `e` for an integer; C's `%.8e` is right in all of them.
    Raises ValueError for infinities and nan, which have no common spelling.
    """
    single = to_float32(value)
    if not math.isfinite(single):
        raise ValueError(f"ncnn has no spelling for {single}")
    return f"{single:.8e}"


def spell_for_python(text: str, value: int | float) -> str:
    """A Python expression for the number: its own text, but `float('-inf')` for what has no literal.

    The largest float32 gets all its digits: 3.40282347e38, as pnnx prints it, is a little larger as a Python
    float, and PyTorch refuses what does not fit into a float32.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{'nan' if math.isnan(value) else value}')"
    if abs(value) > FLT_MAX and abs(to_float32(value)) == FLT_MAX:
        return repr(to_float32(value))
    return text


def spell_for_pnnx(number: Number) -> str:
    """The number as a parameter of `.pnnx.param`, whose integers are 32 bits wide."""
    value = number.value
    if isinstance(value, int) and abs(value) >= _INT32 // 2:
        return f"{float(value):.8e}"
    return number.text


def _slack(text: str, value: float) -> float:
    match = _DECIMAL.match(text.strip())
    assert match is not None
    whole, fraction, exponent = match[2], match[3], match[4]
    digits = len((whole + fraction).lstrip("0"))
    if exponent is None and len(fraction) == 6:
        return 0.5e-6  # `%f`, and `%g` cannot be told from it
    if value == 0.0:
        return 0.0
    magnitude = math.floor(math.log10(abs(value)))
    if digits > 7:
        return 0.5 * 10.0 ** (magnitude - digits + 1)
    if exponent is not None and len(fraction) >= 6:
        return 0.5 * 10.0 ** (magnitude - len(fraction))  # `%e`
    return 0.5 * 10.0 ** (magnitude - 5)  # `%g` has six digits and drops trailing zeros


def _wrapped(value: int) -> tuple[int, ...]:
    """What pnnx may print for an integer: saturated at the ends of int64, else its low 32 bits."""
    low = value % _INT32
    low = low - _INT32 if low >= _INT32 // 2 else low
    if abs(value) >= _INT64_MAX:
        return (low, (1 << 31) - 1, 1 - (1 << 31), -(1 << 31))
    return (low,)
