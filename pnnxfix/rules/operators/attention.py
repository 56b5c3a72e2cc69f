"""Attention, written with products and a Softmax."""

from __future__ import annotations

import math
from math import prod

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.statistics import reduce

_FAR_BELOW = -1e30
_LARGEST_MASK = 1 << 22


def attention(
    b: Builder,
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> Value:
    """F.scaled_dot_product_attention of (..., length, width)."""
    if dropout_p:
        raise NotExpressible("a dropout inside the attention", "convert the model in eval mode")
    if enable_gqa and key.shape[-3] != query.shape[-3]:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (_repeat_heads(b, tensor, repeats) for tensor in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = _products(b, query * factor, key)
    if is_causal:
        scores = scores + _causal_mask(b, query.shape[-2], key.shape[-2])
    if attn_mask is not None:
        scores = scores + ((attn_mask - 1.0) * -_FAR_BELOW if attn_mask.dtype == "bool" else attn_mask)
    return b.matmul(b.softmax(scores, -1), value)


def _products(b: Builder, query: Value, key: Value) -> Value:
    """query @ key.T, the key turned by the MatMul itself."""
    if query.shape[:-2] != key.shape[:-2]:
        turned = [*range(key.rank - 2), key.rank - 1, key.rank - 2]
        return b.matmul(query, b.permute(key, turned))
    count, (rows, width), columns = prod(query.shape[:-2]), query.shape[-2:], key.shape[-2]
    outer = () if count == 1 else (count,)
    left, right = b.as_blob(query, (*outer, rows, width)), b.as_blob(key, (*outer, columns, width))
    shape = (*query.shape[:-1], columns)
    return b.layer("MatMul", (left, right), ("0=1",), shape, (*outer, rows, columns))


def _causal_mask(b: Builder, rows: int, columns: int) -> Value:
    """Row i sees the columns up to i."""
    if rows * columns > _LARGEST_MASK:
        raise NotExpressible(f"a causal mask of {rows} x {columns} would make the model too large")
    numbers = [0.0 if column <= row else _FAR_BELOW for row in range(rows) for column in range(columns)]
    return b.constant(numbers, (rows, columns))


def _repeat_heads(b: Builder, tensor: Value, repeats: int) -> Value:
    """Each head `repeats` times, one after the other."""
    *outer, heads, length, width = tensor.shape
    wide = b.expand(
        b.view(tensor, (*outer, heads, 1, length, width)), (*outer, heads, repeats, length, width)
    )
    return b.view(wide, (*outer, heads * repeats, length, width))


def safe_softmax(b: Builder, x: Value, dim: int, dtype: int | None) -> Value:
    """torch's softmax that gives 0 where all numbers are -inf."""
    if dtype not in {None, 6}:
        raise NotExpressible("the result has another type than float32")
    sees = b.above(reduce(b, "max", b.clip(x, _FAR_BELOW), dim, True), _FAR_BELOW / 2)
    return b.softmax(b.clip(x, _FAR_BELOW), dim) * sees


class Attention(Family):
    """Scaled dot product attention that pnnx could not give to a layer.

    What it finds: `F.scaled_dot_product_attention` in `.ncnn.param`: causal, with a mask of true and
    false, or of a release of pnnx that did not know the operator; and `aten::_safe_softmax`.

    Why it breaks: ncnn has no layer of that name and refuses to load the graph.

    Repair: MatMul of query and key, the mask added, Softmax, MatMul with the value. A causal mask is
    stored in `.ncnn.bin`; a mask of true and false becomes 0 and -1e30.

    Limits: a row that sees nothing at all gives the mean of all values, where torch gives nan or 0.
    A causal mask of more than four million numbers is refused, and so is dropout.

    Example:
        F.scaled_dot_product_attention   sdpa_0   3 1 1 2 3 4      (is_causal=True)
        BinaryOp 0=2, MatMul 0=1, MemoryData, BinaryOp 0=0, Softmax 0=2 1=1, MatMul

    Source: torch's documentation of the operator, with its code; ncnn matmul.cpp and softmax.cpp.
    """

    code = "PNX134"
    name = "leaked-attention"
    operators = {  # noqa: RUF012 a table, never changed
        **{
            f"{kind}.scaled_dot_product_attention(Tensor query, Tensor key, Tensor value,"
            " Tensor? attn_mask=None, float dropout_p=0, bool is_causal=False, float? scale=None,"
            " bool enable_gqa=False) -> Tensor".replace("aten.", "aten::"): attention
            for kind in ("F", "aten")
        },
        "aten::_safe_softmax(Tensor self, int dim, int? dtype=None) -> Tensor": safe_softmax,
    }
    cases = (
        Case(
            "F.scaled_dot_product_attention(x, y, y, is_causal=True)",
            id="causal-attention",
            x="f32[1,2,5,8]",
            y="f32[1,2,5,8]",
        ),
        Case(
            "F.scaled_dot_product_attention(x, x, x, attn_mask=y * 3)",
            id="attention-with-one-mask-for-all-rows",
            x="f32[1,2,5,8]",
            y="f32[1,1,1,5]",
        ),
        Refused(
            "F.scaled_dot_product_attention(x, x, x, dropout_p=0.5)",
            id="attention-with-dropout",
            because="dropout",
            x="f32[1,2,5,8]",
        ),
    )
