"""Losses over classes: cross entropy, negative log likelihood and the multi-class margin."""

from __future__ import annotations

from math import prod

from pnnxfix.rules.cases import RELEASES, Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family
from pnnxfix.rules.lowering.statistics import log_softmax
from pnnxfix.rules.lowering.stored import StoredTensor

_NONE, _MEAN, _SUM = 0, 1, 2
_EXACT = tuple(release for release in RELEASES if release != "20250430")  # that prints 1e-9 as 0.000000


def _class_axis(x: Value) -> int:
    return 1 if x.rank >= 2 else 0


def _mark_classes(
    x: Value, target: StoredTensor, ignored: int | None, hit: float = 1.0, miss: float = 0.0
) -> list[float]:
    """A number for each element of x: `hit` at the wanted class, `miss` at the others, 0 if ignored."""
    axis = _class_axis(x)
    count, inner = x.shape[axis], prod(x.shape[axis + 1 :])
    if target.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        raise NotExpressible(f"targets of shape {target.shape} for scores of {x.shape}")
    marks = [0.0] * x.size
    for at, wanted in enumerate(target.numbers):
        if wanted == ignored:
            continue
        if not 0 <= wanted < count:
            raise NotExpressible(f"a target of {wanted} among {count} classes")
        first = at // inner * count * inner + at % inner
        for number in range(count):
            marks[first + number * inner] = hit if number == wanted else miss
    return marks


def _by_class(b: Builder, x: Value, weight: Value) -> Value:
    """A weight for each class, in the shape that broadcasts with the scores."""
    return b.view(weight, (x.shape[_class_axis(x)], *(1 for _ in x.shape[2:])))


def _reduce(b: Builder, loss: Value, reduction: int, total: Value | float) -> Value:
    """The loss of each sample, their sum, or their sum by the total weight."""
    if reduction == _NONE:
        return loss
    if reduction not in {_MEAN, _SUM}:
        raise NotExpressible(f"a reduction of kind {reduction}")
    summed = b.reduce("sum", loss, None, False)
    if reduction == _SUM:
        return summed
    if not isinstance(total, Value) and total <= 0:
        raise NotExpressible("the mean of no sample at all")
    return summed / total


def _likelihood(
    b: Builder,
    logs: Value,
    target: StoredTensor | object,
    weight: Value | None,
    reduction: int,
    ignored: int,
    smoothing: float = 0.0,
) -> Value:
    """Minus the log probability of the wanted class, which is a constant of the network."""
    if not isinstance(target, StoredTensor):
        raise NotExpressible("classes that are computed", "compute the loss outside of the network")
    axis = _class_axis(logs)
    share = smoothing / logs.shape[axis]
    marks = b.constant(_mark_classes(logs, target, ignored, 1 - smoothing + share, share), logs.shape)
    total: Value | float = float(sum(number != ignored for number in target.numbers))
    if weight is not None:
        weights = _by_class(b, logs, weight)
        marks = marks * weights
        hits = b.constant(_mark_classes(logs, target, ignored), logs.shape)
        total = b.reduce("sum", hits * weights, None, False) if reduction == _MEAN else 0.0
    loss = -b.reduce("sum", marks * logs, (axis,), False)
    return _reduce(b, loss, reduction, total)


def _cross_entropy(
    b: Builder,
    x: Value,
    target: StoredTensor | Value,
    weight: Value | None,
    reduction: int,
    ignored: int,
    smoothing: float,
) -> Value:
    axis = _class_axis(x)
    logs = log_softmax(b, x, axis)
    if isinstance(target, StoredTensor) and target.is_integer:
        return _likelihood(b, logs, target, weight, reduction, ignored, smoothing)
    if isinstance(target, StoredTensor):
        target = b.constant(target.numbers, target.shape)
    if target.shape != x.shape:
        raise NotExpressible(f"probabilities of shape {target.shape} for scores of {x.shape}")
    wanted = target * (1 - smoothing) + smoothing / x.shape[axis] if smoothing else target
    if weight is not None:
        wanted = wanted * _by_class(b, x, weight)
    loss = -b.reduce("sum", wanted * logs, (axis,), False)
    return _reduce(b, loss, reduction, float(x.size // x.shape[axis]))


def _multi_margin(
    b: Builder,
    x: Value,
    target: StoredTensor | object,
    p: float,
    margin: float,
    weight: Value | None,
    reduction: int,
) -> Value:
    """The mean over the other classes of max(0, margin - wanted + other)^p."""
    if not isinstance(target, StoredTensor):
        raise NotExpressible("classes that are computed", "compute the loss outside of the network")
    if p not in {1, 2} or x.rank > 2:
        raise NotExpressible(f"a margin loss with p={p} over {x.rank} axes")
    axis = _class_axis(x)
    target = StoredTensor(x.shape[:axis], target.numbers, target.dtype)
    hits = b.constant(_mark_classes(x, target, None), x.shape)
    short = b.elementwise("ReLU", x - b.reduce("sum", hits * x, (axis,), True) + margin)
    short = (short if p == 1 else b.unary("square", short)) * (1.0 - hits)
    if weight is not None:
        short = short * b.reduce("sum", hits * _by_class(b, x, weight), (axis,), True)
    loss = b.reduce("sum", short, (axis,), False) * (1 / x.shape[axis])
    return _reduce(b, loss, reduction, float(x.size // x.shape[axis]))


class ClassLosses(Family):
    """Losses over classes left in a network that was traced together with them.

    What it finds: `aten::cross_entropy_loss`, `aten::nll_loss_nd` and `aten::multi_margin_loss` in
    `.ncnn.param`.

    Why it breaks: ncnn has no losses and refuses to load the graph.

    Repair: constant classes become a stored tensor of 0 and 1 that picks their scores; the rest is
    arithmetic, Softmax written out, and Reductions.

    Limits: classes that are an input of the network are refused: they are integers, and ncnn's
    layers compute on floats only. Probabilities may be computed.

    Example:
        aten::nll_loss_nd   pnnx_4    5 1 in0 1 2 3 4 out0
        MemoryData with the classes, BinaryOp 2, Reduction 0=0, UnaryOp 1

    Source: ATen LossNLL.cpp and LossMultiMargin.cpp; ncnn memorydata.cpp, reduction.cpp.
    """

    code = "PNX128"
    name = "leaked-class-loss"
    operators = {  # noqa: RUF012 a table, never changed
        "aten::cross_entropy_loss(Tensor self, Tensor|Stored target, Tensor? weight=None, int reduction=1,"
        " int ignore_index=-100, float label_smoothing=0.0) -> Tensor": _cross_entropy,
        "aten::nll_loss_nd(Tensor self, Tensor|Stored target, Tensor? weight=None, int reduction=1,"
        " int ignore_index=-100) -> Tensor": _likelihood,
        "aten::multi_margin_loss(Tensor self, Tensor|Stored target, Scalar p=1, Scalar margin=1,"
        " Tensor? weight=None, int reduction=1) -> Tensor": _multi_margin,
    }
    cases = (
        Case(
            "F.cross_entropy(x, torch.tensor([1, 0, 4]), label_smoothing=0.1)",
            id="cross-entropy",
            x="f32[3,5]",
        ),
        Case(
            "F.cross_entropy(x, y.softmax(-1))",
            id="cross-entropy-soft",
            releases=_EXACT,
            x="f32[3,5]",
            y="f32[3,5]",
        ),
        Refused("F.nll_loss(x, y)", id="nll-computed", because="integers", x="f32[3,5]", y="i64[3]"),
    )
