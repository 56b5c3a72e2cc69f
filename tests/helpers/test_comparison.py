"""The comparison of numbers fails where it must."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.comparison import assert_same_numbers

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ([1.0, 2.0], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, 2.00001]),
        ([1.0, NAN, INF], [1.0, NAN, INF]),
        ([3e38], [3.00002e38]),
    ],
)
def test_equal(expected: list[float], actual: list[float]) -> None:
    right, found = ({"out0": np.array(values, np.float32)} for values in (expected, actual))
    assert_same_numbers(right, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("expected", "actual", "says"),
    [
        ([1.0, 2.0], [1.0, 2.1], r"out0\[1\]: .*2\.1.*, expected .*2\.0.*; 1 of 2 differ"),
        ([1.0], [1.0, 1.0], "shape"),
        ([[1.0]], [1.0], "shape"),
        ([1.0], [NAN], "nan"),
        ([NAN], [1.0], "nan"),
        ([INF], [-INF], "inf"),
        ([INF], [3.4e38], "inf"),
        ([3.4e38], [-3.4e38], "3.4"),
    ],
)
def test_different(expected: object, actual: object, says: str) -> None:
    right, found = ({"out0": np.array(values, np.float32)} for values in (expected, actual))
    with pytest.raises(AssertionError, match=says):
        assert_same_numbers(right, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("names", [[], ["out1"], ["out0", "out1"]], ids=str)
def test_other_outputs(names: list[str]) -> None:
    one = np.ones(3, np.float32)
    with pytest.raises(AssertionError):
        assert_same_numbers({"out0": one}, dict.fromkeys(names, one), rtol=1.0, atol=1.0)
