"""Operators that pnnx leaves behind, in operators that it converts. A row is the proof's case as well.

Bodies are TorchScript. Each row is compared with PyTorch in tests/convert/test_rewrites.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_LOG2_E = "1.4426950408889634"
_LN_2 = "0.6931471805599453"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One operator and what computes the same.

    `parameters` are those of the ATen schema, all of them, as TorchScript writes them (no type is
    Tensor); `bodies` has one expression for each output. `fixed` are arguments by position that must be
    these constants. `real` is true where it holds for real numbers only. `used` are the outputs that may
    have a reader, None for all. `example` is an expression of f32 tensors x, y, z of shape (2, 3, 4), m of
    shape (4, 5), v of shape (4,) and u of shape (5,).
    """

    operator: str
    parameters: str
    bodies: tuple[str, ...]
    example: str
    fixed: Mapping[int, object] = field(default_factory=dict)
    real: bool = False


def _row(
    operator: str,
    parameters: str,
    body: str | tuple[str, ...],
    example: str,
    fixed: Mapping[int, object] | None = None,
    real: bool = False,
) -> Rewrite:
    bodies = (body,) if isinstance(body, str) else body
    return Rewrite(f"aten::{operator}", parameters, bodies, example, fixed or {}, real)


REWRITES = (
    # bounds
    _row("clamp_min", "x, low: float", "torch.clamp(x, low, None)", "torch.clamp_min(x, 0.1)"),
    _row("clamp_max", "x, high: float", "torch.clamp(x, None, high)", "torch.clamp_max(x, 0.1)"),
    _row("clamp_min", "x, low", "torch.maximum(x, low)", "torch.clamp_min(x, y)"),
    _row("clamp_max", "x, high", "torch.minimum(x, high)", "torch.clamp_max(x, y)"),
    _row("clamp", "x, low, high", "torch.minimum(torch.maximum(x, low), high)", "torch.clamp(x, y, y + 1)"),
    _row("clamp", "x, low, high: Optional[Tensor]", "torch.maximum(x, low)", "torch.clamp(x, y)", {2: None}),
    _row("clamp", "x, low: Optional[Tensor], high", "torch.minimum(x, high)",
         "torch.clamp(x, max=y)", {1: None}),
    # elementwise
    _row("addcmul", "x, y, z, value: float", "x + y * z", "torch.addcmul(x, y, z)", {3: 1}),
    _row("addcdiv", "x, y, z, value: float", "x + y / z", "torch.addcdiv(x, y, z + 3)", {3: 1}),
    _row("addcmul", "x, y, z, value: float", "x + y * z * value", "torch.addcmul(x, y, z, value=0.5)"),
    _row("addcdiv", "x, y, z, value: float", "x + y / z * value", "torch.addcdiv(x, y, z + 3, value=0.5)"),
    _row("lerp", "x, y, weight: float", "x + (y - x) * weight", "torch.lerp(x, y, 0.3)"),
    _row("lerp", "x, y, weight", "x + (y - x) * weight", "torch.lerp(x, y, z)"),
    _row("frac", "x", "x - torch.trunc(x)", "torch.frac(x * 5)"),
    _row("exp2", "x", f"torch.exp(x * {_LN_2})", "torch.exp2(x)"),
    _row("log2", "x", f"torch.log(x) * {_LOG2_E}", "torch.log2(x.abs() + 0.1)"),
    _row("deg2rad", "x", "x * 0.017453292519943295", "torch.deg2rad(x)"),
    _row("rad2deg", "x", "x * 57.29577951308232", "torch.rad2deg(x)"),
    _row("logit", "x, eps: Optional[float]", "torch.log(x / (1.0 - x))",
         "torch.logit(torch.sigmoid(x))", {1: None}),
    _row("logit", "x, eps: float", "torch.log(torch.clamp(x, eps, 1.0 - eps)"
         " / (1.0 - torch.clamp(x, eps, 1.0 - eps)))", "torch.logit(x, 0.1)"),
    _row("sgn", "x", "torch.sign(x)", "torch.sgn(x)", real=True),
    _row("rrelu", "x, lower: float, upper: float, training: bool, generator: Optional[Generator]",
         "torch.ops.aten.leaky_relu(x, (lower + upper) / 2.0)", "F.rrelu(x, 0.1, 0.3)", {3: False, 4: None}),
    _row("remainder", "x, y: float", "x - torch.floor(x / y) * y", "torch.remainder(x * 5, 0.7)"),
    _row("remainder", "x, y", "x - torch.floor(x / y) * y", "torch.remainder(x * 5, y.abs() + 0.5)"),
    _row("div", "x, y, rounding_mode: str", "torch.floor(x / y)",
         "torch.div(x * 5, y + 4, rounding_mode='floor')", {2: "floor"}),
    _row("div", "x, y, rounding_mode: str", "torch.trunc(x / y)",
         "torch.div(x * 5, y + 4, rounding_mode='trunc')", {2: "trunc"}),
    _row("div", "x, y: float, rounding_mode: str", "torch.floor(x / y)",
         "torch.div(x * 5, 0.7, rounding_mode='floor')", {2: "floor"}),
    _row("div", "x, y: float, rounding_mode: str", "torch.trunc(x / y)",
         "torch.div(x * 5, 0.7, rounding_mode='trunc')", {2: "trunc"}),
    *(
        _row("round", "x, decimals: int", f"torch.round(x * {10.0**n}) / {10.0**n}",
             f"torch.round(x * 5, decimals={n})", {1: n})
        for n in (1, 2, 3, 4)
    ),
    # the same for real numbers
    *(
        _row(name, "x", "x", f"torch.{name}(x)", real=True)
        for name in ("positive", "conj_physical", "resolve_conj", "resolve_neg")
    ),
    _row("real", "x", "x", "torch.real(x)", real=True),
    # axes
    _row("mT", "x", "x.transpose(-2, -1)", "x.mT"),
    _row("mH", "x", "x.transpose(-2, -1)", "x.mH", real=True),
    _row("matrix_H", "x", "x.transpose(0, 1)", "m.H", real=True),
    _row("flipud", "x", "torch.flip(x, [0])", "torch.flipud(x)"),
    _row("fliplr", "x", "torch.flip(x, [1])", "torch.fliplr(x)"),
    _row("ravel", "x", "torch.reshape(x, [-1])", "torch.ravel(x)"),
    _row("broadcast_to", "x, size: List[int]", "x.expand(size)", "torch.broadcast_to(v, (3, 4))"),
    _row("narrow", "x, dim: int, start: int, length: int",
         "torch.ops.aten.slice(x, dim, start, start + length, 1)", "torch.narrow(x, 2, 1, 2)"),
    _row("narrow_copy", "x, dim: int, start: int, length: int",
         "torch.ops.aten.slice(x, dim, start, start + length, 1)", "torch.narrow_copy(x, 2, 1, 2)"),
    _row("diff", "x, n: int, dim: int, prepend: Optional[Tensor], append: Optional[Tensor]",
         "torch.ops.aten.slice(x, dim, 1, 2147483647, 1) - torch.ops.aten.slice(x, dim, 0, -1, 1)",
         "torch.diff(x, dim=2)", {1: 1, 3: None, 4: None}),
    _row("alias_copy", "x", "x", "torch.alias_copy(x)"),
    _row("expand_copy", "x, size: List[int], implicit: bool", "x.expand(size)",
         "torch.expand_copy(v, (3, 4))", {2: False}),
    _row("permute_copy", "x, dims: List[int]", "torch.permute(x, dims)", "torch.permute_copy(x, (0, 2, 1))"),
    _row("squeeze_copy", "x, dim: int", "torch.squeeze(x, dim)", "torch.squeeze_copy(x[:, :1], 1)"),
    _row("t_copy", "x", "torch.t(x)", "torch.t_copy(m)"),
    _row("transpose_copy", "x, a: int, b: int", "torch.transpose(x, a, b)", "torch.transpose_copy(x, 1, 2)"),
    _row("unsqueeze_copy", "x, dim: int", "torch.unsqueeze(x, dim)", "torch.unsqueeze_copy(x, 1)"),
    _row("view_copy", "x, size: List[int]", "torch.reshape(x, size)", "torch.view_copy(x, (6, 4))"),
    _row("view_as", "x, other", "x.reshape_as(other)", "x.view_as(y)"),
    # products
    _row("outer", "a, b", "torch.unsqueeze(a, 1) * b", "torch.outer(v, u)"),
    _row("dot", "a, b", "torch.sum(a * b)", "torch.dot(v, v * 2)"),
    _row("vdot", "a, b", "torch.sum(a * b)", "torch.vdot(v, v * 2)", real=True),
    _row("linalg_vecdot", "a, b, dim: int", "torch.sum(a * b, [dim], False)",
         "torch.linalg.vecdot(x, y)", real=True),
    _row("mv", "a, b", "torch.sum(a * b, [-1], False)", "torch.mv(m, u)"),
    _row("addmv", "x, a, b, beta: float, alpha: float",
         "x * beta + torch.sum(a * b, [-1], False) * alpha", "torch.addmv(v, m, u, beta=0.5, alpha=2.0)"),
    _row("addr", "x, a, b, beta: float, alpha: float", "x * beta + torch.unsqueeze(a, 1) * b * alpha",
         "torch.addr(m, v, u, beta=0.5, alpha=2.0)"),
    _row("baddbmm", "x, a, b, beta: float, alpha: float", "x + torch.bmm(a, b)",
         "torch.baddbmm(x @ y.mT, x, y.transpose(1, 2))", {3: 1, 4: 1}),
    _row("baddbmm", "x, a, b, beta: float, alpha: float", "x * beta + torch.bmm(a, b) * alpha",
         "torch.baddbmm(x @ y.mT, x, y.transpose(1, 2), beta=0.5, alpha=2.0)"),
    # reductions
    _row("aminmax", "x, dim: int, keepdim: bool",
         ("torch.amin(x, [dim], keepdim)", "torch.amax(x, [dim], keepdim)"),
         "torch.aminmax(x, dim=2, keepdim=True)"),
    *(
        _row("var", "x, dim: List[int], correction: int, keepdim: bool",
             "torch.mean((x - torch.mean(x, dim, True)) * (x - torch.mean(x, dim, True)), dim, keepdim)",
             f"torch.var(x, (1, 2), correction=0, keepdim={keep})", {2: 0, 3: keep})
        for keep in (True, False)
    ),
    *(
        _row("std", "x, dim: List[int], correction: int, keepdim: bool",
             "torch.sqrt(torch.mean((x - torch.mean(x, dim, True)) * (x - torch.mean(x, dim, True)),"
             " dim, keepdim))",
             f"torch.std(x, (1, 2), correction=0, keepdim={keep})", {2: 0, 3: keep})
        for keep in (True, False)
    ),
    _row("cosine_similarity", "x, y, dim: int, eps: float",
         "torch.sum(x * y, [dim], False)"
         " / (torch.clamp(torch.sqrt(torch.sum(x * x, [dim], False)), eps, None)"
         " * torch.clamp(torch.sqrt(torch.sum(y * y, [dim], False)), eps, None))",
         "F.cosine_similarity(x, y, dim=2)"),
    _row("pairwise_distance", "x, y, p: float, eps: float, keepdim: bool",
         "torch.sqrt(torch.sum((x - y + eps) * (x - y + eps), [-1], keepdim))",
         "F.pairwise_distance(x, y)", {2: 2.0}),
    _row("linalg_vector_norm", "x, ord: float, dim: List[int], keepdim: bool, dtype: Optional[int]",
         "torch.amax(torch.abs(x), dim, keepdim)", "torch.linalg.vector_norm(x, float('inf'), dim=2)",
         {1: float("inf"), 4: None}),
)  # fmt: skip

RENAMES = {
    "aten::unsafe_chunk": "aten::chunk",
    "aten::unsafe_split": "aten::split",
    "aten::unbind_copy": "aten::unbind",
    "aten::split_with_sizes_copy": "aten::split_with_sizes",
    "aten::multiply": "aten::mul",
    "aten::subtract": "aten::sub",
    "aten::true_divide": "aten::div",
    "aten::special_softmax": "aten::softmax",
    "aten::special_expit": "aten::sigmoid",
    "aten::special_exp2": "aten::exp2",
    "aten::special_erf": "aten::erf",
    "aten::special_erfc": "aten::erfc",
    "aten::special_logit": "aten::logit",
    "aten::special_log1p": "aten::log1p",
    "aten::special_expm1": "aten::expm1",
    "aten::linalg_matmul": "aten::matmul",
}
"""Operators with the arguments of another one."""
