"""Compares a layer with the operator of `.pnnx.param` that it was made from.

What ncnn's layers cannot do, by their sources: src/layer/*.cpp.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.graph import Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.pipeline.batch_faults import JOINED, find_batch_fault, mend_product, split_mask
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.rules.base import INTEGER_TYPES, Layer, Lowering
from pnnxfix.rules.shuffles import SHUFFLES, find_lost_reshape

_REDUCTIONS = {
    "torch.sum": 0, "torch.mean": 3, "torch.max": 4, "torch.amax": 4, "torch.min": 5, "torch.amin": 5,
    "torch.prod": 6, "torch.logsumexp": 10,
}  # fmt: skip
_ORDERS = {1.0: 7, 2.0: 8}
_WORDS = {"None": 2.0, "fro": 2.0, "inf": inf, "-inf": -inf}
_ATTENTION = "F.scaled_dot_product_attention"
_LOST = "a reshape of its input was lost"
_OTHER_MATRICES = "its inputs are cut into the members of a batch along an axis of their matrices"
_ONE_MASK = "its mask is one for each member of the batch, and it takes the first of them for all"
UNSIZED = "an Interp without sizes gives back its input"


class Fault(NamedTuple):
    """How a layer differs from its operator. `lowering` is there where no rule is needed to mend it."""

    reason: str
    lowering: Lowering | None = None


def is_unsized(layer: Operator) -> bool:
    """Whether an Interp, whatever its operator is, has neither a size nor a factor."""
    keys = ("1", "2", "3", "4", "9")
    return layer.type == "Interp" and len(layer.inputs) == 1 and not any(map(layer.parameter, keys))


class LayerCheck:
    """Compares layers with their operators. A method that gives a reason gives none where they agree."""

    def __init__(self, loaded: LoadedConversion) -> None:
        assert loaded.pnnx is not None
        assert loaded.ncnn is not None
        self._pnnx, self._ncnn = loaded.pnnx.graph, loaded.ncnn.graph
        self._batch = loaded.batch
        self._shapes = Annotations(self._pnnx)

    def compare(self, number: int, handle: int) -> Fault | None:
        """What is wrong with a layer, given the rows of its operator and of itself."""
        operator, layer = self._pnnx.original(number), self._ncnn.original(handle)
        if operator.type == "nn.MultiheadAttention":
            lowering = split_mask(operator, layer, self._ncnn, self._batch, self._shapes)
            return lowering and Fault(_ONE_MASK, lowering)
        if operator.type in SHUFFLES:
            return self._lost_reshape(operator, layer)
        if operator.type == "torch.bmm":
            lowering = mend_product(operator, layer, self._batch, self._shapes)
            return lowering and Fault(_OTHER_MATRICES, lowering)
        if operator.type in JOINED:
            reason = find_batch_fault(number, operator, layer, self._batch, self._shapes)
        else:
            reason = self._run(operator, layer)
        return Fault(reason) if reason else None

    def _lost_reshape(self, operator: Operator, layer: Operator) -> Fault | None:
        if not operator.inputs or not operator.outputs or len(layer.inputs) != 1:
            return None
        given, made = (self._shapes.find(name) for name in (operator.inputs[0], operator.outputs[0]))
        wanted = given and made and given[0] and find_lost_reshape(operator, given[0], made[0])
        if not given or not wanted:
            return None
        lowering = None
        # What the blob leaves out is the batch, and stays it.
        if self._batch.axis(operator.inputs[0]) == 0 and given[0][0] == wanted[0]:
            sizes = tuple(f"{key}={size}" for key, size in zip("012", reversed(wanted[1:]), strict=True))
            reshape = Layer("Reshape", (layer.inputs[0],), sizes)
            lowering = Lowering.chain([reshape, Layer(layer.type, ("@0",), layer.rest)])
        return Fault(_LOST, lowering)

    def _run(self, operator: Operator, layer: Operator) -> str:
        found = self._shapes.find(operator.inputs[0]) if operator.inputs else None
        if found is None or not found[0] or min(found[0]) < 1:
            return ""
        if found[1] in INTEGER_TYPES and layer.type not in {"Slice", "CopyTo"}:
            return f"its integers ({found[1]}) are bits to a layer of floats"
        if layer.type == "Clip":
            return ""
        shape, batch = found[0], self._batch.left_out(operator.inputs[0])
        if operator.type in _REDUCTIONS or operator.type == "torch.norm":
            return self._reduction(operator, layer, shape, batch)
        if operator.type == _ATTENTION:
            return self._mask(operator)
        if operator.type in {"torch.chunk", "torch.tensor_split"}:
            return self._chunk(operator, layer, shape)
        if operator.type == "torch.slice_scatter":
            return "" if _constant(operator, "step") in (1, None) else "CopyTo has no step"
        if operator.type == "F.pad":
            return _pad(operator, len(shape), batch)
        if layer.type == "Interp":
            if is_unsized(layer):
                return UNSIZED
            made = self._shapes.find(operator.outputs[0])
            whole = made is None or all(size % have == 0 for size, have in zip(made[0], shape, strict=False))
            is_exact = operator.parameter("mode") == "nearest-exact" and layer.parameter("0") == "1"
            return "Interp rounds as `nearest`, not as `nearest-exact`" if is_exact and not whole else ""
        if batch is None:
            return ""
        rank = len(shape) - (batch != NO_BATCH)
        if operator.type == "F.normalize":
            return self._normalize(operator, shape, batch, rank)
        if operator.type in {"F.softmax", "torch.cumsum"}:
            axes = _axes(operator, len(shape))
            return f"{layer.type} cannot run along the batch axis" if axes == {batch} else ""
        if operator.type == "F.rms_norm":
            sizes = _constant(operator, "normalized_shape")
            count = len(sizes) if isinstance(sizes, tuple) else 1
            wrong = rank <= 3 and count > max(1, rank - 1)
            return f"RMSNorm does not take {count} axes of {rank} together" if wrong else ""
        if operator.type == "F.instance_norm":
            return "InstanceNorm takes a blob of two axes for one channel" if rank == 2 else ""
        return ""

    def _mask(self, operator: Operator) -> str:
        mask = next((word[11:] for word in operator.rest if word.startswith("$attn_mask=")), "")
        known = self._shapes.find(mask) if mask else None
        if known is None:
            return ""
        if known[1] == "bool":
            return "SDPA adds a mask of true and false as 1 and 0"
        query, key = (self._shapes.find(name) for name in operator.inputs[:2])
        if query is None or key is None or len(query[0]) < 2 or len(key[0]) < 2:
            return ""
        rows, columns = query[0][-2], key[0][-2]
        wide = known[0][-2:] == (rows, columns) or min(known[0], default=1) < 1
        return "" if wide else f"SDPA takes no mask of {known[0]} for {rows} rows and {columns} columns"

    def _reduction(
        self, operator: Operator, layer: Operator, shape: tuple[int, ...], batch: int | None
    ) -> str:
        code = _REDUCTIONS.get(operator.type)
        if code is None:
            text = operator.parameter("p") or "None"
            order = _WORDS.get(text, read_constant(text))
            if not isinstance(order, int | float):
                return ""
            code = _ORDERS.get(float(order))
            if code is None:
                return f"Reduction has no norm of order {order}"
        if int(layer.parameter("0") or 0) != code:
            return f"operation {layer.parameter('0') or 0} of Reduction is not {operator.type}"
        if batch is None:
            return ""
        rank = len(shape) - (batch != NO_BATCH)
        wanted = {axis - (axis > batch) for axis in _axes(operator, len(shape)) if axis != batch}
        if layer.parameter("1") in {None, "1"}:
            return "" if len(wanted) == rank else "it reduces all axes, and not all are meant"
        words = (layer.parameter("-23303") or "0").split(",")[1:]
        given = [int(word) for word in words if word.lstrip("-").isdigit()]
        if any(not -rank <= axis < rank for axis in given):
            return ""  # the blob has more axes than it is taken to have
        axes = {axis % rank for axis in given}
        if axes == wanted:
            return ""
        return f"it reduces axes {sorted(axes)} of its blob, and {sorted(wanted)} are meant"

    def _chunk(self, operator: Operator, layer: Operator, shape: tuple[int, ...]) -> str:
        axes = _axes(operator, len(shape))
        found = [self._shapes.find(output) for output in operator.outputs]
        words = (layer.parameter("-23300") or "").split(",")[1:]
        if len(axes) != 1 or None in found or set(words) != {"-233"}:
            return ""
        sizes = [one[0][min(axes)] for one in found if one is not None]
        return "" if len(set(sizes)) == 1 else f"it cuts into equal parts, and parts of {sizes} are meant"

    def _normalize(self, operator: Operator, shape: tuple[int, ...], batch: int, rank: int) -> str:
        order, axes = _constant(operator, "p"), _axes(operator, len(shape))
        if isinstance(order, int | float) and order != 2:
            return f"Normalize has no norm of order {order}"
        wanted = {axis - (axis > batch) for axis in axes}
        if batch in axes or rank in (2, 4) or (rank == 3 and wanted != {0}):
            return f"Normalize does not take axis {min(axes)} of {len(shape)}"
        return ""


def _pad(operator: Operator, rank: int, batch: int | None) -> str:
    if operator.parameter("mode") == "circular":
        return "Padding does not pad in a circle"
    pad = _constant(operator, "pad")
    if batch is None or not isinstance(pad, tuple):
        return ""
    padded = {rank - 1 - at // 2 for at, count in enumerate(pad) if count}
    # Padding takes three axes of four; which one pnnx leaves out is the outermost.
    beyond = {batch} if batch != NO_BATCH else {0} if rank == 4 else set()
    return f"Padding does not reach axis {min(padded & beyond)}" if padded & beyond else ""


def _constant(operator: Operator, key: str) -> object:
    return read_constant(operator.parameter(key) or "None")


def _axes(operator: Operator, rank: int) -> set[int]:
    """The axes that an operator is about, all of them where it says none."""
    given = read_constant(operator.parameter("dim") or "None", integers=True)
    axes = given if isinstance(given, tuple) else () if given is None else (given,)
    whole = {axis % rank for axis in axes if isinstance(axis, int) and -rank <= axis < rank}
    return whole or set(range(rank))
