"""What counts as agreement of two outputs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pnnxfix.verify.compare import measure

A = np.array([[1.0, -2.0, 3.0, 0.0]], np.float32)


def test_equal_arrays_need_no_tolerance() -> None:
    one = measure(A, A.copy(), "out0", "x", 1e-9)
    assert (one.passed, one.needed, one.max_abs, one.relative_l2) == (True, 0.0, 0.0, 0.0)
    assert one.cosine == pytest.approx(1.0)


def test_the_needed_tolerance_is_the_smallest_that_passes() -> None:
    other = A + np.array([[0.0, 0.01, 0.0, 0.0]], np.float32)
    needed = measure(A, other, "out0", "x", 1.0).needed
    assert measure(A, other, "out0", "x", needed).passed
    assert not measure(A, other, "out0", "x", needed * 0.999).passed


def test_the_worst_element_is_told_with_both_values() -> None:
    other = A + np.array([[0.0, 0.0, 0.5, 0.0]], np.float32)
    assert measure(A, other, "out0", "x", 0.1).worst == ((0, 2), 3.0, 3.5)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_finite_on_one_side_only_fails(value: float) -> None:
    other = A.copy()
    other[0, 1] = value
    for a, b in ((A, other), (other, A)):
        one = measure(a, b, "out0", "x", 1e9)
        assert not one.passed
        assert one.needed == math.inf


def test_infinities_of_either_sign_are_two_things() -> None:
    assert not measure(np.array([math.inf]), np.array([-math.inf]), "out0", "x", 1e9).passed
    assert measure(np.array([math.inf, math.nan]), np.array([math.inf, math.nan]), "out0", "x", 1e-9).passed


def test_outside_the_domain_the_reference_need_not_be_followed() -> None:
    other = np.array([1.0, 5.0])
    one = measure(np.array([1.0, math.nan]), other, "out0", "zeros", 1e-6, strict=False)
    assert (one.passed, one.hidden) == (True, 1)
    assert not measure(
        np.array([1.0, 2.0]), np.array([1.0, math.nan]), "o", "zeros", 1.0, strict=False
    ).passed


@pytest.mark.parametrize(("a", "b"), [(None, A), (A, None)])
def test_an_output_that_one_side_has_not_fails(a: np.ndarray | None, b: np.ndarray | None) -> None:
    assert not measure(a, b, "out0", "x", 1e9).passed


def test_another_shape_fails_also_with_the_same_numbers() -> None:
    one = measure(A, A.reshape(4), "out0", "x", 1e9)
    assert (one.passed, one.shapes, one.batch_axis_only) == (False, ((1, 4), (4,)), True)
    assert not measure(A, np.ones((1, 5)), "out0", "x", 1e9).batch_axis_only


def test_rounding_of_almost_nothing_is_measured_against_usual_values() -> None:
    tiny = np.array([1e-8, -1e-8])
    assert not measure(tiny, tiny * 0, "out0", "zeros", 1e-4).passed
    assert measure(tiny, tiny * 0, "out0", "zeros", 1e-4, typical=1.0).passed


def test_arrays_without_elements_agree() -> None:
    assert measure(np.zeros((0, 3)), np.zeros((0, 3)), "out0", "x", 1e-9).passed
