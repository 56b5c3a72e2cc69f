"""Finds layers that contradict the operator of `.pnnx.param` that they were made from.

pnnx names a layer after its operator (`amax_3` for a `torch.amax`) and keeps their order. Where as
many layers have such a name as there are operators that get it, the k-th is the k-th. An operator
whose own name a layer has was left behind, or is repaired already; it has no such layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from math import inf
from typing import NamedTuple

from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.pipeline.batch_faults import JOINED, find_batch_fault, mend_product, split_mask
from pnnxfix.pipeline.constants import read_constant
from pnnxfix.pipeline.discovery import NCNN_PARAM, PNNX_PARAM
from pnnxfix.pipeline.empties import has_empty, leave_out_empty
from pnnxfix.pipeline.integer_layers import find_integer_arithmetic
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.mixed_layouts import REASON as MIXED
from pnnxfix.pipeline.mixed_layouts import find_mixed_layouts
from pnnxfix.pipeline.powers import REASON as POWER
from pnnxfix.pipeline.powers import rewrite_power
from pnnxfix.pipeline.reshape_layers import find_wrong_reshapes
from pnnxfix.pipeline.suspects import has_members, may_compute_integers
from pnnxfix.rules.base import INTEGER_TYPES, Layer, Lowering
from pnnxfix.rules.shuffles import SHUFFLES, find_lost_reshape

MENDED = "_fix"
_REDUCTIONS = {
    "torch.sum": 0, "torch.mean": 3, "torch.max": 4, "torch.amax": 4, "torch.min": 5, "torch.amin": 5,
    "torch.prod": 6, "torch.logsumexp": 10,
}  # fmt: skip
_ORDERS = {1.0: 7, 2.0: 8}
_WORDS = {"None": 2.0, "fro": 2.0, "inf": inf, "-inf": -inf}
_ATTENTION = "F.scaled_dot_product_attention"
_LOST = "a reshape of its input was lost"
_UNSIZED = "an Interp without sizes gives back its input"
_INTERPOLATIONS = ("interpolate", "upsample", "upsample_nearest", "upsample_bilinear")

# The layer and its name without number, and the operators that become it.
JOINS: dict[tuple[str, str], tuple[str, ...]] = {
    **{("Reduction", kind.partition(".")[2]): (kind,) for kind in (*_REDUCTIONS, "torch.norm")},
    ("Normalize", "normalize"): ("F.normalize",),
    ("Softmax", "softmax"): ("F.softmax", "nn.Softmax", "F.log_softmax", "nn.LogSoftmax", "nn.Softmax2d"),
    ("CumulativeSum", "cumsum"): ("torch.cumsum",),
    ("Clip", "clamp"): ("torch.clamp",),
    ("MatMul", "bmm"): ("torch.bmm",),
    ("Slice", "chunk"): ("torch.chunk",),
    ("Slice", "tensor_split"): ("torch.tensor_split",),
    ("CopyTo", "slice_scatter"): ("torch.slice_scatter",),
    ("Padding", "pad"): ("F.pad",),
    ("SDPA", "sdpa"): (_ATTENTION,),
    ("RMSNorm", "rmsn"): ("F.rms_norm", "nn.RMSNorm"),
    ("InstanceNorm", "in"): (
        "F.instance_norm", "nn.InstanceNorm1d", "nn.InstanceNorm2d", "nn.InstanceNorm3d",
    ),
    ("PixelShuffle", "pixelshuffle"): ("nn.PixelShuffle",),
    ("Reorg", "pixelunshuffle"): ("nn.PixelUnshuffle", "F.pixel_unshuffle"),
    ("ShuffleChannel", "channelshuffle"): ("nn.ChannelShuffle",),
    **{("Interp", name): (f"F.{name}",) for name in _INTERPOLATIONS},
    ("Concat", "stack"): ("torch.stack",),
    ("Concat", "cat"): ("torch.cat",),
    ("MultiHeadAttention", "attention"): ("nn.MultiheadAttention",),
    ("BatchNorm", "bn"): ("nn.BatchNorm1d", "nn.BatchNorm2d", "nn.BatchNorm3d", "F.batch_norm"),
}  # fmt: skip
# Their input stands as the batch axis wants it, whatever comes before.
_ALWAYS_RIGHT = frozenset({"nn.BatchNorm2d", "nn.BatchNorm3d"})
_RIGHT = -1
_OTHER_MATRICES = "its inputs are cut into the members of a batch along an axis of their matrices"
_ONE_MASK = "its mask is one for each member of the batch, and it takes the first of them for all"
_LAYER_OF = {name: kind for kind, name in JOINS}
_LAYERS = {kind for kind, _ in JOINS} | {"BinaryOp", "Concat"}
_TYPES = {kind: key for key, kinds in JOINS.items() for kind in kinds}


class Contradiction(NamedTuple):
    """A layer, the operator that it contradicts, and how. `lowering` is there where no rule is needed.

    `operator` is -1 where it is not needed, or not known for certain.
    """

    handle: int
    operator: int
    reason: str
    lowering: Lowering | None = None


def find_contradictions(loaded: LoadedConversion) -> list[Contradiction]:
    """All that is certain, in the order of the layers. Cost: one pass over both graphs."""
    if loaded.ncnn is None or loaded.pnnx is None:
        return []
    layers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    operators: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    graph = loaded.ncnn.graph
    found = []
    empty: set[int] = set()
    # A mended layer has any type.
    may_be_mended = MENDED.encode() in loaded.original[NCNN_PARAM]
    for handle in graph if may_be_mended else graph.of_types(_LAYERS):
        kind, called = graph.type_and_name(handle)
        name, _, number = called.removesuffix(MENDED).rpartition("_")
        if kind == "Concat" and has_empty(graph, layer := graph.original(handle)):
            reason = "one of its inputs has no elements, and ncnn makes a number of it"
            found.append(Contradiction(handle, -1, reason, leave_out_empty(graph, layer)))
            empty.add(handle)
        if called.endswith(MENDED):
            layers[_LAYER_OF.get(name, ""), name].append(handle)
        elif number.isdigit() and (kind, name) in JOINS:
            layers[kind, name].append(handle)
        elif kind == "BinaryOp" and name == "pow":
            lowering = rewrite_power(graph, graph.original(handle))
            if lowering is not None:
                found.append(Contradiction(handle, -1, POWER, lowering))
        elif kind == "BinaryOp" and name == "remainder":
            layer = graph.original(handle)
            if layer.parameter("0") not in _REMAINDERS:
                continue
            reason = "BinaryOp 17 and 18 round to the nearest multiple, torch.remainder down"
            found.append(Contradiction(handle, -1, reason, _REMAINDERS[layer.parameter("0") or ""](layer)))
    if has_members(loaded.original[NCNN_PARAM]):
        found += [
            Contradiction(at.handle, at.operator, MIXED, at.lowering) for at in find_mixed_layouts(loaded)
        ]
        found += [Contradiction(*one) for one in find_wrong_reshapes(loaded)]
    if may_compute_integers(loaded.original[PNNX_PARAM]):
        found += [Contradiction(*one) for one in find_integer_arithmetic(loaded)]
    if not layers:
        return _in_order(found)
    joined = {handle for handles in layers.values() for handle in handles}
    names = {graph.type_and_name(handle)[1] for handle in graph if handle not in joined}
    pnnx = loaded.pnnx.graph
    for handle in pnnx.of_types(_TYPES):
        kind, called = pnnx.type_and_name(handle)
        if called not in names:
            operators[_TYPES[kind]].append(_RIGHT if kind in _ALWAYS_RIGHT else handle)
    check = _Check(loaded)
    for key, handles in layers.items():
        if len(handles) != len(operators[key]):
            found.extend(_find_unsized(graph, handles))
            continue
        for handle, operator in zip(handles, operators[key], strict=True):
            is_mended = graph.original(handle).name.endswith(MENDED)
            if operator != _RIGHT and not is_mended and handle not in empty:
                found.extend(check.compare(operator, handle))
    return _in_order(found)


def _in_order(found: list[Contradiction]) -> list[Contradiction]:
    """One for each layer, in their order. What is wrong in two ways has no repair that mends both."""
    by_handle: dict[int, Contradiction] = {}
    for one in sorted(found, key=lambda one: one.handle):
        before = by_handle.get(one.handle)
        both = one if before is None else Contradiction(one.handle, -1, f"{before.reason}; {one.reason}")
        by_handle[one.handle] = both
    return list(by_handle.values())


def _is_unsized(layer: Operator) -> bool:
    keys = ("1", "2", "3", "4", "9")
    return len(layer.inputs) == 1 and not any(layer.parameter(key) for key in keys)


def _find_unsized(graph: Graph, handles: list[int]) -> list[Contradiction]:
    """The layers that are wrong whatever their operator is."""
    layers = ((handle, graph.original(handle)) for handle in handles)
    return [
        Contradiction(handle, -1, _UNSIZED)
        for handle, layer in layers
        if layer.type == "Interp" and _is_unsized(layer)
    ]


def mark_mended(graph: Graph, layer: Operator) -> None:
    """Give what was written in place of a wrong layer a name of its own, so that it is not compared."""
    made = graph.maker(layer.outputs[0])
    if made is not None:
        graph.replace_operator(made, made._replace(name=graph.fresh_name(layer.name + MENDED)))


class _Check:
    """Compares one layer with its operator; every method gives a reason, empty where they agree."""

    def __init__(self, loaded: LoadedConversion) -> None:
        assert loaded.pnnx is not None
        assert loaded.ncnn is not None
        self._pnnx, self._ncnn = loaded.pnnx.graph, loaded.ncnn.graph
        self._batch = loaded.batch
        self._shapes = Annotations(self._pnnx)

    def compare(self, number: int, handle: int) -> list[Contradiction]:
        """What is wrong with a layer, given the rows of its operator and of itself."""
        operator, layer = self._pnnx.original(number), self._ncnn.original(handle)
        if operator.type == "nn.MultiheadAttention":
            lowering = split_mask(operator, layer, self._ncnn, self._batch, self._shapes)
            return [] if lowering is None else [Contradiction(handle, number, _ONE_MASK, lowering)]
        if operator.type in SHUFFLES:
            return list(self._lost_reshape(number, operator, handle, layer))
        if operator.type == "torch.bmm":
            lowering = mend_product(operator, layer, self._batch, self._shapes)
            return [] if lowering is None else [Contradiction(handle, number, _OTHER_MATRICES, lowering)]
        if operator.type in JOINED:
            reason = find_batch_fault(number, operator, layer, self._batch, self._shapes)
        else:
            reason = self._run(operator, layer)
        return [Contradiction(handle, number, reason)] if reason else []

    def _lost_reshape(
        self, number: int, operator: Operator, handle: int, layer: Operator
    ) -> Iterator[Contradiction]:
        if not operator.inputs or not operator.outputs or len(layer.inputs) != 1:
            return
        given, made = (self._shapes.find(name) for name in (operator.inputs[0], operator.outputs[0]))
        wanted = given and made and given[0] and find_lost_reshape(operator, given[0], made[0])
        if not given or not wanted:
            return
        lowering = None
        # What the blob leaves out is the batch, and stays it.
        if self._batch.axis(operator.inputs[0]) == 0 and given[0][0] == wanted[0]:
            sizes = tuple(f"{key}={size}" for key, size in zip("012", reversed(wanted[1:]), strict=True))
            reshape = Layer("Reshape", (layer.inputs[0],), sizes)
            lowering = Lowering.chain([reshape, Layer(layer.type, ("@0",), layer.rest)])
        yield Contradiction(handle, number, _LOST, lowering)

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
            if _is_unsized(layer):
                return _UNSIZED
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


def _remainder(layer: Operator) -> Lowering:
    """x - y * floor(x / y), with y a number or a blob."""
    first, *second = layer.inputs
    number = tuple(word for word in layer.rest if word[:2] in {"1=", "2="})
    return Lowering.chain(
        [
            Layer("BinaryOp", (first, *second), ("0=3", *number)),
            Layer("UnaryOp", ("@0",), ("0=2",)),
            Layer("BinaryOp", ("@1", *second), ("0=2", *number)),
            Layer("BinaryOp", (first, "@2"), ("0=1",)),
        ]
    )


def _swapped_remainder(layer: Operator) -> Lowering:
    """y - x * floor(y / x), with y a number or the second blob."""
    first, *second = layer.inputs
    number = tuple(word for word in layer.rest if word[:2] in {"1=", "2="})
    return Lowering.chain(
        [
            Layer("BinaryOp", (first, *second), ("0=8", *number)),
            Layer("UnaryOp", ("@0",), ("0=2",)),
            Layer("BinaryOp", ("@1", first), ("0=2",)),
            Layer("BinaryOp", ("@2", *second), ("0=7", *number)),
        ]
    )


_REMAINDERS: dict[str | None, Callable[[Operator], Lowering]] = {"17": _remainder, "18": _swapped_remainder}
