"""Types that pnnx drops or does not know: casts, the `dtype` of reductions, weights of eight bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pnnxfix.rules.base import Refusal
from pnnxfix.rules.schema_values import DTYPES
from pnnxfix.rules.statement import CONVERT_AGAIN, Forward, Statement, StatementRule, add_argument

if TYPE_CHECKING:
    from pnnxfix.codecs.torchscript import TracedCall

_UNPRINTED_CASTS = {DTYPES.index("float16"): "torch.half", DTYPES.index("bfloat16"): "torch.bfloat16"}
_TORCH_TYPES = {
    "f32": "torch.float32", "f64": "torch.float64", "i64": "torch.int64", "i32": "torch.int32",
    "i16": "torch.int16", "i8": "torch.int8", "u8": "torch.uint8", "bool": "torch.bool",
}  # fmt: skip
_INTEGERS = frozenset({"i64", "i32", "i16", "i8", "u8", "bool"})
_KEEPING = frozenset({"F.softmax", "F.log_softmax", "torch.mean", "torch.norm"})
_REDUCTIONS = _KEEPING | {"torch.sum", "torch.prod", "torch.cumsum", "torch.cumprod"}


class DroppedCast(StatementRule):
    """A cast to half or bfloat16 that pnnx takes out of the graph.

    What it finds: a forward that gives back one of its inputs, where the TorchScript file casts it.

    Why it breaks: the result has another type and is not rounded.

    Repair: the cast of the TorchScript file is put back.

    Limits: only a cast that is the whole of the network, so to say: its result is the input of
    forward. Others leave no sign in any of pnnx's files; what follows is computed in float32.

    Example:
        return v_0    ->    return v_0.to(torch.half)

    Source: pnnx pass_level0/reset_device, which makes float32 of both types.
    """

    code = "PNX213"
    name = "dropped-cast"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        if statement.targets or statement.text not in forward.inputs:
            return None
        traced = forward.traced({"aten::to"})
        if isinstance(traced, Refusal):
            return None
        kinds = [kind for call in traced for kind in (_find_cast(call),) if kind]
        if not kinds:
            return None
        if len(kinds) > 1 or forward.find(r"\.to\("):
            return Refusal(
                "which of the casts of the TorchScript file is the last one is not certain", CONVERT_AGAIN
            )
        return f"{statement.text}.to({kinds[0]})"

    def describe(self, statement: Statement) -> str:
        return f"pnnx dropped the cast of `{statement.text}`"


def _find_cast(call: TracedCall) -> str:
    """The type of a cast to one that pnnx does not print, empty for every other call."""
    values = [argument.value for argument in call.arguments[1:2]]
    return next((_UNPRINTED_CASTS[v] for v in values if isinstance(v, int) and v in _UNPRINTED_CASTS), "")


class DroppedDtype(StatementRule):
    """A reduction or softmax whose `dtype` pnnx does not print.

    What it finds: a statement such as `torch.sum(v_0, dim=(1,))` whose result has another type in
    `.pnnx.param` than this operator gives for its input.

    Why it breaks: it computes in another type, with other numbers; `torch.mean` and `F.softmax`
    of integers do not run at all.

    Repair: `dtype=`, with the type that `.pnnx.param` states for the result.

    Limits: results of no dimensions and half types have no type there.

    Example:
        v_1 = torch.sum(v_0, dim=(1,))    ->    v_1 = torch.sum(v_0, dim=(1,), dtype=torch.float64)

    Source: pnnx pass_level2/torch_sum and others, whose patterns take any `dtype` and keep none.
    """

    code = "PNX215"
    name = "dropped-dtype"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row = statement.row
        if row is None or row.type not in _REDUCTIONS or len(row.inputs) != 1 or "dtype=" in statement.text:
            return None
        given, made = statement.operand(row.inputs[0]), statement.operand(row.outputs[0])
        if given is None or made is None or made.dtype not in _TORCH_TYPES or given.dtype not in _TORCH_TYPES:
            return None
        usual = given.dtype
        if row.type not in _KEEPING and given.dtype in _INTEGERS:
            usual = "i64"
        calls = statement.calls({row.type})
        if made.dtype == usual or not calls:
            return None
        argument = add_argument(f"dtype={_TORCH_TYPES[made.dtype]}")
        return statement.rewrite(dict.fromkeys(calls, argument))

    def describe(self, statement: Statement) -> str:
        return "pnnx dropped `dtype`"


class UnknownDtype(StatementRule):
    """A stored tensor of a type that pnnx does not know.

    What it finds: a tensor that is read from `.pnnx.bin` with the type `null`.

    Why it breaks: TypeError as soon as the network is made: numpy has no type of this name.

    Repair: none: of what type the bytes are is in none of pnnx's files.

    Limits: only with `.pnnx.param`.

    Example:
        self.w_data = self.load_pnnx_bin_as_parameter(archive, 'w.data', (16,32,), 'null')

    Source: pnnx has no name for the eight-bit floats of PyTorch.
    """

    code = "PNX225"
    name = "unknown-dtype"
    fixable = "never"

    def repair(self, statement: Statement, forward: Forward) -> str | Refusal | None:
        row = statement.row
        if (
            row is None
            or row.type != "pnnx.Attribute"
            or not any(w[0] == "@" and w.endswith(")null") for w in row.rest)
        ):
            return None
        return Refusal(
            "the type of these bytes is in none of pnnx's files",
            "store the weight in another type before tracing",
        )

    def describe(self, statement: Statement) -> str:
        return f"`{statement.text}` has a type that pnnx does not know"
