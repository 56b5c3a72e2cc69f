"""Products of tensors of any rank, made of MatMul layers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.views import broadcast_shapes


def matmul(b: Builder, x: Value, y: Value) -> Value:
    """torch.matmul: vectors are rows on the left and columns on the right, and lose that axis again."""
    if not x.rank or not y.rank:
        raise NotExpressible("a product with a tensor of no axes")
    left = b.unsqueeze(x, 0) if x.rank == 1 else x
    right = b.unsqueeze(y, 1) if y.rank == 1 else y
    product = b.matmul(left, right)
    if y.rank == 1:
        product = b.squeeze(product, -1)
    return b.squeeze(product, -1 if y.rank == 1 else -2) if x.rank == 1 else product


def linear(b: Builder, x: Value, weight: Value, bias: Value | None) -> Value:
    """x @ weight.T + bias, the weight turned by the MatMul itself."""
    out, inner = weight.shape if weight.rank == 2 else (1, weight.size)
    if bias is not None and bias.size not in {1, out}:
        raise NotExpressible(
            f"pnnx has cut the bias of {out} numbers to {bias.size}: the model writes into a part of it",
            "convert the model with `pnnxfix convert --prepare`, which writes that another way",
        )
    rows = x.size // inner
    shape = (*x.shape[:-1], out) if weight.rank == 2 else x.shape[:-1]
    left, right = b.as_blob(x, (rows, inner)), b.as_blob(weight, (out, inner))
    product = b.layer("MatMul", (left, right), ("0=1",), shape, (rows, out))
    return product if bias is None else product + bias


def tensordot(
    b: Builder, x: Value, y: Value, x_axes: Sequence[int] | None, y_axes: Sequence[int] | None
) -> Value:
    """torch.tensordot, as one product of two matrices; pnnx writes an empty list as None."""
    ours, theirs = [x.axis(axis) for axis in x_axes or ()], [y.axis(axis) for axis in y_axes or ()]
    rows = [axis for axis in range(x.rank) if axis not in ours]
    columns = [axis for axis in range(y.rank) if axis not in theirs]
    shape = [x.shape[axis] for axis in rows] + [y.shape[axis] for axis in columns]
    inner = prod(x.shape[axis] for axis in ours)
    left = b.view(b.permute(x, [*rows, *ours]), (x.size // inner, inner))
    right = b.view(b.permute(y, [*theirs, *columns]), (inner, y.size // inner))
    return b.view(b.matmul(left, right), shape)


def bilinear(b: Builder, x: Value, y: Value, weight: Value, bias: Value | None) -> Value:
    """F.bilinear: x of (*, i) and y of (*, j) with a weight of (k, i, j) give (*, k)."""
    out, first, second = weight.shape
    rows = x.size // first
    table = b.view(b.permute(weight, (1, 0, 2)), (first, out * second))
    shares = b.view(b.matmul(b.view(x, (rows, first)), table), (rows, out, second))
    found = b.matmul(shares, b.view(y, (rows, second, 1)))
    found = b.view(found, (*x.shape[:-1], out))
    return found if bias is None else found + bias


def outer(b: Builder, x: Value, y: Value) -> Value:
    return b.view(x, (x.size, 1)) * b.view(y, (1, y.size))


def power(b: Builder, x: Value, exponent: int) -> Value:
    """A power of square matrices by squaring."""
    if exponent < 0:
        raise NotExpressible("the inverse of a matrix has no layers")
    if exponent == 0:
        size = x.shape[-1]
        count = x.size // (size * size)
        identity = [float(row == column) for row in range(size) for column in range(size)]
        return b.constant(identity * count, x.shape)
    if exponent == 1:
        return x
    half = power(b, x, exponent // 2)
    square = b.matmul(half, half)
    return b.matmul(square, x) if exponent % 2 else square


def kron(b: Builder, x: Value, y: Value) -> Value:
    """torch.kron: each element of x times the whole of y."""
    rank = max(x.rank, y.rank)
    left, right = ((1,) * (rank - value.rank) + value.shape for value in (x, y))
    wide = b.view(x, [size for one in left for size in (one, 1)])
    tall = b.view(y, [size for one in right for size in (1, one)])
    return b.view(wide * tall, [one * two for one, two in zip(left, right, strict=True)])


def cross(b: Builder, x: Value, y: Value, axis: int) -> Value:
    """torch.linalg.cross along an axis of three."""
    shape = broadcast_shapes(x.shape, y.shape)
    if shape is None:
        raise NotExpressible(f"shapes {x.shape} and {y.shape} do not broadcast")
    x, y = b.expand(x, shape), b.expand(y, shape)
    axis = x.axis(axis)
    ours, theirs = ([b.slice(value, axis, at, at + 1) for at in range(3)] for value in (x, y))
    pairs = ((1, 2), (2, 0), (0, 1))
    return b.concat([ours[one] * theirs[two] - ours[two] * theirs[one] for one, two in pairs], axis)


def einsum(b: Builder, equation: str, tensors: Sequence[Value]) -> Value:
    """torch.einsum of letters that each stand once in an operand; pairs are multiplied one after another."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        result = "".join(sorted(letter for letter in set(left) if left.count(letter) == 1 and letter != ","))
    fits = len(terms) == len(tensors) and all(
        term.isalpha() and len(set(term)) == len(term) == x.rank
        for term, x in zip(terms, tensors, strict=True)
    )
    if not fits or not set(result) <= set(left):
        raise NotExpressible(f"the equation `{equation[:60]}`", "write it with matmul in the PyTorch model")
    value, term = tensors[0], terms[0]
    for at in range(1, len(tensors)):
        wanted = "".join(terms[at + 1 :]) + result
        value, term = _contract(b, value, term, tensors[at], terms[at], wanted)
    value, term = _sum_out(b, value, term, result)
    return b.permute(value, [term.index(letter) for letter in result]) if result else value


def _contract(b: Builder, x: Value, ours: str, y: Value, theirs: str, wanted: str) -> tuple[Value, str]:
    """Two operands of an einsum, as (batch, rows, inner) @ (batch, inner, columns), and its letters."""
    x, ours = _sum_out(b, x, ours, wanted + theirs)
    y, theirs = _sum_out(b, y, theirs, wanted + ours)
    both = [letter for letter in ours if letter in theirs]
    batch = [letter for letter in both if letter in wanted]
    inner = [letter for letter in both if letter not in wanted]
    rows = [letter for letter in ours if letter not in both]
    columns = [letter for letter in theirs if letter not in both]
    sizes = {**dict(zip(ours, x.shape, strict=True)), **dict(zip(theirs, y.shape, strict=True))}
    left = b.permute(x, [ours.index(letter) for letter in (*batch, *rows, *inner)])
    right = b.permute(y, [theirs.index(letter) for letter in (*batch, *inner, *columns)])
    count, height, depth, width = (
        prod(sizes[letter] for letter in group) for group in (batch, rows, inner, columns)
    )
    if depth == 1:
        product = b.view(left, (count, height, 1)) * b.view(right, (count, 1, width))
    else:
        product = b.matmul(b.view(left, (count, height, depth)), b.view(right, (count, depth, width)))
    term = "".join((*batch, *rows, *columns))
    return b.view(product, [sizes[letter] for letter in term]), term


def _sum_out(b: Builder, x: Value, term: str, wanted: str) -> tuple[Value, str]:
    gone = [at for at, letter in enumerate(term) if letter not in wanted]
    kept = "".join(letter for letter in term if letter in wanted)
    return (b.reduce("sum", x, gone, False) if gone else x), kept
