"""Losses: elementwise arithmetic, and the mean or the sum of it."""

from __future__ import annotations

import math

from pnnxfix.rules.cases import RELEASES, Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import FLT_MIN, is_equal, negate
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.functions import log_above_zero, softplus

_PAIR = "Tensor self, Tensor target"
_X = "f32[3,5,7]"
_MEAN, _SUM = 1, 2
_EXACT = tuple(release for release in RELEASES if release != "20250430")  # that prints 1e-9 as 0.000000


def _reduce(b: Builder, loss: Value, reduction: int) -> Value:
    """pnnx writes the reduction as ATen's number."""
    if reduction == 0:
        return loss
    if reduction not in {_MEAN, _SUM}:
        raise NotExpressible(f"a reduction of kind {reduction}")
    return b.reduce("mean" if reduction == _MEAN else "sum", loss, None, False)


def _positive(b: Builder, x: Value) -> Value:
    return b.elementwise("ReLU", x)


def _squared(b: Builder, x: Value, y: Value, reduction: int) -> Value:
    return _reduce(b, b.unary("square", x - y), reduction)


def _absolute(b: Builder, x: Value, y: Value, reduction: int) -> Value:
    return _reduce(b, b.unary("abs", x - y), reduction)


def _smooth(b: Builder, x: Value, y: Value, reduction: int, beta: float) -> Value:
    """c^2 / (2 beta) + d - c, with d = |x - y| and c = min(d, beta)."""
    if beta == 0:
        return _absolute(b, x, y, reduction)
    size = b.unary("abs", x - y)
    near = b.binary("min", size, beta)
    return _reduce(b, b.unary("square", near) * (0.5 / beta) + (size - near), reduction)


def _huber(b: Builder, x: Value, y: Value, reduction: int, delta: float) -> Value:
    size = b.unary("abs", x - y)
    near = b.binary("min", size, delta)
    return _reduce(b, b.unary("square", near) * 0.5 + (size - near) * delta, reduction)


def _log_from_minus_100(b: Builder, x: Value) -> Value:
    """log x for a probability, -100 for 0, as torch bounds it."""
    lowest = math.log(FLT_MIN)
    return log_above_zero(b, x) + (b.above(x, 0.0) * (100 + lowest) - (100 + lowest))


def _binary_entropy(b: Builder, x: Value, y: Value, weight: Value | None, reduction: int) -> Value:
    loss = (y - 1.0) * _log_from_minus_100(b, 1.0 - x) - y * _log_from_minus_100(b, x)
    return _reduce(b, loss if weight is None else loss * weight, reduction)


def _binary_entropy_with_logits(
    b: Builder, x: Value, y: Value, weight: Value | None, pos_weight: Value | None, reduction: int
) -> Value:
    if pos_weight is None:
        loss = softplus(b, x) - x * y
    else:
        loss = (1.0 - y) * x + ((pos_weight - 1.0) * y + 1.0) * softplus(b, -x)
    return _reduce(b, loss if weight is None else loss * weight, reduction)


def _divergence(b: Builder, x: Value, y: Value, reduction: int, log_target: bool) -> Value:
    loss = b.unary("exp", y) * (y - x) if log_target else y * log_above_zero(b, y) - y * x
    return _reduce(b, loss, reduction)


def _poisson(
    b: Builder, x: Value, y: Value, log_input: bool, full: bool, eps: float, reduction: int
) -> Value:
    loss = b.unary("exp", x) - y * x if log_input else x - y * b.unary("log", x + eps)
    if full:
        # Stirling's approximation, for targets above 1 only.
        target = b.binary("max", y, 1.0)
        stirling = target * b.unary("log", target) - target + b.unary("log", target * (2 * math.pi)) * 0.5
        loss = loss + stirling * b.above(y, 1.0)
    return _reduce(b, loss, reduction)


def _hinge_embedding(b: Builder, x: Value, y: Value, margin: float, reduction: int) -> Value:
    """x for a target of 1, max(0, margin - x) for -1, both for any other."""
    far = _positive(b, margin - x) * negate(is_equal(b, y, 1.0))
    return _reduce(b, far + x * negate(is_equal(b, y, -1.0)), reduction)


def _soft_margin(b: Builder, x: Value, y: Value, reduction: int) -> Value:
    return _reduce(b, softplus(b, -(x * y)), reduction)


def _margin_ranking(b: Builder, x: Value, y: Value, z: Value, margin: float, reduction: int) -> Value:
    loss = (y - x) * z
    return _reduce(b, _positive(b, loss + margin if margin else loss), reduction)


def _cosine_embedding(b: Builder, x: Value, y: Value, z: Value, margin: float, reduction: int) -> Value:
    """1 - cos for a target of 1, max(0, cos - margin) for -1; torch's 1e-12 keeps the root from 0."""
    product = b.reduce("sum", x * y, (-1,), False)
    sizes = [b.reduce("sum", b.unary("square", one), (-1,), False) + 1e-12 for one in (x, y)]
    cosine = product / b.unary("sqrt", sizes[0] * sizes[1])
    away = _positive(b, cosine - margin if margin else cosine)
    return _reduce(b, (1.0 - cosine) * is_equal(b, z, 1.0) + away * is_equal(b, z, -1.0), reduction)


def _distance(b: Builder, x: Value, y: Value, p: float, eps: float) -> Value:
    """torch.pairwise_distance over the last axis."""
    apart = x - y + eps
    if p == 1:
        return b.reduce("asum", apart, (-1,), False)
    if p == 2:
        return b.unary("sqrt", b.reduce("sumsq", apart, (-1,), False))
    raise NotExpressible(f"a distance with p={p}", "use p=1 or p=2")


def _triplet(
    b: Builder,
    anchor: Value,
    positive: Value,
    negative: Value,
    margin: float,
    p: float,
    eps: float,
    swap: bool,
    reduction: int,
) -> Value:
    near = _distance(b, anchor, positive, p, eps)
    far = _distance(b, anchor, negative, p, eps)
    if swap:
        far = b.binary("min", far, _distance(b, positive, negative, p, eps))
    return _reduce(b, _positive(b, near - far + margin), reduction)


class Losses(Family):
    """Losses left in a network that was traced together with them.

    What it finds: `aten::mse_loss`, `aten::binary_cross_entropy`, `aten::kl_div`,
    `aten::triplet_margin_loss` and other losses in `.ncnn.param`.

    Why it breaks: ncnn has no losses and refuses to load the graph.

    Repair: the loss written out with BinaryOp and UnaryOp layers, and a Reduction for its mean or sum.

    Limits: floats only. Probabilities and targets are taken to be in their domain; outside, where
    torch gives nan, ncnn gives some number.

    Example:
        aten::mse_loss   pnnx_4    3 1 2 3 4 out0
        (x - y)^2, as BinaryOp 1, UnaryOp 4 and Reduction 0=3

    Source: ATen Loss.cpp; ncnn reduction.cpp.
    """

    code = "PNX124"
    name = "leaked-loss"
    operators = {  # noqa: RUF012 a table, never changed
        f"aten::mse_loss({_PAIR}, int reduction=1) -> Tensor": _squared,
        f"aten::l1_loss({_PAIR}, int reduction=1) -> Tensor": _absolute,
        f"aten::smooth_l1_loss({_PAIR}, int reduction=1, float beta=1) -> Tensor": _smooth,
        f"aten::huber_loss({_PAIR}, int reduction=1, float delta=1) -> Tensor": _huber,
        f"aten::binary_cross_entropy({_PAIR}, Tensor? weight=None, int reduction=1) -> Tensor": (
            _binary_entropy
        ),
        f"aten::binary_cross_entropy_with_logits({_PAIR}, Tensor? weight=None, Tensor? pos_weight=None,"
        " int reduction=1) -> Tensor": _binary_entropy_with_logits,
        f"aten::kl_div({_PAIR}, int reduction=1, *, bool log_target=False) -> Tensor": _divergence,
        "aten::poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps,"
        " int reduction) -> Tensor": _poisson,
        f"aten::hinge_embedding_loss({_PAIR}, float margin=1, int reduction=1) -> Tensor": _hinge_embedding,
        f"aten::soft_margin_loss({_PAIR}, int reduction=1) -> Tensor": _soft_margin,
        "aten::margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0,"
        " int reduction=1) -> Tensor": _margin_ranking,
        "aten::cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0,"
        " int reduction=1) -> Tensor": _cosine_embedding,
        "aten::triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1,"
        " float p=2, float eps=1e-6, bool swap=False, int reduction=1) -> Tensor": _triplet,
    }
    cases = (
        Case("F.mse_loss(x, y)", id="mse-mean", x=_X, y=_X),
        Case("F.binary_cross_entropy(torch.sigmoid(x), torch.sigmoid(y))", id="bce", x=_X, y=_X),
        Case("F.smooth_l1_loss(x, y, beta=0.5, reduction='none')", id="smooth-l1", x=_X, y=_X),
        Refused(
            "F.triplet_margin_loss(x, y, y * 2, p=3)",
            id="triplet-p3",
            because="p=3",
            releases=_EXACT,
            x="f32[9,6]",
            y="f32[9,6]",
        ),
    )
