"""Comparisons, logic and selection, each run in ncnn against numpy: every element must be the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.expressions import evaluate, is_arithmetic
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.select import choose
from pnnxfix.rules.registry import operator_rules
from tests.lowering.run_layers import Array, run, run_rule

INF, NAN = math.inf, math.nan
SPECIAL = [
    0.0,
    -0.0,
    1.0,
    0.1,
    0.5,
    -0.5,
    -1.0,
    INF,
    -INF,
    NAN,
    3.4e38,
    -3.4e38,
    1e-30,
    0.50000006,
    0.49999997,
]
SHAPES = [
    ((3, 5, 7), (3, 5, 7)),
    ((3, 5, 7), (5, 7)),
    ((7,), (3, 5, 7)),
    ((1, 4, 3, 6), (4, 1, 1)),
    ((67,), (1,)),
]


def pair(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[Array, Array]:
    """Tensors in which each special number meets each other."""
    random = np.random.default_rng(0)
    return tuple(random.choice(np.array(SPECIAL, np.float32), shape) for shape in (first, second))  # type: ignore[return-value]


def isclose(x: Array, y: Array) -> Array:
    """torch.isclose: unlike numpy's, no allowance where the difference is infinite."""
    difference = np.abs(x - y)
    near = np.isfinite(difference) & (difference <= np.float32(1e-8) + np.abs(np.float32(1e-5) * y))
    return np.asarray(near | (x == y))


COMPARISONS: list[tuple[str, Callable[..., Any]]] = [
    ("torch.gt", np.greater),
    ("torch.lt", np.less),
    ("torch.ge", np.greater_equal),
    ("torch.le", np.less_equal),
    ("torch.eq", np.equal),
    ("torch.ne", np.not_equal),
    ("torch.logical_and", np.logical_and),
    ("torch.logical_or", np.logical_or),
    ("torch.logical_xor", np.logical_xor),
]


@pytest.mark.parametrize(("first", "second"), SHAPES, ids=str)
@pytest.mark.parametrize(("operator", "expected"), COMPARISONS)
def test_compares_tensors(
    operator: str, expected: Callable[..., Any], first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    x, y = pair(first, second)
    (found,) = run_rule(operator, x, y)
    np.testing.assert_array_equal(found, expected(x, y))


def test_compares_nearness() -> None:
    x, y = pair((40, 7), (7,))
    x[::3] = y * np.float32(1.000004)
    x[1::9] = y * np.float32(1.00003)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run_rule("aten::isclose", x, y, 1e-5, 1e-8, False)[0], isclose(x, y))
    with pytest.raises(NotExpressible, match="nan"):
        run_rule("aten::isclose", x, y, 1e-5, 1e-8, True)


@pytest.mark.parametrize("number", [0, 0.1, 0.5, -1, 3.4e38, INF, -INF, 1e39])
@pytest.mark.parametrize(("operator", "expected"), COMPARISONS[:6])
def test_compares_with_a_number(operator: str, expected: Callable[..., Any], number: float) -> None:
    x, _ = pair((3, 5, 9), (1,))
    with np.errstate(over="ignore"):
        rounded = np.float32(number)
    np.testing.assert_array_equal(run_rule(operator, x, number)[0], expected(x, rounded))
    np.testing.assert_array_equal(run_rule(operator, number, x)[0], expected(rounded, x))


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("aten::isnan", np.isnan),
        ("aten::isinf", np.isinf),
        ("aten::isfinite", np.isfinite),
        ("aten::isposinf", np.isposinf),
        ("aten::isneginf", np.isneginf),
        ("aten::isreal", np.isreal),
        ("torch.logical_not", np.logical_not),
    ],
)
def test_classifies_numbers(operator: str, expected: Callable[..., Any]) -> None:
    x, _ = pair((1, 3, 6, 7), (1,))
    (found,) = run_rule(operator, x, drop_batch=True)
    np.testing.assert_array_equal(found, expected(x))


NUMBERS = [n for n in SPECIAL if not math.isnan(n)]


@pytest.mark.parametrize(
    ("mask", "x", "y"),
    [
        ((3, 5, 7), (3, 5, 7), (3, 5, 7)),
        ((5, 7), (3, 1, 7), (3, 5, 1)),
        ((3, 1, 1), (3, 5, 7), ()),
        ((67,), (67,), (1,)),
    ],
    ids=str,
)
def test_chooses_between_tensors_with_infinities(
    mask: tuple[int, ...], x: tuple[int, ...], y: tuple[int, ...]
) -> None:
    random = np.random.default_rng(1)
    condition = (random.random(mask) < 0.5).astype(np.float32)
    one, two = (random.choice(np.array(NUMBERS, np.float32), shape) for shape in (x, y))
    (found,) = run_rule("torch.where", condition, one, np.asarray(two))
    np.testing.assert_array_equal(found, np.where(condition > 0, one, two))


VALUES = [0, 1, -2.5, 1e-9, -1e9, 3.4e38, INF, -INF]


@pytest.mark.parametrize("number", VALUES)
def test_fills_where_a_mask_says(number: float) -> None:
    random = np.random.default_rng(2)
    x = random.choice(np.array(NUMBERS, np.float32), (3, 5, 7))
    mask = (random.random((5, 7)) < 0.5).astype(np.float32)
    wanted = np.where(mask > 0, np.float32(number), x)
    np.testing.assert_array_equal(run_rule("Tensor.masked_fill", x, mask, number)[0], wanted)
    np.testing.assert_array_equal(run_rule("torch.where", mask, number, x)[0], wanted)
    np.testing.assert_array_equal(run_rule("torch.where", 1 - mask, x, number)[0], wanted)


@pytest.mark.parametrize("first", VALUES)
@pytest.mark.parametrize("second", VALUES)
def test_chooses_between_numbers(first: float, second: float) -> None:
    mask = np.resize(np.array([0, 1, 1], np.float32), (5, 7))
    if first == second and math.isinf(first):
        with pytest.raises(NotExpressible):
            run_rule("torch.where", mask, first, second)
        return
    (found,) = run_rule("torch.where", mask, first, second)
    np.testing.assert_array_equal(found, np.where(mask > 0, np.float32(first), np.float32(second)))


def test_a_bool_is_taken_as_it_is_and_a_float_by_its_truth() -> None:
    builder = Builder()
    mask = Value(builder, "in0", (4,), (4,), "bool")
    choose(builder, mask, 1.0, 0.0)
    assert not builder.layers, "1.0 and 0.0 by a mask is the mask"
    np.testing.assert_array_equal(
        run_rule("torch.where", np.array([2.0, 0.0, NAN, -0.0] * 5), 3.0, 1.0)[0], [3, 1, 3, 1] * 5
    )


def test_refuses_integers_and_nan() -> None:
    builder = Builder()
    x = Value(builder, "in0", (4,), (4,))
    with pytest.raises(NotExpressible, match="nan"):
        choose(builder, x, x, NAN)
    where, convert = operator_rules()["torch.where"], operator_rules()["Tensor.to"]
    assert isinstance(where, Family)
    assert isinstance(convert, Family)
    builder.result_types = ["i64"]
    with pytest.raises(NotExpressible, match="integers"):
        where.lower(builder, x, 1, 0)
    with pytest.raises(NotExpressible, match="integers"):
        convert.lower(builder, x, "torch.long")
    builder.result_types = ["f16"]
    assert convert.lower(builder, x, "torch.half") is x


def test_bit_operators_are_logic_on_bools_only() -> None:
    masks = np.array([[0, 0, 1, 1] * 5, [0, 1, 0, 1] * 5], np.float32)
    for name, expected in (("and", np.minimum), ("or", np.maximum), ("xor", np.not_equal)):
        builder = Builder()
        one, two = (Value(builder, f"in{at}", (20,), (20,), "bool") for at in (0, 1))
        result = evaluate(builder, f"{name}(@0,@1)", (one, two))
        (found,) = run(builder, {"in0": masks[0], "in1": masks[1]}, [result])
        np.testing.assert_array_equal(found, expected(*masks))
        assert result.dtype == "bool"
        with pytest.raises(NotExpressible):
            evaluate(builder, f"{name}(@0,@1)", (replace(one, dtype="f32"), two))
    assert is_arithmetic("and(@0,xor(@1,@2))")
    assert not is_arithmetic("size(@0,1)")
    assert not is_arithmetic("[@0,@1]")
