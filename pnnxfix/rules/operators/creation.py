"""Operators that make a tensor of known shape and content."""

from __future__ import annotations

from math import prod

from pnnxfix.rules.base import FLOAT_TYPES
from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family

_LARGEST = 1 << 22


def _shape(b: Builder) -> tuple[int, ...]:
    """The result's shape, if it is one of floats."""
    shape, dtype = b.result_shapes[0], b.result_types[0]
    if shape is None:
        raise NotExpressible("the shape of the result is not in the files")
    if dtype not in FLOAT_TYPES:
        raise NotExpressible(
            f"the result holds integers ({dtype}), and ncnn's layers compute on floats only",
            "give it dtype=torch.float32 in the PyTorch model",
        )
    if prod(shape) > _LARGEST:
        raise NotExpressible(f"a constant of {prod(shape)} numbers")
    return shape


def _filled(b: Builder, value: float | Value) -> Value:
    shape = _shape(b)
    if isinstance(value, Value):
        return b.expand(value, shape)
    if value - value != 0:
        raise NotExpressible(f"ncnn has no spelling for {value}")
    return b.constant((float(value),) * prod(shape), shape)


def _eye(b: Builder, *_: object) -> Value:
    rows, columns = _shape(b)
    return b.constant(
        [float(row == column) for row in range(rows) for column in range(columns)], (rows, columns)
    )


def _linspace(b: Builder, start: float, end: float, steps: int, *_: object) -> Value:
    """torch counts from the nearer end, in the result's own precision."""
    shape = _shape(b)
    step = (end - start) / (steps - 1) if steps > 1 else 0.0
    numbers = [start + step * at if at < steps // 2 else end - step * (steps - 1 - at) for at in range(steps)]
    return b.constant(numbers if steps > 1 else [start], shape)


def _arange(b: Builder, start: float, end: object, step: float) -> Value:
    shape = _shape(b)
    return b.constant([start + step * at for at in range(shape[0])], shape)


class Creation(Family):
    """Tensors of known shape and content that pnnx did not fold into constants.

    What it finds: `aten::zero` (`x.zero_()`), `torch.zeros_like`, `torch.full`, `aten::new_ones`,
    `aten::eye`, `aten::linspace` and their like in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: a MemoryData layer with the numbers, whose bytes go to the head of `.ncnn.bin`.

    Limits: floats only; the shape must be in `.pnnx.param`. What is not initialised (`empty`) has no
    content that could be stored, and a fill with an infinity no spelling.

    Example:
        aten::zero   pnnx_2    1 1 1 out0
        MemoryData   pnnx_2    0 1 out0 0=5 1=5 2=5

    Source: ATen native_functions.yaml; ncnn memorydata.cpp.
    """

    code = "PNX126"
    name = "leaked-creation"
    operators = {  # noqa: RUF012 a table, never changed
        **dict.fromkeys(
            (
                "aten::zero(Shape self) -> Tensor",
                "aten::zeros_like(Shape self) -> Tensor",
                "aten::new_zeros(Shape self) -> Tensor",
                "aten::zeros(Shape size) -> Tensor",
                "torch.zeros_like(Shape input) -> Tensor",
                "torch.zeros(Shape size) -> Tensor",
                "Tensor.new_zeros(Shape input) -> Tensor",
            ),
            lambda b, *_: _filled(b, 0.0),
        ),
        **dict.fromkeys(
            (
                "aten::ones_like(Shape self) -> Tensor",
                "aten::new_ones(Shape self) -> Tensor",
                "aten::ones(Shape size) -> Tensor",
                "torch.ones_like(Shape input) -> Tensor",
                "torch.ones(Shape size) -> Tensor",
                "Tensor.new_ones(Shape input) -> Tensor",
            ),
            lambda b, *_: _filled(b, 1.0),
        ),
        "aten::fill(Shape self, Tensor value) -> Tensor": lambda b, _, value: _filled(b, value),
        "aten::full(Shape size, Scalar fill_value) -> Tensor": lambda b, _, value: _filled(b, value),
        "aten::full_like(Shape self, Scalar fill_value) -> Tensor": lambda b, _, value: _filled(b, value),
        "aten::new_full(Shape self, Shape size, Scalar fill_value) -> Tensor": lambda b, _s, _, value: (
            _filled(b, value)
        ),
        "torch.full(Shape size, Scalar fill_value) -> Tensor": lambda b, _, value: _filled(b, value),
        "torch.full_like(Shape input, Scalar fill_value) -> Tensor": lambda b, _, value: _filled(b, value),
        "Tensor.fill(Shape input, Tensor value) -> Tensor": lambda b, _, value: _filled(b, value),
        "aten::eye(Shape n) -> Tensor": _eye,
        "aten::linspace(Scalar start, Scalar end, int steps) -> Tensor": _linspace,
        "torch.arange(Scalar start=0, Shape end, Scalar step=1) -> Tensor": _arange,
    }
    cases = (Case("x.clone().zero_() + x * 2", id="zero", x="f32[3,4]"),)
