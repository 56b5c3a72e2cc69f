"""Losses, each run in ncnn against numpy in double precision, in all three reductions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from pnnxfix.rules.lowering.stored import StoredTensor
from tests.lowering.run_layers import Array, name_value, run_rule

REDUCTIONS: list[tuple[int, Callable[[Array], Any]]] = [(0, lambda x: x), (1, np.mean), (2, np.sum)]


def draw(kind: str, shape: tuple[int, ...], seed: int) -> Array:
    random = np.random.default_rng(seed)
    x = random.normal(0, 2, shape)
    if kind == "probability":
        x = np.clip(random.random(shape) * 1.2 - 0.1, 0, 1)  # some are 0 and 1
    elif kind == "positive":
        x = np.abs(x)
        x.flat[0] = 0
    elif kind == "sign":
        x = np.sign(x)
    elif kind == "wide":
        x *= 60
    return x.astype(np.float32)


def smooth(x: Array, y: Array, beta: float) -> Array:
    d = np.abs(x - y)
    return np.asarray(np.where(d < beta, d * d / (2 * beta), d - beta / 2) if beta else d)


def bounded_log(x: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(np.log(x), -100))


def entropy(x: Array, y: Array) -> Array:
    return -(y * bounded_log(x) + (1 - y) * bounded_log(1 - x))


def xlogx(x: Array) -> Array:
    return np.asarray(np.where(x == 0, 0, x * np.log(np.maximum(x, 1e-300))))


def stirling(y: Array) -> Array:
    y = np.maximum(y, 1e-9)
    return np.asarray(np.where(y > 1, y * np.log(y) - y + 0.5 * np.log(2 * math.pi * y), 0))


Case = tuple[str, str, tuple[Any, ...], Callable[[Array, Array], Array]]
R: Any = "the reduction"
CASES: list[Case] = [
    ("aten::mse_loss", "any any", (R,), lambda x, y: (x - y) ** 2),
    ("aten::l1_loss", "any any", (R,), lambda x, y: np.abs(x - y)),
    ("aten::smooth_l1_loss", "any any", (R, 1.0), lambda x, y: smooth(x, y, 1)),
    ("aten::smooth_l1_loss", "any any", (R, 0.5), lambda x, y: smooth(x, y, 0.5)),
    ("aten::smooth_l1_loss", "any any", (R, 0.0), lambda x, y: smooth(x, y, 0)),
    ("aten::huber_loss", "any any", (R, 0.3), lambda x, y: 0.3 * smooth(x, y, 0.3)),
    ("aten::binary_cross_entropy", "probability probability", (None, R), entropy),
    (
        "aten::binary_cross_entropy_with_logits",
        "wide probability",
        (None, None, R),
        lambda x, y: (1 - y) * x + np.logaddexp(0, -x),
    ),
    ("aten::kl_div", "any probability", (R, False), lambda x, y: xlogx(y) - y * x),
    ("aten::kl_div", "any any", (R, True), lambda x, y: np.exp(y) * (y - x)),
    ("aten::poisson_nll_loss", "any positive", (True, False, 1e-8, R), lambda x, y: np.exp(x) - y * x),
    (
        "aten::poisson_nll_loss",
        "positive positive",
        (False, True, 0.5, R),
        lambda x, y: x - y * np.log(x + 0.5) + stirling(y),
    ),
    (
        "aten::hinge_embedding_loss",
        "any sign",
        (0.4, R),
        lambda x, y: np.where(y == 1, x, np.maximum(0, 0.4 - x)),
    ),
    ("aten::soft_margin_loss", "any sign", (R,), lambda x, y: np.logaddexp(0, -x * y)),
]


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 3, 6, 7), (67,)], ids=str)
@pytest.mark.parametrize(("reduction", "total"), REDUCTIONS, ids=["none", "mean", "sum"])
@pytest.mark.parametrize(("operator", "kinds", "rest", "expected"), CASES, ids=name_value)
def test_loss_of_two_tensors(
    operator: str,
    kinds: str,
    rest: tuple[Any, ...],
    expected: Callable[[Array, Array], Array],
    reduction: int,
    total: Callable[[Array], Any],
    shape: tuple[int, ...],
) -> None:
    x, y = (draw(kind, shape, seed) for seed, kind in enumerate(kinds.split()))
    (found,) = run_rule(operator, x, y, *(reduction if one is R else one for one in rest), drop_batch=True)
    wanted = np.asarray(total(expected(x.astype(np.float64), y.astype(np.float64))))
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("reduction", "total"), REDUCTIONS, ids=["none", "mean", "sum"])
def test_weights_of_the_binary_entropies(reduction: int, total: Callable[[Array], Any]) -> None:
    x, y, z = draw("any", (6, 7), 0), draw("probability", (6, 7), 1), draw("positive", (7,), 2)
    p = draw("probability", (6, 7), 3)
    pairs = [
        (run_rule("aten::binary_cross_entropy", p, y, z, reduction), entropy(p.astype(float), y) * z),
        (
            run_rule("aten::binary_cross_entropy_with_logits", x, y, z, None, reduction),
            ((1 - y) * x + np.logaddexp(0, -x)) * z,
        ),
        (
            run_rule("aten::binary_cross_entropy_with_logits", x, y, None, z, reduction),
            z * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x),
        ),
    ]
    for (found,), wanted in pairs:
        np.testing.assert_allclose(found, total(wanted), rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize(("reduction", "total"), REDUCTIONS, ids=["none", "mean", "sum"])
def test_losses_of_three_tensors(reduction: int, total: Callable[[Array], Any]) -> None:
    x, y, z = (draw("any", (9, 6), seed) for seed in range(3))
    side = draw("sign", (9,), 4)
    cosine = (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    far = [np.sqrt(((one - two + 1e-6) ** 2).sum(-1)) for one, two in ((x, y), (x, z), (y, z))]
    near = [np.abs(one - two + 1e-6).sum(-1) for one, two in ((x, y), (x, z), (y, z))]
    pairs = [
        (
            run_rule("aten::cosine_embedding_loss", x, y, side, 0.2, reduction),
            np.where(side == 1, 1 - cosine, np.maximum(0, cosine - 0.2)),
        ),
        (
            run_rule("aten::margin_ranking_loss", x[:, 0], y[:, 0], side, 0.3, reduction),
            np.maximum(0, -side * (x[:, 0] - y[:, 0]) + 0.3),
        ),
        (
            run_rule("aten::triplet_margin_loss", x, y, z, 1.5, 2, 1e-6, False, reduction),
            np.maximum(0, far[0] - far[1] + 1.5),
        ),
        (
            run_rule("aten::triplet_margin_loss", x, y, z, 1.5, 1, 1e-6, True, reduction),
            np.maximum(0, near[0] - np.minimum(near[1], near[2]) + 1.5),
        ),
    ]
    for (found,), wanted in pairs:
        np.testing.assert_allclose(found, total(wanted), rtol=2e-5, atol=1e-5)


def log_softmax(x: Array, axis: int) -> Array:
    return np.asarray(x - np.log(np.exp(x).sum(axis, keepdims=True)))


@pytest.mark.parametrize("reduction", [0, 1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("inner", [(), (3, 2)], ids=str)
def test_constant_classes(reduction: int, weighted: bool, smoothing: float, inner: tuple[int, ...]) -> None:
    classes, ignored = 6, 4
    x = draw("any", (5, classes, *inner), 0)
    wanted = np.random.default_rng(1).integers(0, classes, (5, *inner))
    wanted.flat[0] = ignored
    weight = draw("positive", (classes,), 2) + 0.5
    w = weight if weighted else np.ones(classes)
    logs = np.moveaxis(log_softmax(x.astype(np.float64), 1), 1, -1)
    valid = wanted != ignored
    hits = np.eye(classes)[wanted] * valid[..., None]
    share = (1 - smoothing) * hits + smoothing / classes * valid[..., None]
    each = -(share * logs * w).sum(-1)
    expected = [each, each.sum() / (hits * w).sum(), each.sum()][reduction]
    target = StoredTensor(wanted.shape, tuple(map(int, wanted.flat)), "i64")
    rest = (weight if weighted else None, reduction, ignored)
    (found,) = run_rule("aten::cross_entropy_loss", x, target, *rest, smoothing)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)
    if not smoothing:
        (found,) = run_rule("aten::nll_loss_nd", np.moveaxis(logs, -1, 1), target, *rest)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("stored", [False, True])
def test_classes_by_probability(stored: bool) -> None:
    x, y = draw("any", (4, 5, 3), 0), draw("probability", (4, 5, 3), 1)
    target: Any = StoredTensor(y.shape, tuple(map(float, y.flat)), "f32") if stored else y
    (found,) = run_rule("aten::cross_entropy_loss", x, target, None, 1, -100, 0.1)
    each = -((y * 0.9 + 0.1 / 5) * log_softmax(x, 1)).sum(1)
    np.testing.assert_allclose(found, each.mean(), rtol=2e-5)


@pytest.mark.parametrize(("reduction", "total"), REDUCTIONS, ids=["none", "mean", "sum"])
@pytest.mark.parametrize("p", [1, 2])
def test_multi_class_margin(reduction: int, total: Callable[[Array], Any], p: int) -> None:
    x, weight, wanted = draw("any", (5, 6), 0), draw("positive", (6,), 1), np.array([1, 0, 4, 2, 2])
    target = StoredTensor((5,), tuple(map(int, wanted)), "i64")
    (found,) = run_rule("aten::multi_margin_loss", x, target, p, 0.7, weight, reduction)
    short = np.maximum(0, 0.7 - x[np.arange(5), wanted][:, None] + x) ** p * (1 - np.eye(6)[wanted])
    each = short.sum(1) / 6 * weight[wanted]
    np.testing.assert_allclose(found, total(each), rtol=2e-5, atol=1e-6)


def test_refuses_what_it_cannot_compute() -> None:
    x = draw("any", (5, 6), 0)
    target = StoredTensor((5,), (1, 0, 9, 2, 2), "i64")
    for operator, arguments in (
        ("aten::triplet_margin_loss", (x, x, x, 1.0, 3, 1e-6, False, 1)),
        ("aten::mse_loss", (x, x, 7)),
        ("aten::nll_loss_nd", (x, target, None, 1, -100)),
        ("aten::nll_loss_nd", (x, x, None, 1, -100)),
        ("aten::multi_margin_loss", (x, x, 1, 1.0, None, 1)),
    ):
        with pytest.raises(NotExpressible):
            run_rule(operator, *arguments)
