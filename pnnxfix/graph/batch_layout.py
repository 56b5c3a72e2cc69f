"""The batch axis that the blob of each operand leaves out, in conversions since 20261020.

It need not be the axis that pnnx solved. Since it lets ncnn run the members of a batch one by one,
pnnx leaves out only a batch that stands first, and puts Reshapes in front of operators that need the
blob otherwise. What each operator needs and gives is worked out again here. Source: pnnx,
pass_ncnn/convert_batch_layout (July 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pnnxfix.graph.batch_axis import NO_BATCH, axis_map
from pnnxfix.graph.graph import Graph, Operator
from pnnxfix.graph.shapes import Annotations

_ATTENTION = "F.scaled_dot_product_attention"
_MULTIHEAD = "nn.MultiheadAttention"
_MOVES = frozenset({"Tensor.permute", "torch.transpose", "torch.t"})
_RESHAPES = frozenset({"Tensor.reshape", "Tensor.reshape_as", "torch.flatten", "Tensor.unflatten"})
_RECURRENT = frozenset({"nn.RNN", "nn.LSTM", "nn.GRU"})
_ALONG_AXES = frozenset(
    {"torch.cat", "torch.chunk", "torch.split", "torch.tensor_split", "Tensor.slice", "Tensor.select"}
)
_MOVED_ALONG = frozenset({"Tensor.select", "Tensor.slice", "torch.squeeze", "torch.unsqueeze"})
_FUNCTIONS = """celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu
    relu6 selu sigmoid silu softplus softshrink softsign tanh tanhshrink threshold"""
_MODULES = """CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid Mish ReLU ReLU6
    SELU Sigmoid SiLU Softplus Softshrink Softsign Tanh Tanhshrink Threshold"""
_TRANSPARENT = frozenset(
    ["Tensor.clone", "torch.clone", "torch.clamp", "torch.imag", "torch.real"]
    + [f"F.{name}" for name in _FUNCTIONS.split()]
    + [f"nn.{name}" for name in _MODULES.split()]
)


@dataclass(slots=True)
class BatchLayouts:
    """`left_out` is the axis by operand, NO_BATCH where the blob keeps all.

    `wrong` are the handles of operators whose blob leaves out another axis than their layer needs:
    its members are no members of the batch.
    """

    left_out: dict[str, int] = field(default_factory=dict)
    wrong: set[int] = field(default_factory=set)


def carry_batch_axes(graph: Graph, solved: Mapping[str, int], shapes: Annotations) -> BatchLayouts:
    """Follow the layout through the graph. Cost: one pass."""
    found = BatchLayouts()
    carrier = _Carrier(solved, shapes, found)
    for handle in graph:
        carrier.carry(handle, graph.original(handle))
    return found


def _default(axis: int) -> int:
    return 0 if axis == 0 else NO_BATCH


class _Carrier:
    def __init__(self, solved: Mapping[str, int], shapes: Annotations, found: BatchLayouts) -> None:
        self._solved = solved
        self._shapes = shapes
        self._left_out = found.left_out
        self._wrong = found.wrong

    def carry(self, handle: int, operator: Operator) -> None:
        """Note what an operator's results leave out, and whether it gets what it needs."""
        reads = []
        for at, name in enumerate(operator.inputs):
            axis, needed = self._left_out.get(name, NO_BATCH), self._needed(operator, at)
            if axis != needed and NO_BATCH not in (axis, needed):
                self._wrong.add(handle)
            elif axis == NO_BATCH != needed:
                needed = self._axis(name)
            reads.append(axis if NO_BATCH not in (axis, needed) else needed)
        if operator.type in _MOVES and reads and self._loses(operator, reads[0]):
            self._wrong.add(handle)
        for at, name in enumerate(operator.outputs):
            self._left_out[name] = self._given(operator, reads[0] if reads else None, at, name)

    def _axis(self, name: str) -> int:
        return self._solved.get(name, NO_BATCH)

    def _shape(self, name: str) -> tuple[int, ...]:
        found = self._shapes.find(name)
        return () if found is None else found[0]

    def _needed(self, operator: Operator, at: int) -> int:
        """What an operator's layer needs its input to leave out."""
        name, kind = operator.inputs[at], operator.type
        axis, carried = self._axis(name), self._left_out.get(name, NO_BATCH)
        if kind in {"pnnx.Output", "pnnx.SliceIndexes"} or kind in _RECURRENT or kind in _ALONG_AXES:
            return carried
        if kind == _ATTENTION:
            return NO_BATCH if axis == NO_BATCH else 0
        if kind == _MULTIHEAD:
            if axis == NO_BATCH or f"$attn_mask={name}" in operator.rest:
                return NO_BATCH
            return 0 if operator.parameter("batch_first") == "True" else 1
        if kind == "pnnx.Expression":
            return NO_BATCH if axis == NO_BATCH else _default(self._axis(operator.outputs[0]))
        if kind in _MOVES and axis != NO_BATCH:
            return axis
        if kind in _RESHAPES and at == 0 and carried != NO_BATCH and 0 < axis < NO_BATCH and operator.outputs:
            result = operator.outputs[0]
            if len(self._shape(name)) <= 4 and self._shape(result) and self._axis(result) == NO_BATCH:
                return NO_BATCH
        if kind in _MOVES or kind in _RESHAPES or kind in _TRANSPARENT:
            return carried
        return _default(axis)

    def _loses(self, operator: Operator, read: int) -> bool:
        """Whether an axis of members moves to another place than the one that the result leaves out."""
        shape, made = self._shape(operator.inputs[0]), operator.outputs[:1]
        order = axis_map(operator, shape, len(shape)) if shape else None
        if not order or not made or read not in order or shape[read] == 1:
            return False
        return self._axis(made[0]) not in (NO_BATCH, order.index(read))

    def _given(self, operator: Operator, read: int | None, at: int, name: str) -> int:
        """What a result leaves out; `read` is what the first input does."""
        kind, axis = operator.type, self._axis(name)
        if read is None:
            return axis if kind == "pnnx.Input" else _default(axis)
        if kind in _MOVES:
            return NO_BATCH if read == NO_BATCH else axis
        if kind in _RESHAPES:
            if read == NO_BATCH != axis:
                # Where the reshape moved the batch this is an axis of the input, taken for one of the result.
                first = self._axis(operator.inputs[0])
                return axis if first == NO_BATCH else first
            return axis
        if kind == "pnnx.Expression" or (kind in _RECURRENT and at):
            return _default(axis)
        if kind == _ATTENTION:
            return NO_BATCH if axis == NO_BATCH else 0
        if kind == _MULTIHEAD:
            return NO_BATCH if axis == NO_BATCH else 0 if operator.parameter("batch_first") == "True" else 1
        if read == NO_BATCH:
            return read
        if kind in _MOVED_ALONG:
            shape = self._shape(operator.inputs[0])
            order = axis_map(operator, shape, len(shape)) or []
            return order.index(read) if read in order else NO_BATCH
        return read
