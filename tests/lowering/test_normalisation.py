"""Norms, distances, normalisations and attention, run in ncnn against numpy in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, run_rule

RANDOM = np.random.default_rng(7)
ORDERS = [0, 0.5, 1, 2, 3, 6, math.inf, -math.inf]


def _fill(*shape: int) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32).astype(np.float64)


def _norm(x: Array, order: float, axis: Any = None, keepdims: bool = False) -> Any:
    size = np.abs(x)
    if math.isinf(order):
        return (size.max if order > 0 else size.min)(axis=axis, keepdims=keepdims)
    if order == 0:
        return np.count_nonzero(x, axis=axis, keepdims=keepdims)
    return (size**order).sum(axis=axis, keepdims=keepdims) ** (1 / order)


@pytest.mark.parametrize("order", ORDERS)
def test_norms_and_distances(order: float) -> None:
    x, y = _fill(3, 18), _fill(3, 18)
    x[1, 4:8] = 0
    found = {
        "torch.norm": (run_rule("torch.norm", x, order, None, False), _norm(x, order)),
        "vector": (
            run_rule("aten::linalg_vector_norm", x, order, (1,), True, None),
            _norm(x, order, 1, True),
        ),
        "zeros": (run_rule("torch.norm", x * 0, order, (1,), False), np.zeros(3)),
        "dist": (run_rule("aten::dist", x, y, order), _norm(x - y, order)),
        "cdist": (run_rule("aten::cdist", x, y, order, None), _norm(x[:, None] - y[None], order, -1)),
        "pairs": (run_rule("F.pairwise_distance", x, y, order, 1e-6, False), _norm(x - y + 1e-6, order, 1)),
    }
    for name, (result, expected) in found.items():
        np.testing.assert_allclose(result[0], expected, rtol=3e-4, atol=1e-5, err_msg=name)


def test_wide_powers_do_not_overflow() -> None:
    x = _fill(2, 20) * 1e15
    (found,) = run_rule("torch.norm", x, 3.0, (1,), False)
    np.testing.assert_allclose(found, _norm(x, 3, 1), rtol=1e-3)


@pytest.mark.parametrize("order", ["fro", 1, -1, math.inf, -math.inf])
def test_matrix_norms(order: Any) -> None:
    x = _fill(2, 3, 4)
    (found,) = run_rule("aten::linalg_matrix_norm", x, order, (-2, -1), False, None)
    np.testing.assert_allclose(found, np.linalg.norm(x, order, axis=(-2, -1)), rtol=1e-4)
    (found,) = run_rule("aten::linalg_norm", x[0], order, None, False, None)
    np.testing.assert_allclose(found, np.linalg.norm(x[0], order), rtol=1e-4)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_along_an_axis(dim: int) -> None:
    x, y = _fill(3, 18, 5), _fill(3, 18, 5)
    sizes = [np.maximum(_norm(value, 2, dim, True), 1e-8) for value in (x, y)]
    (found,) = run_rule("aten::cosine_similarity", x, y, dim, 1e-8)
    np.testing.assert_allclose(found, (x * y / sizes[0] / sizes[1]).sum(dim), rtol=1e-3, atol=1e-5)
    (found,) = run_rule("F.normalize", x, 3.0, (dim,), 1e-12)
    np.testing.assert_allclose(found, x / _norm(x, 3, dim, True), rtol=1e-3, atol=1e-5)
    rest = tuple(axis for axis in range(3) if axis != dim % 3)
    size = _norm(x, 1, rest, True)
    (found,) = run_rule("aten::renorm", x, 1, dim, 20.0)
    np.testing.assert_allclose(found, np.where(size > 20, x * 20 / size, x), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 6, 5), (2, 6, 4, 3)], ids=str)
def test_normalisations(shape: tuple[int, ...]) -> None:
    x, weight, bias = _fill(*shape), _fill(6), _fill(6)
    channels = (1, 6, *[1] * (len(shape) - 2))

    def normal(rows: Array, eps: float) -> Any:
        return (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + eps)

    affine = weight.reshape(channels), bias.reshape(channels)
    group = normal(x.reshape(shape[0], 2, -1), 0.1).reshape(shape) * affine[0] + affine[1]
    single = normal(x.reshape(shape[0], 6, -1), 0.1).reshape(shape) * affine[0]
    rows = x.reshape(-1, math.prod(shape[1:]))
    root = np.sqrt((rows**2).mean(-1, keepdims=True) + 0.1)
    wide = _fill(*shape[1:])
    found = {
        "group": (run_rule("F.group_norm", x, 2, weight, bias, 0.1), group),
        "instance": (run_rule("F.instance_norm", x, weight, None, 0.1, None, None), single),
        "layer": (
            run_rule("F.layer_norm", x, shape[1:], wide, wide, 0.1),
            normal(rows, 0.1).reshape(shape) * wide + wide,
        ),
        "rms": (run_rule("F.rms_norm", x, shape[1:], None, 0.1), (rows / root).reshape(shape)),
    }
    for name, (result, expected) in found.items():
        np.testing.assert_allclose(result[0], expected, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("outer", [(2, 3), (1, 2), ()], ids=str)
@pytest.mark.parametrize("is_causal", [False, True])
def test_attention(outer: tuple[int, ...], is_causal: bool) -> None:
    query, key, value = _fill(*outer, 4, 8), _fill(*outer, 6, 8), _fill(*outer, 6, 5)
    mask = None if is_causal else _fill(4, 6)
    scores = query @ np.swapaxes(key, -1, -2) * 0.3
    scores = np.where(np.tri(4, 6), scores, -np.inf) if mask is None else scores + mask
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = weights / weights.sum(-1, keepdims=True) @ value
    name = "F.scaled_dot_product_attention"
    (found,) = run_rule(name, query, key, value, mask, 0.0, is_causal, 0.3, False)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "arguments", "reason"),
    [
        ("aten::linalg_matrix_norm", (2, (-2, -1), False, None), "singular values"),
        ("torch.norm", ("nuc", None, False), "singular values"),
        ("torch.norm", (-2.0, None, False), "order -2"),
    ],
)
def test_refuses(operator: str, arguments: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        run_rule(operator, _fill(4, 3), *arguments)
