"""Reductions over axes: variance, any and all, running products, and what pnnx reduces wrongly."""

from __future__ import annotations

from collections.abc import Sequence

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import truth
from pnnxfix.rules.lowering.family import Family, Lower
from pnnxfix.rules.lowering.statistics import (
    Axes,
    covariance,
    log_softmax,
    log_sum_exp,
    reduce,
    running_log_sum_exp,
    scan,
    variance,
    without_nan,
)

_MISSING = "missing"
_FLOATS = {None, 6}  # ATen's number of float32


def _need_float(dtype: int | None) -> None:
    if dtype not in _FLOATS:
        raise NotExpressible("the result has another type than float32")


def _reduction(name: str) -> Lower:
    def lower(b: Builder, x: Value, dim: Axes, keepdim: bool, dtype: int | None = None) -> Value:
        _need_float(dtype)
        return reduce(b, name, x, dim, keepdim)

    return lower


def _prod(b: Builder, x: Value, dim: Axes, keepdim: bool | str, dtype: int | str | None) -> Value:
    """aten::prod(x, dtype) or aten::prod(x, dim, keepdim, dtype)."""
    if keepdim == _MISSING:
        dim, keepdim, dtype = None, False, dim if isinstance(dim, int) else None
    _need_float(dtype if isinstance(dtype, int) else None)
    return reduce(b, "prod", x, dim, bool(keepdim))


def _truths(name: str) -> Lower:
    def lower(b: Builder, x: Value, dim: Axes = None, keepdim: bool = False) -> Value:
        return reduce(b, name, truth(b, x), dim, keepdim)

    return lower


def _extreme(name: str) -> Lower:
    """torch.max and torch.min: of all elements, or along an axis with the places as second result."""

    def lower(b: Builder, x: Value, dim: Axes, keepdim: bool) -> Sequence[Value | None]:
        value = reduce(b, name, x, dim, keepdim)
        return (value, None)[: len(b.result_shapes)]

    return lower


def _running_extreme(name: str) -> Lower:
    def lower(b: Builder, x: Value, dim: int) -> Sequence[Value | None]:
        return scan(b, x, dim, lambda one, two: b.binary(name, one, two)), None

    return lower


def _cumsum(b: Builder, x: Value, dim: int, dtype: int | None) -> Value:
    _need_float(dtype)
    if x.rank == 0:
        return x
    shaped, at = b.along(x, dim)
    assert shaped.blob is not None
    return b.layer("CumulativeSum", (shaped,), (f"0={at}",), x.shape, shaped.blob)


def _cumprod(b: Builder, x: Value, dim: int, dtype: int | None) -> Value:
    _need_float(dtype)
    return scan(b, x, dim, lambda one, two: one * two)


def _moments(*, root: bool, mean: bool) -> Lower:
    """Any overload of var, std, var_mean and std_mean: the kinds of its arguments tell which."""

    def lower(
        b: Builder, x: Value, first: object, second: object = _MISSING, keepdim: object = False
    ) -> Value | Sequence[Value]:
        if second == _MISSING:
            axes, correction = None, first
        else:
            axes, correction = first, second
        correction = 1 if correction is None or correction is True else correction
        if not isinstance(correction, int | float) or not isinstance(axes, tuple | int | None):
            raise NotExpressible("which axes are reduced is not certain")
        found, average = variance(b, x, axes, float(correction), keepdim is True)
        found = b.unary("sqrt", found) if root else found
        return (found, average) if mean else found

    return lower


def _std(
    b: Builder, x: Value, dim: Axes, unbiased: float | None, keepdim: bool, correction: float | str | None
) -> Value:
    """torch.std, whose correction pnnx writes under either name."""
    given = unbiased if correction == _MISSING else correction
    found = _moments(root=True, mean=False)(b, x, dim, given, keepdim)
    assert isinstance(found, Value)
    return found


def _nansum(b: Builder, x: Value, dim: Axes, keepdim: bool, dtype: int | None) -> Value:
    _need_float(dtype)
    return reduce(b, "sum", without_nan(b, x)[0], dim, keepdim)


def _nanmean(b: Builder, x: Value, dim: Axes, keepdim: bool, dtype: int | None) -> Value:
    _need_float(dtype)
    numbers, mask = without_nan(b, x)
    return reduce(b, "sum", numbers, dim, keepdim) / reduce(b, "sum", mask, dim, keepdim)


def _cov(b: Builder, x: Value, correction: float, fweights: object, aweights: object) -> Value:
    if fweights is not None or aweights is not None:
        raise NotExpressible("a covariance with weights")
    return covariance(b, x, correction)


def _sum_to_size(b: Builder, x: Value, size: Sequence[int]) -> Value:
    padded = (1,) * (x.rank - len(size)) + tuple(size)
    axes = [at for at, (have, want) in enumerate(zip(x.shape, padded, strict=True)) if have != want]
    return b.view(reduce(b, "sum", x, axes, True) if axes else x, size)


def _trapezoid(b: Builder, y: Value, x: Value | float, dim: int) -> Value:
    """torch.trapezoid: `x` are the places, or the distance of all neighbours."""
    return reduce(b, "sum", _areas(b, y, x, dim), dim)


def _areas(b: Builder, y: Value, x: Value | float, dim: int) -> Value:
    axis = y.axis(dim)
    size = y.shape[axis]
    pairs = b.slice(y, axis, 1, size) + b.slice(y, axis, 0, size - 1)
    if not isinstance(x, Value):
        return pairs * (0.5 * x)
    if x.rank == 1 and y.rank > 1:
        x = b.view(x, [x.size if at == axis else 1 for at in range(y.rank)])
    at = x.axis(axis - y.rank)
    step = b.slice(x, at, 1, x.shape[at]) - b.slice(x, at, 0, x.shape[at] - 1)
    return pairs * step * 0.5


def _cumulative_trapezoid(b: Builder, y: Value, x: Value | float, dim: int) -> Value:
    return _cumsum(b, _areas(b, y, x, dim), dim, None)


def _refuse(what: str) -> Lower:
    def lower(b: Builder, *arguments: object) -> Value:
        help_text = "compute it in your program from the blob before"
        raise NotExpressible(f"ncnn has no layer that {what}", help_text)

    return lower


_PLACES = _refuse("gives the place of the greatest or smallest element")
_ORDER = _refuse("puts elements in order")
_DIM = "Tensor input, int[]? dim=None, bool keepdim=False"


class Reductions(Family):
    """Reductions that pnnx knows no layer for, or gives to a layer that reduces otherwise.

    What it finds: `aten::var`, `aten::std`, `aten::var_mean`, `aten::any`, `aten::all`,
    `aten::count_nonzero`, `aten::nansum`, `aten::prod`, `aten::aminmax`, `torch.cumprod` and others
    in `.ncnn.param`, of one axis, several or all.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: Reduction layers with what is needed around them: the variance is the sum of the squared
    distances from the mean, `any` the greatest of a mask that Threshold makes, a running product
    log2(size) products of the tensor with itself moved on. The greatest number is taken out before
    a sum of exponentials.

    Limits: the places of the greatest elements, medians and sorting have no layers. A mask is a
    float, 0 or 1. Of an empty variance (one number, correction 1) torch's nan is not made. `nansum`
    counts infinities as the largest float32; on processors whose Clip keeps nan the result is nan.

    Example:
        aten::var   pnnx_3   4 1 in0 2 1 3 out0        (dim=1, unbiased, keepdim=False)
        Reduction 0=3, BinaryOp 0=1, Reduction 0=2, BinaryOp 0=2 2=1/(n-1)

    Source: ATen native_functions.yaml, of var with its overloads; ncnn reduction.cpp.
    """

    code = "PNX130"
    name = "leaked-reduction"
    operators = {  # noqa: RUF012 a table, never changed
        **{
            f"aten::{name}(Tensor self, Scalar? first=1, Scalar? second=missing, bool keepdim=False)"
            " -> Tensor": _moments(root="std" in name, mean="mean" in name)
            for name in ("var", "std", "var_mean", "std_mean")
        },
        "aten::any(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor": _truths("max"),
        "aten::all(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor": _truths("min"),
        "aten::count_nonzero(Tensor self, int[]? dim=None) -> Tensor": _truths("sum"),
        "aten::prod(Tensor self, int? dim=None, bool keepdim=missing, int? dtype=None) -> Tensor": _prod,
        "aten::nansum(Tensor self, int[]? dim, bool keepdim, int? dtype) -> Tensor": _nansum,
        "aten::nanmean(Tensor self, int[]? dim, bool keepdim, int? dtype) -> Tensor": _nanmean,
        "aten::sum_to_size(Tensor self, int[] size) -> Tensor": _sum_to_size,
        "aten::aminmax(Tensor self, int[]? dim, bool keepdim) -> (Tensor, Tensor)": lambda b, x, dim, keep: (
            reduce(b, "min", x, dim, keep),
            reduce(b, "max", x, dim, keep),
        ),
        "aten::cov(Tensor self, int correction=1, Tensor? fweights=None, Tensor? aweights=None)"
        " -> Tensor": _cov,
        "aten::logsumexp(Tensor self, int[] dim, bool keepdim=False) -> Tensor": log_sum_exp,
        "aten::logcumsumexp(Tensor self, int dim) -> Tensor": running_log_sum_exp,
        "aten::cummax(Tensor self, int dim) -> (Tensor, Tensor)": _running_extreme("max"),
        "aten::cummin(Tensor self, int dim) -> (Tensor, Tensor)": _running_extreme("min"),
        "aten::trapezoid(Tensor y, Tensor x=1, int dim=-1) -> Tensor": _trapezoid,
        "aten::trapz(Tensor y, Tensor x=1, int dim=-1) -> Tensor": _trapezoid,
        "aten::cumulative_trapezoid(Tensor y, Tensor x=1, int dim=-1) -> Tensor": _cumulative_trapezoid,
        "torch.cumprod(Tensor input, int dim, int? dtype=None) -> Tensor": _cumprod,
        "torch.cumsum(Tensor input, int dim, int? dtype=None) -> Tensor": _cumsum,
        "torch.var(Tensor input, int[]? dim=None, Scalar? unbiased=True, bool keepdim=False)"
        " -> Tensor": _moments(root=False, mean=False),
        "torch.std(Tensor input, int[]? dim=None, Scalar? unbiased=True, bool keepdim=False,"
        " Scalar? correction=missing) -> Tensor": _std,
        f"torch.sum({_DIM}, int? dtype=None) -> Tensor": _reduction("sum"),
        f"torch.mean({_DIM}, int? dtype=None) -> Tensor": _reduction("mean"),
        f"torch.prod({_DIM}, int? dtype=None) -> Tensor": _reduction("prod"),
        f"torch.amax({_DIM}) -> Tensor": _reduction("max"),
        f"torch.amin({_DIM}) -> Tensor": _reduction("min"),
        f"torch.max({_DIM}) -> (Tensor, Tensor)": _extreme("max"),
        f"torch.min({_DIM}) -> (Tensor, Tensor)": _extreme("min"),
        f"torch.logsumexp({_DIM}) -> Tensor": log_sum_exp,
        "F.softmax(Tensor input, int dim) -> Tensor": lambda b, x, dim: b.softmax(x, dim),
        "F.log_softmax(Tensor input, int dim) -> Tensor": log_softmax,
        "torch.argmax(Tensor input, int? dim=None, bool keepdim=False) -> Tensor": _PLACES,
        "torch.argmin(Tensor input, int? dim=None, bool keepdim=False) -> Tensor": _PLACES,
        "aten::median(Tensor self, int? dim=None, bool keepdim=False) -> Tensor": _ORDER,
        "aten::sort(Tensor self, int? dim=None, bool descending=False) -> Tensor": _ORDER,
    }
    cases = (
        Case("torch.var(x, 1, keepdim=True)", id="var-of-axis", x="f32[3,6,5]"),
        Case("torch.std_mean(x, (0, 2), correction=0)[0]", id="std-of-axes", x="f32[3,6,5]"),
        Case("torch.cumprod(x, 1)", id="cumprod", x="f32[2,6,3]"),
        Refused("torch.argmax(x, 1)", id="argmax", because="place of the greatest", x="f32[3,6]"),
    )
