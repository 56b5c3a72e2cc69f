"""Products of vectors and matrices, each operator run in ncnn against numpy in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pnnxfix.rules.lowering.builder import NotExpressible
from tests.lowering.run_layers import Array, run_rule

RANDOM = np.random.default_rng(7)
Case = tuple[str, tuple[tuple[int, ...], ...], tuple[Any, ...], Callable[..., Any]]

CASES: list[Case] = [
    ("torch.mv", ((4, 6), (6,)), (), np.matmul),
    ("aten::dot", ((33,), (33,)), (), np.dot),
    ("aten::outer", ((4,), (7,)), (), np.outer),
    ("aten::inner", ((2, 4, 5), (3, 2, 5)), (), np.inner),
    ("aten::inner", ((5,), (5,)), (), np.inner),
    ("aten::linalg_vecdot", ((3, 4, 5), (4, 5)), (1,), lambda x, y, a: (x * y).sum(1)),
    ("torch.matmul", ((5,), (3, 5, 4)), (), np.matmul),
    ("torch.matmul", ((2, 4, 5), (5,)), (), np.matmul),
    ("aten::addmv", ((4,), (4, 6), (6,)), (0.5, 2), lambda x, y, z, b, a: b * x + a * (y @ z)),
    ("aten::addr", ((4, 5), (4,), (5,)), (1, 3), lambda x, y, z, b, a: b * x + a * np.outer(y, z)),
    (
        "aten::addbmm",
        ((4, 5), (3, 4, 6), (3, 6, 5)),
        (0.5, 2),
        lambda x, y, z, b, a: b * x + a * (y @ z).sum(0),
    ),
    ("torch.baddbmm", ((5,), (3, 4, 6), (3, 6, 5)), (1, 1), lambda x, y, z, b, a: x + y @ z),
    ("torch.baddbmm", ((1, 4, 5), (3, 4, 6), (3, 6, 5)), (0, 2), lambda x, y, z, b, a: 2 * (y @ z)),
    (
        "aten::tensordot",
        ((3, 4, 5), (5, 3, 2)),
        ((0, 2), (1, 0)),
        lambda x, y, a, b: np.tensordot(x, y, (a, b)),
    ),
    ("aten::tensordot", ((3, 2), (4,)), (None, None), lambda x, y, a, b: np.tensordot(x, y, 0)),
    ("aten::linalg_matrix_power", ((2, 4, 4),), (5,), np.linalg.matrix_power),
    ("aten::linalg_matrix_power", ((2, 4, 4),), (0,), np.linalg.matrix_power),
    ("aten::kron", ((2, 3), (4, 1, 3)), (), np.kron),
    ("torch.cross", ((4, 3, 5), (4, 3, 5)), (1,), lambda x, y, a: np.cross(x, y, axis=a)),
    ("aten::linalg_cross", ((4, 3), (1, 3)), (-1,), lambda x, y, a: np.cross(x, y)),
    ("F.linear", ((1, 2, 4, 6), (5, 6), (5,)), (), lambda x, w, b: x @ w.T + b),
    (
        "aten::bilinear",
        ((2, 4, 3), (2, 4, 5), (7, 3, 5), (7,)),
        (),
        lambda x, y, w, b: np.einsum("abi,kij,abj->abk", x, w, y) + b,
    ),
]
EQUATIONS = [
    ("ij,ij->i", (3, 4), (3, 4)),
    ("bhid,bhjd->bhij", (1, 2, 3, 4), (1, 2, 5, 4)),
    ("bchw,cd->bdhw", (1, 3, 4, 5), (3, 6)),
    ("bhwc,hkc->bhwk", (2, 3, 4, 5), (3, 6, 5)),
    ("i,j", (3,), (4,)),
    ("ijk,jl->li", (2, 3, 4), (3, 5)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{case[1]}")
def test_product(case: Case) -> None:
    operator, shapes, constants, expected = case
    tensors = [_fill(shape) for shape in shapes]
    (found,) = run_rule(operator, *tensors, *constants)
    np.testing.assert_allclose(found, expected(*tensors, *constants), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda case: case[0])
def test_einsum(case: tuple[str, tuple[int, ...], tuple[int, ...]]) -> None:
    equation, *shapes = case
    tensors = [_fill(shape) for shape in shapes]
    (found,) = run_rule("torch.einsum", equation, tensors)
    np.testing.assert_allclose(found, np.einsum(equation, *tensors), rtol=1e-4, atol=1e-5)


def test_chain_of_matrices() -> None:
    tensors = [_fill(shape) for shape in ((3, 4), (4, 5), (5,))]
    (found,) = run_rule("aten::linalg_multi_dot", tensors)
    np.testing.assert_allclose(found, np.linalg.multi_dot(tensors), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "shapes", "constants", "reason"),
    [
        ("aten::linalg_matrix_power", ((4, 4),), (-1,), "inverse"),
        ("torch.matmul", ((3, 4), (5, 6)), (), "do not multiply"),
    ],
)
def test_refuses(operator: str, shapes: Any, constants: tuple[Any, ...], reason: str) -> None:
    with pytest.raises(NotExpressible, match=reason):
        run_rule(operator, *(_fill(shape) for shape in shapes), *constants)


def test_refuses_the_diagonal_of_an_einsum() -> None:
    with pytest.raises(NotExpressible, match="ii->i"):
        run_rule("torch.einsum", "ii->i", [_fill((3, 3))])


def _fill(shape: tuple[int, ...]) -> Array:
    return RANDOM.normal(size=shape).astype(np.float32).astype(np.float64)
