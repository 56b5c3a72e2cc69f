"""Activations, each run in ncnn against numpy in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, name_value, run_rule

X: Any = "the tensor"
NUMBERS = [0.0, -0.0, 0.5, -0.5, 0.2, 1.0, -1.0, 3.75, -3.75, 25.0, -25.0, 150.0, -150.0, 1e6, -1e6, 1e-7]


def softmax(x: Array, axis: int) -> Array:
    shifted = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis, keepdims=True))


def softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(0, x))


Case = tuple[str, tuple[Any, ...], Callable[[Array], Any]]
CASES: list[Case] = [
    ("F.softmin", (X, -1), lambda x: softmax(-x, -1)),
    ("F.softmin", (X, 1), lambda x: softmax(-x, 1)),
    ("F.softsign", (X,), lambda x: x / (1 + np.abs(x))),
    ("F.tanhshrink", (X,), lambda x: x - np.tanh(x)),
    ("F.threshold", (X, 0.5, -2.0), lambda x: np.where(x > 0.5, x, -2)),
    ("F.threshold", (X, 1, 7), lambda x: np.where(x > 1, x, 7)),
    ("F.threshold", (X, 0.0, 0.0), lambda x: np.maximum(x, 0)),
    ("F.threshold", (X, 0.5, 0.5), lambda x: np.maximum(x, 0.5)),
    ("F.threshold", (X, 0, -math.inf), lambda x: np.where(x > 0, x, -np.inf)),
    ("F.softplus", (X, 1, 20), softplus),
    ("F.softplus", (X, 2, 10), lambda x: np.where(2 * x > 10, x, softplus(2 * x) / 2)),
    ("F.softplus", (X, 3, 0.2), lambda x: np.where(3 * x > 0.2, x, softplus(3 * x) / 3)),
    ("F.softplus", (X, -1, 20), lambda x: np.where(-x > 20, x, -softplus(-x))),
    ("F.hardshrink", (X, 0.5), lambda x: np.where(np.abs(x) > 0.5, x, 0)),
    ("F.hardshrink", (X, 0.2), lambda x: np.where(np.abs(x) > np.float32(0.2), x, 0)),
    ("F.softshrink", (X, 0.5), lambda x: np.sign(x) * np.maximum(np.abs(x) - 0.5, 0)),
    ("F.rrelu", (X, 0.1, 0.5), lambda x: np.where(x > 0, x, 0.3 * x)),
    ("aten::rrelu", (X, 0.125, 0.375, False), lambda x: np.where(x > 0, x, 0.25 * x)),
    ("F.prelu", (X, 0.25), lambda x: np.where(x > 0, x, 0.25 * x)),
]


@pytest.mark.parametrize("shape", [(1, 3, 7, 11), (6, 23), (3, 5, 7)], ids=str)
@pytest.mark.parametrize(("operator", "arguments", "expected"), CASES, ids=name_value)
def test_activation(
    operator: str, arguments: tuple[Any, ...], expected: Callable[[Array], Any], shape: tuple[int, ...]
) -> None:
    x = np.resize(np.array(NUMBERS, np.float32), shape)
    (found,) = run_rule(operator, *(x if one is X else one for one in arguments), drop_batch=True)
    wanted = np.asarray(expected(x.astype(np.float64)))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("shape", "slopes"),
    [((1, 3, 7, 11), (3,)), ((6, 23), (23,)), ((4, 5, 7), (1,)), ((67,), (1,)), ((3, 5, 7), (5,))],
    ids=str,
)
def test_slopes_are_those_of_axis_one(shape: tuple[int, ...], slopes: tuple[int, ...]) -> None:
    x = np.resize(np.array(NUMBERS, np.float32), shape)
    weight = np.linspace(-0.5, 2, slopes[0]).astype(np.float32)
    (found,) = run_rule("F.prelu", x, weight, drop_batch=shape[0] == 1)
    spread = weight.reshape((-1, *(1,) * (len(shape) - 2))) if len(shape) > 1 else weight
    np.testing.assert_allclose(found, np.where(x > 0, x, spread * x), rtol=1e-6)


def test_softmin_without_a_dim_takes_torchs() -> None:
    for shape, axis in (((5,), 0), ((5, 6), 1), ((5, 6, 7), 0), ((1, 5, 6, 7), 1)):
        x = np.resize(np.array(NUMBERS, np.float32), shape)
        found = run_rule("F.softmin", x, None)[0]
        np.testing.assert_allclose(found, softmax(-x.astype(np.float64), axis), rtol=1e-5, atol=1e-6)


def test_refuses_what_is_random_or_has_no_meaning() -> None:
    x = np.ones((3, 4), np.float32)
    for operator, arguments in (
        ("aten::rrelu", (x, 0.1, 0.3, True)),
        ("F.softplus", (x, 0, 20)),
        ("F.prelu", (x, np.ones(3, np.float32))),
        ("F.threshold", (x, 0.5, math.nan)),
    ):
        with pytest.raises(NotExpressible):
            run_rule(operator, *arguments)
