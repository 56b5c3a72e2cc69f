"""Operators that mean nothing when a network runs."""

from __future__ import annotations

from pnnxfix.rules.cases import Case, Refused
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family


def _same(_: Builder, x: Value, *_rest: object) -> Value:
    return x


def _dropout(_: Builder, x: Value, p: float, train: bool, *_rest: object) -> Value:
    if train and p != 0:
        raise NotExpressible(
            "dropout that is on: its result is random", "call model.eval() before it is traced"
        )
    return x


class Nothing(Family):
    """Operators that give back what they are given, as far as numbers go.

    What it finds: `torch.real` of real numbers, `aten::resolve_conj`, `aten::lift_fresh` and dropout
    that is off in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: the row goes; the layer before makes its result. Where that cannot be, as for an input that
    is an output at once, a Noop layer.

    Limits: dropout that was traced in training is random, and refused.

    Example:
        torch.real   torch.real_0   1 1 in0 out0
        Noop         torch.real_0   1 1 in0 out0

    Source: ATen native_functions.yaml; ncnn noop.cpp.
    """

    code = "PNX127"
    name = "leaked-identity"
    operators = {  # noqa: RUF012 a table, never changed
        **dict.fromkeys(
            (
                "aten::clone(Tensor self) -> Tensor",
                "aten::conj(Tensor self) -> Tensor",
                "aten::conj_physical(Tensor self) -> Tensor",
                "aten::contiguous(Tensor self) -> Tensor",
                "aten::detach(Tensor self) -> Tensor",
                "aten::detach_copy(Tensor self) -> Tensor",
                "aten::lift(Tensor self) -> Tensor",
                "aten::lift_fresh(Tensor self) -> Tensor",
                "aten::lift_fresh_copy(Tensor self) -> Tensor",
                "aten::positive(Tensor self) -> Tensor",
                "aten::real(Tensor self) -> Tensor",
                "aten::resolve_conj(Tensor self) -> Tensor",
                "aten::resolve_neg(Tensor self) -> Tensor",
                "Tensor.contiguous(Tensor input, Ignored memory_format) -> Tensor",
                "torch.clone(Tensor input, Ignored memory_format) -> Tensor",
                "torch.real(Tensor input) -> Tensor",
            ),
            _same,
        ),
        **dict.fromkeys(
            (
                "aten::dropout(Tensor input, Scalar p, bool train) -> Tensor",
                "aten::feature_dropout(Tensor input, Scalar p, bool train) -> Tensor",
                "aten::alpha_dropout(Tensor input, Scalar p, bool train) -> Tensor",
                "aten::feature_alpha_dropout(Tensor input, Scalar p, bool train) -> Tensor",
            ),
            _dropout,
        ),
    }
    cases = (
        Case("torch.real(x * 2) + 1", id="real", x="f32[3,4]"),
        Refused("torch.feature_dropout(x, 0.5, True)", id="dropout-on", because="random", x="f32[3,4,5]"),
    )
