"""Layers that are wrong for where pnnx has left the batch: it writes them, warns at most, and goes on.

Source: pnnx, pass_ncnn/convert_torch_stack, convert_torch_cat, convert_batch_layout; ncnn
multiheadattention.cpp.
"""

from __future__ import annotations

from pnnxfix.graph.batch_axis import NO_BATCH
from pnnxfix.graph.blobs import MAX_RANK
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations
from pnnxfix.graph.splits import origin
from pnnxfix.pipeline.batch import BatchAxes
from pnnxfix.pipeline.mixed_layouts import reshape_words
from pnnxfix.rules.base import Layer, Lowering

JOINED = ("torch.cat", "torch.stack", "nn.BatchNorm1d", "F.batch_norm")
"""The operators that `find_batch_fault` knows."""

MENDED_ALONE = frozenset({*JOINED, "torch.bmm", "pnnx.Expression"})
"""What is put right by itself where its blob has other members: also `mend_product`, `find_mixed_layouts`."""


def find_batch_fault(
    number: int, operator: Operator, layer: Operator, batch: BatchAxes, shapes: Annotations
) -> str:
    """Why a layer computes something else than its operator, which is row `number`; "" where it does not."""
    if layer.type != "Concat":
        return "its blob has members, and not those of the batch" if number in batch.wrong else ""
    if layer.parameter("0") == "-233":
        return "Concat does not go along the batch axis"
    made = shapes.find(operator.outputs[0])
    if made is None or len(made[0]) <= MAX_RANK:
        return ""
    axis = batch.left_out(operator.outputs[0])
    rank = len(made[0]) - (axis not in {None, NO_BATCH})
    return f"Concat has no {rank} axes" if axis is not None and rank > MAX_RANK else ""


def split_mask(
    operator: Operator, layer: Operator, ncnn: Graph, batch: BatchAxes, shapes: Annotations
) -> Lowering | None:
    """The attention with a mask for each member of the batch, where its mask is that of all members in a row.

    A mask of (members * heads, length, length) is one for the heads of each member, and MultiHeadAttention,
    which runs the members one by one, would take the first heads for all of them.
    """
    words = operator.parameter("$attn_mask"), operator.parameter("num_heads")
    query, axis = shapes.find(operator.inputs[0]), batch.left_out(operator.inputs[0])
    if words[0] is None or words[1] is None or not words[1].isdigit() or query is None or len(query[0]) != 3:
        return None
    if axis not in {0, 1} or layer.parameter("5") != "1":
        return None
    members, heads = query[0][axis], int(words[1])
    mask = ncnn.maker(origin(ncnn, layer.inputs[-1]))
    if members < 2 or heads < 1 or mask is None or mask.type != "MemoryData":
        return None
    sizes = [mask.parameter(key) for key in ("2", "1", "0")]
    if sizes[0] != str(members * heads) or not all(sizes):
        return None
    given = (f"0={sizes[2]}", f"1={sizes[1]}", f"11={heads}", f"12={NO_BATCH}", "13=0", f"2={members}")
    reshape = Layer("Reshape", (layer.inputs[-1],), given)
    return Lowering.chain([reshape, Layer(layer.type, (*layer.inputs[:-1], "@0"), layer.rest)])


def mend_product(
    operator: Operator, layer: Operator, batch: BatchAxes, shapes: Annotations
) -> Lowering | None:
    """The product of two stacks of matrices, each cut into its matrices; None where it is that already.

    pnnx knows that torch.bmm does so, and takes another axis for the batch where a reshape beside it leads
    it to: ncnn then multiplies other matrices, or stops since they are not as many.
    """
    names = (*operator.inputs, *operator.outputs)
    found = [shapes.find(name) for name in names]
    axes = [batch.left_out(name) for name in names]
    if len(names) != 3 or len(layer.inputs) != 2 or layer.rest or None in axes or None in found:
        return None
    if all(axis == 0 for axis in axes) or all(axis == NO_BATCH for axis in axes):
        return None
    shaped = [one[0] for one in found if one is not None]
    layers: list[Layer] = []
    inputs = []
    for blob, shape, axis in zip(layer.inputs, shaped, axes, strict=False):
        words = reshape_words(shape, axis, 0)
        if len(shape) != 3 or min(shape) < 1 or words is None:
            return None
        if axis != 0:
            layers.append(Layer("Reshape", (blob,), words))
            blob = f"@{len(layers) - 1}"
        inputs.append(blob)
    layers.append(Layer(layer.type, tuple(inputs)))
    after = axes[2]
    if after not in {0, None}:
        words = reshape_words(shaped[2], 0, after)
        if words is None:
            return None
        layers.append(Layer("Reshape", (f"@{len(layers) - 1}",), words))
    return Lowering.chain(layers)
