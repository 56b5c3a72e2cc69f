"""Comparisons, logic and selection: masks of 0.0 and 1.0, and what is chosen by them."""

from __future__ import annotations

from collections.abc import Callable

from pnnxfix.rules.base import FLOAT_TYPES
from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.compare import (
    Operand,
    both,
    either,
    is_above,
    is_at_least,
    is_at_most,
    is_below,
    is_close,
    is_equal,
    is_finite,
    is_infinite,
    is_not_equal,
    is_number,
    negate,
    one_only,
    truth,
)
from pnnxfix.rules.lowering.family import Family, Lower
from pnnxfix.rules.lowering.select import choose

_X = "f32[3,5,7]"
_FLOAT_WORDS = {"torch.float", "torch.float32", "torch.float64", "torch.double", "torch.half"} | {
    "torch.float16",
    "torch.bfloat16",
}


def _where(b: Builder, condition: Value, x: Operand, y: Operand) -> Value:
    _refuse_integers(b)
    return choose(b, truth(b, condition), x, y)


def _masked_fill(b: Builder, x: Value, mask: Value, value: Operand) -> Value:
    return choose(b, truth(b, mask), value, x)


def _refuse_integers(b: Builder) -> None:
    kind = b.result_types[0] if b.result_types else None
    if kind is not None and kind not in FLOAT_TYPES and kind != "bool" and not b.integers_fit:
        raise NotExpressible(
            f"the result holds integers ({kind}), and ncnn's layers compute on floats only",
            "choose between floats in the PyTorch model, such as 1.0 and 0.0",
        )


def _convert(b: Builder, x: Value, dtype: object) -> Value:
    """Tensor.to: floats stay as they are, a bool is a float already, a float becomes a bool."""
    kind = b.result_types[0] if b.result_types else None
    if dtype == "torch.bool" or kind == "bool":
        return truth(b, x)
    _refuse_integers(b)
    if kind is None and dtype not in _FLOAT_WORDS:
        raise NotExpressible(f"a conversion to `{dtype}`")
    return x


def _isreal(b: Builder, x: Value) -> Value:
    return b.expand(b.constant((1.0,), (1,) * max(x.rank, 1)), x.shape)


def _not(b: Builder, x: Value) -> Value:
    return negate(truth(b, x))


def _extreme(name: str) -> Callable[[Builder, Value, Value], Value]:
    return lambda b, x, y: b.binary(name, x, y)


def _named(function: Lower, *names: str, arguments: str) -> dict[str, Lower]:
    """An operator under each of the names that releases of pnnx leave it by.

    `arguments` are those of a converted type; ATen's are the same in the same order.
    """
    return {f"{name}({arguments}) -> Tensor": function for name in names}


def _on_bools(function: Callable[..., Value]) -> Lower:
    """Bit operators are those of logic on a bool; integers are refused before they come here."""

    def checked(b: Builder, *values: Value) -> Value:
        if any(not isinstance(value, Value) or value.dtype != "bool" for value in values):
            raise NotExpressible("a bit operator on anything but bools")
        return function(b, *values)

    return checked


_TWO = "Tensor input, Tensor other"
_ONE = "Tensor input"


class Selection(Family):
    """Comparisons, logic and selection by a mask.

    What it finds: `torch.gt`, `torch.eq`, `torch.logical_and`, `torch.where`, `Tensor.masked_fill`,
    `Tensor.to`, `aten::isnan` and their kin in `.ncnn.param`: attention masks, mostly.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: a mask is a blob of 0.0 and 1.0 from ncnn's one comparison, Threshold. What is chosen by
    a mask goes through min and max with infinities, so that an infinity in the other branch (a mask
    of -inf) stays out of the result.

    Limits: floats and bools only; a bool result comes out as 0.0 or 1.0. A nan in a branch that is
    not chosen may come through. Differences below 1.2e-38 count as none. A conversion to half or
    double changes nothing.

    Example:
        torch.gt   torch.gt_0   1 1 in0 out0      (other=0.5)
        Threshold  torch.gt_0   1 1 in0 out0 0=5.00000000e-01

    Source: torch's documentation; ncnn threshold.cpp, binaryop.cpp.
    """

    code = "PNX122"
    name = "leaked-selection"
    operators = {  # noqa: RUF012 a table, never changed
        **_named(is_above, "torch.gt", "aten::gt", "aten::greater", arguments=_TWO),
        **_named(is_below, "torch.lt", "aten::lt", "aten::less", arguments=_TWO),
        **_named(is_at_least, "torch.ge", "aten::ge", "aten::greater_equal", arguments=_TWO),
        **_named(is_at_most, "torch.le", "aten::le", "aten::less_equal", arguments=_TWO),
        **_named(is_equal, "torch.eq", "aten::eq", arguments=_TWO),
        **_named(is_not_equal, "torch.ne", "aten::ne", "aten::not_equal", arguments=_TWO),
        **_named(both, "torch.logical_and", "aten::logical_and", "aten::__and__", arguments=_TWO),
        **_named(either, "torch.logical_or", "aten::logical_or", "aten::__or__", arguments=_TWO),
        **_named(one_only, "torch.logical_xor", "aten::logical_xor", "aten::__xor__", arguments=_TWO),
        **_named(_not, "torch.logical_not", "aten::logical_not", arguments=_ONE),
        **_named(_on_bools(both), "torch.bitwise_and", "aten::bitwise_and", arguments=_TWO),
        **_named(_on_bools(either), "torch.bitwise_or", "aten::bitwise_or", arguments=_TWO),
        **_named(_on_bools(one_only), "torch.bitwise_xor", "aten::bitwise_xor", arguments=_TWO),
        **_named(_on_bools(_not), "torch.bitwise_not", "aten::bitwise_not", arguments=_ONE),
        **_named(lambda b, x: negate(is_number(b, x)), "aten::isnan", "torch.isnan", arguments=_ONE),
        **_named(is_infinite, "aten::isinf", "torch.isinf", arguments=_ONE),
        **_named(is_finite, "aten::isfinite", "torch.isfinite", arguments=_ONE),
        "aten::isposinf(Tensor self) -> Tensor": lambda b, x: is_equal(b, x, float("inf")),
        "aten::isneginf(Tensor self) -> Tensor": lambda b, x: is_equal(b, x, float("-inf")),
        "aten::isreal(Tensor self) -> Tensor": _isreal,
        "aten::isclose(Tensor self, Tensor other, float rtol=1e-5, float atol=1e-8, bool equal_nan=False)"
        " -> Tensor": is_close,
        "torch.where(Tensor condition, Tensor input, Tensor other) -> Tensor": _where,
        "aten::where(Tensor condition, Tensor self, Tensor other) -> Tensor": _where,
        "Tensor.masked_fill(Tensor input, Tensor mask, Tensor value) -> Tensor": _masked_fill,
        "aten::masked_fill(Tensor self, Tensor mask, Tensor value) -> Tensor": _masked_fill,
        **_named(_extreme("max"), "aten::fmax", "aten::maximum", "torch.maximum", arguments=_TWO),
        **_named(_extreme("min"), "aten::fmin", "aten::minimum", "torch.minimum", arguments=_TWO),
        "Tensor.to(Tensor input, str dtype=unknown, bool copy=False, str memory_format=None)"
        " -> Tensor": lambda b, x, dtype, *_: _convert(b, x, dtype),
        "Tensor.type_as(Tensor input, Tensor other) -> Tensor": lambda b, x, _: _convert(b, x, None),
    }
    cases = (
        Case("(x > 0.5).float()", id="gt-number", x=_X),
        Case("torch.where(x <= y, x, y * 2)", id="where-tensors", x=_X, y="f32[5,7]"),
        Case("x.masked_fill(x > 0.5, float('-inf'))", id="masked-fill-inf", x=_X),
        Case("torch.isfinite(x)", id="isfinite", x=_X),
        Refused("torch.where(x > 0, 1, 0)", id="where-integers", because="integers", x=_X),
        Refused("(x > 0).long()", id="to-long", because="integers", x=_X),
        Refused("x.to(torch.complex64)", id="to-complex", because="of which ncnn has no blobs", x=_X),
    )
