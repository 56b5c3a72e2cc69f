"""`clamp_min`, `clamp_max`, and `clamp` with bounds that are tensors."""

from __future__ import annotations

import math
from typing import ClassVar

from pnnxfix.codecs.number import FLT_MAX, Number, spell_for_ncnn, spell_for_pnnx
from pnnxfix.graph.graph import Operator
from pnnxfix.rules.base import FLOAT_TYPES, Call, Layer, Lowering, OperatorRule, Refusal
from pnnxfix.rules.broadcast import BINARY_MAX, BINARY_MIN, Side, lower_binary
from pnnxfix.rules.cases import Case, Refused

_X = "f32[1,3,8,8]"


class _ClampOneSide(OperatorRule):
    bound: ClassVar[str]
    other: ClassVar[str]
    elementwise: ClassVar[str]
    binary_operation: ClassVar[int]
    clip_parameter: ClassVar[str]

    def to_python(self, call: Call, style: str) -> str | Refusal:
        function = f"clamp_{self.bound}"
        this, bound = call.text("self"), call.text(self.bound)
        is_tensor = call.is_tensor(self.bound)
        if is_tensor is True:
            return f"torch.{self.elementwise}({this}, {bound})"
        if isinstance(is_tensor, Refusal):
            # torch.clamp_min takes a number and a tensor alike.
            return f"torch.{function}({this}, {bound})"
        number = call.scalar(self.bound)
        if isinstance(number, Refusal):
            return number
        if style == "clamp":
            return f"torch.clamp({this}, {self.bound}={bound})"
        return f"torch.{function}({this}, {bound})"

    def to_pnnx(self, call: Call) -> Operator | Refusal:
        row = call.operator
        is_tensor = call.is_tensor(self.bound)
        if isinstance(is_tensor, Refusal):
            return is_tensor
        shapes = [call.annotation(name) for name in ("self", self.bound, "return")]
        words = tuple(word for word in shapes if word)
        if is_tensor:
            return Operator(
                "pnnx.Expression",
                row.name,
                row.inputs,
                row.outputs,
                (f"expr={self.elementwise}(@0,@1)", *words),
            )
        number = call.scalar(self.bound)
        if isinstance(number, Refusal):
            return number
        parameters = sorted((f"{self.other}=None", f"{self.bound}={spell_for_pnnx(number)}"))
        this = call.operand("self")
        return Operator(
            "torch.clamp", row.name, (this,), row.outputs, (*parameters, f"$input={this}", *words)
        )

    def to_ncnn(self, call: Call) -> Lowering | Refusal:
        if (refusal := _refuse_integers(call, "self")) is not None:
            return refusal
        is_tensor = call.is_tensor(self.bound)
        if isinstance(is_tensor, Refusal):
            return is_tensor
        if is_tensor:
            if (refusal := _refuse_integers(call, self.bound)) is not None:
                return refusal
            layers: list[Layer] = []
            this, bound = (Side(name, call.tensor(name)) for name in ("self", self.bound))
            result = lower_binary(self.binary_operation, this, bound, layers)
            return result if isinstance(result, Refusal) else Lowering.chain(layers)
        number = call.scalar(self.bound)
        return number if isinstance(number, Refusal) else self._clip(number)

    def _clip(self, number: Number) -> Lowering | Refusal:
        value = number.float32
        if math.isnan(value):
            return Refusal(
                "the bound is nan, and ncnn has no spelling for nan", "remove the clamp from the model"
            )
        if math.isfinite(value):
            return Lowering.chain(
                [Layer("Clip", ("self",), (f"{self.clip_parameter}={spell_for_ncnn(value)}",))]
            )
        if abs(number.value) != math.inf:
            return Refusal(
                "the bound is larger than any float32", "bound the values in the model by a float32"
            )
        if (value < 0) == (self.bound == "min"):
            return Lowering.chain(
                [Layer("Clip", ("self",))]
            )  # an open bound; Clip's own default is the largest float32
        # Everything becomes the infinity, which ncnn cannot spell: twice the largest float32 is one.
        largest = spell_for_ncnn(math.copysign(FLT_MAX, value))
        return Lowering.chain(
            [
                Layer("Clip", ("self",), (f"0={largest}", f"1={largest}")),
                Layer("BinaryOp", ("@0",), ("0=2", "1=1", f"2={spell_for_ncnn(2)}")),
            ]
        )


class ClampMin(_ClampOneSide):
    """A lower bound that pnnx did not convert.

    What it finds: `aten::clamp_min`, which `torch.clamp_min(x, 0.5)`, `x.clamp_min_(0.5)` and
    code that calls them (norms with an eps, for one) leave behind in `_pnnx.py`, `.pnnx.param`
    and `.ncnn.param`, in every release of pnnx since 20240226.

    Why it breaks: `v_2 = aten::clamp_min(v_0, v_1)` is no Python, so the whole file does not
    parse; and ncnn refuses to load a graph that names a layer it does not know. The bound is
    in `.pnnx.param`, `_pnnx.py` and the console log, and is missing from `.ncnn.param`.

    Repair: Python gets `torch.clamp_min(x, 0.5)` (with `--style clamp`: `torch.clamp(x, min=0.5)`),
    `.pnnx.param` the `torch.clamp` row that pnnx writes for `torch.clamp`, and `.ncnn.param` a
    Clip layer, fused into the convolution or inner product before it as pnnx does. Where the
    bound is a tensor: `torch.maximum`, an Expression `maximum(@0,@1)`, and a BinaryOp, with a
    Reshape where ncnn would broadcast the other way round. The Expression that held the bound
    goes, unless something else reads it.

    Limits: integer tensors are not lowered for ncnn, which keeps integers as bits. ncnn's Clip
    caps +inf at the largest float32 and its treatment of nan depends on the SIMD lane, as for
    a `torch.clamp` that pnnx converts. A bound whose digits pnnx may have destroyed is taken
    from the TorchScript file beside the output, or asked for with `--value`.

    Example:
        v_1 = 0.5
        v_2 = aten::clamp_min(v_0, v_1)        ->      v_2 = torch.clamp_min(v_0, 0.5)

    Source: ATen native_functions.yaml (clamp_min, clamp_min.Tensor); ncnn clip.cpp (0 min,
    1 max) and binaryop.cpp (4 max).
    """

    code = "PNX101"
    name = "leaked-clamp-min"
    signature = "aten::clamp_min(Tensor self, Scalar min) -> Tensor"
    bound, other = "min", "max"
    elementwise, binary_operation = "maximum", BINARY_MAX
    clip_parameter = "0"
    cases = (
        Case("torch.clamp_min(x, 0.5)", twin="torch.clamp(x, min=0.5)", x=_X),
        Refused("torch.clamp_min(x, 2)", id="clamp-min-of-integers", because="integers", x="i64[4,9]"),
    )


class ClampMax(_ClampOneSide):
    """An upper bound that pnnx did not convert.

    What it finds: `aten::clamp_max`, which `torch.clamp_max(x, 6)` and `x.clamp_max_(6)` leave
    behind in `_pnnx.py`, `.pnnx.param` and `.ncnn.param`.

    Why it breaks: as for `leaked-clamp-min`: the Python does not parse, and ncnn refuses the graph.

    Repair: as for `leaked-clamp-min`, with the bound above: `torch.clamp_max`, `torch.clamp`,
    and Clip's parameter 1; `torch.minimum` and a BinaryOp where the bound is a tensor.

    Limits: as for `leaked-clamp-min`.

    Example:
        v_1 = 6
        v_2 = aten::clamp_max(v_0, v_1)        ->      v_2 = torch.clamp_max(v_0, 6)

    Source: ATen native_functions.yaml (clamp_max, clamp_max.Tensor); ncnn clip.cpp (0 min,
    1 max) and binaryop.cpp (5 min).
    """

    code = "PNX102"
    name = "leaked-clamp-max"
    signature = "aten::clamp_max(Tensor self, Scalar max) -> Tensor"
    bound, other = "max", "min"
    elementwise, binary_operation = "minimum", BINARY_MIN
    clip_parameter = "1"
    cases = (Case("torch.clamp_max(x, 0.5)", twin="torch.clamp(x, max=0.5)", x=_X),)


class ClampTensor(OperatorRule):
    """`torch.clamp` with bounds that are tensors, which pnnx does not lower for ncnn.

    What it finds: a `torch.clamp` row in `.ncnn.param`. The Python and `.pnnx.param` are right.

    Why it breaks: ncnn has no layer `torch.clamp` and refuses to load the graph.

    Repair: BinaryOp max for the lower bound, then BinaryOp min for the upper one, each with a
    Reshape where ncnn would broadcast the other way round.

    Limits: needs `.pnnx.param`, which tells the bounds apart, and the shapes in it. Bounds of
    which one is a number and one a tensor, and integer tensors, are not lowered.

    Example:
        torch.clamp    torch.clamp_0    2 1 in0 in1 out0
        BinaryOp       torch.clamp_0    2 1 in0 in1 out0 0=4

    Source: torch.clamp's documentation (min is applied before max); ncnn binaryop.cpp.
    """

    code = "PNX103"
    name = "leaked-clamp-tensor"
    signature = "torch.clamp(Tensor input, Tensor? min=None, Tensor? max=None) -> Tensor"
    cases = (Case("torch.clamp(x, max=y)", twin="torch.minimum(x, y)", x=_X, y=_X),)

    def to_ncnn(self, call: Call) -> Lowering | Refusal:
        layers: list[Layer] = []
        last = Side("input", call.tensor("input"))
        for bound, operation in (("min", BINARY_MAX), ("max", BINARY_MIN)):
            if not call.has(bound):
                continue
            is_tensor = call.is_tensor(bound)
            if isinstance(is_tensor, Refusal):
                return is_tensor
            if not is_tensor:
                return Refusal(
                    "one bound is a number and one a tensor", "write two clamps in the PyTorch model"
                )
            for argument in ("input", bound):
                if (refusal := _refuse_integers(call, argument)) is not None:
                    return refusal
            result = lower_binary(operation, last, Side(bound, call.tensor(bound)), layers)
            if isinstance(result, Refusal):
                return result
            last = result
        if not layers:
            return Refusal("neither bound is in the files", "keep model.pnnx.param beside the ncnn model")
        return Lowering.chain(layers)


def _refuse_integers(call: Call, argument: str) -> Refusal | None:
    tensor = call.tensor(argument)
    if tensor.dtype in FLOAT_TYPES or (tensor.dtype is None and tensor.blob.is_float):
        return None
    if tensor.dtype is None and tensor.blob.is_float is None:
        return Refusal(
            f"whether `{argument}` holds floats is not certain from the files",
            "keep model.pnnx.param or model_ncnn.py, which tell the types, beside the ncnn model",
        )
    kind = {"i64": "int64", "i32": "int32"}.get(tensor.dtype or "", tensor.dtype or "integers")
    return Refusal(
        f"`{argument}` holds integers ({kind}), and ncnn's layers compute on floats only",
        "convert it with .float() in the PyTorch model before the clamp",
    )
