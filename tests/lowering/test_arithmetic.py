"""Arithmetic, each operator run in ncnn against numpy in double precision, to the ends of its domain."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, name_value, run_rule

X: Any = "the tensor"
WIDE = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1e-30, -1e-30, 1e-6, -1e-6, 2.5, -2.5, 17.25, -80.0, 80.0]
HUGE = [*WIDE, 1e19, -1e19, 1e30, -1e30, 8e37, -8e37]

erf = np.vectorize(math.erf)
Case = tuple[str, tuple[Any, ...], list[float], Callable[..., Any]]


ONE: list[Case] = [
    ("aten::frac", (X,), WIDE, lambda x: x - np.trunc(x)),
    ("aten::square", (X,), WIDE, np.square),
    ("aten::exp2", (X,), [*WIDE[:-2], 127.9, -126.0, 60.5, -200.0], np.exp2),
    ("aten::log2", (X,), [1.0, 2.0, 1e-30, 3e38, 0.1, 1.0001], np.log2),
    ("aten::log1p", (X,), [0.0, 1e-6, -0.5, 3e38, 12.0], np.log1p),
    ("aten::expm1", (X,), [*WIDE, 88.0, -1000.0], np.expm1),
    ("aten::sinh", (X,), [*WIDE, 88.9, -88.9], np.sinh),
    ("aten::cosh", (X,), [*WIDE, 88.9, -88.9], np.cosh),
    ("aten::asinh", (X,), HUGE, np.arcsinh),
    ("aten::acosh", (X,), [1.0, 1.0000002, 1.0001, 1.5, 10.0, 1e19, 8e37], np.arccosh),
    ("aten::atanh", (X,), [0.0, 0.5, -0.5, 0.999, -0.999, 1e-6], np.arctanh),
    ("aten::rad2deg", (X,), WIDE, np.rad2deg),
    ("aten::deg2rad", (X,), WIDE, np.deg2rad),
    ("aten::sgn", (X,), [*HUGE, math.inf, -math.inf], np.sign),
    ("aten::signbit", (X,), [1.0, -1.0, 0.0, math.inf, -math.inf, -1e-30], np.signbit),
    ("aten::angle", (X,), [1.0, -1.0, 0.0, math.inf, -math.inf], lambda x: np.where(x < 0, np.pi, 0)),
    ("aten::copysign", (X, -1.0), [*HUGE, math.inf], lambda x: -np.abs(x)),
    ("aten::copysign", (X, 2.0), [*HUGE, math.inf], np.abs),
    ("aten::erf", (X,), HUGE, erf),
    ("aten::erfc", (X,), HUGE, lambda x: 1 - erf(x)),
    ("aten::special_ndtr", (X,), HUGE, lambda x: (1 + erf(x / math.sqrt(2))) / 2),
    ("aten::special_entr", (X,), [0.0, 0.5, 1.0, 1e-30, 12.0, -1.0], lambda x: np.where(
        x < 0, -np.inf, -x * np.log(np.maximum(x, 1e-300)))),
    ("aten::sinc", (X,), [0.0, -0.0, 1e-30, 0.25, -1.5, 7.125, 100.5], np.sinc),
    ("aten::logit", (X, None), [0.5, 1e-6, 0.999], lambda x: np.log(x / (1 - x))),
    ("aten::logit", (X, 0.1), [0.5, 0.0, 1.0, 0.05], lambda x: np.log(
        np.clip(x, 0.1, 0.9) / (1 - np.clip(x, 0.1, 0.9)))),
    ("aten::xlogy", (X, 2.0), WIDE, lambda x: x * math.log(2)),
    ("aten::xlogy", (2.0, X), [1.0, 1e-30, 3e38], lambda x: 2 * np.log(x)),
    ("aten::rsub", (X, 2, 3), WIDE, lambda x: 2 - 3 * x),
    ("aten::float_power", (X, 2), [*WIDE, 1e18], np.square),
    ("aten::float_power", (X, 3), WIDE, lambda x: x**3),
    ("aten::float_power", (X, -2), [0.5, -3.0, 1e10], lambda x: x**-2.0),
    ("aten::float_power", (X, 0), [1.0, -3.0, 0.0, 100.0], np.ones_like),
    ("aten::float_power", (X, 0.5), [0.0, 4.0, 1e-30, 3e38], np.sqrt),
    ("aten::float_power", (X, 0.1), [0.0, 4.0, 1e-30, 3e38], lambda x: x**0.1),
    ("aten::float_power", (2.0, X), [0.0, 127.5, -100.0, 3.0], np.exp2),
    ("aten::remainder", (X, 1.5), [*WIDE, 3.0, 4.5, 1e3, 6000.0], lambda x: np.mod(x, 1.5)),
    ("aten::remainder", (X, -1.5), [*WIDE, 3.0, 4.5, 1e3], lambda x: np.mod(x, -1.5)),
    ("aten::fmod", (X, -1.5), [*WIDE, 3.0, -4.5], lambda x: np.fmod(x, 1.5)),
    ("aten::floor_divide", (X, 1.5), [*WIDE, 3.0, -4.5], lambda x: np.floor_divide(x, 1.5)),
    ("aten::nan_to_num", (X, None, None, None), [math.nan, math.inf, -math.inf, 1.0, -3e38], lambda x: (
        np.nan_to_num(x.astype(np.float32)))),
    ("aten::nan_to_num", (X, 1.0, 5.0, -5.0), [math.nan, math.inf, -math.inf, 1.0, 7.0], lambda x: (
        np.nan_to_num(x, nan=1, posinf=5, neginf=-5))),
    ("torch.positive", (X,), WIDE, lambda x: x),
]  # fmt: skip


def fill(numbers: list[float], *shape: int) -> Array:
    """The numbers over and over, so that each meets every lane of ncnn's vectors."""
    return np.resize(np.array(numbers, np.float32), shape)


def check(found: Array, wanted: Array, where: object = "") -> None:
    assert found.shape == wanted.shape
    with np.errstate(over="ignore"):
        wanted = wanted.astype(np.float32)
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-6, err_msg=str(where))


@pytest.mark.parametrize("shape", [(1, 3, 7, 11), (67,)], ids=str)
@pytest.mark.parametrize(("operator", "arguments", "numbers", "expected"), ONE, ids=name_value)
def test_one_tensor(
    operator: str,
    arguments: tuple[Any, ...],
    numbers: list[float],
    expected: Callable[..., Any],
    shape: tuple[int, ...],
) -> None:
    x = fill(numbers, *shape)
    (found,) = run_rule(operator, *(x if one is X else one for one in arguments), drop_batch=True)
    with np.errstate(all="ignore"):
        check(found, np.asarray(expected(x.astype(np.float64))))


TWO: list[tuple[str, str, Callable[..., Any]]] = [
    ("aten::hypot", "any", np.hypot),
    ("aten::ldexp", "any", lambda x, y: x * np.exp2(y)),
    ("aten::logaddexp", "any", np.logaddexp),
    ("aten::logaddexp2", "any", np.logaddexp2),
    ("aten::copysign", "any", np.copysign),
    ("aten::heaviside", "ties", np.heaviside),
    ("aten::xlogy", "ties-positive", lambda x, y: np.where(x == 0, 0, x * np.log(y))),
    ("aten::special_xlog1py", "ties-positive", lambda x, y: x * np.log1p(y)),
    ("aten::float_power", "positive-any", np.power),
    ("aten::float_power", "any-whole", np.power),
    ("aten::remainder", "ties-signs", np.mod),
    ("aten::remainder", "tenths", np.mod),
    ("aten::fmod", "ties-signs", np.fmod),
    ("aten::floor_divide", "ties-signs", np.floor_divide),
    ("aten::true_divide", "any-positive", np.divide),
]


def draw(kind: str, shape: tuple[int, ...], seed: int) -> Array:
    random = np.random.default_rng(seed)
    x = random.normal(0, 3, shape)
    if kind == "ties":
        x = np.round(x) / 2
    elif kind == "positive":
        x = np.abs(x) + 0.1
    elif kind == "whole":
        x = np.abs(np.round(x)) * np.where(random.random(shape) < 0.2, 0, 1)
    elif kind == "signs":
        x = (np.round(np.abs(x)) + 0.5) * np.sign(x)
    elif kind == "tenths":
        x = (np.round(np.abs(x) * 10) + 1) * np.float32(0.1)
    return x.astype(np.float32)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, 5, 7), (3, 5, 7)),
        ((3, 5, 7), (5, 7)),
        ((7,), (3, 5, 7)),
        ((3, 1, 7), (1, 5, 1)),
        ((1, 4, 3, 6), (4, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize(("operator", "kinds", "expected"), TWO, ids=name_value)
def test_two_tensors(
    operator: str,
    kinds: str,
    expected: Callable[..., Any],
    first: tuple[int, ...],
    second: tuple[int, ...],
) -> None:
    one, _, two = kinds.partition("-")
    x, y = draw(one, first, 1), draw(two or one, second, 2)
    (found,) = run_rule(operator, x, y)
    with np.errstate(all="ignore"):
        check(found, np.asarray(expected(x.astype(np.float64), y.astype(np.float64))), kinds)


def test_large_numbers_do_not_overflow_on_the_way() -> None:
    x, y = fill([1e30, -8e37, 0.0, 1e-20, 2e19], 5, 9), fill([1e30, 5e37, 0.0, 1e-20, 1.0, 3.0, 0.0], 5, 9)
    check(run_rule("aten::hypot", x, y)[0], np.hypot(x.astype(np.float64), y))
    x, y = fill([1e-20, 1e-37, 3.0], 40), fill([150.0, 200.0, 60.0, 0.0], 40)
    check(run_rule("aten::ldexp", x, y)[0], x.astype(np.float64) * np.exp2(y.astype(np.float64)))


def test_three_tensors_and_weights() -> None:
    x, y, z = draw("any", (3, 5, 7), 1), draw("any", (5, 7), 2), draw("positive", (3, 1, 1), 3)
    check(run_rule("aten::addcmul", x, y, z, 0.5)[0], x + 0.5 * y * z)
    check(run_rule("aten::addcdiv", x, y, z, 1)[0], x + y / z)
    check(run_rule("aten::lerp", x, y, z)[0], x + z * (y - x))
    for weight in (0.0, 0.3, 0.7, 1.0):
        check(run_rule("aten::lerp", x, y, weight)[0], x + weight * (y - x))
    far = fill([1e9, -1e9], 5, 7)
    assert np.array_equal(run_rule("aten::lerp", far, y, 1)[0], y)
    assert np.array_equal(run_rule("aten::lerp", far, y, np.ones((5, 7)))[0], y)


def test_refuses_what_has_no_number() -> None:
    x = fill([1.0], 4)
    for operator, arguments in (
        ("aten::xlogy", (x, -1.0)),
        ("aten::remainder", (x, 0.0)),
        ("aten::float_power", (-2.0, x)),
        ("aten::div", (x, x, "trunc")),
    ):
        with pytest.raises(NotExpressible):
            run_rule(operator, *arguments)
