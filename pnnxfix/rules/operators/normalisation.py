"""Norms, distances and normalisations."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.distances import (
    Order,
    cdist,
    cosine_similarity,
    linalg_norm,
    matrix_norm,
    norm,
    normalize,
    pairwise_distance,
    pdist,
    read_order,
    renorm,
)
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.normalisation import (
    batch_statistics_norm,
    group_norm,
    instance_norm,
    layer_norm,
    moments,
    rms_norm,
)
from pnnxfix.rules.lowering.statistics import Axes, vector_norm

_MISSING = "missing"
_WEIGHTS = "Tensor? weight=None, Tensor? bias=None"


def _need_float(dtype: int | None) -> None:
    if dtype not in {None, 6}:
        raise NotExpressible("the result has another type than float32")


def _aten_norm(b: Builder, x: Value, p: Order, dim: Axes | str, keepdim: bool, dtype: int | None) -> Value:
    """aten::norm(x, p) or aten::norm(x, p, dim, keepdim, dtype)."""
    _need_float(dtype)
    return norm(b, x, p, None if isinstance(dim, str) else dim, keepdim)


def _linalg_norm(b: Builder, x: Value, order: Order, dim: Axes, keepdim: bool, dtype: int | None) -> Value:
    _need_float(dtype)
    return linalg_norm(b, x, order, dim, keepdim)


def _vector_norm(b: Builder, x: Value, order: Order, dim: Axes, keepdim: bool, dtype: int | None) -> Value:
    _need_float(dtype)
    return vector_norm(b, x, read_order(order), dim, keepdim)


def _matrix_norm(
    b: Builder, x: Value, order: Order, dim: Sequence[int], keepdim: bool, dtype: int | None
) -> Value:
    _need_float(dtype)
    return matrix_norm(b, x, order, dim, keepdim)


def _cdist(b: Builder, x: Value, y: Value, p: float, mode: int | None) -> Value:
    """`mode` is about speed only."""
    return cdist(b, x, y, p)


def _refuse_batch_norm(b: Builder, *arguments: object) -> Value:
    raise NotExpressible(
        "whether this batch norm takes its own statistics or those of the batch is not in .pnnx.param",
        "use nn.BatchNorm, or write it with the arithmetic that it is",
    )


def _native_batch_norm(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: object,
    var: object,
    training: bool,
    momentum: float,
    eps: float,
) -> Sequence[Value | None]:
    if training is not True:
        raise NotExpressible("a batch norm with computed statistics in evaluation mode")
    return batch_statistics_norm(b, x, weight, bias, eps)


def _batch_norm_with_update(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: object,
    var: object,
    momentum: float,
    eps: float,
) -> Sequence[Value | None]:
    """The last result is room for cuDNN."""
    return *batch_statistics_norm(b, x, weight, bias, eps), None


def _native_layer_norm(
    b: Builder, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> Sequence[Value]:
    kept = x.shape[: x.rank - len(shape)] + (1,) * len(shape)
    inner = 1
    for size in shape:
        inner *= size
    return layer_norm(b, x, shape, weight, bias, eps), *moments(b, x, inner, eps, kept)


def _native_group_norm(
    b: Builder,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    n: int,
    c: int,
    rest: int,
    groups: int,
    eps: float,
) -> Sequence[Value]:
    found = moments(b, x, c * rest // groups, eps, (n, groups))
    return group_norm(b, x, groups, weight, bias, eps), *found


class Normalisation(Family):
    """Norms, distances and normalisations that pnnx knows no layer for.

    What it finds: `aten::dist`, `aten::cdist`, `aten::renorm`, `aten::cosine_similarity`,
    `F.pairwise_distance`, `aten::linalg_norm` and its kin of any order and axes, and `F.layer_norm`,
    `F.group_norm`, `F.instance_norm`, `F.rms_norm` whose weights are computed or
    absent.

    Why it breaks: ncnn has no such layer, or keeps the weights in `.ncnn.bin` only, and refuses to
    load the graph.

    Repair: Reduction, BinaryOp and UnaryOp layers; for the normalisations a LayerNorm without
    weights over the elements that belong together, then what is multiplied and added.

    Limits: norms that need singular values, and negative orders, have no layers. `F.batch_norm` with
    computed statistics is refused, since pnnx keeps no `training`.

    Example:
        F.layer_norm   F.layer_norm_0   3 1 in0 in1 in2 out0      (normalized_shape=(8))
        LayerNorm 0=8 1=1e-5 2=0, BinaryOp 0=2, BinaryOp 0=0

    Source: torch's documentation; ncnn reduction.cpp and layernorm.cpp (0 size, 1 eps, 2 affine).
    """

    code = "PNX132"
    name = "leaked-normalisation"
    operators = {  # noqa: RUF012 a table, never changed
        "torch.norm(Tensor input, Scalar? p=2, int[]? dim=None, bool keepdim=False) -> Tensor": norm,
        "aten::norm(Tensor self, Scalar? p=2, int[]? dim=missing, bool keepdim=False, int? dtype=None)"
        " -> Tensor": _aten_norm,
        "aten::frobenius_norm(Tensor self, int[] dim, bool keepdim=False) -> Tensor": lambda b, x, d, k: norm(
            b, x, None, d, k
        ),
        "aten::linalg_norm(Tensor self, Scalar? ord=None, int[]? dim=None, bool keepdim=False,"
        " int? dtype=None) -> Tensor": _linalg_norm,
        "aten::linalg_vector_norm(Tensor self, Scalar ord=2, int[]? dim=None, bool keepdim=False,"
        " int? dtype=None) -> Tensor": _vector_norm,
        "aten::linalg_matrix_norm(Tensor self, Scalar ord, int[] dim, bool keepdim=False,"
        " int? dtype=None) -> Tensor": _matrix_norm,
        "aten::dist(Tensor self, Tensor other, Scalar p=2) -> Tensor": lambda b, x, y, p: vector_norm(
            b, x - y, read_order(p), None, False
        ),
        "aten::cdist(Tensor x1, Tensor x2, float p=2, int? compute_mode=None) -> Tensor": _cdist,
        "torch.cdist(Tensor x1, Tensor x2, float p=2, int? compute_mode=None) -> Tensor": _cdist,
        "aten::pdist(Tensor self, float p=2) -> Tensor": pdist,
        "aten::pairwise_distance(Tensor x1, Tensor x2, float p=2, float eps=1e-6, bool keepdim=False)"
        " -> Tensor": pairwise_distance,
        "F.pairwise_distance(Tensor x1, Tensor x2, float p=2, float eps=1e-6, bool keepdim=False)"
        " -> Tensor": pairwise_distance,
        "aten::cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-8)"
        " -> Tensor": cosine_similarity,
        "F.cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-8) -> Tensor": cosine_similarity,
        "F.normalize(Tensor input, float p=2, int[] dim=1, float eps=1e-12) -> Tensor": normalize,
        "aten::renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor": renorm,
        "torch.renorm(Tensor input, Scalar p, int dim, Scalar maxnorm) -> Tensor": renorm,
        f"F.batch_norm(Tensor input, Ignored running_mean, Ignored running_var, {_WEIGHTS}, float eps=1e-5)"
        " -> Tensor": _refuse_batch_norm,
        **{
            f"aten::{name}(Tensor input, {_WEIGHTS}, Ignored running_mean, Ignored running_var,"
            " bool training, float momentum, float eps) -> (Tensor, Tensor, Tensor)": _native_batch_norm
            for name in ("native_batch_norm", "_native_batch_norm_legit")
        },
        f"aten::_batch_norm_with_update(Tensor input, {_WEIGHTS}, Ignored running_mean, Ignored running_var,"
        " float momentum, float eps) -> (Tensor, Tensor, Tensor, Tensor)": _batch_norm_with_update,
        f"F.group_norm(Tensor input, int num_groups, {_WEIGHTS}, float eps=1e-5) -> Tensor": group_norm,
        f"F.instance_norm(Tensor input, {_WEIGHTS}, float eps=1e-5, Ignored running_mean=None,"
        " Ignored running_var=None) -> Tensor": lambda b, x, w, bias, eps, *_: instance_norm(
            b, x, w, bias, eps
        ),
        f"F.layer_norm(Tensor input, int[] normalized_shape, {_WEIGHTS}, float eps=1e-5)"
        " -> Tensor": layer_norm,
        "F.rms_norm(Tensor input, int[] normalized_shape, Tensor? weight=None, float? eps=None)"
        " -> Tensor": rms_norm,
        f"aten::native_layer_norm(Tensor input, int[] normalized_shape, {_WEIGHTS}, float eps=1e-5)"
        " -> (Tensor, Tensor, Tensor)": _native_layer_norm,
        f"aten::native_group_norm(Tensor input, {_WEIGHTS}, int N, int C, int HxW, int group, float eps)"
        " -> (Tensor, Tensor, Tensor)": _native_group_norm,
    }
    cases = (
        Case("torch.cdist(x, y, p=1.0)", id="cdist", x="f32[4,3]", y="f32[5,3]"),
        Case("F.normalize(x, dim=-1)", id="normalize-of-four-axes", x="f32[2,3,4,5]"),
        Case("F.cosine_similarity(x, y, dim=1)", id="cosine", x="f32[3,6,5]", y="f32[3,6,5]"),
        Case(
            "F.layer_norm(x, (5,), y, z, 1e-5)",
            id="layer-norm-of-inputs",
            x="f32[1,6,5]",
            y="f32[5]",
            z="f32[5]",
        ),
        Refused(
            "torch.linalg.matrix_norm(x, 2)", id="spectral-norm", because="singular values", x="f32[4,3]"
        ),
    )
