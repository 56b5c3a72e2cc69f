"""Modules with weights, and what stands beside them, where a tensor of too many axes passes through."""

from __future__ import annotations

from math import prod

from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family


def _linear(b: Builder, x: Value, in_features: int, out_features: int, _: object) -> Value:
    """The row's own layer, on all vectors at once."""
    rows = x.size // in_features
    shape = (*x.shape[:-1], out_features)
    kind = b.own_type()
    if kind == "InnerProduct" and rows == 1:
        return b.own_layer(b.as_blob(x, (in_features,)), shape, (out_features,))
    if kind == "InnerProduct":  # a matrix whose rows have that many numbers is taken row by row
        return b.own_layer(b.as_blob(x, (rows, in_features)), shape, (rows, out_features))
    if kind == "Gemm":
        return b.own_layer(b.as_blob(x, (rows, in_features)), shape, (rows, out_features), {"7": str(rows)})
    raise NotExpressible(f"the layer {kind} of nn.Linear does not take {rows} vectors")


def _layer_norm(b: Builder, x: Value, normalized_shape: tuple[int, ...], *_: object) -> Value:
    width = prod(normalized_shape)
    if tuple(x.shape[-len(normalized_shape) :]) != tuple(normalized_shape):
        raise NotExpressible(f"LayerNorm over {normalized_shape} of {x.shape}")
    blob = (x.size // width, width)
    return b.own_layer(b.as_blob(x, blob), x.shape, blob)


def _batch_norm(b: Builder, x: Value, num_features: int, *_: object) -> Value:
    """The row's own layer, which has the channels outermost."""
    if x.rank < 2 or x.shape[1] != num_features:
        raise NotExpressible(f"{num_features} channels of {x.shape}")
    order = (1, 0, *range(2, x.rank))
    turned = b.permute(x, order)
    blob = (num_features, x.size // num_features)
    return b.permute(b.own_layer(b.as_blob(turned, blob), turned.shape, blob), order)


def _elementwise(b: Builder, x: Value) -> Value:
    x = b.certain(x)
    assert x.blob is not None
    return b.own_layer(x, x.shape, x.blob)


class Modules(Family):
    """A module in the middle of operators that ncnn cannot hold as they are.

    What it finds: nothing by itself. Where leaked operators pass a tensor of more than four axes
    through `nn.Linear`, `nn.LayerNorm`, `nn.BatchNorm1d` or an activation, these are lowered with them.

    Why it breaks: pnnx writes their layers for the axes that it believes in, which are not there.

    Repair: the layer stays, with its place in the `.bin`, and gets all vectors as one matrix.

    Limits: what normalises or convolves over axes that are taken apart is not touched.

    Example:
        Gemm   gemm_0   1 1 17 18 10=4 2=0 3=1 4=0 5=1 6=1 7=64 8=8 9=8

    Source: ncnn gemm.cpp, layernorm.cpp; twins and maxvit, converted by 20261020.
    """

    code = "PNX129"
    name = "module-among-leaks"
    operators = {  # noqa: RUF012 a table, never changed
        "nn.Linear(Tensor input, int in_features, int out_features, bool bias=True) -> Tensor": _linear,
        "nn.LayerNorm(Tensor input, int[] normalized_shape, float eps=0, bool elementwise_affine=True)"
        " -> Tensor": _layer_norm,
        **{
            f"nn.BatchNorm{axes}d(Tensor input, int num_features, float eps=0, bool affine=True)"
            " -> Tensor": _batch_norm
            for axes in (1, 2, 3)
        },
        "nn.GELU(Tensor input, str approximate=none) -> Tensor": lambda b, x, _: _elementwise(b, x),
        "nn.ReLU(Tensor input) -> Tensor": _elementwise,
        "nn.SiLU(Tensor input) -> Tensor": _elementwise,
        "nn.Hardswish(Tensor input) -> Tensor": _elementwise,
        "nn.Sigmoid(Tensor input) -> Tensor": _elementwise,
        "nn.Softmax(Tensor input, int dim) -> Tensor": lambda b, x, dim: b.softmax(x, dim),
        "nn.Dropout(Tensor input, float p=0) -> Tensor": lambda b, x, _: x,
    }
    cases = (
        Case(
            "y = x.reshape(2, 4, 2, 4, 3, 1).permute(0, 2, 1, 3, 5, 4)\n"
            "return f(y).permute(0, 2, 1, 3, 4, 5).reshape(8, 8, 3)",
            id="linear-on-windows",
            setup={"f": "nn.Linear(3, 3)"},
            x="f32[8,8,3]",
        ),
    )
