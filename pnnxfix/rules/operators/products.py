"""Products of vectors, matrices and stacks of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce as fold

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, Value
from pnnxfix.rules.lowering.family import Family, Lower
from pnnxfix.rules.lowering.products import (
    bilinear,
    cross,
    einsum,
    kron,
    linear,
    matmul,
    outer,
    power,
    tensordot,
)
from pnnxfix.rules.lowering.statistics import reduce


def _scaled(x: Value, factor: float) -> Value:
    return x if factor == 1 else x * factor


def _plus(b: Builder, x: Value, beta: float, product: Value, alpha: float) -> Value:
    """beta * x + alpha * product; torch leaves x out where beta is 0, nan and all."""
    if beta == 0:
        return b.expand(_scaled(product, alpha), product.shape)
    return _scaled(x, beta) + _scaled(product, alpha)


def _add_product(multiply: Lower) -> Lower:
    def lower(b: Builder, x: Value, one: Value, two: Value, beta: float, alpha: float) -> Value:
        product = multiply(b, one, two)
        assert isinstance(product, Value)
        return _plus(b, x, beta, product, alpha)

    return lower


def _sum_of_products(b: Builder, one: Value, two: Value) -> Value:
    """addbmm: the products of all pairs, added up, as one product of longer rows."""
    count, rows, inner = one.shape
    left = b.view(b.permute(one, (1, 0, 2)), (rows, count * inner))
    return b.matmul(left, b.view(two, (count * inner, two.shape[2])))


def _inner(b: Builder, x: Value, y: Value) -> Value:
    """torch.inner: over the last axis of both."""
    return tensordot(b, x, y, (-1,), (-1,)) if x.rank and y.rank else x * y


def _vecdot(b: Builder, x: Value, y: Value, dim: int) -> Value:
    return reduce(b, "sum", x * y, dim)


def _multi_dot(b: Builder, tensors: Sequence[Value]) -> Value:
    return fold(lambda one, two: matmul(b, one, two), tensors)


def _cross(b: Builder, x: Value, y: Value, dim: int | None) -> Value:
    """torch.cross; without `dim` the first axis of three."""
    if dim is None:
        dim = x.shape.index(3)
    return cross(b, x, y, dim)


class Products(Family):
    """Products of vectors and matrices that pnnx knows no layer for.

    What it finds: `torch.mv`, `torch.baddbmm`, `aten::dot`, `aten::outer`, `aten::addmv`,
    `aten::addbmm`, `aten::tensordot`, `aten::linalg_multi_dot`, `aten::kron`, `F.linear` and
    `aten::bilinear` with computed weights, and others in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: MatMul layers between Reshapes, which make matrices of vectors and of tensors of more
    axes, and BinaryOp layers for what is added.

    Limits: floats only. Powers of matrices with negative exponents, which are inverses, have no
    layers.

    Example:
        aten::addmv   pnnx_2   5 1 in0 in1 in2 4 5 out0
        Reshape 0=1 1=10, MatMul, Reshape 0=5, BinaryOp 0=0

    Source: torch's documentation; ncnn matmul.cpp (0 transB).
    """

    code = "PNX131"
    name = "leaked-product"
    operators = {  # noqa: RUF012 a table, never changed
        "torch.mv(Tensor input, Tensor vec) -> Tensor": matmul,
        "aten::mv(Tensor self, Tensor vec) -> Tensor": matmul,
        "torch.mm(Tensor input, Tensor mat2) -> Tensor": matmul,
        "aten::mm(Tensor self, Tensor mat2) -> Tensor": matmul,
        "torch.bmm(Tensor input, Tensor mat2) -> Tensor": matmul,
        "aten::bmm(Tensor self, Tensor mat2) -> Tensor": matmul,
        "torch.matmul(Tensor input, Tensor other) -> Tensor": matmul,
        "aten::matmul(Tensor self, Tensor other) -> Tensor": matmul,
        "aten::dot(Tensor self, Tensor tensor) -> Tensor": matmul,
        "aten::vdot(Tensor self, Tensor other) -> Tensor": matmul,
        "aten::inner(Tensor self, Tensor other) -> Tensor": _inner,
        "aten::outer(Tensor self, Tensor vec2) -> Tensor": outer,
        "aten::ger(Tensor self, Tensor vec2) -> Tensor": outer,
        "aten::linalg_vecdot(Tensor x, Tensor y, int dim=-1) -> Tensor": _vecdot,
        "aten::addmm(Tensor self, Tensor mat1, Tensor mat2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(matmul),
        "torch.addmm(Tensor input, Tensor mat1, Tensor mat2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(matmul),
        "aten::addmv(Tensor self, Tensor mat, Tensor vec, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(matmul),
        "aten::addr(Tensor self, Tensor vec1, Tensor vec2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(outer),
        "aten::addbmm(Tensor self, Tensor batch1, Tensor batch2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(_sum_of_products),
        "aten::baddbmm(Tensor self, Tensor batch1, Tensor batch2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(matmul),
        "torch.baddbmm(Tensor input, Tensor batch1, Tensor batch2, Scalar beta=1, Scalar alpha=1)"
        " -> Tensor": _add_product(matmul),
        "aten::tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor": tensordot,
        "aten::linalg_multi_dot(Tensor[] tensors) -> Tensor": _multi_dot,
        "aten::chain_matmul(Tensor[] matrices) -> Tensor": _multi_dot,
        "aten::linalg_matrix_power(Tensor self, int n) -> Tensor": power,
        "aten::matrix_power(Tensor self, int n) -> Tensor": power,
        "aten::kron(Tensor self, Tensor other) -> Tensor": kron,
        "torch.einsum(str equation, Tensor[] operands) -> Tensor": einsum,
        "torch.cross(Tensor input, Tensor other, int? dim=None) -> Tensor": _cross,
        "aten::cross(Tensor self, Tensor other, int? dim=None) -> Tensor": _cross,
        "aten::linalg_cross(Tensor self, Tensor other, int dim=-1) -> Tensor": _cross,
        "F.linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor": linear,
        "aten::linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor": linear,
        "aten::bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor": bilinear,
        "F.bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor": bilinear,
    }
    cases = (
        Case("torch.mv(x, y)", id="mv", x="f32[4,6]", y="f32[6]"),
        Case(
            "torch.addbmm(x, y, z, beta=0.5, alpha=2)",
            id="addbmm",
            x="f32[4,5]",
            y="f32[3,4,6]",
            z="f32[3,6,5]",
        ),
        Case("torch.tensordot(x, y, dims=([0, 2], [1, 0]))", id="tensordot", x="f32[3,4,5]", y="f32[5,3,2]"),
        Refused("torch.linalg.matrix_power(x, -1)", id="inverse", because="inverse", x="f32[4,4]"),
    )
