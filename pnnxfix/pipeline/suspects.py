"""Whether `.ncnn.param` may hold layers that load and are wrong: a few searches that cost nothing.

No pattern is searched for in a whole file that begins with no word of its own: it is tried at every byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pnnxfix.pipeline.loaded import ParamGraph

_INTEGERS = re.compile(r"#\d+=\([0-9,?]*\)[iu]\d")
NAMES = (
    b" amax_", b" amin_", b" chunk_", b" cumsum_", b" in_", b" interpolate_", b" logsumexp_",
    b" max_", b" mean_", b" min_", b" norm_", b" normalize_", b" prod_", b" remainder_", b" rmsn_", b" sdpa_",
    b" softmax_", b" sum_", b" upsample_", b" tensor_split_", b" slice_scatter_", b" pad_", b" stack_",
    b" attention_", b" bmm_", b" pow_", b" pixelshuffle_", b" pixelunshuffle_", b" channelshuffle_",
)  # fmt: skip
"""What pnnx calls the layers that can contradict their operator."""
# The layers whose operation some release does not write, and those that may have lost an argument.
_UNWRITTEN = re.compile(r"\s(?:sign|erf|fmod|remainder|floor_divide|logaddexp)_\d")
_DROPPED = re.compile(r"\s(?:div|floor_divide|round)_\d")
_ARITHMETIC = ("UnaryOp", "BinaryOp")
_MEMBERS = re.compile(r" 13=(?!233\b)\d")
_WIDE = re.compile(rb"pnnx\.Input [^\n(]*\((?:[^,)\n]*,){4}")
_EMPTY = re.compile(rb"MemoryData +\S+ +0 1 \S+ +0=0\s")


def has_members(ncnn: ParamGraph) -> bool:
    """Whether a Reshape cuts a blob into the members of a batch."""
    return _any_row(ncnn, ("Reshape",), _MEMBERS)


def may_contradict(ncnn: ParamGraph, param: bytes) -> bool:
    """Whether a layer is of a kind that can contradict its operator; `param` are the bytes of the file."""
    if any(name in param for name in NAMES) or may_lack_operations(ncnn) or has_members(ncnn):
        return True
    # Concat along the batch, or of a tensor without elements.
    return b" 0=-233" in param or _EMPTY.search(param) is not None


def may_lack_operations(ncnn: ParamGraph) -> bool:
    """Whether pnnx may have written a layer without its operation. Cost: the rows of arithmetic."""
    return _any_row(ncnn, _ARITHMETIC, _UNWRITTEN)


def may_drop(ncnn: ParamGraph) -> bool:
    """Whether a layer may be a division or a rounding that lost its argument. Cost: as above."""
    return _any_row(ncnn, _ARITHMETIC, _DROPPED)


def may_be_wide(pnnx: bytes) -> bool:
    """Whether an input may have more axes than a blob."""
    return _WIDE.search(pnnx) is not None


def may_be_unfed(param: bytes) -> bool:
    """Whether an input may have the name of an output."""
    return b" 0 1 out" in param


def may_compute_integers(pnnx: ParamGraph) -> bool:
    """Whether an Expression or a clamp of `.pnnx.param` reads or makes integers. Cost: those rows."""
    return _any_row(pnnx, ("pnnx.Expression", "torch.clamp"), _INTEGERS)


def _any_row(param: ParamGraph, types: Iterable[str], pattern: re.Pattern[str]) -> bool:
    """Whether the pattern is in a row of one of the types, as it was read."""
    return any(pattern.search(param.file.lines[handle]) for handle in param.graph.of_types(types))
