"""Operators that make a tensor of known shape and content."""

from __future__ import annotations

from math import prod

from pnnxfix.rules.base import FLOAT_TYPES
from pnnxfix.rules.cases import Case
from pnnxfix.rules.lowering.builder import Builder, NotExpressible, Value
from pnnxfix.rules.lowering.family import Family

_LARGEST = 1 << 22
_SIZED = (
    "(lambda m: (setattr(m, 'c', nn.Conv2d(3, 5, 1)), m)[1])"
    "(type('E', (nn.Module,), {'__module__': 'network', 'forward': lambda self, x: self.sized(self.c(x)), "
    "'sized': lambda self, y: (y, tuple(y.shape[2:]))})())"
)


def _shape(b: Builder) -> tuple[int, ...]:
    """The result's shape, if it is one of floats."""
    shape, dtype = b.result_shapes[0], b.result_types[0]
    if shape is None:
        raise NotExpressible("the shape of the result is not in the files")
    if dtype not in FLOAT_TYPES and not b.integers_fit:
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


def _arange(b: Builder, start: float, _end: object, step: float, _dtype: object) -> Value:
    shape = _shape(b)
    return b.constant([start + step * at for at in range(shape[0])], shape)


class Creation(Family):
    """Tensors of known shape and content that pnnx did not fold into constants.

    What it finds: `aten::zero` (`x.zero_()`), `torch.zeros_like`, `torch.full`, `aten::new_ones`,
    `aten::eye`, `aten::linspace` and their like in `.ncnn.param`.

    Why it breaks: ncnn has no such layer and refuses to load the graph.

    Repair: a MemoryData layer with the numbers, whose bytes go to the head of `.ncnn.bin`. What is computed
    from such a tensor and from no input (the positions of xcit: `torch.arange` to sines of fractions) is
    worked out, in float32, and stored in its place.

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
                "aten::zero(Ignored self) -> Tensor",
                "aten::zeros_like(Ignored self) -> Tensor",
                "aten::new_zeros(Ignored self) -> Tensor",
                "aten::zeros(Ignored size) -> Tensor",
                "torch.zeros_like(Ignored input, Ignored dtype) -> Tensor",
                "torch.zeros(Ignored size, Ignored dtype) -> Tensor",
                "Tensor.new_zeros(Ignored input, Ignored size, Ignored dtype) -> Tensor",
            ),
            lambda b, *_: _filled(b, 0.0),
        ),
        **dict.fromkeys(
            (
                "aten::ones_like(Ignored self) -> Tensor",
                "aten::new_ones(Ignored self) -> Tensor",
                "aten::ones(Ignored size) -> Tensor",
                "torch.ones_like(Ignored input, Ignored dtype) -> Tensor",
                "torch.ones(Ignored size, Ignored dtype) -> Tensor",
                "Tensor.new_ones(Ignored input, Ignored size, Ignored dtype) -> Tensor",
            ),
            lambda b, *_: _filled(b, 1.0),
        ),
        **dict.fromkeys(
            (
                "aten::fill(Ignored self, Tensor value) -> Tensor",
                "aten::full(Ignored size, Tensor fill_value) -> Tensor",
                "aten::full_like(Ignored self, Tensor fill_value) -> Tensor",
                "torch.full(Ignored size, Tensor fill_value, Ignored dtype) -> Tensor",
                "torch.full_like(Ignored input, Tensor fill_value, Ignored dtype) -> Tensor",
                "Tensor.fill(Ignored input, Tensor value) -> Tensor",
            ),
            lambda b, _, value, *_rest: _filled(b, value),
        ),
        "aten::new_full(Ignored self, Ignored size, Tensor fill_value) -> Tensor": lambda b, _x, _s, value: (
            _filled(b, value)
        ),
        "aten::eye(Ignored n) -> Tensor": _eye,
        "aten::linspace(Scalar start, Scalar end, int steps) -> Tensor": _linspace,
        "torch.arange(Scalar start=0, Ignored end, Scalar step=1, Ignored dtype) -> Tensor": _arange,
    }
    cases = (
        Case("x.clone().zero_() + x * 2", id="zero", x="f32[3,4]"),
        Case(
            "z, (h, w) = s(x)\ny = torch.arange(1, h + 1).to(torch.float32).unsqueeze(1).repeat(1, 1, w)\n"
            "p = (y / (y[:, -1:, :] + 1e-6) * 6.28)[:, :, :, None] / t\n"
            "p = torch.stack((p[:, :, :, 0::2].sin(), p[:, :, :, 1::2].cos()), 4).flatten(3)\n"
            "return z + d(p.permute(0, 3, 1, 2))",
            id="positions-of-a-size",
            setup={"s": _SIZED, "d": "nn.Conv2d(4, 5, 1)", "t": "torch.tensor([1.0, 1.0, 100.0, 100.0])"},
            x="f32[1,3,4,6]",
        ),
    )
