"""Finds layers that contradict the operator of `.pnnx.param` that they were made from.

pnnx names a layer after its operator (`amax_3` for a `torch.amax`) and keeps their order. Where as
many layers have such a name as there are operators that get it, the k-th is the k-th. An operator
whose own name a layer has was left behind, or is repaired already; it has no such layer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.pipeline.discovery import NCNN_PARAM, TORCHSCRIPT
from pnnxfix.pipeline.doubles import find_doubles, may_store_doubles
from pnnxfix.pipeline.empties import has_empty, leave_out_empty
from pnnxfix.pipeline.loaded import LoadedConversion
from pnnxfix.pipeline.suspects import has_members, may_compute_integers, may_drop, may_lack_operations
from pnnxfix.rules.base import Layer, Lowering

MENDED = "_fix"
_REDUCTIONS = ("sum", "mean", "max", "amax", "min", "amin", "prod", "logsumexp", "norm")
_INTERPOLATIONS = ("interpolate", "upsample", "upsample_nearest", "upsample_bilinear")

# The layer and its name without number, and the operators that become it.
JOINS: dict[tuple[str, str], tuple[str, ...]] = {
    **{("Reduction", name): (f"torch.{name}",) for name in _REDUCTIONS},
    ("Normalize", "normalize"): ("F.normalize",),
    ("Softmax", "softmax"): ("F.softmax", "nn.Softmax", "F.log_softmax", "nn.LogSoftmax", "nn.Softmax2d"),
    ("CumulativeSum", "cumsum"): ("torch.cumsum",),
    ("Clip", "clamp"): ("torch.clamp",),
    ("MatMul", "bmm"): ("torch.bmm",),
    ("Slice", "chunk"): ("torch.chunk",),
    ("Slice", "tensor_split"): ("torch.tensor_split",),
    ("CopyTo", "slice_scatter"): ("torch.slice_scatter",),
    ("Padding", "pad"): ("F.pad",),
    ("SDPA", "sdpa"): ("F.scaled_dot_product_attention",),
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
    """All that is certain, in the order of the layers. Cost: one pass over what may contradict."""
    if loaded.ncnn is None or loaded.pnnx is None:
        return []
    layers: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
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
        elif kind == "BinaryOp" and name in ("pow", "remainder"):
            found += _find_wrong_number(graph, handle, name)
    if may_lack_operations(loaded.ncnn):
        from pnnxfix.pipeline.unwritten import find_unwritten

        for lost in find_unwritten(loaded):
            # The whole Expression is written anew, powers and remainders too.
            found = [other for other in found if other.handle not in lost.rows]
            found.append(Contradiction(lost.handle, lost.operator, lost.reason))
    if has_members(loaded.ncnn):
        from pnnxfix.pipeline.mixed_layouts import REASON, find_mixed_layouts
        from pnnxfix.pipeline.reshape_layers import find_wrong_reshapes

        found += [
            Contradiction(at.handle, at.operator, REASON, at.lowering) for at in find_mixed_layouts(loaded)
        ]
        found += [Contradiction(*one) for one in find_wrong_reshapes(loaded)]
    if TORCHSCRIPT in loaded.files and may_drop(loaded.ncnn):
        from pnnxfix.pipeline.dropped import find_dropped

        found += [Contradiction(*one) for one in find_dropped(loaded)]
    if may_store_doubles(loaded.pnnx):
        found += [Contradiction(*one) for one in find_doubles(loaded)]
    if may_compute_integers(loaded.pnnx):
        from pnnxfix.pipeline.integer_layers import find_integer_arithmetic

        found += [Contradiction(*one) for one in find_integer_arithmetic(loaded)]
    if layers:
        found += _compare(loaded, loaded.pnnx.graph, graph, layers, empty)
    return _in_order(found)


def _find_wrong_number(graph: Graph, handle: int, name: str) -> Iterator[Contradiction]:
    """Arithmetic that ncnn has, and computes differently for some numbers."""
    from pnnxfix.pipeline.powers import REASON, rewrite_power

    layer = graph.original(handle)
    if name == "pow":
        lowering = rewrite_power(graph, layer)
        if lowering is not None:
            yield Contradiction(handle, -1, REASON, lowering)
    elif (rewrite := _REMAINDERS.get(layer.parameter("0"))) is not None:
        reason = "BinaryOp 17 and 18 round to the nearest multiple, torch.remainder down"
        yield Contradiction(handle, -1, reason, rewrite(layer))


def _compare(
    loaded: LoadedConversion,
    pnnx: Graph,
    ncnn: Graph,
    layers: dict[tuple[str, str], list[int]],
    empty: set[int],
) -> Iterator[Contradiction]:
    """Join the layers with their operators and compare each pair; `empty` are known to be wrong."""
    from pnnxfix.pipeline.layer_check import UNSIZED, LayerCheck, is_unsized

    joined = {handle for handles in layers.values() for handle in handles}
    names = {ncnn.type_and_name(handle)[1] for handle in ncnn if handle not in joined}
    operators: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for handle in pnnx.of_types(_TYPES):
        kind, called = pnnx.type_and_name(handle)
        if called not in names:
            operators[_TYPES[kind]].append(_RIGHT if kind in _ALWAYS_RIGHT else handle)
    check = LayerCheck(loaded)
    for key, handles in layers.items():
        if len(handles) != len(operators[key]):
            unsized = [handle for handle in handles if is_unsized(ncnn.original(handle))]
            yield from (Contradiction(handle, -1, UNSIZED) for handle in unsized)
            continue
        for handle, operator in zip(handles, operators[key], strict=True):
            is_mended = ncnn.type_and_name(handle)[1].endswith(MENDED)
            if operator != _RIGHT and not is_mended and handle not in empty:
                fault = check.compare(operator, handle)
                if fault is not None:
                    yield Contradiction(handle, operator, *fault)


def _in_order(found: list[Contradiction]) -> list[Contradiction]:
    """One for each layer, in their order. What is wrong in two ways has no repair that mends both."""
    by_handle: dict[int, Contradiction] = {}
    for one in sorted(found, key=lambda one: one.handle):
        before = by_handle.get(one.handle)
        both = one if before is None else Contradiction(one.handle, -1, f"{before.reason}; {one.reason}")
        by_handle[one.handle] = both
    return list(by_handle.values())


def mark_mended(graph: Graph, layer: Operator) -> None:
    """Give what was written in place of a wrong layer a name of its own, so that it is not compared."""
    made = graph.maker(layer.outputs[0])
    if made is not None:
        graph.replace_operator(made, made._replace(name=graph.fresh_name(layer.name + MENDED)))


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
