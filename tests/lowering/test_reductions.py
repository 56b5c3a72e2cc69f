"""Reductions and running results, each operator run in ncnn against numpy in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, run_rule

X: Any = "the tensor"
RANDOM = np.random.default_rng(7)
SHAPES = [(3, 18, 5), (1, 4, 3, 7), (2, 3, 2, 3, 2), (17,)]


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Any:
    greatest = x.max(axis=axis, keepdims=True)
    total = np.log(np.exp(x - greatest).sum(axis=axis, keepdims=True)) + greatest
    return total if keepdims else total.squeeze(axis)


WHOLE: list[tuple[str, tuple[Any, ...], Callable[[Array], Any]]] = [
    ("aten::var", (X, True), lambda x: x.var(ddof=1)),
    ("aten::std", (X, False), lambda x: x.std()),
    ("aten::prod", (X, None, "missing", None), np.prod),
    ("aten::any", (X, None, False), np.any),
    ("aten::all", (X, None, False), np.all),
    ("aten::count_nonzero", (X, None), np.count_nonzero),
    ("torch.amax", (X, None, False), np.max),
    ("torch.amin", (X, None, True), lambda x: x.min(keepdims=True)),
    ("torch.logsumexp", (X, None, True), lambda x: _log_sum_exp(x, tuple(range(x.ndim)), True)),
]
ALONG: list[tuple[str, tuple[Any, ...], Callable[[Array, int], Any]]] = [
    ("aten::var", ((1,), True, False), lambda x, a: x.var(a, ddof=1)),
    ("aten::var", ((1,), 0, True), lambda x, a: x.var(a, keepdims=True)),
    ("torch.std", ((1,), "missing", True, 2), lambda x, a: x.std(a, ddof=2, keepdims=True)),
    ("aten::any", (1, False), lambda x, a: x.any(a)),
    ("aten::all", ((1,), True), lambda x, a: x.all(a, keepdims=True)),
    ("aten::count_nonzero", (1,), lambda x, a: np.count_nonzero(x, a)),
    ("torch.prod", (1, True, None), lambda x, a: x.prod(a, keepdims=True)),
    ("torch.cumprod", (1, None), np.cumprod),
    ("torch.cumsum", (1, None), np.cumsum),
    ("aten::logcumsumexp", (1,), lambda x, a: np.logaddexp.accumulate(x, a)),
    ("torch.logsumexp", ((1,), False), lambda x, a: _log_sum_exp(x, a, False)),
    ("F.log_softmax", (1,), lambda x, a: x - _log_sum_exp(x, a, True)),
    ("aten::trapezoid", (0.5, 1), lambda x, a: np.trapezoid(x, dx=0.5, axis=a)),
    ("aten::_safe_softmax", (1, None), lambda x, a: np.exp(x - _log_sum_exp(x, a, True))),
]


def _fill(shape: tuple[int, ...]) -> Array:
    """Numbers of which some are zero, as float32 has them."""
    numbers = RANDOM.normal(size=shape) * (RANDOM.random(shape) > 0.2)
    return numbers.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case[0])
@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_reduces_all(case: Any, shape: tuple[int, ...]) -> None:
    operator, arguments, expected = case
    x = _fill(shape)
    (found,) = run_rule(operator, *(x if word is X else word for word in arguments), drop_batch=True)
    np.testing.assert_allclose(found, expected(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ALONG, ids=lambda case: case[0])
@pytest.mark.parametrize(("shape", "axis"), [((3, 18, 5), 1), ((1, 4, 3, 7), 3), ((17, 3), 0)], ids=str)
def test_reduces_an_axis(case: Any, shape: tuple[int, ...], axis: int) -> None:
    operator, arguments, expected = case
    # The axis stands in the table as 1, and comes from behind here.
    given = [_replace_axis(word, axis - len(shape)) for word in arguments]
    x = _fill(shape)
    (found,) = run_rule(operator, x, *given, drop_batch=True)
    np.testing.assert_allclose(found, expected(x, axis), rtol=1e-4, atol=1e-5)


def _replace_axis(word: Any, axis: int) -> Any:
    if word == (1,):
        return (axis,)
    return axis if word == 1 and not isinstance(word, bool) else word


def test_axes_of_a_tensor_of_five() -> None:
    x = _fill((2, 3, 2, 3, 2))
    found, mean = run_rule("aten::var_mean", x.reshape(6, 2, 6), (0, 2), 1, False, shapes=((2,), (2,)))
    np.testing.assert_allclose(found, x.reshape(6, 2, 6).var((0, 2), ddof=1), rtol=1e-4)
    np.testing.assert_allclose(mean, x.reshape(6, 2, 6).mean((0, 2)), rtol=1e-4, atol=1e-6)


def test_nan_counts_for_nothing() -> None:
    x = _fill((4, 37))
    x[1, 3:20] = math.nan
    (total,) = run_rule("aten::nansum", x, (1,), False, None)
    (mean,) = run_rule("aten::nanmean", x, (1,), True, None)
    np.testing.assert_allclose(total, np.nansum(x, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mean, np.nanmean(x, 1, keepdims=True), rtol=1e-4, atol=1e-5)


def test_nothing_overflows() -> None:
    x = np.array([[1000.0, 999.0, -1000.0] * 6, [-2000.0] * 18])
    (found,) = run_rule("F.log_softmax", x, 1)
    np.testing.assert_allclose(found, x - _log_sum_exp(x, 1, True), rtol=1e-4)


def test_a_row_that_sees_nothing_is_zero() -> None:
    x = np.array([[-math.inf] * 20, [*[-math.inf] * 10, *[1.0] * 10]])
    (found,) = run_rule("aten::_safe_softmax", x, 1, None)
    np.testing.assert_allclose(found, [[0.0] * 20, [*[0.0] * 10, *[0.1] * 10]], atol=1e-6)


def test_covariance() -> None:
    x = _fill((4, 30))
    (found,) = run_rule("aten::cov", x, 1, None, None)
    np.testing.assert_allclose(found, np.cov(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("operator", "arguments", "reason"),
    [
        ("torch.argmax", (1, False), "place of the greatest"),
        ("aten::median", (None, False), "in order"),
        ("aten::var", ((1,), 3, False), "nan or inf"),
        ("torch.sum", ((1,), False, 7), "another type"),
    ],
)
def test_refuses(operator: str, arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        run_rule(operator, _fill((4, 3)), *arguments)
